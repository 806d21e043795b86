/* Encodings `hidden` and `hidden32`: the final hidden states of both models, to which the trainer
 * applies the output matrices. So the whole vocabulary fits in the space of a state. */
#include <string.h>

#include "ald/model/batch.h"
#include "ald/model/head.h"
#include "ald/model/model.h"
#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/shard/format.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/encoding.h"
#include "ald/teacher/full.h"
#include "ald/teacher/teacher.h"
#include "teacher/encoding_impl.h"

static void keep(const ald_scoring_t *scoring, const ald_contrasted_t *contrast,
                 const ald_packed_t *packed, const float *hidden)
{
    const int64_t H = scoring->header->hidden_size;
    uint16_t *bits = (uint16_t *)(contrast == NULL ? scoring->all.hidden_dpo : contrast->hidden);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < packed->positions; ++r)
        ald_dtype_row_from_f32(hidden + packed->row[r] * H, H, ALD_DTYPE_BF16, bits + r * H);
}

static void keep32(const ald_scoring_t *scoring, const ald_contrasted_t *contrast,
                   const ald_packed_t *packed, const float *hidden)
{
    const int64_t H = scoring->header->hidden_size;
    float *states = (float *)(contrast == NULL ? scoring->all.hidden32_dpo : contrast->hidden32);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < packed->positions; ++r)
        memcpy(states + r * H, hidden + packed->row[r] * H, sizeof *states * (size_t)H);
}

/* Reads a stored hidden state [H], of pi_dpo (which = 0) or of the contrast. */
static void read_state(const ald_lesson_t *lesson, int64_t r, int which, float *out)
{
    int64_t at;
    const ald_scored_t *s = ald_lesson_sequence(lesson, r, &at);
    const ald_contrasted_t *contrast = ald_lesson_contrast(lesson, s);
    const int64_t H = lesson->header->hidden_size;
    const float *states = which == 0 ? s->hidden32_dpo : contrast->hidden32;
    const uint16_t *bits = which == 0 ? s->hidden_dpo : contrast->hidden;
    if (states != NULL)
        memcpy(out, states + at * H, sizeof *out * (size_t)H);
    else
        ald_dtype_row_to_f32(ALD_DTYPE_BF16, bits + at * H, H, out);
}

/* Computes logits[count, V] of one of both models. */
static void logits_of(const ald_lesson_t *lesson, int64_t first, int64_t count, int which,
                      float *logits)
{
    const int64_t H = lesson->header->hidden_size;
    ald_model_t head = *lesson->heads[which];
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; ++i)
        read_state(lesson, first + i, which, lesson->rows + i * H);
    if (lesson->sequence[0].hidden32_dpo != NULL) /* as the scorer's products for `full` are */
        head.gemm = ald_gemm_find("invariant");
    head.vocabulary = lesson->vocabulary;
    ald_head_logits(&head, count, lesson->rows, logits);
}

static void ready(const ald_lesson_t *lesson, int64_t first, int64_t count)
{
    logits_of(lesson, first, count, 0, lesson->logprob);
    logits_of(lesson, first, count, 1, lesson->ratio);
}

static ald_position_t learn(const ald_lesson_t *lesson, int64_t r, float *logprob, float *ratio,
                            float *z)
{
    ald_teacher_logits_row(lesson->vocabulary, logprob, ratio);
    return ald_distill_row(lesson->teacher, lesson->factor[r], lesson->scale[r], lesson->vocabulary,
                           logprob, ratio, z);
}

const ald_encoding_row_t ald_row_hidden = {
    .bench = true, .wide = 2, .keep = keep, .ready = ready, .learn = learn};
const ald_encoding_row_t ald_row_hidden32 = {
    .exact = true, .wide = 2, .keep = keep32, .ready = ready, .learn = learn};
