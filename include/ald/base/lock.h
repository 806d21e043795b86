/* Locks of what one process at a time may write to: a file beside it, made exclusively, renewed as
 * long as its process lives, and taken over from one that is dead or silent. They work on every
 * file system that clusters share, as they need nothing but link() or O_EXCL and times. All
 * functions are local; one process calls them (root). Layer: base. */
#ifndef ALD_BASE_LOCK_H
#define ALD_BASE_LOCK_H

#include <stdbool.h>

#include "ald/base/status.h"

/* Seconds without a sign of life after which a lock is taken over. */
enum { ALD_LOCK_SILENCE = 300 };

/* Makes the lock of a folder, FOLDER/aligndistil.lock, or with `file` of one file, FILE.lock; makes
 * the folder. `what` is the command that writes there. Once more by this process is no error.
 * RESOURCE with the owner's host, process, job and times while it lives. */
ald_status_t ald_lock_take(const char *path, bool file, const char *what);
/* RESOURCE as above while another process has the folder's lock; takes none. */
ald_status_t ald_lock_look(const char *path);
/* RESOURCE when a lock that this process took isn't its own any more: to be asked before anything
 * is published. */
ald_status_t ald_lock_check(void);
/* Gives all locks back, and removes the folders that were made for them and are empty. */
void ald_lock_release(void);

#endif
