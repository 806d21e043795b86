/* Teacher shards: HDF5 files of per-token teacher distributions, as src/shard/README.md describes
 * them. Layer: shard.
 *
 * N sequences, T tokens, R response positions, K support size, H hidden size, V vocabulary. */
#ifndef ALD_SHARD_FORMAT_H
#define ALD_SHARD_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/arena.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"

/* The version of the format that is written; readers refuse newer ones. In 1 the vocabulary had the
 * models' padding rows, since 2 it has the tokenizer's tokens alone. */
#define ALD_SHARD_SCHEMA 2

typedef enum {
    ALD_SOURCE_CHOSEN = 0,
    ALD_SOURCE_REJECTED = 1,
    ALD_SOURCE_POLICY = 2,
} ald_source_t;

/* An output matrix, to which hidden states belong: by the bytes of its tensor in the model's files.
 */
typedef struct {
    char sha256[ALD_SHA256_HEX]; /* empty: not known */
    char dtype[8];               /* "F32", "BF16", "F16" */
} ald_head_digest_t;

/* A model that a shard holds data of. */
typedef struct {
    char sha256[ALD_SHA256_HEX]; /* of its weights; "": the shard has nothing of it */
    ald_head_digest_t head;      /* of encodings that hold hidden states */
} ald_shard_model_t;

enum {
    ALD_TOP_K_MOST = 1 << 16, /* several arrays of K floats fit on a thread's stack */
};

/* The attributes of `/`. */
typedef struct {
    int64_t schema; /* of a shard that was read */
    ald_encoding_t encoding;
    int64_t vocab_size;  /* V */
    int64_t hidden_size; /* H of both teachers; only encodings with hidden states use it */
    int64_t top_k; /* K, up to ALD_TOP_K_MOST; 0 unless the encoding has K tokens a position */
    int64_t policy_step; /* -1: not on-policy */
    int64_t seed;
    ald_contrast_t contrast; /* the one that the datasets called "_reverse" belong to */
    ald_shard_model_t dpo;
    ald_shard_model_t contrasts[ALD_CONTRAST_COUNT]; /* by ald_contrast_t: that one, and maybe
                                                         the reference beside the reverse */
    char sha256_tokenizer[ALD_SHA256_HEX], sha256_data[ALD_SHA256_HEX];
    char chat_format[24];
    char tool_version[24];
    char created[32];   /* ISO 8601, UTC */
    const char *config; /* effective configuration, whole; borrowed by the writer, owned by the
                           reader */
    bool gzip;          /* writer only: compress /teacher */
    bool full16;        /* rows of V columns are halves in the file */
    bool certified;     /* the K tokens have numbers that bound their error */
} ald_shard_header_t;

/* The data of a contrast, the model that pi_dpo is extrapolated from: the reverse or the reference.
 * Members of other encodings, and of a contrast that the shard doesn't hold, are NULL. */
typedef struct {
    const float *logprob;           /* [R] of the token */
    const float *tvd;               /* [R] 1/2 sum_v |pi_dpo(v) - pi_contrast(v)| */
    const float *full_log_ratio;    /* [R, V] log pi_dpo - log pi_contrast */
    const uint16_t *hidden;         /* [R, H] bfloat16 bits */
    const float *hidden32;          /* [R, H] */
    const uint16_t *topk_log_ratio; /* [R, K] float16 bits */
    const float *tail;              /* [R] log of pi_contrast's mass outside the K tokens */
    const float *alpha_max;         /* [R] from here on of certified ones (ald/teacher/support.h) */
    const float *tail_mass, *tail_least;          /* [R, 3] */
    const float *tail_ratio_min, *tail_ratio_max; /* [R] */
} ald_contrasted_t;

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
    const float *logprob_policy;   /* [R]; NULL when writing means NaN */
    const float *logprob_dpo;      /* [R] of the token */
    const float *full_logprob_dpo; /* [R, V] */
    const uint16_t *hidden_dpo;    /* [R, H] bfloat16 bits */
    const float *hidden32_dpo;     /* [R, H] */
    const int32_t *topk_id;        /* [R, K]; of draws too */
    const uint16_t *topk_logprob;  /* [R, K] float16 bits, of pi_dpo */
    const float *tail_dpo;         /* [R] log of pi_dpo's mass outside the K tokens */
    const float *proposal_factor, *proposal_temperature,
        *proposal_logz;                            /* [R] of draws
                                                      (ald/teacher/sampled.h) */
    ald_contrasted_t contrast[ALD_CONTRAST_COUNT]; /* by ald_contrast_t */
} ald_scored_t;

/* Whether the shard holds that contrast. */
bool ald_shard_has(const ald_shard_header_t *header, ald_contrast_t contrast);
/* Sets full16 and certified as a writer of this version has them for the header's encoding. */
void ald_shard_choose_form(ald_full_dtype_t full_dtype, ald_shard_header_t *header);
/* Sets the encoding, its top_k, which is at most vocab_size, and its form as shards.* has them. */
void ald_shard_take_settings(const ald_config_t *config, ald_shard_header_t *header);
/* The sha256 of the reference that the shard holds beside the reverse; "": none. */
const char *ald_shard_reference(const ald_shard_header_t *header);
/* Bytes in memory of everything that a shard with this header has of a response position. */
int64_t ald_shard_position_bytes(const ald_shard_header_t *header);

/* Makes room in the arena for the columns of R positions that a scorer fills for this header: all
 * but response_ids and logprob_policy. RESOURCE without memory. */
ald_status_t ald_scored_alloc(const ald_shard_header_t *header, int64_t R, ald_arena_t *arena,
                              ald_scored_t *out);
/* Fills those columns with random numbers that a shard may have, for benchmarks. */
void ald_scored_fill(const ald_shard_header_t *header, uint64_t stream, int64_t R,
                     ald_scored_t *sequence);
/* Points those columns of `out` to the positions of `all` from `first` on. */
void ald_scored_slice(const ald_shard_header_t *header, const ald_scored_t *all, int64_t first,
                      ald_scored_t *out);

/* How many shards of a pool (ald/shard/read.h) hold their file open: a read of another one closes
 * the file that was used longest ago. Random order touches all shards, and open files take memory.
 */
enum { ALD_SHARDS_AWAKE = 16 };

/* Whether an encoding holds hidden states, which need the teachers' output matrices; whether it
 * holds K tokens of a position. */
bool ald_encoding_is_hidden(ald_encoding_t encoding);
bool ald_encoding_has_k(ald_encoding_t encoding);
const char *ald_encoding_name(ald_encoding_t encoding);
ald_status_t ald_encoding_parse(const char *name, ald_encoding_t *out); /* INPUT for others */
const char *ald_source_name(ald_source_t source);

#endif
