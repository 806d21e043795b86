/* Unit tests of the base layer. */
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/rng.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "scratch.h"

static void sha256_matches_fips_examples(void **state)
{
    (void)state;
    char hex[ALD_SHA256_HEX], million[1000];
    ald_sha256_t sha;
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, "abc", 3);
    ald_sha256_final(&sha, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    memset(million, 'a', sizeof million);
    ald_sha256_init(&sha);
    for (int i = 0; i < 1000; ++i)
        ald_sha256_update(&sha, million, sizeof million);
    ald_sha256_final(&sha, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* Known answers of Philox4x32-10 (the Random123 test vectors). */
static void philox_matches_known_answers(void **state)
{
    (void)state;
    uint32_t out[4];
    ald_philox(0, 0, 0, out);
    assert_int_equal(out[0], 0x6627e8d5);
    assert_int_equal(out[1], 0xe169c58d);
    assert_int_equal(out[2], 0xbc57ac4c);
    assert_int_equal(out[3], 0x9b00dbd8);
    ald_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, out);
    assert_int_equal(out[0], 0x408f276d);
    assert_int_equal(out[3], 0x6d5451fd);
}

static void permutation_has_each_number_once(void **state)
{
    (void)state;
    int64_t order[1000], seen[1000] = {0};
    ald_rng_permutation(7, 3, 1000, order);
    for (int i = 0; i < 1000; ++i)
        seen[order[i]]++;
    int moved = 0;
    for (int i = 0; i < 1000; ++i) {
        assert_int_equal(seen[i], 1);
        moved += order[i] != i;
    }
    assert_true(moved > 900);
}

/* From a mark with `before` bytes in front of it. */
static void check_reuse(size_t before)
{
    ald_arena_t arena;
    ald_arena_init(&arena);
    char *kept = ald_arena_alloc(&arena, before);
    memset(kept, 7, before);
    ald_arena_mark_t start = ald_arena_mark(&arena);
    for (size_t round = 1; round < 6; ++round) { /* rising, then equal */
        size_t step = round < 4 ? round * 30000 : 100000, total = 0;
        for (size_t i = 1; i < 40; ++i) {
            char *block = ald_arena_alloc(&arena, i * step);
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 64, 0);
            memset(block, 1, i * step);
            total += (i * step + 63) / 64 * 64;
        }
        ald_arena_release(&arena, start);
        ald_arena_release(&arena, start);
        assert_in_range(ald_memory_held(), total, total + (before > 0 ? 1 << 20 : 0) + 400);
    }
    for (size_t i = 0; i < before; ++i)
        assert_int_equal(kept[i], 7);
    ald_arena_reset(&arena);
    assert_int_equal(ald_memory_blocks(), 0);
}

static void arena_reuses_memory_after_release(void **state)
{
    (void)state;
    check_reuse(0);
    check_reuse(1000);
}

static void json_names_the_place_of_an_error(void **state)
{
    (void)state;
    ald_json_t *value = NULL;
    assert_int_equal(ald_json_parse("{\"a\": 1,\n \"b\": }", 16, "x.json", &value),
                     ALD_STATUS_INPUT);
    assert_non_null(strstr(ald_status_message(), "x.json:2:"));
    assert_int_equal(ald_json_parse("{\"a\": \"\xff\"}", 10, "x.json", &value), ALD_STATUS_INPUT);
}

static void json_reads_integers_of_any_length(void **state)
{
    (void)state;
    ald_json_t *json = NULL;
    const char *text = "{\"a\": [1000000000000000019884624838656, -99999999999999999999, 12, "
                       "0.12345678901234567890123, 1e5], \"1234567890123456789012\\\"\": "
                       "\"99999999999999999999\", \"b\": 9223372036854775807}";
    assert_int_equal(ald_json_parse(text, strlen(text), "x", &json), ALD_STATUS_OK);
    const ald_json_t *a = ald_json_get(json, "a");
    assert_true(fabs(ald_json_number(ald_json_at(a, 0), 0) / 1e30 - 1.0) < 1e-12);
    assert_true(fabs(ald_json_number(ald_json_at(a, 1), 0) / -1e20 - 1.0) < 1e-12);
    assert_int_equal(ald_json_integer(ald_json_at(a, 2), 0), 12);
    assert_true(fabs(ald_json_number(ald_json_at(a, 3), 0) - 0.12345678901234568) < 1e-15);
    assert_string_equal(ald_json_text(ald_json_get(json, "1234567890123456789012\""), NULL),
                        "99999999999999999999");
    assert_true(ald_json_is_number(ald_json_get(json, "b")));
    ald_json_free(json);
    text = "{\"a\": 99999999999999999999,}";
    assert_int_equal(ald_json_parse(text, strlen(text), "x", &json), ALD_STATUS_INPUT);
    assert_int_equal(ald_memory_blocks(), 0);
}

static void json_text_replaces_invalid_utf8(void **state)
{
    (void)state;
    ald_json_t *text = ald_json_new_text("a\xc3\xa9\xff\xed\xa0\x80", 7);
    assert_string_equal(ald_json_text(text, NULL),
                        "a\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    ald_json_free(text);
}

/* Text that could be taken for a mark of ours is text; a value that couldn't be made is noticed. */
static void json_refuses_what_could_not_be_built(void **state)
{
    (void)state;
    static const char text[] = "{\"\\u0001spoiled\":[\"\\u0001spoiled\"]}";
    ald_json_t *json = NULL;
    char *again = NULL;
    assert_int_equal(ald_json_parse(text, strlen(text), "x", &json), ALD_STATUS_OK);
    assert_int_equal(ald_json_dump(json, false, &again), ALD_STATUS_OK);
    assert_string_equal(again, "{\"\\u0001spoiled\": [\"\\u0001spoiled\"]}");
    ald_free(again);
    ald_json_set(json, "a", NULL);
    assert_int_equal(ald_json_dump(json, false, &again), ALD_STATUS_INTERNAL);
    ald_json_free(json);
    json = ald_json_new_array();
    ald_json_push(json, NULL);
    assert_int_equal(ald_json_dump(json, false, &again), ALD_STATUS_INTERNAL);
    ald_json_free(json);
}

static void vec_has_a_place_for_nothing(void **state)
{
    (void)state;
    ald_vec_t vec;
    ald_vec_init(&vec, 4);
    assert_int_equal(ald_vec_append(&vec, "", 0), ALD_STATUS_OK);
    assert_int_equal(vec.count, 0);
    assert_non_null(vec.data); /* an offset from NULL is no place */
    ald_vec_reset(&vec);
}

static void assert_shown(const char *text, bool lines, const char *expected)
{
    char out[256];
    assert_int_equal(ald_show(text, strlen(text), lines, out, sizeof out), strlen(expected));
    assert_string_equal(out, expected);
}

static void text_commands_no_terminal(void **state)
{
    (void)state;
    assert_shown("plain \tt\xc3\xa9 \xf0\x9f\x91\xa9 \\", false,
                 "plain \tt\xc3\xa9 \xf0\x9f\x91\xa9 \\");
    assert_shown("a\nb\r\n\x1b[31m\x07\x7f", true, "a\nb\\x0d\n\\x1b[31m\\x07\\x7f");
    assert_shown("a\nb", false, "a\\nb");
    assert_shown("\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", false, "\\x80\\x9b\\x9f\xc2\xa0");
    assert_shown("\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\xaf", false,
                 "\\u202a\\u202e\\u2066\\u2069\xe2\x80\xaf");
    assert_shown("\xff\xc2\xed\xa0\x80\xc0\x9b\xe2\x82", false,
                 "\\xff\\xc2\\xed\\xa0\\x80\\xc0\\x9b\\xe2\\x82");
    char out[6];
    assert_int_equal(ald_show("ab\x1b", 3, false, out, sizeof out), 2); /* whole, or not at all */
    assert_string_equal(out, "ab");
    static const char json[] = "[\"\x7f\xc2\x9b\xe2\x80\xae\xc3\xa9\"]\n";
    static const char plain[] = "[\"\\u007f\\u009b\\u202e\xc3\xa9\"]\n";
    char spelled[64];
    assert_int_equal(ald_show_json(json, strlen(json), NULL), strlen(plain));
    assert_int_equal(ald_show_json(json, strlen(json), spelled), strlen(plain));
    assert_memory_equal(spelled, plain, strlen(plain));
}

static void writer_gives_the_final_name_only_on_commit(void **state)
{
    (void)state;
    char folder[] = "/tmp/ald-base-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = ald_path_join(folder, "file");
    ald_writer_t *writer = NULL;
    assert_int_equal(ald_writer_open(path, &writer), ALD_STATUS_OK);
    assert_int_equal(ald_writer_write(writer, "one", 3), ALD_STATUS_OK);
    assert_false(ald_path_exists(path));
    ald_writer_discard(writer);
    char **names;
    size_t count;
    assert_int_equal(ald_dir_list(folder, &names, &count), ALD_STATUS_OK);
    assert_int_equal(count, 0);
    ald_names_free(names, count);
    assert_int_equal(ald_file_write(path, "two", 3), ALD_STATUS_OK);
    assert_int_equal(ald_file_size(path), 3);
    assert_int_equal(ald_dir_remove(folder), ALD_STATUS_OK);
    assert_false(ald_path_exists(folder));
    ald_free(path);
    assert_int_equal(ald_memory_blocks(), 0);
}

/* A name of a process that has ended goes; this process's, another host's and a like one stay. */
static void sweep_removes_what_dead_processes_left(void **state)
{
    char host[65] = "", name[160], **names;
    size_t count;
    gethostname(host, 64);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    snprintf(name, sizeof name, "a.h5.tmp-%s-%d", host, (int)child);
    const char *dead = scratch_file(state, name, "x", 1);
    siginfo_t info;
    pid_t waits = fork(); /* has ended, and waits for this process */
    if (waits == 0)
        _exit(0);
    waitid(P_PID, (id_t)waits, &info, WEXITED | WNOWAIT);
    snprintf(name, sizeof name, "b.h5.tmp-%s-%d", host, (int)waits);
    const char *ended = scratch_file(state, name, "x", 1);
    snprintf(name, sizeof name, "a.h5.tmp-other-%s-%d", host, (int)child);
    scratch_file(state, name, "x", 1);
    snprintf(name, sizeof name, "a.h5.tmp-%s-%dx", host, (int)child);
    scratch_file(state, name, "x", 1);
    char *mine = ald_path_temporary(scratch_path(state, "b"));
    expect_ok(ald_file_write(mine, "x", 1));
    expect_ok(ald_dir_sweep(*state));
    assert_false(ald_path_exists(dead));
    assert_false(ald_path_exists(ended));
    waitpid(waits, NULL, 0);
    assert_true(ald_path_exists(mine));
    expect_ok(ald_dir_list(*state, &names, &count));
    assert_int_equal(count, 3);
    ald_names_free(names, count);
    ald_free(mine);
    expect_ok(ald_dir_sweep(scratch_path(state, "nowhere")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_matches_fips_examples),
        cmocka_unit_test(philox_matches_known_answers),
        cmocka_unit_test(permutation_has_each_number_once),
        cmocka_unit_test(arena_reuses_memory_after_release),
        cmocka_unit_test(json_names_the_place_of_an_error),
        cmocka_unit_test(json_reads_integers_of_any_length),
        cmocka_unit_test(json_text_replaces_invalid_utf8),
        cmocka_unit_test(json_refuses_what_could_not_be_built),
        cmocka_unit_test(vec_has_a_place_for_nothing),
        cmocka_unit_test(text_commands_no_terminal),
        cmocka_unit_test(writer_gives_the_final_name_only_on_commit),
        SCRATCH_TEST(sweep_removes_what_dead_processes_left),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
