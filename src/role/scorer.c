#include "ald/scorer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ald/batch.h"
#include "ald/file.h"
#include "ald/hf.h"
#include "ald/log.h"
#include "ald/loss.h"
#include "ald/sha256.h"
#include "ald/vocabulary.h"

static ald_status_t frozen_read(const char *directory, const char *key, ald_frozen_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    ALD_CHECK(directory[0] != '\0', ALD_STATUS_USAGE, "%s: not set; expected a model directory",
              key);
    ALD_TRY(ald_fail_point("model_read"));
    ALD_TRY(ald_model_config_read(directory, &shape));
    ALD_TRY(ald_params_init(&shape, &out->params));
    ALD_TRY(ald_mapped_open(directory, &out->params, &out->mapped));
    out->model = ald_mapped_model(out->mapped, &out->params);
done:
    return status;
}

ald_status_t ald_frozen_load(const ald_comm_t *comm, const char *directory, const char *key,
                             ald_frozen_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_frozen_t){0};
    ALD_TRY(ald_comm_agree(comm, frozen_read(directory, key, out)));
    ald_log_verbose("%s: %s, %lld parameters, %lld bytes mapped, %lld held", key, directory,
                    (long long)out->params.total, (long long)ald_mapped_file_bytes(out->mapped),
                    (long long)ald_mapped_held_bytes(out->mapped));
done:
    return status;
}

ald_status_t ald_frozen_digest(const ald_comm_t *comm, const char *directory, ald_frozen_t *frozen)
{
    ald_status_t status = ALD_STATUS_OK;
    if (comm->rank == 0)
        status = ald_hf_sha256(directory, frozen->sha256);
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Bcast(frozen->sha256, sizeof frozen->sha256, MPI_CHAR, 0, comm->mpi);
done:
    return status;
}

void ald_frozen_reset(ald_frozen_t *frozen)
{
    ald_mapped_close(frozen->mapped);
    ald_params_reset(&frozen->params);
    *frozen = (ald_frozen_t){0};
}

const char *ald_contrast_directory(const ald_config_t *config)
{
    return strcmp(config->teacher.contrast, "reference") == 0 ? config->teacher.reference
                                                              : config->teacher.reverse;
}

/* The two teachers must speak of the same tokens. */
static ald_status_t compare_teachers(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *a = scorer->config->teacher.dpo, *b = ald_contrast_directory(scorer->config);
    const ald_model_config_t *first = &scorer->dpo.params.config;
    const ald_model_config_t *second = &scorer->contrast.params.config;
    char other[ALD_SHA256_HEX];
    ALD_CHECK(strcmp(scorer->config->shards.encoding, "hidden") != 0 ||
                  first->hidden_size == second->hidden_size,
              ALD_STATUS_INPUT,
              "%s/config.json: hidden_size %lld, but the teacher %s has %lld; "
              "expected the same for shards.encoding = \"hidden\"",
              b, (long long)second->hidden_size, a, (long long)first->hidden_size);
    ALD_TRY(ald_hf_sha256_tokenizer(a, scorer->header.sha256_tokenizer));
    ALD_TRY(ald_hf_sha256_tokenizer(b, other));
    ALD_CHECK(strcmp(other, scorer->header.sha256_tokenizer) == 0, ALD_STATUS_INPUT,
              "%s/tokenizer.json: differs from that of the teacher %s; expected the same tokenizer",
              b, a);
    ALD_TRY(ald_vocabulary_common(a, first->vocab_size, b, second->vocab_size,
                                  &scorer->header.vocab_size));
    scorer->dpo.model.vocabulary = scorer->contrast.model.vocabulary = scorer->header.vocab_size;
done:
    return status;
}

/* When the newest file that shards are made from was written: equal work gives equal shards,
 * however often and whenever it is done. */
static ald_status_t date_of_inputs(const ald_config_t *config, char *out, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t newest = 0, modified;
    const char *const inputs[] = {config->teacher.dpo, ald_contrast_directory(config),
                                  config->data.train};
    for (int i = 0; i < 3; ++i) {
        ALD_TRY(ald_path_modified(inputs[i], ".safetensors", &modified));
        newest = modified > newest ? modified : newest;
    }
    time_t seconds = (time_t)newest;
    strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", gmtime(&seconds));
done:
    return status;
}

static ald_status_t fill_header(ald_scorer_t *scorer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t *h = &scorer->header;
    const ald_config_t *config = scorer->config;
    const ald_model_config_t *shape = &scorer->dpo.params.config;
    ALD_TRY(ald_encoding_parse(config->shards.encoding, &h->encoding));
    ALD_TRY(ald_config_print_content(config, &scorer->config_text));
    h->hidden_size = shape->hidden_size;
    h->top_k = 0;
    if (h->encoding == ALD_ENCODING_TOPK)
        h->top_k = config->shards.top_k < h->vocab_size ? config->shards.top_k : h->vocab_size;
    h->policy_step = -1;
    h->seed = config->seed;
    h->config = scorer->config_text;
    h->gzip = strcmp(config->shards.compression, "gzip") == 0;
    strcpy(h->contrast, config->teacher.contrast);
    strcpy(h->sha256_dpo, scorer->dpo.sha256);
    strcpy(h->sha256_reverse, scorer->contrast.sha256);
    strcpy(h->tool_version, ALD_VERSION);
    ALD_TRY(date_of_inputs(config, h->created, sizeof h->created));
done:
    return status;
}

ald_status_t ald_scorer_init(const ald_config_t *config, const ald_comm_t *comm, ald_scorer_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_scorer_t){.config = config};
    bool reference = strcmp(config->teacher.contrast, "reference") == 0;
    ALD_TRY(ald_frozen_load(comm, config->teacher.dpo, "teacher.dpo", &out->dpo));
    ALD_TRY(ald_frozen_load(comm, ald_contrast_directory(config),
                            reference ? "teacher.reference" : "teacher.reverse", &out->contrast));
    ALD_TRY(ald_comm_agree(comm, compare_teachers(out)));
    ALD_TRY(ald_frozen_digest(comm, config->teacher.dpo, &out->dpo));
    ALD_TRY(ald_frozen_digest(comm, ald_contrast_directory(config), &out->contrast));
    ALD_TRY(ald_comm_agree(comm, fill_header(out)));
done:
    return status;
}

void ald_scorer_reset(ald_scorer_t *scorer)
{
    ald_frozen_reset(&scorer->dpo);
    ald_frozen_reset(&scorer->contrast);
    ald_free(scorer->config_text);
    ald_arena_reset(&scorer->arena);
    *scorer = (ald_scorer_t){0};
}

/* What a micro-batch's positions get; arrays of R, or R rows. */
typedef struct {
    ald_scorer_t *scorer;
    const ald_packed_t *packed;
    const float *hidden_c;    /* [T, H] of the second teacher */
    float *logits_c, *rows_c; /* [chunk, V], [chunk, H] */
    float *logprob_dpo, *logprob_c, *tvd, *full_logprob, *full_ratio;
    uint16_t *bits_dpo, *bits_c;
    int32_t *topk_id;
    float *topk_logprob, *topk_ratio, *tail_dpo, *tail_c;
} scoring_t;

static const float *sort_keys; /* for qsort; one thread private copy each */
#pragma omp threadprivate(sort_keys)

/* By falling key, then by rising id. */
static int compare_ids(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (sort_keys[i] != sort_keys[j])
        return sort_keys[i] > sort_keys[j] ? -1 : 1;
    return (i > j) - (i < j);
}

/* Moves the K ids of the largest keys to the front, in no order (quickselect). */
static void select_top(int64_t V, int64_t K, const float *key, int32_t *id)
{
    int64_t low = 0, high = V - 1;
    while (low < high) {
        float pivot = key[id[low + (high - low) / 2]];
        int64_t i = low, j = high;
        while (i <= j) {
            while (key[id[i]] > pivot)
                ++i;
            while (key[id[j]] < pivot)
                --j;
            if (i <= j) {
                int32_t swap = id[i];
                id[i++] = id[j];
                id[j--] = swap;
            }
        }
        if (K - 1 <= j)
            high = j;
        else if (K - 1 >= i)
            low = i;
        else
            break;
    }
}

/* The mass outside the K tokens `id`, summed there, as 1 - the mass inside would cancel. `work`
 * holds log-probabilities [V] and is overwritten. */
static double outside_mass(int64_t V, int64_t K, const int32_t *id, float *work)
{
    double mass = 0.0;
    ald_exp_shifted(V, work, 0.0f, work);
    for (int64_t k = 0; k < K; ++k)
        work[id[k]] = 0.0f;
    for (int64_t v = 0; v < V; ++v)
        mass += (double)work[v];
    return mass;
}

/* Support: the K tokens of the largest max(log pi_dpo, log pi_c), so that neither teacher's likely
 * tokens are lost. */
static void topk_position(scoring_t *s, int64_t r, int64_t V, const float *logprob,
                          const float *ratio, float *key, int32_t *id)
{
    int64_t K = s->scorer->header.top_k;
    for (int64_t v = 0; v < V; ++v) {
        float other = logprob[v] - ratio[v];
        key[v] = logprob[v] > other ? logprob[v] : other;
        id[v] = (int32_t)v;
    }
    if (K < V)
        select_top(V, K, key, id);
    sort_keys = key;
    qsort(id, (size_t)K, sizeof *id, compare_ids);
    for (int64_t k = 0; k < K; ++k) {
        s->topk_id[r * K + k] = id[k];
        s->topk_logprob[r * K + k] = logprob[id[k]];
        s->topk_ratio[r * K + k] = ratio[id[k]];
    }
    memcpy(key, logprob, sizeof *key * (size_t)V);
    s->tail_dpo[r] = (float)log(outside_mass(V, K, id, key));
    for (int64_t v = 0; v < V; ++v)
        key[v] = logprob[v] - ratio[v];
    s->tail_c[r] = (float)log(outside_mass(V, K, id, key));
}

static void score_position(scoring_t *s, int64_t r, int64_t V, float *logprob, float *ratio,
                           float *key, int32_t *id)
{
    int32_t target = s->packed->target[r];
    ald_teacher_logits_row(V, logprob, ratio);
    s->logprob_dpo[r] = logprob[target];
    s->logprob_c[r] = logprob[target] - ratio[target];
    s->tvd[r] = ald_tvd_row(V, logprob, ratio);
    if (s->full_logprob != NULL) {
        memcpy(s->full_logprob + r * V, logprob, sizeof(float) * (size_t)V);
        memcpy(s->full_ratio + r * V, ratio, sizeof(float) * (size_t)V);
    }
    if (s->topk_id != NULL)
        topk_position(s, r, V, logprob, ratio, key, id);
}

static ald_status_t scoring_head(void *context, int64_t first, int64_t count, float *logits)
{
    ald_status_t status = ALD_STATUS_OK;
    scoring_t *s = context;
    const ald_model_t *model = &s->scorer->contrast.model;
    const int64_t V = s->scorer->header.vocab_size, H = model->params->config.hidden_size;
    for (int64_t i = 0; i < count; ++i)
        memcpy(s->rows_c + i * H, s->hidden_c + s->packed->row[first + i] * H,
               sizeof(float) * (size_t)H);
    ald_head_logits(model, count, s->rows_c, s->logits_c);
    int failed = 0;
#pragma omp parallel reduction(+ : failed)
    {
        float *key = s->topk_id != NULL ? ald_alloc(sizeof(float) * 2 * (size_t)V) : NULL;
        failed += s->topk_id != NULL && key == NULL;
        int32_t *id = key == NULL ? NULL : (int32_t *)(key + V);
        bool able = s->topk_id == NULL || key != NULL;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < count; ++i)
            if (able)
                score_position(s, first + i, V, logits + i * V, s->logits_c + i * V, key, id);
        ald_free(key);
    }
    ALD_CHECK(failed == 0, ALD_STATUS_RESOURCE, "out of memory: the top %lld of %lld tokens",
              (long long)s->scorer->header.top_k, (long long)V);
done:
    return status;
}

/* Nearest bfloat16, ties to even. */
static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static void keep_hidden(const ald_packed_t *packed, int64_t H, const float *hidden, uint16_t *bits)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < packed->positions; ++r)
        for (int64_t h = 0; h < H; ++h)
            bits[r * H + h] = to_bf16(hidden[packed->row[r] * H + h]);
}

static ald_status_t scoring_alloc(scoring_t *s, int64_t R, int64_t chunk)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &s->scorer->arena;
    const ald_shard_header_t *h = &s->scorer->header;
    const int64_t V = h->vocab_size, H = h->hidden_size, K = h->top_k;
    bool full = h->encoding == ALD_ENCODING_FULL, topk = h->encoding == ALD_ENCODING_TOPK;
    bool hidden = h->encoding == ALD_ENCODING_HIDDEN;
    int64_t H_c = s->scorer->contrast.params.config.hidden_size;
    s->logits_c = ALD_ARENA_ARRAY(arena, float, chunk *V);
    s->rows_c = ALD_ARENA_ARRAY(arena, float, chunk *H_c);
    s->logprob_dpo = ALD_ARENA_ARRAY(arena, float, R);
    s->logprob_c = ALD_ARENA_ARRAY(arena, float, R);
    s->tvd = ALD_ARENA_ARRAY(arena, float, R);
    s->full_logprob = full ? ALD_ARENA_ARRAY(arena, float, R *V) : NULL;
    s->full_ratio = full ? ALD_ARENA_ARRAY(arena, float, R *V) : NULL;
    s->bits_dpo = hidden ? ALD_ARENA_ARRAY(arena, uint16_t, R * H) : NULL;
    s->bits_c = hidden ? ALD_ARENA_ARRAY(arena, uint16_t, R * H) : NULL;
    s->topk_id = topk ? ALD_ARENA_ARRAY(arena, int32_t, R * K) : NULL;
    s->topk_logprob = topk ? ALD_ARENA_ARRAY(arena, float, R *K) : NULL;
    s->topk_ratio = topk ? ALD_ARENA_ARRAY(arena, float, R *K) : NULL;
    s->tail_dpo = topk ? ALD_ARENA_ARRAY(arena, float, R) : NULL;
    s->tail_c = topk ? ALD_ARENA_ARRAY(arena, float, R) : NULL;
    ALD_CHECK(
        s->logits_c && s->rows_c && s->logprob_dpo && s->logprob_c && s->tvd &&
            (!full || (s->full_logprob && s->full_ratio)) &&
            (!hidden || (s->bits_dpo && s->bits_c)) &&
            (!topk || (s->topk_id && s->topk_logprob && s->topk_ratio && s->tail_dpo && s->tail_c)),
        ALD_STATUS_RESOURCE,
        "out of memory: scoring %lld positions; lower optimizer.micro_batch_tokens", (long long)R);
done:
    return status;
}

/* Row `first` of an array of rows of `width`, or NULL. */
#define ROWS(array, first, width) ((array) == NULL ? NULL : (array) + (first) * (width))

static void fill_sequence(const scoring_t *s, int64_t first, ald_scored_t *out)
{
    const ald_shard_header_t *h = &s->scorer->header;
    out->logprob_dpo = s->logprob_dpo + first;
    out->logprob_reverse = s->logprob_c + first;
    out->tvd = s->tvd + first;
    out->full_logprob_dpo = ROWS(s->full_logprob, first, h->vocab_size);
    out->full_log_ratio = ROWS(s->full_ratio, first, h->vocab_size);
    out->hidden_dpo = ROWS(s->bits_dpo, first, h->hidden_size);
    out->hidden_reverse = ROWS(s->bits_c, first, h->hidden_size);
    out->topk_id = ROWS(s->topk_id, first, h->top_k);
    out->topk_logprob_dpo = ROWS(s->topk_logprob, first, h->top_k);
    out->topk_log_ratio = ROWS(s->topk_ratio, first, h->top_k);
    out->tail_dpo = ROWS(s->tail_dpo, first, 1);
    out->tail_reverse = ROWS(s->tail_c, first, 1);
}

static int64_t forwards; /* of teachers, by this process */

int64_t ald_scorer_forwards(void)
{
    return forwards;
}

/* Both forward passes, the vocabulary step of both, everything stored. */
static ald_status_t score_packed(ald_scorer_t *scorer, const ald_packed_t *packed,
                                 ald_scored_t *sequences, ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t *arena = &scorer->arena;
    const int64_t T = packed->batch.tokens, R = packed->positions;
    const int64_t H = scorer->header.hidden_size, V = scorer->header.vocab_size;
    scoring_t s = {.scorer = scorer, .packed = packed};
    float *hidden = ALD_ARENA_ARRAY(arena, float, T *H);
    float *hidden_c = ALD_ARENA_ARRAY(arena, float, T * scorer->contrast.params.config.hidden_size);
    ALD_CHECK(hidden != NULL && hidden_c != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(scoring_alloc(&s, R, ald_head_chunk(V) < R ? ald_head_chunk(V) : R));
    s.hidden_c = hidden_c;
    ALD_TRY(ald_forward(&scorer->dpo.model, &packed->batch, arena, NULL, hidden));
    ALD_TRY(ald_forward(&scorer->contrast.model, &packed->batch, arena, NULL, hidden_c));
    forwards += 2;
    if (s.bits_dpo != NULL) {
        keep_hidden(packed, H, hidden, s.bits_dpo);
        keep_hidden(packed, H, hidden_c, s.bits_c);
    }
    ALD_TRY(
        ald_head(&scorer->dpo.model, hidden, R, packed->row, arena, scoring_head, &s, NULL, NULL));
    for (int64_t i = 0; i < packed->sequences; ++i) {
        fill_sequence(&s, packed->start[i], &sequences[i]);
        ALD_TRY(ald_fail_point("shard_write"));
        ALD_TRY(ald_shard_writer_append(writer, &sequences[i]));
    }
done:
    return status;
}

/* Sequences to items: neighbours of one prompt become one item of two responses. */
static int64_t make_items(const ald_scored_t *sequences, int64_t count, ald_item_t *items,
                          int64_t *tokens)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; ++i) {
        const ald_scored_t *s = &sequences[i];
        bool joins =
            used > 0 && items[used - 1].responses == 1 && items[used - 1].prompt == s->prompt_ids;
        ald_item_t *item = &items[joins ? used - 1 : used++];
        if (!joins)
            *item = (ald_item_t){.prompt = s->prompt_ids, .prompt_count = s->prompt_count};
        item->response[item->responses] = s->response_ids;
        item->response_count[item->responses++] = s->response_count;
        tokens[used - 1] = ald_item_tokens(item);
    }
    return used;
}

ald_status_t ald_scorer_run(ald_scorer_t *scorer, ald_scored_t *sequences, int64_t count,
                            ald_shard_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_mark_t mark = ald_arena_mark(&scorer->arena);
    ald_item_t *items = ALD_ARENA_ARRAY(&scorer->arena, ald_item_t, count + 1);
    int64_t *tokens = ALD_ARENA_ARRAY(&scorer->arena, int64_t, 2 * count + 2);
    ALD_CHECK(items != NULL && tokens != NULL, ALD_STATUS_RESOURCE, "out of memory");
    int64_t *start = tokens + count + 1, done = 0;
    int64_t used = make_items(sequences, count, items, tokens);
    int64_t micros =
        ald_micro_split(tokens, used, scorer->config->optimizer.micro_batch_tokens, start);
    for (int64_t m = 0; m < micros && used > 0; ++m) {
        ald_packed_t packed;
        ald_arena_mark_t inner = ald_arena_mark(&scorer->arena);
        ALD_TRY(ald_pack(items + start[m], start[m + 1] - start[m], &scorer->arena, &packed));
        ALD_TRY(score_packed(scorer, &packed, sequences + done, writer));
        done += packed.sequences;
        ald_arena_release(&scorer->arena, inner);
    }
done:
    ald_arena_release(&scorer->arena, mark);
    return status;
}

ald_status_t ald_scorer_write(ald_scorer_t *scorer, const char *path, ald_scored_t *sequences,
                              int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_writer_t *writer = NULL;
    ALD_TRY(ald_shard_writer_open(path, &scorer->header, &writer));
    ALD_TRY(ald_scorer_run(scorer, sequences, count, writer));
    ALD_TRY(ald_fail_point("shard_commit"));
    status = ald_shard_writer_commit(writer);
    writer = NULL;
done:
    ald_shard_writer_discard(writer);
    return status;
}
