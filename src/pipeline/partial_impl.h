/* Private to pipeline: results that a stage has had so far, kept until it is finished. */
#ifndef ALD_PIPELINE_PARTIAL_IMPL_H
#define ALD_PIPELINE_PARTIAL_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/par/stop.h"
#include "ald/train/finished.h"

/* A stage's results so far, in a file of records beside what it makes. Zeroed before and after. */
typedef struct {
    const ald_comm_t *comm;
    ald_made_t made;    /* paths stay the caller's */
    const char *path;   /* of the file; the caller's */
    bool open;          /* root only: the file is this run's */
    const char *prefix; /* before the names of records from now on; "" at the beginning */
    ald_json_t *recipe; /* root only; owned */
    ald_vec_t data;     /* root only: what the file had at the beginning */
} ald_partial_t;

/* Begins the stage that `made` is of, by its recipe (root, taken over; NULL elsewhere): *finished
 * when it is made already (ald_finished). Else takes over the records of a run that was stopped; a
 * damaged end is left out, and said; with checkpoint.resume = false they are removed. USAGE with
 * what differs where another recipe had them. Collective. */
ald_status_t ald_partial_begin(const ald_comm_t *comm, const ald_config_t *config,
                               const ald_made_t *made, const char *path, ald_json_t *recipe,
                               ald_partial_t *out, bool *finished);
/* Appends to `out` (bytes) what earlier runs have added under the name. Root only. */
ald_status_t ald_partial_find(const ald_partial_t *partial, const char *name, ald_vec_t *out);
/* Adds a record to the file; empty ones aren't. Root only. */
ald_status_t ald_partial_add(const ald_partial_t *partial, const char *name, const void *bytes,
                             size_t count);
/* The same status on all ranks, STOPPED when one of them is to stop. `work` is root's; what the
 * others say of it doesn't matter. Collective. */
ald_status_t ald_partial_agree(const ald_partial_t *partial, ald_status_t status,
                               const ald_stop_work_t *work);
/* Writes done.json and removes the file. Collective. */
ald_status_t ald_partial_end(ald_partial_t *partial);
/* Frees it; takes a zeroed one. The file stays for the next run where `status` is STOPPED or
 * RESOURCE; after another failure it is removed, as what follows from bad input has no use. */
void ald_partial_reset(ald_partial_t *partial, ald_status_t status);

#endif
