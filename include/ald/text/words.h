/* The words and the scripts of UTF-8 text of any language. Layer: text. */
#ifndef ALD_TEXT_WORDS_H
#define ALD_TEXT_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

/* S(name, text): the scripts that are told apart. KANA is Hiragana and Katakana. */
#define ALD_SCRIPTS(S)                                                                             \
    S(NONE, "none")                                                                                \
    S(LATIN, "Latin")                                                                              \
    S(GREEK, "Greek")                                                                              \
    S(CYRILLIC, "Cyrillic")                                                                        \
    S(ARMENIAN, "Armenian")                                                                        \
    S(HEBREW, "Hebrew")                                                                            \
    S(ARABIC, "Arabic")                                                                            \
    S(DEVANAGARI, "Devanagari")                                                                    \
    S(BENGALI, "Bengali")                                                                          \
    S(GURMUKHI, "Gurmukhi")                                                                        \
    S(GUJARATI, "Gujarati")                                                                        \
    S(ODIA, "Oriya")                                                                               \
    S(TAMIL, "Tamil")                                                                              \
    S(TELUGU, "Telugu")                                                                            \
    S(KANNADA, "Kannada")                                                                          \
    S(MALAYALAM, "Malayalam")                                                                      \
    S(SINHALA, "Sinhala")                                                                          \
    S(THAI, "Thai")                                                                                \
    S(LAO, "Lao")                                                                                  \
    S(TIBETAN, "Tibetan")                                                                          \
    S(MYANMAR, "Myanmar")                                                                          \
    S(GEORGIAN, "Georgian")                                                                        \
    S(HANGUL, "Hangul")                                                                            \
    S(ETHIOPIC, "Ethiopic")                                                                        \
    S(KHMER, "Khmer")                                                                              \
    S(MONGOLIAN, "Mongolian")                                                                      \
    S(KANA, "Kana")                                                                                \
    S(HAN, "Han")

typedef enum {
#define ALD_SCRIPT_CONSTANT(name, text) ALD_SCRIPT_##name,
    ALD_SCRIPTS(ALD_SCRIPT_CONSTANT)
#undef ALD_SCRIPT_CONSTANT
        ALD_SCRIPT_COUNT
} ald_script_t;

const char *ald_script_name(ald_script_t script);
/* The script that a letter is of; NONE for a script that isn't in the list. What isn't a letter may
 * give anything. */
ald_script_t ald_script_of(int32_t c);
/* The script of most of a text's letters; NONE for a text of fewer than 4 letters. Han counts as
 * KANA where at least a tenth of both is Kana (Japanese), and as HANGUL in the same way. The text
 * is valid UTF-8. Local. */
ald_script_t ald_script_main(const char *text, size_t length);

/* Appends a hash (uint64_t) for every word: a run of letters, marks, digits and underscores, in
 * lower case. A character of a script that is written without spaces (Han, Kana, Thai, Lao, Khmer,
 * Myanmar, Tibetan) is a word by itself. The text is valid UTF-8. Local. */
ald_status_t ald_words_hash(const char *text, size_t length, ald_vec_t *words);

/* Whether the character that begins here ties a term beside it into a longer word: a letter of a
 * script with capitals, an accent on one, or a digit of any. In other scripts words have no spaces
 * between them, or particles at their ends. `left` bytes of valid UTF-8. Local. */
bool ald_word_has(const char *text, size_t left);

/* The lines of a file that aren't blank, without spaces at their ends, as a list of texts, which
 * the caller owns. INPUT for a file that isn't UTF-8. Local. */
ald_status_t ald_phrases_read(const char *path, ald_json_t **out);

#endif
