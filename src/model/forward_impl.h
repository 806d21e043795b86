/* Private to model: what a forward pass keeps for the backward. Norms and the gated product are
 * computed anew there: they cost little and would double the memory. */
#ifndef ALD_MODEL_FORWARD_IMPL_H
#define ALD_MODEL_FORWARD_IMPL_H

typedef struct {
    float *x;                       /* [T, H] the layer's input */
    float *raw;                     /* [T, Q] qkv before head norms; NULL without them */
    float *qkv;                     /* [T, Q] the input of the attention */
    float *attention;               /* [T, NH D] */
    float *lse;                     /* [NH, T] */
    float *middle;                  /* [T, H] after the attention */
    float *gate_up;                 /* [T, 2I] */
    float *attention_raw, *mlp_raw; /* [T, H] before the norms after a branch; NULL without them */
} ald_kept_t;

struct ald_activations {
    ald_kept_t *layer; /* [L]; with ald_model_t.recompute all buffers but x are those of all layers,
                          and hold the last one's after the forward */
    float *last;       /* [T, H] before the final norm */
};

#endif
