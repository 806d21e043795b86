/* Cross-entropy and its gradient at a row of logits. V vocabulary. Layer: objective. */
#ifndef ALD_OBJECTIVE_CROSS_ENTROPY_H
#define ALD_OBJECTIVE_CROSS_ENTROPY_H

#include <stdint.h>

/* loss = -weight log softmax(z)[target]; z becomes weight (softmax(z) - onehot). Returns
 * log softmax(z)[target]. */
float ald_cross_entropy_row(int64_t V, int32_t target, float weight, float *z);

#endif
