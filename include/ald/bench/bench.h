/* Speed and memory of one rank beside the machine's limits. Layer: bench.
 *
 * A phase is run once to warm up and then `repeat` times, each run between two runs of plain sgemm
 * through the table of back ends: the matrix products of the phase, the same shapes and counts, on
 * idle buffers. Decoding, which reads all weights for few rows, is held to memory instead: its runs
 * lie between readings of as many bytes as the weights that it reads. `share` is the median of (the
 * limit's time / the phase's time), so what else loads the machine falls on both. FLOPs are those
 * of the matrix products, 2 m n k each; attention's count causally, query t with t + 1 keys, and
 * what the backward computes anew isn't counted. */
#ifndef ALD_BENCH_BENCH_H
#define ALD_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/model/model_config.h"

typedef enum {
    ALD_BENCH_FORWARD, /* hidden states of a batch, nothing kept: no vocabulary step */
    ALD_BENCH_DECODE,  /* a token for each sequence behind a full cache, sampling's products */
    ALD_BENCH_SCORE,   /* ald_scorer_run, encoding "hidden", two models (of equal weights) */
    ALD_BENCH_TRAIN,   /* ald_loop_step on one micro-batch of sft, AdamW included */
    ALD_BENCH_PHASES,
} ald_bench_phase_t;
extern const char *const ald_bench_names[ALD_BENCH_PHASES]; /* "forward", "decode", ... */

typedef struct {
    const char *model;        /* model directory, whose weights are used as they are stored, but for
                                 training; or NULL: random float32 weights */
    ald_model_config_t shape; /* of the model */
    int64_t sequences, tokens; /* rows of the batch; each has a prompt of one token */
    int64_t repeat;
    int64_t prompt; /* tokens of each row that are its prompt; 0: one */
    bool bare;      /* without the limits beside: figures have tokens and seconds, nothing else */
    ald_encoding_t encoding; /* of scoring, with `bare`; else "hidden" */
    int64_t top_k;
    bool wanted[ALD_BENCH_PHASES];
} ald_bench_options_t;

/* Medians over the repeats. */
typedef struct {
    bool measured;
    double tokens;        /* of one run */
    double flop;          /* of one run's matrix products */
    double seconds;       /* of one run */
    double limit_seconds; /* of plain sgemm for its products, or of reading its bytes */
    double share;
    double cpu_seconds;   /* of one run, all threads together */
    double cpu_share;     /* the share by the processors' time: steadier on a busy machine */
    double planned_bytes; /* by the sizes of what it holds */
    double held_bytes;    /* allocated at its end: weights, arenas, caches, optimizer */
} ald_bench_figures_t;

typedef struct {
    int64_t parameters;
    double step_bytes;     /* of the weights that a step of decoding reads */
    double sgemm_gflops;   /* the best product of 1536 x 1536 x 1536 */
    double read_gigabytes; /* per second, the best reading of 512 MiB */
    double peak_rss_bytes; /* of the process, sgemm's buffers included */
    ald_bench_figures_t phase[ALD_BENCH_PHASES];
} ald_bench_report_t;

/* Local, on as many threads as are set. INPUT for a broken model, RESOURCE without memory. */
ald_status_t ald_bench_run(const ald_bench_options_t *options, ald_bench_report_t *out);

#endif
