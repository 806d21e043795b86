/* Encodings: what a shard keeps of both models at a position, how a scorer fills it in, and how a
 * trainer learns from it. Each is a row of one table and has a file (full.c, hidden.c, topk.c,
 * sampled.c); its datasets are in the shard's format. R positions, V vocabulary, K tokens of a
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

/* What a scorer fills in for the positions of a micro-batch. */
typedef struct {
    const ald_shard_header_t *header;
    ald_teacher_t teacher; /* of the configuration, for the choice of K tokens */
    ald_scored_t all;      /* columns of R positions, by ald_scored_alloc */
    const uint64_t *seed,
        *stream; /* [R] of the draws of each position; NULL unless the encoding draws */
} ald_scoring_t;

/* --- learning --------------------------------------------------------------------------------- */

/* What a trainer learns from: the sequences of a micro-batch, and the settings applied to them. */
typedef struct {
    const ald_shard_header_t *header; /* of the shards */
    const ald_teacher_t *teacher;
    int64_t vocabulary;           /* V of the loss: the shards' tokens, or fewer */
    const ald_model_t *heads[2];  /* the models of pi_dpo and of the contrast, for their output
                                     matrices; with encodings of hidden states only */
    const ald_scored_t *sequence; /* in the order of `packed` */
    const ald_packed_t *packed;
    const int64_t *owner;          /* [R] sequence of a position */
    const double *factor, *scale;  /* [R] a in z*; what the gradient is multiplied by */
    ald_support_error_t *error;    /* [R] to be filled in; NULL where the shards don't bound it */
    float *logprob, *ratio, *rows; /* [chunk, V], [chunk, V], [chunk, H] scratch memory */
} ald_lesson_t;

/* --- the table -------------------------------------------------------------------------------- */

typedef struct {
    bool exact; /* products with output matrices get bits that don't depend on their neighbours */
    bool draws; /* its tokens are drawn: the forward divergence alone can be estimated, and for the
                   contrast of the shard alone */
    bool bench; /* `bench --store` measures it: one with few wide columns, one with many narrow */
    int wide;   /* rows of V that the loss of a position needs beside its logits */
    /* Stores what the encoding keeps of a model's hidden states [T, H]: those of pi_dpo (`contrast`
     * NULL) or of a contrast. NULL: it keeps nothing of them. */
    void (*keep)(const ald_scoring_t *scoring, const ald_contrasted_t *contrast,
                 const ald_packed_t *packed, const float *hidden);
    /* Stores what the encoding keeps of the rows [V] of position r: log pi_dpo, and the ratio to a
     * contrast. It is called for the contrast of the shard first. NULL: it keeps nothing of them.
     */
    void (*fill)(const ald_scoring_t *scoring, ald_contrast_t contrast, int64_t r,
                 const float *logprob, const float *ratio, ald_choice_t *choice);
    /* Fills lesson->logprob and lesson->ratio for positions [first, first + count). NULL: the
     * encoding doesn't use them. */
    void (*ready)(const ald_lesson_t *lesson, int64_t first, int64_t count);
    /* The loss of position r, for which `logprob` and `ratio` are the rows that `ready` has filled;
     * z [V] becomes scale * dloss/dz. */
    ald_position_t (*learn)(const ald_lesson_t *lesson, int64_t r, float *logprob, float *ratio,
                            float *z);
} ald_encoding_row_t;

const ald_encoding_row_t *ald_encoding_row(ald_encoding_t encoding);

/* The sequence that owns position r; *at becomes the index of the position in it. */
static inline const ald_scored_t *ald_lesson_sequence(const ald_lesson_t *lesson, int64_t r,
                                                      int64_t *at)
{
    *at = r - lesson->packed->start[lesson->owner[r]];
    return &lesson->sequence[lesson->owner[r]];
}
/* The data that the sequence has of the configured contrast. */
static inline const ald_contrasted_t *ald_lesson_contrast(const ald_lesson_t *lesson,
                                                          const ald_scored_t *sequence)
{
    return &sequence->contrast[lesson->teacher->contrast];
}

#endif
