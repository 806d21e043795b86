/* What a row is to a model: the row is read by the very code that trains on it, so that what is
 * cut, and what is the same once it is cut, is what the stages have. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/audit.h"
#include "ald/data/pairs.h"
#include "ald/text/tokenizer.h"
#include "data/audit_impl.h"
#include "data/pairs_row_impl.h"

static bool same_ids(const ald_text_t *a, const ald_text_t *b)
{
    return a->count == b->count && a->count > 0 &&
           memcmp(a->ids, b->ids, (size_t)a->count * sizeof a->ids[0]) == 0;
}

/* Whether a text comes back otherwise than it was. */
static ald_status_t is_lossy(const ald_tokenizer_t *tokenizer, ald_slice_t text, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t ids, back;
    ald_vec_init(&ids, sizeof(int32_t));
    ald_vec_init(&back, 1);
    *out = false;
    if (text.length == 0)
        return status;
    ALD_TRY(ald_tokenizer_encode(tokenizer, text.data, text.length, &ids));
    ALD_TRY(ald_tokenizer_decode(tokenizer, ids.data, ids.count, false, &back));
    *out = back.count != text.length || memcmp(back.data, text.data, text.length) != 0;
done:
    ald_vec_reset(&ids);
    ald_vec_reset(&back);
    return status;
}

/* Which answers of the row are read. */
static int need_of(const ald_audit_texts_t *texts)
{
    const bool given = texts->made == NULL && ald_json_get(texts->row, "chosen") == NULL &&
                       ald_json_get(texts->row, "chosen_text") == NULL &&
                       ald_json_get(texts->row, "response") != NULL;
    int need = given ? ALD_PAIRS_RESPONSE : ALD_PAIRS_TEXT;
    if (texts->answer[0].data != NULL && !given)
        need |= ALD_PAIRS_CHOSEN;
    return texts->answer[1].data != NULL ? need | ALD_PAIRS_REJECTED : need;
}

static void note_row(const ald_pair_t *pair, const ald_pairs_note_t *note, ald_audit_row_t *out)
{
    const bool same = (out->reasons & 1u << ALD_REASON_SAME_ANSWERS) != 0;
    ald_audit_set(out, ALD_REASON_LONG_PROMPT, note->cut[0]);
    ald_audit_set(out, ALD_REASON_LONG_ANSWER, note->cut[1] || note->cut[2] || note->cut[3]);
    ald_audit_set(out, ALD_REASON_SAME_CUT, !same && same_ids(&pair->chosen, &pair->rejected));
}

/* Reads the row as a stage does. A row that no stage reads has the reason for that already, or
 * comes to one here. */
static ald_status_t read_row(const ald_audit_t *audit, const ald_audit_texts_t *texts,
                             ald_audit_row_t *out)
{
    const ald_pairs_options_t options = {.need = (ald_pairs_need_t)need_of(texts),
                                         .tokenizer = audit->tokenizer,
                                         .chat = &audit->chat,
                                         .max_prompt = audit->config->data.max_prompt_tokens,
                                         .max_response = audit->config->data.max_response_tokens,
                                         .layout = audit->config->data.layout};
    ald_arena_t arena = {0};
    ald_vec_t kept;
    ald_pair_t pair = {0};
    ald_pairs_note_t note = {0};
    ald_vec_init(&kept, sizeof(ald_json_t *));
    const ald_pairs_reader_t reader = {
        .options = &options, .layout = audit->layout, .arena = &arena, .kept = &kept};
    ald_status_t status = ald_pairs_read_row(&reader, texts->row, &pair, &note);
    if (status == ALD_STATUS_OK)
        note_row(&pair, &note, out);
    if (status == ALD_STATUS_INPUT && note.skip != ALD_SKIP_NONE) {
        ald_audit_set(out, ALD_REASON_NOT_USED, note.skip >= ALD_SKIP_REFUSED);
        status = ALD_STATUS_OK;
    }
    for (size_t i = 0; i < kept.count; ++i)
        ald_json_free(ALD_VEC_AT(&kept, ald_json_t *, i));
    ald_vec_reset(&kept);
    ald_arena_reset(&arena);
    return status;
}

ald_status_t ald_audit_tokens(const ald_audit_t *audit, const ald_audit_texts_t *texts,
                              ald_audit_row_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_slice_t all[] = {
        {texts->prompt.data, texts->prompt.count}, texts->answer[0], texts->answer[1]};
    if (audit->tokenizer == NULL)
        return status;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; ++i) {
        bool lossy;
        ALD_TRY(is_lossy(audit->tokenizer, all[i], &lossy));
        ald_audit_set(out, ALD_REASON_LOSSY, lossy);
    }
    ALD_TRY(read_row(audit, texts, out));
done:
    return status;
}
