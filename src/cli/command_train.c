/* The stages of the pipeline as commands: a configuration, then the stage.
 * They differ in what the stage takes besides. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/inputs.h"
#include "ald/lineage/ledger.h"
#include "ald/lineage/run.h"
#include "ald/par/comm.h"
#include "ald/pipeline/measured.h"
#include "ald/pipeline/placing.h"
#include "ald/pipeline/run_record.h"
#include "ald/pipeline/stage_audit.h"
#include "ald/pipeline/stage_distill.h"
#include "ald/pipeline/stage_dpo.h"
#include "ald/pipeline/stage_eval.h"
#include "ald/pipeline/stage_generate.h"
#include "ald/pipeline/stage_judged.h"
#include "ald/pipeline/stage_score.h"
#include "ald/pipeline/stage_sft.h"
#include "ald/pipeline/stage_sweep.h"
#include "ald/record/measured.h"
#include "ald/role/placement.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"
#include "cli/setup_impl.h"

/* Runs a stage of a configuration, and says what it has written to and which roles this rank had.
 */
typedef ald_status_t (*stage_fn)(const ald_options_t *options, ald_setup_t *setup,
                                 const ald_comm_t *world, ald_stage_run_t *run);

/* Keeps what the stage took. */
static void keep_measured(const ald_setup_t *setup, const ald_comm_t *world, ald_stage_run_t *run,
                          ald_status_t ended)
{
    char part[32], *name = NULL;
    snprintf(part, sizeof part, "score-%lld", (long long)run->part);
    run->name = part;
    if (run->parts == 0)
        run->name = name = ald_measured_name(setup->config.output, run->outputs[0]);
    if (run->name != NULL)
        ald_measured_write(&setup->config, world, run, ended);
    ald_free(name);
}

/* Keeps what the result was made from. */
static void keep_record(const ald_options_t *options, const ald_setup_t *setup,
                        const ald_comm_t *world, const ald_stage_run_t *run, ald_status_t ended)
{
    const ald_recorded_t what = {.stage = run->stage,
                                 .sweep = &setup->sweep,
                                 .points =
                                     options->strengths != NULL || options->plausibilities != NULL,
                                 .part = run->part,
                                 .parts = run->parts,
                                 .begun = run->begun,
                                 .written = run->written};
    if (options->show.list.count == 0 && options->judged == NULL)
        ald_run_record(&setup->config, world, &what, ended);
    else
        ald_run_end();
}

static ald_status_t audit(const ald_options_t *options, ald_setup_t *setup, const ald_comm_t *world,
                          ald_stage_run_t *run)
{
    return ald_stage_audit(&setup->config, world, options->fail_on.data, options->fail_on.count,
                           &run->written);
}

static ald_status_t sft(const ald_options_t *options, ald_setup_t *setup, const ald_comm_t *world,
                        ald_stage_run_t *run)
{
    (void)options;
    run->roles = 1u << ALD_ROLE_TRAINER;
    run->outputs[0] = setup->config.sft.output;
    return ald_stage_sft(&setup->config, world);
}

static ald_status_t dpo(const ald_options_t *options, ald_setup_t *setup, const ald_comm_t *world,
                        ald_stage_run_t *run)
{
    (void)options;
    if (setup->config.dpo.reverse)
        run->stage = "reverse";
    run->roles = 1u << ALD_ROLE_TRAINER;
    run->outputs[0] = setup->config.dpo.output;
    return ald_stage_dpo(&setup->config, world);
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

static ald_status_t distill(const ald_options_t *options, ald_setup_t *setup,
                            const ald_comm_t *world, ald_stage_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = &setup->config;
    (void)options;
    ALD_TRY(ald_place_roles(&setup->config, world));
    run->roles = roles_of(config, world);
    run->outputs[0] = config->distill.output;
    if (config->distill.mode != ALD_MODE_OFF_POLICY)
        run->outputs[1] = config->shards.directory;
    ALD_TRY(setup->sweep.count > 0 ? ald_stage_sweep(config, &setup->sweep, world)
                                   : ald_stage_distill(config, world));
done:
    return status;
}

static ald_status_t generate(const ald_options_t *options, ald_setup_t *setup,
                             const ald_comm_t *world, ald_stage_run_t *run)
{
    (void)options;
    run->roles = 1u << ALD_ROLE_ANY;
    run->outputs[0] = setup->config.generate.output;
    return ald_stage_generate(&setup->config, world);
}

static ald_status_t score(const ald_options_t *options, ald_setup_t *setup, const ald_comm_t *world,
                          ald_stage_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    run->roles = 1u << ALD_ROLE_SCORER;
    ALD_TRY(ald_setup_part(options->part, &setup->config, world, &run->part, &run->parts));
    ALD_TRY(ald_stage_score(&setup->config, world, run->part, run->parts));
done:
    return status;
}

static ald_status_t eval(const ald_options_t *options, ald_setup_t *setup, const ald_comm_t *world,
                         ald_stage_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t points;
    ald_vec_init(&points, sizeof(ald_eval_point_t));
    if (options->judged != NULL)
        return ald_stage_judged(&setup->config, world, options->judged);
    ALD_TRY(ald_comm_agree(world, ald_setup_points(options, &setup->config, &points)));
    setup->config.eval.teacher = setup->config.eval.teacher || points.count > 0;
    run->roles = 1u << ALD_ROLE_ANY;
    run->outputs[0] = setup->config.eval.output;
    const ald_eval_show_t show = {options->show.list.data, (int64_t)options->show.list.count,
                                  options->format, options->out};
    ALD_TRY(ald_stage_eval(&setup->config, world, &show, points.data, (int64_t)points.count));
done:
    ald_vec_reset(&points);
    return status;
}

static const struct {
    const char *command;
    stage_fn run;
} stages[] = {{"audit", audit},     {"sft", sft},           {"dpo", dpo},  {"score", score},
              {"distill", distill}, {"generate", generate}, {"eval", eval}};

static stage_fn find_stage(const char *command)
{
    size_t i = 0;
    while (strcmp(stages[i].command, command) != 0)
        ++i;
    return stages[i].run;
}

/* Files that are written beside the stage's own output are none that a command reads; nor is that
 * of `generate`, the one that is a file, the configuration. */
static ald_status_t check_outputs(const ald_options_t *options, const ald_setup_t *setup)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *const generated =
        find_stage(options->command) == generate ? setup->config.generate.output : NULL;
    const char *const outputs[][2] = {{"--out", options->out},
                                      {"runtime.ledger", setup->config.runtime.ledger},
                                      {"generate.output", generated}};
    const char *const inputs[][2] = {
        {"-c", options->config}, {"--sweep", options->sweep}, {"--judged", options->judged}};
    for (int i = 0; i < 3; ++i) {
        const char *path = outputs[i][1];
        if (path == NULL || path[0] == '\0')
            continue;
        for (int k = 0; k < 3; ++k)
            if (inputs[k][1] != NULL)
                ALD_TRY(ald_path_apart(outputs[i][0], path, inputs[k][0], inputs[k][1]));
        if (path != generated)
            ALD_TRY(ald_config_apart(&setup->config, outputs[i][0], path));
    }
done:
    return status;
}

static ald_status_t run(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_setup_t setup = {0};
    ald_stage_run_t stage = {.stage = options->command, .begun = ald_time()};
    ALD_TRY(ald_setup_load(options, world, &setup));
    ALD_TRY(
        ald_comm_agree(world, world->rank == 0 ? check_outputs(options, &setup) : ALD_STATUS_OK));
    ald_run_setup(setup.config.checkpoint.resume);
    if (setup.config.runtime.ledger[0] != '\0')
        ALD_TRY(ald_comm_agree(world, world->rank == 0
                                          ? ald_ledger_check(setup.config.runtime.ledger)
                                          : ALD_STATUS_OK));
    status = find_stage(options->command)(options, &setup, world, &stage);
    if (stage.outputs[0] != NULL || stage.parts > 0)
        keep_measured(&setup, world, &stage, status);
    keep_record(options, &setup, world, &stage, status);
done:
    ald_setup_reset(&setup);
    return status;
}

const ald_command_t ald_command_audit = {
    .bit = ALD_FOR_AUDIT,
    .name = "audit",
    .summary = "says what is in data.train, and writes it without what is wrong",
    .help = "Reads data.train in any layout; writes audit.json, audit.html, clean.jsonl and "
            "removed.jsonl into\n"
            "audit.output, and prints a summary; with audit.models also says which labels are "
            "likely flipped.\n"
            "src/data/AUDIT.md says what each reason means.\n",
    .run = run,
};
const ald_command_t ald_command_sft = {
    .bit = ALD_FOR_SFT,
    .name = "sft",
    .summary = "trains a model directory on the chosen responses, or on plain texts",
    .help = "Reads sft.model and data.train (pairs, of which \"chosen\" is trained on, or rows "
            "{\"text\"}),\n"
            "writes the model directory sft.output.\n",
    .run = run,
};
const ald_command_t ald_command_dpo = {
    .bit = ALD_FOR_DPO,
    .name = "dpo",
    .summary = "trains on preference pairs; dpo.reverse swaps them",
    .help = "Reads dpo.policy, dpo.reference and data.train, writes the model directory "
            "dpo.output.\n",
    .run = run,
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
    .run = run,
};
const ald_command_t ald_command_generate = {
    .bit = ALD_FOR_GENERATE,
    .name = "generate",
    .summary = "samples responses to the prompts of data.train",
    .help = "Reads generate.model and data.train, writes generate.output (JSONL). With\n"
            "generate.teacher = true responses are the composed teacher's (teacher.*).\n",
    .run = run,
};
const ald_command_t ald_command_score = {
    .bit = ALD_FOR_SCORE,
    .name = "score",
    .summary = "writes teacher shards for pairs or generations",
    .help = "Reads the teachers and data.train, writes shards into shards.directory. Under a Slurm "
            "array,\n"
            "or with --part I/N, each task makes its own part. Shards that are there and fit are "
            "kept.\n",
    .run = run,
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
    .run = run,
};
