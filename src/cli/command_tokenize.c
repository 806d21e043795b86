/* tokenize: ids, text and rendered conversations of a model directory's tokenizer.
 * It shows by the code that the stages use what they would see of a text or a row. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"
#include "ald/text/chat.h"
#include "ald/text/tokenizer.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"

/* The chat format is opened when a conversation first needs it: plain text works without. */
typedef struct {
    const ald_options_t *options;
    ald_tokenizer_t *tokenizer;
    ald_chat_t chat;
    bool chat_open;
    ald_vec_t ids, text;
} session_t;

static ald_status_t read_input(const char *path, char **data, size_t *size)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    char block[65536];
    size_t got;
    if (path != NULL)
        return ald_file_read(path, data, size);
    ald_vec_init(&text, 1);
    while ((got = fread(block, 1, sizeof block, stdin)) > 0)
        ALD_TRY(ald_vec_append(&text, block, got));
    ALD_CHECK(!ferror(stdin), ALD_STATUS_INPUT, "standard input: cannot be read");
    ALD_TRY(
        ald_vec_printf(&text, "%s", "")); /* appends the NUL that ald_file_read has behind a file */
    *data = text.data;
    *size = text.count;
    text.data = NULL;
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t print_json(const char *key, ald_json_t *value)
{
    ald_status_t status = ALD_STATUS_OK;
    char *line = NULL;
    ald_json_t *object = ald_json_new_object();
    ald_json_set(object, key, value);
    ALD_TRY(ald_json_dump(object, false, &line));
    puts(line);
done:
    ald_json_free(object);
    ald_free(line);
    return status;
}

static ald_status_t print_ids(const session_t *session)
{
    ald_json_t *list = NULL;
    if (session->options->count)
        return print_json("count", ald_json_new_integer((int64_t)session->ids.count));
    list = ald_json_new_array();
    for (size_t i = 0; i < session->ids.count; ++i)
        ald_json_push(list, ald_json_new_integer(ALD_VEC_AT(&session->ids, int32_t, i)));
    return print_json("ids", list);
}

static ald_status_t open_chat(session_t *session)
{
    ald_status_t status = ALD_STATUS_OK;
    if (session->chat_open)
        return status;
    status = ald_chat_open(session->options->chat_format, session->tokenizer, &session->chat);
    session->chat_open = status == ALD_STATUS_OK;
    return session->chat_open ? status
                              : ald_status_prefix(status, "%s", session->options->directory);
}

static ald_status_t encode(session_t *session, const char *text, size_t length)
{
    session->ids.count = 0;
    return ald_tokenizer_encode(session->tokenizer, text, length, &session->ids);
}

static ald_status_t render(session_t *session, const ald_json_t *messages)
{
    ald_status_t status = ALD_STATUS_OK;
    session->text.count = 0;
    ALD_TRY(open_chat(session));
    ALD_TRY(ald_chat_render(&session->chat, messages, session->options->generation_prompt,
                            &session->text));
done:
    return status;
}

static const ald_json_t *messages_of(const ald_json_t *row)
{
    return ald_json_is_array(row) ? row : ald_json_get(row, "messages");
}

static ald_status_t line_to_ids(session_t *session, const ald_json_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const char *text = ald_json_text(ald_json_get(row, "text"), &length);
    const ald_json_t *messages = messages_of(row);
    ALD_CHECK(text != NULL || messages != NULL, ALD_STATUS_INPUT,
              "expected {\"text\": string} or {\"messages\": list}");
    if (text != NULL) {
        ALD_TRY(encode(session, text, length));
    } else {
        ALD_TRY(render(session, messages));
        ALD_TRY(encode(session, session->text.data, session->text.count));
    }
    ALD_TRY(print_ids(session));
done:
    return status;
}

static ald_status_t line_to_text(session_t *session, const ald_json_t *row)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, "ids");
    int64_t size = ald_tokenizer_size(session->tokenizer);
    session->ids.count = 0;
    session->text.count = 0;
    ALD_CHECK(ald_json_is_array(list), ALD_STATUS_INPUT, "expected {\"ids\": list of integers}");
    for (size_t i = 0; i < ald_json_count(list); ++i) {
        int64_t id = ald_json_integer(ald_json_at(list, i), -1);
        int32_t narrow = (int32_t)id;
        ALD_CHECK(id >= 0 && id < size, ALD_STATUS_INPUT,
                  "\"ids\"[%zu]: expected an integer from 0 to %lld", i, (long long)size - 1);
        ALD_TRY(ald_vec_push(&session->ids, &narrow));
    }
    ALD_TRY(ald_tokenizer_decode(session->tokenizer, session->ids.data, session->ids.count, false,
                                 &session->text));
    ALD_TRY(print_json("text", session->text.count == 0
                                   ? ald_json_new_string("")
                                   : ald_json_new_text(session->text.data, session->text.count)));
done:
    return status;
}

/* A conversation that the format refuses is an answer here, not the end. */
static ald_status_t line_to_conversation(session_t *session, const ald_json_t *row)
{
    const ald_json_t *messages = messages_of(row);
    ald_status_t status = render(session, messages == NULL ? row : messages);
    if (status == ALD_STATUS_INPUT && session->chat_open && !session->chat.unknown)
        return print_json("error", ald_json_new_string(ald_status_message()));
    if (status != ALD_STATUS_OK)
        return status;
    return print_json("text", ald_json_new_text(session->text.data, session->text.count));
}

static ald_status_t run_lines(session_t *session, const char *data, size_t size)
{
    static ald_status_t (*const handlers[])(session_t *, const ald_json_t *) = {
        [ALD_TOKENIZE_JSONL] = line_to_ids,
        [ALD_TOKENIZE_DECODE] = line_to_text,
        [ALD_TOKENIZE_RENDER] = line_to_conversation,
    };
    ald_status_t status = ALD_STATUS_OK;
    const char *name = session->options->file == NULL ? "standard input" : session->options->file;
    ald_json_t *row = NULL;
    long line = 1;
    for (const char *at = data, *end = data + size; at < end; ++line) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline == NULL ? end : newline;
        if (strspn(at, " \t\r") < (size_t)(next - at)) {
            ALD_TRY(ald_json_parse(at, (size_t)(next - at), "not a JSON line", &row));
            ALD_TRY(handlers[session->options->mode](session, row));
        }
        ald_json_free(row);
        row = NULL;
        at = next + 1;
    }
done:
    ald_json_free(row);
    return status == ALD_STATUS_OK ? status : ald_status_prefix(status, "%s:%ld", name, line);
}

/* Prints a row's prompt and response, and which of the tokens are trained on. */
static ald_status_t print_mask(const ald_pair_t *row, const ald_text_t *response, bool count)
{
    ald_status_t status = ALD_STATUS_OK;
    char *line = NULL;
    const ald_text_t *parts[] = {&row->prompt, response};
    if (count)
        return print_json("count", ald_json_new_integer(row->prompt.count + response->count));
    ald_json_t *object = ald_json_new_object(), *ids = ald_json_new_array(),
               *mask = ald_json_new_array();
    for (int p = 0; p < 2; ++p)
        for (int64_t i = 0; i < parts[p]->count; ++i) {
            ald_json_push(ids, ald_json_new_integer(parts[p]->ids[i]));
            ald_json_push(mask, ald_json_new_integer(p));
        }
    ald_json_set(object, "ids", ids);
    ald_json_set(object, "mask", mask);
    ALD_TRY(ald_json_dump(object, false, &line));
    puts(line);
done:
    ald_json_free(object);
    ald_free(line);
    return status;
}

/* Prints a data file as sft sees it, or with --rejected the rejected responses, nothing cut. */
static ald_status_t run_mask(session_t *session)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t most = INT32_MAX;
    const bool rejected = session->options->rejected;
    ald_pairs_t pairs = {0};
    ALD_TRY(open_chat(session));
    const ald_pairs_options_t wanted = {.need = rejected ? ALD_PAIRS_REJECTED
                                                         : ALD_PAIRS_CHOSEN | ALD_PAIRS_TEXT,
                                        .tokenizer = session->tokenizer,
                                        .chat = &session->chat,
                                        .max_prompt = most,
                                        .max_response = most,
                                        .layout = session->options->layout};
    ALD_TRY(ald_pairs_load(session->options->file, &wanted, &pairs));
    ald_pairs_log(&pairs, session->options->file);
    for (int64_t i = 0; i < pairs.count; ++i)
        ALD_TRY(print_mask(&pairs.rows[i],
                           rejected ? &pairs.rows[i].rejected : &pairs.rows[i].chosen,
                           session->options->count));
done:
    ald_pairs_reset(&pairs);
    return status;
}

static ald_status_t run_text(session_t *session, const char *data, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(encode(session, data, size));
    if (session->options->count)
        printf("%zu", session->ids.count);
    for (size_t i = 0; i < session->ids.count && !session->options->count; ++i)
        printf("%s%d", i == 0 ? "" : " ", ALD_VEC_AT(&session->ids, int32_t, i));
    putchar('\n');
done:
    return status;
}

static ald_status_t tokenize(const ald_options_t *options)
{
    ald_status_t status = ALD_STATUS_OK;
    session_t session = {.options = options};
    char *data = NULL;
    size_t size = 0;
    ald_vec_init(&session.ids, sizeof(int32_t));
    ald_vec_init(&session.text, 1);
    ALD_CHECK(options->mode != ALD_TOKENIZE_MASK || options->file != NULL, ALD_STATUS_USAGE,
              "tokenize: --mask: FILE is missing");
    ALD_TRY(ald_tokenizer_open(options->directory, &session.tokenizer));
    if (options->mode != ALD_TOKENIZE_MASK)
        ALD_TRY(read_input(options->file, &data, &size));
    ALD_TRY(options->mode == ALD_TOKENIZE_MASK   ? run_mask(&session)
            : options->mode == ALD_TOKENIZE_TEXT ? run_text(&session, data, size)
                                                 : run_lines(&session, data, size));
    ALD_CHECK(fflush(stdout) == 0 && !ferror(stdout), ALD_STATUS_RESOURCE,
              "standard output: cannot be written");
done:
    ald_free(data);
    ald_vec_reset(&session.ids);
    ald_vec_reset(&session.text);
    ald_chat_close(&session.chat);
    ald_tokenizer_destroy(session.tokenizer);
    return status;
}

/* Rank 0 alone tokenises: the others would print the same. */
static ald_status_t run_tokenize(const ald_options_t *options, const ald_comm_t *world)
{
    return ald_comm_agree(world, world->rank == 0 ? tokenize(options) : ALD_STATUS_OK);
}

const ald_command_t ald_command_tokenize = {
    .bit = ALD_FOR_TOKENIZE,
    .name = "tokenize",
    .summary = "ids, text and rendered conversations",
    .help = "Reads FILE or standard input and prints the ids of its text on one line.\n",
    .run = run_tokenize,
};
