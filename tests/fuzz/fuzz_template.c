/* Fuzzes chat templates that are run: a template, 0xFF, messages as JSON (without them, some of
 * ours). What compiles renders them with and without the generation prompt. */
#include "ald/base/json.h"
#include "ald/base/vec.h"
#include "ald/text/chat.h"
#include "fuzz.h"
#include "text/jinja_impl.h"

static const char ours[] =
    "[{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \" "
    "2+2? "
    "\\u00e9\\u65e5\"}, {\"role\": \"assistant\", \"content\": null, \"tool_calls\": "
    "[{\"function\": "
    "{\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, null, true]}}}]}, {\"role\": \"tool\", "
    "\"content\": \"4\"}, {\"role\": \"assistant\", \"content\": \"<think>x</think>4\"}]";

/* The places of markup lie within the text, one behind the other. */
static void check_markup(const ald_vec_t *text, const ald_vec_t *markup)
{
    size_t end = 0;
    for (size_t i = 0; i < markup->count; ++i) {
        const ald_chat_span_t span = ALD_VEC_AT(markup, ald_chat_span_t, i);
        if (span.start < end || span.end < span.start || span.end > text->count)
            abort();
        end = span.end;
    }
}

static ald_status_t render(const ald_jinja_t *jinja, const ald_json_t *messages, bool prompt)
{
    const ald_jinja_input_t input = {messages, prompt, "<s>", "</s>"};
    ald_vec_t text, markup;
    ald_vec_init(&text, 1);
    ald_vec_init(&markup, sizeof(ald_chat_span_t));
    ald_chat_writer_t writer = {&text, &markup};
    ald_status_t status = ald_jinja_render(jinja, &input, &writer);
    if (status == ALD_STATUS_OK)
        check_markup(&text, &markup);
    ald_vec_reset(&text);
    ald_vec_reset(&markup);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part_t parts[2];
    ald_jinja_t *jinja = NULL;
    ald_json_t *messages = NULL;
    fuzz_folder(); /* which turns warnings off */
    fuzz_cut(data, size, 2, parts);
    char *text = malloc(parts[0].size + 1);
    memcpy(text, parts[0].data, parts[0].size);
    text[parts[0].size] = '\0';
    const char *json = parts[1].size > 0 ? (const char *)parts[1].data : ours;
    ald_status_t status = ald_json_parse(json, parts[1].size > 0 ? parts[1].size : sizeof ours - 1,
                                         "messages", &messages);
    if (status == ALD_STATUS_OK)
        status = ald_jinja_compile(text, &jinja);
    free(text);
    for (int prompt = 0; prompt < 2 && status == ALD_STATUS_OK; ++prompt)
        status = render(jinja, messages, prompt != 0);
    ald_jinja_destroy(jinja);
    ald_json_free(messages);
    fuzz_end(status, 0);
    return 0;
}
