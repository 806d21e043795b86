/* Prompts of data.eval that training data repeats: whole, or in runs of 13 and of 8 words, the
 * lengths that published decontaminations use. A set of hashes is all that is kept of them. */
#include <stdlib.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/audit.h"
#include "ald/data/minhash.h"
#include "ald/data/row_file.h"
#include "ald/text/words.h"
#include "data/audit_impl.h"
#include "data/pairs_impl.h"

static const int64_t lengths[2] = {8, 13};

/* Adds the grams of a text that has as many words. */
static ald_status_t add_grams(const ald_vec_t *words, int64_t n, ald_vec_t *grams)
{
    return words->count < (size_t)n ? ALD_STATUS_OK : ald_grams_make(words, n, grams);
}

/* The user's later turns, which a row of MT-Bench has beside its first: a prompt each. */
static ald_status_t add_turns(ald_audit_texts_t *texts, ald_audit_eval_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *turns = ald_json_get(texts->row, "turns");
    for (size_t i = 1; i < ald_json_count(turns); ++i) {
        size_t length = 0;
        uint64_t hash[2];
        const char *text = ald_json_text(ald_json_at(turns, i), &length);
        if (text == NULL)
            continue;
        ald_audit_hash(text, length, hash);
        ALD_TRY(ald_vec_push(&out->prompts, &hash[0]));
        texts->words[0].count = 0;
        ALD_TRY(ald_words_hash(text, length, &texts->words[0]));
        for (int k = 0; k < 2; ++k)
            ALD_TRY(add_grams(&texts->words[0], lengths[k], &out->grams[k]));
    }
done:
    return status;
}

static ald_status_t add_row(ald_audit_texts_t *texts, ald_audit_eval_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    uint64_t hash[2];
    if (texts->skip != ALD_SKIP_NONE || texts->prompt.count == 0)
        return status;
    ald_audit_hash(texts->key.data, texts->key.count, hash);
    ALD_TRY(ald_vec_push(&out->prompts, &hash[0]));
    for (int k = 0; k < 2; ++k)
        ALD_TRY(add_grams(&texts->words[0], lengths[k], &out->grams[k]));
    ALD_TRY(add_turns(texts, out));
done:
    return status;
}

ald_status_t ald_audit_eval_read(const ald_config_t *config, ald_audit_eval_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_row_file_t file = {0};
    ald_audit_texts_t texts;
    ald_audit_texts_init(&texts);
    ald_vec_init(&out->prompts, sizeof(uint64_t));
    for (int k = 0; k < 2; ++k)
        ald_vec_init(&out->grams[k], sizeof(uint64_t));
    if (config->data.eval[0] == '\0')
        return status;
    ALD_TRY(ald_row_file_open(config->data.eval, &file));
    const ald_layout_t layout = ald_pairs_find_layout(config->data.layout, &file);
    for (size_t i = 0; i < file.rows.count; ++i) {
        ALD_TRY(ald_audit_texts_read(&file, config->data.layout, layout, i, &texts));
        ALD_TRY(add_row(&texts, out));
    }
    ald_grams_sort(&out->prompts);
    for (int k = 0; k < 2; ++k)
        ald_grams_sort(&out->grams[k]);
done:
    ald_audit_texts_reset(&texts);
    ald_row_file_close(&file);
    return status;
}

void ald_audit_eval_reset(ald_audit_eval_t *eval)
{
    ald_vec_reset(&eval->prompts);
    for (int k = 0; k < 2; ++k)
        ald_vec_reset(&eval->grams[k]);
}

ald_status_t ald_audit_eval_find(const ald_audit_t *audit, ald_audit_texts_t *texts,
                                 ald_audit_row_t *out)
{
    static const ald_reason_t reasons[2] = {ALD_REASON_EVAL_8, ALD_REASON_EVAL_13};
    ald_status_t status = ALD_STATUS_OK;
    if (audit->eval.prompts.count == 0)
        return status;
    ald_audit_set(out, ALD_REASON_EVAL_PROMPT,
                  ald_grams_have(&audit->eval.prompts, out->prompt[0]));
    for (int k = 0; k < 2; ++k) {
        texts->grams.count = 0;
        ALD_TRY(add_grams(&texts->words[0], lengths[k], &texts->grams));
        for (size_t i = 0; i < texts->grams.count; ++i)
            ald_audit_set(
                out, reasons[k],
                ald_grams_have(&audit->eval.grams[k], ALD_VEC_AT(&texts->grams, uint64_t, i)));
    }
done:
    return status;
}
