/* Private to pipeline: the results of an evaluation, and its files. */
#ifndef ALD_PIPELINE_EVAL_IMPL_H
#define ALD_PIPELINE_EVAL_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/interval.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"
#include "ald/pipeline/stage_eval.h"
#include "ald/role/frozen.h"
#include "ald/role/measure.h"
#include "ald/text/patterns.h"
#include "pipeline/partial_impl.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/turns_impl.h"

#define ALD_EVAL_METRICS 16 /* room for the 12 that an evaluation has at most */

/* A sampled response, and what it has of what its row asks for. */
typedef struct {
    ald_json_t *json;     /* owned */
    const char *text;     /* that of `json` */
    int exact, forbidden; /* -1: the row doesn't ask for it */
    bool ended;
} ald_answer_t;

/* What an evaluation has measured. */
typedef struct {
    struct {
        const char *name, *meaning;
        ald_interval_t value;
    } list[ALD_EVAL_METRICS];
    int count;
} ald_eval_metrics_t;

typedef struct {
    const ald_config_t *config;
    const ald_comm_t *world;
    const char *folder; /* of the files */
    ald_partial_t partial;
    ald_frozen_t frozen[ALD_VIEWS];      /* zeroed where a directory isn't set or has come before */
    const ald_frozen_t *view[ALD_VIEWS]; /* of these, NULL: not set; a directory's views have one */
    const char *directory[ALD_VIEWS];    /* "": not set */
    ald_measure_t measure;
    ald_dataset_t data;
    ald_patterns_t *patterns;  /* of rows without figures and terms, or NULL */
    int64_t rows;              /* number of rows of the data that are used */
    int64_t *pair_row;         /* [pairs] rows with chosen and rejected */
    int64_t pairs, samples;    /* samples: responses sampled, rows * eval.generate */
    ald_measured_t *preferred; /* [2 pairs]: chosen, rejected */
    ald_response_t *responses; /* [samples] */
    ald_turns_t turns;         /* the later turns that follow them */
    ald_measured_t *sampled;   /* [samples] */
    ald_answer_t *answers;     /* [samples], root only */
    ald_eval_metrics_t metrics;
    ald_json_t *categories; /* root only: ald_eval_categories */
} ald_eval_t;

/* The margin log pi_dpo(chosen) / pi_base(chosen) - log pi_dpo(rejected) / pi_base(rejected) of
 * pair i; a reward's is beta times it. */
double ald_eval_reward(const ald_eval_t *eval, ald_view_t base, int64_t i);
/* Reward accuracy by the difference of lengths, by "subset" of the rows, and by RewardBench's
 * sections:
 * {"reward": "dpo" | "pair", "length": {kind: interval}, "subset": {...}, "section": {name:
 * number}}, owned by the caller; NULL without a reward. */
ald_status_t ald_eval_categories(const ald_eval_t *eval, ald_json_t **out);
void ald_eval_print_categories(const ald_json_t *categories); /* takes NULL, here and below */
ald_status_t ald_eval_page_categories(const ald_json_t *categories, ald_vec_t *page);

static inline bool ald_eval_has_pair(const ald_pair_t *row)
{
    return row->chosen.count > 0 && row->rejected.count > 0;
}

/* Shows rows of the data token by token. Root only. */
ald_status_t ald_eval_show(const ald_eval_t *eval, const ald_eval_show_t *show);
/* Writes eval.json, eval.html and, with samples, answers.jsonl and what the data's benchmark reads
 * into the folder. Root only. */
ald_status_t ald_eval_report(const ald_eval_t *eval);
/* The table of metrics to stdout. */
void ald_eval_print(const ald_eval_metrics_t *metrics);
/* Of the teacher at several settings: strengths.json into `folder`, and a table to stdout. */
ald_status_t ald_eval_report_points(const char *folder, const ald_eval_point_t *points,
                                    const ald_eval_metrics_t *metrics, int64_t count);

#endif
