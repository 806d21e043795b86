/* Collectives on arrays in pieces of every size, on as many ranks as mpirun starts: the same bits
 * as in one piece, and as a formula says. */
#include <string.h>

#include "ald/base/status.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ranks.h"

enum { MOST = 100 };

/* Shares of several lengths, some of them empty; three ways. */
static void set_starts(int way, int64_t *starts)
{
    static const int64_t lengths[3][5] = {{7, 0, 13, 4, 9}, {0, 40, 1, 0, 0}, {10, 10, 10, 10, 10}};
    starts[0] = 0;
    for (int r = 0; r < world.size; ++r)
        starts[r + 1] = starts[r] + lengths[way][r % 5];
}

static int64_t value(int64_t i, int rank)
{
    return (i * 7919 + 31) << (20 + rank) ^ i;
}

/* The share of sums is that of the formula; what isn't in it stays. */
static bool sums(const ald_spread_t *s)
{
    int64_t all[MOST];
    for (int64_t i = 0; i < MOST; ++i)
        all[i] = value(i, world.rank);
    bool fine = ald_collect_sum_shares(s, all) == ALD_STATUS_OK;
    for (int64_t i = 0; i < MOST; ++i) {
        const bool mine = i >= s->starts[world.rank] && i < s->starts[world.rank + 1];
        int64_t sum = 0;
        for (int r = 0; r < world.size; ++r)
            sum += value(i, r);
        fine &= all[i] == (mine ? sum : value(i, world.rank));
    }
    return fine;
}

/* Each rank's share is known on all ranks, or on rank 0. */
static bool travels(const ald_spread_t *s)
{
    int64_t everywhere[MOST], root[MOST];
    const int64_t first = s->starts[world.rank], count = s->starts[world.rank + 1] - first;
    bool fine = true;
    for (int64_t i = 0; i < MOST; ++i) {
        everywhere[i] = i >= first && i < first + count ? value(i, 3) : -1;
        root[i] = -1;
    }
    ald_collect_gather(s, everywhere + first, world.rank == 0 ? root : NULL);
    ald_collect_share(s, everywhere);
    for (int64_t i = 0; i < MOST; ++i) {
        const int64_t expected = i < s->starts[world.size] ? value(i, 3) : -1;
        fine &= everywhere[i] == expected && root[i] == (world.rank == 0 ? expected : -1);
    }
    return fine;
}

static bool reduces(int64_t count)
{
    double values[MOST];
    bool fine = true;
    for (int64_t i = 0; i < MOST; ++i) /* exact: one rank has it, the others 0 */
        values[i] = i % world.size == world.rank ? 1.0 / (double)(i + 3) : 0.0;
    ald_collect_reduce(&world, values, count, MPI_DOUBLE, MPI_SUM);
    for (int64_t i = 0; i < MOST; ++i)
        fine &=
            values[i] == (i < count || i % world.size == world.rank ? 1.0 / (double)(i + 3) : 0.0);
    return fine;
}

static void pieces_of_any_size_give_the_same_bits(void **state)
{
    (void)state;
    const int64_t whole = ald_comm_piece(), pieces[] = {1, 2, 3, 7, 10, 41, whole};
    int64_t starts[world.size + 1];
    const ald_spread_t spread = {&world, starts, MPI_INT64_T};
    for (int way = 0; way < 3; ++way)
        for (int p = 0; p < 7; ++p) {
            set_starts(way, starts);
            ald_comm_piece_set(pieces[p]);
            EVERYWHERE(sums(&spread));
            EVERYWHERE(travels(&spread));
            EVERYWHERE(reduces(way == 0 ? 0 : 37 * way));
        }
    ald_comm_piece_set(whole);
}

static void broadcasts_and_sums_go_in_pieces(void **state)
{
    (void)state;
    const int64_t whole = ald_comm_piece();
    for (int64_t piece = 1; piece <= MOST; piece += 33) {
        int64_t counts[MOST];
        unsigned char data[MOST];
        bool fine = true;
        ald_comm_piece_set(piece);
        for (int i = 0; i < MOST; ++i)
            counts[i] = value(i, 1), data[i] = (unsigned char)(world.rank == 0 ? i + 5 : 0);
        ald_comm_sum(&world, counts, MOST);
        ald_comm_broadcast(&world, data, MOST, 0);
        for (int i = 0; i < MOST; ++i)
            fine &= counts[i] == world.size * value(i, 1) && data[i] == i + 5;
        EVERYWHERE(fine);
    }
    ald_comm_piece_set(whole);
}

static void starts_add_up(void **state)
{
    (void)state;
    int64_t starts[world.size + 1], sum = 0;
    bool fine = true;
    ald_collect_starts(&world, (int64_t)world.rank << 33, starts);
    for (int r = 0; r <= world.size; ++r) {
        fine &= starts[r] == sum;
        sum += (int64_t)r << 33;
    }
    EVERYWHERE(fine);
}

/* Those of 7.6 billion floats, of which nobody needs the memory: no count passes what a call may
 * have, and all of each share comes, in order. */
static void counts_beyond_32_bits_fit(void **state)
{
    (void)state;
    enum { RANKS = 4 };
    const ald_comm_t comm = {MPI_COMM_NULL, 2, RANKS};
    const int64_t starts[] = {0, 1903886336, 3807838208, 5711724544, 7615616512};
    const ald_spread_t spread = {&comm, starts, MPI_FLOAT};
    int counts[RANKS], firsts[RANKS];
    int64_t next[RANKS] = {0}, mine = 0;
    memcpy(next, starts, sizeof next);
    for (ald_piece_t p = {.counts = counts, .starts = firsts}; ald_collect_next(&spread, &p);) {
        int64_t sum = 0;
        for (int r = 0; r < RANKS; ++r) {
            assert_true(counts[r] >= 0 && firsts[r] >= 0);
            assert_true(counts[r] == 0 || p.first + firsts[r] == next[r]);
            next[r] += counts[r];
            sum += counts[r];
        }
        assert_true(sum == p.end - p.first && sum <= ald_comm_piece() && sum > 0);
        assert_true(counts[2] == 0 || p.mine == mine);
        mine += counts[2];
    }
    assert_memory_equal(next, starts + 1, sizeof next);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RANKS_TEST(pieces_of_any_size_give_the_same_bits),
        RANKS_TEST(broadcasts_and_sums_go_in_pieces),
        RANKS_TEST(starts_add_up),
        RANKS_TEST(counts_beyond_32_bits_fit),
    };
    RANKS_RUN(argc, argv, tests);
}
