/* Rates for plans. The phases of the benchmark are run without their limits; all of a model's work
 * is linear in its layers and its vocabulary, so that a large one needn't be run whole. */
#include "ald/bench/calibrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/log.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/bench/bench.h"
#include "ald/config/config.h"
#include "ald/model/batch.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/plan/cost.h"
#include "ald/shard/format.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/teacher.h"
#include "bench/products_impl.h"

enum { VOCABULARY = 16384 }; /* of a large model's first run */
/* Parameters up to which a model is run whole; the floating-point operations of a training step
 * that is long enough to be measured, of which some dozen are done. */
#define WHOLE 6e7
#define STEP  1.5e11

/* A calibration at a shape that is run as it is. */
typedef struct {
    const ald_calibration_t *what;
    ald_model_config_t shape;
    int64_t prompt, response, limit; /* tokens; of a micro-batch */
} trial_t;

static ald_status_t run(const trial_t *t, ald_bench_phase_t phase, int64_t sequences,
                        int64_t response, double *seconds)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = t->what->config;
    ald_bench_report_t report;
    ald_bench_options_t options = {.shape = t->shape,
                                   .sequences = sequences,
                                   .tokens = t->prompt + response - 1,
                                   .repeat = 3,
                                   .prompt = t->prompt,
                                   .bare = true,
                                   .encoding = config->shards.encoding,
                                   .top_k = config->shards.top_k};
    options.top_k = options.top_k < t->shape.vocab_size ? options.top_k : t->shape.vocab_size;
    options.wanted[phase] = true;
    ALD_TRY(ald_bench_run(&options, &report));
    *seconds = report.phase[phase].seconds;
done:
    return status;
}

/* A micro-batch of rows with this response, and one of next to nothing: what is left of that is the
 * work of each micro-batch and of the step, about half each. */
static ald_status_t train(const trial_t *t, int64_t response, double *token, ald_rates_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t row = t->prompt + response - 1;
    const int64_t rows = t->limit > row ? t->limit / row : 1;
    const trial_t nothing = {.what = t->what, .shape = t->shape, .prompt = 1};
    double whole, least;
    ALD_TRY(run(t, ALD_BENCH_TRAIN, rows, response, &whole));
    ALD_TRY(run(&nothing, ALD_BENCH_TRAIN, 1, 1, &least));
    out->micro = out->update = 0.5 * least;
    *token = whole > least ? (whole - least) / (double)(rows * row) : whole / (double)(rows * row);
done:
    return status;
}

/* The rows of V of a lesson, beside the loss of any training. */
static ald_status_t teach(const trial_t *t, const ald_params_t *params, ald_arena_t *arena,
                          double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = t->what->config;
    const ald_encoding_row_t *row = ald_encoding_row(config->shards.encoding);
    const int64_t V = t->shape.vocab_size, H = t->shape.hidden_size, R = ald_head_chunk(V);
    const ald_contrast_t contrast = config->teacher.contrast;
    ald_shard_header_t header = {.encoding = config->shards.encoding,
                                 .contrast = contrast,
                                 .vocab_size = V,
                                 .hidden_size = H};
    ald_teacher_t teacher;
    ald_scored_t sequence = {.response_count = R};
    int64_t start[] = {0, R}, *owner = ald_arena_calloc(arena, (size_t)R, sizeof *owner);
    const ald_packed_t packed = {.positions = R, .sequences = 1, .start = start};
    float *values = ALD_ARENA_ARRAY(arena, float, params->total);
    float *rows = ALD_ARENA_ARRAY(arena, float, 3 * R * V), *z = rows + 2 * R * V;
    float *states = ALD_ARENA_ARRAY(arena, float, R *H);
    double *factor = ALD_ARENA_ARRAY(arena, double, R);
    ALD_CHECK(owner && values && rows && states && factor, ALD_STATUS_RESOURCE,
              "out of memory: a calibration over %lld tokens", (long long)V);
    if (ald_encoding_has_k(header.encoding))
        header.top_k = config->shards.top_k < V ? config->shards.top_k : V;
    ald_shard_choose_form(config->shards.full_dtype, &header);
    ald_teacher_init(config, &teacher);
    ALD_TRY(ald_scored_alloc(&header, R, arena, &sequence));
    ald_scored_fill(&header, 1, R, &sequence);
    bench_fill(params->total, 0.035f, values);
    bench_fill(3 * R * V, 3.0f, rows);
    for (int64_t r = 0; r < R; ++r)
        factor[r] = 2.0;
    const ald_model_t model = ald_model_of(params, values);
    const ald_lesson_t lesson = {.header = &header,
                                 .teacher = &teacher,
                                 .vocabulary = V,
                                 .heads = {&model, &model},
                                 .sequence = &sequence,
                                 .packed = &packed,
                                 .owner = owner,
                                 .factor = factor,
                                 .scale = factor,
                                 .logprob = rows,
                                 .ratio = rows + R * V,
                                 .rows = states};
    for (int i = 0; i < 2; ++i) { /* the first one warms up */
        const double begun = ald_time();
        if (row->ready != NULL)
            row->ready(&lesson, 0, R);
#pragma omp parallel for schedule(static)
        for (int64_t r = 0; r < R; ++r)
            row->learn(&lesson, r, rows + r * V, rows + (R + r) * V, z + r * V);
        *out = (ald_time() - begun) / (double)R;
    }
done:
    return status;
}

static ald_status_t lessons(const trial_t *t, ald_rates_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape = t->shape;
    ald_params_t params = {0};
    ald_arena_t arena;
    ald_arena_init(&arena);
    shape.layers = 1;
    ALD_TRY(ald_params_init(&shape, &params));
    ALD_TRY(teach(t, &params, &arena, &out->lesson));
done:
    ald_arena_reset(&arena);
    ald_params_reset(&params);
    return status;
}

static ald_status_t measure(const trial_t *t, ald_rates_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t row = t->prompt + t->response - 1;
    const int64_t rows = t->limit > row ? t->limit / row : 1;
    const trial_t prompt = {.what = t->what, .shape = t->shape, .prompt = 1};
    double seconds;
    *out = (ald_rates_t){.source = ALD_RATES_MEASURED};
    ALD_TRY(train(t, 2 * t->response, &out->pair, out));
    ALD_TRY(train(t, t->response, &out->train, out));
    ALD_TRY(lessons(t, out));
    ALD_TRY(run(t, ALD_BENCH_SCORE, rows, t->response, &seconds));
    out->score = seconds / (double)(rows * row);
    ALD_TRY(run(&prompt, ALD_BENCH_FORWARD, 1, t->prompt, &seconds));
    out->prefill = seconds / (double)t->prompt;
    for (int i = 0; i < ALD_DECODE_POINTS; ++i) {
        ALD_TRY(run(t, ALD_BENCH_DECODE, ald_decode_counts[i], t->response / 2 + 1, &seconds));
        out->decode[i] = seconds / DECODE_STEPS;
    }
done:
    return status;
}

/* Bytes a second of a file that is written, published and hashed. */
static ald_status_t disk(double *out)
{
    enum { BYTES = 32 << 20 };
    ald_status_t status = ALD_STATUS_OK;
    const char *parent = getenv("TMPDIR");
    char path[4096], hex[ALD_SHA256_HEX];
    char *data = ald_calloc(BYTES, 1);
    snprintf(path, sizeof path, "%s/aligndistil-calibrate-%ld",
             parent != NULL && parent[0] != '\0' ? parent : "/tmp", (long)getpid());
    ALD_CHECK_MEMORY(data, BYTES);
    const double begun = ald_time();
    ALD_TRY(ald_file_write(path, data, BYTES));
    ALD_TRY(ald_sha256_file(path, hex));
    *out = BYTES / (ald_time() - begun);
done:
    remove(path);
    ald_free(data);
    return status;
}

/* The trial of a model that is run whole or in part, with fewer tokens where a step would take
 * long. */
static ald_status_t trial_of(const ald_calibration_t *what, bool *whole, trial_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_params_t params = {0};
    *out = (trial_t){.what = what,
                     .shape = *what->shape,
                     .prompt = what->prompt,
                     .response = what->response,
                     .limit = what->config->optimizer.micro_batch_tokens};
    ALD_TRY(ald_params_init(&out->shape, &params));
    *whole = (double)params.total <= WHOLE;
    if (!*whole) {
        ald_params_reset(&params);
        out->shape.layers = 1;
        if (out->shape.vocab_size > 2 * VOCABULARY)
            out->shape.vocab_size = VOCABULARY;
        ALD_TRY(ald_params_init(&out->shape, &params));
    }
    const double most = STEP / (6.0 * (double)params.total);
    const int64_t tokens = most < 64.0 ? 64 : most > 1e9 ? 1000000000 : (int64_t)most;
    out->limit = tokens < out->limit ? tokens : out->limit;
    while (out->prompt + 2 * out->response > out->limit && out->prompt + out->response > 32) {
        out->prompt = out->prompt / 2 > 0 ? out->prompt / 2 : 1;
        out->response = out->response / 2 > 0 ? out->response / 2 : 1;
    }
    *whole = *whole && out->prompt == what->prompt;
done:
    ald_params_reset(&params);
    return status;
}

ald_status_t ald_calibrate(const ald_calibration_t *what, ald_rates_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const double begun = ald_time();
    trial_t trial, larger;
    ald_rates_t base, more;
    bool whole;
    ALD_TRY(trial_of(what, &whole, &trial));
    ALD_TRY(measure(&trial, &base));
    *out = base;
    if (trial.shape.layers < what->shape->layers) {
        larger = trial;
        larger.shape.layers = 2;
        ALD_TRY(measure(&larger, &more));
        ald_rates_add(out, &more, &base, (double)(what->shape->layers - 1));
    }
    if (trial.shape.vocab_size < what->shape->vocab_size) {
        larger = trial;
        larger.shape.vocab_size *= 2;
        ALD_TRY(measure(&larger, &more));
        ald_rates_add(out, &more, &base,
                      (double)(what->shape->vocab_size - trial.shape.vocab_size) /
                          (double)trial.shape.vocab_size);
    }
    out->source = whole ? ALD_RATES_MEASURED : ALD_RATES_EXTRAPOLATED;
    ALD_TRY(disk(&out->writing));
    out->start = 0.5;
    ald_log_verbose("calibrate: %.1f s", ald_time() - begun);
done:
    return status;
}
