/* Files: checked reading, mapping and atomic writing. All functions are local; messages name
 * the path and the system's reason. Layer: base. */
#ifndef ALD_BASE_FILE_H
#define ALD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"

/* Reads the whole file; *data has a NUL after its last byte and is freed by ald_free. */
ald_status_t ald_file_read(const char *path, char **data, size_t *size);

/* A read-only private mapping of a whole regular file. */
typedef struct {
    const uint8_t *data;
    size_t size;
} ald_map_t;
ald_status_t ald_map_open(const char *path, ald_map_t *out);
void ald_map_close(ald_map_t *map); /* takes a zeroed one */
/* Puts the bytes of an open file, of which there must be as many, in the place of the mapped ones:
 * pointers into the mapping stay valid. `name` is for messages. */
ald_status_t ald_map_exchange(ald_map_t *map, int file, const char *name);

/* A file that carries its final name only after a commit, and a temporary one between. */
typedef struct ald_writer ald_writer_t;
ald_status_t ald_writer_open(const char *path, ald_writer_t **out);
ald_status_t ald_writer_write(ald_writer_t *writer, const void *data, size_t size);
/* Flushes, fsyncs, renames, fsyncs the folder. Frees the writer, also on failure. */
ald_status_t ald_writer_commit(ald_writer_t *writer);
/* Removes the temporary file and frees the writer; takes NULL. */
void ald_writer_discard(ald_writer_t *writer);
/* The three steps at once. */
ald_status_t ald_file_write(const char *path, const void *data, size_t size);
/* Copies a file's content, atomically. */
ald_status_t ald_file_copy(const char *from, const char *to);
/* Renames `temporary` over `path` after an fsync of the file, then fsyncs the folder. */
ald_status_t ald_file_publish(const char *temporary, const char *path);

int64_t ald_file_size(const char *path); /* -1 when there is none */
/* Appends a line to a log-like file, whole or not at all: no room for it is an error. */
ald_status_t ald_file_append(const char *path, const void *data, size_t size);

#endif
