/* What memory distillation will take on a rank. It is added up from the sizes of shards and
 * batches, so that it can be said before the first step. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/model_config.h"
#include "ald/num/dtype.h"
#include "ald/plan/memory.h"
#include "ald/role/generator.h"
#include "ald/role/reader.h"
#include "ald/role/roles.h"
#include "ald/shard/format.h"
#include "ald/shard/mix.h"
#include "ald/shard/read.h"
#include "ald/shard/readahead.h"
#include "ald/shard/set.h"
#include "ald/teacher/encoding.h"
#include "ald/train/engine.h"
#include "pipeline/corpus_impl.h"
#include "pipeline/distill_impl.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/scoring_impl.h"

/* The largest that the steps to come make. */
typedef struct {
    int64_t T, R;  /* tokens and positions of a micro-batch */
    int64_t ahead; /* bytes that are read ahead of it */
} largest_t;

/* Pages of the teachers' output matrices. */
static double matrix_bytes(const ald_config_t *config, const ald_shard_header_t *h)
{
    ald_model_config_t shape;
    if (!ald_encoding_is_hidden(h->encoding) || config->teacher.dpo[0] == '\0' ||
        ald_model_config_read(config->teacher.dpo, &shape) != ALD_STATUS_OK)
        return 0.0;
    return 2.0 * (double)(shape.vocab_size * shape.hidden_size * ald_dtype_size(shape.dtype));
}

/* Room of so many open files. */
static double reader_bytes(const ald_shard_header_t *header, int64_t shards)
{
    const int64_t awake = shards < ALD_SHARDS_AWAKE ? shards : (int64_t)ALD_SHARDS_AWAKE;
    return (double)(ald_shard_reader_bytes(header) / ALD_SHARDS_AWAKE * awake);
}

/* Training on shards, which are `room` bytes to the reader. */
static void add_training(const ald_roles_t *roles, const ald_shard_header_t *header,
                         const largest_t *largest, double room, ald_memory_plan_t *plan)
{
    ald_memory_add_training(plan, &roles->engine, largest->T, largest->R,
                            ald_encoding_row(header->encoding)->wide);
    ald_memory_add(plan, (double)(largest->R * ald_shard_position_bytes(header)), "teacher data");
    ald_memory_add(plan, (double)largest->ahead, "read ahead");
    ald_memory_add(plan, room, "of the reader");
    ald_memory_add(plan, matrix_bytes(roles->config, header), "mapped output matrices");
}

/* --- off-policy ------------------------------------------------------------------------------- */

/* Raises the largest micro-batch by those of a step. work[3 count + 1]. */
static void look_at_step(const ald_config_t *config, const ald_shardset_t *set,
                         const int64_t *items, int64_t count, int64_t *work, largest_t *largest)
{
    int64_t *tokens = work, *positions = work + count, *start = work + 2 * count;
    for (int64_t i = 0; i < count; ++i) {
        tokens[i] = ald_entry_tokens(&set->entries[items[i]]);
        positions[i] = set->entries[items[i]].response_count;
    }
    const int64_t micros =
        ald_micro_split(tokens, count, config->optimizer.micro_batch_tokens, start);
    ald_micro_largest(tokens, positions, start, micros, &largest->T, &largest->R);
}

/* Goes through the steps to come; of one and the next this rank's sequences may be ahead. */
static ald_status_t look_at_steps(const ald_roles_t *roles, const ald_corpus_t *corpus,
                                  largest_t *largest)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_engine_t *engine = &roles->engine;
    ald_mix_t mix = {0};
    int64_t *work = NULL, planned = 0, kept = 0;
    *largest = (largest_t){0};
    ALD_TRY(ald_corpus_mix(corpus, roles->config, &mix));
    work = ald_alloc(sizeof *work * (size_t)(5 * mix.batch + 1));
    ALD_CHECK_MEMORY(work, sizeof *work * (size_t)(5 * mix.batch + 1));
    int64_t *mine = work + 3 * mix.batch + 1; /* [2 batch] */
    for (int64_t step = engine->step; step < engine->steps; ++step) {
        int64_t more, bytes;
        const int64_t count = ald_mix_draw(&mix, step);
        look_at_step(roles->config, &corpus->set, mix.items, count, work, largest);
        ALD_TRY(ald_reader_share(&roles->trainers, roles->config, &corpus->set, mix.items, count,
                                 mine + planned, &more));
        bytes = ald_readahead_bytes(&corpus->set, mine, planned + more, kept);
        largest->ahead = bytes > largest->ahead ? bytes : largest->ahead;
        kept = ald_readahead_kept(&corpus->set, mine, planned, kept);
        memmove(mine, mine + planned, sizeof *mine * (size_t)more);
        planned = more;
    }
done:
    ald_free(work);
    ald_mix_reset(&mix);
    return status;
}

ald_status_t ald_distill_memory(const ald_roles_t *roles, const ald_corpus_t *corpus)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shardset_t *set = &corpus->set;
    const ald_shard_header_t *header = ald_shard_header(set->shards[0]);
    ald_memory_plan_t plan;
    largest_t largest;
    double whole = 0.0, room = reader_bytes(header, set->shard_count);
    ALD_TRY(look_at_steps(roles, corpus, &largest));
    for (int64_t i = 0; i < set->shard_count; ++i)
        whole += (double)ald_file_size(set->paths[i]);
    ald_memory_begin("distill", &plan);
    add_training(roles, header, &largest, whole < room ? whole : room, &plan);
    ald_memory_say(&plan);
done:
    return status;
}

/* --- on-policy -------------------------------------------------------------------------------- */

static int64_t response_most(const ald_roles_t *roles, int64_t row)
{
    const ald_pair_t *pair = &roles->data.pairs.rows[row];
    int64_t most = roles->config->sampling.max_new_tokens;
    most = pair->chosen.count > most ? pair->chosen.count : most; /* mixed; else there is none */
    return pair->rejected.count > most ? pair->rejected.count : most;
}

static ald_item_t longest_item(const void *context, int64_t row)
{
    const ald_roles_t *roles = context;
    return (ald_item_t){.prompt_count = roles->data.pairs.rows[row].prompt.count,
                        .responses = 1,
                        .response_count = {response_most(roles, row), 0}};
}

static int64_t part_of(int64_t count, int64_t parts)
{
    return (count + parts - 1) / parts;
}

/* A step's sequences are read ahead, and no others. */
static int64_t ahead_bytes(const ald_shard_header_t *header, int64_t sequences, int64_t longest)
{
    const int64_t one = longest * ald_shard_position_bytes(header);
    const int64_t most = one > ALD_READAHEAD_BYTES ? one : (int64_t)ALD_READAHEAD_BYTES;
    const int64_t count =
        sequences < ALD_READAHEAD_COUNT ? sequences : (int64_t)ALD_READAHEAD_COUNT;
    return count * one < most ? count * one : most;
}

/* Sampling `count` responses at once, after prompts of that many tokens. Their keys and values are
 * gone when training reads and keeps, which takes `then` bytes. */
static void add_sampling(const ald_roles_t *d, int64_t prompt, int64_t count, double then,
                         ald_memory_plan_t *plan)
{
    const ald_model_config_t *shape = &d->engine.params.config;
    const int64_t longest = d->config->sampling.max_new_tokens;
    const double stays = (double)ald_generator_bytes(shape, prompt, longest, 0);
    const double goes = (double)ald_generator_bytes(shape, prompt, longest, count) - stays;
    ald_memory_add(plan, stays, "prompts and logits of the generator");
    if (goes > then)
        ald_memory_add(plan, goes - then, "more for keys and values of %lld responses",
                       (long long)count);
}

static ald_status_t plan_roles(const ald_roles_t *d, const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = d->data.pairs.count, most = d->config->optimizer.batch_size;
    const int64_t batch = most < n ? most : n;
    const int64_t prompt = ald_longest_prompt(&d->data, n);
    int64_t longest = 0;
    ald_memory_plan_t plan;
    largest_t largest;
    for (int64_t row = 0; row < n; ++row)
        longest = response_most(d, row) > longest ? response_most(d, row) : longest;
    ALD_TRY(ald_memory_largest(&d->engine, n, longest_item, d, &largest.T, &largest.R));
    largest.ahead = ahead_bytes(header, part_of(batch, d->trainers.size), longest);
    ald_memory_begin("distill", &plan);
    const double room = reader_bytes(header, d->place.scorers.count);
    add_training(d, header, &largest, room, &plan);
    if (d->scores) {
        /* Whole groups go to a scorer, so it may get all items where these are few. */
        const int64_t T = batch * (prompt + longest - 1), R = batch * longest;
        ald_scoring_memory(&plan, &d->scorer, T < largest.T ? T : largest.T,
                           R < largest.R ? R : largest.R, R);
    }
    if (d->generates)
        add_sampling(d, prompt, part_of(batch, d->place.generators.count),
                     ald_memory_checkpoint(&d->engine) + (double)largest.ahead + room, &plan);
    ald_memory_say(&plan);
done:
    return status;
}

ald_status_t ald_distill_memory_on_policy(const ald_roles_t *roles)
{
    ald_shard_header_t header = roles->scorer.header;
    header.config = NULL; /* a pointer of another process */
    MPI_Bcast(&header, (int)sizeof header, MPI_BYTE, roles->place.scorers.first, roles->world->mpi);
    /* Rank 0 is the one that speaks, and a trainer. */
    return roles->world->rank == 0 ? plan_roles(roles, &header) : ALD_STATUS_OK;
}
