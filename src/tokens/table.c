/* The one table of columns, and rows of tokens that have them. Who fills a row makes room for what
 * it knows; what isn't there stays NULL, so that no writer takes the unknown for a zero. */
#include "ald/tokens/table.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

static const ald_column_row_t columns[ALD_COLUMNS] = {
    [ALD_COLUMN_POLICY] = {"policy", "log p, student",
                           "log-probability of the token under the student; in a shard that of the "
                           "policy when it sampled the token",
                           ALD_SCALE_LOW, true},
    [ALD_COLUMN_TEACHER] = {"teacher", "log p, teacher",
                            "log-probability of the token under the composed teacher",
                            ALD_SCALE_LOW, true},
    [ALD_COLUMN_DPO] = {"dpo", "log p, DPO model",
                        "log-probability of the token under the DPO model", ALD_SCALE_LOW, true},
    [ALD_COLUMN_CONTRAST] =
        {"contrast", "log p, contrast",
         "log-probability of the token under the contrast, the reverse model or "
         "the reference",
         ALD_SCALE_LOW, true},
    [ALD_COLUMN_REFERENCE] =
        {"reference", "log p, reference",
         "log-probability of the token under the reference beside the contrast", ALD_SCALE_LOW,
         false},
    [ALD_COLUMN_REWARD] = {"reward", "reward",
                           "beta0 (log p of the DPO model - log p of the contrast) of the token",
                           ALD_SCALE_SIGNED, true},
    [ALD_COLUMN_TVD] = {"tvd", "TVD",
                        "total variation distance of DPO model and contrast, from 0 to 1",
                        ALD_SCALE_HIGH, true},
    [ALD_COLUMN_ALPHA] = {"alpha", "alpha", "strength of the extrapolation", ALD_SCALE_HIGH, true},
    [ALD_COLUMN_WEIGHT] = {"weight", "weight", "weight of the token's loss, beta0/alpha or 1",
                           ALD_SCALE_HIGH, true},
    [ALD_COLUMN_EXPECTED] = {"expected", "expected reward",
                             "mean reward of the student's next token", ALD_SCALE_SIGNED, false},
    [ALD_COLUMN_KL_TEACHER] = {"kl_teacher", "KL to teacher",
                               "KL(student || teacher) in nats, before the weight", ALD_SCALE_HIGH,
                               true},
    [ALD_COLUMN_KL_DPO] = {"kl_dpo", "KL to DPO model", "KL(student || DPO model) in nats",
                           ALD_SCALE_HIGH, false},
    [ALD_COLUMN_ENTROPY] = {"entropy", "entropy, student", "entropy of the student in nats",
                            ALD_SCALE_HIGH, false},
    [ALD_COLUMN_ENTROPY_TEACHER] = {"entropy_teacher", "entropy, teacher",
                                    "entropy of the composed teacher in nats", ALD_SCALE_HIGH,
                                    false},
    [ALD_COLUMN_ENTROPY_DPO] = {"entropy_dpo", "entropy, DPO model",
                                "entropy of the DPO model in nats", ALD_SCALE_HIGH, false},
};

const ald_column_row_t *ald_column_row(ald_column_t column)
{
    return &columns[column];
}

const char *ald_voice_name(ald_voice_t voice)
{
    static const char *const names[ALD_VOICES] = {
        [ALD_VOICE_TEACHER] = "teacher", [ALD_VOICE_POLICY] = "policy", [ALD_VOICE_DPO] = "dpo"};
    return names[voice];
}

void ald_tokens_init(const ald_tokenizer_t *tokenizer, const char *title, const char *settings,
                     ald_tokens_t *out)
{
    *out = (ald_tokens_t){.tokenizer = tokenizer, .title = title, .settings = settings};
    ald_vec_init(&out->rows, sizeof(ald_token_row_t));
}

void ald_tokens_reset(ald_tokens_t *tokens)
{
    ald_vec_reset(&tokens->rows);
    ald_arena_reset(&tokens->arena);
}

ald_status_t ald_tokens_add(ald_tokens_t *tokens, int64_t row, const char *prompt,
                            ald_token_row_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_token_row_t new = {.row = row, .dataset_row = -1};
    new.prompt = ald_arena_strdup(&tokens->arena, prompt, strlen(prompt));
    ALD_CHECK_MEMORY(new.prompt, strlen(prompt));
    ALD_TRY(ald_vec_push(&tokens->rows, &new));
    *out = &ALD_VEC_AT(&tokens->rows, ald_token_row_t, tokens->rows.count - 1);
done:
    return status;
}

ald_status_t ald_tokens_respond(ald_tokens_t *tokens, ald_token_row_t *row, const char *name,
                                const int32_t *ids, int64_t count, ald_token_list_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_token_list_t *list = *out = &row->list[row->lists];
    int32_t *copy = ALD_ARENA_ARRAY(&tokens->arena, int32_t, count + 1);
    *list = (ald_token_list_t){.count = count, .ids = copy};
    list->name = ald_arena_strdup(&tokens->arena, name, strlen(name));
    ALD_CHECK(copy != NULL && list->name != NULL, ALD_STATUS_RESOURCE,
              "out of memory: a response of %lld tokens", (long long)count);
    memcpy(copy, ids, sizeof *ids * (size_t)count);
    ++row->lists;
done:
    return status;
}

ald_status_t ald_tokens_column(ald_tokens_t *tokens, ald_token_list_t *list, ald_column_t column)
{
    ald_status_t status = ALD_STATUS_OK;
    double *values = ALD_ARENA_ARRAY(&tokens->arena, double, list->count + 1);
    ALD_CHECK_MEMORY(values, sizeof *values * (size_t)(list->count + 1));
    for (int64_t t = 0; t < list->count; ++t)
        values[t] = NAN;
    list->value[column] = values;
done:
    return status;
}

ald_status_t ald_tokens_voice(ald_tokens_t *tokens, ald_token_list_t *list, ald_voice_t voice)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = list->count * ALD_ALTERNATIVES;
    ald_alternative_t *all = ALD_ARENA_ARRAY(&tokens->arena, ald_alternative_t, count + 1);
    ALD_CHECK_MEMORY(all, sizeof *all * (size_t)(count + 1));
    for (int64_t i = 0; i < count; ++i)
        all[i] = (ald_alternative_t){.id = -1, .logprob = -INFINITY};
    list->alternative[voice] = all;
done:
    return status;
}

void ald_alternatives_pick(int64_t count, const int32_t *id, const float *logprob,
                           ald_alternative_t *out)
{
    int some = 0;
    for (int64_t i = 0; i < count; ++i) {
        const ald_alternative_t new = {id == NULL ? (int32_t)i : id[i], logprob[i]};
        int at = some;
        while (at > 0 && (new.logprob > out[at - 1].logprob ||
                          (new.logprob == out[at - 1].logprob &&new.id < out[at - 1].id)))
            --at;
        if (at >= ALD_ALTERNATIVES)
            continue;
        some += some < ALD_ALTERNATIVES;
        memmove(&out[at + 1], &out[at], sizeof *out * (size_t)(some - 1 - at));
        out[at] = new;
    }
    for (; some < ALD_ALTERNATIVES; ++some)
        out[some] = (ald_alternative_t){.id = -1, .logprob = -INFINITY};
}

double ald_tokens_sum(const ald_token_list_t *list, ald_column_t column, int64_t *some)
{
    double sum = 0.0;
    *some = 0;
    for (int64_t t = 0; t < list->count && list->value[column] != NULL; ++t) {
        if (!isfinite(list->value[column][t]))
            continue;
        sum += list->value[column][t];
        ++*some;
    }
    return sum;
}
