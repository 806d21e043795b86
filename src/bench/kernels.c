/* Kernels by name, each called as the stages call it, on rows as long as those of real models. They
 * are timed level by level in turns, so that a level that is slow for its registers shows. */
#include "ald/bench/kernels.h"

#include <stdbool.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/model/sampler.h"
#include "ald/num/attention.h"
#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "ald/num/matrix.h"
#include "ald/num/ops.h"
#include "ald/num/threads.h"
#include "ald/objective/beside.h"
#include "ald/objective/cross_entropy.h"
#include "ald/par/comm.h"
#include "ald/shard/fletcher.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/full.h"
#include "ald/teacher/sampled.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"
#include "ald/train/optimizer.h"
#include "bench/products_impl.h"

enum {
    FLOATS = 1 << 18, /* of a buffer: the longest row and the matrices of products fit */
    BUFFERS = 8,
    DEPTH = 896,   /* elements of a product's rows: Qwen2.5-0.5B's hidden size */
    COLUMNS = 256, /* of a product: its matrix stays in a core's cache */
    CACHED = 512,  /* positions of a cache */
    HEAD = 64,     /* numbers of a head */
    DRAWS = 64,    /* of a position */
    KEPT = 64,     /* tokens of a support */
    BLOCK = 65536, /* parameters of an optimizer */
};

/* What kernels run on. Inputs are x and fixed; what is overwritten is copied to y first, and a
 * copy's time counts. */
typedef struct {
    const float *x[BUFFERS]; /* [FLOATS] in [-1, 1] */
    float *y[BUFFERS];
    ald_teacher_t teacher;
    ald_optimizer_t optimizer;
    int32_t id[KEPT];
    float logz, factor, temperature;
    double sum; /* of results, so that none is left out */
} data_t;

static void norm_run(data_t *d, int64_t n)
{
    ald_rmsnorm((ald_norm_t){1, n, n, 1e-6, d->x[1], 0}, d->x[0], d->y[0]);
}

static void norm_backward_run(data_t *d, int64_t n)
{
    ald_rmsnorm_backward((ald_norm_t){1, n, n, 1e-6, d->x[1], 0}, d->x[0], d->x[2], 0, d->y[0],
                         d->y[1]);
}

static void rope_run(data_t *d, int64_t n)
{
    const int32_t position = 77;
    double frequency[HEAD / 2];
    for (int i = 0; i < HEAD / 2; ++i)
        frequency[i] = 0.1 / (1.0 + i);
    ald_rope(1, n / HEAD, HEAD, n, &position, frequency, 1.0, 1, d->y[7]);
}

static void swiglu_run(data_t *d, int64_t n)
{
    ald_swiglu(1, n, d->x[0], d->y[0]);
}

static void swiglu_backward_run(data_t *d, int64_t n)
{
    ald_swiglu_backward(1, n, d->x[0], d->x[1], d->y[0]);
}

static void logsumexp_run(data_t *d, int64_t n)
{
    d->sum += ald_logsumexp(n, d->x[0]);
}

static void exponentials_run(data_t *d, int64_t n)
{
    d->sum += ald_exp_shifted(n, d->x[0], 0.5f, d->y[0]);
}

static void argmax_run(data_t *d, int64_t n)
{
    d->sum += (double)ald_argmax(n, d->x[0]);
}

static void sample_run(data_t *d, int64_t n)
{
    const ald_sampling_t sampling = {.temperature = 0.7, .top_p = 1.0};
    float logprob;
    d->sum += ald_sample(&sampling, n, d->x[0], 0.5, d->y[0], &logprob);
}

static void attention_run(data_t *d, int64_t n)
{
    const ald_segment_t whole = {0, n, -1};
    const ald_attention_t attention = {n, 4, 2, HEAD, 0, 1, &whole, d->x[0], 0};
    if (ald_attention(&attention, d->y[0], d->y[1]) != ALD_STATUS_OK)
        d->sum += 1.0;
}

static void attention_backward_run(data_t *d, int64_t n)
{
    const ald_segment_t whole = {0, n, -1};
    const ald_attention_t attention = {n, 4, 2, HEAD, 0, 1, &whole, d->x[0], 0};
    if (ald_attention_backward(&attention, d->x[1], d->x[2], d->x[3], d->y[0]) != ALD_STATUS_OK)
        d->sum += 1.0;
}

static void decode_run(data_t *d, int64_t n)
{
    const ald_attention_row_t row = {7, HEAD, n, d->x[0], d->x[1], d->x[2], CACHED + 8, HEAD, 0};
    ald_attention_decode(&row, d->y[0], d->y[1]);
}

/* n rows of floats against a matrix in a stored type. */
static void product(data_t *d, ald_dtype_t dtype, int64_t n)
{
    ald_matrix_t w = ald_matrix_of(d->x[1], COLUMNS);
    w.block[0].dtype = dtype;
    ald_matrix_linear(ald_gemm_find("invariant"), (ald_linear_t){n, COLUMNS, DEPTH}, d->x[0], &w,
                      0.0f, d->y[0]);
}

static void product_f32_run(data_t *d, int64_t n)
{
    product(d, ALD_DTYPE_F32, n);
}

static void product_bf16_run(data_t *d, int64_t n)
{
    product(d, ALD_DTYPE_BF16, n);
}

static void product_f16_run(data_t *d, int64_t n)
{
    product(d, ALD_DTYPE_F16, n);
}

static void from_bf16_run(data_t *d, int64_t n)
{
    ald_dtype_row_to_f32(ALD_DTYPE_BF16, d->x[0], n, d->y[0]);
}

static void from_f16_run(data_t *d, int64_t n)
{
    ald_dtype_row_to_f32(ALD_DTYPE_F16, d->x[6], n, d->y[0]);
}

static void to_bf16_run(data_t *d, int64_t n)
{
    ald_dtype_row_from_f32(d->x[0], n, ALD_DTYPE_BF16, d->y[0]);
}

static void to_f16_run(data_t *d, int64_t n)
{
    ald_dtype_row_from_f32(d->x[0], n, ALD_DTYPE_F16, d->y[0]);
}

static void cross_entropy_run(data_t *d, int64_t n)
{
    memcpy(d->y[0], d->x[0], sizeof(float) * (size_t)n);
    d->sum += ald_cross_entropy_row(n, 3, 1.0f, d->y[0]);
}

static void beside_run(data_t *d, int64_t n)
{
    const float weights[2] = {1.0f, 0.5f};
    memcpy(d->y[0], d->x[0], sizeof(float) * (size_t)n);
    d->sum += ald_beside_kl_row(n, d->x[1], d->y[0]);
    ald_beside_gradient_row(n, 3, weights, d->x[1], d->y[0]);
}

static void teacher_run(data_t *d, int64_t n)
{
    memcpy(d->y[0], d->x[0], sizeof(float) * (size_t)n);
    memcpy(d->y[1], d->x[1], sizeof(float) * (size_t)n);
    ald_teacher_logits_row(n, d->y[0], d->y[1]);
}

static void tvd_run(data_t *d, int64_t n)
{
    d->sum += ald_tvd_row(n, d->x[0], d->x[1]);
}

static void distill(data_t *d, ald_divergence_t divergence, int64_t n)
{
    for (int i = 0; i < 3; ++i)
        memcpy(d->y[i], d->x[i], sizeof(float) * (size_t)n);
    d->teacher.divergence = divergence;
    d->sum += ald_distill_row(&d->teacher, 5.0, 1.0, n, d->y[0], d->y[1], d->y[2]).reward;
}

static void reverse_run(data_t *d, int64_t n)
{
    distill(d, ALD_DIVERGENCE_REVERSE, n);
}

static void forward_run(data_t *d, int64_t n)
{
    distill(d, ALD_DIVERGENCE_FORWARD, n);
}

static void jsd_run(data_t *d, int64_t n)
{
    distill(d, ALD_DIVERGENCE_JSD, n);
}

static void support_run(data_t *d, int64_t n)
{
    float logprob[KEPT], ratio[KEPT], tails[12];
    const ald_support_rows_t out = {
        d->id, logprob, ratio, tails,
        .tail = {tails + 1, tails + 2, tails + 3, tails + 6, tails + 9, tails + 10}};
    ald_support_make(&d->teacher, 0.3, n, KEPT, d->x[0], d->x[1], d->y[0], (int32_t *)d->y[1],
                     &out);
}

static void draws_run(data_t *d, int64_t n)
{
    const ald_draw_rows_t out = {d->id, d->y[2], d->y[3], &d->factor, &d->temperature, &d->logz};
    ald_draws_make(&d->teacher, 0.3, 1, 2, n, DRAWS, d->x[0], d->x[1], d->y[0], (double *)d->y[1],
                   &out);
}

static void gradient_run(data_t *d, int64_t n)
{
    (void)n;
    if (ald_optimizer_add(&d->optimizer, 0, BLOCK, d->y[6]) != ALD_STATUS_OK)
        d->sum += 1.0;
}

static void adamw_run(data_t *d, int64_t n)
{
    double norm;
    (void)n;
    if (ald_optimizer_step(&d->optimizer, 1e-6, d->y[7], &norm) == ALD_STATUS_OK)
        d->sum += norm;
}

static void checksum_run(data_t *d, int64_t n)
{
    d->sum += ald_fletcher32(d->x[0], (size_t)n);
}

static const struct {
    const char *name;
    void (*run)(data_t *, int64_t);
    int64_t size;
} kernels[] = {
    {"rmsnorm", norm_run, 896},
    {"rmsnorm", norm_run, 128},
    {"rmsnorm backward", norm_backward_run, 896},
    {"rope, heads of 64", rope_run, 1024},
    {"swiglu", swiglu_run, 4864},
    {"swiglu", swiglu_run, 256},
    {"swiglu backward", swiglu_backward_run, 4864},
    {"logsumexp", logsumexp_run, 151936},
    {"logsumexp", logsumexp_run, 400},
    {"exp", exponentials_run, 151936},
    {"exp", exponentials_run, 400},
    {"argmax", argmax_run, 151936},
    {"argmax", argmax_run, 400},
    {"sample", sample_run, 151936},
    {"sample", sample_run, 400},
    {"attention, positions", attention_run, 256},
    {"attention backward, positions", attention_backward_run, 256},
    {"attention to a cache, positions", decode_run, CACHED},
    {"invariant product, rows", product_f32_run, 1},
    {"invariant product, rows", product_f32_run, 4},
    {"invariant product, rows", product_f32_run, 32},
    {"invariant product of bf16, rows", product_bf16_run, 1},
    {"invariant product of bf16, rows", product_bf16_run, 4},
    {"invariant product of bf16, rows", product_bf16_run, 32},
    {"invariant product of f16, rows", product_f16_run, 4},
    {"bf16 to f32", from_bf16_run, 151936},
    {"f16 to f32", from_f16_run, 151936},
    {"f32 to bf16", to_bf16_run, 151936},
    {"f32 to f16", to_f16_run, 151936},
    {"cross-entropy", cross_entropy_run, 151936},
    {"cross-entropy", cross_entropy_run, 400},
    {"KL from a frozen model", beside_run, 151936},
    {"teacher's logits", teacher_run, 151936},
    {"total variation", tvd_run, 151936},
    {"total variation", tvd_run, 400},
    {"distillation, reverse KL", reverse_run, 151936},
    {"distillation, reverse KL", reverse_run, 400},
    {"distillation, forward KL", forward_run, 151936},
    {"distillation, Jensen-Shannon", jsd_run, 151936},
    {"support of 64 tokens", support_run, 151936},
    {"64 draws", draws_run, 151936},
    {"sum of gradients", gradient_run, BLOCK},
    {"AdamW", adamw_run, BLOCK},
    {"Fletcher-32, bytes", checksum_run, 65536},
};

int64_t ald_bench_kernel_count(void)
{
    return (int64_t)(sizeof kernels / sizeof kernels[0]);
}

static ald_status_t data_init(data_t *d)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_comm_t self = {MPI_COMM_SELF, 0, 1};
    ald_config_t config;
    ALD_TRY(ald_config_load(NULL, NULL, 0, &config));
    ald_teacher_init(&config, &d->teacher);
    for (int i = 0; i < BUFFERS; ++i) {
        float *x = ald_alloc(sizeof(float) * FLOATS);
        d->x[i] = x;
        d->y[i] = ald_alloc(sizeof(float) * FLOATS);
        ALD_CHECK(x != NULL && d->y[i] != NULL, ALD_STATUS_RESOURCE, "out of memory: rows");
        for (int64_t j = 0; j < FLOATS; ++j) /* periods without a common factor */
            x[j] = (float)((j * (7919 + 2 * i)) % 65521) / 32760.5f - 1.0f;
        memcpy(d->y[i], x, sizeof(float) * FLOATS);
    }
    ald_f32_to_dtype(d->x[0], FLOATS, ALD_DTYPE_F16, (void *)d->x[6]);
    ALD_TRY(ald_optimizer_init(&config, &self, BLOCK, &d->optimizer));
done:
    ald_config_reset(&config);
    return status;
}

static void data_reset(data_t *d)
{
    ald_optimizer_reset(&d->optimizer);
    for (int i = 0; i < BUFFERS; ++i) {
        ald_free((void *)d->x[i]);
        ald_free(d->y[i]);
    }
}

/* Seconds of one call, the mean over so many that a clock measures them well. */
static double time_one(data_t *d, int64_t kernel)
{
    const double enough = 3e-4;
    double begun = ald_time(), now = begun;
    int64_t calls = 0, batch = 1;
    while (now - begun < enough) {
        for (int64_t i = 0; i < batch; ++i)
            kernels[kernel].run(d, kernels[kernel].size);
        calls += batch;
        batch *= 2;
        now = ald_time();
    }
    return (now - begun) / (double)calls;
}

ald_status_t ald_bench_kernels(int64_t repeat, ald_bench_kernel_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_isa_t before = ald_isa;
    data_t d = {.sum = 0.0};
    int threads;
    ALD_TRY(ald_threads_set(1, &threads));
    ALD_TRY(data_init(&d));
    for (int64_t k = 0; k < ald_bench_kernel_count(); ++k) {
        out[k] = (ald_bench_kernel_t){.name = kernels[k].name, .size = kernels[k].size};
        for (int64_t i = -1; i < repeat; ++i) /* the first one only warms up */
            for (ald_isa_t isa = ALD_ISA_BASE; isa <= ald_isa_highest(); ++isa) {
                ald_isa = isa;
                double seconds = time_one(&d, k);
                if (i >= 0 && (out[k].seconds[isa] == 0.0 || seconds < out[k].seconds[isa]))
                    out[k].seconds[isa] = seconds;
            }
    }
    ald_log_verbose("bench: sum of results %g", d.sum);
done:
    ald_isa = before;
    data_reset(&d);
    return status;
}
