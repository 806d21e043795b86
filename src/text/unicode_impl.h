/* UTF-8, character classes, and checks of a tokenizer's components. Layer: text. */
#ifndef ALD_TEXT_UNICODE_IMPL_H
#define ALD_TEXT_UNICODE_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"

/* The code point at the start of valid UTF-8, and its length in bytes. */
int32_t ald_utf8_next(const char *text, size_t length, size_t *step);
/* Where the last character of valid UTF-8 starts; `length` is not 0. */
size_t ald_utf8_last(const char *text, size_t length);
/* INPUT "invalid UTF-8 at byte N" unless the text is valid (surrogates are not). */
ald_status_t ald_utf8_check(const char *text, size_t length);

bool ald_unicode_is_space(int32_t c);       /* White_Space */
bool ald_unicode_is_word(int32_t c);        /* \w of UTS 18 */
bool ald_unicode_is_numeric(int32_t c);     /* general category N */
bool ald_unicode_is_punctuation(int32_t c); /* general category P, and ASCII's symbols */
bool ald_unicode_is_printed(int32_t c);     /* as Python's str.isprintable has it */

/* INPUT unless every member of `object` is one of the words of `known`. `place` names the object.
 */
ald_status_t ald_component_check(const ald_json_t *object, const char *place, const char *known);
/* The "type" of a component; INPUT when it has none. Borrowed. */
ald_status_t ald_component_type(const ald_json_t *object, const char *place, const char **out);
/* INPUT 'PLACE.type "TYPE" is not supported; expected EXPECTED'. */
ald_status_t ald_component_unsupported(const char *place, const char *type, const char *expected);

#endif
