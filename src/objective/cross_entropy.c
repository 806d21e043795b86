/* Cross-entropy. One pass for the sum of exponentials, one for the gradient, which takes the place
 * of the logits. */
#include "ald/objective/cross_entropy.h"

#include "ald/num/kernel.h"
#include "ald/num/ops.h"

ALD_KERNEL(void, softmax_gradient, (int64_t V, float lse, float weight, float *z),
           (V, lse, weight, z))
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        z[v] = weight * ald_expf(z[v] - lse);
}

float ald_cross_entropy_row(int64_t V, int32_t target, float weight, float *z)
{
    float lse = ald_logsumexp(V, z);
    float logprob = z[target] - lse;
    softmax_gradient(V, lse, weight, z);
    z[target] -= weight;
    return logprob;
}
