/* The stage `eval`. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_EVAL_H
#define ALD_PIPELINE_STAGE_EVAL_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/tokens/table.h"

/* Settings of the composed teacher that is evaluated, in place of those of the configuration. */
typedef struct {
    double strength, plausibility;
} ald_eval_point_t;

/* Rows of data.eval that are shown token by token, in place of an evaluation. */
typedef struct {
    const ald_range_t *rows;
    int64_t count; /* 0: none */
    ald_table_format_t format;
    const char *path; /* NULL: stdout */
} ald_eval_show_t;

/* With `count` points the teacher
 * is evaluated at each of them, into a folder of its own in eval.output, and a table of all is
 * printed and written. Collective. */
ald_status_t ald_stage_eval(const ald_config_t *config, const ald_comm_t *world,
                            const ald_eval_show_t *show, const ald_eval_point_t *points,
                            int64_t count);

#endif
