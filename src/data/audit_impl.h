/* What the measures of an audit share: the texts of one row. Layer: data. */
#ifndef ALD_DATA_AUDIT_IMPL_H
#define ALD_DATA_AUDIT_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/audit.h"
#include "ald/data/layout.h"
#include "ald/data/row_file.h"
#include "ald/text/chat_parts.h"

/* The texts of a row. The vecs stay for the next row of the thread. */
typedef struct {
    ald_json_t *row, *made; /* owned; `made` as of ald_pairs_convert */
    ald_vec_t prompt;       /* bytes: the messages' contents, a newline between two */
    ald_vec_t key;          /* bytes: the same with roles; a lone message of a user is without */
    ald_slice_t answer[2];  /* chosen, rejected; data NULL: the row has none */
    bool wrong_roles;       /* of a prompt that is a list of messages */
    ald_skip_t skip;        /* why the texts weren't found; ALD_SKIP_NONE: they were */
    ald_vec_t words[3];     /* uint64_t: of prompt, chosen, rejected */
    ald_vec_t grams;        /* uint64_t; for the measures */
} ald_audit_texts_t;

void ald_audit_texts_init(ald_audit_texts_t *texts);
/* Reads row `index` of the file. INPUT with file and line for a damaged row. */
ald_status_t ald_audit_texts_read(const ald_row_file_t *file, ald_layout_t forced,
                                  ald_layout_t layout, size_t index, ald_audit_texts_t *texts);
/* Frees the row and keeps the vecs. */
void ald_audit_texts_clear(ald_audit_texts_t *texts);
void ald_audit_texts_reset(ald_audit_texts_t *texts);
/* Fills texts->grams with the n-grams (audit.shingle) of a text, unsorted. */
ald_status_t ald_audit_grams(const ald_audit_t *audit, ald_audit_text_t text,
                             ald_audit_texts_t *texts);

/* A hash of 128 bits. */
void ald_audit_hash(const void *data, size_t size, uint64_t out[2]);

/* The measures: each sets bits of out->reasons. */
ald_status_t ald_audit_answers(const ald_audit_t *audit, ald_audit_texts_t *texts,
                               ald_audit_row_t *out);
void ald_audit_personal(const ald_audit_texts_t *texts, ald_audit_row_t *out);
ald_status_t ald_audit_eval_find(const ald_audit_t *audit, ald_audit_texts_t *texts,
                                 ald_audit_row_t *out);
ald_status_t ald_audit_tokens(const ald_audit_t *audit, const ald_audit_texts_t *texts,
                              ald_audit_row_t *out);

/* Reads data.eval. */
ald_status_t ald_audit_eval_read(const ald_config_t *config, ald_audit_eval_t *out);
void ald_audit_eval_reset(ald_audit_eval_t *eval);
/* The list of phrases of a file, one a line; the standard ones where `path` is "". */
ald_status_t ald_audit_phrases(const char *path, const char *const *standard, ald_json_t **out);
extern const char *const ald_audit_refusals[]; /* NULL ends it */

/* Personal data, as tests try it on published examples. */
bool ald_luhn_holds(const char *digits, size_t count);
bool ald_iban_holds(const char *text, size_t length); /* letters and digits alone */
bool ald_has_email(ald_slice_t text);
bool ald_has_phone(ald_slice_t text);
bool ald_has_card(ald_slice_t text);
bool ald_has_iban(ald_slice_t text);

static inline void ald_audit_set(ald_audit_row_t *row, ald_reason_t reason, bool found)
{
    row->reasons |= (uint32_t)found << reason;
}

#endif
