/* Losses row by row against twins in double precision, gradients against central differences. */
#include "ald/base/arena.h"
#include "ald/config/choices.h"
#include "ald/objective/beside.h"
#include "ald/objective/cross_entropy.h"
#include "ald/objective/preference.h"
#include "ald/teacher/divergence.h"
#include "ald/teacher/full.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"
#include "ald/teacher/topk.h"
#include "numeric.h"

enum { V = 41 };

/* Sanitizers keep long sums scalar: 4096 floats in one lane instead of many. */
#ifdef __SANITIZE_ADDRESS__
#define SUM_BOUND 2e-4
#else
#define SUM_BOUND 2e-5
#endif

static double log_sum_exp(int64_t n, const double *x)
{
    double top = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < n; ++i)
        top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < n; ++i)
        sum += exp(x[i] - top);
    return top + log(sum);
}

/* --- cross-entropy --- */

static double cross_entropy(const void *context, const double *z)
{
    return log_sum_exp(V, z) - z[*(const int *)context];
}

static void cross_entropy_row(void **state)
{
    const int target = 7;
    (void)state;
    for (int shift = 0; shift <= 1; ++shift) {
        float *z = random_floats(1, V, 3.0);
        for (int v = 0; v < V; ++v)
            z[v] += 500.0f * (float)shift; /* no overflow */
        double *dz = slopes(cross_entropy, &target, z, V), *z2 = to_doubles(z, V);
        for (int v = 0; v < V; ++v)
            dz[v] *= 0.25;
        float logprob = ald_cross_entropy_row(V, target, 0.25f, z);
        expect_near("log p", logprob, -cross_entropy(&target, z2), shift ? 6e-5 : 2e-6);
        expect_close("dz", V, z, dz, shift ? 1e-4 : 2e-6);
        ald_free(z), ald_free(dz), ald_free(z2);
    }
}

/* --- pairs --- */

static double soft(double x) /* -log sigmoid(x) */
{
    return x > 0.0 ? log1p(exp(-x)) : -x + log1p(exp(x));
}

/* The losses as their papers write them. `still` is the preferred response's KL where it counts as
 * a constant. */
static double twin_loss(const ald_preference_t *s, const ald_response_t *w, const ald_response_t *l,
                        double still)
{
    const double u = s->beta * (w->logprob - w->reference) - s->beta * (l->logprob - l->reference);
    switch (s->loss) {
    case ALD_PREFERENCE_IPO:
        return pow(w->logprob - l->logprob - w->reference + l->reference - 1.0 / (2.0 * s->beta),
                   2);
    case ALD_PREFERENCE_HINGE:
        return u < 1.0 ? 1.0 - u : 0.0;
    case ALD_PREFERENCE_SIMPO:
        return soft(s->beta / (double)w->length * w->logprob -
                    s->beta / (double)l->length * l->logprob - s->gamma);
    case ALD_PREFERENCE_TDPO1:
        return soft(u - (s->beta * l->kl - s->beta * w->kl));
    case ALD_PREFERENCE_TDPO2:
        return soft(u - s->alpha * (s->beta * l->kl - s->beta * still));
    default:
        return (1.0 - s->smoothing) * soft(u) + s->smoothing * soft(-u);
    }
}

static void check_preference(const ald_preference_t *settings, const ald_response_t pair[2])
{
    const double step = 1e-5;
    const ald_pair_loss_t found = ald_preference_loss(settings, pair);
    const double expected = twin_loss(settings, &pair[0], &pair[1], pair[0].kl);
    expect_near("loss", found.loss, expected, 1e-12 * (1.0 + fabs(expected)));
    for (int side = 0; side < 2; ++side)
        for (int of_kl = 0; of_kl < 2; ++of_kl) {
            double ends[2];
            for (int end = 0; end < 2; ++end) {
                ald_response_t beside[2] = {pair[0], pair[1]};
                *(of_kl ? &beside[side].kl : &beside[side].logprob) += end ? step : -step;
                ends[end] = twin_loss(settings, &beside[0], &beside[1], pair[0].kl);
            }
            expect_near(of_kl ? "d kl" : "d logprob",
                        of_kl ? found.d_kl[side] : found.d_logprob[side],
                        (ends[1] - ends[0]) / (2.0 * step), 1e-7 * (1.0 + expected));
        }
}

static void preference_losses(void **state)
{
    const double sums[][4] = {{-20, -25, -22, -24},
                              {-25, -20, -24, -22},
                              {-10, -10, -10, -10},
                              {-1e4, 0, 0, -1e4},
                              {0, -1e4, -1e4, 0}};
    const ald_preference_t settings[] = {
        {.loss = ALD_PREFERENCE_SIGMOID, .beta = 0.3},
        {.loss = ALD_PREFERENCE_SIGMOID, .beta = 0.3, .smoothing = 0.2},
        {.loss = ALD_PREFERENCE_CDPO, .beta = 0.3, .smoothing = 0.1},
        {.loss = ALD_PREFERENCE_IPO, .beta = 0.3},
        {.loss = ALD_PREFERENCE_HINGE, .beta = 0.3},
        {.loss = ALD_PREFERENCE_SIMPO, .beta = 2.0, .gamma = 1.0},
        {.loss = ALD_PREFERENCE_TDPO1, .beta = 0.3, .alpha = 1.0},
        {.loss = ALD_PREFERENCE_TDPO2, .beta = 0.3, .alpha = 0.4},
    };
    (void)state;
    for (size_t n = 0; n < sizeof settings / sizeof settings[0]; ++n)
        for (int i = 0; i < 5; ++i) {
            const ald_reference_use_t use = ald_preference_reference(settings[n].loss);
            const double *l = sums[i], kl = use == ALD_REFERENCE_ROWS ? 1.0 : 0.0;
            const bool reference = use != ALD_REFERENCE_NONE;
            const ald_response_t pair[2] = {{l[0], reference ? l[2] : 0.0, 1.5 * kl, 7},
                                            {l[1], reference ? l[3] : 0.0, 2.5 * kl, 11}};
            check_preference(&settings[n], pair);
        }
}

/* What is logged: beta times the log ratio, the mean log-probability, or the ratio with KL. */
static void preference_rewards(void **state)
{
    const ald_response_t plain[2] = {{-20, -22, 0, 4}, {-25, -24, 0, 5}};
    const ald_response_t with_kl[2] = {{-20, -22, 1, 4}, {-25, -24, 3, 5}};
    const ald_response_t alone[2] = {{-20, 0, 0, 4}, {-25, 0, 0, 5}};
    const ald_preference_t ipo = {.loss = ALD_PREFERENCE_IPO, .beta = 0.5};
    const ald_preference_t tdpo2 = {.loss = ALD_PREFERENCE_TDPO2, .beta = 0.5, .alpha = 0.1};
    const ald_preference_t simpo = {.loss = ALD_PREFERENCE_SIMPO, .beta = 0.5, .gamma = 3};
    (void)state;
    ald_pair_loss_t found = ald_preference_loss(&ipo, plain);
    expect_near("chosen", found.reward[0], 1.0, 1e-15);
    expect_near("rejected", found.reward[1], -0.5, 1e-15);
    found = ald_preference_loss(&tdpo2, with_kl);
    expect_near("chosen", found.reward[0], 1.5, 1e-15);
    expect_near("rejected", found.reward[1], 1.0, 1e-15);
    found = ald_preference_loss(&simpo, alone);
    expect_near("chosen", found.reward[0], -2.5, 1e-15);
    expect_near("rejected", found.reward[1], -2.5, 1e-15);
}

/* --- a frozen model beside the policy --- */

typedef struct {
    const float *frozen;
    int target;
    double weight, kl_weight;
} beside_t;

static double twin_kl(const float *frozen, const double *z)
{
    double q[V], sum = 0.0, lse_z = log_sum_exp(V, z);
    for (int v = 0; v < V; ++v)
        q[v] = frozen[v];
    double lse_q = log_sum_exp(V, q);
    for (int v = 0; v < V; ++v)
        sum += exp(q[v] - lse_q) * ((q[v] - lse_q) - (z[v] - lse_z));
    return sum;
}

static double twin_beside(const void *context, const double *z)
{
    const beside_t *b = context;
    return b->weight * (log_sum_exp(V, z) - z[b->target]) + b->kl_weight * twin_kl(b->frozen, z);
}

static void rows_beside(void **state)
{
    (void)state;
    for (int shift = 0; shift <= 1; ++shift) {
        float *frozen = random_floats(1, V, 3.0), *z = random_floats(2, V, 3.0), kept[V];
        for (int v = 0; v < V; ++v) {
            z[v] += 90.0f * (float)shift; /* of no consequence to a distribution */
            frozen[v] -= 90.0f * (float)shift;
        }
        const beside_t b = {frozen, 5, -0.25, 0.7};
        const float weights[2] = {-0.25f, 0.7f};
        double *dz = slopes(twin_beside, &b, z, V), *z2 = to_doubles(z, V);
        memcpy(kept, z, sizeof kept);
        expect_near("kl", ald_beside_kl_row(V, frozen, kept), twin_kl(frozen, z2), 3e-5);
        ald_beside_gradient_row(V, b.target, weights, frozen, z);
        expect_close("dz", V, z, dz, shift ? 2e-5 : 2e-6);
        expect_near("kl of itself", ald_beside_kl_row(V, frozen, memcpy(kept, frozen, sizeof kept)),
                    0.0, 2e-5);
        ald_free(frozen), ald_free(z), ald_free(dz), ald_free(z2);
    }
}

/* --- distillation: a twin over outcomes --- */

/* Outcomes: `group[v]` of each token; log-probabilities of both teachers per outcome. */
typedef struct {
    const ald_teacher_t *teacher;
    double factor;
    int64_t outcomes, tokens; /* those that are one token come first */
    const int *group;
    double logprob_dpo[V + 1], log_ratio[V + 1];
} twin_t;

/* Log-probabilities of the outcomes under the student and the teacher. */
static void outcomes_of(const twin_t *t, const double *z, double *lp, double *lq)
{
    double lse = log_sum_exp(V, z), p[V + 1] = {0}, cutoff = -INFINITY;
    for (int64_t o = 0; o < t->tokens && t->teacher->plausibility > 0.0; ++o)
        cutoff = fmax(cutoff, t->logprob_dpo[o] + log(t->teacher->plausibility));
    for (int v = 0; v < V; ++v)
        p[t->group[v]] += exp(z[v] - lse);
    for (int64_t o = 0; o < t->outcomes; ++o) {
        const double change = t->factor * t->log_ratio[o];
        const bool raised = t->logprob_dpo[o] < cutoff && change > 0.0;
        lp[o] = log(p[o]);
        lq[o] = (t->logprob_dpo[o] + (raised ? 0.0 : change)) / t->teacher->temperature;
    }
    lse = log_sum_exp(t->outcomes, lq);
    for (int64_t o = 0; o < t->outcomes; ++o)
        lq[o] -= lse;
}

static double relative_entropy(int64_t n, const double *lp, const double *lq)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i)
        sum += exp(lp[i]) * (lp[i] - lq[i]);
    return sum;
}

static double twin_divergence(const void *context, const double *z)
{
    const twin_t *t = context;
    double lp[V + 1], lq[V + 1], lm[V + 1];
    int64_t n = t->outcomes;
    outcomes_of(t, z, lp, lq);
    for (int64_t o = 0; o < n; ++o)
        lm[o] = log(0.5 * (exp(lp[o]) + exp(lq[o])));
    switch (t->teacher->divergence) {
    case ALD_DIVERGENCE_REVERSE:
        return relative_entropy(n, lp, lq);
    case ALD_DIVERGENCE_FORWARD:
        return relative_entropy(n, lq, lp);
    default:
        return 0.5 * relative_entropy(n, lp, lm) + 0.5 * relative_entropy(n, lq, lm);
    }
}

static void check_position(const twin_t *t, const float *z, const float *dz, double scale,
                           const ald_position_t *found)
{
    double *z2 = to_doubles(z, V), *expected = slopes(twin_divergence, t, z, V);
    double lp[V + 1], lq[V + 1], reward = 0.0;
    outcomes_of(t, z2, lp, lq);
    for (int64_t o = 0; o < t->outcomes; ++o)
        reward += t->teacher->beta * exp(lp[o]) * t->log_ratio[o];
    double divergence = twin_divergence(t, z2), size = 1e-5 * (1.0 + divergence);
    expect_near("divergence", found->divergence, divergence, size);
    expect_near("kl_teacher", found->kl_teacher, relative_entropy(t->outcomes, lp, lq), 3e-5);
    expect_near("kl_dpo", found->kl_dpo, relative_entropy(t->outcomes, lp, t->logprob_dpo), 1e-5);
    expect_near("reward", found->reward, reward, 1e-5);
    double largest = 0.0;
    for (int v = 0; v < V; ++v)
        largest = fabs(expected[v]) > largest ? fabs(expected[v]) : largest;
    for (int v = 0; v < V; ++v) /* with few outcomes the slopes cancel: hence the second term */
        expect_near("dz", dz[v], scale * expected[v], scale * (1e-5 * largest + 1e-7));
    ald_free(z2), ald_free(expected);
}

/* Rows of both teachers and the student, and every token as an outcome of its own. */
typedef struct {
    float *z, *lp, *ratio;
    int group[V];
} rows_t;

static void rows_init(rows_t *r, uint64_t stream)
{
    r->z = random_floats(stream, V, 2.0);
    r->lp = random_floats(stream + 1, V, 2.0);
    r->ratio = random_floats(stream + 2, V, 0.5);
    for (int v = 0; v < V; ++v) {
        r->ratio[v] += r->lp[v];
        r->group[v] = v;
    }
    ald_teacher_logits_row(V, r->lp, r->ratio);
}

static void rows_reset(rows_t *r)
{
    ald_free(r->z), ald_free(r->lp), ald_free(r->ratio);
}

static twin_t twin_of(const ald_teacher_t *teacher, double factor, const rows_t *r)
{
    twin_t t = {
        .teacher = teacher, .factor = factor, .outcomes = V, .tokens = V, .group = r->group};
    for (int v = 0; v < V; ++v) {
        t.logprob_dpo[v] = r->lp[v];
        t.log_ratio[v] = r->ratio[v];
    }
    return t;
}

static void distill_rows(void **state)
{
    (void)state;
    for (int divergence = 0; divergence < 3; ++divergence)
        for (int factor = 0; factor < 4; ++factor) {
            const ald_teacher_t teacher = {.beta = 0.3,
                                           .temperature = factor == 2 ? 0.7 : 1.0,
                                           .plausibility = factor == 3 ? 0.3 : 0.0,
                                           .divergence = (ald_divergence_t)divergence};
            rows_t r;
            rows_init(&r, 10);
            float z[V], lp[V], ratio[V];
            int32_t id[V];
            memcpy(z, r.z, sizeof z), memcpy(lp, r.lp, sizeof lp);
            memcpy(ratio, r.ratio, sizeof ratio);
            const twin_t t = twin_of(&teacher, 2.5 * factor - 1.0, &r);
            ald_position_t found = ald_distill_row(&teacher, t.factor, 0.4, V, lp, ratio, z);
            check_position(&t, r.z, z, 0.4, &found);
            /* A support of all tokens is the same. */
            memcpy(z, r.z, sizeof z);
            for (int v = 0; v < V; ++v) {
                id[v] = V - 1 - v;
                lp[v] = r.lp[V - 1 - v];
                ratio[v] = r.ratio[V - 1 - v];
            }
            const ald_support_t all = {V, id, lp, ratio, -INFINITY, -INFINITY};
            found = ald_distill_topk_row(&teacher, t.factor, 0.4, V, &all, z);
            check_position(&t, r.z, z, 0.4, &found);
            rows_reset(&r);
        }
}

static void check_support(int64_t K, ald_divergence_t divergence, double plausibility)
{
    const ald_teacher_t teacher = {
        .beta = 0.3, .temperature = 1.2, .divergence = divergence, .plausibility = plausibility};
    rows_t r;
    rows_init(&r, 20);
    float z[V], lp[V], ratio[V];
    int32_t id[V];
    double tail[2] = {0.0, 0.0};
    twin_t t = {
        .teacher = &teacher, .factor = 3.0, .outcomes = K + 1, .tokens = K, .group = r.group};
    for (int v = 0; v < V; ++v) {
        int place = (v * 13 + 5) % V; /* the support lies scattered */
        r.group[v] = place < K ? place : (int)K;
        if (place < K) {
            id[place] = v;
            t.logprob_dpo[place] = lp[place] = r.lp[v];
            t.log_ratio[place] = ratio[place] = r.ratio[v];
        } else {
            tail[0] += exp(r.lp[v]);
            tail[1] += exp((double)r.lp[v] - r.ratio[v]);
        }
    }
    t.logprob_dpo[K] = log(tail[0]);
    t.log_ratio[K] = log(tail[0]) - log(tail[1]);
    memcpy(z, r.z, sizeof z);
    const ald_support_t support = {K, id, lp, ratio, log(tail[0]), log(tail[1])};
    ald_position_t found = ald_distill_topk_row(&teacher, t.factor, 0.4, V, &support, z);
    check_position(&t, r.z, z, 0.4, &found);
    rows_reset(&r);
}

static void distill_supports(void **state)
{
    (void)state;
    const int64_t sizes[] = {1, 12, V - 1};
    for (int divergence = 0; divergence < 3; ++divergence)
        for (int i = 0; i < 6; ++i)
            check_support(sizes[i / 2], (ald_divergence_t)divergence, i % 2 == 0 ? 0.0 : 0.4);
}

static void far_teachers_stay_finite(void **state)
{
    /* Strong extrapolation drives the teacher to one token, a student to another. */
    (void)state;
    for (int divergence = 0; divergence < 3; ++divergence) {
        const ald_teacher_t teacher = {
            .beta = 0.1, .temperature = 1.0, .divergence = (ald_divergence_t)divergence};
        rows_t r;
        rows_init(&r, 30);
        r.z[3] += 300.0f;
        ald_position_t found = ald_distill_row(&teacher, 2000.0, 1.0, V, r.lp, r.ratio, r.z);
        assert_true(isfinite(found.divergence) && isfinite(found.kl_teacher) &&
                    isfinite(found.kl_dpo));
        for (int v = 0; v < V; ++v)
            assert_true(isfinite(r.z[v]));
        rows_reset(&r);
    }
}

static void rows_of_a_large_vocabulary(void **state)
{
    /* As many tokens as Qwen has, a student near its teacher: sums of many small terms. The slopes
     * are the closed forms, which distill_rows holds to central differences. */
    enum { N = 151936 };
    const double factor = 4.0;
    double *lp = ald_alloc(sizeof(double) * N), *lq = ald_alloc(sizeof(double) * N);
    double *slope = ald_alloc(sizeof(double) * N);
    (void)state;
    for (int divergence = 0; divergence < 3; ++divergence) {
        const ald_teacher_t teacher = {
            .beta = 0.1, .temperature = 1.0, .divergence = (ald_divergence_t)divergence};
        float *dpo = random_floats(1, N, 3.0), *ratio = random_floats(2, N, 0.05);
        float *z = random_floats(3, N, 0.1);
        for (int v = 0; v < N; ++v) {
            z[v] += dpo[v];
            ratio[v] += dpo[v];
        }
        ald_teacher_logits_row(N, dpo, ratio);
        double sums[4] = {0.0}, kl_dpo = 0.0, reward = 0.0, distance = 0.0;
        for (int v = 0; v < N; ++v) {
            lp[v] = z[v];
            lq[v] = dpo[v] + factor * ratio[v];
        }
        double lse_p = log_sum_exp(N, lp), lse_q = log_sum_exp(N, lq);
        for (int v = 0; v < N; ++v) {
            lp[v] -= lse_p;
            lq[v] -= lse_q;
            double p = exp(lp[v]), q = exp(lq[v]), lm = log(0.5 * (p + q));
            sums[0] += p * (lp[v] - lq[v]);
            sums[1] += q * (lq[v] - lp[v]);
            sums[2] += 0.5 * p * (lp[v] - lm) + 0.5 * q * (lq[v] - lm);
            sums[3] += p * (lp[v] - lm);
            kl_dpo += p * (lp[v] - dpo[v]);
            reward += 0.1 * p * ratio[v];
            distance += 0.5 * fabs(exp(dpo[v]) - exp((double)dpo[v] - ratio[v]));
        }
        for (int v = 0; v < N; ++v) {
            double p = exp(lp[v]), q = exp(lq[v]);
            slope[v] = divergence == 0   ? p * (lp[v] - lq[v] - sums[0])
                       : divergence == 1 ? p - q
                                         : 0.5 * p * (lp[v] - log(0.5 * (p + q)) - sums[3]);
        }
        expect_near("tvd", ald_tvd_row(N, dpo, ratio), distance, SUM_BOUND * distance);
        ald_position_t found = ald_distill_row(&teacher, factor, 1.0, N, dpo, ratio, z);
        expect_near("divergence", found.divergence, sums[divergence], SUM_BOUND * sums[divergence]);
        expect_near("kl_teacher", found.kl_teacher, sums[0], SUM_BOUND * sums[0]);
        expect_near("kl_dpo", found.kl_dpo, kl_dpo, 5.0 * SUM_BOUND * kl_dpo);
        expect_near("reward", found.reward, reward, 1e-6);
        expect_close("dz", N, z, slope, SUM_BOUND);
        ald_free(dpo), ald_free(ratio), ald_free(z);
    }
    ald_free(lp), ald_free(lq), ald_free(slope);
}

static void teacher_rows_and_distance(void **state)
{
    float *a = random_floats(1, V, 2.0), *b = random_floats(2, V, 2.0);
    double *a2 = to_doubles(a, V), *b2 = to_doubles(b, V), tvd = 0.0;
    double lse_a = log_sum_exp(V, a2), lse_b = log_sum_exp(V, b2);
    (void)state;
    ald_teacher_logits_row(V, a, b);
    for (int v = 0; v < V; ++v) {
        a2[v] -= lse_a;
        b2[v] -= lse_b;
        tvd += 0.5 * fabs(exp(a2[v]) - exp(b2[v]));
        b2[v] = a2[v] - b2[v];
    }
    expect_close("log pi_dpo", V, a, a2, 5e-7);
    expect_close("log ratio", V, b, b2, 5e-7);
    expect_near("tvd", ald_tvd_row(V, a, b), tvd, 1e-6);
    memset(b, 0, sizeof(float) * V);
    assert_true(ald_tvd_row(V, a, b) == 0.0f);
    for (int v = 0; v < V; ++v) { /* no token in common */
        a[v] = v == 0 ? 0.0f : -80.0f;
        b[v] = a[v] - (v == 1 ? 0.0f : -80.0f);
    }
    expect_near("tvd", ald_tvd_row(V, a, b), 1.0, 1e-6);
    assert_true(ald_tvd_row(V, a, b) <= 1.0f);
    ald_free(a), ald_free(b), ald_free(a2), ald_free(b2);
}

static void strength_factor_and_weight(void **state)
{
    const ald_teacher_t adaptive = {.strength = 20.0, .epsilon = 1e-3, .beta = 0.1};
    const ald_teacher_t constant = {.contrast = ALD_CONTRAST_REFERENCE,
                                    .extrapolation = ALD_EXTRAPOLATION_CONSTANT,
                                    .token_weight = ALD_TOKEN_WEIGHT_UNIFORM,
                                    .strength = 3.0};
    const ald_teacher_t none = {
        .extrapolation = ALD_EXTRAPOLATION_NONE, .strength = 20.0, .beta = 0.1};
    (void)state;
    expect_near("alpha", ald_teacher_alpha(&adaptive, 0.25), 5.001, 1e-12);
    expect_near("factor", ald_teacher_factor(&adaptive, 5.001), 5.001, 1e-12);
    expect_near("weight", ald_teacher_weight(&adaptive, 5.001), 0.1 / 5.001, 1e-15);
    expect_near("alpha", ald_teacher_alpha(&constant, 0.25), 3.0, 0.0);
    expect_near("factor", ald_teacher_factor(&constant, 3.0), 2.0,
                0.0); /* z_ref + 3 (z_dpo - z_ref) */
    expect_near("weight", ald_teacher_weight(&constant, 3.0), 1.0, 0.0);
    expect_near("alpha", ald_teacher_alpha(&none, 0.25), 1.0, 0.0);
    expect_near("factor", ald_teacher_factor(&none, 1.0), 0.0, 0.0);
    expect_near("weight", ald_teacher_weight(&none, 1.0), 0.1, 1e-15);
}

/* Of the positions of a response: each its own distance's, or the mean's. */
static void strengths_of_a_response(void **state)
{
    const float tvd[] = {0.25f, 0.5f, 0.0f};
    double alpha[3];
    ald_teacher_t teacher = {.strength = 4.0, .epsilon = 0.5};
    (void)state;
    ald_teacher_alphas(&teacher, 3, tvd, alpha);
    for (int i = 0; i < 3; ++i)
        expect_near("own", alpha[i], 4.0 * (double)tvd[i] + 0.5, 1e-15);
    teacher.granularity = ALD_GRANULARITY_RESPONSE;
    ald_teacher_alphas(&teacher, 3, tvd, alpha);
    for (int i = 0; i < 3; ++i)
        expect_near("mean", alpha[i], 4.0 * 0.25 + 0.5, 1e-15);
    teacher.granularity = ALD_GRANULARITY_AUTO; /* (0.75)^2 / (3 (0.25^2 + 0.5^2)) = 0.6: spread */
    expect_near("spread", ald_teacher_spread(3, tvd), 0.6, 1e-15);
    ald_teacher_alphas(&teacher, 3, tvd, alpha);
    expect_near("auto, spread", alpha[1], 4.0 * 0.25 + 0.5, 1e-15);
    const float few[] = {0.0f, 0.5f, 0.0f}, none[] = {0.0f, 0.0f, 0.0f};
    ald_teacher_alphas(&teacher, 3, few, alpha);
    expect_near("auto, concentrated", alpha[1], 4.0 * 0.5 + 0.5, 1e-15);
    expect_near("spread of nothing", ald_teacher_spread(3, none), 1.0, 0.0);
    teacher.extrapolation = ALD_EXTRAPOLATION_NONE;
    ald_teacher_alphas(&teacher, 3, tvd, alpha);
    for (int i = 0; i < 3; ++i)
        expect_near("none", alpha[i], 1.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(cross_entropy_row),
        SCRATCH_TEST(preference_losses),
        SCRATCH_TEST(preference_rewards),
        SCRATCH_TEST(rows_beside),
        SCRATCH_TEST(distill_rows),
        SCRATCH_TEST(distill_supports),
        SCRATCH_TEST(far_teachers_stay_finite),
        SCRATCH_TEST(rows_of_a_large_vocabulary),
        SCRATCH_TEST(teacher_rows_and_distance),
        SCRATCH_TEST(strength_factor_and_weight),
        SCRATCH_TEST(strengths_of_a_response),
    };
    return RUN_ON_LEVELS(tests);
}
