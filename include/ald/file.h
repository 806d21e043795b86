/* Files: checked reading, mapping, atomic writing, folders. All functions are local; messages name
 * the path and the system's reason. Layer: base. */
#ifndef ALD_FILE_H
#define ALD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/status.h"
#include "ald/vec.h"

/* Reads the whole file; *data has a NUL after its last byte and is freed by ald_free. */
ald_status_t ald_file_read(const char *path, char **data, size_t *size);

/* A read-only private mapping of a whole regular file. */
typedef struct {
    const uint8_t *data;
    size_t size;
} ald_map_t;
ald_status_t ald_map_open(const char *path, ald_map_t *out);
void ald_map_close(ald_map_t *map); /* takes a zeroed one */

/* "PATH.tmp-HOST-PID", what PATH is called until it is complete; freed by ald_free, NULL without
 * memory. */
char *ald_path_temporary(const char *path);
/* Removes from a folder what dead processes of this host left under such names; those of other
 * hosts stay. A folder that isn't there is no error. */
ald_status_t ald_dir_sweep(const char *folder);

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

bool ald_path_exists(const char *path);
bool ald_path_is_directory(const char *path);
bool ald_path_same(const char *a, const char *b); /* both are there, and one file or folder */
int64_t ald_file_size(const char *path);          /* -1 when there is none */
/* When a file was last written, or the newest of a folder's files whose names end with `end`: in
 * seconds since 1970; 0 when there is none. */
ald_status_t ald_path_modified(const char *path, const char *end, int64_t *out);
/* "a/b" in memory freed by ald_free (NULL without memory); an absolute `b` is taken alone. */
char *ald_path_join(const char *a, const char *b);
/* The folder of a path ("." when it has none), freed by ald_free. */
char *ald_path_folder(const char *path);
/* Makes the folder and its parents. */
ald_status_t ald_dir_make(const char *path);
/* Names in a folder, sorted, without "." and "..": an array of *count strings, each and the array
 * itself freed by ald_names_free. */
ald_status_t ald_dir_list(const char *path, char ***names, size_t *count);
void ald_names_free(char **names, size_t count);
/* Removes a folder and what is in it; nothing there is no error. */
ald_status_t ald_dir_remove(const char *path);
/* The same after a failure, whose message stays; what can't be removed is left. */
void ald_dir_discard(const char *path);
/* Puts a finished temporary folder in the place of `path`: an older one is moved aside first and
 * removed after. fsyncs the parent. */
ald_status_t ald_dir_publish(const char *temporary, const char *path);
/* Appends a line to a log-like file, whole or not at all: no room for it is an error. */
ald_status_t ald_file_append(const char *path, const void *data, size_t size);

#endif
