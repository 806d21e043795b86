/* Rates for plans. The phases of the benchmark are run without their limits. A large model is run
 * as a smaller one of its kind, and the rates are scaled by what both are assumed to take. */
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

enum { LAYERS = 2, VOCABULARY = 8192, WIDTH = 512 }; /* at least, of a large model that is run */
/* Parameters up to which a model is run whole; floating-point operations of a training step that is
 * long enough to be measured. A dozen are done. */
#define WHOLE 3e7
#define STEP  5e10

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

/* Seconds of a token in a micro-batch of rows with this response, beside `least`. */
static ald_status_t train(const trial_t *t, int64_t response, double least, double *token)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t row = t->prompt + response - 1;
    const int64_t rows = t->limit > row ? t->limit / row : 1;
    double whole;
    ALD_TRY(run(t, ALD_BENCH_TRAIN, rows, response, &whole));
    *token = (whole > least ? whole - least : whole) / (double)(rows * row);
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
    ald_shard_header_t header = {.contrast = contrast, .vocab_size = V, .hidden_size = H};
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
    ald_shard_take_settings(config, &header);
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
    /* A step of one token: what each micro-batch, and the step, take besides, about half each. */
    ALD_TRY(run(&prompt, ALD_BENCH_TRAIN, 1, 1, &seconds));
    out->micro = out->update = 0.5 * seconds;
    ALD_TRY(train(t, 2 * t->response, seconds, &out->pair));
    ALD_TRY(train(t, t->response, seconds, &out->train));
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

/* A model of fewer layers, a smaller vocabulary, half the width, until it is small enough. */
static ald_status_t shrink(ald_model_config_t *shape, int64_t *parameters)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_params_t params = {0};
    for (;;) {
        ald_params_reset(&params);
        ALD_TRY(ald_params_init(shape, &params));
        *parameters = params.total;
        if ((double)params.total <= WHOLE || shape->hidden_size <= WIDTH || shape->heads % 2 != 0)
            break;
        if (shape->layers > LAYERS) {
            shape->layers = LAYERS;
        } else if (shape->vocab_size > VOCABULARY) {
            shape->vocab_size = VOCABULARY;
        } else {
            shape->hidden_size /= 2;
            shape->intermediate_size /= 2;
            shape->heads /= 2;
            shape->kv_heads = 1;
        }
    }
done:
    ald_params_reset(&params);
    return status;
}

/* What is run of a model, with fewer tokens where a step would take long. */
static ald_status_t trial_of(const ald_calibration_t *what, trial_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t parameters;
    *out = (trial_t){.what = what,
                     .shape = *what->shape,
                     .prompt = what->prompt,
                     .response = what->response,
                     .limit = what->config->optimizer.micro_batch_tokens};
    ALD_TRY(shrink(&out->shape, &parameters));
    const double most = STEP / (6.0 * (double)parameters);
    const int64_t tokens = most > 1e9 ? 1000000000 : (int64_t)most + 64;
    out->limit = tokens < out->limit ? tokens : out->limit;
    while (out->prompt + 2 * out->response > out->limit && out->prompt + out->response > 32) {
        out->prompt = (out->prompt + 1) / 2;
        out->response = (out->response + 1) / 2;
    }
done:
    return status;
}

/* Scales the rates of the trial to the model. */
static ald_status_t scale(const trial_t *trial, ald_rates_t *rates)
{
    ald_status_t status = ALD_STATUS_OK;
    const double share =
        (double)trial->response / (double)(trial->prompt + trial->response); /* of responses */
    ald_params_t whole = {0}, part = {0};
    ald_rates_t of_whole, of_part;
    ALD_TRY(ald_params_init(trial->what->shape, &whole));
    ALD_TRY(ald_params_init(&trial->shape, &part));
    ald_rates_assume(&whole, share, 1, &of_whole);
    ald_rates_assume(&part, share, 1, &of_part);
    ald_rates_scale_as(rates, &of_whole, &of_part);
done:
    ald_params_reset(&whole);
    ald_params_reset(&part);
    return status;
}

ald_status_t ald_calibrate(const ald_calibration_t *what, ald_rates_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const double begun = ald_time();
    trial_t trial;
    ALD_TRY(trial_of(what, &trial));
    ALD_TRY(measure(&trial, out));
    if (memcmp(&trial.shape, what->shape, sizeof trial.shape) != 0)
        ALD_TRY(scale(&trial, out));
    if (trial.prompt != what->prompt)
        out->source = ALD_RATES_EXTRAPOLATED;
    ALD_TRY(disk(&out->writing));
    out->start = 0.5;
    ald_log_verbose("calibrate: %.1f s", ald_time() - begun);
done:
    return status;
}
