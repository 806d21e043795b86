/* The stage `score`: a data file, and shards with both models' distributions over it. Array tasks
 * of a Slurm job share the work by parts, since no part needs another one. */
#include "ald/pipeline/stage_score.h"

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"
#include "ald/role/scorer.h"
#include "ald/teacher/teacher.h"
#include "pipeline/data_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/scoring_impl.h"

ald_status_t ald_stage_score(const ald_config_t *config, const ald_comm_t *world, int64_t part,
                             int64_t parts)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_scorer_t scorer = {0};
    ald_dataset_t data = {0};
    ALD_TRY(ald_scorer_init(config, world, &scorer));
    ALD_TRY(ald_data_open(world, config, config->teacher.dpo, scorer.header.vocab_size,
                          config->data.train, "data.train", ALD_PAIRS_SCORED, &data));
    const char *const models[] = {config->teacher.dpo,
                                  ald_contrast_directory(config, config->teacher.contrast)};
    ald_positions_warn(models, 2, ald_longest_row(&data, data.pairs.count, 0));
    ALD_TRY(ald_scoring_run(&scorer, world, &data, part, parts));
done:
    ald_dataset_reset(&data);
    ald_scorer_reset(&scorer);
    return status;
}
