/* Paths: joining them, asking what they lead to, and the name of a file that isn't complete. All
 * functions are local. Layer: base. */
#ifndef ALD_BASE_PATH_H
#define ALD_BASE_PATH_H

#include <stdbool.h>
#include <stdint.h>

/* "PATH.tmp-HOST-PID", the temporary name that PATH has until it is complete; freed by ald_free,
 * NULL without memory. */
char *ald_path_temporary(const char *path);
bool ald_path_exists(const char *path);
bool ald_path_is_directory(const char *path);
bool ald_path_same(const char *a, const char *b); /* both are there, and one file or folder */
/* "a/b" in memory freed by ald_free (NULL without memory); an absolute `b` is taken alone. */
char *ald_path_join(const char *a, const char *b);
/* PATH, without slashes at its end, and then `end`: "aligned.run.json"; freed by ald_free (NULL
 * without memory). */
char *ald_path_beside(const char *path, const char *end);
/* Whether a path, or any other name, ends so. */
bool ald_path_ends(const char *path, const char *end);
/* The folder of a path ("." when it has none), freed by ald_free. */
char *ald_path_folder(const char *path);
/* When a process of this machine began, in the system's ticks; -1: there is none, or it has ended
 * and waits for its parent. Local. */
int64_t ald_process_begin(int64_t pid);
/* Whether `name` (without a folder) is the temporary name of a process of this host that isn't
 * running any more. */
bool ald_path_is_abandoned(const char *name);

#endif
