/* What stages leave when they end: records, cards of models, and lines of the ledger, none of which
 * a result depends on. */
#include "ald/pipeline/run_record.h"

#include <mpi.h>
#include <omp.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/lineage/card.h"
#include "ald/lineage/ledger.h"
#include "ald/lineage/run.h"
#include "ald/par/comm.h"
#include "ald/shard/format.h"
#include "ald/shard/set.h"
#include "pipeline/run_inputs_impl.h"

enum { HOST = 64 };

/* --- one record --------------------------------------------------------------------------------
 */

/* What all records of a stage have in common, on root. */
typedef struct {
    const ald_config_t *config;
    const ald_recorded_t *what;
    const ald_json_t *hosts;
    int ranks;
} stage_t;

/* The settings where no done.json has them. */
static ald_json_t *settings_of(const ald_config_t *config, const char *stage)
{
    static const char *const scored[] = {"data.", "teacher.", "shards.", "runtime.precision"};
    static const char *const audited[] = {
        "data.", "audit.", "runtime.precision", "runtime.dtype", "seed", "optimizer.", "dpo."};
    const bool audit = strcmp(stage, "audit") == 0;
    const ald_audit_models_t models = config->audit.models;
    const size_t count = !audit                                ? sizeof scored / sizeof *scored
                         : models == ALD_AUDIT_MODELS_CROSSFIT ? sizeof audited / sizeof *audited
                         : models == ALD_AUDIT_MODELS_GIVEN    ? 3
                                                               : 2;
    ald_json_t *out = ald_json_new_object();
    if (ald_config_settings(config, audit ? audited : scored, count, out) != ALD_STATUS_OK)
        ald_log_verbose("%s", ald_status_message());
    return out;
}

/* Writes a record, with the inputs of this stage; *made is what was written, or NULL. */
static ald_status_t record(const stage_t *s, const ald_config_t *config, ald_run_t run,
                           const char *from, ald_json_t **made)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_run_inputs_t inputs;
    ald_json_t *settings = settings_of(config, s->what->stage);
    ald_run_inputs(config, from, &inputs);
    run.stage = s->what->stage;
    run.root = config->output;
    run.inputs = inputs.list;
    run.settings = settings;
    run.hosts = s->hosts;
    run.ranks = s->ranks;
    run.threads = omp_get_max_threads();
    run.part = s->what->part;
    run.parts = s->what->parts;
    run.seconds = ald_time() - s->what->begun;
    status = ald_run_write(&run, made);
    ald_run_inputs_reset(&inputs);
    ald_json_free(settings);
    return status;
}

/* A line in the ledger of what was written, which completes what the run leaves. */
static ald_status_t enter(const stage_t *s, const ald_run_t *run, const ald_json_t *made)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *ledger = s->config->runtime.ledger;
    if (made != NULL && ledger[0] != '\0')
        status = ald_ledger_append(ledger, made, run->record);
    ald_run_written(run);
    return status;
}

/* A model's record, card and line in the ledger; `origin`: what it was trained from. */
static ald_status_t model(const stage_t *s, const ald_config_t *config, const char *output,
                          const char *origin, const char *from)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *made = NULL;
    char *where = ald_path_join(output, "run.json"), *done = ald_path_join(output, "done.json");
    ALD_CHECK(where != NULL && done != NULL, ALD_STATUS_RESOURCE, "out of memory");
    if (!ald_path_exists(done))
        goto done; /* of a sweep a run that wasn't trained */
    const ald_run_t run = {
        .output = output, .claimed = output, .kind = "model", .record = where, .done = done};
    ALD_TRY(record(s, config, run, from, &made));
    if (made != NULL)
        ALD_TRY(ald_card_write(output, origin, made));
    ALD_TRY(enter(s, &run, made));
done:
    ald_json_free(made);
    ald_free(where);
    ald_free(done);
    return status;
}

static bool has_shards(const char *folder)
{
    char **names = NULL;
    size_t count = 0;
    bool out = false;
    if (!ald_path_is_directory(folder) || ald_dir_list(folder, &names, &count) != ALD_STATUS_OK)
        return false;
    for (size_t i = 0; i < count; ++i)
        out = out || ald_shard_number(names[i]) >= 0;
    ald_names_free(names, count);
    return out;
}

/* The record of a folder of shards, once it is complete: its manifest is there, or the on-policy
 * run that has made it is done. */
static ald_status_t shards(const stage_t *s, const char *from, bool on_policy, bool alone)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *folder = s->config->shards.directory;
    ald_json_t *made = NULL;
    char *where = ald_run_beside(folder);
    char *all = on_policy ? ald_path_join(s->config->distill.output, "done.json")
                          : ald_path_join(folder, "manifest.json");
    ALD_CHECK(where != NULL && all != NULL, ALD_STATUS_RESOURCE, "out of memory");
    if (!has_shards(folder) || !ald_path_exists(all))
        goto done;
    const ald_run_t run = {.output = folder,
                           .claimed = on_policy ? s->config->distill.output
                                      : alone   ? folder
                                                : NULL,
                           .claimed_file = !on_policy,
                           .kind = "shards",
                           .record = where,
                           .done = on_policy ? all : NULL};
    ALD_TRY(record(s, s->config, run, from, &made));
    if (alone)
        ALD_TRY(enter(s, &run, made));
done:
    ald_json_free(made);
    ald_free(where);
    ald_free(all);
    return status;
}

/* The record of reports or rows. `done` and `where`: the caller's, freed here. */
static ald_status_t others(const stage_t *s, ald_run_t run, char *where, char *done,
                           const char *from)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *made = NULL;
    ALD_CHECK(where != NULL && run.output != NULL, ALD_STATUS_RESOURCE, "out of memory");
    run.record = where;
    run.done = done;
    ALD_TRY(record(s, s->config, run, from, &made));
    ALD_TRY(enter(s, &run, made));
done:
    ald_json_free(made);
    ald_free(where);
    ald_free(done);
    return status;
}

/* --- stages ------------------------------------------------------------------------------------
 */

static ald_status_t after_sft(const stage_t *s)
{
    return model(s, s->config, s->config->sft.output, s->config->sft.model, "sft");
}

static ald_status_t after_dpo(const stage_t *s)
{
    return model(s, s->config, s->config->dpo.output, s->config->dpo.policy, "dpo");
}

static ald_status_t after_distill(const stage_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = s->config;
    const ald_sweep_t *sweep = s->what->sweep;
    const bool on_policy = config->distill.mode != ALD_MODE_OFF_POLICY;
    const bool scored = config->data.train[0] != '\0' && config->shards.sources.count == 0;
    if (sweep->count == 0 && (on_policy || scored))
        ALD_TRY(shards(s, on_policy ? "distill" : "score", on_policy, false));
    if (sweep->count == 0)
        return model(s, config, config->distill.output, config->distill.policy, "distill");
    for (int64_t i = 0; i < sweep->count; ++i) {
        const ald_config_t *run = &sweep->runs[i].config;
        ALD_TRY(model(s, run, run->distill.output, run->distill.policy, "distill"));
    }
done:
    return status;
}

static ald_status_t after_score(const stage_t *s)
{
    return shards(s, "score", false, true);
}

static ald_status_t after_generate(const stage_t *s)
{
    const char *file = s->config->generate.output;
    const ald_run_t run = {.output = file, .claimed = file, .claimed_file = true, .kind = "file"};
    return others(s, run, ald_run_beside(file), ald_path_beside(file, ".done.json"), "generate");
}

static ald_status_t after_eval(const stage_t *s)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const names[] = {"eval.json", "eval.html", "answers.jsonl", NULL};
    const char *folder = s->config->eval.output;
    ald_run_t run = {.output = folder, .claimed = folder, .kind = "folder", .names = names};
    if (s->what->points) {
        char *table = ald_path_join(folder, "strengths.json");
        run.output = table;
        run.kind = "file";
        status = others(s, run, ald_path_join(folder, "strengths.json.run.json"),
                        ald_path_join(folder, "strengths.done.json"), "eval");
        ald_free(table);
        return status;
    }
    char *report = ald_path_join(folder, "eval.json");
    const bool made = report != NULL && ald_path_exists(report); /* not by --show */
    ald_free(report);
    if (!made)
        return status;
    ALD_TRY(others(s, run, ald_path_join(folder, "run.json"), ald_path_join(folder, "done.json"),
                   "eval"));
    if (!s->config->eval.teacher && s->config->eval.model[0] != '\0')
        ALD_TRY(ald_card_evaluated(s->config->eval.model, folder));
done:
    return status;
}

static ald_status_t after_audit(const stage_t *s)
{
    static const char *const names[] = {
        "clean.jsonl", "removed.jsonl", "flipped.jsonl", "labels.jsonl", "audit.json", "audit.html",
        NULL};
    const char *folder = s->config->audit.output;
    const ald_run_t run = {.output = folder, .claimed = folder, .kind = "folder", .names = names};
    return others(s, run, ald_path_join(folder, "run.json"), NULL, "audit");
}

/* `output`: what the stage claims, where a stopped run of it is noted; 0: it claims none. */
#define OUTPUT(stage) offsetof(ald_config_t, stage.output)
static const struct {
    const char *stage;
    ald_status_t (*after)(const stage_t *s);
    size_t output;
    bool file;
} stages[] = {{"sft", after_sft, OUTPUT(sft), false},
              {"dpo", after_dpo, OUTPUT(dpo), false},
              {"reverse", after_dpo, OUTPUT(dpo), false},
              {"distill", after_distill, OUTPUT(distill), false},
              {"score", after_score, 0, false},
              {"generate", after_generate, OUTPUT(generate), true},
              {"eval", after_eval, OUTPUT(eval), false},
              {"audit", after_audit, OUTPUT(audit), false}};
#undef OUTPUT

/* The names of the nodes, each once, on root. Collective. */
static ald_json_t *gather_hosts(const ald_comm_t *world)
{
    char mine[HOST] = "", *all = NULL;
    ald_json_t *out = NULL;
    gethostname(mine, sizeof mine - 1);
    int there = 1;
    if (world->rank == 0)
        there = (all = ald_calloc((size_t)world->size, HOST)) != NULL;
    MPI_Bcast(&there, 1, MPI_INT, 0, world->mpi);
    if (there)
        MPI_Gather(mine, HOST, MPI_CHAR, all, HOST, MPI_CHAR, 0, world->mpi);
    if (world->rank == 0)
        out = ald_json_new_array();
    for (int r = 0; all != NULL && r < world->size; ++r) {
        bool known = false;
        for (int k = 0; k < r && !known; ++k)
            known = strcmp(all + (size_t)k * HOST, all + (size_t)r * HOST) == 0;
        if (!known)
            ald_json_push(out, ald_json_new_string(all + (size_t)r * HOST));
    }
    ald_free(all);
    return out;
}

void ald_run_record(const ald_config_t *config, const ald_comm_t *world, const ald_recorded_t *what,
                    ald_status_t ended)
{
    size_t i = 0;
    char message[1024];
    const bool made = ended == ALD_STATUS_OK || what->written;
    if (made || ended == ALD_STATUS_STOPPED) {
        ald_json_t *hosts = gather_hosts(world);
        strcpy(message, ald_status_message()); /* of the stop or failure */
        while (strcmp(stages[i].stage, what->stage) != 0)
            ++i;
        const stage_t s = {config, what, hosts, world->size};
        if (world->rank == 0 && made && stages[i].after(&s) != ALD_STATUS_OK)
            ald_log_warn("%s: the record of this run isn't complete", ald_status_message());
        if (world->rank == 0 && ended == ALD_STATUS_STOPPED && stages[i].output != 0)
            ald_run_stopped((const char *)config + stages[i].output, stages[i].file,
                            ald_time() - what->begun);
        if (ended != ALD_STATUS_OK)
            ald_status_raise(ended, "%s", message);
        ald_json_free(hosts);
    }
    ald_run_end();
}
