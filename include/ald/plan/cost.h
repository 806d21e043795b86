/* What work costs in seconds, from rates and numbers: pure arithmetic. Rates are those of one rank,
 * measured (ald/bench/calibrate.h) or assumed. Seconds; all local. Layer: plan. */
#ifndef ALD_PLAN_COST_H
#define ALD_PLAN_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/config/config.h"
#include "ald/model/params.h"

typedef enum {
    ALD_RATES_ASSUMED,      /* from floating-point operations, at ALD_ASSUMED_FLOPS a core */
    ALD_RATES_MEASURED,     /* here, at the model's shape */
    ALD_RATES_EXTRAPOLATED, /* here, from fewer layers, tokens or cores */
} ald_rates_source_t;

#define ALD_ASSUMED_FLOPS   4e10 /* a second and core, of matrix products in float32 */
#define ALD_ASSUMED_READING 1e10 /* bytes of memory a second and core, for decoding */
#define ALD_ASSUMED_WRITING 2e8  /* bytes of files a second */
#define ALD_ASSUMED_NETWORK 1e9  /* bytes a second between ranks */

enum { ALD_DECODE_POINTS = 4 };
extern const int ald_decode_counts[ALD_DECODE_POINTS]; /* 1, 4, 16, 48 sequences */

typedef struct {
    ald_rates_source_t source;
    double train;   /* a token of a micro-batch, forward, loss and backward */
    double pair;    /* the same of pairs, which have two responses to a prompt */
    double micro;   /* a micro-batch besides: gradients into the sums */
    double update;  /* a step's update, all parameters on one trainer */
    double lesson;  /* a response position of a shard: the teacher's rows besides */
    double score;   /* a token under all models of the teacher, its position written */
    double prefill; /* a token of a prompt */
    double decode[ALD_DECODE_POINTS]; /* a token more for so many sequences at once */
    double writing;                   /* bytes a second, hashed and on the disk */
    double start;                     /* until a stage has begun */
} ald_rates_t;

/* What a step of distillation on its own samples, or a stage, asks for. Tokens are rows of batches.
 */
typedef struct {
    int64_t items;            /* of a step; 0 where there is no training */
    double prompt, response;  /* mean tokens of an item's prompt and response */
    double tokens, positions; /* of a step in training */
    double micros;            /* micro-batches of a step, on average */
    int64_t blocks;           /* that a step is scored in */
    bool pairs;               /* items have two responses */
    bool lessons;             /* it learns from shards */
    double parameters;
} ald_step_work_t;

/* Rates for a model on `cores` cores. */
void ald_rates_assume(const ald_params_t *params, double response_share, int cores,
                      ald_rates_t *out);
/* Multiplies the seconds of work by what they are in `whole` over what they are in `part`, as one
 * model is to another; the rates are extrapolated ones then. */
void ald_rates_scale_as(ald_rates_t *rates, const ald_rates_t *whole, const ald_rates_t *part);
/* Multiplies the seconds of work; measured rates are extrapolated ones then. */
void ald_rates_scale(ald_rates_t *rates, double factor);
/* One more token for `count` sequences, at most 48 at once. */
double ald_cost_decode(const ald_rates_t *rates, double count);

/* A step's seconds on so many ranks of a role. */
double ald_cost_train(const ald_rates_t *rates, const ald_step_work_t *step, int trainers);
double ald_cost_score(const ald_rates_t *rates, const ald_step_work_t *step, int scorers);
double ald_cost_generate(const ald_rates_t *rates, const ald_step_work_t *step, int generators);

/* A split of ranks over roles, as roles.* say it: 0 shares the ranks that nobody claims. */
typedef struct {
    int trainers, scorers, generators;
    double seconds; /* of a step */
} ald_split_t;
/* The split of `ranks` ranks with which a step takes least: every role on all ranks, trainers
 * apart from the two others, or each role on ranks of its own. Roles that are apart work side by
 * side where `max_staleness` lets them, else one after the other. Of equal ones the first. */
ald_split_t ald_plan_split(const ald_rates_t *rates, const ald_step_work_t *step, int ranks,
                           int64_t max_staleness);

#endif
