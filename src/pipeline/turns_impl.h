/* Private to pipeline: the later turns of benchmark questions, and answers in the forms that the
 * benchmarks' judges read. */
#ifndef ALD_PIPELINE_TURNS_IMPL_H
#define ALD_PIPELINE_TURNS_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/par/comm.h"
#include "ald/role/generator.h"
#include "pipeline/partial_impl.h"
#include "pipeline/sampling_impl.h"

/* A later turn, for those samples whose questions have it. */
typedef struct {
    int64_t *sample;           /* [pairs.count] the first turn's response that each one follows,
                                  ascending */
    ald_pairs_t pairs;         /* the conversations so far, as prompts; id is the question's row */
    ald_response_t *responses; /* [pairs.count] */
} ald_turn_t;

typedef struct {
    ald_vec_t turns; /* ald_turn_t: the second, the third, ... */
} ald_turns_t;

/* Whether rows of this layout may have later turns. */
bool ald_turns_any(const ald_dataset_t *data);
/* Samples the turns that follow `responses`, the first ones ([rows * samples], on all ranks): each
 * answers its question ("turns") in the conversation with the answers before it. Kept in `partial`,
 * and stopped, as by ald_sample_all. Collective. */
ald_status_t ald_turns_sample(const ald_config_t *config, const ald_generator_t *generator,
                              const ald_dataset_t *data, const ald_response_t *responses,
                              int64_t rows, int64_t samples, const ald_partial_t *partial,
                              ald_turns_t *out);
void ald_turns_reset(ald_turns_t *turns); /* takes a zeroed one */
/* The answer in turn `turn` (from 0 for the second) to first-turn sample `i`, as an index into its
 * responses; -1 when there is none. */
int64_t ald_turns_find(const ald_turns_t *turns, size_t turn, int64_t i);

/* What the judges' files are made of. */
typedef struct {
    const ald_dataset_t *data;
    const ald_response_t *responses; /* [rows * samples] */
    const ald_turns_t *turns;
    int64_t rows, samples;
    const char *model;  /* its name */
    const char *sha256; /* of its weights */
} ald_answers_t;

/* Writes into FOLDER what the judge of the data's layout reads: alpaca_eval.json, mt_bench.jsonl or
 * arena_hard.jsonl; nothing for other layouts. Equal answers give equal bytes: the ids of answers
 * come from their content, and times are 0. Root only. */
ald_status_t ald_answers_write(const ald_answers_t *answers, const char *folder);

#endif
