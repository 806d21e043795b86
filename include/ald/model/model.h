/* What forward, backward, the vocabulary-wide step and decoding take: a model, and a packed batch.
 * T tokens. All local. Layer: model. */
#ifndef ALD_MODEL_MODEL_H
#define ALD_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/model/params.h"
#include "ald/num/attention.h"
#include "ald/num/gemm.h"

/* A model is its list of tensors and their values; nothing is owned. */
typedef struct ald_mapped ald_mapped_t; /* see ald/model/mapped.h */
typedef struct {
    const ald_params_t *params;
    const float *values; /* [params->total]; NULL with `mapped` */
    const ald_gemm_t *gemm;
    const ald_mapped_t
        *mapped;        /* the values' place without `values`, of a frozen model; else NULL */
    int64_t vocabulary; /* how many tokens count, 0: all. The others have no logits, and
                           their rows of the output matrix get no gradient from there */
    bool recompute;     /* what is kept of a layer for the backward is its input alone, and the
                           rest is computed again there: the same bits */
} ald_model_t;

/* A model of these values, which stay the caller's, with the products of ald_gemm_chosen. */
ald_model_t ald_model_of(const ald_params_t *params, const float *values);
/* The tokens that have logits. */
int64_t ald_model_vocabulary(const ald_model_t *model);

/* A packed batch: tokens back to back, no padding (see ald_segment_t). */
typedef struct {
    int64_t tokens;           /* T */
    const int32_t *ids;       /* [T], within the vocabulary */
    const int32_t *positions; /* [T], for the rotation */
    int64_t segments;
    const ald_segment_t *segment;
} ald_batch_t;

#endif
