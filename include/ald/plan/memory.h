/* What a stage will take, said with --verbose before its loop begins. A plan starts from what the
 * process has now and adds what is to come; `aligndistil` prints the true peak at its end, and the
 * tests hold one to the other. Layer: plan. All local. */
#ifndef ALD_PLAN_MEMORY_H
#define ALD_PLAN_MEMORY_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/model/batch.h"
#include "ald/model/model.h"
#include "ald/model/model_config.h"
#include "ald/train/engine.h"

typedef struct {
    const char *stage;
    double now, peak; /* bytes of this process: resident now, and at most so far */
    double to_come;
    char text[512]; /* what is to come, in words */
} ald_memory_plan_t;

void ald_memory_begin(const char *stage, ald_memory_plan_t *out);
/* `name` for a reader: "activations of 4096 tokens". */
void ald_memory_add(ald_memory_plan_t *plan, double bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "STAGE: memory at most 812.3 MiB on rank 0: 321.0 now, 491.3 ..." on root. */
void ald_memory_say(const ald_memory_plan_t *plan);

/* Pages of a frozen model's files that its use will read. */
void ald_memory_add_mapped(ald_memory_plan_t *plan, const ald_mapped_t *mapped, const char *key);
/* What the product library holds. */
void ald_memory_add_products(ald_memory_plan_t *plan);
/* Forward passes of `models` models of this shape, one after the other, that keep nothing but their
 * hidden states, and all their logits of R positions. */
void ald_memory_add_forward(ald_memory_plan_t *plan, const ald_model_config_t *shape, int models,
                            int64_t T, int64_t R);
/* Training steps with micro-batches of up to T tokens and R positions, and checkpoints if there
 * will be some; `wide`: rows of the vocabulary that a loss holds beside the logits. */
void ald_memory_add_training(ald_memory_plan_t *plan, const ald_engine_t *engine, int64_t T,
                             int64_t R, int64_t wide);
/* Bytes that a checkpoint takes while it is written; 0 where there will be none. */
double ald_memory_checkpoint(const ald_engine_t *engine);

/* What a row of a stage's data is in a batch, or may become at most; its ids aren't looked at. */
typedef ald_item_t (*ald_memory_item_fn)(const void *context, int64_t row);
/* The largest micro-batches of the engine's steps over rows [0, count): most tokens, most response
 * positions. RESOURCE without memory. */
ald_status_t ald_memory_largest(const ald_engine_t *engine, int64_t count, ald_memory_item_fn item,
                                const void *context, int64_t *T, int64_t *R);
/* Says what training on these rows will take, and nothing but training. */
ald_status_t ald_memory_say_training(const ald_engine_t *engine, int64_t count,
                                     ald_memory_item_fn item, const void *context);

#endif
