/* Whether an answer says what it must and nothing that it must not. Layer: text. */
#ifndef ALD_TEXT_FIGURES_H
#define ALD_TEXT_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"

/* The first place of `term` from `from` on, within `text`, at word borders (ald_word_has), and
 * not as a part of a number with a dot or comma; with `any_case` in upper or lower case (ASCII).
 * NULL when there is none, and for a term of no characters. */
const char *ald_figure_find(const char *text, const char *from, const char *term, bool any_case);
/* Every string of `required` occurs in the text at word borders, one after the other in this
 * order. */
bool ald_figures_exact(const char *text, const ald_json_t *required);
/* How many strings of `forbidden` occur in the text at such borders, in upper or lower case
 * (ASCII). */
int64_t ald_terms_found(const char *text, const ald_json_t *forbidden);

#endif
