/* The account of an on-policy run. Work is taken as divisible: a role's seconds times its ranks are
 * spread over other numbers of ranks; what is said is therefore an estimate, and says so. */
#include "role/account_impl.h"

#include <stdio.h>

#include "ald/base/log.h"
#include "ald/record/metrics.h"
#include "ald/role/placement.h"
#include "role/work_impl.h"

static const struct {
    const char *name, *wait, *work, *speed; /* of metrics; NULL: another metric says so */
} roles[] = {
    [ALD_ROLE_GENERATOR] = {"generate", "wait/generate", "work/generate", "throughput/generate"},
    [ALD_ROLE_SCORER] = {"score", "wait/score", "work/score", "throughput/score"},
    [ALD_ROLE_TRAINER] = {"train", "wait/train", "work/train", NULL},
};

void ald_account_add(ald_account_t *account, const ald_shift_t shifts[ALD_ROLE_COUNT],
                     ald_metrics_t *metrics)
{
    for (ald_role_t r = 0; r < ALD_ROLE_COUNT; ++r) {
        const ald_shift_t *shift = &shifts[r];
        account->work[r] += shift->work;
        ald_metrics_set(metrics, roles[r].wait, shift->wait);
        ald_metrics_set(metrics, roles[r].work, shift->work);
        if (roles[r].speed != NULL)
            ald_metrics_set(metrics, roles[r].speed,
                            shift->work > 0.0 ? shift->tokens / shift->work : 0.0);
    }
}

/* The seconds of a run with so many ranks a role, whose loads are rank-seconds. With staleness the
 * roles work side by side, and the slowest decides; without it one after the other. */
static double seconds_of(const double load[ALD_ROLE_COUNT], const int ranks[ALD_ROLE_COUNT],
                         bool beside)
{
    double slowest = 0.0, sum = 0.0;
    for (ald_role_t r = 0; r < ALD_ROLE_COUNT; ++r) {
        const double own = load[r] / ranks[r];
        slowest = own > slowest ? own : slowest;
        sum += own;
    }
    return beside ? slowest : sum;
}

/* Sets `best` to the fastest split of so many ranks and returns its seconds. */
static double best_split(const double load[ALD_ROLE_COUNT], int size, bool beside,
                         int best[ALD_ROLE_COUNT])
{
    double least = -1.0;
    for (int g = 1; g <= size - 2; ++g)
        for (int s = 1; s <= size - 1 - g; ++s) {
            const int ranks[ALD_ROLE_COUNT] = {size - g - s, s, g};
            const double seconds = seconds_of(load, ranks, beside);
            if (least >= 0.0 && seconds >= least)
                continue;
            least = seconds;
            for (ald_role_t r = 0; r < ALD_ROLE_COUNT; ++r)
                best[r] = ranks[r];
        }
    return least;
}

void ald_account_say(const ald_account_t *account, const ald_placement_t *place, int64_t staleness,
                     double seconds)
{
    const int ranks[ALD_ROLE_COUNT] = {place->trainers.count, place->scorers.count,
                                       place->generators.count};
    const double *work = account->work;
    double load[ALD_ROLE_COUNT];
    int best[ALD_ROLE_COUNT] = {0};
    ald_role_t slowest = 0;
    char advice[160] = "no other split of the ranks would be faster by a tenth";
    const bool apart = place->trainers.first != place->scorers.first &&
                       place->scorers.first != place->generators.first &&
                       place->trainers.first != place->generators.first;
    for (ald_role_t r = 0; r < ALD_ROLE_COUNT; ++r) {
        load[r] = work[r] * ranks[r];
        slowest = work[r] > work[slowest] ? r : slowest;
    }
    if (!apart || work[ALD_ROLE_TRAINER] == 0.0)
        return;
    const double now = seconds_of(load, ranks, staleness > 0);
    const double then = best_split(load, ranks[0] + ranks[1] + ranks[2], staleness > 0, best);
    if (then < 0.9 * now)
        snprintf(advice, sizeof advice,
                 "about %.2f of the time with roles.trainers = %d, scorers = %d, generators = %d",
                 then / now, best[ALD_ROLE_TRAINER], best[ALD_ROLE_SCORER],
                 best[ALD_ROLE_GENERATOR]);
    ald_log_info("distill: of %.1f s the busiest generator worked %.1f, scorer %.1f, trainer %.1f: "
                 "the bottleneck was to %s; %s",
                 seconds, work[ALD_ROLE_GENERATOR], work[ALD_ROLE_SCORER], work[ALD_ROLE_TRAINER],
                 roles[slowest].name, advice);
}
