/* Folders: made, listed, removed, published as a whole. All functions are local; messages name the
 * path and the system's reason. Layer: base. */
#ifndef ALD_BASE_FOLDER_H
#define ALD_BASE_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"

/* Removes from a folder the files and folders with temporary names (ald_path_temporary) of
 * processes of this host that are dead; those of other hosts stay, since nobody here can tell. A
 * folder that isn't there is no error. */
ald_status_t ald_dir_sweep(const char *folder);
/* When a file was last written, or the newest of a folder's files whose names end with `end`: in
 * seconds since 1970; 0 when there is none. */
ald_status_t ald_path_modified(const char *path, const char *end, int64_t *out);
/* USAGE, naming both, where an output is that input by whatever path, or a file of an input folder
 * that is read: weights, JSON and template of a model, or a shard. "" is no input. */
ald_status_t ald_path_apart(const char *output_key, const char *output, const char *input_key,
                            const char *input);
/* Makes the folder and its parents. */
ald_status_t ald_dir_make(const char *path);
/* Names in a folder, sorted, without "." and "..": an array of *count strings, each and the array
 * itself freed by ald_names_free. */
ald_status_t ald_dir_list(const char *path, char ***names, size_t *count);
void ald_names_free(char **names, size_t count);
/* Removes a folder and everything in it. A folder that isn't there is no error. */
ald_status_t ald_dir_remove(const char *path);
/* The same of what has this name in a folder. */
ald_status_t ald_dir_remove_in(const char *folder, const char *name);
/* The same as ald_dir_remove after a failure, whose message stays; files that can't be removed are
 * left. */
void ald_dir_discard(const char *path);
/* Gives a file or folder another name in the same file system. */
ald_status_t ald_path_rename(const char *from, const char *to);
/* Puts a finished temporary folder in the place of `path`: an older one is moved aside first and
 * removed after. fsyncs the parent. */
ald_status_t ald_dir_publish(const char *temporary, const char *path);

#endif
