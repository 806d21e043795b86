/* What judges said of answers, counted as their benchmarks count it. Layer: pipeline. */
#ifndef ALD_PIPELINE_STAGE_JUDGED_H
#define ALD_PIPELINE_STAGE_JUDGED_H

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

/* Reads the file (JSONL or a JSON array) that the judge of AlpacaEval 2.0, MT-Bench (single or
 * pairs) or Arena-Hard has written, told by its rows' members, prints a row of figures for each
 * model and writes judged.json into eval.output. With eval.gamed (AlpacaEval's df_gamed.csv) also
 * the length-controlled win rate. src/pipeline/JUDGED.md has formulas and sources. Collective; root
 * reads. */
ald_status_t ald_stage_judged(const ald_config_t *config, const ald_comm_t *world,
                              const char *path);

#endif
