/* What a role takes in memory, from numbers alone: the configuration, a model's shape, tokens,
 * positions, ranks. A stage says it with --verbose before its loop begins: a plan starts from what
 * the process has now and adds what is to come. `aligndistil` prints the true peak at its end, and
 * the tests hold one to the other. Bytes; T tokens and R positions of the largest micro-batches.
 * All local. Layer: plan. */
#ifndef ALD_PLAN_MEMORY_H
#define ALD_PLAN_MEMORY_H

#include <stdint.h>

#include "ald/config/config.h"
#include "ald/model/model_config.h"
#include "ald/plan/micro.h"
#include "ald/shard/format.h"

typedef struct {
    const char *stage;
    int threads;      /* of a rank, each with buffers for products */
    double now, peak; /* of this process: resident now, and at most so far */
    double to_come;
    double mapped;  /* of that, pages of frozen models, which a node has once */
    char text[512]; /* what is to come, in words */
} ald_memory_plan_t;

void ald_memory_begin(const char *stage, ald_memory_plan_t *out);
/* `name` for a reader: "activations of 4096 tokens". */
void ald_memory_add(ald_memory_plan_t *plan, double bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "STAGE: memory at most 812.3 MiB on rank 0: 321.0 now, 491.3 ..." on root. */
void ald_memory_say(const ald_memory_plan_t *plan);

/* --- what roles share ------------------------------------------------------------------------- */

/* What the product library holds after products of models of this shape. */
void ald_memory_add_products(ald_memory_plan_t *plan, const ald_model_config_t *shape);
/* A frozen model's file, whose pages its use will read; `key` names it. */
void ald_memory_add_mapped(ald_memory_plan_t *plan, int64_t bytes, const char *key);
/* Forward passes of `models` models of this shape, one after the other, that keep nothing but their
 * hidden states, and all their logits. */
void ald_memory_add_forward(ald_memory_plan_t *plan, const ald_model_config_t *shape, int models,
                            const ald_micro_most_t *most);

/* --- trainer ---------------------------------------------------------------------------------- */

/* What training holds from its beginning to its end, on each of `ranks` trainers. */
double ald_memory_trained(int64_t parameters, int ranks);

typedef struct {
    const ald_config_t *config;
    const ald_model_config_t *shape; /* of the policy */
    int64_t parameters, steps;
    int trainers;
    int64_t gradients; /* bytes of those that a pass has at once (ald_gradients_bytes) */
    ald_micro_most_t most;
} ald_training_plan_t;

/* Training steps, and checkpoints if there will be some; `wide`: rows of the vocabulary that a loss
 * holds beside the logits. */
void ald_memory_add_training(ald_memory_plan_t *plan, const ald_training_plan_t *training,
                             int64_t wide);

/* A frozen model that a loss runs in each micro-batch (ald/objective/beside.h). */
typedef struct {
    const ald_model_config_t *shape;
    int64_t mapped;  /* bytes of its files */
    const char *key; /* of its directory */
} ald_beside_plan_t;
void ald_memory_add_beside(ald_memory_plan_t *plan, const ald_beside_plan_t *beside,
                           const ald_micro_most_t *most);

/* What distillation reads: sequences of shards with this header, of which `ahead` bytes are there
 * before they are used, and `open` bytes are held by open files (ald_memory_open_shards). */
typedef struct {
    const ald_shard_header_t *header;
    const ald_model_config_t *teacher; /* whose output matrix is mapped; NULL: none is */
    double ahead, open;
} ald_lessons_plan_t;

double ald_memory_open_shards(const ald_shard_header_t *header, int64_t shards);
/* Sequences that are read ahead of a step of so many, none longer than `longest` positions. */
double ald_memory_ahead(const ald_shard_header_t *header, int64_t sequences, int64_t longest);
/* Training on them. */
void ald_memory_add_distilling(ald_memory_plan_t *plan, const ald_training_plan_t *training,
                               const ald_lessons_plan_t *lessons);

/* --- scorer, generator ------------------------------------------------------------------------ */

enum { ALD_SCORING_MODELS = 1 + ALD_CONTRAST_COUNT }; /* the DPO model, then the contrasts */
typedef struct {
    const ald_shard_header_t *header;
    const ald_model_config_t *shape;    /* of the teachers */
    int64_t mapped[ALD_SCORING_MODELS]; /* bytes of their files; 0: there is no such model */
    int64_t positions;                  /* of the largest shard */
    ald_micro_most_t most;
} ald_scoring_plan_t;
void ald_memory_add_scoring(ald_memory_plan_t *plan, const ald_scoring_plan_t *scoring);

/* A generator of `count` responses of up to `longest` tokens at once, behind prompts of up to
 * `prompt` tokens. Its keys and values are gone when the rank's next role takes `then` bytes. */
void ald_memory_add_generator(ald_memory_plan_t *plan, const ald_model_config_t *shape,
                              int64_t prompt, int64_t longest, int64_t count, double then);

#endif
