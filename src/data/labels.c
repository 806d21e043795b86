/* The noise model of labels. Two numbers are fitted: more would need to know what models get wrong,
 * which nobody knows of a data file without a clean part. */
#include "ald/data/labels.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/pairs.h"

int64_t ald_labels_fold(const ald_text_t *prompt, uint64_t seed, int64_t folds)
{
    uint64_t hash = ald_rng_mix(seed, (uint64_t)prompt->count);
    for (int64_t i = 0; i < prompt->count; ++i)
        hash = ald_rng_mix(hash, (uint64_t)(uint32_t)prompt->ids[i]);
    return (int64_t)(hash % (uint64_t)folds);
}

/* --- the fit --------------------------------------------------------------------------------- */

enum { BLOCK = 4096 }; /* margins whose terms one thread adds up */

typedef struct {
    const double *margins;
    int64_t count;
    double *right; /* [count] p of each margin, at the scale at hand; owned, with the next */
    double *parts; /* sums of blocks */
} fit_t;

static double probability_right(double scale, double margin)
{
    return 1.0 / (1.0 + exp(-scale * fabs(margin)));
}

static void set_scale(const fit_t *fit, double log_scale)
{
    const double scale = exp(log_scale);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < fit->count; ++i)
        fit->right[i] = probability_right(scale, fit->margins[i]);
}

/* A term of a sum over the margins: of a margin that is right with the probability p. */
typedef double (*term_fn)(double margin, double p, double rate);

/* The sum of all terms, in one order on any number of threads. */
static double sum_of(const fit_t *fit, term_fn term, double rate)
{
    double sum = 0.0;
    const int64_t blocks = (fit->count + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t end = (b + 1) * BLOCK < fit->count ? (b + 1) * BLOCK : fit->count;
        fit->parts[b] = 0.0;
        for (int64_t i = b * BLOCK; i < end; ++i)
            if (fit->margins[i] != 0.0)
                fit->parts[b] += term(fit->margins[i], fit->right[i], rate);
    }
    for (int64_t b = 0; b < blocks; ++b)
        sum += fit->parts[b];
    return sum;
}

static double log_likelihood(double margin, double p, double rate)
{
    const double agrees = (1.0 - rate) * p + rate * (1.0 - p);
    return log(margin > 0.0 ? agrees : 1.0 - agrees);
}

static double likelihood(const fit_t *fit, double rate)
{
    return sum_of(fit, log_likelihood, rate);
}

/* The derivative of the above by the rate. */
static double log_slope(double margin, double p, double rate)
{
    const double agrees = (1.0 - rate) * p + rate * (1.0 - p);
    return margin > 0.0 ? (1.0 - 2.0 * p) / agrees : (2.0 * p - 1.0) / (1.0 - agrees);
}

static double slope(const fit_t *fit, double rate)
{
    return sum_of(fit, log_slope, rate);
}

/* The likeliest rate at the scale at hand, at which the likelihood is concave. */
static double best_rate(const fit_t *fit)
{
    double low = 0.0, high = 0.5;
    if (!(slope(fit, low) > 0.0))
        return low;
    if (slope(fit, high) > 0.0)
        return high;
    for (int k = 0; k < 36; ++k) {
        const double middle = 0.5 * (low + high);
        if (slope(fit, middle) > 0.0)
            low = middle;
        else
            high = middle;
    }
    return 0.5 * (low + high);
}

/* The likelihood at a scale; of a rate, or for a negative one of the likeliest. */
static double value_at(const fit_t *fit, double log_scale, double rate)
{
    set_scale(fit, log_scale);
    return likelihood(fit, rate < 0.0 ? best_rate(fit) : rate);
}

/* The likeliest scale in [low, high], by golden sections; *out becomes the likelihood there. */
static double best_scale(const fit_t *fit, double low, double high, double rate, double *out)
{
    enum { STEPS = 20 };
    const double part = 0.6180339887498949;
    double at[2] = {high - part * (high - low), low + part * (high - low)};
    double value[2] = {value_at(fit, at[0], rate), value_at(fit, at[1], rate)};
    for (int k = 0; k < STEPS; ++k) {
        if (value[1] > value[0]) {
            low = at[0];
            at[0] = at[1], value[0] = value[1];
            at[1] = low + part * (high - low);
            value[1] = value_at(fit, at[1], rate);
        } else {
            high = at[1];
            at[1] = at[0], value[1] = value[0];
            at[0] = high - part * (high - low);
            value[0] = value_at(fit, at[0], rate);
        }
    }
    *out = value[0] > value[1] ? value[0] : value[1];
    return value[0] > value[1] ? at[0] : at[1];
}

/* The likelihood at the best scale, which *log_scale becomes: the best of some, and what is near
 * it, as there may be several hills. `unit` is a margin's mean size. */
static double profile(const fit_t *fit, double unit, double rate, double *log_scale)
{
    const double step = 0.7, middle = -log(unit);
    double best = -INFINITY, at = middle, found;
    for (int k = -10; k <= 10; ++k) {
        const double value = value_at(fit, middle + k * step, rate);
        if (value > best) {
            best = value;
            at = middle + k * step;
        }
    }
    *log_scale = best_scale(fit, at - step, at + step, rate, &found);
    return found;
}

/* The rate between `inside` and `outside` at which the profile likelihood falls below `least`. */
static double find_bound(const fit_t *fit, double unit, double inside, double outside, double least)
{
    double scale;
    if (profile(fit, unit, outside, &scale) >= least)
        return outside;
    for (int k = 0; k < 16; ++k) {
        const double middle = 0.5 * (inside + outside);
        if (profile(fit, unit, middle, &scale) >= least)
            inside = middle;
        else
            outside = middle;
    }
    return 0.5 * (inside + outside);
}

/* Mean of the margins' sizes: the unit in which scales are looked for. */
static double mean_size(const double *margins, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; ++i)
        sum += fabs(margins[i]);
    return count > 0 ? sum / (double)count : 0.0;
}

static void fit_noise(const fit_t *fit, double unit, ald_noise_t *out)
{
    const double half_chi2 = 1.920729410347062; /* chi2 of 1 degree at 95%, halved */
    double scale;
    const double least = profile(fit, unit, -1.0, &scale) - half_chi2;
    set_scale(fit, scale);
    const double rate = best_rate(fit);
    out->scale = exp(scale);
    out->rate = (ald_interval_t){rate, find_bound(fit, unit, rate, 0.0, least),
                                 find_bound(fit, unit, rate, 0.5, least), fit->count};
}

ald_status_t ald_noise_fit(const double *margins, int64_t count, ald_noise_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const double unit = mean_size(margins, count);
    const size_t bytes = sizeof(double) * (size_t)(count + count / BLOCK + 2);
    fit_t fit = {margins, count, ald_alloc(bytes), NULL};
    ALD_CHECK_MEMORY(fit.right, bytes);
    ALD_CHECK(unit > 0.0, ALD_STATUS_INPUT,
              "the margins of all %lld pairs are 0: nothing tells their answers apart",
              (long long)count);
    fit.parts = fit.right + count;
    fit_noise(&fit, unit, out);
done:
    ald_free(fit.right);
    return status;
}

double ald_noise_flipped(const ald_noise_t *noise, double margin)
{
    const double p = probability_right(noise->scale, margin), e = noise->rate.value;
    const double wrong = margin < 0.0 ? p : 1.0 - p; /* that the margin says so of a flipped one */
    return e * wrong / (e * wrong + (1.0 - e) * (1.0 - wrong));
}

/* --- the exchange ---------------------------------------------------------------------------- */

bool ald_labels_can_exchange(ald_layout_t layout)
{
    return layout == ALD_LAYOUT_PAIRS || layout == ALD_LAYOUT_ULTRAFEEDBACK ||
           layout == ALD_LAYOUT_IMPLICIT || layout == ALD_LAYOUT_HH ||
           layout == ALD_LAYOUT_SHAREGPT || layout == ALD_LAYOUT_ALPACA;
}

/* Puts into `out` (bytes) a member's name with "rejected" for "chosen", or the other way round; the
 * name itself where it has neither. */
static ald_status_t other_name(const char *name, ald_vec_t *out)
{
    static const char *const words[] = {"chosen", "rejected"};
    out->count = 0;
    for (int k = 0; k < 2; ++k) {
        const char *found = strstr(name, words[k]);
        if (found != NULL)
            return ald_vec_printf(out, "%.*s%s%s", (int)(found - name), name, words[1 - k],
                                  found + strlen(words[k]));
    }
    return ald_vec_printf(out, "%s", name);
}

/* The two texts of Alpaca's "output" in the other order. */
static ald_json_t *turn_round(const ald_json_t *list)
{
    ald_json_t *out = ald_json_new_array();
    for (size_t i = ald_json_count(list); i-- > 0;)
        ald_json_push(out, ald_json_share(ald_json_at(list, i)));
    return out;
}

static bool has_both(const ald_json_t *row, const char *chosen, const char *rejected)
{
    return (ald_json_get(row, chosen) != NULL) == (ald_json_get(row, rejected) != NULL);
}

ald_status_t ald_labels_exchange(const ald_json_t *row, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *output = ald_json_get(row, "output"), *value;
    const bool list = ald_json_is_array(output) && ald_json_count(output) == 2;
    const char *name;
    void *iterator = NULL;
    ald_vec_t other;
    ald_vec_init(&other, 1);
    *out = NULL;
    const bool named =
        ald_json_get(row, "chosen") != NULL || ald_json_get(row, "chosen_text") != NULL;
    if (!has_both(row, "chosen", "rejected") || !has_both(row, "chosen_text", "rejected_text") ||
        named == list)
        return status;
    *out = ald_json_new_object();
    while (ald_json_next(row, &iterator, &name, &value)) {
        ALD_TRY(other_name(name, &other));
        const ald_json_t *found = ald_json_get(row, other.data);
        if (list && value == output)
            ald_json_set(*out, name, turn_round(output));
        else if (found != NULL)
            ald_json_set(*out, name, ald_json_share(found));
        else
            ald_json_set(*out, other.data, ald_json_share(value));
    }
done:
    if (status != ALD_STATUS_OK) {
        ald_json_free(*out);
        *out = NULL;
    }
    ald_vec_reset(&other);
    return status;
}
