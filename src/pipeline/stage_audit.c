/* The stage `audit`. Ranks read parts of the file and compare candidates; rank 0 has the records of
 * all rows, sorts them, and writes. What is found of a row doesn't depend on who read it, and
 * clusters don't on the order of joining, so the bytes are the same on any number of ranks. */
#include "ald/pipeline/stage_audit.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/audit.h"
#include "ald/data/audit_repeats.h"
#include "ald/par/collect.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "pipeline/audit_impl.h"
#include "pipeline/claim_impl.h"

/* --- settings -------------------------------------------------------------------------------- */

typedef struct {
    ald_reason_t reason;
    double share;
} limit_t;

/* Reads "REASON=SHARE". */
static ald_status_t parse_limit(const char *text, limit_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *sign = strrchr(text, '=');
    char *end = NULL;
    if (sign != NULL)
        out->share = strtod(sign + 1, &end);
    ALD_CHECK(
        sign != NULL && end != sign + 1 && *end == '\0' && out->share >= 0.0 && out->share <= 1.0,
        ALD_STATUS_USAGE, "--fail-on %s: expected REASON=SHARE, with a share from 0 to 1", text);
    ALD_TRY(ald_reason_find(text, (size_t)(sign - text), "--fail-on", &out->reason));
done:
    return status;
}

static ald_status_t parse_limits(const char *const *texts, size_t count, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < count; ++i) {
        limit_t limit = {0};
        ALD_TRY(parse_limit(texts[i], &limit));
        ALD_TRY(ald_vec_push(out, &limit));
    }
done:
    return status;
}

/* The output's files are none of the inputs: `audit` of an earlier clean.jsonl needs another
 * folder.
 */
static ald_status_t check_inputs(const ald_config_t *config)
{
    static const char *const names[] = {"clean.jsonl",  "removed.jsonl", "flipped.jsonl",
                                        "labels.jsonl", "audit.json",    "audit.html",
                                        "run.json"};
    const ald_named_t inputs[] = {{"data.train", config->data.train},
                                  {"data.eval", config->data.eval},
                                  {"audit.terms", config->audit.terms},
                                  {"audit.refusals", config->audit.refusals}};
    enum { INPUTS = sizeof inputs / sizeof inputs[0] };
    ald_status_t status = ALD_STATUS_OK;
    for (size_t k = 0; k < INPUTS * (sizeof names / sizeof names[0]); ++k) {
        const ald_named_t *input = &inputs[k % INPUTS];
        char *path = ald_path_join(config->audit.output, names[k / INPUTS]);
        if (path != NULL && input->path[0] != '\0' && ald_path_same(path, input->path))
            status =
                ald_status_raise(ALD_STATUS_USAGE,
                                 "audit.output: %s is %s too, and would be overwritten; expected "
                                 "another folder",
                                 path, input->key);
        ald_free(path);
        ALD_TRY(status);
    }
done:
    return status;
}

/* Claims the output before anything is read. Collective. */
static ald_status_t begin(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_named_t inputs[] = {{"data.train", config->data.train},
                                  {"data.eval", config->data.eval},
                                  {"audit.policy", config->audit.policy},
                                  {"audit.reference", config->audit.reference},
                                  {"dpo.policy", config->dpo.policy},
                                  {"dpo.reference", config->dpo.reference},
                                  {NULL, NULL}};
    if (world->rank == 0)
        status = check_inputs(config);
    ALD_TRY(ald_comm_agree(world, status));
    ALD_TRY(ald_claim(world, "audit", (ald_named_t){"audit.output", config->audit.output}, false,
                      inputs));
    if (world->rank == 0) {
        status = ald_dir_make(config->audit.output);
        if (status == ALD_STATUS_OK)
            status = ald_dir_sweep(config->audit.output);
    }
    ALD_TRY(ald_comm_agree(world, status));
done:
    return status;
}

/* --- the records of all rows ------------------------------------------------------------------ */

/* Gathers `mine`, `bytes` of each of the part's rows, on root. Collective. */
static void gather(const ald_comm_t *world, int64_t rows, size_t bytes, const void *mine, void *all)
{
    int64_t starts[world->size + 1];
    ald_collect_starts(world, rows * (int64_t)bytes, starts);
    const ald_spread_t spread = {world, starts, MPI_BYTE};
    ald_collect_gather(&spread, mine, all);
}

static ald_status_t make_records(const ald_comm_t *world, ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t count = (size_t)run->count;
    if (world->rank != 0)
        return status;
    run->rows = ald_calloc(count + 1, sizeof *run->rows);
    ALD_CHECK_MEMORY(run->rows, count * sizeof *run->rows);
    for (int r = 0; r < ALD_REASON_OTHERS; ++r) {
        run->others[r] = ald_alloc((count + 1) * sizeof *run->others[r]);
        ALD_CHECK_MEMORY(run->others[r], count * sizeof *run->others[r]);
        memset(run->others[r], 0xFF, (count + 1) * sizeof *run->others[r]);
    }
done:
    return status;
}

/* Brings the records to root and finds the repeats there. Collective. */
static ald_status_t collect(const ald_comm_t *world, const ald_audit_part_t *part,
                            ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    run->count = (int64_t)run->audit.file.rows.count;
    ALD_TRY(ald_comm_agree(world, make_records(world, run)));
    gather(world, part->count, sizeof *part->rows, part->rows, run->rows);
    if (world->rank == 0)
        status = ald_repeats_find(run->rows, run->count, run->others);
    ALD_TRY(ald_comm_agree(world, status));
done:
    return status;
}

/* --- near duplicates -------------------------------------------------------------------------- */

/* The candidates of a band, which root has found, compared by all ranks. Collective. */
static ald_status_t verify(const ald_comm_t *world, const ald_audit_t *audit, ald_audit_text_t text,
                           ald_vec_t *pairs, ald_vec_t *same)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t count = (int64_t)pairs->count / 2;
    MPI_Bcast(&count, 1, MPI_INT64_T, 0, world->mpi);
    pairs->count = same->count = 0;
    ALD_TRY(ald_comm_agree(world, ald_vec_reserve(pairs, 2 * (size_t)count + 1)));
    ALD_TRY(ald_comm_agree(world, ald_vec_append(same, NULL, (size_t)count)));
    pairs->count = 2 * (size_t)count;
    ald_comm_broadcast(world, pairs->data, pairs->count * sizeof(uint32_t), 0);
    const ald_audit_candidates_t candidates = {text, pairs->data, count, world->rank, world->size};
    ALD_TRY(ald_comm_agree(world, ald_audit_verify(audit, &candidates, same->data)));
    ald_collect_reduce(world, same->data, count, MPI_UINT8_T, MPI_MAX);
done:
    return status;
}

typedef struct {
    ald_clusters_t clusters; /* on root */
    ald_vec_t band, pairs, same;
} near_t;

/* One band of all rows: gathered, candidates, compared, joined. Collective. */
static ald_status_t join_band(const ald_comm_t *world, const ald_audit_part_t *part,
                              ald_audit_text_t text, int64_t b, ald_audit_run_t *run, near_t *near)
{
    static const ald_reason_t repeats[] = {ALD_REASON_DUPLICATE_PAIR, ALD_REASON_DUPLICATE_PROMPT};
    ald_status_t status = ALD_STATUS_OK;
    gather(world, part->count, sizeof(uint32_t), part->bands[text] + b * part->count,
           near->band.data);
    if (world->rank == 0)
        status = ald_clusters_candidates(&near->clusters, run->rows, repeats[text], near->band.data,
                                         &near->pairs);
    ALD_TRY(ald_comm_agree(world, status));
    ALD_TRY(verify(world, &run->audit, text, &near->pairs, &near->same));
    if (world->rank == 0)
        ald_clusters_join(&near->clusters, &near->pairs, near->same.data);
done:
    return status;
}

/* Finds the rows whose text `text` is nearly that of others. Collective. */
static ald_status_t find_near(const ald_comm_t *world, const ald_audit_part_t *part,
                              ald_audit_text_t text, ald_audit_run_t *run)
{
    static const ald_reason_t reasons[] = {ALD_REASON_NEAR_PAIR, ALD_REASON_NEAR_PROMPT};
    ald_status_t status = ALD_STATUS_OK;
    near_t near = {0};
    ald_vec_init(&near.band, sizeof(uint32_t));
    ald_vec_init(&near.pairs, sizeof(uint32_t));
    ald_vec_init(&near.same, sizeof(uint8_t));
    if (world->rank == 0) {
        status = ald_clusters_init(run->count, &near.clusters);
        if (status == ALD_STATUS_OK)
            status = ald_vec_append(&near.band, NULL, (size_t)run->count);
    }
    ALD_TRY(ald_comm_agree(world, status));
    for (int64_t b = 0; b < run->config->audit.bands; ++b)
        ALD_TRY(join_band(world, part, text, b, run, &near));
    if (world->rank == 0)
        ald_clusters_mark(&near.clusters, reasons[text], run->rows, run->others[reasons[text]]);
    run->compared[text] = near.clusters.compared;
    run->alike[text] = near.clusters.alike;
done:
    ald_clusters_reset(&near.clusters);
    ald_vec_reset(&near.band);
    ald_vec_reset(&near.pairs);
    ald_vec_reset(&near.same);
    return status;
}

/* --- the stage -------------------------------------------------------------------------------- */

static ald_status_t write_all(ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_audit_sum(run);
    ALD_TRY(ald_fail_point("output_write"));
    ALD_TRY(ald_audit_write_rows(run));
    ALD_TRY(ald_audit_write_labels(run));
    ALD_TRY(ald_audit_write_page(run));
    ALD_TRY(ald_audit_write_json(run));
    ALD_TRY(ald_audit_print(run));
done:
    return status;
}

/* Reasons that nothing looks for can't be a limit. */
static ald_status_t check_looked_for(const ald_audit_run_t *run, const ald_vec_t *limits)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < limits->count; ++i) {
        const ald_reason_t reason = ALD_VEC_AT(limits, limit_t, i).reason;
        const bool tokens = reason == ALD_REASON_SAME_CUT || reason == ALD_REASON_LOSSY ||
                            reason == ALD_REASON_LONG_PROMPT || reason == ALD_REASON_LONG_ANSWER;
        const bool eval = reason == ALD_REASON_EVAL_PROMPT || reason == ALD_REASON_EVAL_8 ||
                          reason == ALD_REASON_EVAL_13;
        ALD_CHECK(!tokens || run->audit.tokenizer != NULL, ALD_STATUS_USAGE,
                  "--fail-on %s: nothing is looked for without a tokenizer; expected a model in "
                  "the configuration",
                  ald_reason_name(reason));
        ALD_CHECK(!eval || run->config->data.eval[0] != '\0', ALD_STATUS_USAGE,
                  "--fail-on %s: nothing is looked for without data.eval", ald_reason_name(reason));
    }
done:
    return status;
}

static ald_status_t check_limits(const ald_audit_run_t *run, const ald_vec_t *limits)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < limits->count; ++i) {
        const limit_t limit = ALD_VEC_AT(limits, limit_t, i);
        const int64_t found = run->sums.reasons[limit.reason];
        const double allowed = limit.share * (double)run->count;
        ALD_CHECK((double)found <= allowed + 1e-9 * (double)run->count, ALD_STATUS_INPUT,
                  "%s: %lld of %lld rows have the reason %s, a share of %.4g; --fail-on allows %g",
                  run->config->data.train, (long long)found, (long long)run->count,
                  ald_reason_name(limit.reason), (double)found / (double)run->count, limit.share);
    }
done:
    return status;
}

static bool is_limited(const ald_vec_t *limits, ald_reason_t reason)
{
    bool found = false;
    for (size_t i = 0; i < limits->count; ++i)
        found = found || ALD_VEC_AT(limits, limit_t, i).reason == reason;
    return found;
}

static ald_status_t run_audit(const ald_comm_t *world, const ald_vec_t *limits,
                              ald_audit_run_t *run, bool *written)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_audit_part_t part = {0};
    const double begun = ald_time();
    ALD_TRY(ald_comm_agree(world, ald_audit_open(run->config, &run->audit)));
    ALD_TRY(ald_comm_agree(world, check_looked_for(run, limits)));
    ALD_TRY(ald_comm_agree(world, ald_audit_read(&run->audit, world->rank, world->size, &part)));
    ald_log_verbose("audit: rows read after %.1f s", ald_time() - begun);
    ALD_TRY(collect(world, &part, run));
    ald_log_verbose("audit: repeats found after %.1f s", ald_time() - begun);
    for (int text = 0; text < ALD_AUDIT_TEXTS; ++text)
        ALD_TRY(find_near(world, &part, (ald_audit_text_t)text, run));
    ald_log_verbose("audit: near duplicates found after %.1f s", ald_time() - begun);
    ALD_TRY(ald_audit_labels(world, run));
    if (world->rank == 0)
        status = write_all(run);
    ALD_TRY(ald_comm_agree(world, status));
    *written = true;
    if (world->rank == 0)
        status = check_limits(run, limits);
    ALD_TRY(ald_comm_agree(world, status));
done:
    ald_audit_part_reset(&part);
    return status;
}

ald_status_t ald_stage_audit(const ald_config_t *config, const ald_comm_t *world,
                             const char *const *limits, size_t count, bool *written)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_audit_run_t run = {.config = config};
    ald_vec_t parsed;
    ald_vec_init(&parsed, sizeof(limit_t));
    *written = false;
    ALD_TRY(ald_comm_agree(world, parse_limits(limits, count, &parsed)));
    ALD_TRY(ald_comm_agree(world,
                           ald_reasons_parse(config->audit.remove, "audit.remove", &run.remove)));
    ALD_TRY(ald_comm_agree(world, ald_audit_labels_check(config, run.remove,
                                                         is_limited(&parsed, ALD_REASON_FLIPPED))));
    ALD_TRY(begin(config, world));
    ALD_TRY(run_audit(world, &parsed, &run, written));
done:
    ald_audit_close(&run.audit);
    for (int r = 0; r < ALD_REASON_OTHERS; ++r)
        ald_free(run.others[r]);
    ald_audit_labels_reset(&run.labels);
    ald_free(run.rows);
    ald_vec_reset(&parsed);
    return status;
}
