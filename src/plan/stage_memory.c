/* The memory of stages. Each is a list of what its roles take (ald/plan/memory.h), in the order in
 * which a reader of the stage meets it. */
#include "ald/plan/stage_memory.h"

#include <math.h>

#include "ald/config/config.h"
#include "ald/model/model_config.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/role/generator.h"
#include "ald/role/placement.h"

/* Pieces of the heap too small to be given back, of each answer and at most; measured. */
#define SAMPLE_LEAVES 153600.0
#define SAMPLES_LEAVE 8388608.0

void ald_memory_rows(ald_memory_plan_t *plan, const ald_training_plan_t *training,
                     const ald_beside_plan_t *beside)
{
    ald_memory_add_training(plan, training, 0);
    if (beside != NULL)
        ald_memory_add_beside(plan, beside, &training->most);
}

void ald_memory_score(ald_memory_plan_t *plan, const ald_scoring_plan_t *scoring)
{
    ald_memory_add_scoring(plan, scoring);
    ald_memory_add_products(plan, scoring->shape);
}

static int64_t part_of(int64_t count, int64_t parts)
{
    return (count + parts - 1) / parts;
}

/* Blocks are scored, and the largest shard has so many items. */
static void add_scoring(ald_memory_plan_t *plan, const ald_on_policy_plan_t *run, int64_t items)
{
    const int64_t block = ald_placement_block(run->training->config);
    const int64_t T = block * (run->prompt + run->longest - 1), R = block * run->longest;
    const ald_micro_most_t *most = &run->training->most;
    ald_scoring_plan_t scoring = run->scoring;
    scoring.most.T = T < most->T ? T : most->T;
    scoring.most.R = R < most->R ? R : most->R;
    scoring.positions = items * run->longest;
    ald_memory_add_scoring(plan, &scoring);
}

void ald_memory_on_policy(ald_memory_plan_t *plan, const ald_on_policy_plan_t *run)
{
    const ald_placement_t *place = run->place;
    const int64_t most = run->training->config->optimizer.batch_size;
    const int64_t batch = most < run->rows ? most : run->rows;
    const int64_t shards = ald_placement_shards(run->training->config, place, batch);
    ald_lessons_plan_t lessons = run->lessons;
    lessons.open = ald_memory_open_shards(lessons.header, shards);
    lessons.ahead =
        ald_memory_ahead(lessons.header, part_of(batch, place->trainers.count), run->longest);
    if (run->trains)
        ald_memory_add_distilling(plan, run->training, &lessons);
    else
        ald_memory_add_products(plan, run->training->shape);
    if (run->scores)
        add_scoring(plan, run, part_of(batch, shards));
    if (run->generates)
        ald_memory_add_generator(plan, run->training->shape, run->prompt, run->sampled,
                                 part_of(batch, place->generators.count),
                                 run->trains ? lessons.ahead + lessons.open : 0.0);
}

void ald_memory_eval(ald_memory_plan_t *plan, const ald_evaluation_plan_t *evaluation)
{
    const ald_config_t *config = evaluation->config;
    for (int k = 0; k < evaluation->models; ++k)
        ald_memory_add_mapped(plan, evaluation->mapped[k], evaluation->key[k]);
    const double before = plan->to_come;
    ald_memory_add_forward(plan, evaluation->shape, evaluation->models, &evaluation->most);
    const double sampling =
        (config->eval.teacher ? 2.0 : 1.0) *
        (double)ald_generator_bytes(evaluation->shape, evaluation->prompt,
                                    config->sampling.max_new_tokens, evaluation->samples);
    const double forward = plan->to_come - before; /* sampling comes before, and is gone then */
    if (evaluation->samples > 0 && sampling > forward)
        ald_memory_add(plan, sampling - forward, "more for keys and values of %lld answers",
                       (long long)evaluation->samples);
    if (evaluation->samples > 0)
        ald_memory_add(plan, fmin(SAMPLES_LEAVE, SAMPLE_LEAVES * (double)evaluation->samples),
                       "that sampling leaves in the heap");
    ald_memory_add_products(plan, evaluation->shape);
}
