/* Rows of conversations to tokens: where the answer begins, what a cut leaves, given texts. */
#include <zlib.h>

#include "ald/base/arena.h"
#include "ald/base/gzip.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/data/pairs.h"
#include "ald/data/pairs_pack.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"
#include "scratch.h"
#include "text/bpe_impl.h"

static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
static const char newlines[] = "\xC4\x8A"; /* how the vocabulary spells a newline */

/* Bytes, "\n\n", and ChatML's tokens; the whole text is one piece. */
static ald_tokenizer_t *make_tokenizer(void **state)
{
    uint16_t symbols[256];
    ald_vec_t text;
    ald_tokenizer_t *tokenizer = NULL;
    static const char level[] = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                                "\"trim_offsets\": false, \"use_regex\": false}";
    ald_byte_symbols(symbols);
    ald_vec_init(&text, 1);
    expect_ok(ald_vec_printf(&text, "{\"pre_tokenizer\": %s, \"decoder\": %s, \"added_tokens\": [",
                             level, level));
    for (int i = 0; i < 3; ++i)
        expect_ok(ald_vec_printf(&text, "%s{\"id\": %d, \"content\": \"%s\", \"special\": true}",
                                 i == 0 ? "" : ", ", 300 + i, specials[i]));
    expect_ok(ald_vec_printf(&text, "], \"model\": {\"type\": \"BPE\", \"vocab\": {"));
    for (int b = 0; b < 256; ++b)
        expect_ok(ald_vec_printf(&text, "\"\\u%04x\": %d, ", symbols[b], b));
    expect_ok(ald_vec_printf(&text, "\"%s%s\": 256}, \"merges\": [\"%s %s\"]}}", newlines, newlines,
                             newlines, newlines));
    scratch_file(state, "tokenizer.json", text.data, text.count);
    scratch_file(state, "tokenizer_config.json", "{\"eos_token\": \"<|endoftext|>\"}", 30);
    expect_ok(ald_tokenizer_open(*state, &tokenizer));
    ald_vec_reset(&text);
    return tokenizer;
}

static ald_status_t load(void **state, const char *rows, ald_chat_format_t format,
                         int64_t max_prompt, ald_pairs_t *out)
{
    ald_chat_t chat;
    ald_tokenizer_t *tokenizer = make_tokenizer(state);
    expect_ok(ald_chat_open(format, tokenizer, &chat));
    const char *path = scratch_file(state, "rows.jsonl", rows, strlen(rows));
    const ald_pairs_options_t options = {.need = ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED,
                                         .tokenizer = tokenizer,
                                         .chat = &chat,
                                         .max_prompt = max_prompt,
                                         .max_response = 1000,
                                         .layout = ALD_LAYOUT_AUTO};
    ald_status_t status = ald_pairs_load(path, &options, out);
    ald_tokenizer_destroy(tokenizer);
    return status;
}

/* What the ids say; "\n\n" as (2). */
static const char *spelled(const ald_text_t *text)
{
    static char out[2000];
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; i < text->count; ++i) {
        const int32_t id = text->ids[i];
        const char one[2] = {(char)id, '\0'};
        used += (size_t)snprintf(out + used, sizeof out - used, "%s",
                                 id >= 300   ? specials[id - 300]
                                 : id == 256 ? "(2)"
                                             : one);
    }
    return out;
}

static void expect_text(const ald_text_t *found, const char *expected)
{
    assert_string_equal(spelled(found), expected);
}

static const char header[] = "<|im_start|>user\nTea?<|im_end|>\n<|im_start|>assistant";

static void the_answer_begins_where_the_tokens_part(void **state)
{
    static const char rows[] =
        "{\"prompt\": \"Tea?\", \"chosen\": \"Yes\", \"rejected\": \"No\"}\n"
        "{\"prompt\": \"Tea?\", \"chosen\": \"\\nYes\", \"rejected\": \"No\"}\n"
        "{\"prompt\": \"Tea?\", \"chosen\": \"No\", \"rejected\": \"\\n\"}\n";
    ald_pairs_t pairs;
    char prompt[200];
    snprintf(prompt, sizeof prompt, "%s\n", header);
    expect_ok(load(state, rows, ALD_CHAT_FORMAT_CHATML, 1000, &pairs));
    assert_int_equal(pairs.counts.boundaries, 2);
    expect_text(&pairs.rows[0].prompt, prompt);
    expect_text(&pairs.rows[0].chosen, "Yes<|im_end|>");
    expect_text(&pairs.rows[0].rejected, "No<|im_end|>");
    expect_text(&pairs.rows[1].prompt, header); /* its newline has become part of a token */
    expect_text(&pairs.rows[1].chosen, "(2)Yes<|im_end|>");
    expect_text(&pairs.rows[1].rejected, "\nNo<|im_end|>");
    expect_text(&pairs.rows[2].prompt, header);
    expect_text(&pairs.rows[2].chosen, "\nNo<|im_end|>");
    expect_text(&pairs.rows[2].rejected, "(2)<|im_end|>");
    ald_pairs_reset(&pairs);
}

static void texts_are_taken_as_they_are(void **state)
{
    static const char rows[] =
        "{\"prompt_text\": \"Q: Tea?\\n\", \"chosen_text\": \"A: yes<|im_end|>\", "
        "\"rejected_text\": \"\\nno\", \"prompt\": 3}\n";
    static const ald_chat_format_t formats[] = {ALD_CHAT_FORMAT_CHATML, ALD_CHAT_FORMAT_NONE};
    for (int i = 0; i < 2; ++i) {
        ald_pairs_t pairs;
        expect_ok(load(state, rows, formats[i], 1000, &pairs));
        expect_text(&pairs.rows[0].prompt, "Q: Tea?");
        expect_text(&pairs.rows[0].chosen, "\nA: yes<|im_end|>");
        expect_text(&pairs.rows[0].rejected, "(2)no");
        ald_pairs_reset(&pairs);
    }
}

static void wrong_texts_are_refused(void **state)
{
    static const struct {
        const char *row, *words;
    } bad[] = {
        {"{\"prompt_text\": 3, \"chosen\": \"a\", \"rejected\": \"b\"}", "\"prompt_text\""},
        {"{\"prompt_text\": \"a\", \"chosen_text\": 3, \"rejected\": \"b\"}", "\"chosen\""},
        {"{\"prompt_text\": \"a\", \"chosen_text\": \"\", \"rejected\": \"b\"}", "is empty"},
        {"{\"prompt_text\": \"\\n\", \"chosen_text\": \"\\n\", \"rejected\": \"b\"}",
         "cannot be found"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        ald_pairs_t pairs;
        expect_failure(load(state, bad[i].row, ALD_CHAT_FORMAT_NONE, 1000, &pairs),
                       ALD_STATUS_INPUT, bad[i].words);
        assert_non_null(strstr(ald_status_message(), "rows.jsonl:1"));
    }
}

/* Every length of cut: what is left is an end of the prompt and never begins within markup. */
static void cuts_leave_markup_whole(void **state)
{
    static const char row[] = "{\"prompt\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, "
                              "{\"role\": \"user\", \"content\": \"Is there tea?\"}], "
                              "\"chosen\": \"Yes\", \"rejected\": \"No\"}\n";
    static const char *const markup[] = {"<|im_start|>system\n", "<|im_end|>\n<|im_start|>user\n",
                                         "<|im_end|>\n<|im_start|>assistant\n"};
    char whole[200];
    ald_pairs_t pairs;
    int moved = 0;
    snprintf(whole, sizeof whole, "%sBe brief.%sIs there tea?%s", markup[0], markup[1], markup[2]);
    expect_ok(load(state, row, ALD_CHAT_FORMAT_CHATML, 1000, &pairs));
    expect_text(&pairs.rows[0].prompt, whole);
    int64_t full = pairs.rows[0].prompt.count, last = 13; /* tokens of markup[2] */
    ald_pairs_reset(&pairs);
    for (int64_t most = last; most < full; ++most) {
        expect_ok(load(state, row, ALD_CHAT_FORMAT_CHATML, most, &pairs));
        assert_int_equal(pairs.counts.prompts_cut, 1);
        assert_true(pairs.rows[0].prompt.count <= most);
        const char *left = spelled(&pairs.rows[0].prompt);
        size_t at = strlen(whole) - strlen(left);
        assert_string_equal(left, whole + at);
        for (int i = 0; i < 3; ++i) {
            size_t start = (size_t)(strstr(whole, markup[i]) - whole);
            assert_true(at <= start || at >= start + strlen(markup[i]));
        }
        moved += pairs.rows[0].prompt.count < most;
        ald_pairs_reset(&pairs);
    }
    assert_int_equal(moved, 7 + 7); /* cuts behind the first of the 8 tokens of markup[0] and [1] */
    expect_failure(load(state, row, ALD_CHAT_FORMAT_CHATML, last - 1, &pairs), ALD_STATUS_INPUT,
                   "data.max_prompt_tokens = 12");
}

/* --- parts --------------------------------------------------------------------------------- */

static const char mixed_rows[] =
    "{\"prompt\": \"Tea?\", \"chosen\": \"Yes\", \"rejected\": \"No\", \"required\": [\"Yes\"]}\n"
    "{\"prompt\": \"Tea?\", \"chosen\": \"\", \"rejected\": \"No\"}\n"
    "{\"prompt\": \"A long question about tea, milk and sugar?\", \"chosen\": \"Yes\", "
    "\"rejected\": \"Yes\", \"score_chosen\": 1, \"score_rejected\": 1.0}\n"
    "\n"
    "{\"prompt\": \"Milk?\", \"chosen\": \"\\nYes\", \"rejected\": \"\"}\n"
    "{\"prompt\": \"Milk?\", \"chosen\": \"\\nYes\", \"rejected\": \"Some\", \"forbidden\": []}\n";

static void expect_same_text(const ald_text_t *a, const ald_text_t *b)
{
    assert_int_equal(a->count, b->count);
    if (a->count > 0)
        assert_memory_equal(a->ids, b->ids, (size_t)a->count * sizeof *a->ids);
    assert_int_equal(a->text == NULL, b->text == NULL);
    if (a->text != NULL)
        assert_string_equal(a->text, b->text);
}

static void expect_same_json(const ald_json_t *a, const ald_json_t *b)
{
    char *first = NULL, *second = NULL;
    assert_int_equal(a == NULL, b == NULL);
    if (a == NULL)
        return;
    expect_ok(ald_json_dump(a, false, &first));
    expect_ok(ald_json_dump(b, false, &second));
    assert_string_equal(first, second);
    ald_free(first);
    ald_free(second);
}

static void expect_same_pairs(const ald_pairs_t *a, const ald_pairs_t *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(&a->counts, &b->counts, sizeof a->counts);
    assert_memory_equal(a->first_skipped, b->first_skipped, sizeof a->first_skipped);
    assert_string_equal(a->sha256, b->sha256);
    for (int64_t i = 0; i < a->count; ++i) {
        const ald_pair_t *x = &a->rows[i], *y = &b->rows[i];
        assert_int_equal(x->id, y->id);
        assert_int_equal(x->line, y->line);
        assert_int_equal(x->policy_step, y->policy_step);
        expect_same_text(&x->prompt, &y->prompt);
        expect_same_text(&x->chosen, &y->chosen);
        expect_same_text(&x->rejected, &y->rejected);
        expect_same_text(&x->response, &y->response);
        expect_same_json(x->extra, y->extra);
    }
}

/* Packs each of the parts, then merges them into the place of part `keeper`. */
static void read_in_parts(const char *path, ald_pairs_options_t options, int keeper,
                          ald_pairs_t *out)
{
    ald_vec_t packed;
    ald_pairs_t part;
    ald_vec_init(&packed, 1);
    for (options.part = 0; options.part < options.parts; ++options.part) {
        expect_ok(ald_pairs_load(path, &options, &part));
        expect_ok(ald_pairs_pack(&part, &packed));
        assert_int_equal(packed.count % 8, 0);
        assert_int_equal(part.count, 0);
        if (options.part == keeper)
            *out = part;
        else
            ald_pairs_reset(&part);
    }
    expect_ok(ald_pairs_merge(path, &packed, out));
    assert_null(packed.data);
}

static void parts_make_the_whole(void **state)
{
    ald_chat_t chat;
    ald_pairs_t whole, merged;
    ald_tokenizer_t *tokenizer = make_tokenizer(state);
    expect_ok(ald_chat_open(ALD_CHAT_FORMAT_CHATML, tokenizer, &chat));
    const char *path = scratch_file(state, "rows.jsonl", mixed_rows, strlen(mixed_rows));
    ald_pairs_options_t options = {.need = ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED,
                                   .tokenizer = tokenizer,
                                   .chat = &chat,
                                   .max_prompt = 60,
                                   .max_response = 4,
                                   .layout = ALD_LAYOUT_AUTO};
    expect_ok(ald_pairs_load(path, &options, &whole));
    assert_int_equal(whole.counts.read, 5);
    assert_int_equal(whole.count, 3);
    assert_int_equal(whole.counts.skipped[ALD_SKIP_EMPTY], 2);
    assert_int_equal(whole.first_skipped[ALD_SKIP_EMPTY], 1);
    assert_int_equal(whole.counts.ties, 1);
    assert_int_equal(whole.counts.identical, 1);
    assert_int_equal(whole.counts.boundaries, 1);
    assert_int_equal(whole.rows[2].line, 6);
    for (options.parts = 1; options.parts < 9; ++options.parts) {
        read_in_parts(path, options, options.parts / 2, &merged);
        expect_same_pairs(&whole, &merged);
        ald_pairs_reset(&merged);
    }
    ald_pairs_reset(&whole);
    ald_tokenizer_destroy(tokenizer);
}

/* --- gzip ---------------------------------------------------------------------------------- */

/* A gzip file of `size` bytes of text that repeats itself now and then. */
static size_t compress_text(size_t size, char *text, unsigned char *out, size_t room)
{
    z_stream stream = {0};
    for (size_t i = 0; i < size; ++i)
        text[i] = (char)('a' + (i * i / 7 + i % 11) % 26);
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (unsigned char *)text;
    stream.avail_in = (unsigned)size;
    stream.next_out = out;
    stream.avail_out = (unsigned)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return room - stream.avail_out;
}

static void gzip_files_are_whole_or_refused(void **state)
{
    enum { SIZE = 5000 };
    static char text[SIZE];
    static unsigned char file[2 * SIZE];
    ald_vec_t out;
    (void)state;
    ald_vec_init(&out, 1);
    size_t size = compress_text(SIZE, text, file, sizeof file), refused = 0;
    expect_ok(ald_gzip_expand(file, size, "F", &out));
    assert_int_equal(out.count, SIZE);
    assert_memory_equal(out.data, text, SIZE);
    for (size_t cut = 2; cut < size; ++cut)
        expect_failure(ald_gzip_expand(file, cut, "F", &out), ALD_STATUS_INPUT,
                       "F: the gzip file is cut");
    for (size_t at = 10; at < size; ++at) { /* behind the header, whose time and name are free */
        file[at] ^= 0x40;
        out.count = 0;
        ald_status_t status = ald_gzip_expand(file, size, "F", &out);
        if (status == ALD_STATUS_OK) /* an unused bit of the last byte before the checksum */
            assert_true(out.count == SIZE && memcmp(out.data, text, SIZE) == 0);
        else
            expect_failure(status, ALD_STATUS_INPUT, "F: the gzip file is ");
        refused += status != ALD_STATUS_OK;
        file[at] ^= 0x40;
    }
    assert_true(refused >= size - 11);
    ald_vec_reset(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(the_answer_begins_where_the_tokens_part),
        SCRATCH_TEST(texts_are_taken_as_they_are),
        SCRATCH_TEST(wrong_texts_are_refused),
        SCRATCH_TEST(cuts_leave_markup_whole),
        SCRATCH_TEST(parts_make_the_whole),
        SCRATCH_TEST(gzip_files_are_whole_or_refused),
    };
    return cmocka_run_group_tests_name("pairs", tests, NULL, NULL);
}
