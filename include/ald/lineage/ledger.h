/* The ledger: one file of an organisation with a line for each finished stage. Local. Layer:
 * lineage. */
#ifndef ALD_LINEAGE_LEDGER_H
#define ALD_LINEAGE_LEDGER_H

#include "ald/base/json.h"
#include "ald/base/status.h"

enum { ALD_LEDGER_LINE = 4096 }; /* bytes of a line at most */

/* INPUT unless lines can be appended to the file, which is made. */
ald_status_t ald_ledger_check(const char *path);
/* Appends a line of JSON for a record (run.json, which lies at `where`): "time", "stage", "record"
 * (its path), "kind" and "sha256" of the result, "inputs" {ROLE: sha256, or of several an array},
 * "host", "job", "user", "ranks", "restarts", "seconds". One write under a lock of the file
 * (fcntl), behind a newline where another writer's last line was cut, then fsync: lines of many
 * writers never mix. Waits 10 s for the lock at most; a line that isn't appended is warned of. */
ald_status_t ald_ledger_append(const char *path, const ald_json_t *record, const char *where);

#endif
