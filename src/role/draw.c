/* The items of an on-policy step. They are drawn by every rank that works on them, which is less
 * than a message would take. */
#include "role/draw_impl.h"

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/role/placement.h"
#include "ald/role/roles.h"
#include "ald/shard/format.h"
#include "ald/train/order.h"

/* Streams of random numbers apart from those of samples. Any two numbers would do; these are
 * "mixed" and "both" in ASCII. */
enum { STREAM_MIXED = 0x6d69786564, STREAM_BOTH = 0x626f7468 };

ald_status_t ald_draw_init(const ald_roles_t *roles, int64_t *order, ald_draw_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t most = roles->config->optimizer.batch_size;
    *out = (ald_draw_t){
        .roles = roles, .step = -1, .size = ald_placement_block(roles->config), .order = order};
    out->steps = ald_total_steps(roles->config, roles->data.pairs.count);
    out->items = ald_alloc(sizeof *out->items * (size_t)most);
    ALD_CHECK(out->items != NULL, ALD_STATUS_RESOURCE, "out of memory: the rows of a step");
done:
    return status;
}

void ald_draw_reset(ald_draw_t *draw)
{
    ald_free(draw->items);
    *draw = (ald_draw_t){0};
}

void ald_draw_step(ald_draw_t *draw, int64_t step)
{
    draw->step = step;
    draw->count = ald_step_items(draw->roles->config, draw->roles->data.pairs.count, step,
                                 draw->order, draw->items);
    draw->blocks = (draw->count + draw->size - 1) / draw->size;
}

const ald_pair_t *ald_draw_pair(const ald_draw_t *draw, int64_t item)
{
    return &draw->roles->data.pairs.rows[draw->items[item]];
}

/* The share of the step's items that are sampled. */
static double share_of(const ald_draw_t *draw)
{
    const double *share = draw->roles->config->distill.on_policy_fraction;
    const double last = (double)(draw->steps > 1 ? draw->steps - 1 : 1);
    return share[0] + (share[1] - share[0]) * ((double)draw->step / last);
}

bool ald_draw_is_sampled(const ald_draw_t *draw, int64_t item)
{
    const ald_config_t *config = draw->roles->config;
    if (config->distill.mode != ALD_MODE_MIXED)
        return true;
    const double u = ald_rng_uniform(
        (uint64_t)config->seed, ald_rng_mix(STREAM_MIXED, (uint64_t)draw->step), (uint64_t)item);
    return u < share_of(draw);
}

/* Whether the data's response to an item that isn't sampled is the rejected one. */
static bool is_rejected(const ald_draw_t *draw, int64_t item)
{
    const ald_config_t *config = draw->roles->config;
    if (config->data.responses != ALD_RESPONSES_BOTH)
        return config->data.responses == ALD_RESPONSES_REJECTED;
    return ald_rng_uniform((uint64_t)config->seed, ald_rng_mix(STREAM_BOTH, (uint64_t)draw->step),
                           (uint64_t)item) < 0.5;
}

ald_scored_t ald_draw_sequence(const ald_draw_t *draw, int64_t item)
{
    const ald_pair_t *pair = ald_draw_pair(draw, item);
    ald_scored_t out = {.id = pair->id,
                        .prompt = pair->prompt.text,
                        .prompt_ids = pair->prompt.ids,
                        .prompt_count = pair->prompt.count};
    if (ald_draw_is_sampled(draw, item))
        return out;
    const bool rejected = is_rejected(draw, item);
    const ald_text_t *response = rejected ? &pair->rejected : &pair->chosen;
    out.source = rejected ? ALD_SOURCE_REJECTED : ALD_SOURCE_CHOSEN;
    out.response = response->text;
    out.response_ids = response->ids;
    out.response_count = response->count;
    return out;
}

int64_t ald_draw_first_block(const ald_draw_t *draw, int64_t scorer)
{
    return draw->blocks * scorer / draw->roles->place.scorers.count;
}

int64_t ald_draw_begin(const ald_draw_t *draw, int64_t block)
{
    const int64_t begin = block * draw->size;
    return begin < draw->count ? begin : draw->count;
}

int64_t ald_draw_scorer(const ald_draw_t *draw, int64_t item)
{
    int64_t scorer = 0;
    while (item / draw->size >= ald_draw_first_block(draw, scorer + 1))
        ++scorer;
    return scorer;
}
