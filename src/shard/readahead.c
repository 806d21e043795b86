/* A thread that reads the sequences of a plan ahead of their use. Reading and checking a shard
 * takes a core, and a trainer would wait for it at each step. */
#include "ald/shard/readahead.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"

enum {
    KEPT = 2 << 20, /* bytes; an arena that held more, as few do, is freed after use */
    MESSAGE = 1024, /* as long as a status message can be */
};

typedef struct slot slot_t;
struct slot {
    slot_t *next;
    int64_t entry, bytes; /* bytes by the lengths of the sequence */
    ald_arena_t arena;
    ald_scored_t sequence;
    ald_status_t status;
    char message[MESSAGE];
};

typedef struct {
    slot_t *first, *last;
    int64_t count, bytes;
} list_t;

struct ald_readahead {
    ald_shardset_t *set;
    pthread_t thread;
    pthread_mutex_t lock;        /* over all that follows */
    pthread_cond_t more, change; /* `more` wakes the thread, `change` the taker */
    ald_vec_t plan;              /* int64_t entries not yet begun, from `begun` on */
    size_t begun;
    list_t ready, taken, spare;
    int64_t reading;      /* the entry that the thread reads; -1: none, or one that isn't wanted */
    bool closing, broken; /* broken: no memory for a slot */
    double waited;
};

/* --- sizes ------------------------------------------------------------------------------------ */

static int64_t entry_bytes(const ald_shardset_t *set, int64_t entry)
{
    const ald_entry_t *e = &set->entries[entry];
    return (e->prompt_count + e->response_count) * (int64_t)sizeof(int32_t) +
           e->response_count * ald_shard_position_bytes(ald_shard_header(set->shards[e->shard]));
}

/* Whether `more` bytes may be read while `ready_bytes` are ready. */
static bool fits(int64_t ready_count, int64_t ready_bytes, int64_t more)
{
    return ready_count == 0 ||
           (ready_count < ALD_READAHEAD_COUNT && ready_bytes + more <= ALD_READAHEAD_BYTES);
}

int64_t ald_readahead_kept(const ald_shardset_t *set, const int64_t *entries, int64_t count,
                           int64_t kept)
{
    for (int64_t i = 0; i < count; ++i) {
        const int64_t bytes = entry_bytes(set, entries[i]);
        kept = bytes <= KEPT && bytes > kept ? bytes : kept;
    }
    return kept;
}

static int64_t held_bytes(const ald_shardset_t *set, const int64_t *entries, int64_t count,
                          int64_t kept)
{
    int64_t held = 0;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t bytes = entry_bytes(set, entries[i]);
        held += bytes > kept ? bytes : kept;
    }
    return held;
}

int64_t ald_readahead_bytes(const ald_shardset_t *set, const int64_t *entries, int64_t count,
                            int64_t kept)
{
    int64_t ready = 0, held = 0, most = 0; /* of the entries from `first` up to i */
    for (int64_t i = 0, first = 0; i < count; ++i) {
        const int64_t bytes = entry_bytes(set, entries[i]), before = kept;
        for (; !fits(i - first, ready, bytes); ++first) {
            ready -= entry_bytes(set, entries[first]);
            held -= held_bytes(set, entries + first, 1, before);
            kept = ald_readahead_kept(set, entries + first, 1, kept);
        }
        if (kept > before)
            held = held_bytes(set, entries + first, i - first, kept);
        ready += bytes;
        held += bytes > kept ? bytes : kept;
        most = held > most ? held : most;
    }
    return most;
}

/* --- lists, under the lock -------------------------------------------------------------------- */

static void list_push(list_t *list, slot_t *slot)
{
    slot->next = NULL;
    if (list->first == NULL)
        list->first = slot;
    else
        list->last->next = slot;
    list->last = slot;
    list->count += 1;
    list->bytes += slot->bytes;
}

static slot_t *list_pop(list_t *list)
{
    slot_t *slot = list->first;
    if (slot == NULL)
        return NULL;
    list->first = slot->next;
    list->count -= 1;
    list->bytes -= slot->bytes;
    return slot;
}

static void slot_free(slot_t *slot)
{
    ald_arena_reset(&slot->arena);
    ald_free(slot);
}

static void list_free(list_t *list)
{
    for (slot_t *slot; (slot = list_pop(list)) != NULL;)
        slot_free(slot);
}

static void recycle(ald_readahead_t *ahead, slot_t *slot)
{
    if (slot->bytes > KEPT || ahead->spare.count >= ALD_READAHEAD_COUNT)
        slot_free(slot);
    else
        list_push(&ahead->spare, slot);
}

/* --- the thread ------------------------------------------------------------------------------- */

static bool may_read(const ald_readahead_t *ahead)
{
    if (ahead->begun == ahead->plan.count)
        return false;
    const int64_t next = ALD_VEC_AT(&ahead->plan, int64_t, ahead->begun);
    return fits(ahead->ready.count, ahead->ready.bytes, entry_bytes(ahead->set, next));
}

static void fill(ald_readahead_t *ahead, slot_t *slot, int64_t entry)
{
    slot->entry = entry;
    slot->bytes = entry_bytes(ahead->set, entry);
    ald_arena_release(&slot->arena, (ald_arena_mark_t){0});
    slot->status = ald_shardset_read(ahead->set, entry, &slot->arena, &slot->sequence);
    if (slot->status != ALD_STATUS_OK)
        snprintf(slot->message, sizeof slot->message, "%s", ald_status_message());
}

static void *read_thread(void *context)
{
    ald_readahead_t *ahead = context;
    pthread_mutex_lock(&ahead->lock);
    while (!ahead->closing) {
        if (!may_read(ahead)) {
            pthread_cond_wait(&ahead->more, &ahead->lock);
            continue;
        }
        const int64_t entry = ALD_VEC_AT(&ahead->plan, int64_t, ahead->begun++);
        slot_t *slot = list_pop(&ahead->spare);
        ahead->reading = entry;
        pthread_mutex_unlock(&ahead->lock);
        if (slot == NULL)
            slot = ald_calloc(1, sizeof *slot);
        if (slot != NULL)
            fill(ahead, slot, entry);
        pthread_mutex_lock(&ahead->lock);
        if (slot != NULL)
            list_push(ahead->reading == entry ? &ahead->ready : &ahead->taken, slot);
        ahead->broken = ahead->broken || slot == NULL;
        ahead->reading = -1;
        pthread_cond_signal(&ahead->change);
    }
    pthread_mutex_unlock(&ahead->lock);
    return NULL;
}

/* --- the taker -------------------------------------------------------------------------------- */

ald_status_t ald_readahead_open(ald_shardset_t *set, ald_readahead_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_readahead_t *ahead = ald_calloc(1, sizeof *ahead);
    sigset_t all, before;
    *out = NULL;
    ALD_CHECK_MEMORY(ahead, sizeof *ahead);
    ahead->set = set;
    ahead->reading = -1;
    ald_vec_init(&ahead->plan, sizeof(int64_t));
    pthread_mutex_init(&ahead->lock, NULL);
    pthread_cond_init(&ahead->more, NULL);
    pthread_cond_init(&ahead->change, NULL);
    sigfillset(&all); /* signals go to the threads that were there before */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&ahead->thread, NULL, read_thread, ahead);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        ald_free(ahead);
        return ald_status_raise(ALD_STATUS_RESOURCE, "no thread to read shards: %s",
                                strerror(error));
    }
    *out = ahead;
done:
    return status;
}

void ald_readahead_close(ald_readahead_t *ahead)
{
    if (ahead == NULL)
        return;
    pthread_mutex_lock(&ahead->lock);
    ahead->closing = true;
    pthread_cond_signal(&ahead->more);
    pthread_mutex_unlock(&ahead->lock);
    pthread_join(ahead->thread, NULL);
    list_free(&ahead->ready);
    list_free(&ahead->taken);
    list_free(&ahead->spare);
    ald_vec_reset(&ahead->plan);
    pthread_cond_destroy(&ahead->more);
    pthread_cond_destroy(&ahead->change);
    pthread_mutex_destroy(&ahead->lock);
    ald_free(ahead);
}

ald_status_t ald_readahead_plan(ald_readahead_t *ahead, const int64_t *entries, int64_t count)
{
    pthread_mutex_lock(&ahead->lock);
    if (ahead->begun == ahead->plan.count)
        ahead->begun = ahead->plan.count = 0;
    ald_status_t status = ald_vec_append(&ahead->plan, entries, (size_t)count);
    pthread_cond_signal(&ahead->more);
    pthread_mutex_unlock(&ahead->lock);
    return status;
}

/* Under the lock: the next entry of the plan; -1: none. */
static int64_t next_entry(const ald_readahead_t *ahead)
{
    if (ahead->ready.first != NULL)
        return ahead->ready.first->entry;
    if (ahead->reading >= 0)
        return ahead->reading;
    return ahead->begun < ahead->plan.count ? ALD_VEC_AT(&ahead->plan, int64_t, ahead->begun) : -1;
}

/* Under the lock: forgets the plan and what was read by it. */
static void drop_plan(ald_readahead_t *ahead)
{
    for (slot_t *slot; (slot = list_pop(&ahead->ready)) != NULL;)
        recycle(ahead, slot);
    ahead->begun = ahead->plan.count = 0;
    ahead->reading = -1;
}

/* Under the lock: waits until the next entry of the plan has been read. */
static void await(ald_readahead_t *ahead)
{
    if (ahead->ready.count > 0)
        return;
    const double begun = ald_time();
    pthread_cond_signal(&ahead->more);
    while (ahead->ready.count == 0 && !ahead->broken)
        pthread_cond_wait(&ahead->change, &ahead->lock);
    ahead->waited += ald_time() - begun;
}

ald_status_t ald_readahead_take(ald_readahead_t *ahead, int64_t entry, ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    slot_t *slot = NULL;
    pthread_mutex_lock(&ahead->lock);
    if (next_entry(ahead) != entry) {
        drop_plan(ahead);
        status = ald_vec_push(&ahead->plan, &entry);
    }
    if (status == ALD_STATUS_OK) {
        await(ahead);
        slot = list_pop(&ahead->ready);
    }
    if (slot != NULL)
        list_push(&ahead->taken, slot);
    pthread_cond_signal(&ahead->more);
    pthread_mutex_unlock(&ahead->lock);
    ALD_TRY(status);
    ALD_CHECK_MEMORY(slot, sizeof *slot);
    ALD_CHECK(slot->status == ALD_STATUS_OK, slot->status, "%s", slot->message);
    *out = slot->sequence;
done:
    return status;
}

void ald_readahead_release(ald_readahead_t *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    for (slot_t *slot; (slot = list_pop(&ahead->taken)) != NULL;)
        recycle(ahead, slot);
    pthread_mutex_unlock(&ahead->lock);
}

double ald_readahead_waited(const ald_readahead_t *ahead)
{
    return ahead->waited; /* only calls of the taker change it, and this is one */
}
