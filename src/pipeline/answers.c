/* Answers in the forms that judges read: AlpacaEval's outputs, FastChat's and Arena-Hard's model
 * answers. So a judge runs on them as it is, without a script in between. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/layout.h"
#include "ald/role/generator.h"
#include "ald/text/style.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/turns_impl.h"

enum { ID_LENGTH = 22 }; /* digits of an answer's id: as many as those of FastChat's have */

static const ald_json_t *extra_of(const ald_answers_t *a, int64_t row, const char *key)
{
    return ald_json_get(a->data->pairs.rows[row].extra, key);
}

static ald_json_t *share_or(const ald_json_t *value, ald_json_t *otherwise)
{
    if (value == NULL)
        return otherwise;
    ald_json_free(otherwise);
    return ald_json_share(value);
}

/* Appends the texts of sample i, turn after turn, and their lengths in tokens. */
static ald_status_t texts_of(const ald_answers_t *a, int64_t i, ald_json_t *texts,
                             ald_json_t *lengths)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_response_t *response = &a->responses[i];
    for (size_t turn = 0; response != NULL; ++turn) {
        ald_json_t *text = NULL;
        bool ended = false;
        ALD_TRY(ald_sampled_text(a->data, response->ids, response->count, &ended, &text));
        ald_json_push(texts, text);
        ald_json_push(lengths, ald_json_new_integer(response->count - ended));
        int64_t next = ald_turns_find(a->turns, turn, i);
        response =
            next < 0 ? NULL : &ALD_VEC_AT(&a->turns->turns, ald_turn_t, turn).responses[next];
    }
done:
    return status;
}

/* Appends the samples of a row: a list of texts for each, and a list of their lengths. */
static ald_status_t samples_of(const ald_answers_t *a, int64_t row, ald_json_t *texts,
                               ald_json_t *lengths)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t s = 0; s < a->samples; ++s) {
        ald_json_t *mine = ald_json_new_array(), *sizes = ald_json_new_array();
        ald_json_push(texts, mine);
        ald_json_push(lengths, sizes);
        ALD_TRY(texts_of(a, row * a->samples + s, mine, sizes));
    }
done:
    return status;
}

/* Makes an answer's id from the model, the question and the texts, so that equal runs give equal
 * ids. */
static ald_status_t id_of(const ald_answers_t *a, const ald_json_t *question,
                          const ald_json_t *texts, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *parts[2] = {NULL, NULL}, hex[ALD_SHA256_HEX];
    ald_sha256_t sha;
    ALD_TRY(ald_json_dump(question, false, &parts[0]));
    ALD_TRY(ald_json_dump(texts, false, &parts[1]));
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, a->sha256, strlen(a->sha256));
    for (int i = 0; i < 2; ++i)
        ald_sha256_update(&sha, parts[i], strlen(parts[i]) + 1);
    ald_sha256_final(&sha, hex);
    *out = ald_json_new_text(hex, ID_LENGTH);
done:
    ald_free(parts[0]);
    ald_free(parts[1]);
    return status;
}

/* The "turns" of one choice: texts for MT-Bench, {"content", "token_len"} for Arena-Hard. */
static ald_json_t *turns_of(const ald_answers_t *a, const ald_json_t *texts,
                            const ald_json_t *lengths)
{
    if (a->data->pairs.layout == ALD_LAYOUT_MT_BENCH)
        return ald_json_share(texts);
    ald_json_t *turns = ald_json_new_array();
    for (size_t i = 0; i < ald_json_count(texts); ++i) {
        ald_json_t *turn = ald_json_new_object();
        ald_json_set(turn, "content", ald_json_share(ald_json_at(texts, i)));
        ald_json_set(turn, "token_len", ald_json_share(ald_json_at(lengths, i)));
        ald_json_push(turns, turn);
    }
    return turns;
}

static ald_json_t *choices_of(const ald_answers_t *a, const ald_json_t *texts,
                              const ald_json_t *lengths)
{
    ald_json_t *choices = ald_json_new_array();
    for (size_t s = 0; s < ald_json_count(texts); ++s) {
        ald_json_t *choice = ald_json_new_object();
        ald_json_set(choice, "index", ald_json_new_integer((int64_t)s));
        ald_json_set(choice, "turns", turns_of(a, ald_json_at(texts, s), ald_json_at(lengths, s)));
        ald_json_push(choices, choice);
    }
    return choices;
}

/* What Arena-Hard's style control reads of an answer: {"token_len", "header_count", "list_count",
 * "bold_count"}, by level or kind. */
static ald_status_t metadata_of(const ald_json_t *text, const ald_json_t *length, ald_json_t **out)
{
    static const char *const levels[] = {"h1", "h2", "h3", "h4", "h5", "h6"};
    ald_status_t status = ALD_STATUS_OK;
    size_t size = 0;
    const char *data = ald_json_text(text, &size);
    ald_style_t style;
    *out = ald_json_new_object();
    ALD_TRY(ald_style_count(data, size, &style));
    ald_json_t *headers = ald_json_new_object(), *lists = ald_json_new_object(),
               *bold = ald_json_new_object();
    for (int i = 0; i < 6; ++i)
        ald_json_set(headers, levels[i], ald_json_new_integer(style.headers[i]));
    ald_json_set(lists, "ordered", ald_json_new_integer(style.ordered));
    ald_json_set(lists, "unordered", ald_json_new_integer(style.unordered));
    ald_json_set(bold, "**", ald_json_new_integer(style.stars));
    ald_json_set(bold, "__", ald_json_new_integer(style.underscores));
    ald_json_set(*out, "token_len", ald_json_share(length));
    ald_json_set(*out, "header_count", headers);
    ald_json_set(*out, "list_count", lists);
    ald_json_set(*out, "bold_count", bold);
done:
    return status;
}

/* Fills in the answer to a question with a "question_id": {"question_id", "answer_id", "model_id",
 * "choices", "tstamp"}. */
static void fill_choices(const ald_answers_t *a, const ald_json_t *question, ald_json_t *id,
                         const ald_json_t *texts, const ald_json_t *lengths, ald_json_t *out)
{
    ald_json_set(out, "question_id", ald_json_share(question));
    ald_json_set(out, "answer_id", id);
    ald_json_set(out, "model_id", ald_json_new_string(a->model));
    ald_json_set(out, "choices", choices_of(a, texts, lengths));
    ald_json_set(out, "tstamp", ald_json_new_number(0.0));
}

/* Fills in the answer to one of Arena-Hard's newer questions, which have a "uid": {"uid", "ans_id",
 * "model", "messages", "tstamp", "metadata"}, of the first sample. */
static void fill_messages(const ald_answers_t *a, const char *prompt, const ald_json_t *uid,
                          ald_json_t *id, const ald_json_t *text, ald_json_t *metadata,
                          ald_json_t *out)
{
    static const char *const roles[] = {"user", "assistant"};
    ald_json_t *messages = ald_json_new_array(), *answer = ald_json_new_object();
    ald_json_set(answer, "answer", ald_json_share(text));
    for (int i = 0; i < 2; ++i) {
        ald_json_t *message = ald_json_new_object();
        ald_json_set(message, "role", ald_json_new_string(roles[i]));
        ald_json_set(message, "content", i == 0 ? ald_json_new_string(prompt) : answer);
        ald_json_push(messages, message);
    }
    ald_json_set(out, "uid", ald_json_share(uid));
    ald_json_set(out, "ans_id", id);
    ald_json_set(out, "model", ald_json_new_string(a->model));
    ald_json_set(out, "messages", messages);
    ald_json_set(out, "tstamp", ald_json_new_number(0.0));
    ald_json_set(out, "metadata", ald_json_share(metadata));
}

static ald_status_t fill_answer(const ald_answers_t *a, int64_t row, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *uid = extra_of(a, row, "uid");
    const char *prompt = ald_json_text(extra_of(a, row, "prompt"), NULL);
    ald_json_t *texts = ald_json_new_array(), *lengths = ald_json_new_array(), *id = NULL,
               *metadata = NULL;
    ald_json_t *question =
        share_or(extra_of(a, row, "question_id"),
                 share_or(uid, ald_json_new_integer(a->data->pairs.rows[row].id)));
    ALD_TRY(samples_of(a, row, texts, lengths));
    const ald_json_t *text = ald_json_at(ald_json_at(texts, 0), 0),
                     *length = ald_json_at(ald_json_at(lengths, 0), 0);
    ALD_TRY(metadata_of(text, length, &metadata));
    ALD_TRY(id_of(a, question, texts, &id));
    if (uid != NULL && prompt != NULL && extra_of(a, row, "question_id") == NULL)
        fill_messages(a, prompt, uid, id, text, metadata, out);
    else
        fill_choices(a, question, id, texts, lengths, out);
    if (uid == NULL && a->data->pairs.layout == ALD_LAYOUT_ARENA_HARD)
        ald_json_set(out, "conv_metadata", ald_json_share(metadata));
done:
    ald_json_free(metadata);
    ald_json_free(texts);
    ald_json_free(lengths);
    ald_json_free(question);
    return status;
}

static ald_status_t write_lines(const ald_answers_t *a, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    ALD_TRY(ald_writer_open(path, &writer));
    for (int64_t row = 0; row < a->rows; ++row) {
        ald_json_t *line = ald_json_new_object();
        status = fill_answer(a, row, line);
        if (status == ALD_STATUS_OK)
            status = ald_json_write_line(line, writer);
        else
            ald_json_free(line);
        ALD_TRY(status);
    }
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    return status;
}

/* Writes AlpacaEval's file: one JSON array of {"instruction", "output", "generator", "dataset"}, of
 * the first samples. */
static ald_status_t write_outputs(const ald_answers_t *a, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *list = ald_json_new_array();
    for (int64_t row = 0; row < a->rows; ++row) {
        const ald_response_t *response = &a->responses[row * a->samples];
        const ald_json_t *dataset = extra_of(a, row, "dataset");
        ald_json_t *output = NULL, *item = ald_json_new_object();
        ald_json_push(list, item);
        ALD_TRY(ald_sampled_text(a->data, response->ids, response->count, NULL, &output));
        ald_json_set(item, "instruction", ald_json_share(extra_of(a, row, "instruction")));
        ald_json_set(item, "output", output);
        ald_json_set(item, "generator", ald_json_new_string(a->model));
        if (extra_of(a, row, "input") != NULL)
            ald_json_set(item, "input", ald_json_share(extra_of(a, row, "input")));
        if (dataset != NULL)
            ald_json_set(item, "dataset", ald_json_share(dataset));
    }
    ALD_TRY(ald_json_write(list, path));
done:
    ald_json_free(list);
    return status;
}

ald_status_t ald_answers_write(const ald_answers_t *answers, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_layout_t layout = answers->data->pairs.layout;
    const char *name = layout == ALD_LAYOUT_ALPACA_EVAL  ? "alpaca_eval.json"
                       : layout == ALD_LAYOUT_MT_BENCH   ? "mt_bench.jsonl"
                       : layout == ALD_LAYOUT_ARENA_HARD ? "arena_hard.jsonl"
                                                         : NULL;
    if (name == NULL)
        return status;
    const bool named = layout != ALD_LAYOUT_ALPACA_EVAL;
    char *path = ald_path_join(folder, name);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(layout == ALD_LAYOUT_ALPACA_EVAL ? write_outputs(answers, path)
                                             : write_lines(answers, path));
    ald_log_info("answers for the judge of %s written to %s%s%s%s", ald_layout_name(layout), path,
                 named ? "; it takes the model's name from the file's: put it there as " : "",
                 named ? answers->model : "", named ? ".jsonl" : "");
done:
    ald_free(path);
    return status;
}
