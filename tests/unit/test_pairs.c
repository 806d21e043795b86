/* Rows of conversations to tokens: where the answer begins, what a cut leaves, given texts. */
#include "scratch.h"

#include "ald/pairs.h"
#include "text/bpe.h"

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

static ald_status_t load(void **state, const char *rows, const char *format, int64_t max_prompt,
                         ald_pairs_t *out)
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
                                         .layout = ALD_LAYOUT_COUNT};
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
    expect_ok(load(state, rows, "chatml", 1000, &pairs));
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
    static const char *const formats[] = {"chatml", "none"};
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
        expect_failure(load(state, bad[i].row, "none", 1000, &pairs), ALD_STATUS_INPUT,
                       bad[i].words);
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
    expect_ok(load(state, row, "chatml", 1000, &pairs));
    expect_text(&pairs.rows[0].prompt, whole);
    int64_t full = pairs.rows[0].prompt.count, last = 13; /* tokens of markup[2] */
    ald_pairs_reset(&pairs);
    for (int64_t most = last; most < full; ++most) {
        expect_ok(load(state, row, "chatml", most, &pairs));
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
    expect_failure(load(state, row, "chatml", last - 1, &pairs), ALD_STATUS_INPUT,
                   "data.max_prompt_tokens = 12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(the_answer_begins_where_the_tokens_part),
        SCRATCH_TEST(texts_are_taken_as_they_are),
        SCRATCH_TEST(wrong_texts_are_refused),
        SCRATCH_TEST(cuts_leave_markup_whole),
    };
    return cmocka_run_group_tests_name("pairs", tests, NULL, NULL);
}
