#include "ald/teacher/loss.h"

#include <math.h>
#include <string.h>

#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/num/kernel.h"
#include "ald/num/ops.h"

void ald_teacher_init(const ald_config_t *config, ald_teacher_t *out)
{
    *out = (ald_teacher_t){
        .reference = config->teacher.contrast == ALD_CONTRAST_REFERENCE,
        .none = config->teacher.extrapolation == ALD_EXTRAPOLATION_NONE,
        .adaptive = config->teacher.extrapolation == ALD_EXTRAPOLATION_ADAPTIVE,
        .weighted = config->distill.token_weight == ALD_TOKEN_WEIGHT_BETA,
        .by_sequence = config->distill.granularity == ALD_GRANULARITY_SEQUENCE,
        .length_normalize = config->distill.length_normalize,
        .strength = config->teacher.strength,
        .epsilon = config->teacher.epsilon,
        .beta = config->teacher.beta,
        .temperature = config->teacher.temperature,
        .divergence = config->distill.divergence,
    };
}

double ald_teacher_alpha(const ald_teacher_t *teacher, double tvd)
{
    if (teacher->none)
        return 1.0;
    return teacher->adaptive ? teacher->strength * tvd + teacher->epsilon : teacher->strength;
}

void ald_teacher_alphas(const ald_teacher_t *teacher, int64_t count, const float *tvd,
                        double *alpha)
{
    double mean = 0.0;
    for (int64_t i = 0; i < count; ++i)
        mean += tvd[i] / (double)count;
    for (int64_t i = 0; i < count; ++i)
        alpha[i] = ald_teacher_alpha(teacher, teacher->by_sequence ? mean : tvd[i]);
}

double ald_teacher_factor(const ald_teacher_t *teacher, double alpha)
{
    if (teacher->none)
        return 0.0;
    return teacher->reference ? alpha - 1.0 : alpha;
}

double ald_teacher_weight(const ald_teacher_t *teacher, double alpha)
{
    return teacher->weighted ? teacher->beta / alpha : 1.0;
}

/* Student log-probabilities in place of z; teacher logits log pi_dpo + a ratio over tau in place of
 * log pi_dpo. Sums reward and KL to pi_dpo on the way. */
ALD_CLONES
static void compose(int64_t V, float lse, float a, float inverse_tau, float *z, float *logprob_dpo,
                    const float *log_ratio, double *reward, double *kl_dpo)
{
    double r = 0.0, k = 0.0;
    for (int64_t start = 0; start < V; start += 4096) {
        int64_t end = start + 4096 < V ? start + 4096 : V;
        float rs = 0.0f, ks = 0.0f;
#pragma omp simd reduction(+ : rs, ks)
        for (int64_t v = start; v < end; ++v) {
            float lp = z[v] - lse, p = ald_expf(lp), ld = logprob_dpo[v], ratio = log_ratio[v];
            rs += p * ratio;
            ks += p * (lp - ld);
            z[v] = lp;
            logprob_dpo[v] = (ld + a * ratio) * inverse_tau;
        }
        r += rs;
        k += ks;
    }
    *reward = r;
    *kl_dpo = k;
}

/* Sums over outcomes o of the three divergences' terms; lp and lq log-probabilities. For jsd the
 * first sum is KL(p || m), needed by the gradient. */
typedef struct {
    double reverse, forward, to_mixture, from_teacher;
} sums_t;

#define LN2    0.693147181f
#define INLINE static inline __attribute__((always_inline))

INLINE void reverse_block(int64_t n, const float *lp, const float *t, float lse_t, sums_t *s)
{
    float reverse = 0.0f;
#pragma omp simd reduction(+ : reverse)
    for (int64_t v = 0; v < n; ++v)
        reverse += ald_expf(lp[v]) * (lp[v] - (t[v] - lse_t));
    s->reverse += reverse;
}

INLINE void forward_block(int64_t n, const float *lp, const float *t, float lse_t, sums_t *s)
{
    float reverse = 0.0f, forward = 0.0f;
#pragma omp simd reduction(+ : reverse, forward)
    for (int64_t v = 0; v < n; ++v) {
        float ratio = lp[v] - (t[v] - lse_t);
        reverse += ald_expf(lp[v]) * ratio;
        forward -= ald_expf(t[v] - lse_t) * ratio;
    }
    s->reverse += reverse;
    s->forward += forward;
}

/* log m is log(p + q) - log 2: half of the least that ald_expf gives isn't normal. */
INLINE void jsd_block(int64_t n, const float *lp, const float *t, float lse_t, sums_t *s)
{
    float reverse = 0.0f, pm = 0.0f, qm = 0.0f;
#pragma omp simd reduction(+ : reverse, pm, qm)
    for (int64_t v = 0; v < n; ++v) {
        float lq = t[v] - lse_t, p = ald_expf(lp[v]), q = ald_expf(lq);
        float lm = ald_logf(p + q) - LN2;
        reverse += p * (lp[v] - lq);
        pm += p > 0.0f ? p * (lp[v] - lm) : 0.0f;
        qm += q > 0.0f ? q * (lq - lm) : 0.0f;
    }
    s->reverse += reverse;
    s->to_mixture += pm;
    s->from_teacher += qm;
}

/* The sums that the divergence needs, and always `reverse`. Blocks in float, their sums in double.
 */
ALD_CLONES
static sums_t divergence_sums(int64_t V, ald_divergence_t divergence, const float *lp,
                              const float *t, float lse_t)
{
    sums_t s = {0};
    for (int64_t at = 0; at < V; at += 4096) {
        int64_t n = V - at < 4096 ? V - at : 4096;
        if (divergence == ALD_DIVERGENCE_REVERSE)
            reverse_block(n, lp + at, t + at, lse_t, &s);
        else if (divergence == ALD_DIVERGENCE_FORWARD)
            forward_block(n, lp + at, t + at, lse_t, &s);
        else
            jsd_block(n, lp + at, t + at, lse_t, &s);
    }
    return s;
}

/* lp becomes scale * dL/dz:
 *   reverse  p ((lp - lq) - KL)      forward  p - q      jsd  p/2 (log(p/m) - KL(p || m)) */
ALD_CLONES
static void reverse_gradient(int64_t V, float scale, float kl, float lse_t, const float *t,
                             float *lp)
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        lp[v] = scale * ald_expf(lp[v]) * (lp[v] - (t[v] - lse_t) - kl);
}

ALD_CLONES
static void forward_gradient(int64_t V, float scale, float lse_t, const float *t, float *lp)
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v)
        lp[v] = scale * (ald_expf(lp[v]) - ald_expf(t[v] - lse_t));
}

ALD_CLONES
static void jsd_gradient(int64_t V, float scale, float kl, float lse_t, const float *t, float *lp)
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) {
        float p = ald_expf(lp[v]), lm = ald_logf(p + ald_expf(t[v] - lse_t)) - LN2;
        lp[v] = p > 0.0f ? scale * 0.5f * p * (lp[v] - lm - kl) : 0.0f;
    }
}

static double chosen_divergence(ald_divergence_t divergence, const sums_t *s)
{
    return divergence == ALD_DIVERGENCE_REVERSE   ? s->reverse
           : divergence == ALD_DIVERGENCE_FORWARD ? s->forward
                                                  : 0.5 * (s->to_mixture + s->from_teacher);
}

ald_position_t ald_distill_row(const ald_teacher_t *teacher, double factor, double scale, int64_t V,
                               float *logprob_dpo, float *log_ratio, float *z)
{
    ald_position_t out;
    double reward, kl_dpo;
    compose(V, ald_logsumexp(V, z), (float)factor, (float)(1.0 / teacher->temperature), z,
            logprob_dpo, log_ratio, &reward, &kl_dpo);
    float lse_t = ald_logsumexp(V, logprob_dpo);
    sums_t s = divergence_sums(V, teacher->divergence, z, logprob_dpo, lse_t);
    out = (ald_position_t){chosen_divergence(teacher->divergence, &s), s.reverse, kl_dpo,
                           teacher->beta * reward};
    if (teacher->divergence == ALD_DIVERGENCE_REVERSE)
        reverse_gradient(V, (float)scale, (float)s.reverse, lse_t, logprob_dpo, z);
    else if (teacher->divergence == ALD_DIVERGENCE_FORWARD)
        forward_gradient(V, (float)scale, lse_t, logprob_dpo, z);
    else
        jsd_gradient(V, (float)scale, (float)s.to_mixture, lse_t, logprob_dpo, z);
    return out;
}

/* exp(lp) of every token in place of z; returns the mass outside the support, by summing what lies
 * there (1 - inside would cancel). */
static double support_split(int64_t V, int64_t K, const int32_t *id, float lse, float *z,
                            float *inside)
{
    ald_exp_shifted(V, z, lse, z);
    for (int64_t k = 0; k < K; ++k) {
        inside[k] = z[id[k]];
        z[id[k]] = 0.0f;
    }
    double outside = 0.0;
    for (int64_t v = 0; v < V; ++v)
        outside += z[v];
    for (int64_t k = 0; k < K; ++k)
        z[id[k]] = inside[k];
    return outside;
}

/* dL/d(log p_o) pieces of one outcome: what each of its tokens' p is multiplied by. */
static double outcome_slope(ald_divergence_t divergence, const sums_t *s, double lp, double lq)
{
    double p = exp(lp), q = exp(lq);
    switch (divergence) {
    case ALD_DIVERGENCE_FORWARD:
        return 1.0 - (p > 0.0 ? q / p : 0.0);
    case ALD_DIVERGENCE_JSD:
        return 0.5 * (lp - log(0.5 * (p + q)) - s->to_mixture);
    default:
        return lp - lq - s->reverse;
    }
}

static void add_outcome(sums_t *s, double lp, double lq)
{
    double p = exp(lp), q = exp(lq), m = 0.5 * (p + q);
    if (p > 0.0) {
        s->reverse += p * (lp - lq);
        s->to_mixture += p * (lp - log(m));
    }
    if (q > 0.0) {
        s->forward += q * (lq - lp);
        s->from_teacher += q * (lq - log(m));
    }
}

ald_position_t ald_distill_topk_row(const ald_teacher_t *teacher, double factor, double scale,
                                    int64_t V, const ald_support_t *support, float *z)
{
    const int64_t K = support->count;
    const int32_t *id = support->id;
    const float *logprob_dpo = support->logprob_dpo, *log_ratio = support->log_ratio;
    const double tail_dpo = support->tail_dpo, tail_reverse = support->tail_reverse;
    float inside[K + 1];
    double lq[K + 1], lse = ald_logsumexp(V, z), top = -INFINITY, total = 0.0;
    double outside = support_split(V, K, id, (float)lse, z, inside);
    bool tail = isfinite(tail_dpo) && isfinite(tail_reverse) && K < V;
    double tail_ratio = tail ? tail_dpo - tail_reverse : 0.0;
    double tail_lp = outside > 1e-30 ? log(outside) : log(1e-30);
    ald_position_t out = {0};
    for (int64_t k = 0; k < K; ++k)
        lq[k] = (logprob_dpo[k] + factor * log_ratio[k]) / teacher->temperature;
    lq[K] = tail ? (tail_dpo + factor * tail_ratio) / teacher->temperature : -INFINITY;
    for (int64_t k = 0; k <= K; ++k)
        top = lq[k] > top ? lq[k] : top;
    for (int64_t k = 0; k <= K; ++k)
        total += exp(lq[k] - top);
    sums_t s = {0};
    for (int64_t k = 0; k <= K; ++k)
        lq[k] -= top + log(total);
    for (int64_t k = 0; k < K; ++k) {
        double lp = inside[k] > 1e-30f ? log(inside[k]) : log(1e-30);
        add_outcome(&s, lp, lq[k]);
        out.reward += teacher->beta * inside[k] * log_ratio[k];
        out.kl_dpo += inside[k] * (lp - logprob_dpo[k]);
    }
    if (tail) {
        add_outcome(&s, tail_lp, lq[K]);
        out.reward += teacher->beta * outside * tail_ratio;
        out.kl_dpo += outside * (tail_lp - tail_dpo);
    }
    double slope = tail ? outcome_slope(teacher->divergence, &s, tail_lp, lq[K]) : 0.0;
    for (int64_t v = 0; v < V; ++v)
        z[v] *= (float)(scale * slope);
    for (int64_t k = 0; k < K; ++k) {
        double lp = inside[k] > 1e-30f ? log(inside[k]) : log(1e-30);
        z[id[k]] = (float)(scale * inside[k] * outcome_slope(teacher->divergence, &s, lp, lq[k]));
    }
    out.divergence = chosen_divergence(teacher->divergence, &s);
    out.kl_teacher = s.reverse;
    return out;
}

ALD_CLONES
static void logits_to_ratio(int64_t V, float lse_dpo, float lse_c, float *z_dpo, float *z_c)
{
#pragma omp simd
    for (int64_t v = 0; v < V; ++v) {
        float lp = z_dpo[v] - lse_dpo;
        z_c[v] = lp - (z_c[v] - lse_c);
        z_dpo[v] = lp;
    }
}

void ald_teacher_logits_row(int64_t V, float *z_dpo, float *z_c)
{
    logits_to_ratio(V, ald_logsumexp(V, z_dpo), ald_logsumexp(V, z_c), z_dpo, z_c);
}

void ald_teacher_restrict_row(int64_t V, float *logprob_dpo, float *log_ratio)
{
    for (int64_t v = 0; v < V; ++v) /* back to log pi_c */
        log_ratio[v] = logprob_dpo[v] - log_ratio[v];
    ald_teacher_logits_row(V, logprob_dpo, log_ratio);
}

void ald_support_restrict(int64_t V, ald_support_t *support, int32_t *id, float *kept)
{
    const int64_t K = support->count;
    float *logprob = kept, *ratio = kept + K;
    double mass_dpo = exp(support->tail_dpo), mass_c = exp(support->tail_reverse);
    int64_t count = 0;
    for (int64_t k = 0; k < K; ++k) {
        if (support->id[k] >= V)
            continue;
        id[count] = support->id[k];
        logprob[count] = support->logprob_dpo[k];
        ratio[count++] = support->log_ratio[k];
        mass_dpo += exp(support->logprob_dpo[k]);
        mass_c += exp(support->logprob_dpo[k] - support->log_ratio[k]);
    }
    for (int64_t k = 0; k < count; ++k) {
        logprob[k] -= (float)log(mass_dpo);
        ratio[k] -= (float)(log(mass_dpo) - log(mass_c));
    }
    *support = (ald_support_t){.count = count,
                               .id = id,
                               .logprob_dpo = logprob,
                               .log_ratio = ratio,
                               .tail_dpo = support->tail_dpo - log(mass_dpo),
                               .tail_reverse = support->tail_reverse - log(mass_c)};
}

ALD_CLONES
float ald_tvd_row(int64_t V, const float *logprob_dpo, const float *log_ratio)
{
    double total = 0.0;
    for (int64_t start = 0; start < V; start += 4096) {
        int64_t end = start + 4096 < V ? start + 4096 : V;
        float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int64_t v = start; v < end; ++v) {
            float d = ald_expf(logprob_dpo[v]) - ald_expf(logprob_dpo[v] - log_ratio[v]);
            sum += d < 0.0f ? -d : d;
        }
        total += sum;
    }
    return total < 2.0 ? (float)(0.5 * total) : 1.0f;
}
