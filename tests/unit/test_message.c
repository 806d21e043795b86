/* Messages between ranks, and to oneself, on as many as mpirun starts: bytes, tags, order,
 * failures. What ends the job (deadlines, faults) is in endings_test.py. */
#include <time.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/par/message.h"
#include "ranks.h"

enum { LARGE = 3 << 20 }; /* larger than what MPI sends ahead */

static int next_rank(void)
{
    return (world.rank + 1) % world.size;
}

static int previous_rank(void)
{
    return (world.rank + world.size - 1) % world.size;
}

static void send_text(int to, ald_tag_t tag, const char *text, ald_sending_t *out)
{
    ald_message_send(&world, to, tag, ALD_STATUS_OK, text, (int64_t)strlen(text), out);
}

static bool receives_text(int from, ald_tag_t tag, const char *text)
{
    ald_vec_t data;
    ald_vec_init(&data, 1);
    ald_status_t status = ald_message_receive(&world, from, tag, &data);
    bool fine = has_status(status, ALD_STATUS_OK, "") && data.count == strlen(text) &&
                (data.count == 0 || memcmp(data.data, text, data.count) == 0);
    ald_vec_reset(&data);
    return fine;
}

static unsigned char pattern(int64_t i, int rank)
{
    return (unsigned char)(i * 31 + i / 256 + rank);
}

/* Around the ring, into a vec that held something else. */
static bool goes_round(int64_t bytes)
{
    static unsigned char data[LARGE];
    ald_sending_t sending;
    ald_vec_t got;
    for (int64_t i = 0; i < bytes; ++i)
        data[i] = pattern(i, world.rank);
    ald_message_send(&world, next_rank(), ALD_TAG_SAMPLES, ALD_STATUS_OK, data, bytes, &sending);
    ald_vec_init(&got, 1);
    bool fine = ald_vec_append(&got, "what was here before", 20) == ALD_STATUS_OK;
    fine &= ald_message_receive(&world, previous_rank(), ALD_TAG_SAMPLES, &got) == ALD_STATUS_OK;
    ald_message_finish(&sending);
    fine &= got.count == (size_t)bytes;
    for (int64_t i = 0; fine && i < bytes; ++i)
        fine = ((unsigned char *)got.data)[i] == pattern(i, previous_rank());
    ald_vec_reset(&got);
    return fine;
}

static void bytes_arrive_as_they_are(void **state)
{
    (void)state;
    const int64_t sizes[] = {0, 1, 1000, LARGE};
    for (int i = 0; i < 4; ++i)
        EVERYWHERE(goes_round(sizes[i]));
}

/* As those of more than 2 GiB do. */
static void pieces_are_put_together(void **state)
{
    (void)state;
    const int64_t whole = ald_comm_piece(), sizes[] = {0, 1, 999, 1000, 1001, 20500};
    ald_comm_piece_set(1000);
    for (int i = 0; i < 6; ++i)
        EVERYWHERE(goes_round(sizes[i]));
    ald_comm_piece_set(whole);
}

/* A receiver takes the tags in its own order; those of one tag come as they were sent. */
static void tags_are_kept_apart_and_one_tag_in_order(void **state)
{
    (void)state;
    ald_sending_t sendings[3];
    send_text(next_rank(), ALD_TAG_SAMPLES, "first", &sendings[0]);
    send_text(next_rank(), ALD_TAG_SHARD, "path", &sendings[1]);
    send_text(next_rank(), ALD_TAG_SAMPLES, "second", &sendings[2]);
    bool path = receives_text(previous_rank(), ALD_TAG_SHARD, "path");
    bool first = receives_text(previous_rank(), ALD_TAG_SAMPLES, "first");
    bool second = receives_text(previous_rank(), ALD_TAG_SAMPLES, "second");
    for (int i = 0; i < 3; ++i)
        ald_message_finish(&sendings[i]);
    EVERYWHERE(path);
    EVERYWHERE(first && second);
}

static void senders_are_kept_apart(void **state)
{
    (void)state;
    ald_sending_t sendings[16];
    char text[16];
    bool fine = true;
    for (int to = 0; to < world.size; ++to) {
        static char texts[16][16];
        snprintf(texts[to], sizeof texts[to], "%d to %d", world.rank, to);
        send_text(to, ALD_TAG_SHARD, texts[to], &sendings[to]);
    }
    for (int from = world.size - 1; from >= 0; --from) {
        snprintf(text, sizeof text, "%d to %d", from, world.rank);
        fine &= receives_text(from, ALD_TAG_SHARD, text);
    }
    for (int to = 0; to < world.size; ++to)
        ald_message_finish(&sendings[to]);
    EVERYWHERE(fine);
}

/* As long as a message can be, and another on each rank. */
static const char *reason_of(int rank)
{
    static char reason[1024];
    memset(reason, 'x', sizeof reason - 1);
    reason[0] = (char)('a' + rank);
    return reason;
}

/* The receiver fails as the sender did; the next message is a message again. */
static void a_failure_arrives_with_its_words(void **state)
{
    (void)state;
    ald_sending_t failed, good;
    ald_vec_t data;
    ald_vec_init(&data, 1);
    ald_status_t status = ald_status_raise(ALD_STATUS_RESOURCE, "%s", reason_of(world.rank));
    ald_message_send(&world, next_rank(), ALD_TAG_SHARD, status, "unseen", 6, &failed);
    send_text(next_rank(), ALD_TAG_SHARD, "after it", &good);
    ald_status_raise(ALD_STATUS_USAGE, "something else");
    status = ald_message_receive(&world, previous_rank(), ALD_TAG_SHARD, &data);
    bool fine = has_status(status, ALD_STATUS_RESOURCE, reason_of(previous_rank()));
    bool after = receives_text(previous_rank(), ALD_TAG_SHARD, "after it");
    ald_message_finish(&failed);
    ald_message_finish(&good);
    EVERYWHERE(fine && data.count == 0);
    EVERYWHERE(after);
    ald_vec_reset(&data);
}

/* Nobody receives yet when all have sent: a send that blocked would hang here. */
static void sends_do_not_wait_for_a_receiver(void **state)
{
    (void)state;
    static char data[LARGE];
    ald_sending_t sendings[3];
    ald_vec_t got;
    bool fine = true;
    for (int i = 0; i < 3; ++i)
        ald_message_send(&world, next_rank(), ALD_TAG_SAMPLES, ALD_STATUS_OK, data, LARGE,
                         &sendings[i]);
    MPI_Barrier(world.mpi);
    ald_vec_init(&got, 1);
    for (int i = 0; i < 3; ++i)
        fine &=
            ald_message_receive(&world, previous_rank(), ALD_TAG_SAMPLES, &got) == ALD_STATUS_OK &&
            got.count == LARGE;
    for (int i = 0; i < 3; ++i)
        ald_message_finish(&sendings[i]);
    ald_vec_reset(&got);
    EVERYWHERE(fine);
}

static void a_message_within_the_deadline_is_waited_for(void **state)
{
    (void)state;
    ald_sending_t sending = {0};
    bool last = world.rank == world.size - 1, fine = true;
    if (last && world.size > 1)
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    if (last)
        send_text(0, ALD_TAG_SHARD, "late", &sending);
    if (world.rank == 0)
        fine = receives_text(world.size - 1, ALD_TAG_SHARD, "late");
    if (last)
        ald_message_finish(&sending);
    EVERYWHERE(fine);
}

/* A second finish, and one of what was never sent, do nothing. */
static void finishing_takes_a_finished_one(void **state)
{
    (void)state;
    ald_sending_t sending, never = {0};
    send_text(world.rank, ALD_TAG_SAMPLES, "to myself", &sending);
    bool fine = receives_text(world.rank, ALD_TAG_SAMPLES, "to myself");
    ald_message_finish(&sending);
    ald_message_finish(&sending);
    ald_message_finish(&never);
    EVERYWHERE(fine && sending.header == NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        RANKS_TEST(bytes_arrive_as_they_are),
        RANKS_TEST(pieces_are_put_together),
        RANKS_TEST(tags_are_kept_apart_and_one_tag_in_order),
        RANKS_TEST(senders_are_kept_apart),
        RANKS_TEST(a_failure_arrives_with_its_words),
        RANKS_TEST(sends_do_not_wait_for_a_receiver),
        RANKS_TEST(a_message_within_the_deadline_is_waited_for),
        RANKS_TEST(finishing_takes_a_finished_one),
    };
    RANKS_RUN(argc, argv, tests);
}
