/* Text of files as it may go to a terminal: what would command the terminal, or turn its direction
 * of writing, is spelled out. All functions are local. Layer: base. */
#ifndef ALD_BASE_SHOW_H
#define ALD_BASE_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets *code to the character at `text`, which has `left` > 0 bytes, and returns its bytes; 0, and
 * the byte, where they aren't UTF-8. */
size_t ald_utf8_code(const char *text, size_t left, uint32_t *code);
/* Writes to out[size] (size > 0; always terminated) as much of `text` as fits, with these spelled
 * out: control characters (C0 but for the tab, DEL, U+0080 to U+009F) as \x1b, the marks of
 * direction U+200E, U+200F, U+061C, U+202A to U+202E and U+2066 to U+2069 and the line ends U+2028
 * and U+2029 as \u202e, bytes that aren't UTF-8 as \xff. A newline is kept if `lines`, else it is
 * \n. Returns the bytes written, the end not counted. */
size_t ald_show(const char *text, size_t length, bool lines, char *out, size_t size);
/* The same with the spelling of JSON strings (\u001b), for JSON text that is made already: it stays
 * the same value. Newlines, and bytes that aren't UTF-8, are kept. Returns the bytes that it
 * takes, which `out` has room for, or is NULL. */
size_t ald_show_json(const char *text, size_t length, char *out);
/* Prints to stdout as ald_show has it: formatted text, which keeps its newlines; and a string whose
 * newlines are \n. Without memory nothing is printed. */
void ald_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ald_print_word(const char *text);

#endif
