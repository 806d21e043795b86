/* The text layer on real tokenizers, templates and pairs, where ../shared/data (beside the
 * repository, or the folder ALD_SHARED) exists; skips, saying so, where it doesn't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/pairs.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"
#include "text/normalizer_impl.h"

static char shared[1024];

static bool find_shared(void)
{
    const char *given = getenv("ALD_SHARED");
    snprintf(shared, sizeof shared, "%s", given != NULL ? given : ALD_ROOT "/../shared/data");
    return ald_path_is_directory(shared);
}

static ald_tokenizer_t *open_tokenizer(const char *name)
{
    char path[1200];
    ald_tokenizer_t *tokenizer = NULL;
    snprintf(path, sizeof path, "%s/tokenizers/%s", shared, name);
    if (ald_tokenizer_open(path, &tokenizer) != ALD_STATUS_OK)
        fail_msg("%s", ald_status_message());
    return tokenizer;
}

/* Calls `check` with each line of a JSONL file; returns their number. */
static int for_each_line(const char *name,
                         void (*check)(const ald_json_t *row, int line, void *data), void *data)
{
    char path[1200], *text = NULL;
    size_t size = 0;
    int line = 0;
    snprintf(path, sizeof path, "%s/%s", shared, name);
    assert_int_equal(ald_file_read(path, &text, &size), ALD_STATUS_OK);
    for (char *at = text, *end; at < text + size; at = end + 1) {
        ald_json_t *row = NULL;
        end = memchr(at, '\n', (size_t)(text + size - at));
        end = end == NULL ? text + size : end;
        if (ald_json_parse(at, (size_t)(end - at), path, &row) != ALD_STATUS_OK)
            fail_msg("line %d: %s", line + 1, ald_status_message());
        check(row, ++line, data);
        ald_json_free(row);
    }
    ald_free(text);
    return line;
}

static bool normalize; /* whether the tokenizer under test asks for NFC */

static void check_encoding(const ald_json_t *row, int line, void *data)
{
    const ald_tokenizer_t *tokenizer = data;
    ald_vec_t ids, text, expected;
    size_t length = 0;
    const char *input = ald_json_text(ald_json_get(row, "text"), &length);
    const ald_json_t *wanted = ald_json_get(row, "ids");
    ald_vec_init(&ids, sizeof(int32_t));
    ald_vec_init(&text, 1);
    ald_vec_init(&expected, 1);
    assert_int_equal(ald_tokenizer_encode(tokenizer, input, length, &ids), ALD_STATUS_OK);
    if (ids.count != ald_json_count(wanted))
        fail_msg("line %d: %zu ids, expected %zu", line, ids.count, ald_json_count(wanted));
    for (size_t i = 0; i < ids.count; ++i)
        if (ALD_VEC_AT(&ids, int32_t, i) != ald_json_integer(ald_json_at(wanted, i), -1))
            fail_msg("line %d: id %zu is %d", line, i, ALD_VEC_AT(&ids, int32_t, i));
    assert_int_equal(ald_tokenizer_decode(tokenizer, ids.data, ids.count, false, &text),
                     ALD_STATUS_OK);
    ald_json_t *nfc = ald_json_new_object();
    ald_normalizer_t normalizer;
    ald_json_set(nfc, "type", ald_json_new_string("NFC"));
    assert_int_equal(ald_normalizer_load(normalize ? nfc : NULL, &normalizer), ALD_STATUS_OK);
    assert_int_equal(ald_normalizer_apply(&normalizer, input, length, &expected), ALD_STATUS_OK);
    if (text.count != expected.count ||
        (text.count > 0 && memcmp(text.data, expected.data, text.count) != 0))
        fail_msg("line %d: decoded text differs: %.*s", line, (int)text.count, (char *)text.data);
    ald_json_free(nfc);
    ald_normalizer_reset(&normalizer);
    ald_vec_reset(&ids);
    ald_vec_reset(&text);
    ald_vec_reset(&expected);
}

static void encodings_are_identical(void **state)
{
    static const char *const names[] = {"gpt2", "qwen2.5-instruct", "qwen3",
                                        "smollm2-135m-instruct"};
    (void)state;
    for (int i = 0; i < 4; ++i) {
        char file[100];
        ald_tokenizer_t *tokenizer = open_tokenizer(names[i]);
        snprintf(file, sizeof file, "encodings/%s.jsonl", names[i]);
        normalize = strncmp(names[i], "qwen", 4) == 0;
        print_message("%s: %d lines\n", file, for_each_line(file, check_encoding, tokenizer));
        ald_tokenizer_destroy(tokenizer);
    }
    assert_int_equal(ald_memory_blocks(), 0);
}

static void speed_is_reported(void **state)
{
    char path[1200], *text = NULL;
    size_t size = 0;
    ald_vec_t ids;
    (void)state;
    ald_tokenizer_t *tokenizer = open_tokenizer("qwen2.5-instruct");
    snprintf(path, sizeof path, "%s/text/tinyshakespeare.txt", shared);
    assert_int_equal(ald_file_read(path, &text, &size), ALD_STATUS_OK);
    ald_vec_init(&ids, sizeof(int32_t));
    double start = ald_time();
    assert_int_equal(ald_tokenizer_encode(tokenizer, text, size, &ids), ALD_STATUS_OK);
    print_message("%zu bytes, %zu ids: %.1f MB/s\n", size, ids.count,
                  (double)size / 1e6 / (ald_time() - start));
    ald_vec_reset(&ids);
    ald_free(text);
    ald_tokenizer_destroy(tokenizer);
}

typedef struct {
    ald_chat_t chat;
    bool generate;
    ald_vec_t conversations; /* ald_json_t *: lines of chats.jsonl, kept */
    int compared;
} templates_t;

static void keep_conversation(const ald_json_t *row, int line, void *data)
{
    ald_json_t *copy = ald_json_copy(row);
    (void)line;
    assert_int_equal(ald_vec_push(&((templates_t *)data)->conversations, &copy), ALD_STATUS_OK);
}

/* Equal to the template's own rendering. */
static void check_rendering(const ald_json_t *row, int line, void *data)
{
    templates_t *templates = data;
    const ald_json_t *messages = ALD_VEC_AT(&templates->conversations, ald_json_t *, line - 1);
    ald_vec_t text;
    size_t length = 0;
    const char *expected = ald_json_text(ald_json_get(row, "text"), &length);
    ald_vec_init(&text, 1);
    if (ald_chat_render(&templates->chat, messages, templates->generate, &text) != ALD_STATUS_OK)
        fail_msg("line %d: %s", line, ald_status_message());
    assert_non_null(expected);
    if (text.count != length || memcmp(text.data, expected, length) != 0)
        fail_msg("line %d: %.*s", line, (int)text.count, (char *)text.data);
    templates->compared++;
    ald_vec_reset(&text);
}

static void templates_render_identically(void **state)
{
    static const char *const names[] = {"qwen2.5-instruct", "qwen3", "smollm2-135m-instruct"};
    templates_t templates = {.compared = 0};
    (void)state;
    ald_vec_init(&templates.conversations, sizeof(ald_json_t *));
    for_each_line("templates/chats.jsonl", keep_conversation, &templates);
    for (int i = 0; i < 6; ++i) {
        char file[100];
        ald_tokenizer_t *tokenizer = open_tokenizer(names[i / 2]);
        if (ald_chat_open(ALD_CHAT_FORMAT_AUTO, tokenizer, &templates.chat) != ALD_STATUS_OK)
            fail_msg("%s", ald_status_message());
        templates.generate = i % 2 == 1;
        snprintf(file, sizeof file, "templates/%s%s.rendered.jsonl", names[i / 2],
                 templates.generate ? ".gen" : "");
        for_each_line(file, check_rendering, &templates);
        ald_tokenizer_destroy(tokenizer);
    }
    assert_int_equal(templates.compared, 30);
    for (size_t i = 0; i < templates.conversations.count; ++i)
        ald_json_free(ALD_VEC_AT(&templates.conversations, ald_json_t *, i));
    ald_vec_reset(&templates.conversations);
    assert_int_equal(ald_memory_blocks(), 0);
}

static void preference_pairs_load(void **state)
{
    static const struct {
        const char *file;
        int rows;
    } files[] = {{"hh_helpful_base.train.messages.jsonl", 1835},
                 {"hh_helpful_base.test.messages.jsonl", 495}};
    ald_chat_t chat;
    (void)state;
    ald_tokenizer_t *tokenizer = open_tokenizer("smollm2-135m-instruct");
    assert_int_equal(ald_chat_open(ALD_CHAT_FORMAT_AUTO, tokenizer, &chat), ALD_STATUS_OK);
    for (int i = 0; i < 2; ++i) {
        char path[1200];
        ald_pairs_t pairs;
        snprintf(path, sizeof path, "%s/pairs/%s", shared, files[i].file);
        const ald_pairs_options_t options = {.need = ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED,
                                             .tokenizer = tokenizer,
                                             .chat = &chat,
                                             .max_prompt = 512,
                                             .max_response = 64,
                                             .layout = ALD_LAYOUT_AUTO};
        double start = ald_time();
        if (ald_pairs_load(path, &options, &pairs) != ALD_STATUS_OK)
            fail_msg("%s", ald_status_message());
        print_message("%s: %lld rows in %.2f s, %lld prompts and %lld responses cut\n",
                      files[i].file, (long long)pairs.count, ald_time() - start,
                      (long long)pairs.counts.prompts_cut, (long long)pairs.counts.responses_cut);
        assert_int_equal(pairs.count, files[i].rows);
        assert_true(pairs.counts.responses_cut > 0);
        ald_pairs_reset(&pairs);
    }
    ald_tokenizer_destroy(tokenizer);
    assert_int_equal(ald_memory_blocks(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodings_are_identical),
        cmocka_unit_test(speed_is_reported),
        cmocka_unit_test(templates_render_identically),
        cmocka_unit_test(preference_pairs_load),
    };
    if (!find_shared()) {
        printf("skipped: there is no %s\n0 passed, 0 failed, 4 skipped\n", shared);
        return 0;
    }
    return cmocka_run_group_tests_name("text_shared", tests, NULL, NULL);
}
