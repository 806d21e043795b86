/* sft, dpo and distill: a configuration, then the stage. */
#include "ald/base/status.h"
#include "ald/cli/options.h"
#include "ald/config/config.h"
#include "ald/config/sweep.h"
#include "ald/par/comm.h"
#include "ald/par/signals.h"
#include "ald/pipeline/stage_distill.h"
#include "ald/pipeline/stage_dpo.h"
#include "ald/pipeline/stage_eval.h"
#include "ald/pipeline/stage_generate.h"
#include "ald/pipeline/stage_score.h"
#include "ald/pipeline/stage_sft.h"
#include "ald/pipeline/stage_sweep.h"
#include "cli/commands_impl.h"

#define CONFIG_ARGUMENTS "-c FILE.cfg [--set path=value]... [--quiet | --verbose]"

static ald_status_t run_stage(int argc, char **argv, const ald_comm_t *world,
                              ald_status_t (*stage)(const ald_config_t *, const ald_comm_t *))
{
    ald_status_t status = ALD_STATUS_OK;
    ald_options_t options;
    ald_signals_catch();
    ALD_TRY(ald_options_parse(argc, argv, "", world, &options));
    ALD_TRY(stage(&options.config, world));
done:
    ald_config_reset(&options.config);
    return status;
}

static ald_status_t run_sft(int argc, char **argv, const ald_comm_t *world)
{
    return run_stage(argc, argv, world, ald_stage_sft);
}

static ald_status_t run_dpo(int argc, char **argv, const ald_comm_t *world)
{
    return run_stage(argc, argv, world, ald_stage_dpo);
}

static ald_status_t run_distill(int argc, char **argv, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_options_t options;
    ald_signals_catch();
    ALD_TRY(ald_options_parse(argc, argv, "sweep", world, &options));
    ALD_TRY(options.sweep.count > 0 ? ald_stage_sweep(&options.config, &options.sweep, world)
                                    : ald_stage_distill(&options.config, world));
done:
    ald_sweep_reset(&options.sweep);
    ald_config_reset(&options.config);
    return status;
}

static ald_status_t run_generate(int argc, char **argv, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_options_t options;
    ALD_TRY(ald_options_parse(argc, argv, "", world, &options));
    ALD_TRY(ald_stage_generate(&options.config, world));
done:
    ald_config_reset(&options.config);
    return status;
}

static ald_status_t run_score(int argc, char **argv, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_options_t options;
    ald_signals_catch();
    ALD_TRY(ald_options_parse(argc, argv, "part", world, &options));
    ALD_TRY(ald_stage_score(&options.config, world, options.part, options.parts));
done:
    ald_config_reset(&options.config);
    return status;
}

static ald_status_t run_eval(int argc, char **argv, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_options_t options;
    ALD_TRY(ald_options_parse(argc, argv, "show", world, &options));
    ALD_TRY(ald_stage_eval(&options.config, world, options.show));
done:
    ald_config_reset(&options.config);
    return status;
}

const ald_command_t ald_command_sft = {
    "sft", CONFIG_ARGUMENTS, "trains a model directory on the chosen responses, or on plain texts",
    "Reads sft.model and data.train (pairs, of which \"chosen\" is trained on, or rows "
    "{\"text\"}),\n"
    "writes the model directory sft.output.\n",
    run_sft};
const ald_command_t ald_command_dpo = {
    "dpo", CONFIG_ARGUMENTS, "trains on preference pairs; dpo.reverse swaps them",
    "Reads dpo.policy, dpo.reference and data.train, writes the model directory dpo.output.\n",
    run_dpo};
const ald_command_t ald_command_distill = {
    "distill", CONFIG_ARGUMENTS " [--sweep FILE]", "distils the composed teacher into the policy",
    "Reads distill.policy, the teachers and data.train or shards.directory, writes the model\n"
    "directory distill.output, shards, metrics and checkpoints. --sweep FILE trains several runs,\n"
    "which differ in settings that the shards don't depend on, over shards that are there, each\n"
    "into a folder of its name in distill.output, and prints a table. jobs/README.md shows a "
    "FILE.\n",
    run_distill};
const ald_command_t ald_command_generate = {
    "generate", CONFIG_ARGUMENTS, "samples responses to the prompts of data.train",
    "Reads generate.model and data.train, writes generate.output (JSONL).\n", run_generate};
const ald_command_t ald_command_score = {
    "score", CONFIG_ARGUMENTS " [--part I/N]", "writes teacher shards for pairs or generations",
    "Reads the teachers and data.train, writes shards into shards.directory. Under a Slurm array,\n"
    "or with --part I/N, each task makes its own part. Shards that are there and fit are kept.\n",
    run_score};
const ald_command_t ald_command_eval = {
    "eval", CONFIG_ARGUMENTS " [--show ROW]", "rewards, perplexity and generations on data.eval",
    "Reads eval.model, the pair eval.dpo and eval.contrast, and data.eval; writes eval.json and\n"
    "eval.html into eval.output. --show prints a row's rewards token by token.\n",
    run_eval};
