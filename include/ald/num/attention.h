/* Causal attention over packed batches, forward and backward, and against a cache, float32. T
 * tokens, D head size, NH query and NKV key and value heads. Layer: num. */
#ifndef ALD_NUM_ATTENTION_H
#define ALD_NUM_ATTENTION_H

#include <stdint.h>

#include "ald/base/status.h"

/* Segments of a packed batch: rows [begin, end), each after the rows of its ancestors. A query sees
 * all rows of its segment's ancestors, and those of its own segment up to itself. `parent` is an
 * earlier segment or -1; a root and its descendants follow each other without a gap. A sequence is
 * a root's rows, then a child's, and so on: its positions are counted so. */
typedef struct {
    int64_t begin, end, parent;
} ald_segment_t;

/* Causal grouped-query attention, softmax(scale q k^T) v, by blocks with a running maximum and
 * sum (Milakov and Gimelshein 2018; Dao et al. 2022): memory linear in T. qkv[T, (NH + 2 NKV) D]
 * holds q, k, v heads of each row; out[T, NH D]; lse[NH, T] (log-sum-exp, for the backward; may be
 * NULL). With `window` (0: none) a query at position p of its sequence sees positions above
 * p - window only, at a cost that grows with T * window; a window as long as the sequence changes
 * no bit. `scale` 0 is 1 / sqrt(D). RESOURCE when scratch memory is lacking. */
typedef struct {
    int64_t T, NH, NKV, D, window;
    int64_t segments;
    const ald_segment_t *segment;
    const float *qkv;
    double scale;
} ald_attention_t;
ald_status_t ald_attention(const ald_attention_t *attention, float *out, float *lse);
/* dqkv from dout, overwritten. */
ald_status_t ald_attention_backward(const ald_attention_t *attention, const float *out,
                                    const float *lse, const float *dout, float *dqkv);
/* One query row of the heads that share a key head, against `length` cached positions:
 * softmax(scale q k^T) v, `scale` as above. Keys lie in columns, a row for each of the D numbers of
 * a key, and ALD_ATTENTION_SLACK floats behind the last position of a row are read and not used.
 * Local, on the calling thread. */
typedef struct {
    int64_t heads, D, length;
    const float *q;             /* [heads, D] */
    const float *keys, *values; /* [D, length], [length, D]: rows as far apart as follows */
    int64_t keys_ld, values_ld;
    double scale;
} ald_attention_row_t;
enum { ALD_ATTENTION_SLACK = 32 };
void ald_attention_decode(const ald_attention_row_t *row, float *scores /* [length] */,
                          float *out /* [heads, D] */);

#endif
