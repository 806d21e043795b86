/* Seconds from rates. Work of a role falls into pieces that a rank takes whole (micro-batches,
 * blocks, responses), so that twice the ranks aren't always twice as fast. */
#include "ald/plan/cost.h"

#include <math.h>
#include <stddef.h>

#include "ald/model/params.h"

const int ald_decode_counts[ALD_DECODE_POINTS] = {1, 4, 16, 48};

void ald_rates_assume(const ald_params_t *params, double response_share, int cores,
                      ald_rates_t *out)
{
    const ald_model_config_t *shape = &params->config;
    const double head = (double)(shape->vocab_size * shape->hidden_size);
    const double layers = (double)params->layer_floats * (double)shape->layers;
    const double speed = ALD_ASSUMED_FLOPS * cores, reading = ALD_ASSUMED_READING * cores;
    const double token = layers + response_share * head;
    *out = (ald_rates_t){.source = ALD_RATES_ASSUMED,
                         .train = 6.0 * token / speed,
                         .pair = 6.0 * token / speed,
                         .micro = 20.0 * (double)params->total / reading,
                         .update = 32.0 * (double)params->total / reading,
                         .lesson = 4.0 * head / speed,
                         .score = 4.0 * token / speed,
                         .prefill = 2.0 * layers / speed,
                         .writing = ALD_ASSUMED_WRITING,
                         .start = 1.0};
    for (int i = 0; i < ALD_DECODE_POINTS; ++i)
        out->decode[i] = fmax(4.0 * (layers + head) / reading,
                              2.0 * (layers + head) * (double)ald_decode_counts[i] / (0.5 * speed));
}

/* The members that are seconds of work. */
static const size_t seconds_of_work[] = {
    offsetof(ald_rates_t, train),     offsetof(ald_rates_t, pair),
    offsetof(ald_rates_t, micro),     offsetof(ald_rates_t, update),
    offsetof(ald_rates_t, lesson),    offsetof(ald_rates_t, score),
    offsetof(ald_rates_t, prefill),   offsetof(ald_rates_t, decode[0]),
    offsetof(ald_rates_t, decode[1]), offsetof(ald_rates_t, decode[2]),
    offsetof(ald_rates_t, decode[3])};
enum { SECONDS = sizeof seconds_of_work / sizeof *seconds_of_work };

static double *member(ald_rates_t *rates, int i)
{
    return (double *)((char *)rates + seconds_of_work[i]);
}

void ald_rates_scale_as(ald_rates_t *rates, const ald_rates_t *whole, const ald_rates_t *part)
{
    ald_rates_t large = *whole, small = *part;
    for (int i = 0; i < SECONDS; ++i)
        *member(rates, i) *= *member(&large, i) / *member(&small, i);
    rates->source = ALD_RATES_EXTRAPOLATED;
}

void ald_rates_scale(ald_rates_t *rates, double factor)
{
    for (int i = 0; i < SECONDS; ++i)
        *member(rates, i) *= factor;
    if (rates->source == ALD_RATES_MEASURED)
        rates->source = ALD_RATES_EXTRAPOLATED;
}

double ald_cost_decode(const ald_rates_t *rates, double count)
{
    int i = 1;
    if (count <= 1.0)
        return rates->decode[0];
    while (i + 1 < ALD_DECODE_POINTS && count > ald_decode_counts[i])
        ++i;
    const double low = ald_decode_counts[i - 1], high = ald_decode_counts[i];
    const double at = fmin((count - low) / (high - low), 1.0);
    return rates->decode[i - 1] + at * (rates->decode[i] - rates->decode[i - 1]);
}

double ald_cost_train(const ald_rates_t *rates, const ald_step_work_t *step, int trainers)
{
    const double rounds = ceil(step->micros / trainers - 1e-9);
    const double own = (step->pairs ? rates->pair : rates->train) * step->tokens +
                       (step->lessons ? rates->lesson * step->positions : 0.0);
    /* Sums of 8 bytes go to their owners, weights of 4 come back. */
    const double moved = 12.0 * step->parameters * (trainers - 1) / trainers;
    return rounds * (own / step->micros + rates->micro) + rates->update / trainers +
           moved / ALD_ASSUMED_NETWORK;
}

double ald_cost_score(const ald_rates_t *rates, const ald_step_work_t *step, int scorers)
{
    const double rounds = ceil((double)step->blocks / scorers - 1e-9);
    const double tokens = (double)step->items * (step->prompt + step->response - 1.0);
    return rounds / (double)step->blocks * tokens * rates->score;
}

double ald_cost_generate(const ald_rates_t *rates, const ald_step_work_t *step, int generators)
{
    const double most = ald_decode_counts[ALD_DECODE_POINTS - 1];
    const double mine = ceil((double)step->items / generators - 1e-9);
    const double at_once = fmin(mine, most);
    return mine * step->prompt * rates->prefill +
           mine / at_once * step->response * ald_cost_decode(rates, at_once);
}

/* The better of two, the first where they are alike. */
static void take_better(ald_split_t *best, ald_split_t other)
{
    if (other.seconds < best->seconds * (1.0 - 1e-9))
        *best = other;
}

static double joined(const double *seconds, int count, int64_t max_staleness)
{
    double most = 0.0, sum = 0.0;
    for (int i = 0; i < count; ++i) {
        most = seconds[i] > most ? seconds[i] : most;
        sum += seconds[i];
    }
    return max_staleness > 0 ? most : sum;
}

ald_split_t ald_plan_split(const ald_rates_t *rates, const ald_step_work_t *step, int ranks,
                           int64_t max_staleness)
{
    ald_split_t best = {.seconds = ald_cost_train(rates, step, ranks) +
                                   ald_cost_score(rates, step, ranks) +
                                   ald_cost_generate(rates, step, ranks)};
    for (int t = 1; t < ranks; ++t) {
        const int left = ranks - t;
        const double two[] = {ald_cost_train(rates, step, t),
                              ald_cost_score(rates, step, left) +
                                  ald_cost_generate(rates, step, left)};
        take_better(&best, (ald_split_t){t, 0, 0, joined(two, 2, max_staleness)});
        for (int s = 1; s < left; ++s) {
            const double three[] = {two[0], ald_cost_score(rates, step, s),
                                    ald_cost_generate(rates, step, left - s)};
            take_better(&best, (ald_split_t){t, s, left - s, joined(three, 3, max_staleness)});
        }
    }
    return best;
}
