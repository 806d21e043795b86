/* Fuzzes tokenizers: tokenizer.json, 0xFF, tokenizer_config.json, 0xFF, special_tokens_map.json.
 * One that opens encodes a text, decodes it and every id, and renders a conversation. */
#include "ald/text/tokenizer.h"

#include "ald/base/json.h"
#include "ald/base/vec.h"
#include "ald/text/chat.h"
#include "fuzz.h"

static const char words[] = "Hello World 12,345.67 it's\r\n\n  A\tb\xc3\xa9\xcc\x81\xef\xac\x81 "
                            "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7"
                            "<s></s><|im_end|> \xd8\xb3\xd9\x84\xd8\xa7\xd9\x85  aaaaaaaaaaaa\n";

static ald_status_t convert(const ald_tokenizer_t *tokenizer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t ids, text;
    ald_vec_init(&ids, sizeof(int32_t));
    ald_vec_init(&text, 1);
    ALD_TRY(ald_tokenizer_encode(tokenizer, words, sizeof words - 1, &ids));
    for (size_t i = 0; i < ids.count; ++i)
        if (ALD_VEC_AT(&ids, int32_t, i) < 0 ||
            ALD_VEC_AT(&ids, int32_t, i) >= ald_tokenizer_size(tokenizer))
            abort();
    ALD_TRY(ald_tokenizer_decode(tokenizer, ids.data, ids.count, true, &text));
    for (int32_t id = 0; id < ald_tokenizer_size(tokenizer) && id < 1000; ++id)
        ALD_TRY(ald_tokenizer_decode(tokenizer, &id, 1, false, &text));
done:
    ald_vec_reset(&ids);
    ald_vec_reset(&text);
    return status;
}

static ald_status_t render(const ald_tokenizer_t *tokenizer)
{
    static const char messages[] = "[{\"role\": \"user\", \"content\": \"Tea?\"}]";
    ald_status_t status = ALD_STATUS_OK;
    ald_chat_t chat = {0};
    ald_json_t *json = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_json_parse(messages, sizeof messages - 1, "messages", &json));
    ALD_TRY(ald_chat_open(ALD_CHAT_FORMAT_AUTO, tokenizer, &chat));
    ALD_TRY(ald_chat_render(&chat, json, true, &text));
done:
    ald_chat_close(&chat);
    ald_json_free(json);
    ald_vec_reset(&text);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json"};
    fuzz_part_t parts[3];
    ald_tokenizer_t *tokenizer = NULL;
    fuzz_cut(data, size, 3, parts);
    for (int i = 0; i < 3; ++i)
        fuzz_file(names[i], parts[i].data, parts[i].size, i > 0);
    ald_status_t status = ald_tokenizer_open(fuzz_folder(), &tokenizer);
    if (status == ALD_STATUS_OK)
        status = convert(tokenizer);
    if (status == ALD_STATUS_OK)
        status = render(tokenizer);
    ald_tokenizer_destroy(tokenizer);
    fuzz_end(status, 0);
    return 0;
}
