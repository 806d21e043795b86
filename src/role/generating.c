/* The generators of an on-policy run. A batch is sampled from the version that its step and
 * max_staleness name, however late or early that comes, so results don't depend on the pace. */
#include "role/generating_impl.h"

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/par/message.h"
#include "ald/par/post.h"
#include "ald/role/generator.h"
#include "ald/role/roles.h"
#include "role/draw_impl.h"
#include "role/weights_impl.h"
#include "role/work_impl.h"

ald_status_t ald_generating_init(ald_work_t *work, ald_weights_t *weights, ald_generating_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = work->roles;
    const int scorers = roles->place.scorers.count;
    *out = (ald_generating_t){.work = work, .weights = weights};
    ALD_TRY(ald_draw_init(roles, work->order, &out->draw));
    out->item = ald_alloc(sizeof *out->item * (size_t)roles->config->optimizer.batch_size);
    out->outbox = ald_calloc((size_t)scorers, sizeof *out->outbox);
    ALD_CHECK(out->item != NULL && out->outbox != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int s = 0; s < scorers; ++s)
        ald_vec_init(&out->outbox[s], 1);
done:
    return status;
}

void ald_generating_reset(ald_generating_t *generating)
{
    ald_generating_t *g = generating;
    for (int s = 0; g->outbox != NULL && s < g->work->roles->place.scorers.count; ++s)
        ald_vec_reset(&g->outbox[s]);
    ald_free(g->outbox);
    ald_free(g->item);
    ald_draw_reset(&g->draw);
    ald_arena_reset(&g->arena);
    *g = (ald_generating_t){0};
}

bool ald_generating_ready(ald_generating_t *generating)
{
    ald_generating_t *g = generating;
    const ald_roles_t *roles = g->work->roles;
    if (g->next >= g->work->steps)
        return false;
    const int64_t version = ald_work_version(g->work, g->next);
    return roles->trains ? roles->engine.step >= version : ald_weights_have(g->weights, version);
}

/* Begins the next message to a scorer. */
static ald_status_t begin_message(ald_generating_t *g, int scorer)
{
    const ald_samples_t head = {.step = g->draw.step};
    g->outbox[scorer].count = 0;
    return ald_vec_append(&g->outbox[scorer], &head, sizeof head);
}

static ald_status_t post(ald_generating_t *g, int scorer)
{
    const ald_roles_t *roles = g->work->roles;
    const ald_vec_t *message = &g->outbox[scorer];
    ald_post_send(&g->work->post, roles->world, roles->place.scorers.first + scorer,
                  ALD_TAG_SAMPLES, ALD_STATUS_OK, message->data, (int64_t)message->count);
    return begin_message(g, scorer);
}

/* Hands the responses that have ended to their scorers. */
static ald_status_t hand_over(ald_generating_t *g, ald_vec_t *records)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t at = 0; at < records->count;) {
        ald_sampled_t record;
        const int32_t *ids;
        const float *logprobs;
        ALD_TRY(ald_sampled_next(records, &at, &record, &ids, &logprobs));
        record.request = g->item[record.request];
        const int64_t scorer = ald_draw_scorer(&g->draw, record.request);
        ald_vec_t *message = &g->outbox[scorer];
        ALD_TRY(ald_vec_append(message, &record, sizeof record));
        ALD_TRY(ald_vec_append(message, ids, sizeof *ids * (size_t)record.count));
        ALD_TRY(ald_vec_append(message, logprobs, sizeof *logprobs * (size_t)record.count));
        ALD_TRY(post(g, (int)scorer));
        g->shift.tokens += (double)record.count;
    }
    records->count = 0;
done:
    return status;
}

/* Between two tokens. A run that is over ends what was begun. */
static ald_status_t between_tokens(void *context, ald_vec_t *records)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_generating_t *g = context;
    ALD_TRY(hand_over(g, records));
    ALD_TRY(ald_work_look(g->work));
    if (g->work->ended) /* by rank 0: nothing failed */
        status = ald_status_raise(ALD_STATUS_STOPPED, "the run is over");
done:
    return status;
}

/* This rank's requests: the sampled items i with i mod G = its number. */
static int64_t make_requests(ald_generating_t *g, ald_request_t *requests)
{
    const ald_ranks_t *place = &g->work->roles->place.generators;
    int64_t count = 0;
    for (int64_t i = g->work->roles->world->rank - place->first; i < g->draw.count;
         i += place->count)
        if (ald_draw_is_sampled(&g->draw, i)) {
            g->item[count] = i;
            requests[count++] = (ald_request_t){g->draw.items[i], 0, g->draw.step + 1};
        }
    return count;
}

/* Tells each scorer that this rank has no more samples of the step. */
static ald_status_t close_step(ald_generating_t *g)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int s = 0; s < g->work->roles->place.scorers.count; ++s) {
        ald_samples_t *head = g->outbox[s].data;
        head->last = true;
        head->shift = g->shift;
        ALD_TRY(post(g, s));
    }
done:
    return status;
}

static ald_status_t sample(ald_generating_t *g, const ald_request_t *requests, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_roles_t *roles = g->work->roles;
    const ald_model_t policy = ald_weights_model(g->weights);
    ald_generator_t generator;
    ald_vec_t records;
    ald_vec_init(&records, 1);
    ald_generator_init(roles->config, &policy, &roles->data, &generator);
    generator.pause = between_tokens;
    generator.context = g;
    ALD_TRY(
        ald_generator_run(&generator, &roles->data.pairs, requests, count, &g->arena, &records));
    ALD_TRY(hand_over(g, &records));
done:
    ald_vec_reset(&records);
    return status;
}

ald_status_t ald_generating_step(ald_generating_t *generating)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_generating_t *g = generating;
    const double begun = ald_time();
    g->shift = (ald_shift_t){.wait = ald_work_idle(g->work)};
    ald_draw_step(&g->draw, g->next++);
    ald_request_t *requests = ald_alloc(sizeof *requests * (size_t)(g->draw.count + 1));
    ALD_CHECK(requests != NULL, ALD_STATUS_RESOURCE, "out of memory: requests");
    for (int s = 0; s < g->work->roles->place.scorers.count; ++s)
        ALD_TRY(begin_message(g, s));
    ALD_TRY(sample(g, requests, make_requests(g, requests)));
    g->shift.work = ald_time() - begun;
    ALD_TRY(close_step(g));
done:
    ald_free(requests);
    if (g->work->ended && status == ALD_STATUS_STOPPED)
        status = ALD_STATUS_OK; /* what was begun isn't wanted any more */
    return status;
}
