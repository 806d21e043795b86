/* The operators of the decoder, forward and backward, float32. T tokens, H hidden size, D head
 * size, NH and NKV query and key/value heads, I intermediate size. All local; OpenMP threads share
 * the work, and no result depends on their number. Gradients are prefixed d; weight gradients are
 * added to, input gradients overwritten unless said. Layer: num. */
#ifndef ALD_OPS_H
#define ALD_OPS_H

#include <stdint.h>

#include "ald/arena.h"
#include "ald/status.h"

/* dtable[ids[t]] += dx[t] in the order of t, for x = ald_matrix_gather. */
void ald_embedding_backward(int64_t T, int64_t H, const int32_t *ids, const float *dx,
                            float *dtable);

/* y = x / sqrt(mean(x^2) + eps) * w, rows of H (Zhang and Sennrich 2019). Rows lie `ld` apart; x
 * and y may be the same. */
void ald_rmsnorm(int64_t rows, int64_t H, int64_t ld, double eps, const float *x, const float *w,
                 float *y);
/* dx (+)= from dy; dw += ; the scale is computed anew from x. `accumulate` adds to dx. dx may be
 * dy. */
void ald_rmsnorm_backward(int64_t rows, int64_t H, int64_t ld, double eps, const float *x,
                          const float *w, const float *dy, int accumulate, float *dx, float *dw);

/* x[T,N] += bias[N]; dbias[N] += column sums of dy[T,N]. */
void ald_bias(int64_t T, int64_t N, const float *bias, float *x);
void ald_bias_backward(int64_t T, int64_t N, const float *dy, float *dbias);
/* x[i] += y[i] */
void ald_add(int64_t count, const float *y, float *x);

/* Rotary embedding (Su et al. 2021; pairs (i, i + D/2) as in Hugging Face's checkpoints) in place
 * on `heads` heads of D at x[t * ld]: pair i turns by positions[t] * frequency[i] radians and is
 * multiplied by `factor`. direction +1 forward, -1 backward (turned back, multiplied alike). */
void ald_rope(int64_t T, int64_t heads, int64_t D, int64_t ld, const int32_t *positions,
              const double *frequency /* [D/2] */, double factor, int direction, float *x);

/* Segments of a packed batch: rows [begin, end), each after the rows of its ancestors. A query sees
 * all rows of its segment's ancestors, and those of its own segment up to itself. `parent` is an
 * earlier segment or -1; a root and its descendants follow each other without a gap. A sequence is
 * a root's rows, then a child's, and so on: its positions are counted so. */
typedef struct {
    int64_t begin, end, parent;
} ald_segment_t;

/* Causal grouped-query attention, softmax(q k^T / sqrt(D)) v, by blocks with a running maximum and
 * sum (Milakov and Gimelshein 2018; Dao et al. 2022): memory linear in T. qkv[T, (NH + 2 NKV) D]
 * holds q, k, v heads of each row; out[T, NH D]; lse[NH, T] (log-sum-exp, for the backward; may be
 * NULL). With `window` (0: none) a query at position p of its sequence sees positions above
 * p - window only, at a cost that grows with T * window; a window as long as the sequence changes
 * no bit. RESOURCE when scratch memory is lacking. */
ald_status_t ald_attention(int64_t T, int64_t NH, int64_t NKV, int64_t D, int64_t segments,
                           const ald_segment_t *segment, int64_t window, const float *qkv,
                           float *out, float *lse);
/* dqkv from dout, overwritten. */
ald_status_t ald_attention_backward(int64_t T, int64_t NH, int64_t NKV, int64_t D, int64_t segments,
                                    const ald_segment_t *segment, int64_t window, const float *qkv,
                                    const float *out, const float *lse, const float *dout,
                                    float *dqkv);
/* One query row of `NH` heads against `length` cached rows of keys and values, [length, NKV D]
 * each. */
void ald_attention_decode(int64_t length, int64_t NH, int64_t NKV, int64_t D, const float *q,
                          const float *k, const float *v, float *scores /* [NH, length] */,
                          float *out);

/* y[T,I] = silu(g) u with gu[T,2I] = g then u in each row (Shazeer 2020). */
void ald_swiglu(int64_t T, int64_t I, const float *gu, float *y);
/* dgu from dy, overwritten; dgu may be gu. */
void ald_swiglu_backward(int64_t T, int64_t I, const float *gu, const float *dy, float *dgu);

/* log(sum(exp(x))), with the maximum subtracted. */
float ald_logsumexp(int64_t n, const float *x);
/* y = exp(x - shift); returns the sum. y may be x. */
double ald_exp_shifted(int64_t n, const float *x, float shift, float *y);
/* Index of the largest (the first of equals). */
int64_t ald_argmax(int64_t n, const float *x);

#endif
