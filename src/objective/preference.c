/* Losses of preference pairs. They are functions of few numbers a response, in double precision,
 * since sums over a response are large and their differences small. A loss is a curve over the
 * margin of two scores, and a row of the table says which scores. */
#include "ald/objective/preference.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"

/* Keys that not every loss is a function of. */
enum { SMOOTHING = 1, GAMMA = 2, ALPHA = 4, REFERENCE = 8 };

typedef struct {
    /* The loss at margin h; *slope becomes dloss/dh. */
    double (*curve)(const ald_preference_t *settings, double h, double *slope);
    ald_reference_use_t reference;
    int keys;
    bool by_length;    /* a score is of the mean log-probability */
    bool still_chosen; /* the preferred response's KL has no gradient */
} row_t;

/* log sigmoid(x) without overflow. */
static double log_sigmoid(double x)
{
    return x > 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

static double logistic(const ald_preference_t *settings, double h, double *slope)
{
    const double s = settings->smoothing, beta = settings->beta, x = beta * h - settings->gamma;
    const double wrong = exp(log_sigmoid(-x)); /* sigmoid(-x) */
    *slope = beta * (-(1.0 - s) * wrong + s * (1.0 - wrong));
    return -(1.0 - s) * log_sigmoid(x) - s * log_sigmoid(-x);
}

static double square(const ald_preference_t *settings, double h, double *slope)
{
    const double gap = h - 0.5 / settings->beta;
    *slope = 2.0 * gap;
    return gap * gap;
}

static double hinge(const ald_preference_t *settings, double h, double *slope)
{
    const double loss = 1.0 - settings->beta * h;
    *slope = loss > 0.0 ? -settings->beta : 0.0;
    return loss > 0.0 ? loss : 0.0;
}

static const row_t *row_of(ald_preference_loss_t loss)
{
    static const row_t rows[] = {
        [ALD_PREFERENCE_SIGMOID] = {logistic, ALD_REFERENCE_SUMS, REFERENCE | SMOOTHING},
        [ALD_PREFERENCE_IPO] = {square, ALD_REFERENCE_SUMS, REFERENCE},
        [ALD_PREFERENCE_HINGE] = {hinge, ALD_REFERENCE_SUMS, REFERENCE},
        [ALD_PREFERENCE_SIMPO] = {logistic, ALD_REFERENCE_NONE, GAMMA, .by_length = true},
        [ALD_PREFERENCE_CDPO] = {logistic, ALD_REFERENCE_SUMS, REFERENCE | SMOOTHING},
        [ALD_PREFERENCE_TDPO1] = {logistic, ALD_REFERENCE_ROWS, REFERENCE},
        [ALD_PREFERENCE_TDPO2] = {logistic, ALD_REFERENCE_ROWS, REFERENCE | ALPHA,
                                  .still_chosen = true},
    };
    return &rows[loss];
}

ald_reference_use_t ald_preference_reference(ald_preference_loss_t loss)
{
    return row_of(loss)->reference;
}

/* USAGE for a key that is set and that the loss isn't a function of. */
static ald_status_t check_keys(const ald_config_t *config, const ald_config_t *defaults)
{
    ald_status_t status = ALD_STATUS_OK;
    const struct {
        const char *key;
        int bit;
        bool set;
    } keys[] = {
        {"dpo.reference", REFERENCE, config->dpo.reference[0] != '\0'},
        {"dpo.label_smoothing", SMOOTHING,
         config->dpo.label_smoothing != defaults->dpo.label_smoothing},
        {"dpo.gamma", GAMMA, config->dpo.gamma != defaults->dpo.gamma},
        {"dpo.tdpo_alpha", ALPHA, config->dpo.tdpo_alpha != defaults->dpo.tdpo_alpha},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i)
        ALD_CHECK(!keys[i].set || (row_of(config->dpo.loss)->keys & keys[i].bit) != 0,
                  ALD_STATUS_USAGE, "%s: dpo.loss = \"%s\" doesn't use it; expected it not set",
                  keys[i].key, ald_choice_name(ALD_CHOICES_PREFERENCE_LOSSES, config->dpo.loss));
done:
    return status;
}

ald_status_t ald_preference_init(const ald_config_t *config, ald_preference_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_preference_loss_t loss = config->dpo.loss;
    const int keys = row_of(loss)->keys;
    ald_config_t defaults = {0};
    ALD_TRY(ald_config_load(NULL, NULL, 0, &defaults));
    ALD_TRY(check_keys(config, &defaults));
    ALD_CHECK(loss != ALD_PREFERENCE_CDPO ||
                  (config->dpo.label_smoothing > 0.0 && config->dpo.label_smoothing < 0.5),
              ALD_STATUS_USAGE,
              "dpo.label_smoothing: %g; dpo.loss = \"cdpo\" expects a value above 0 and below 0.5",
              config->dpo.label_smoothing);
    *out = (ald_preference_t){.loss = loss,
                              .beta = config->dpo.beta,
                              .smoothing = keys & SMOOTHING ? config->dpo.label_smoothing : 0.0,
                              .gamma = keys & GAMMA ? config->dpo.gamma : 0.0,
                              .alpha = keys & ALPHA ? config->dpo.tdpo_alpha : 0.0};
    if (loss == ALD_PREFERENCE_TDPO1)
        out->alpha = 1.0;
done:
    ald_config_reset(&defaults);
    return status;
}

ald_pair_loss_t ald_preference_loss(const ald_preference_t *settings, const ald_response_t pair[2])
{
    const row_t *row = row_of(settings->loss);
    ald_pair_loss_t out = {0};
    double share[2], score[2], slope;
    for (int side = 0; side < 2; ++side) {
        const ald_response_t *y = &pair[side];
        share[side] = row->by_length ? 1.0 / (double)y->length : 1.0;
        const double logprob = share[side] * (y->logprob - y->reference);
        score[side] = logprob + settings->alpha * y->kl;
        out.reward[side] = settings->beta * (logprob + y->kl);
    }
    out.loss = row->curve(settings, score[0] - score[1], &slope);
    for (int side = 0; side < 2; ++side) {
        const double d_score = side == 0 ? slope : -slope;
        out.d_logprob[side] = share[side] * d_score;
        if (row->reference == ALD_REFERENCE_ROWS && !(row->still_chosen && side == 0))
            out.d_kl[side] = settings->alpha * d_score;
    }
    return out;
}
