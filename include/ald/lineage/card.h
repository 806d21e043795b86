/* Model cards: README.md of a model directory, as the Hugging Face hub reads it (YAML between lines
 * "---", then Markdown). A card says what records say, no more. One that has no mark of this
 * program (an HTML comment) is its user's and stays. All functions are local; root calls them.
 * Layer: lineage. */
#ifndef ALD_LINEAGE_CARD_H
#define ALD_LINEAGE_CARD_H

#include "ald/base/json.h"
#include "ald/base/status.h"

/* Writes the card of a model that a stage has made, from its record and its lineage. `origin`: the
 * model directory that it was trained from, whose README.md, carried along by the stage, is no
 * user's own, and says licence and base model. */
ald_status_t ald_card_write(const char *directory, const char *origin, const ald_json_t *record);
/* Puts the figures of an evaluation, EVAL/eval.json, in the place of those of the card. */
ald_status_t ald_card_evaluated(const char *directory, const char *eval);

#endif
