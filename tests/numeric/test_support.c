/* A support's choice against a sort, and the bounds of its error against the exact ones, position
 * by position. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/config/choices.h"
#include "ald/num/dtype.h"
#include "ald/teacher/support.h"
#include "ald/teacher/teacher.h"
#include "numeric.h"

enum { V = 300 };

static double log_sum_exp(int64_t n, const double *x)
{
    double top = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < n; ++i)
        top = x[i] > top ? x[i] : top;
    for (int64_t i = 0; i < n; ++i)
        sum += exp(x[i] - top);
    return top + log(sum);
}

/* A position as it comes back from a file. */
typedef struct {
    float *logprob, *ratio, *z; /* [V] */
    int32_t id[V];
    float lp[V], rho[V];
    float numbers[5], mass[ALD_KNOTS], least[ALD_KNOTS]; /* tails, A, extremes of rho */
    int64_t K;
} position_t;

static void round_halves(int64_t n, float *values)
{
    uint16_t bits[V];
    ald_f32_to_dtype(values, n, ALD_DTYPE_F16, bits);
    ald_dtype_row_to_f32(ALD_DTYPE_F16, bits, n, values);
}

/* Two teachers that differ by `spread`, a student beside the first. */
static void position_make(position_t *p, const ald_teacher_t *teacher, uint64_t stream, int64_t K,
                          double width, double spread)
{
    float *key = ald_alloc(sizeof(float) * V), *other = random_floats(stream + 1, V, spread);
    int32_t ids[V];
    p->K = K;
    p->logprob = random_floats(stream, V, width);
    p->z = random_floats(stream + 2, V, 0.5);
    p->ratio = other;
    for (int v = 0; v < V; ++v) {
        p->z[v] += p->logprob[v];
        p->ratio[v] += p->logprob[v];
    }
    ald_teacher_logits_row(V, p->logprob, p->ratio);
    const ald_support_rows_t rows = {
        p->id,
        p->lp,
        p->rho,
        &p->numbers[0],
        {&p->numbers[1], &p->numbers[2], p->mass, p->least, &p->numbers[3], &p->numbers[4]}};
    ald_support_make(teacher, (double)ald_tvd_row(V, p->logprob, p->ratio), V, K, p->logprob,
                     p->ratio, key, ids, &rows);
    ald_free(key);
}

static void position_reset(position_t *p)
{
    ald_free(p->logprob), ald_free(p->ratio), ald_free(p->z);
}

static ald_support_t stored_support(position_t *p)
{
    round_halves(p->K, p->lp);
    round_halves(p->K, p->rho);
    return (ald_support_t){
        p->K, p->id, p->lp, p->rho, (double)p->numbers[0], (double)p->numbers[1]};
}

/* log q over the first n tokens, and log p of the student. */
static void exact(const position_t *p, const ald_teacher_t *teacher, double a, int64_t n,
                  double *log_q, double *log_p)
{
    for (int64_t v = 0; v < n; ++v) {
        log_q[v] = ((double)p->logprob[v] + a * (double)p->ratio[v]) / teacher->temperature;
        log_p[v] = (double)p->z[v];
    }
    double q = log_sum_exp(n, log_q), s = log_sum_exp(n, log_p);
    for (int64_t v = 0; v < n; ++v) {
        log_q[v] -= q;
        log_p[v] -= s;
    }
}

/* The distances to the teacher that is made of the support: the variation with the bucket's mass
 * where it hurts most, and the difference of the reverse KLs. */
static ald_support_error_t actual(const position_t *p, const ald_teacher_t *teacher, double a,
                                  int64_t n, const ald_support_t *s)
{
    double log_q[V], log_p[V], made[V + 1], least = INFINITY, rest = 0.0, outside = 0.0;
    bool in[V] = {false}, bucket = isfinite(s->tail_dpo) && isfinite(s->tail_contrast);
    int64_t count = 0, tokens[V];
    ald_support_error_t out = {0.0, 0.0};
    exact(p, teacher, a, n, log_q, log_p);
    for (int64_t k = 0; k < s->count; ++k) {
        if (s->id[k] >= n)
            continue;
        in[s->id[k]] = true;
        tokens[count] = s->id[k];
        made[count++] =
            ((double)s->logprob_dpo[k] + a * (double)s->log_ratio[k]) / teacher->temperature;
    }
    bucket = bucket && count < n; /* as in the loss */
    made[count] = bucket
                      ? (s->tail_dpo + a * (s->tail_dpo - s->tail_contrast)) / teacher->temperature
                      : -INFINITY;
    double lse = log_sum_exp(count + 1, made);
    for (int64_t k = 0; k < count; ++k) {
        double q = made[k] - lse, lp = log_p[tokens[k]];
        out.variation += 0.5 * fabs(exp(log_q[tokens[k]]) - exp(q));
        out.reverse_kl += exp(lp) * (q - log_q[tokens[k]]);
    }
    for (int64_t v = 0; v < n; ++v) {
        if (in[v])
            continue;
        least = fmin(least, exp(log_q[v]));
        rest += exp(log_q[v]);
        outside += exp(log_p[v]);
        out.reverse_kl += exp(log_p[v]) * (log_p[v] - log_q[v]);
    }
    if (rest > 0.0) {
        double mass = exp(made[count] - lse);
        out.variation += 0.5 * (rest - least + fabs(mass - least));
        if (bucket)
            out.reverse_kl -= outside * (log(outside) - (made[count] - lse));
    }
    out.reverse_kl = fabs(out.reverse_kl);
    return out;
}

static void expect_bound(position_t *p, const ald_teacher_t *teacher, double a, int64_t n,
                         double *tightness)
{
    const ald_support_t support = stored_support(p);
    const ald_tail_t tail = {(double)p->numbers[2], p->mass, p->least, (double)p->numbers[3],
                             (double)p->numbers[4]};
    float before[V];
    memcpy(before, p->z, sizeof before);
    ald_support_error_t bound = ald_support_error(teacher, a, n, V, &support, &tail, p->z);
    ald_support_error_t found = actual(p, teacher, a, n, &support);
    assert_memory_equal(before, p->z, sizeof before);
    if (!(found.variation <= bound.variation + 1e-12) ||
        !(found.reverse_kl <= bound.reverse_kl + 1e-12))
        fail_msg("K %d, a %g of %g, tau %g, n %d: TV %g, bound %g; KL %g, bound %g", (int)p->K, a,
                 tail.alpha_max, teacher->temperature, (int)n, found.variation, bound.variation,
                 found.reverse_kl, bound.reverse_kl);
    assert_true(bound.variation <= 1.0);
    tightness[0] = fmax(tightness[0], found.variation / bound.variation);
    tightness[1] = fmax(tightness[1], found.reverse_kl / bound.reverse_kl);
}

/* A student of the tail token that the teacher likes least there: what a bound must expect. */
static void student_of_the_least(position_t *p, double a)
{
    bool in[V] = {false};
    int least = -1;
    for (int64_t k = 0; k < p->K; ++k)
        in[p->id[k]] = true;
    for (int v = 0; v < V; ++v)
        if (!in[v] && (least < 0 || (double)p->logprob[v] + a * (double)p->ratio[v] <
                                        (double)p->logprob[least] + a * (double)p->ratio[least]))
            least = v;
    if (least >= 0)
        p->z[least] += 60.0f;
}

static void bounds_hold_everywhere(void **state)
{
    const double widths[] = {0.3, 3.0, 12.0}, taus[] = {1.0, 0.6, 1.7};
    const double steps[] = {0.0, 0.01, 0.3, 0.5, 0.77, 1.0, 1.6, 5.0, -0.4};
    const int64_t supports[] = {1, 8, 64, V - 1, V};
    double tightness[2] = {0.0, 0.0};
    (void)state;
    for (int i = 0; i < 3 * 3 * 5 * 4; ++i) {
        const ald_teacher_t teacher = {
            .strength = i % 7 == 0 ? 0.0 : 15.0, .epsilon = 1e-3, .temperature = taus[i / 3 % 3]};
        position_t p;
        position_make(&p, &teacher, (uint64_t)(100 + 10 * i), supports[i / 9 % 5], widths[i % 3],
                      i / 45 == 0 ? 1e-4 : 0.2 * (i / 45));
        if (i % 2 == 1)
            student_of_the_least(&p, steps[i / 2 % 9] * (double)p.numbers[2]);
        for (int s = 0; s < 9; ++s)
            for (int64_t n = V; n > V / 2; n -= 120)
                expect_bound(&p, &teacher, steps[s] * (double)p.numbers[2], n, tightness);
        position_reset(&p);
    }
    assert_true(tightness[0] > 0.9 && tightness[1] > 0.9); /* some position comes close */
}

/* Where all of the teacher lies in the support, only the rounding is left. */
static void a_sharp_teacher_has_a_small_bound(void **state)
{
    const ald_teacher_t teacher = {.strength = 15.0, .epsilon = 1e-3, .temperature = 1.0};
    double unused[2] = {0.0, 0.0};
    position_t p;
    (void)state;
    position_make(&p, &teacher, 5, 100, 12.0, 0.05);
    const ald_support_t support = stored_support(&p);
    const ald_tail_t tail = {(double)p.numbers[2], p.mass, p.least, (double)p.numbers[3],
                             (double)p.numbers[4]};
    ald_support_error_t bound =
        ald_support_error(&teacher, tail.alpha_max, V, V, &support, &tail, p.z);
    assert_true(bound.variation < 5e-3 && bound.reverse_kl < 0.02);
    expect_bound(&p, &teacher, tail.alpha_max, V, unused);
    position_reset(&p);
}

/* A token that only the extrapolated teacher likes is in the support. */
static void the_support_follows_the_extrapolation(void **state)
{
    const ald_teacher_t plain = {.extrapolation = ALD_EXTRAPOLATION_NONE, .temperature = 1.0};
    const ald_teacher_t strong = {
        .extrapolation = ALD_EXTRAPOLATION_CONSTANT, .strength = 30.0, .temperature = 1.0};
    float logprob[V], ratio[V], key[V], lp[8], rho[8], numbers[5], mass[3], least[3];
    int32_t ids[V], id[8];
    const ald_support_rows_t rows = {
        id,
        lp,
        rho,
        &numbers[0],
        {&numbers[1], &numbers[2], mass, least, &numbers[3], &numbers[4]}};
    (void)state;
    for (int v = 0; v < V; ++v) {
        logprob[v] = v < 10 ? 5.0f - 0.01f * (float)v : 0.0f;
        ratio[v] = v == 77 ? -1.0f : logprob[v];
    }
    ald_teacher_logits_row(V, logprob, ratio);
    ald_support_make(&plain, 0.1, V, 8, logprob, ratio, key, ids, &rows);
    for (int k = 0; k < 8; ++k)
        assert_int_equal(id[k], k);
    ald_support_make(&strong, 0.1, V, 8, logprob, ratio, key, ids, &rows);
    assert_int_equal(id[0], 77);
    assert_int_equal(id[7], 6);
    assert_true(numbers[2] == 30.0f && numbers[4] < 0.1f);
}

/* A file may say anything about its tail. */
static void nonsense_gives_no_certificate(void **state)
{
    const ald_teacher_t teacher = {
        .extrapolation = ALD_EXTRAPOLATION_CONSTANT, .strength = 3.0, .temperature = 1.0};
    const float bad[] = {NAN, INFINITY, -INFINITY};
    position_t p;
    (void)state;
    position_make(&p, &teacher, 9, 8, 3.0, 0.1);
    const ald_support_t support = stored_support(&p);
    for (int i = 0; i < 3; ++i) {
        const float mass[ALD_KNOTS] = {p.mass[0], bad[i], p.mass[2]};
        const ald_tail_t tail = {3.0, mass, p.least, (double)p.numbers[3], (double)p.numbers[4]};
        ald_support_error_t bound = ald_support_error(&teacher, 2.0, V, V, &support, &tail, p.z);
        assert_true(bound.variation == 1.0 && bound.reverse_kl >= 1e30);
    }
    position_reset(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold_everywhere),
        cmocka_unit_test(a_sharp_teacher_has_a_small_bound),
        cmocka_unit_test(the_support_follows_the_extrapolation),
        cmocka_unit_test(nonsense_gives_no_certificate),
    };
    return RUN_ON_LEVELS(tests);
}
