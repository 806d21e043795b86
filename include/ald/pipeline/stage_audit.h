/* The stage `audit`: what is in a data file. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_AUDIT_H
#define ALD_PIPELINE_STAGE_AUDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

/* Reads data.train and writes audit.json, audit.html, clean.jsonl and removed.jsonl into
 * audit.output, and a summary to stdout. `limits` are `count` texts "REASON=SHARE": INPUT, after
 * all is written, when more than that share of the rows has the reason; USAGE for one that isn't of
 * this form. *written: all is, whatever the limits say. The same bytes on any number of ranks.
 * Collective. */
ald_status_t ald_stage_audit(const ald_config_t *config, const ald_comm_t *world,
                             const char *const *limits, size_t count, bool *written);

#endif
