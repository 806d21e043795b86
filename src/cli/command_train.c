/* The stages of the pipeline as commands: a configuration, then the stage.
 * They differ in what the stage takes besides. */
#include <stdio.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/pipeline/measured.h"
#include "ald/pipeline/placing.h"
#include "ald/pipeline/stage_audit.h"
#include "ald/pipeline/stage_distill.h"
#include "ald/pipeline/stage_dpo.h"
#include "ald/pipeline/stage_eval.h"
#include "ald/pipeline/stage_generate.h"
#include "ald/pipeline/stage_score.h"
#include "ald/pipeline/stage_sft.h"
#include "ald/pipeline/stage_sweep.h"
#include "ald/record/measured.h"
#include "ald/role/placement.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"
#include "cli/setup_impl.h"

/* Keeps what the stage took, and returns its status. */
static ald_status_t measured(const ald_setup_t *setup, const ald_comm_t *world,
                             const ald_stage_run_t *stage, ald_status_t ended)
{
    ald_stage_run_t run = *stage;
    char *name = run.name != NULL ? NULL : ald_measured_name(setup->config.output, run.outputs[0]);
    run.name = run.name != NULL ? run.name : name;
    if (run.name != NULL)
        ald_measured_write(&setup->config, world, &run, ended);
    ald_free(name);
    return ended;
}

static ald_status_t run_sft(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup;
    ald_stage_run_t run = {.stage = "sft", .roles = 1u << ALD_ROLE_TRAINER, .begun = ald_time()};
    ALD_TRY(ald_setup_load(options, world, &setup));
    run.outputs[0] = setup.config.sft.output;
    ALD_TRY(measured(&setup, world, &run, ald_stage_sft(&setup.config, world)));
done:
    ald_setup_reset(&setup);
    return status;
}

static ald_status_t run_audit(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup;
    ALD_TRY(ald_setup_load(options, world, &setup));
    ALD_TRY(ald_stage_audit(&setup.config, world, options->fail_on.data, options->fail_on.count));
done:
    ald_setup_reset(&setup);
    return status;
}

static ald_status_t run_dpo(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup;
    ald_stage_run_t run = {.stage = "dpo", .roles = 1u << ALD_ROLE_TRAINER, .begun = ald_time()};
    ALD_TRY(ald_setup_load(options, world, &setup));
    run.stage = setup.config.dpo.reverse ? "reverse" : "dpo";
    run.outputs[0] = setup.config.dpo.output;
    ALD_TRY(measured(&setup, world, &run, ald_stage_dpo(&setup.config, world)));
done:
    ald_setup_reset(&setup);
    return status;
}

/* The roles that a rank of `distill` has, as bits. */
static unsigned roles_of(const ald_config_t *config, const ald_comm_t *world)
{
    ald_placement_t place;
    if (ald_placement_make(config, world->size, &place) != ALD_STATUS_OK)
        return 0;
    const bool samples = config->distill.mode != ALD_MODE_OFF_POLICY;
    const bool scores = samples || config->data.train[0] != '\0';
    return (unsigned)ald_ranks_have(&place.trainers, world->rank) << ALD_ROLE_TRAINER |
           (unsigned)(scores && ald_ranks_have(&place.scorers, world->rank)) << ALD_ROLE_SCORER |
           (unsigned)(samples && ald_ranks_have(&place.generators, world->rank))
               << ALD_ROLE_GENERATOR;
}

static ald_status_t run_distill(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup;
    ald_stage_run_t run = {.stage = "distill", .begun = ald_time()};
    ALD_TRY(ald_setup_load(options, world, &setup));
    const ald_config_t *config = &setup.config;
    run.outputs[0] = config->distill.output;
    if (config->distill.mode != ALD_MODE_OFF_POLICY)
        run.outputs[1] = config->shards.directory;
    ALD_TRY(ald_place_roles(&setup.config, world));
    run.roles = roles_of(config, world);
    ALD_TRY(measured(&setup, world, &run,
                     setup.sweep.count > 0 ? ald_stage_sweep(config, &setup.sweep, world)
                                           : ald_stage_distill(config, world)));
done:
    ald_setup_reset(&setup);
    return status;
}

static ald_status_t run_generate(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup;
    ald_stage_run_t run = {.stage = "generate", .roles = 1u << ALD_ROLE_ANY, .begun = ald_time()};
    ALD_TRY(ald_setup_load(options, world, &setup));
    run.outputs[0] = setup.config.generate.output;
    ALD_TRY(measured(&setup, world, &run, ald_stage_generate(&setup.config, world)));
done:
    ald_setup_reset(&setup);
    return status;
}

static ald_status_t run_score(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup = {0};
    char name[32];
    ald_stage_run_t run = {
        .stage = "score", .name = name, .roles = 1u << ALD_ROLE_SCORER, .begun = ald_time()};
    ALD_TRY(ald_setup_load(options, world, &setup));
    ALD_TRY(ald_setup_part(options->part, &setup.config, world, &run.part, &run.parts));
    snprintf(name, sizeof name, "score-%lld", (long long)run.part);
    ALD_TRY(
        measured(&setup, world, &run, ald_stage_score(&setup.config, world, run.part, run.parts)));
done:
    ald_setup_reset(&setup);
    return status;
}

static ald_status_t run_eval(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup;
    ald_vec_t points;
    ald_stage_run_t run = {.stage = "eval", .roles = 1u << ALD_ROLE_ANY, .begun = ald_time()};
    ald_vec_init(&points, sizeof(ald_eval_point_t));
    ALD_TRY(ald_setup_load(options, world, &setup));
    ALD_TRY(ald_comm_agree(world, ald_setup_points(options, &setup.config, &points)));
    setup.config.eval.teacher = setup.config.eval.teacher || points.count > 0;
    run.outputs[0] = setup.config.eval.output;
    ALD_TRY(measured(
        &setup, world, &run,
        ald_stage_eval(&setup.config, world, options->show, points.data, (int64_t)points.count)));
done:
    ald_vec_reset(&points);
    ald_setup_reset(&setup);
    return status;
}

const ald_command_t ald_command_audit = {
    .bit = ALD_FOR_AUDIT,
    .name = "audit",
    .summary = "says what is in data.train, and writes it without what is wrong",
    .help = "Reads data.train in any layout; writes audit.json, audit.html, clean.jsonl and "
            "removed.jsonl into\n"
            "audit.output, and prints a summary. src/data/AUDIT.md says what each reason means.\n",
    .run = run_audit,
};
const ald_command_t ald_command_sft = {
    .bit = ALD_FOR_SFT,
    .name = "sft",
    .summary = "trains a model directory on the chosen responses, or on plain texts",
    .help = "Reads sft.model and data.train (pairs, of which \"chosen\" is trained on, or rows "
            "{\"text\"}),\n"
            "writes the model directory sft.output.\n",
    .run = run_sft,
};
const ald_command_t ald_command_dpo = {
    .bit = ALD_FOR_DPO,
    .name = "dpo",
    .summary = "trains on preference pairs; dpo.reverse swaps them",
    .help = "Reads dpo.policy, dpo.reference and data.train, writes the model directory "
            "dpo.output.\n",
    .run = run_dpo,
};
const ald_command_t ald_command_distill = {
    .bit = ALD_FOR_DISTILL,
    .name = "distill",
    .summary = "distils the composed teacher into the policy",
    .help =
        "Reads distill.policy, the teachers and data.train or shards.directory, writes the model\n"
        "directory distill.output, shards, metrics and checkpoints. --sweep FILE trains several "
        "runs,\n"
        "which differ in settings that the shards don't depend on, over shards that are there, "
        "each\n"
        "into a folder of its name in distill.output, and prints a table. jobs/README.md shows a "
        "FILE.\n",
    .run = run_distill,
};
const ald_command_t ald_command_generate = {
    .bit = ALD_FOR_GENERATE,
    .name = "generate",
    .summary = "samples responses to the prompts of data.train",
    .help = "Reads generate.model and data.train, writes generate.output (JSONL). With\n"
            "generate.teacher = true responses are the composed teacher's (teacher.*).\n",
    .run = run_generate,
};
const ald_command_t ald_command_score = {
    .bit = ALD_FOR_SCORE,
    .name = "score",
    .summary = "writes teacher shards for pairs or generations",
    .help = "Reads the teachers and data.train, writes shards into shards.directory. Under a Slurm "
            "array,\n"
            "or with --part I/N, each task makes its own part. Shards that are there and fit are "
            "kept.\n",
    .run = run_score,
};
const ald_command_t ald_command_eval = {
    .bit = ALD_FOR_EVAL,
    .name = "eval",
    .summary = "rewards, perplexity and generations on data.eval",
    .help =
        "Reads eval.model, the pair eval.dpo and eval.contrast, and data.eval; writes eval.json "
        "and\n"
        "eval.html into eval.output. With eval.teacher = true the composed teacher (teacher.*) is\n"
        "evaluated; --strengths does so at each r, prints one table, and writes strengths.json.\n",
    .run = run_eval,
};
