/* Several models' view of given responses: log-probabilities, divergences, rewards. Layer: role.
 */
#ifndef ALD_ROLE_MEASURE_H
#define ALD_ROLE_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"
#include "ald/par/comm.h"
#include "ald/teacher/teacher.h"

typedef enum {
    ALD_VIEW_POLICY,
    ALD_VIEW_DPO,
    ALD_VIEW_CONTRAST,
    ALD_VIEW_REFERENCE,
    ALD_VIEW_COMPOSED, /* contrast of the policy: it is then the teacher composed of both */
    ALD_VIEWS,
} ald_view_t;

/* Sums over the positions of a response, or one position's values; nats. NaN where a model that is
 * needed wasn't given. */
typedef struct {
    double logprob[ALD_VIEWS]; /* of the response's own tokens */
    double kl;                 /* KL(policy || reference), over the whole vocabulary */
    double reward;             /* sum_v policy(v) (log dpo(v) - log contrast(v)), without beta0 */
    double tvd;                /* between dpo and contrast */
} ald_measured_t;

/* models[ALD_VIEWS], NULL where there is none; all of one ald_model_vocabulary. */
typedef struct {
    const ald_model_t *models[ALD_VIEWS];
    ald_teacher_t teacher; /* by which the policy is composed where ALD_VIEW_COMPOSED is there */
    int64_t micro_batch_tokens;
} ald_measure_t;

/* Results of a run that was stopped, and what becomes of those that come. */
typedef struct {
    int64_t known; /* the first sequences, which `out` has already: whole calls of `add` */
    /* The next `count` sequences, on all ranks; a failure, on all ranks, ends the measuring. */
    ald_status_t (*add)(void *context, const ald_measured_t *measured, int64_t count);
    void *context;
} ald_measure_keep_t;

/* Sums of each sequence, items in order and their responses in order, on every rank; the same bits
 * on any number of ranks. `distributions` false leaves kl, reward and tvd NaN and saves their time.
 * `keep` may be NULL. Collective. */
ald_status_t ald_measure(const ald_measure_t *measure, const ald_comm_t *comm,
                         const ald_item_t *items, int64_t count, bool distributions,
                         const ald_measure_keep_t *keep, ald_measured_t *out);
/* Every position of one item, [sum of its response_count]. Local. */
ald_status_t ald_measure_positions(const ald_measure_t *measure, const ald_item_t *item,
                                   ald_measured_t *out);

#endif
