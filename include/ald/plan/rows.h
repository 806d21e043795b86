/* The lengths of a data file's rows: measured, or as somebody says. Local. Layer: plan. */
#ifndef ALD_PLAN_ROWS_H
#define ALD_PLAN_ROWS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/plan/cost.h"

typedef enum {
    ALD_LENGTHS_MEASURED, /* all rows */
    ALD_LENGTHS_SAMPLED,  /* some of them */
    ALD_LENGTHS_GIVEN,    /* means */
    ALD_LENGTHS_ASSUMED,
} ald_lengths_source_t;

typedef struct {
    int64_t prompt, chosen, rejected; /* tokens; 0: the row has none */
} ald_lengths_t;

typedef struct {
    ald_lengths_source_t source;
    int64_t count;      /* rows */
    ald_lengths_t *row; /* [known], owned; row i is row[i % known], or of means row[i > 0] */
    int64_t known;
    ald_lengths_t longest;
    double prompt, chosen, rejected; /* means */
    double text;                     /* bytes of a row's texts, on average */
    double answer, answer_text; /* tokens and bytes of a sample, set by the caller; 0: as data's */
    int64_t vocabulary;         /* ids of the tokenizer; 0: there is none */
    double held;                /* bytes that a process holds for all rows and the tokenizer */
} ald_plan_rows_t;

enum { ALD_ROWS_SAMPLE = 4000 }; /* rows that are looked at, at most */

/* What --rows, --prompt-tokens and --response-tokens say; 0: it isn't said. */
typedef struct {
    int64_t rows, prompt, response;
} ald_rows_given_t;

/* The rows of `path` with the tokenizer of `model` where both are there, and nothing is given; else
 * the given means, or assumed ones. `model` NULL: there is none; `vocab_size` is the model's.
 * INPUT for a file that can't be read. Free with ald_plan_rows_reset. */
ald_status_t ald_plan_rows(const ald_config_t *config, const char *path, const char *model,
                           int64_t vocab_size, const ald_rows_given_t *given, ald_plan_rows_t *out);
void ald_plan_rows_reset(ald_plan_rows_t *rows); /* takes a zeroed one */
/* A step of on-policy distillation on these rows: items of mean length. Samples are as long as
 * `answer` says; else as the data's responses, where it has some, or as long as they may be. */
void ald_plan_sampled_step(const ald_config_t *config, const ald_plan_rows_t *rows,
                           int64_t parameters, ald_step_work_t *out);
/* Mean tokens of such a sample. */
double ald_plan_sample(const ald_config_t *config, const ald_plan_rows_t *rows);
ald_lengths_t ald_plan_row(const ald_plan_rows_t *rows, int64_t i);

#endif
