/* Direct preference optimisation (Rafailov et al. 2023), and its reverse with chosen and rejected
 * swapped. Both responses of a pair share their prompt's computation. */
#include "ald/pipeline/stage_dpo.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/layout.h"
#include "ald/data/pairs.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/digest.h"
#include "ald/model/forward.h"
#include "ald/model/head.h"
#include "ald/model/mapped.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/vocabulary.h"
#include "ald/objective/cross_entropy.h"
#include "ald/objective/preference.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/par/signals.h"
#include "ald/plan/memory.h"
#include "ald/record/metrics.h"
#include "ald/record/reference.h"
#include "ald/text/tokenizer.h"
#include "ald/train/checkpoint.h"
#include "ald/train/engine.h"
#include "pipeline/data_impl.h"

enum {
    COLUMN_LOSS,
    COLUMN_CHOSEN, /* beta (log pi - log ref) */
    COLUMN_REJECTED,
    COLUMN_ACCURATE,
    COLUMN_LOGP_CHOSEN,
    COLUMN_LOGP_REJECTED,
    COLUMN_PAIRS,
};

typedef struct {
    const ald_config_t *config;
    const ald_pairs_t *pairs;
    double *reference; /* [2 count]: summed log-probabilities of preferred and other; NaN: they are
                          the policy's before its first step */
    const int64_t *items; /* rows of the step */
    int64_t step_count;
    bool own, *skip; /* reference and policy are one; [count]: rows that step 0 fills */
    char *path;      /* of the kept numbers, and by what content they are known */
    char made_from[512];
    int64_t V; /* tokens that policy and reference share */
    /* the micro-batch at hand */
    const int32_t *target;
    float *logprob, *weight; /* [R]: of each position; dloss/dlogprob of its sequence */
} dpo_t;

/* The preferred response first, as the loss sees it. */
static ald_item_t dpo_item(const void *context, int64_t row)
{
    const dpo_t *dpo = context;
    const ald_pair_t *pair = &dpo->pairs->rows[row];
    return dpo->config->dpo.reverse ? ald_item_of(pair, &pair->rejected, &pair->chosen)
                                    : ald_item_of(pair, &pair->chosen, &pair->rejected);
}

static ald_status_t logprob_head(void *context, int64_t first, int64_t count, float *logits)
{
    dpo_t *dpo = context;
    ald_token_logprobs(count, dpo->V, logits, dpo->target + first, dpo->logprob + first);
    return ALD_STATUS_OK;
}

static ald_status_t gradient_head(void *context, int64_t first, int64_t count, float *logits)
{
    dpo_t *dpo = context;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        ald_cross_entropy_row(dpo->V, dpo->target[first + i], dpo->weight[first + i],
                              logits + i * dpo->V);
    return ALD_STATUS_OK;
}

/* Packs rows items[first..], runs the model, leaves every position's log-probability. */
static ald_status_t dpo_forward(dpo_t *dpo, const ald_model_t *model, ald_arena_t *arena,
                                const int64_t *rows, int64_t count, ald_activations_t **kept,
                                ald_packed_t *packed, float **hidden)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_item_t *items = ALD_ARENA_ARRAY(arena, ald_item_t, count);
    ALD_CHECK_MEMORY(items, sizeof *items * (size_t)count);
    for (int64_t i = 0; i < count; ++i)
        items[i] = dpo_item(dpo, rows[i]);
    ALD_TRY(ald_pack(items, count, arena, packed));
    *hidden =
        ALD_ARENA_ARRAY(arena, float, packed->batch.tokens * model->params->config.hidden_size);
    dpo->logprob = ALD_ARENA_ARRAY(arena, float, packed->positions);
    dpo->weight = ALD_ARENA_ARRAY(arena, float, packed->positions);
    ALD_CHECK(*hidden && dpo->logprob && dpo->weight, ALD_STATUS_RESOURCE, "out of memory");
    dpo->target = packed->target;
    ALD_TRY(ald_forward(model, &packed->batch, arena, kept, *hidden));
    ALD_TRY(ald_head(model, *hidden, packed->positions, packed->row, arena, logprob_head, dpo, NULL,
                     NULL));
done:
    return status;
}

/* Restricted to the tokens that policy and reference share. */
static ald_model_t shared_model(const dpo_t *dpo, ald_model_t model)
{
    model.vocabulary = dpo->V;
    return model;
}

static double sequence_logprob(const dpo_t *dpo, const ald_packed_t *packed, int64_t sequence)
{
    double sum = 0.0;
    for (int64_t r = packed->start[sequence]; r < packed->start[sequence + 1]; ++r)
        sum += dpo->logprob[r];
    return sum;
}

/* Loss of one pair: its columns, and the weights of its positions. */
static void dpo_pair(dpo_t *dpo, const ald_packed_t *packed, int64_t i, int64_t row,
                     double *columns)
{
    const ald_config_t *config = dpo->config;
    double *reference = dpo->reference + 2 * row, slope, beta = config->dpo.beta;
    double first = sequence_logprob(dpo, packed, 2 * i);
    double second = sequence_logprob(dpo, packed, 2 * i + 1);
    if (isnan(reference[0])) {
        reference[0] = first;
        reference[1] = second;
    }
    const ald_preference_t settings = {config->dpo.loss, beta, config->dpo.label_smoothing};
    const ald_pair_sums_t sums = {first, second, reference[0], reference[1]};
    columns[COLUMN_LOSS] += ald_preference_loss(&settings, &sums, &slope);
    /* Cross-entropy's weight is -dloss/dlogprob; the loss is the mean over the step's pairs. */
    float weight = (float)(-slope / (double)dpo->step_count);
    for (int64_t r = packed->start[2 * i]; r < packed->start[2 * i + 1]; ++r)
        dpo->weight[r] = weight;
    for (int64_t r = packed->start[2 * i + 1]; r < packed->start[2 * i + 2]; ++r)
        dpo->weight[r] = -weight;
    double rewards[2] = {beta * (first - reference[0]), beta * (second - reference[1])};
    columns[COLUMN_CHOSEN] += rewards[0];
    columns[COLUMN_REJECTED] += rewards[1];
    columns[COLUMN_ACCURATE] += rewards[0] > rewards[1];
    columns[COLUMN_LOGP_CHOSEN] += first;
    columns[COLUMN_LOGP_REJECTED] += second;
    columns[COLUMN_PAIRS] += 1.0;
}

static ald_status_t dpo_micro(void *context, ald_engine_t *engine, int64_t first, int64_t count,
                              double *columns)
{
    ald_status_t status = ALD_STATUS_OK;
    dpo_t *dpo = context;
    const ald_model_t model = shared_model(dpo, ald_engine_model(engine));
    ald_activations_t *kept = NULL;
    ald_packed_t packed;
    float *hidden;
    ALD_TRY(dpo_forward(dpo, &model, &engine->arena, dpo->items + first, count, &kept, &packed,
                        &hidden));
    for (int64_t i = 0; i < count; ++i)
        dpo_pair(dpo, &packed, i, dpo->items[first + i], columns);
    float *d_hidden = ald_arena_calloc(
        &engine->arena, (size_t)(packed.batch.tokens * engine->params.config.hidden_size),
        sizeof(float));
    ALD_CHECK(d_hidden != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_head(&model, hidden, packed.positions, packed.row, &engine->arena, gradient_head,
                     dpo, d_hidden, engine->optimizer.gradient));
    ALD_TRY(ald_backward(&model, &packed.batch, kept, &engine->arena, d_hidden,
                         engine->optimizer.gradient));
done:
    return status;
}

/* This rank's share of the reference's log-probabilities; rows that dpo->skip marks are left out.
 */
static ald_status_t reference_share(dpo_t *dpo, const ald_model_t *model, const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena;
    ald_arena_init(&arena);
    int64_t n = dpo->pairs->count, wanted = 0;
    int64_t *rows = ald_alloc(sizeof *rows * (size_t)(3 * n + 1));
    ALD_CHECK_MEMORY(rows, sizeof *rows * (size_t)(3 * n + 1));
    int64_t *tokens = rows + n, *start = rows + 2 * n;
    for (int64_t row = 0; row < n; ++row) {
        if (dpo->skip[row])
            continue;
        ald_item_t item = dpo_item(dpo, row);
        tokens[wanted] = ald_item_tokens(&item);
        rows[wanted++] = row;
    }
    int64_t micros =
        ald_micro_split(tokens, wanted, dpo->config->optimizer.micro_batch_tokens, start);
    ald_progress_t progress;
    ald_progress_begin(&progress, "reference log-probabilities", micros);
    for (int64_t m = comm->rank; m < micros && wanted > 0; m += comm->size) {
        ald_packed_t packed;
        float *hidden;
        ald_arena_mark_t mark = ald_arena_mark(&arena);
        int64_t count = start[m + 1] - start[m];
        ALD_TRY(ald_fail_point("reference"));
        ALD_CHECK(!ald_signals_seen(), ALD_STATUS_STOPPED,
                  "dpo: stopped by a signal before the first step; run the same command again");
        ALD_TRY(dpo_forward(dpo, model, &arena, rows + start[m], count, NULL, &packed, &hidden));
        for (int64_t i = 0; i < 2 * count; ++i)
            dpo->reference[2 * rows[start[m] + i / 2] + i % 2] = sequence_logprob(dpo, &packed, i);
        ald_arena_release(&arena, mark);
        ald_progress_update(&progress, m + 1, NULL);
    }
    ald_progress_end(&progress);
done:
    ald_arena_reset(&arena);
    ald_free(rows);
    return status;
}

/* Adds up the ranks' shares: each row was filled by one of them, the others hold 0. */
static void share_reference(const dpo_t *dpo, const ald_comm_t *comm)
{
    MPI_Allreduce(MPI_IN_PLACE, dpo->reference, (int)(2 * dpo->pairs->count), MPI_DOUBLE, MPI_SUM,
                  comm->mpi);
}

/* The reference must speak of the policy's tokens; fills `made_from`, by which its kept numbers are
 * known again. */
static ald_status_t reference_check(dpo_t *dpo, const ald_dataset_t *data, int64_t vocab_size,
                                    char *made_from, size_t room)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = dpo->config;
    const char *reference = dpo->own ? config->dpo.policy : config->dpo.reference;
    char weights[ALD_SHA256_HEX], tokenizer[ALD_SHA256_HEX];
    ald_model_config_t shape;
    ALD_TRY(ald_model_config_read(reference, &shape));
    ALD_TRY(ald_hf_sha256_tokenizer(reference, tokenizer));
    ALD_CHECK(strcmp(tokenizer, ald_tokenizer_sha256(data->tokenizer)) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from that of the policy, %s; expected the same tokenizer",
              reference, config->dpo.policy);
    ALD_TRY(ald_vocabulary_common(config->dpo.policy, vocab_size, reference, shape.vocab_size,
                                  &dpo->V));
    ALD_TRY(ald_hf_sha256(reference, weights));
    snprintf(
        made_from, room,
        "weights %s, tokenizer %s, %lld of them, data %s, layout %s, %lld rows shuffled by %lld, "
        "chat format %s, at most %lld and %lld tokens, %s",
        weights, tokenizer, (long long)dpo->V, data->pairs.sha256,
        ald_layout_name(data->pairs.layout), (long long)data->pairs.counts.read,
        config->data.shuffle ? (long long)config->seed : -1LL, data->chat.name,
        (long long)config->data.max_prompt_tokens, (long long)config->data.max_response_tokens,
        config->dpo.reverse ? "reverse" : "not reverse");
done:
    return status;
}

/* Loads the reference, or takes the policy before its first step, and computes the rows that step 0
 * doesn't give for free. */
static ald_status_t reference_compute(dpo_t *dpo, ald_engine_t *engine)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = dpo->config;
    ald_params_t params = {0};
    ald_model_config_t shape;
    ald_mapped_t *mapped = NULL;
    ald_model_t model = ald_engine_model(engine);
    if (!dpo->own) {
        ALD_TRY(ald_model_config_read(config->dpo.reference, &shape));
        ALD_TRY(ald_params_init(&shape, &params));
        ALD_TRY(ald_mapped_open(config->dpo.reference, &params, &mapped));
        model = ald_mapped_model(mapped, &params);
    }
    model = shared_model(dpo, model);
    ALD_TRY(reference_share(dpo, &model, engine->comm));
done:
    ald_mapped_close(mapped);
    ald_params_reset(&params);
    return status;
}

/* On root, writes the numbers once they are all known. Collective. */
static ald_status_t reference_keep(const dpo_t *dpo, const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    if (comm->rank == 0)
        status = ald_reference_write(dpo->path, dpo->made_from, dpo->reference, dpo->pairs->count);
    return ald_comm_agree(comm, status);
}

/* Computes what isn't kept. When reference and policy are one directory and nothing is resumed, the
 * rows of step 0 are left to that step. */
static ald_status_t reference_make(dpo_t *dpo, ald_engine_t *engine, int64_t *order, int64_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = dpo->config;
    const ald_comm_t *comm = engine->comm;
    int64_t n = dpo->pairs->count;
    bool resumes = config->checkpoint.resume && ald_checkpoint_newest(engine) > 0;
    int fresh = dpo->own && !resumes;
    MPI_Bcast(&fresh, 1, MPI_INT, 0, comm->mpi);
    if (fresh) {
        int64_t count = ald_step_items(config, n, 0, order, items);
        for (int64_t i = 0; i < count; ++i)
            dpo->skip[items[i]] = true;
    }
    ALD_TRY(ald_comm_agree(comm, reference_compute(dpo, engine)));
    share_reference(dpo, comm);
    for (int64_t row = 0; row < n; ++row)
        if (dpo->skip[row])
            dpo->reference[2 * row] = dpo->reference[2 * row + 1] = NAN;
    if (!fresh)
        ALD_TRY(reference_keep(dpo, comm));
done:
    return status;
}

/* All of the reference's numbers, before the first step: kept ones, or new ones. */
static ald_status_t dpo_prepare(dpo_t *dpo, ald_engine_t *engine, const ald_dataset_t *data,
                                int64_t *order, int64_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = dpo->config;
    const ald_comm_t *comm = engine->comm;
    int64_t n = dpo->pairs->count;
    int kept = 0;
    dpo->own = config->dpo.reference[0] == '\0' ||
               ald_path_same(config->dpo.policy, config->dpo.reference);
    dpo->path = ald_path_join(engine->output, "reference.h5");
    dpo->skip = ald_calloc((size_t)n, sizeof *dpo->skip);
    if (dpo->path == NULL || dpo->skip == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_comm_agree(comm, status));
    if (comm->rank == 0)
        status = reference_check(dpo, data, engine->params.config.vocab_size, dpo->made_from,
                                 sizeof dpo->made_from);
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Bcast(&dpo->V, 1, MPI_INT64_T, 0, comm->mpi);
    if (comm->rank == 0)
        kept = ald_reference_read(dpo->path, dpo->made_from, dpo->reference, n);
    MPI_Bcast(&kept, 1, MPI_INT, 0, comm->mpi);
    if (kept) {
        ald_comm_broadcast(comm, dpo->reference, sizeof(double) * (size_t)(2 * n), 0);
        ald_log_info("dpo: the reference's log-probabilities are those of %s", dpo->path);
    } else {
        memset(dpo->reference, 0, sizeof(double) * (size_t)(2 * n)); /* also of a damaged file */
        ALD_TRY(reference_make(dpo, engine, order, items));
    }
done:
    return status;
}

/* After step 0: every rank learns the reference numbers that the step gave to one of them. */
static ald_status_t share_first_step(dpo_t *dpo, const ald_comm_t *comm)
{
    ald_status_t status = ALD_STATUS_OK;
    double *given = ald_alloc(sizeof(double) * (size_t)(2 * dpo->step_count));
    if (given == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_comm_agree(comm, status));
    for (int64_t i = 0; i < 2 * dpo->step_count; ++i) {
        double mine = dpo->reference[2 * dpo->items[i / 2] + i % 2];
        given[i] = isnan(mine) ? -INFINITY : mine;
    }
    MPI_Allreduce(MPI_IN_PLACE, given, (int)(2 * dpo->step_count), MPI_DOUBLE, MPI_MAX, comm->mpi);
    for (int64_t i = 0; i < 2 * dpo->step_count; ++i)
        dpo->reference[2 * dpo->items[i / 2] + i % 2] = given[i];
done:
    ald_free(given);
    return status;
}

static void dpo_metrics(const double *columns, ald_metrics_t *metrics)
{
    double pairs = columns[COLUMN_PAIRS];
    double chosen = columns[COLUMN_CHOSEN] / pairs, rejected = columns[COLUMN_REJECTED] / pairs;
    ald_metrics_set(metrics, "loss", columns[COLUMN_LOSS] / pairs);
    ald_metrics_set(metrics, "rewards/chosen", chosen);
    ald_metrics_set(metrics, "rewards/rejected", rejected);
    ald_metrics_set(metrics, "rewards/accuracies", columns[COLUMN_ACCURATE] / pairs);
    ald_metrics_set(metrics, "rewards/margins", chosen - rejected);
    ald_metrics_set(metrics, "logps/chosen", columns[COLUMN_LOGP_CHOSEN] / pairs);
    ald_metrics_set(metrics, "logps/rejected", columns[COLUMN_LOGP_REJECTED] / pairs);
}

static ald_status_t dpo_train(dpo_t *dpo, ald_engine_t *engine, const ald_dataset_t *data)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = dpo->config;
    const int64_t n = dpo->pairs->count, batch = config->optimizer.batch_size;
    ald_metrics_t metrics;
    double columns[ALD_COLUMNS];
    int64_t *order = ald_alloc(sizeof *order * (size_t)(n + 2 * batch));
    dpo->reference = ald_calloc((size_t)(2 * n), sizeof(double));
    if (order == NULL || dpo->reference == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: the data's order");
    ALD_TRY(ald_comm_agree(engine->comm, status));
    int64_t *items = order + n, *tokens = items + batch;
    dpo->items = items;
    ALD_TRY(dpo_prepare(dpo, engine, data, order, items));
    ALD_TRY(ald_engine_begin(engine, ald_total_steps(config, n)));
    ALD_TRY(ald_comm_agree(engine->comm, ald_memory_say_training(engine, n, dpo_item, dpo)));
    while (engine->step < engine->steps) {
        dpo->step_count = ald_step_items(config, n, engine->step, order, items);
        for (int64_t i = 0; i < dpo->step_count; ++i) {
            ald_item_t item = dpo_item(dpo, items[i]);
            tokens[i] = ald_item_tokens(&item);
        }
        double epoch = (double)(engine->step + 1) / (double)ald_epoch_steps(config, n);
        ALD_TRY(ald_engine_step(engine, tokens, dpo->step_count, epoch, dpo_micro, dpo, columns,
                                &metrics));
        dpo_metrics(columns, &metrics);
        if (engine->step == 0) {
            ald_dataset_metrics(data, &metrics);
            if (dpo->skip[items[0]]) {
                ALD_TRY(share_first_step(dpo, engine->comm));
                ALD_TRY(reference_keep(dpo, engine->comm));
            }
        }
        ALD_TRY(ald_engine_advance(engine, &metrics));
    }
done:
    ald_free(order);
    ald_free(dpo->reference);
    ald_free(dpo->skip);
    ald_free(dpo->path);
    return status;
}

ald_status_t ald_stage_dpo(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_engine_t engine = {0};
    ald_dataset_t data = {0};
    dpo_t dpo = {.config = config, .pairs = &data.pairs};
    ALD_CHECK(config->dpo.policy[0] != '\0', ALD_STATUS_USAGE,
              "dpo.policy: not set; expected a model directory");
    ALD_TRY(ald_engine_init(config, world, "dpo", config->dpo.policy, config->dpo.output, &engine));
    ALD_TRY(ald_data_open(world, config, config->dpo.policy, engine.params.config.vocab_size,
                          config->data.train, "data.train", ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED,
                          &data));
    ALD_TRY(dpo_train(&dpo, &engine, &data));
    ald_json_t *inputs = ald_json_new_object();
    ald_json_set(inputs, "policy", ald_json_new_string(config->dpo.policy));
    ald_json_set(inputs, "reference", ald_json_new_string(config->dpo.reference));
    ald_json_set(inputs, "reverse", ald_json_new_bool(config->dpo.reverse));
    ald_json_set(inputs, "data", ald_json_new_string(config->data.train));
    ald_json_set(inputs, "sha256_data", ald_json_new_string(data.pairs.sha256));
    ALD_TRY(ald_engine_finish(&engine, inputs));
done:
    ald_dataset_reset(&data);
    ald_engine_reset(&engine);
    return status;
}
