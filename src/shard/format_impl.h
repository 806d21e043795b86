/* The layout of a shard, written once: whoever writes, reads, compares or fills one walks these
 * tables. src/shard/README.md says what each entry means. Private to src/shard. */
#ifndef ALD_SHARD_FORMAT_IMPL_H
#define ALD_SHARD_FORMAT_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"

#define ALD_SHARD_FORMAT_NAME "aligndistil-shard"

typedef enum {
    ALD_COLUMN_I64,
    ALD_COLUMN_I32,
    ALD_COLUMN_F32,
    ALD_COLUMN_F16,      /* halves, also in memory */
    ALD_COLUMN_F16_WIDE, /* halves, but float32 in memory */
    ALD_COLUMN_BF16,     /* u16 bits with the attribute dtype = "bfloat16" */
    ALD_COLUMN_SOURCE,   /* u8 enum */
    ALD_COLUMN_TEXT,     /* variable-length UTF-8, the only type without a checksum */
} ald_column_type_t;

/* How many rows a dataset has, and how many elements a row has. */
typedef enum {
    ALD_ROWS_N,
    ALD_ROWS_N1, /* N + 1 */
    ALD_ROWS_T,
    ALD_ROWS_R,
} ald_column_rows_t;

typedef enum {
    ALD_WIDTH_1, /* one dimension */
    ALD_WIDTH_V,
    ALD_WIDTH_H,
    ALD_WIDTH_K,
    ALD_WIDTH_KNOTS, /* 3 */
} ald_column_width_t;

/* The encodings that have a dataset, a bit for each. */
enum {
    ALD_IN_FULL = 1 << ALD_ENCODING_FULL,
    ALD_IN_HIDDEN = 1 << ALD_ENCODING_HIDDEN,
    ALD_IN_TOPK = 1 << ALD_ENCODING_TOPK,
    ALD_IN_HIDDEN32 = 1 << ALD_ENCODING_HIDDEN32,
    ALD_IN_SAMPLED = 1 << ALD_ENCODING_SAMPLED,
    ALD_IN_K = ALD_IN_TOPK | ALD_IN_SAMPLED,
    ALD_IN_ALL = (1 << ALD_ENCODING_COUNT) - 1,
    ALD_IN_CERTIFIED = 1 << 16, /* those with header.certified: all of these datasets, or none */
    ALD_IN_FULL16 = 1 << 17,    /* those with header.full16, in the place of the float32 ones */
};
/* The encodings whose shards may be of the latter two kinds. */
enum {
    ALD_MAY_BE_CERTIFIED = ALD_IN_TOPK,
    ALD_MAY_BE_FULL16 = ALD_IN_FULL,
};
static inline bool ald_encoding_in(ald_encoding_t encoding, int encodings)
{
    return (encodings >> encoding & 1) != 0;
}

/* Which of a type's numbers the mathematics of a trainer can bear. */
typedef enum {
    ALD_BOUND_FINITE,
    ALD_BOUND_SHARE,    /* 0 to 1 */
    ALD_BOUND_POSITIVE, /* and finite */
    ALD_BOUND_BELOW,    /* below infinity: -infinity is the logarithm of nothing */
    ALD_BOUND_NAN,      /* finite, or NaN: not known */
    ALD_BOUND_ID,       /* of the vocabulary */
    ALD_BOUND_NONE,     /* looked at elsewhere */
} ald_bound_t;

/* To which model a dataset belongs. One of a contrast is in the list twice, under two names. */
typedef enum {
    ALD_OF_SEQUENCE,
    ALD_OF_CONTRAST,  /* to header.contrast, for which the shard was scored */
    ALD_OF_REFERENCE, /* to the reference beside it */
} ald_column_of_t;

/* S(constant, path, type, rows)
 * D(constant, path, type, width, encodings, bound, member of ald_scored_t): a row a position
 * C(constant, path, path of the reference's, type, width, encodings, bound, member of
 *   ald_contrasted_t): a row a position
 * The datasets of the reference come after all others, in the order of the list. */
#define ALD_SHARD_DATASETS(S, D, C)                                                                \
    S(SEQUENCE_ID, "/sequence/id", I64, N)                                                         \
    S(SEQUENCE_SOURCE, "/sequence/source", SOURCE, N)                                              \
    S(TOKEN_START, "/sequence/token_start", I64, N1)                                               \
    S(RESPONSE_START, "/sequence/response_start", I64, N1)                                         \
    S(PROMPT, "/sequence/prompt", TEXT, N)                                                         \
    S(RESPONSE, "/sequence/response", TEXT, N)                                                     \
    S(TOKEN_ID, "/token/id", I32, T)                                                               \
    D(RESPONSE_ID, "/response/id", I32, 1, ALL, NONE, response_ids)                                \
    D(LOGPROB_DPO, "/response/logprob_dpo", F32, 1, ALL, FINITE, logprob_dpo)                      \
    C(LOGPROB, "/response/logprob_reverse", "/response/logprob_reference", F32, 1, ALL, FINITE,    \
      logprob)                                                                                     \
    D(LOGPROB_POLICY, "/response/logprob_policy", F32, 1, ALL, NAN, logprob_policy)                \
    C(TVD, "/response/tvd", "/response/tvd_reference", F32, 1, ALL, SHARE, tvd)                    \
    D(FULL_LOGPROB, "/teacher/logprob_dpo", F32, V, FULL, FINITE, full_logprob_dpo)                \
    C(FULL_RATIO, "/teacher/log_ratio", "/teacher/log_ratio_reference", F32, V, FULL, FINITE,      \
      full_log_ratio)                                                                              \
    D(FULL16_LOGPROB, "/teacher/logprob_dpo", F16_WIDE, V, FULL16, FINITE, full_logprob_dpo)       \
    C(FULL16_RATIO, "/teacher/log_ratio", "/teacher/log_ratio_reference", F16_WIDE, V, FULL16,     \
      FINITE, full_log_ratio)                                                                      \
    D(HIDDEN_DPO, "/teacher/hidden_dpo", BF16, H, HIDDEN, FINITE, hidden_dpo)                      \
    C(HIDDEN, "/teacher/hidden_reverse", "/teacher/hidden_reference", BF16, H, HIDDEN, FINITE,     \
      hidden)                                                                                      \
    D(HIDDEN32_DPO, "/teacher/hidden_dpo", F32, H, HIDDEN32, FINITE, hidden32_dpo)                 \
    C(HIDDEN32, "/teacher/hidden_reverse", "/teacher/hidden_reference", F32, H, HIDDEN32, FINITE,  \
      hidden32)                                                                                    \
    D(TOPK_ID, "/teacher/token_id", I32, K, K, ID, topk_id)                                        \
    D(TOPK_LOGPROB, "/teacher/logprob_dpo", F16, K, K, FINITE, topk_logprob)                       \
    C(TOPK_RATIO, "/teacher/log_ratio", "/teacher/log_ratio_reference", F16, K, K, FINITE,         \
      topk_log_ratio)                                                                              \
    D(TAIL_DPO, "/teacher/tail_dpo", F32, 1, TOPK, BELOW, tail_dpo)                                \
    C(TAIL, "/teacher/tail_reverse", "/teacher/tail_reference", F32, 1, TOPK, BELOW, tail)         \
    D(PROPOSAL_FACTOR, "/teacher/proposal_factor", F32, 1, SAMPLED, FINITE, proposal_factor)       \
    D(PROPOSAL_TEMPERATURE, "/teacher/proposal_temperature", F32, 1, SAMPLED, POSITIVE,            \
      proposal_temperature)                                                                        \
    D(PROPOSAL_LOGZ, "/teacher/proposal_logz", F32, 1, SAMPLED, FINITE, proposal_logz)             \
    C(ALPHA_MAX, "/teacher/alpha_max", "/teacher/alpha_max_reference", F32, 1, CERTIFIED, FINITE,  \
      alpha_max)                                                                                   \
    C(TAIL_MASS, "/teacher/tail_mass", "/teacher/tail_mass_reference", F32, KNOTS, CERTIFIED,      \
      BELOW, tail_mass)                                                                            \
    C(TAIL_LEAST, "/teacher/tail_least", "/teacher/tail_least_reference", F32, KNOTS, CERTIFIED,   \
      FINITE, tail_least)                                                                          \
    C(TAIL_RATIO_MIN, "/teacher/tail_ratio_min", "/teacher/tail_ratio_min_reference", F32, 1,      \
      CERTIFIED, FINITE, tail_ratio_min)                                                           \
    C(TAIL_RATIO_MAX, "/teacher/tail_ratio_max", "/teacher/tail_ratio_max_reference", F32, 1,      \
      CERTIFIED, FINITE, tail_ratio_max)

#define ALD_SHARD_CONSTANT(name, ...)  ALD_DATASET_##name,
#define ALD_SHARD_REFERENCE(name, ...) ALD_DATASET_##name##_REFERENCE,
#define ALD_SHARD_NOTHING(name, ...)
typedef enum {
    ALD_SHARD_DATASETS(ALD_SHARD_CONSTANT, ALD_SHARD_CONSTANT, ALD_SHARD_CONSTANT)
        ALD_SHARD_DATASETS(ALD_SHARD_NOTHING, ALD_SHARD_NOTHING, ALD_SHARD_REFERENCE)
            ALD_DATASET_COUNT
} ald_shard_dataset_t;
#undef ALD_SHARD_CONSTANT
#undef ALD_SHARD_REFERENCE
#undef ALD_SHARD_NOTHING

typedef struct {
    const char *path;
    ald_column_type_t type;
    ald_column_rows_t rows;
    ald_column_width_t width;
    int encodings; /* that have it, a bit for each */
    ald_bound_t bound;
    ald_column_of_t of;
    size_t member; /* rows R only: its offset in ald_scored_t, or in ald_contrasted_t */
} ald_dataset_info_t;

extern const ald_dataset_info_t ald_shard_datasets[ALD_DATASET_COUNT];

/* The attributes of `/` that are members of ald_shard_header_t; format, schema_version, encoding
 * and config are not. */
typedef enum {
    ALD_ATTRIBUTE_INTEGER,
    ALD_ATTRIBUTE_TEXT,
    ALD_ATTRIBUTE_CONTRAST, /* by its name */
    ALD_ATTRIBUTE_MODEL,    /* the sha256 of the model header.contrast; it comes after that one */
} ald_attribute_kind_t;
typedef struct {
    const char *name;
    ald_attribute_kind_t kind;
    size_t offset, size; /* of the member: char[size], or int64_t; of the last two none */
} ald_shard_attribute_t;

enum { ALD_SHARD_ATTRIBUTES = 13 }; /* rows of the table */
extern const ald_shard_attribute_t ald_shard_attributes[ALD_SHARD_ATTRIBUTES];

/* An attribute's value as text (a number in `room`), which stays while the header does. */
enum { ALD_ATTRIBUTE_ROOM = 24 }; /* characters of any 64-bit number */
const char *ald_attribute_text(const ald_shard_attribute_t *attribute,
                               const ald_shard_header_t *header, char room[ALD_ATTRIBUTE_ROOM]);

/* "f16" or "f32", the attribute full_dtype, which is written for halves only. */
const char *ald_shard_full_dtype(const ald_shard_header_t *header);

/* The groups that hold the datasets. */
enum { ALD_SHARD_GROUPS = 4 };
extern const char *const ald_shard_groups[ALD_SHARD_GROUPS];

/* Writes the attributes of `/`, with this `format`, and makes the groups; `path` for messages. */
ald_status_t ald_shard_put_root(hid_t file, const char *path, const char *format,
                                const ald_shard_header_t *header);

/* Elements in a row of a dataset under this header. */
int64_t ald_dataset_width(const ald_dataset_info_t *info, const ald_shard_header_t *header);
/* Bytes of one element in the file; in memory. */
size_t ald_column_size(ald_column_type_t type);
size_t ald_column_memory_size(ald_column_type_t type);
/* A new type id (H5Tclose), in the file and in memory alike; -1 after a failure. */
hid_t ald_column_h5_type(ald_column_type_t type);
/* The matrix that a dataset of hidden states belongs to. */
const ald_head_digest_t *ald_dataset_head(const ald_dataset_info_t *info,
                                          const ald_shard_header_t *header);
bool ald_dataset_is_in(const ald_dataset_info_t *info, const ald_shard_header_t *header);
/* The member of a sequence that holds a dataset of positions (ALD_ROWS_R). */
const void **ald_dataset_member(const ald_shard_header_t *header, ald_scored_t *sequence,
                                ald_shard_dataset_t dataset);
/* The content of that dataset; NULL when the sequence has none. */
const void *ald_dataset_content(const ald_shard_header_t *header, const ald_scored_t *sequence,
                                ald_shard_dataset_t dataset);

/* How a dataset is cut into chunks. */
typedef struct {
    bool used;                       /* false: not in this encoding */
    bool filtered;                   /* compressed, so by HDF5's own filters */
    int64_t width;                   /* elements in a row */
    int64_t chunk_rows, chunk_width; /* chunk_rows is 1 where chunk_width isn't width */
    size_t size, chunk_bytes;        /* of an element in the file, of a chunk without checksum */
} ald_column_plan_t;
/* What a writer does; a shard from elsewhere may be cut otherwise. */
ald_column_plan_t ald_column_plan(const ald_dataset_info_t *info, const ald_shard_header_t *header);
/* Where a writer lets large chunks begin: at multiples of this, which wastes 1/32 at most. */
int64_t ald_shard_alignment(const ald_shard_header_t *header);

#endif
