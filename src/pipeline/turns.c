/* The later turns of benchmark questions. Each conversation so far is rendered as a prompt and
 * sampled like any other, all questions of a turn at once, so the generator knows no turns. */
#include "pipeline/turns_impl.h"

#include <stdlib.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"
#include "ald/role/generator.h"
#include "pipeline/sampling_impl.h"

bool ald_turns_any(const ald_dataset_t *data)
{
    return data->pairs.layout == ALD_LAYOUT_MT_BENCH;
}

static void turn_reset(ald_turn_t *turn)
{
    ald_free(turn->sample);
    ald_free(turn->responses);
    ald_pairs_reset(&turn->pairs);
}

void ald_turns_reset(ald_turns_t *turns)
{
    for (size_t i = 0; i < turns->turns.count; ++i)
        turn_reset(&ALD_VEC_AT(&turns->turns, ald_turn_t, i));
    ald_vec_reset(&turns->turns);
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t ald_turns_find(const ald_turns_t *turns, size_t turn, int64_t i)
{
    if (turn >= turns->turns.count)
        return -1;
    const ald_turn_t *t = &ALD_VEC_AT(&turns->turns, ald_turn_t, turn);
    const int64_t *found = t->pairs.count == 0 ? NULL
                                               : bsearch(&i, t->sample, (size_t)t->pairs.count,
                                                         sizeof *t->sample, by_number);
    return found == NULL ? -1 : found - t->sample;
}

static void push_message(ald_json_t *list, const char *role, ald_json_t *content)
{
    ald_json_t *message = ald_json_new_object();
    ald_json_set(message, "role", ald_json_new_string(role));
    ald_json_set(message, "content", content);
    ald_json_push(list, message);
}

/* Appends a line {"prompt"} of JSONL: what was asked and answered before turn `turn`, and its
 * question. */
static ald_status_t put_conversation(const ald_turns_t *turns, const ald_dataset_t *data,
                                     const ald_response_t *first, int64_t i,
                                     const ald_json_t *questions, size_t turn, ald_vec_t *lines)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ald_json_t *row = ald_json_new_object(), *prompt = ald_json_new_array();
    ald_json_set(row, "prompt", prompt);
    for (size_t k = 0; k < turn; ++k) {
        const ald_response_t *response = first;
        ald_json_t *answer = NULL;
        if (k > 0)
            response = &ALD_VEC_AT(&turns->turns, ald_turn_t, k - 1)
                            .responses[ald_turns_find(turns, k - 1, i)];
        ALD_TRY(ald_sampled_text(data, response->ids, response->count, NULL, &answer));
        push_message(prompt, "user", ald_json_share(ald_json_at(questions, k)));
        push_message(prompt, "assistant", answer);
    }
    push_message(prompt, "user", ald_json_share(ald_json_at(questions, turn)));
    ALD_TRY(ald_json_dump(row, false, &text));
    ALD_TRY(ald_vec_printf(lines, "%s\n", text));
done:
    ald_free(text);
    ald_json_free(row);
    return status;
}

/* Makes the prompts of turn `turn`; none when no question has it. */
static ald_status_t make_turn(const ald_config_t *config, const ald_turns_t *turns,
                              const ald_dataset_t *data, const ald_response_t *responses,
                              int64_t rows, int64_t samples, size_t turn, ald_turn_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_pairs_options_t options = {.need = ALD_PAIRS_PROMPT,
                                         .tokenizer = data->tokenizer,
                                         .chat = &data->chat,
                                         .max_prompt = config->data.max_prompt_tokens,
                                         .max_response = config->data.max_response_tokens,
                                         .layout = ALD_LAYOUT_PROMPTS};
    int64_t count = 0;
    ald_vec_t lines;
    ald_vec_init(&lines, 1);
    out->sample = ald_calloc((size_t)(rows * samples) + 1, sizeof *out->sample);
    ALD_CHECK_MEMORY(out->sample, (size_t)(rows * samples) * sizeof *out->sample);
    for (int64_t i = 0; i < rows * samples; ++i) {
        const ald_json_t *questions = ald_json_get(data->pairs.rows[i / samples].extra, "turns");
        if (ald_json_count(questions) <= turn)
            continue;
        out->sample[count++] = i;
        ALD_TRY(put_conversation(turns, data, &responses[i], i, questions, turn, &lines));
    }
    if (count > 0)
        ALD_TRY(ald_pairs_parse("a later turn", lines.data, lines.count, &options, &out->pairs));
    ALD_CHECK(out->pairs.count == count, ALD_STATUS_INPUT,
              "a later turn: %lld of %lld conversations can't be continued in chat format %s",
              (long long)(count - out->pairs.count), (long long)count, data->chat.name);
    for (int64_t k = 0; k < count;
         ++k) /* gives each sample a stream of random numbers of its own */
        out->pairs.rows[k].id =
            (int64_t)ald_rng_mix((uint64_t)data->pairs.rows[out->sample[k] / samples].id,
                                 (uint64_t)(out->sample[k] % samples));
done:
    ald_vec_reset(&lines);
    return status;
}

/* Samples answers to the prompts, which afterwards have the ids of their questions' rows. */
static ald_status_t sample_turn(const ald_generator_t *generator, const ald_dataset_t *data,
                                int64_t samples, size_t turn, const ald_partial_t *partial,
                                ald_turn_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_dataset_t later = *data; /* a copy with other prompts, which owns nothing */
    later.pairs = out->pairs;
    ALD_TRY(ald_sample_all(generator, &later, later.pairs.count, 1, (int64_t)turn, partial, true,
                           &out->responses));
    for (int64_t k = 0; k < out->pairs.count; ++k)
        out->pairs.rows[k].id = data->pairs.rows[out->sample[k] / samples].id;
done:
    return status;
}

ald_status_t ald_turns_sample(const ald_config_t *config, const ald_generator_t *generator,
                              const ald_dataset_t *data, const ald_response_t *responses,
                              int64_t rows, int64_t samples, const ald_partial_t *partial,
                              ald_turns_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool more = ald_turns_any(data);
    ald_vec_init(&out->turns, sizeof(ald_turn_t));
    for (size_t turn = 1; more; ++turn) {
        ald_turn_t next = {0};
        status = make_turn(config, out, data, responses, rows, samples, turn, &next);
        more = status == ALD_STATUS_OK && next.pairs.count > 0;
        if (more)
            status = ald_vec_push(&out->turns, &next);
        if (!more || status != ALD_STATUS_OK)
            turn_reset(&next);
        ALD_TRY(ald_comm_agree(partial->comm, status));
        if (more)
            ALD_TRY(sample_turn(generator, data, samples, turn, partial,
                                &ALD_VEC_AT(&out->turns, ald_turn_t, turn - 1)));
    }
done:
    return status;
}
