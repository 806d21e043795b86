/* Picks a token from logits and one random number. It sorts only the candidates that top-k and
 * top-p may keep, since sorting a vocabulary would take longer than its softmax. */
#include "ald/model/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "ald/num/ops.h"

typedef struct {
    float p;
    int32_t id;
} candidate_t;

/* Orders by falling probability, then by rising id. */
static int compare_candidates(const void *a, const void *b)
{
    const candidate_t *x = a, *y = b;
    if (x->p != y->p)
        return x->p > y->p ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Walks probabilities in order of id until the sum passes u times the whole. */
static int32_t walk_all(int64_t n, const float *p, double total, double u)
{
    double left = u * total, sum = 0.0;
    int32_t last = 0;
    for (int64_t v = 0; v < n; ++v) {
        if (p[v] <= 0.0f)
            continue;
        last = (int32_t)v;
        sum += p[v];
        if (sum > left)
            break;
    }
    return last;
}

/* Collects and sorts the candidates whose unnormalised probability is at least `floor`. */
static int64_t collect(int64_t n, const float *p, float floor, candidate_t *out)
{
    int64_t count = 0;
    for (int64_t v = 0; v < n; ++v)
        if (p[v] >= floor)
            out[count++] = (candidate_t){p[v], (int32_t)v};
    qsort(out, (size_t)count, sizeof *out, compare_candidates);
    return count;
}

/* How many sorted candidates the filters keep; -1 when more candidates would be needed to know. */
static int64_t kept(const ald_sampling_t *s, int64_t n, const candidate_t *c, int64_t count,
                    double total, double *mass)
{
    int64_t limit = s->top_k > 0 && s->top_k < n ? s->top_k : n;
    double whole = total;
    if (limit > count && count < n && s->top_p >= 1.0)
        return -1;
    if (limit < n) { /* top-p applies to the candidates that top-k keeps */
        if (limit > count)
            return -1;
        whole = 0.0;
        for (int64_t i = 0; i < limit; ++i)
            whole += c[i].p;
    }
    *mass = 0.0;
    for (int64_t i = 0; i < limit; ++i) {
        if (i == count)
            return -1;
        *mass += c[i].p;
        if (s->top_p < 1.0 && *mass >= s->top_p * whole)
            return i + 1;
    }
    return limit;
}

static int32_t walk_filtered(const ald_sampling_t *s, int64_t n, const float *p, double total,
                             double u, candidate_t *c)
{
    double mass = 0.0;
    int64_t count = collect(n, p, 1e-4f, c), keep = kept(s, n, c, count, total, &mass);
    if (keep < 0) {
        count = collect(n, p, 0.0f, c);
        keep = kept(s, n, c, count, total, &mass);
    }
    double sum = 0.0;
    for (int64_t i = 0; i < keep; ++i) {
        sum += c[i].p;
        if (sum > u * mass)
            return c[i].id;
    }
    return c[keep > 0 ? keep - 1 : 0].id;
}

int32_t ald_sample(const ald_sampling_t *sampling, int64_t V, const float *logits, double u,
                   float *work, float *logprob)
{
    const float lse = ald_logsumexp(V, logits);
    int32_t picked = (int32_t)ald_argmax(V, logits);
    if (!isfinite(lse) || !isfinite(logits[picked])) /* a NaN makes the sum one */
        return -1;
    if (sampling->temperature > 0.0) {
        float inverse = (float)(1.0 / sampling->temperature), top = logits[picked] * inverse;
        candidate_t *candidates = (candidate_t *)(work + V);
        for (int64_t v = 0; v < V; ++v)
            work[v] = logits[v] * inverse;
        double total = ald_exp_shifted(V, work, top, work);
        bool filtered = sampling->top_p < 1.0 || (sampling->top_k > 0 && sampling->top_k < V);
        picked = filtered ? walk_filtered(sampling, V, work, total, u, candidates)
                          : walk_all(V, work, total, u);
    }
    *logprob = logits[picked] - lse;
    return picked;
}
