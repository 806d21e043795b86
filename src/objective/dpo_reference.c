/* The reference of dpo. Its sums cost a pass over all pairs, so they are kept beside the run; and
 * when the policy starts from the reference, step 0 gives its own pairs' sums for free. Its whole
 * distribution is too much to keep: a loss of that has the model itself. */
#include "ald/objective/dpo_reference.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/layout.h"
#include "ald/model/batch.h"
#include "ald/model/digest.h"
#include "ald/model/mapped.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/vocabulary.h"
#include "ald/objective/pair_pass.h"
#include "ald/objective/preference.h"
#include "ald/par/collect.h"
#include "ald/num/gemm.h"
#include "ald/par/comm.h"
#include "ald/par/domain.h"
#include "ald/par/fault.h"
#include "ald/par/stop.h"
#include "ald/record/reference.h"
#include "ald/text/tokenizer.h"
#include "ald/train/checkpoint.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "ald/train/order.h"

/* The micro-batches that a pass has still to take: rows[start[m]] to rows[start[m + 1]]. */
typedef struct {
    int64_t *rows, *start, micros; /* one block, owned by `rows` */
} pass_t;

static bool all_known(const ald_dpo_reference_t *reference, const int64_t *rows, int64_t count)
{
    bool known = true;
    for (int64_t i = 0; i < count; ++i)
        known = known && reference->known[rows[i]];
    return known;
}

/* Cuts the rows that step 0 doesn't fill into micro-batches, which are the same after any stop as
 * in a run without one, and leaves out those that are known. A micro-batch that isn't known whole,
 * as others were cut then, is forgotten. */
static ald_status_t pass_init(ald_dpo_reference_t *reference, const ald_config_t *config,
                              pass_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t n = reference->preferences.pairs->count, wanted = 0, left = 0;
    out->rows = ald_alloc(sizeof *out->rows * (size_t)(3 * n + 1));
    ALD_CHECK_MEMORY(out->rows, sizeof *out->rows * (size_t)(3 * n + 1));
    int64_t *rows = out->rows, *tokens = rows + n, *start = rows + 2 * n;
    for (int64_t row = 0; row < n; ++row) {
        if (reference->skip[row])
            continue;
        ald_item_t item = ald_preferences_item(&reference->preferences, row);
        tokens[wanted] = ald_item_tokens(&item);
        rows[wanted++] = row;
    }
    const int64_t micros =
        wanted > 0 ? ald_micro_split(tokens, wanted, config->optimizer.micro_batch_tokens, start)
                   : 0;
    out->start = start;
    for (int64_t m = 0; m < micros; ++m) {
        const int64_t first = start[m], count = start[m + 1] - first;
        if (all_known(reference, rows + first, count))
            continue;
        memmove(rows + start[out->micros], rows + first, sizeof *rows * (size_t)count);
        start[out->micros + 1] = start[out->micros] + count;
        out->micros += 1;
    }
    left = out->micros > 0 ? start[out->micros] : 0;
    for (int64_t i = 0; i < left; ++i) {
        reference->known[rows[i]] = false;
        reference->values[2 * rows[i]] = reference->values[2 * rows[i] + 1] = 0.0;
    }
done:
    return status;
}

/* Computes a micro-batch of the reference's log-probabilities. */
static ald_status_t compute_micro(ald_dpo_reference_t *reference, const ald_model_t *model,
                                  const int64_t *rows, int64_t count, ald_arena_t *arena)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_pair_pass_t pass;
    const ald_arena_mark_t mark = ald_arena_mark(arena);
    ALD_TRY(ald_fail_point("reference"));
    ALD_TRY(ald_pair_pass(model, &reference->preferences, rows, count, false, arena, &pass));
    for (int64_t i = 0; i < 2 * count; ++i) {
        reference->values[2 * rows[i / 2] + i % 2] = ald_pair_pass_sum(&pass, pass.logprob, i);
        reference->known[rows[i / 2]] = true;
    }
done:
    ald_arena_release(arena, mark);
    return status;
}

/* Computes this rank's share of a pass, or what it has of it until it is to stop (*why). */
static ald_status_t compute_share(ald_dpo_reference_t *reference, const ald_model_t *model,
                                  const pass_t *pass, const ald_comm_t *comm, ald_stop_t *why)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena;
    ald_progress_t progress;
    ald_arena_init(&arena);
    ald_progress_begin(&progress, "reference log-probabilities", pass->micros);
    ald_stop_begin("dpo");
    for (int64_t m = comm->rank; m < pass->micros; m += comm->size) {
        const double begun = ald_time();
        const int64_t first = pass->start[m];
        *why = ald_stop_due(pass->micros - m, 0);
        if (*why != ALD_STOP_NO)
            break;
        ALD_TRY(compute_micro(reference, model, pass->rows + first, pass->start[m + 1] - first,
                              &arena));
        ald_stop_stepped(ald_time() - begun);
        ald_progress_update(&progress, m + 1, NULL);
    }
done:
    ald_progress_end(&progress);
    ald_arena_reset(&arena);
    return status;
}

/* Adds up the ranks' shares: each row was filled by one of them, or known to root, and is 0 on the
 * others. */
static void sum_shares(const ald_dpo_reference_t *reference, const ald_comm_t *comm)
{
    const int64_t n = reference->preferences.pairs->count;
    ald_collect_reduce(comm, reference->values, 2 * n, MPI_DOUBLE, MPI_SUM);
    ald_collect_reduce(comm, reference->known, n, MPI_C_BOOL, MPI_LOR);
}

/* The directory of the reference. */
static const char *directory_of(const ald_dpo_reference_t *reference, const ald_config_t *config)
{
    return reference->own ? config->dpo.policy : config->dpo.reference;
}

/* INPUT unless the reference has the policy's tokens. Fills `made_from`, by which its numbers are
 * known again in a later run. */
static ald_status_t check(ald_dpo_reference_t *out, const ald_config_t *config,
                          const ald_dataset_t *data, int64_t vocab_size)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *reference = directory_of(out, config);
    char weights[ALD_SHA256_HEX], tokenizer[ALD_SHA256_HEX];
    ald_model_config_t shape;
    ALD_TRY(ald_model_config_read(reference, &shape));
    ALD_TRY(ald_hf_sha256_tokenizer(reference, tokenizer));
    ALD_CHECK(strcmp(tokenizer, ald_tokenizer_sha256(data->tokenizer)) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from that of the policy, %s; expected the same tokenizer",
              reference, config->dpo.policy);
    ALD_TRY(ald_vocabulary_common(config->dpo.policy, vocab_size, reference, shape.vocab_size,
                                  &out->V));
    ALD_TRY(ald_hf_sha256(reference, weights));
    snprintf(
        out->made_from, sizeof out->made_from,
        "weights %s, tokenizer %s, %lld of them, data %s, layout %s, %lld rows shuffled by %lld, "
        "chat format %s, at most %lld and %lld tokens, %s, micro-batches of %lld, products %s",
        weights, tokenizer, (long long)out->V, data->pairs.sha256,
        ald_layout_name(data->pairs.layout), (long long)data->pairs.counts.read,
        config->data.shuffle ? (long long)config->seed : -1LL, data->chat.name,
        (long long)config->data.max_prompt_tokens, (long long)config->data.max_response_tokens,
        config->dpo.reverse ? "reverse" : "not reverse",
        (long long)config->optimizer.micro_batch_tokens, ald_gemm_chosen()->name);
done:
    return status;
}

/* Maps the reference; root reads it through. Local. */
static ald_status_t open_model(ald_dpo_reference_t *reference, const char *directory,
                               const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ALD_TRY(ald_model_config_read(directory, &shape));
    ALD_TRY(ald_params_init(&shape, &reference->params));
    ALD_TRY(ald_mapped_open(directory, &reference->params, &reference->mapped));
    if (comm->rank == 0)
        ALD_TRY(ald_mapped_check(reference->mapped, &reference->params));
    reference->model = ald_mapped_model(reference->mapped, &reference->params);
    reference->model.vocabulary = reference->V;
done:
    return status;
}

/* The same on all ranks, and copies of it where they are wanted. Collective. */
static ald_status_t map_model(ald_dpo_reference_t *reference, const char *directory,
                              const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_map_t *const *maps = NULL;
    ALD_TRY(ald_comm_agree(comm, open_model(reference, directory, comm)));
    const int64_t files = ald_mapped_files(reference->mapped, &maps);
    ALD_TRY(ald_domain_copy(comm, maps, files, directory));
done:
    return status;
}

static void unmap_model(ald_dpo_reference_t *reference)
{
    ald_mapped_close(reference->mapped);
    ald_params_reset(&reference->params);
    reference->mapped = NULL;
}

/* Loads the reference, or takes the policy before its first step, and computes the rows that step 0
 * doesn't give for free. */
static ald_status_t compute(ald_dpo_reference_t *reference, const ald_engine_t *engine,
                            ald_stop_t *why)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_t policy = ald_engine_model(engine);
    pass_t pass = {0};
    policy.vocabulary = reference->V;
    if (!reference->own)
        ALD_TRY(map_model(reference, engine->config->dpo.reference, engine->comm));
    ALD_TRY(pass_init(reference, engine->config, &pass));
    ALD_TRY(compute_share(reference, reference->own ? &policy : &reference->model, &pass,
                          engine->comm, why));
done:
    unmap_model(reference);
    ald_free(pass.rows);
    return status;
}

/* INPUT unless all numbers are finite: all ranks have the same. */
static ald_status_t check_values(const ald_dpo_reference_t *reference, const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_pairs_t *pairs = reference->preferences.pairs;
    for (int64_t i = 0; i < 2 * pairs->count; ++i)
        ALD_CHECK(isfinite(reference->values[i]), ALD_STATUS_INPUT,
                  "%s: gives row %lld a log-probability of %g: its numbers overflow",
                  directory_of(reference, config), (long long)pairs->rows[i / 2].id,
                  reference->values[i]);
done:
    return status;
}

/* Writes the numbers, on root; NaN where they aren't known yet. Collective. */
static ald_status_t keep(const ald_dpo_reference_t *reference, const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    if (comm->rank == 0)
        status = ald_reference_write(reference->path, reference->made_from, reference->values,
                                     reference->preferences.pairs->count);
    return ald_comm_agree(comm, status);
}

/* Leaves the rows of step 0 to that step. */
static ald_status_t skip_first_step(ald_dpo_reference_t *reference, const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = reference->preferences.pairs->count;
    int64_t *order = ald_alloc(sizeof *order * (size_t)(n + config->optimizer.batch_size));
    ALD_CHECK(order != NULL, ALD_STATUS_RESOURCE, "out of memory: the data's order");
    const int64_t *rows = order + n, count = ald_step_items(config, n, 0, order, order + n);
    for (int64_t i = 0; i < count; ++i)
        reference->skip[rows[i]] = true;
done:
    ald_free(order);
    return status;
}

/* The rows of which the pass has, or had before, the numbers. */
static int64_t count_known(const ald_dpo_reference_t *reference)
{
    int64_t known = 0;
    for (int64_t row = 0; row < reference->preferences.pairs->count; ++row)
        known += reference->known[row] && !reference->skip[row];
    return known;
}

/* NaN where no number is known, and where step 0 gives it. */
static void clear_unknown(ald_dpo_reference_t *reference)
{
    for (int64_t row = 0; row < reference->preferences.pairs->count; ++row)
        if (!reference->known[row] || reference->skip[row])
            reference->values[2 * row] = reference->values[2 * row + 1] = NAN;
}

/* STOPPED when that came to any rank. Collective. */
static ald_status_t check_stop(const ald_dpo_reference_t *reference, ald_stop_t why, int64_t before,
                               double begun)
{
    ald_stop_work_t work = {.stage = "dpo",
                            .unit = "reference pair",
                            .at = count_known(reference),
                            .seconds = ald_time() - begun};
    for (int64_t row = 0; row < reference->preferences.pairs->count; ++row)
        work.total += !reference->skip[row];
    work.left = work.total - work.at;
    work.done = work.at - before;
    return why == ALD_STOP_NO ? ALD_STATUS_OK : ald_stop_raise(why, &work);
}

/* Computes the numbers that no file has kept. What a run that stops has of them is kept, and what a
 * pass has that leaves some to step 0. */
static ald_status_t make(ald_dpo_reference_t *reference, ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *comm = engine->comm;
    ald_stop_t why = ALD_STOP_NO;
    const double begun = ald_time();
    const bool resumes = engine->config->checkpoint.resume && ald_checkpoint_newest(engine) > 0;
    int fresh = reference->own && !resumes;
    MPI_Bcast(&fresh, 1, MPI_INT, 0, comm->mpi);
    if (fresh)
        status = skip_first_step(reference, engine->config);
    ALD_TRY(ald_comm_agree(comm, status));
    const int64_t before = count_known(reference);
    ALD_TRY(ald_comm_agree(comm, compute(reference, engine, &why)));
    why = ald_stop_agree(comm, why);
    sum_shares(reference, comm);
    ALD_TRY(check_values(reference, engine->config));
    clear_unknown(reference);
    if (!fresh || count_known(reference) > before)
        ALD_TRY(keep(reference, comm));
    ALD_TRY(check_stop(reference, why, before, begun));
done:
    return status;
}

static ald_status_t alloc(const ald_engine_t *engine, ald_dpo_reference_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t n = (size_t)out->preferences.pairs->count;
    out->values = ald_calloc(2 * n, sizeof *out->values);
    out->skip = ald_calloc(n, sizeof *out->skip);
    out->known = ald_calloc(n, sizeof *out->known);
    out->path = ald_path_join(engine->output, "reference.h5");
    ALD_CHECK(out->values != NULL && out->skip != NULL && out->known != NULL && out->path != NULL,
              ALD_STATUS_RESOURCE, "out of memory: the reference's log-probabilities");
done:
    return status;
}

/* Takes over on root what the file has, on all ranks which rows that is; the numbers of the others
 * are 0. Returns how many rows it is. Collective. */
static int64_t take_over(ald_dpo_reference_t *reference, const ald_comm_t *comm)
{
    const int64_t n = reference->preferences.pairs->count;
    double *values = reference->values;
    const bool there =
        comm->rank == 0 && ald_reference_read(reference->path, reference->made_from, values, n);
    int64_t count = 0;
    for (int64_t row = 0; row < n; ++row) {
        reference->known[row] = there && isfinite(values[2 * row]) && isfinite(values[2 * row + 1]);
        if (!reference->known[row]) /* a damaged file may have left some */
            values[2 * row] = values[2 * row + 1] = 0.0;
    }
    ald_comm_broadcast(comm, reference->known, sizeof *reference->known * (size_t)n, 0);
    for (int64_t row = 0; row < n; ++row)
        count += reference->known[row];
    return count;
}

/* ALD_REFERENCE_SUMS: those of an earlier run, or new ones. */
static ald_status_t init_sums(ald_engine_t *engine, ald_dpo_reference_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t *comm = engine->comm;
    const int64_t n = out->preferences.pairs->count;
    ALD_TRY(ald_comm_agree(comm, alloc(engine, out)));
    const int64_t known = take_over(out, comm);
    if (known > 0)
        ald_log_info("dpo: the reference's log-probabilities of %lld of %lld pairs are those of %s",
                     (long long)known, (long long)n, out->path);
    if (known == n)
        ald_comm_broadcast(comm, out->values, sizeof(double) * (size_t)(2 * n), 0);
    else
        ALD_TRY(make(out, engine));
done:
    return status;
}

/* ALD_REFERENCE_ROWS */
static ald_status_t init_rows(ald_engine_t *engine, ald_dpo_reference_t *out)
{
    return map_model(out, directory_of(out, engine->config), engine->comm);
}

ald_status_t ald_dpo_reference_init(ald_engine_t *engine, const ald_dataset_t *data,
                                    ald_dpo_reference_t *out)
{
    static ald_status_t (*const inits[])(ald_engine_t *, ald_dpo_reference_t *) = {
        [ALD_REFERENCE_SUMS] = init_sums, [ALD_REFERENCE_ROWS] = init_rows};
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = engine->config;
    const ald_reference_use_t use = ald_preference_reference(config->dpo.loss);
    *out = (ald_dpo_reference_t){.preferences = {&data->pairs, config->dpo.reverse},
                                 .V = ald_tokenizer_size(data->tokenizer),
                                 .own = config->dpo.reference[0] == '\0' ||
                                        ald_path_same(config->dpo.policy, config->dpo.reference)};
    if (engine->comm->rank == 0 && use != ALD_REFERENCE_NONE)
        status = check(out, config, data, engine->params.config.vocab_size);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    MPI_Bcast(&out->V, 1, MPI_INT64_T, 0, engine->comm->mpi);
    if (use != ALD_REFERENCE_NONE)
        ALD_TRY(inits[use](engine, out));
done:
    return status;
}

void ald_dpo_reference_reset(ald_dpo_reference_t *reference)
{
    unmap_model(reference);
    ald_free(reference->values);
    ald_free(reference->skip);
    ald_free(reference->known);
    ald_free(reference->path);
    *reference = (ald_dpo_reference_t){0};
}

bool ald_dpo_reference_fills(const ald_dpo_reference_t *reference, const ald_items_t *items)
{
    return items->step == 0 && reference->skip != NULL && reference->skip[items->item[0]];
}

ald_status_t ald_dpo_reference_share(ald_dpo_reference_t *reference, const ald_items_t *items,
                                     const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t numbers = 2 * items->count;
    double *given = ald_alloc(sizeof *given * (size_t)numbers);
    if (given == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_comm_agree(comm, status));
    for (int64_t i = 0; i < numbers; ++i) {
        const double mine = reference->values[2 * items->item[i / 2] + i % 2];
        given[i] = isnan(mine) ? -INFINITY : mine;
    }
    ald_collect_reduce(comm, given, numbers, MPI_DOUBLE, MPI_MAX);
    for (int64_t i = 0; i < numbers; ++i)
        reference->values[2 * items->item[i / 2] + i % 2] = given[i];
    ALD_TRY(keep(reference, comm));
done:
    ald_free(given);
    return status;
}
