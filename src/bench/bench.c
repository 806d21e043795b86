/* The benchmark of computation. It runs the functions that the stages run, on random tokens and
 * with plain sgemm between the repeats, so that its figures are of this program on this machine. */
#include "ald/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/model/backward.h"
#include "ald/model/batch.h"
#include "ald/model/decode.h"
#include "ald/model/forward.h"
#include "ald/model/gradients.h"
#include "ald/model/head.h"
#include "ald/model/hf.h"
#include "ald/model/mapped.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/sampler.h"
#include "ald/num/gemm.h"
#include "ald/objective/objective.h"
#include "ald/objective/sft.h"
#include "ald/par/comm.h"
#include "ald/role/frozen.h"
#include "ald/role/scorer.h"
#include "ald/role/scorer_run.h"
#include "ald/shard/format.h"
#include "ald/shard/write.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"
#include "ald/train/optimizer.h"
#include "bench/products_impl.h"

const char *const ald_bench_names[ALD_BENCH_PHASES] = {"forward", "decode", "score", "train"};

typedef struct {
    const ald_bench_options_t *options;
    ald_config_t config;
    ald_comm_t self;
    ald_engine_t engine;  /* the list of tensors; the weights, unless only frozen phases are wanted,
                             which map those of a directory */
    ald_mapped_t *mapped; /* a directory's, as frozen models are held; else NULL */
    ald_packed_t packed;
    ald_item_t *items;
    ald_pairs_t pairs; /* the items for training: rows that each have a chosen response */
    int64_t *order;    /* [sequences] the numbers of all rows */
    ald_loop_t loop;   /* for training */
    ald_arena_t data, arena;
    ald_scorer_t scorer;
    char folder[4096]; /* for the shard that scoring writes */
    ald_cache_t *cache;
    int32_t *ids;
    float *hidden, *logits, *work;
    double *times;                        /* [5 repeat] scratch memory of measure() */
    double limit_bytes[ALD_BENCH_PHASES]; /* that a run reads from memory; 0: sgemm is its limit */
} bench_t;

static int64_t rows(const bench_t *b)
{
    return b->options->sequences * b->options->tokens;
}

/* Whether the weights are held as floats: those of a directory are copied for training only. */
static bool holds_floats(const bench_t *b)
{
    return b->options->model == NULL || b->options->wanted[ALD_BENCH_TRAIN];
}

static int64_t mapped_bytes(const bench_t *b)
{
    return b->mapped == NULL ? 0 : ald_mapped_held_bytes(b->mapped);
}

/* The bytes that a phase must hold at once, by the sizes of its arrays. */
static double planned_bytes(const bench_t *b, ald_bench_phase_t phase)
{
    const ald_model_config_t *c = &b->options->shape;
    const double P = (double)b->engine.params.total, T = (double)rows(b);
    const double H = (double)c->hidden_size, I = (double)c->intermediate_size;
    const double V = (double)c->vocab_size, D = (double)c->head_dim;
    const double heads = (double)c->heads * D, kv = 2.0 * (double)c->kv_heads * D;
    const double n = (double)b->options->sequences;
    const int64_t most = ald_head_chunk(c->vocab_size);
    const double chunk = (double)(most < rows(b) ? most : rows(b));
    const double forward = 4.0 * T * (4.0 * H + 2.0 * heads + kv + 3.0 * I);
    const double weights = (holds_floats(b) ? 4.0 * P : 0.0) + (double)mapped_bytes(b);
    switch (phase) {
    case ALD_BENCH_FORWARD:
        return weights + forward;
    case ALD_BENCH_DECODE:
        return weights + 4.0 * n *
                             (4.0 * V + H +
                              (double)c->layers * kv * (double)(b->options->tokens + DECODE_STEPS));
    case ALD_BENCH_SCORE:
        return weights + forward + 4.0 * T * H + 4.0 * T * H + 4.0 * chunk * (2.0 * V + 2.0 * H);
    default: { /* fixed-point sums of gradients, two moments: 16 bytes a parameter */
        const ald_model_bytes_t bytes = ald_model_bytes(c, rows(b), false);
        const double logits = 4.0 * chunk * (V + H), work = (double)bytes.backward;
        return 16.0 * P + (double)ald_gradients_bytes(&b->engine.params) + weights + 8.0 * T * H +
               (double)bytes.kept + (logits > work ? logits : work);
    }
    }
}

/* RESOURCE for a phase that doesn't fit. It is asked before anything is allocated, since the system
 * ends a process that uses too much, and doesn't refuse it the memory. */
static ald_status_t check_memory(const bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    double there = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    for (int phase = 0; phase < ALD_BENCH_PHASES; ++phase) {
        double bytes = planned_bytes(b, (ald_bench_phase_t)phase);
        ALD_CHECK(!b->options->wanted[phase] || bytes < there, ALD_STATUS_RESOURCE,
                  "out of memory: %s needs %.0f MiB, the machine has %.0f", ald_bench_names[phase],
                  bytes / 1048576.0, there / 1048576.0);
    }
done:
    return status;
}

/* Sets the weights of norms to 1, all others uniformly in [-0.035, 0.035]: a deviation of 0.02,
 * with which models of this kind are commonly initialised. */
static void random_weights(const ald_params_t *params, float *values)
{
    bench_fill(params->total, 0.035f, values);
    for (int64_t i = 0; i < params->count; ++i) {
        const ald_tensor_t *t = &params->tensors[i];
        for (int64_t j = 0; j < t->count && strstr(t->name, "norm.weight") != NULL; ++j)
            values[t->offset + j] = 1.0f;
    }
}

/* Makes an engine as ald_engine_init does, but for the weights' origin. */
static ald_status_t init_weights(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_engine_t *e = &b->engine;
    *e = (ald_engine_t){.config = &b->config, .comm = &b->self, .stage = "bench", .steps = 1000};
    ALD_TRY(ald_params_init(&b->options->shape, &e->params));
    if (b->options->model != NULL)
        ALD_TRY(ald_mapped_open(b->options->model, &e->params, &b->mapped));
    ALD_TRY(check_memory(b));
    if (!holds_floats(b))
        goto done;
    size_t bytes = sizeof(float) * (size_t)e->params.total;
    e->values = ald_alloc(bytes);
    ALD_CHECK_MEMORY(e->values, bytes);
    if (b->options->model != NULL)
        ALD_TRY(ald_hf_load(b->options->model, &e->params, e->values));
    else
        random_weights(&e->params, e->values);
done:
    return status;
}

/* Makes sequences with a prompt and a response that give `tokens` rows: where the prompt is one
 * token, each of them predicts a token. */
static ald_status_t init_batch(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = b->options->sequences, row = b->options->tokens + 1;
    const int64_t prompt = b->options->prompt > 0 ? b->options->prompt : 1;
    const int64_t V = b->options->shape.vocab_size;
    int32_t *ids = ALD_ARENA_ARRAY(&b->data, int32_t, n * row);
    b->items = ald_arena_calloc(&b->data, (size_t)n, sizeof *b->items);
    b->order = ALD_ARENA_ARRAY(&b->data, int64_t, n);
    b->pairs.rows = ald_arena_calloc(&b->data, (size_t)n, sizeof *b->pairs.rows);
    ALD_CHECK(ids != NULL && b->items != NULL && b->order != NULL && b->pairs.rows != NULL,
              ALD_STATUS_RESOURCE, "out of memory: %lld sequences", (long long)n);
    for (int64_t i = 0; i < n * row; ++i)
        ids[i] = (int32_t)(ald_rng_uniform(2, 0, (uint64_t)i) * (double)V);
    for (int64_t s = 0; s < n; ++s) {
        b->items[s] = (ald_item_t){.prompt = ids + s * row,
                                   .prompt_count = prompt,
                                   .responses = 1,
                                   .response = {ids + s * row + prompt, NULL},
                                   .response_count = {row - prompt, 0}};
        b->pairs.rows[s] =
            (ald_pair_t){.prompt = {.ids = ids + s * row, .count = prompt},
                         .chosen = {.ids = ids + s * row + prompt, .count = row - prompt}};
        b->order[s] = s;
    }
    b->ids = ids;
    ALD_TRY(ald_pack(b->items, n, &b->data, &b->packed));
done:
    return status;
}

static ald_model_t frozen_model(const bench_t *b)
{
    return b->mapped != NULL ? ald_mapped_model(b->mapped, &b->engine.params)
                             : ald_engine_model(&b->engine);
}

static ald_status_t forward_run(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_model_t model = frozen_model(b);
    ald_arena_mark_t mark = ald_arena_mark(&b->arena);
    float *hidden = ALD_ARENA_ARRAY(&b->arena, float, rows(b) * b->options->shape.hidden_size);
    ALD_CHECK(hidden != NULL, ALD_STATUS_RESOURCE, "out of memory: %lld tokens",
              (long long)rows(b));
    ALD_TRY(ald_forward(&model, &b->packed.batch, &b->arena, NULL, hidden));
done:
    ald_arena_release(&b->arena, mark);
    return status;
}

static ald_status_t decode_begin(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_model_config_t *c = &b->options->shape;
    const int64_t n = b->options->sequences, capacity = b->options->tokens + DECODE_STEPS;
    b->cache = ald_calloc((size_t)n, sizeof *b->cache);
    b->hidden = ald_alloc(sizeof(float) * (size_t)(n * c->hidden_size));
    b->logits = ald_alloc(sizeof(float) * (size_t)(n * c->vocab_size));
    b->work = ald_alloc(sizeof(float) * (size_t)(n * 3 * c->vocab_size));
    ALD_CHECK(b->cache && b->hidden && b->logits && b->work, ALD_STATUS_RESOURCE,
              "out of memory: decoding %lld sequences", (long long)n);
    for (int64_t i = 0; i < n; ++i) {
        ALD_TRY(ald_cache_init(c, capacity, &b->cache[i]));
        bench_fill(c->layers * 2 * capacity * c->kv_heads * c->head_dim, 0.1f, b->cache[i].data);
    }
done:
    return status;
}

/* Decodes as the generator does, with its products. */
static ald_status_t decode_run(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = b->options->sequences, V = b->options->shape.vocab_size;
    const ald_sampling_t sampling = {.temperature = 1.0, .top_p = 1.0};
    ald_model_t model = frozen_model(b);
    ald_cache_t *caches[n];
    int32_t ids[n];
    model.gemm = ald_gemm_find("invariant");
    for (int64_t i = 0; i < n; ++i) {
        caches[i] = &b->cache[i];
        caches[i]->length = b->options->tokens;
        ids[i] = b->ids[i];
    }
    for (int64_t step = 0; step < DECODE_STEPS; ++step) {
        ALD_TRY(ald_decode(&model, n, ids, caches, &b->arena, b->hidden));
        ald_head_logits(&model, n, b->hidden, b->logits);
#pragma omp parallel for schedule(dynamic)
        for (int64_t i = 0; i < n; ++i) {
            float logprob;
            double u = ald_rng_uniform(3, (uint64_t)i, (uint64_t)step);
            ids[i] = ald_sample(&sampling, V, b->logits + i * V, u, b->work + 3 * i * V, &logprob);
        }
    }
done:
    return status;
}

static void decode_end(bench_t *b)
{
    for (int64_t i = 0; i < b->options->sequences && b->cache != NULL; ++i)
        ald_cache_reset(&b->cache[i]);
    ald_free(b->cache);
    ald_free(b->hidden);
    ald_free(b->logits);
    ald_free(b->work);
    b->cache = NULL;
    b->hidden = b->logits = b->work = NULL;
}

/* Makes a scorer as ald_scorer_init does, but for the weights' origin. */
static ald_status_t score_begin(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *parent = getenv("TMPDIR");
    const ald_model_t model = frozen_model(b);
    b->scorer = (ald_scorer_t){.config = &b->config};
    ald_frozen_t *contrast = &b->scorer.contrasts[b->config.teacher.contrast];
    b->scorer.dpo.params = contrast->params = b->engine.params;
    b->scorer.dpo.model = contrast->model = model;
    b->scorer.header = (ald_shard_header_t){.encoding = b->config.shards.encoding,
                                            .contrast = b->config.teacher.contrast,
                                            .vocab_size = b->options->shape.vocab_size,
                                            .hidden_size = b->options->shape.hidden_size,
                                            .policy_step = -1};
    if (ald_encoding_has_k(b->scorer.header.encoding))
        b->scorer.header.top_k = b->options->top_k;
    ald_shard_choose_form(b->config.shards.full_dtype, &b->scorer.header);
    snprintf(b->folder, sizeof b->folder, "%s/aligndistil-bench-XXXXXX",
             parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    ALD_CHECK(mkdtemp(b->folder) != NULL, ALD_STATUS_RESOURCE,
              "%s: no folder can be made for the shard that scoring writes; set TMPDIR", b->folder);
done:
    if (status != ALD_STATUS_OK)
        b->folder[0] = '\0';
    return status;
}

static ald_status_t score_run(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = b->options->sequences;
    char path[sizeof b->folder + 16];
    ald_shard_writer_t *writer = NULL;
    ald_scored_t *sequences = ald_calloc((size_t)n, sizeof *sequences);
    ALD_CHECK_MEMORY(sequences, sizeof *sequences * (size_t)n);
    for (int64_t i = 0; i < n; ++i)
        sequences[i] = (ald_scored_t){.prompt = "",
                                      .response = "",
                                      .prompt_ids = b->items[i].prompt,
                                      .prompt_count = b->items[i].prompt_count,
                                      .response_ids = b->items[i].response[0],
                                      .response_count = b->items[i].response_count[0]};
    snprintf(path, sizeof path, "%s/shard.h5", b->folder);
    ALD_TRY(ald_shard_writer_open(path, &b->scorer.header, &writer));
    ALD_TRY(ald_scorer_run(&b->scorer, sequences, n, writer));
done:
    ald_shard_writer_discard(writer);
    ald_free(sequences);
    return status;
}

static void score_end(bench_t *b)
{
    if (b->folder[0] != '\0')
        ald_dir_remove(b->folder);
    b->folder[0] = '\0';
    ald_arena_reset(&b->scorer.arena);
}

static ald_status_t train_begin(bench_t *b)
{
    b->loop.trainers = &b->self;
    return ald_optimizer_init(&b->config, &b->self, b->engine.params.total, &b->engine.optimizer);
}

/* Takes a step of sft on the batch's responses, without records. */
static ald_status_t train_run(bench_t *b)
{
    const ald_items_t items = {.item = b->order, .count = b->options->sequences};
    ald_sft_t sft = {.pairs = &b->pairs, .vocabulary = b->engine.params.config.vocab_size};
    ald_run_t run = {
        .objective = ald_objective(ALD_OBJECTIVE_SFT), .state = &sft, .engine = &b->engine};
    ald_run_t *runs[] = {&run};
    return ald_loop_step(&b->loop, runs, 1, &items);
}

static void train_end(bench_t *b)
{
    ald_loop_reset(&b->loop);
    ald_optimizer_reset(&b->engine.optimizer);
}

static void forward_end(bench_t *b)
{
    ald_arena_reset(&b->arena);
}

static ald_status_t forward_begin(bench_t *b)
{
    (void)b;
    return ALD_STATUS_OK;
}

static const struct {
    ald_status_t (*begin)(bench_t *), (*run)(bench_t *);
    void (*end)(bench_t *); /* called also after a failed begin */
} phases[ALD_BENCH_PHASES] = {
    [ALD_BENCH_FORWARD] = {forward_begin, forward_run, forward_end},
    [ALD_BENCH_DECODE] = {decode_begin, decode_run, decode_end},
    [ALD_BENCH_SCORE] = {score_begin, score_run, score_end},
    [ALD_BENCH_TRAIN] = {train_begin, train_run, train_end},
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int64_t count)
{
    qsort(x, (size_t)count, sizeof *x, compare_doubles);
    return 0.5 * (x[(count - 1) / 2] + x[count / 2]);
}

/* The median of the repeats, and nothing beside them. */
static ald_status_t measure_bare(bench_t *b, ald_bench_phase_t phase, ald_bench_figures_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t repeat = b->options->repeat;
    for (int64_t i = 0; i < repeat; ++i) {
        const seconds_t begun = bench_now();
        ALD_TRY(phases[phase].run(b));
        const seconds_t ended = bench_now();
        b->times[i] = ended.wall - begun.wall;
        b->times[repeat + i] = ended.cpu - begun.cpu;
    }
    out->seconds = median(b->times, repeat);
    out->cpu_seconds = median(b->times + repeat, repeat);
    out->measured = true;
done:
    return status;
}

/* Times the repeats, with their limit before and after each: what else loads the machine then falls
 * on both. */
static ald_status_t measure(bench_t *b, ald_bench_phase_t phase, const products_t *products,
                            ald_bench_figures_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t repeat = b->options->repeat;
    double *seconds = b->times, *least = seconds + repeat, *share = least + repeat;
    double *cpu = share + repeat, *cpu_share = cpu + repeat;
    limit_t limit;
    seconds_t before, after;
    ALD_TRY(bench_limit_init(products, b->limit_bytes[phase], &limit));
    before = bench_limit_time(&limit);
    before = bench_limit_time(&limit); /* the first one only warms up */
    for (int64_t i = 0; i < repeat; ++i, before = after) {
        seconds_t begun = bench_now();
        ALD_TRY(phases[phase].run(b));
        seconds_t ended = bench_now();
        after = bench_limit_time(&limit);
        seconds[i] = ended.wall - begun.wall;
        least[i] = 0.5 * (before.wall + after.wall);
        share[i] = least[i] / seconds[i];
        cpu[i] = ended.cpu - begun.cpu;
        cpu_share[i] = 0.5 * (before.cpu + after.cpu) / cpu[i];
        ald_log_verbose("bench: %s %lld: %.3f s, limit %.3f s; processor %.3f s, limit %.3f s",
                        ald_bench_names[phase], (long long)i, seconds[i], least[i], cpu[i],
                        cpu_share[i] * cpu[i]);
    }
    out->seconds = median(seconds, repeat);
    out->limit_seconds = median(least, repeat);
    out->share = median(share, repeat);
    out->cpu_seconds = median(cpu, repeat);
    out->cpu_share = median(cpu_share, repeat);
    out->measured = true;
done:
    bench_limit_reset(&limit);
    return status;
}

static ald_status_t run_phase(bench_t *b, ald_bench_phase_t phase, ald_bench_figures_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    products_t products;
    bench_products(b->options, phase, &products);
    out->flop = bench_products_flop(&products);
    out->tokens = phase == ALD_BENCH_DECODE ? (double)(b->options->sequences * DECODE_STEPS)
                                            : (double)rows(b);
    out->planned_bytes = planned_bytes(b, phase);
    if (!b->options->bare)
        ald_log_info("bench: %s, %.1f MiB planned", ald_bench_names[phase],
                     out->planned_bytes / 1048576.0);
    ALD_TRY(phases[phase].begin(b));
    ALD_TRY(phases[phase].run(b));
    out->held_bytes = (double)ald_memory_held();
    ALD_TRY(b->options->bare ? measure_bare(b, phase, out) : measure(b, phase, &products, out));
done:
    phases[phase].end(b);
    return status;
}

static ald_status_t bench_init(bench_t *b)
{
    ald_status_t status = ALD_STATUS_OK;
    b->self = (ald_comm_t){MPI_COMM_SELF, 0, 1};
    ALD_TRY(ald_config_load(NULL, NULL, 0, &b->config));
    b->config.optimizer.micro_batch_tokens = rows(b);
    if (b->options->bare)
        b->config.shards.encoding = b->options->encoding;
    b->times = ald_calloc((size_t)b->options->repeat, 5 * sizeof(double));
    ALD_CHECK_MEMORY(b->times, (size_t)b->options->repeat * 5 * sizeof(double));
    ALD_TRY(init_weights(b));
    ALD_TRY(init_batch(b));
done:
    return status;
}

/* All weights as the frozen phases read them, but for an embedding that isn't the output matrix. */
static double step_bytes(const bench_t *b)
{
    const ald_model_config_t *c = &b->options->shape;
    const double all = (double)b->engine.params.total;
    const double unread = c->tied ? 0.0 : (double)(c->vocab_size * c->hidden_size);
    return (b->mapped == NULL ? 4.0 * all : (double)ald_mapped_file_bytes(b->mapped)) *
           (1.0 - unread / all);
}

ald_status_t ald_bench_run(const ald_bench_options_t *options, ald_bench_report_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bench_t *b = ald_calloc(1, sizeof *b);
    *out = (ald_bench_report_t){.parameters = 0};
    ALD_CHECK_MEMORY(b, sizeof *b);
    b->options = options;
    ALD_TRY(bench_init(b));
    out->parameters = b->engine.params.total;
    out->step_bytes = step_bytes(b);
    b->limit_bytes[ALD_BENCH_DECODE] = DECODE_STEPS * out->step_bytes;
    if (!options->bare)
        ALD_TRY(bench_machine(&out->sgemm_gflops, &out->read_gigabytes));
    for (int phase = 0; phase < ALD_BENCH_PHASES; ++phase)
        if (options->wanted[phase])
            ALD_TRY(run_phase(b, (ald_bench_phase_t)phase, &out->phase[phase]));
    out->peak_rss_bytes = (double)ald_memory_peak_rss();
done:
    if (b != NULL) {
        ald_mapped_close(b->mapped);
        ald_engine_reset(&b->engine);
        ald_config_reset(&b->config);
        ald_arena_reset(&b->data);
        ald_arena_reset(&b->arena);
        ald_free(b->times);
    }
    ald_free(b);
    return status;
}
