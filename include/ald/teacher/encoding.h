/* Encodings: what a shard keeps of the teachers at a position, how a scorer fills it in, and how a
 * trainer learns from it. A row of one table each, and a file each (full.c, hidden.c, topk.c,
 * sampled.c); the datasets stand in the shard's format. R positions, V vocabulary, K tokens of a
 * position. All functions are local. Layer: teacher. */
#ifndef ALD_TEACHER_ENCODING_H
#define ALD_TEACHER_ENCODING_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/config/choices.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"
#include "ald/shard/format.h"
#include "ald/teacher/choice.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"

/* --- scoring ---------------------------------------------------------------------------------- */

/* What a scorer fills: a micro-batch's positions. */
typedef struct {
    const ald_shard_header_t *header;
    ald_teacher_t teacher; /* the configured one: for the choice of K tokens */
    ald_scored_t all;      /* columns of R positions, by ald_scored_alloc */
    const uint64_t *seed,
        *stream; /* [R] of each position's draws; NULL unless the encoding draws */
} ald_scoring_t;

/* --- learning --------------------------------------------------------------------------------- */

/* What a trainer learns from: a micro-batch of sequences, and what its settings make of them. */
typedef struct {
    const ald_shard_header_t *header; /* of the shards */
    const ald_teacher_t *teacher;
    int64_t vocabulary;           /* V of the loss: the shards' tokens, or fewer */
    const ald_model_t *heads[2];  /* for their output matrices, of pi_dpo and of the contrast; for
                                     encodings of hidden states only */
    const ald_scored_t *sequence; /* in their order */
    const ald_packed_t *packed;
    const int64_t *owner;          /* [R] sequence of a position */
    const double *factor, *scale;  /* [R] a in z*; of the gradient */
    ald_support_error_t *error;    /* [R] is filled in; NULL where the shards don't bound it */
    float *logprob, *ratio, *rows; /* [chunk, V], [chunk, V], [chunk, H] scratch memory */
} ald_lesson_t;

/* --- the table -------------------------------------------------------------------------------- */

typedef struct {
    bool exact; /* products with output matrices get bits that don't depend on their neighbours */
    bool draws; /* at random: only the forward divergence can be estimated, and one contrast */
    int wide;   /* rows of V that the loss of a position holds beside its logits */
    /* From a model's hidden states [T, H]: that of pi_dpo, or with `contrast` one of the others.
     * NULL: nothing is kept of them. */
    void (*keep)(const ald_scoring_t *scoring, const ald_contrasted_t *contrast,
                 const ald_packed_t *packed, const float *hidden);
    /* From rows [V] of position r: log pi_dpo, and the ratio to a contrast, of which the shard's
     * own comes first. NULL: nothing is kept of them. */
    void (*fill)(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                 const float *logprob, const float *ratio, ald_choice_t *choice);
    /* Readies lesson->logprob and lesson->ratio for positions [first, first + count). NULL: needs
     * nothing. */
    void (*ready)(const ald_lesson_t *lesson, int64_t first, int64_t count);
    /* The loss of position r, of which `logprob` and `ratio` are the rows that were readied; z [V]
     * becomes scale * dloss/dz. */
    ald_position_t (*learn)(const ald_lesson_t *lesson, int64_t r, float *logprob, float *ratio,
                            float *z);
} ald_encoding_row_t;

const ald_encoding_row_t *ald_encoding_row(ald_encoding_t encoding);

/* The sequence that owns position r, and the position's place in it. */
static inline const ald_scored_t *ald_lesson_sequence(const ald_lesson_t *lesson, int64_t r,
                                                      int64_t *at)
{
    *at = r - lesson->packed->start[lesson->owner[r]];
    return &lesson->sequence[lesson->owner[r]];
}
/* What the sequence says of the contrast that is learnt from. */
static inline const ald_contrasted_t *ald_lesson_contrast(const ald_lesson_t *lesson,
                                                          const ald_scored_t *sequence)
{
    return &sequence->contrast[lesson->teacher->contrast];
}

#endif
