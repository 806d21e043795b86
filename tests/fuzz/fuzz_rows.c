/* Fuzzes data files: the bytes as JSONL, a JSON array or gzip of them, through the layouts to rows
 * of ids, and as ranks exchange them. Chat format and what is needed follow from the length, so
 * that an input always does the same. */
#include "ald/base/vec.h"
#include "ald/data/pairs.h"
#include "ald/data/pairs_pack.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"
#include "fuzz.h"

static const ald_chat_format_t formats[] = {ALD_CHAT_FORMAT_NONE,    ALD_CHAT_FORMAT_CHATML,
                                            ALD_CHAT_FORMAT_LLAMA3,  ALD_CHAT_FORMAT_LLAMA2,
                                            ALD_CHAT_FORMAT_MISTRAL, ALD_CHAT_FORMAT_ZEPHYR};
static const ald_pairs_need_t needs[] = {ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED,
                                         ALD_PAIRS_CHOSEN | ALD_PAIRS_TEXT, ALD_PAIRS_PROMPT,
                                         ALD_PAIRS_PRESENT, ALD_PAIRS_SCORED};

/* A tokenizer of the 256 bytes, as GPT-2 spells them, and of the formats' end tokens. */
static ald_tokenizer_t *make_tokenizer(void)
{
    static const char *const special[] = {"<s>", "</s>", "<|im_start|>", "<|im_end|>",
                                          "<|eot_id|>"};
    ald_tokenizer_t *tokenizer = NULL;
    ald_vec_t json;
    int moved = 256;
    ald_vec_init(&json, 1);
    ald_vec_printf(&json, "{\"model\": {\"type\": \"BPE\", \"merges\": [], \"vocab\": {");
    for (int b = 0; b < 256; ++b) {
        const bool kept = (b > 32 && b < 127) || (b > 160 && b != 173);
        ald_vec_printf(&json, "%s\"\\u%04x\": %d", b > 0 ? ", " : "", kept ? b : moved++, b);
    }
    ald_vec_printf(&json, "}}, \"added_tokens\": [");
    for (int i = 0; i < 5; ++i)
        ald_vec_printf(&json,
                       "%s{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": "
                       "false, \"rstrip\": false, \"normalized\": false, \"special\": true}",
                       i > 0 ? ", " : "", 256 + i, special[i]);
    ald_vec_printf(&json,
                   "], \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}, "
                   "\"decoder\": {\"type\": \"ByteLevel\"}}");
    fuzz_file("tokenizer.json", json.data, json.count, false);
    static const char config[] = "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}";
    fuzz_file("tokenizer_config.json", config, sizeof config - 1, false);
    ald_vec_reset(&json);
    if (ald_tokenizer_open(fuzz_folder(), &tokenizer) != ALD_STATUS_OK) {
        fprintf(stderr, "%s\n", ald_status_message());
        abort();
    }
    return tokenizer;
}

static void check_rows(const ald_pairs_t *pairs)
{
    for (int64_t i = 0; i < pairs->count; ++i) {
        const ald_text_t texts[] = {pairs->rows[i].prompt, pairs->rows[i].chosen,
                                    pairs->rows[i].rejected, pairs->rows[i].response};
        for (int k = 0; k < 4; ++k) {
            if (texts[k].count > 64)
                abort();
            for (int64_t t = 0; t < texts[k].count; ++t)
                if (texts[k].ids[t] < 0 || texts[k].ids[t] > 260)
                    abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ald_tokenizer_t *tokenizer;
    static size_t held;
    if (tokenizer == NULL) {
        tokenizer = make_tokenizer();
        held = ald_memory_blocks();
    }
    ald_chat_t chat = {0};
    ald_pairs_t pairs = {0};
    ald_vec_t packed;
    ald_vec_init(&packed, 1);
    ald_status_t status = ald_chat_open(formats[size % 6], tokenizer, &chat);
    const ald_pairs_options_t options = {.need = needs[size / 6 % 5],
                                         .tokenizer = tokenizer,
                                         .chat = &chat,
                                         .max_prompt = 64,
                                         .max_response = 64,
                                         .layout = ALD_LAYOUT_AUTO,
                                         .shuffle = size / 30 % 2 != 0,
                                         .max_rows = 8};
    if (status == ALD_STATUS_OK)
        status = ald_pairs_load(fuzz_file("rows.jsonl", data, size, false), &options, &pairs);
    if (status == ALD_STATUS_OK) {
        check_rows(&pairs);
        status = ald_pairs_pack(&pairs, &packed);
    }
    if (status == ALD_STATUS_OK)
        status = ald_pairs_merge("rows.jsonl", &packed, &pairs);
    if (status == ALD_STATUS_OK)
        check_rows(&pairs);
    ald_vec_reset(&packed);
    ald_pairs_reset(&pairs);
    ald_chat_close(&chat);
    fuzz_end(status, held);
    return 0;
}
