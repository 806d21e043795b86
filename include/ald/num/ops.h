/* The operators of the decoder, forward and backward, float32. T tokens, H hidden size, D head
 * size, NH and NKV query and key/value heads, I intermediate size. All local; OpenMP threads share
 * the work, and no result depends on their number. Gradients are prefixed d; weight gradients are
 * added to, input gradients overwritten unless said. Layer: num. */
#ifndef ALD_NUM_OPS_H
#define ALD_NUM_OPS_H

#include <stdint.h>

/* dtable[ids[t]] += dx[t] in the order of t, for x = ald_matrix_gather. */
void ald_embedding_backward(int64_t T, int64_t H, const int32_t *ids, const float *dx,
                            float *dtable);

/* y = x / sqrt(mean(x^2) + eps) * (w + offset), rows of H (Zhang and Sennrich 2019). Rows lie `ld`
 * apart; x and y may be the same. */
typedef struct {
    int64_t rows, H, ld;
    double eps;
    const float *w;
    float offset;
} ald_norm_t;
void ald_rmsnorm(ald_norm_t norm, const float *x, float *y);
/* dx (+)= from dy; dw += ; the scale is computed anew from x. `accumulate` adds to dx. dx may be
 * dy. */
void ald_rmsnorm_backward(ald_norm_t norm, const float *x, const float *dy, int accumulate,
                          float *dx, float *dw);

/* x[T,N] += bias[N]; dbias[N] += column sums of dy[T,N]. */
void ald_bias(int64_t T, int64_t N, const float *bias, float *x);
void ald_bias_backward(int64_t T, int64_t N, const float *dy, float *dbias);
/* x[i] += y[i] */
void ald_add(int64_t count, const float *y, float *x);
/* x[i] *= factor */
void ald_scale(int64_t count, float factor, float *x);

/* Rotary embedding (Su et al. 2021; pairs (i, i + D/2) as in Hugging Face's checkpoints) in place
 * on `heads` heads of D at x[t * ld]: pair i turns by positions[t] * frequency[i] radians and is
 * multiplied by `factor`. direction +1 forward, -1 backward (turned back, multiplied alike). */
void ald_rope(int64_t T, int64_t heads, int64_t D, int64_t ld, const int32_t *positions,
              const double *frequency /* [D/2] */, double factor, int direction, float *x);

/* y[T,I] = silu(g) u with gu[T,2I] = g then u in each row (Shazeer 2020). */
void ald_swiglu(int64_t T, int64_t I, const float *gu, float *y);
/* dgu from dy, overwritten; dgu may be gu. */
void ald_swiglu_backward(int64_t T, int64_t I, const float *gu, const float *dy, float *dgu);
/* The same with the tanh form of gelu (Hendrycks and Gimpel 2016): g / 2 (1 + tanh(a / 2)) = g
 * sigmoid(a), a = sqrt(8 / pi) (g + 0.044715 g^3), in place of silu(g) = g sigmoid(g). */
void ald_geglu(int64_t T, int64_t I, const float *gu, float *y);
void ald_geglu_backward(int64_t T, int64_t I, const float *gu, const float *dy, float *dgu);

/* log(sum(exp(x))), with the maximum subtracted. */
float ald_logsumexp(int64_t n, const float *x);
/* y = exp(x - shift); returns the sum. y may be x. */
double ald_exp_shifted(int64_t n, const float *x, float shift, float *y);
/* Index of the largest (the first of equals). */
int64_t ald_argmax(int64_t n, const float *x);

#endif
