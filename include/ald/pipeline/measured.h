/* What a stage took, kept for `plan`. Layer: pipeline. */
#ifndef ALD_PIPELINE_MEASURED_H
#define ALD_PIPELINE_MEASURED_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

enum { ALD_MEASURED_ROLES = ALD_ROLE_ANY + 1 };

typedef struct {
    const char *stage;
    const char *name;       /* of the file */
    const char *outputs[2]; /* whose bytes count, folders or files; NULL: none */
    int64_t part, parts;    /* of score; parts 0: another stage */
    unsigned roles;         /* this rank's, 1 << ald_role_t each */
    double begun;           /* ald_time */
    bool written;           /* the result, though the stage has failed: audit --fail-on */
} ald_stage_run_t;

/* Writes config->output/measured/NAME.json for a stage that has ended (`ended` OK or STOPPED; the
 * same on all ranks); nothing where it had nothing to do, or failed. A stage that was stopped
 * before has its seconds and work added. That the file can't be written is warned of. Collective.
 */
void ald_measured_write(const ald_config_t *config, const ald_comm_t *world,
                        const ald_stage_run_t *run, ald_status_t ended);

#endif
