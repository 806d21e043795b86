/* Private to pipeline: what each stage is made from. */
#ifndef ALD_PIPELINE_RUN_INPUTS_IMPL_H
#define ALD_PIPELINE_RUN_INPUTS_IMPL_H

#include "ald/config/config.h"
#include "ald/lineage/run.h"

enum { ALD_RUN_INPUTS = ALD_SOURCES_MAX + 10 };

/* Closed by a NULL role; paths are the configuration's. */
typedef struct {
    ald_run_input_t list[ALD_RUN_INPUTS + 1];
    int count;
    char *tokenizer; /* of an audit; owned */
} ald_run_inputs_t;

/* The inputs of a stage ("audit", "sft", "dpo", "reverse", "score", "distill", "generate", "eval")
 * that the configuration names. */
void ald_run_inputs(const ald_config_t *config, const char *stage, ald_run_inputs_t *out);
void ald_run_inputs_reset(ald_run_inputs_t *inputs);

#endif
