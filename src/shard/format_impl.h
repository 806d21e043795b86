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

enum {
    ALD_IN_FULL = 1 << ALD_ENCODING_FULL,
    ALD_IN_HIDDEN = 1 << ALD_ENCODING_HIDDEN,
    ALD_IN_TOPK = 1 << ALD_ENCODING_TOPK,
    ALD_IN_HIDDEN32 = 1 << ALD_ENCODING_HIDDEN32,
    ALD_IN_SAMPLED = 1 << ALD_ENCODING_SAMPLED,
    ALD_IN_K = ALD_IN_TOPK | ALD_IN_SAMPLED,
    ALD_IN_ALL = (1 << ALD_ENCODING_COUNT) - 1,
    ALD_IN_REFERENCE = 1 << 18, /* only with header.sha256_reference */
    ALD_IN_ALL_REFERENCE = ALD_IN_REFERENCE | ALD_IN_ALL,
    ALD_IN_FULL_REFERENCE = ALD_IN_REFERENCE | ALD_IN_FULL,
    ALD_IN_HIDDEN_REFERENCE = ALD_IN_REFERENCE | ALD_IN_HIDDEN,
    ALD_IN_HIDDEN32_REFERENCE = ALD_IN_REFERENCE | ALD_IN_HIDDEN32,
    ALD_IN_TOPK_REFERENCE = ALD_IN_REFERENCE | ALD_IN_TOPK,
    ALD_IN_FULL16 = 1 << 17, /* full with header.full16, in the place of the float32 ones */
    ALD_IN_FULL16_REFERENCE = ALD_IN_REFERENCE | ALD_IN_FULL16,
    ALD_IN_CERTIFIED = 1 << 16, /* topk with header.certified: all of these, or none */
    ALD_IN_CERTIFIED_REFERENCE = ALD_IN_REFERENCE | ALD_IN_CERTIFIED,
};

/* D(constant, path, type, rows, width, encodings). Datasets of one row per position of /teacher and
 * /response come last: their memory is the member of ald_scored_t in shard_format.c. */
#define ALD_SHARD_DATASETS(D)                                                                      \
    D(SEQUENCE_ID, "/sequence/id", I64, N, 1, ALL)                                                 \
    D(SEQUENCE_SOURCE, "/sequence/source", SOURCE, N, 1, ALL)                                      \
    D(TOKEN_START, "/sequence/token_start", I64, N1, 1, ALL)                                       \
    D(RESPONSE_START, "/sequence/response_start", I64, N1, 1, ALL)                                 \
    D(PROMPT, "/sequence/prompt", TEXT, N, 1, ALL)                                                 \
    D(RESPONSE, "/sequence/response", TEXT, N, 1, ALL)                                             \
    D(TOKEN_ID, "/token/id", I32, T, 1, ALL)                                                       \
    D(RESPONSE_ID, "/response/id", I32, R, 1, ALL)                                                 \
    D(LOGPROB_DPO, "/response/logprob_dpo", F32, R, 1, ALL)                                        \
    D(LOGPROB_REVERSE, "/response/logprob_reverse", F32, R, 1, ALL)                                \
    D(LOGPROB_POLICY, "/response/logprob_policy", F32, R, 1, ALL)                                  \
    D(TVD, "/response/tvd", F32, R, 1, ALL)                                                        \
    D(FULL_LOGPROB, "/teacher/logprob_dpo", F32, R, V, FULL)                                       \
    D(FULL_RATIO, "/teacher/log_ratio", F32, R, V, FULL)                                           \
    D(FULL16_LOGPROB, "/teacher/logprob_dpo", F16_WIDE, R, V, FULL16)                              \
    D(FULL16_RATIO, "/teacher/log_ratio", F16_WIDE, R, V, FULL16)                                  \
    D(HIDDEN_DPO, "/teacher/hidden_dpo", BF16, R, H, HIDDEN)                                       \
    D(HIDDEN_REVERSE, "/teacher/hidden_reverse", BF16, R, H, HIDDEN)                               \
    D(HIDDEN32_DPO, "/teacher/hidden_dpo", F32, R, H, HIDDEN32)                                    \
    D(HIDDEN32_REVERSE, "/teacher/hidden_reverse", F32, R, H, HIDDEN32)                            \
    D(TOPK_ID, "/teacher/token_id", I32, R, K, K)                                                  \
    D(TOPK_LOGPROB, "/teacher/logprob_dpo", F16, R, K, K)                                          \
    D(TOPK_RATIO, "/teacher/log_ratio", F16, R, K, K)                                              \
    D(TAIL_DPO, "/teacher/tail_dpo", F32, R, 1, TOPK)                                              \
    D(TAIL_REVERSE, "/teacher/tail_reverse", F32, R, 1, TOPK)                                      \
    D(PROPOSAL_FACTOR, "/teacher/proposal_factor", F32, R, 1, SAMPLED)                             \
    D(PROPOSAL_TEMPERATURE, "/teacher/proposal_temperature", F32, R, 1, SAMPLED)                   \
    D(PROPOSAL_LOGZ, "/teacher/proposal_logz", F32, R, 1, SAMPLED)                                 \
    D(ALPHA_MAX, "/teacher/alpha_max", F32, R, 1, CERTIFIED)                                       \
    D(TAIL_MASS, "/teacher/tail_mass", F32, R, KNOTS, CERTIFIED)                                   \
    D(TAIL_LEAST, "/teacher/tail_least", F32, R, KNOTS, CERTIFIED)                                 \
    D(TAIL_RATIO_MIN, "/teacher/tail_ratio_min", F32, R, 1, CERTIFIED)                             \
    D(TAIL_RATIO_MAX, "/teacher/tail_ratio_max", F32, R, 1, CERTIFIED)                             \
    D(LOGPROB_REFERENCE, "/response/logprob_reference", F32, R, 1, ALL_REFERENCE)                  \
    D(TVD_REFERENCE, "/response/tvd_reference", F32, R, 1, ALL_REFERENCE)                          \
    D(FULL_RATIO_REFERENCE, "/teacher/log_ratio_reference", F32, R, V, FULL_REFERENCE)             \
    D(FULL16_RATIO_REFERENCE, "/teacher/log_ratio_reference", F16_WIDE, R, V, FULL16_REFERENCE)    \
    D(HIDDEN_REFERENCE, "/teacher/hidden_reference", BF16, R, H, HIDDEN_REFERENCE)                 \
    D(HIDDEN32_REFERENCE, "/teacher/hidden_reference", F32, R, H, HIDDEN32_REFERENCE)              \
    D(TOPK_RATIO_REFERENCE, "/teacher/log_ratio_reference", F16, R, K, TOPK_REFERENCE)             \
    D(TAIL_REFERENCE, "/teacher/tail_reference", F32, R, 1, TOPK_REFERENCE)                        \
    D(ALPHA_MAX_REFERENCE, "/teacher/alpha_max_reference", F32, R, 1, CERTIFIED_REFERENCE)         \
    D(TAIL_MASS_REFERENCE, "/teacher/tail_mass_reference", F32, R, KNOTS, CERTIFIED_REFERENCE)     \
    D(TAIL_LEAST_REFERENCE, "/teacher/tail_least_reference", F32, R, KNOTS, CERTIFIED_REFERENCE)   \
    D(RATIO_MIN_REFERENCE, "/teacher/tail_ratio_min_reference", F32, R, 1, CERTIFIED_REFERENCE)    \
    D(RATIO_MAX_REFERENCE, "/teacher/tail_ratio_max_reference", F32, R, 1, CERTIFIED_REFERENCE)

#define ALD_SHARD_CONSTANT(name, path, type, rows, width, in) ALD_DATASET_##name,
typedef enum { ALD_SHARD_DATASETS(ALD_SHARD_CONSTANT) ALD_DATASET_COUNT } ald_shard_dataset_t;
#undef ALD_SHARD_CONSTANT

typedef struct {
    const char *path;
    ald_column_type_t type;
    ald_column_rows_t rows;
    ald_column_width_t width;
    int encodings; /* a bit for each that has it */
} ald_dataset_info_t;

extern const ald_dataset_info_t ald_shard_datasets[ALD_DATASET_COUNT];

/* The attributes of `/` that are members of ald_shard_header_t; format, schema_version, encoding
 * and config are not. */
typedef struct {
    const char *name;
    bool is_text;
    size_t offset, size; /* of the member: char[size], or int64_t */
} ald_shard_attribute_t;

enum { ALD_SHARD_ATTRIBUTES = 13 };
extern const ald_shard_attribute_t ald_shard_attributes[ALD_SHARD_ATTRIBUTES];

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
const void **ald_dataset_member(ald_scored_t *sequence, ald_shard_dataset_t dataset);

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
