/* JSON values: read, walked, made and written. The only module that sees jansson. Layer: base. */
#ifndef ALD_BASE_JSON_H
#define ALD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/file.h"
#include "ald/base/status.h"

/* A JSON value, in truth a json_t. Values got from another belong to it (borrowed); values that a
 * function below "makes" belong to the caller until set into another or given to ald_json_free. */
typedef struct ald_json ald_json_t;

/* Makes a value from text, which need not be terminated. `name` is the file or place for messages:
 * INPUT "name:line:column: what". Duplicate keys and invalid UTF-8 are errors. Integers
 * beyond 64 bits, as in the model_max_length of many tokenizers, become reals. */
ald_status_t ald_json_parse(const char *text, size_t length, const char *name, ald_json_t **out);
ald_status_t ald_json_read(const char *path, ald_json_t **out);
void ald_json_free(ald_json_t *value); /* takes NULL */

bool ald_json_is_object(const ald_json_t *value); /* NULL gives false, here and below */
bool ald_json_is_array(const ald_json_t *value);
bool ald_json_is_string(const ald_json_t *value);
bool ald_json_is_number(const ald_json_t *value);
bool ald_json_is_integer(const ald_json_t *value);
bool ald_json_is_bool(const ald_json_t *value);
bool ald_json_is_null(const ald_json_t *value); /* JSON null, or NULL */
const char *
ald_json_type_name(const ald_json_t *value); /* "an object", "an array", ..., "nothing" */

/* Borrowed member of an object; NULL when it is none or has no such key. */
const ald_json_t *ald_json_get(const ald_json_t *object, const char *key);
/* Borrowed item of an array; NULL out of range. */
const ald_json_t *ald_json_at(const ald_json_t *array, size_t index);
/* Number of items or members; 0 for anything else. */
size_t ald_json_count(const ald_json_t *value);
/* Borrowed text of a string (may contain NUL bytes), else NULL. `length` may be NULL. */
const char *ald_json_text(const ald_json_t *value, size_t *length);
int64_t ald_json_integer(const ald_json_t *value, int64_t otherwise);
double ald_json_number(const ald_json_t *value, double otherwise); /* integers too */
bool ald_json_bool(const ald_json_t *value, bool otherwise);

/* INPUT unless the member is a list of strings, null, or not there. */
ald_status_t ald_json_check_strings(const ald_json_t *object, const char *key);

/* Walks an object in the order of its file: start with *iterator = NULL; false at the end. */
bool ald_json_next(const ald_json_t *object, void **iterator, const char **key,
                   const ald_json_t **value);

/* Makers. Out of memory gives NULL, and setting a NULL value fails in ald_json_dump/write only
 * (INTERNAL), so that building needs one check. */
ald_json_t *ald_json_new_object(void);
ald_json_t *ald_json_new_array(void);
ald_json_t *ald_json_new_string(const char *text);
ald_json_t *ald_json_new_text(const char *text, size_t length); /* invalid UTF-8 replaced */
ald_json_t *ald_json_new_integer(int64_t value);
ald_json_t *ald_json_new_number(double value); /* NaN and infinities become null */
ald_json_t *ald_json_new_bool(bool value);
ald_json_t *ald_json_copy(const ald_json_t *value); /* deep */
/* The same value with one owner more, to be set into another or freed; nobody may change it. */
ald_json_t *ald_json_share(const ald_json_t *value);
/* Both take the value over, also on failure. */
void ald_json_set(ald_json_t *object, const char *key, ald_json_t *value);
void ald_json_push(ald_json_t *array, ald_json_t *value);

bool ald_utf8_is_valid(const char *text, size_t length);
/* The characters (code points) of UTF-8. */
size_t ald_utf8_count(const char *text, size_t length);

/* Makes text, NUL-terminated, freed by ald_free; one line, or indented by 2. What would command a
 * terminal (ald_show) is spelled \u001b. */
ald_status_t ald_json_dump(const ald_json_t *value, bool indent, char **out);
/* Writes indented text and a newline, atomically. */
ald_status_t ald_json_write(const ald_json_t *value, const char *path);
/* Writes the value as one line of a JSONL file and frees it, also on failure. */
ald_status_t ald_json_write_line(ald_json_t *value, ald_writer_t *writer);

#endif
