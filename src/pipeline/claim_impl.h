/* Private to pipeline: what a stage makes sure of before it touches its output. */
#ifndef ALD_PIPELINE_CLAIM_IMPL_H
#define ALD_PIPELINE_CLAIM_IMPL_H

#include <stdbool.h>

#include "ald/base/status.h"
#include "ald/par/comm.h"

/* A path, and the key of the configuration that names it. */
typedef struct {
    const char *key, *path; /* path "": not set */
} ald_named_t;

/* Claims the folder, or with `file` the file, that a stage writes, until the process ends: USAGE
 * when it is an input of the stage, whose list a NULL key closes, RESOURCE while another run has
 * it. Collective. */
ald_status_t ald_claim(const ald_comm_t *world, const char *stage, ald_named_t output, bool file,
                       const ald_named_t *inputs);

#endif
