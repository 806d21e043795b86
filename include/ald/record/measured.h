/* What a stage took: OUTPUT/measured/NAME.json, which `plan` compares its promises with. Nothing
 * else is changed by it, and no stage depends on it. Layer: record. */
#ifndef ALD_RECORD_MEASURED_H
#define ALD_RECORD_MEASURED_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"

/* What this process has done in its stage, summed over calls. A number that all ranks know is noted
 * by one of them. */
typedef struct {
    int64_t steps;             /* of training */
    int64_t sequences, tokens; /* trained on, scored, or measured */
    int64_t bytes, files;      /* shards that were written into a folder of others' */
} ald_work_done_t;

/* Adds to what this process has done. Local. */
void ald_measured_note(const ald_work_done_t *done);
const ald_work_done_t *ald_measured_noted(void);

/* Bytes and number of the files in a folder and below, or of one file, but for locks and hidden
 * ones; nothing where there is none. Local. */
ald_status_t ald_measured_weigh(const char *path, int64_t *bytes, int64_t *files);
/* The name of what was measured: the path relative to `root` with "-" for "/", or the last part of
 * another path, without ".jsonl"; freed by ald_free, NULL without memory. */
char *ald_measured_name(const char *root, const char *path);
/* ROOT/measured/NAME.json, freed by ald_free, NULL without memory. */
char *ald_measured_path(const char *root, const char *name);

/* The file of a stage that isn't finished: seconds, steps, sequences, tokens and noted bytes of
 * `report` become the sums of both. Nothing where there is no such file. Local. */
void ald_measured_add_earlier(const char *path, ald_json_t *report);

#endif
