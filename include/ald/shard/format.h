/* Teacher shards: HDF5 files of per-token teacher distributions, as src/shard/README.md describes
 * them. Layer: shard.
 *
 * N sequences, T tokens, R response positions, K support size, H hidden size, V vocabulary. */
#ifndef ALD_SHARD_FORMAT_H
#define ALD_SHARD_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"

#define ALD_SHARD_SCHEMA 1

typedef enum {
    ALD_SOURCE_CHOSEN = 0,
    ALD_SOURCE_REJECTED = 1,
    ALD_SOURCE_POLICY = 2,
} ald_source_t;

/* hidden, hidden32: an output matrix, by the bytes of its tensor in the model's files. */
typedef struct {
    char sha256[ALD_SHA256_HEX]; /* empty: not known */
    char dtype[8];               /* "F32", "BF16", "F16" */
} ald_head_digest_t;

enum { ALD_TOP_K_MOST = 1 << 16 }; /* what a thread's stack bears some times */

/* The attributes of `/`. */
typedef struct {
    ald_encoding_t encoding;
    int64_t vocab_size;  /* V */
    int64_t hidden_size; /* H of both teachers; only hidden and hidden32 use it */
    int64_t top_k;       /* K, up to ALD_TOP_K_MOST; 0 unless topk or sampled */
    int64_t policy_step; /* -1: not on-policy */
    int64_t seed;
    char contrast[12]; /* "reverse" or "reference": which model the second slot holds */
    char sha256_dpo[ALD_SHA256_HEX], sha256_reverse[ALD_SHA256_HEX];
    char sha256_reference[ALD_SHA256_HEX]; /* of a third model, which stands beside the second of
                                              contrast "reverse"; "": none */
    char sha256_tokenizer[ALD_SHA256_HEX], sha256_data[ALD_SHA256_HEX];
    char chat_format[24];
    char tool_version[24];
    char created[32];   /* ISO 8601, UTC */
    const char *config; /* effective configuration, whole; borrowed by the writer, owned by the
                           reader */
    bool gzip;          /* writer only: compress /teacher */
    ald_head_digest_t head_dpo, head_reverse, head_reference; /* hidden and hidden32 only */
    bool full16;    /* full only: its datasets of V columns are halves in the file */
    bool certified; /* topk only: with what bounds its error */
} ald_shard_header_t;

/* One scored sequence. P prompt tokens, R response positions. Unused encodings' members are NULL.
 */
typedef struct {
    int64_t id; /* row in the dataset */
    ald_source_t source;
    const char *prompt, *response; /* UTF-8 */
    const int32_t *prompt_ids;     /* [P] */
    int64_t prompt_count;
    const int32_t *response_ids; /* [R] */
    int64_t response_count;
    const float *logprob_dpo, *logprob_reverse;        /* [R] of the token */
    const float *logprob_policy;                       /* [R]; NULL when writing means NaN */
    const float *tvd;                                  /* [R] */
    const float *full_logprob_dpo, *full_log_ratio;    /* [R, V] */
    const uint16_t *hidden_dpo, *hidden_reverse;       /* [R, H] bfloat16 bits */
    const float *hidden32_dpo, *hidden32_reverse;      /* [R, H] */
    const int32_t *topk_id;                            /* [R, K]; of sampled the draws */
    const uint16_t *topk_logprob_dpo, *topk_log_ratio; /* [R, K] float16 bits */
    const float *tail_dpo, *tail_reverse;              /* [R] log of the mass outside */
    /* With a reference: what its contrast has in the places of the second model's members. */
    const float *logprob_reference, *tvd_reference; /* [R] */
    const float *full_log_ratio_reference;          /* [R, V] */
    const uint16_t *hidden_reference;               /* [R, H] bfloat16 bits */
    const float *hidden32_reference;                /* [R, H] */
    const uint16_t *topk_log_ratio_reference;       /* [R, K] float16 bits */
    const float *tail_reference;                    /* [R] */
    /* A sampled one's (ald/teacher/sampled.h). */
    const float *proposal_factor, *proposal_temperature, *proposal_logz; /* [R] */
    /* A certified topk's (ald/teacher/support.h); all NULL otherwise. */
    const float *alpha_max;                       /* [R] */
    const float *tail_mass, *tail_least;          /* [R, 3] */
    const float *tail_ratio_min, *tail_ratio_max; /* [R] */
    /* With a reference: the same for its contrast. */
    const float *alpha_max_reference, *tail_mass_reference, *tail_least_reference;
    const float *tail_ratio_min_reference, *tail_ratio_max_reference;
} ald_scored_t;

/* Bytes of a response position in memory, all that a shard with this header has of it. */
int64_t ald_shard_position_bytes(const ald_shard_header_t *header);

/* Shards that share a limit: of those in a pool ALD_SHARDS_AWAKE hold their file open, and a read
 * of another one closes the file that was used longest ago. Zeroed at first; it outlives its
 * shards, and one thread at a time uses them. */
enum { ALD_SHARDS_AWAKE = 16 };

/* The sequence as contrast "reference" sees it: the reference in the place of the second model, and
 * no bound on a topk's error, which is known for the second model only. */
void ald_scored_take_reference(ald_scored_t *sequence);
/* Whether an encoding holds hidden states, to which the teachers' output matrices belong. */
static inline bool ald_encoding_is_hidden(ald_encoding_t encoding)
{
    return encoding == ALD_ENCODING_HIDDEN || encoding == ALD_ENCODING_HIDDEN32;
}
/* Whether it holds K tokens a position. */
static inline bool ald_encoding_has_k(ald_encoding_t encoding)
{
    return encoding == ALD_ENCODING_TOPK || encoding == ALD_ENCODING_SAMPLED;
}
const char *ald_encoding_name(ald_encoding_t encoding);
ald_status_t ald_encoding_parse(const char *name, ald_encoding_t *out); /* INPUT for others */
const char *ald_source_name(ald_source_t source);

#endif
