#include "ald/shard/format.h"

#include <string.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/record/h5.h"
#include "shard/fletcher_impl.h"
#include "shard/format_impl.h"

enum {
    CHUNK_PLACE = 1 << 18, /* with its checksum: a random read of one sequence touches few bytes
                              more than its own */
    CHUNK_TARGET = CHUNK_PLACE - ALD_FLETCHER_BYTES,
    CHUNK_MAX = 1 << 20, /* HDF5's chunk cache */
    NARROW_ROWS = 4096,  /* of columns with one element in a row */
};

#define INFO(name, path, type, rows, width, in)                                                    \
    {path, ALD_COLUMN_##type, ALD_ROWS_##rows, ALD_WIDTH_##width, ALD_IN_##in},
const ald_dataset_info_t ald_shard_datasets[ALD_DATASET_COUNT] = {ALD_SHARD_DATASETS(INFO)};
#undef INFO

#define INTEGER(member)                                                                            \
    {                                                                                              \
#member, false, offsetof(ald_shard_header_t, member), sizeof(int64_t)                      \
    }
#define TEXT(member)                                                                               \
    {                                                                                              \
#member, true, offsetof(ald_shard_header_t, member),                                       \
            sizeof(((ald_shard_header_t *)0)->member)                                              \
    }
const ald_shard_attribute_t ald_shard_attributes[ALD_SHARD_ATTRIBUTES] = {
    INTEGER(vocab_size),    INTEGER(hidden_size), INTEGER(top_k),    INTEGER(policy_step),
    INTEGER(seed),          TEXT(contrast),       TEXT(sha256_dpo),  TEXT(sha256_reverse),
    TEXT(sha256_tokenizer), TEXT(sha256_data),    TEXT(chat_format), TEXT(tool_version),
    TEXT(created),
};
#undef INTEGER
#undef TEXT

const char *const ald_shard_groups[ALD_SHARD_GROUPS] = {"/sequence", "/token", "/response",
                                                        "/teacher"};

const char *ald_encoding_name(ald_encoding_t encoding)
{
    return ald_choice_name(ALD_CHOICES_ENCODINGS, encoding);
}

ald_status_t ald_encoding_parse(const char *name, ald_encoding_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    unsigned value = 0;
    ALD_CHECK(ald_choice_find(ALD_CHOICES_ENCODINGS, name, &value), ALD_STATUS_INPUT,
              "encoding: expected one of %s, found \"%.40s\"", ald_choice_names(ALD_CHOICES_ENCODINGS),
              name);
    *out = (ald_encoding_t)value;
done:
    return status;
}

static ald_status_t put_attributes(hid_t file, const char *path, const char *format,
                                   const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_h5_put_text(file, path, "format", format));
    ALD_TRY(ald_h5_put_integer(file, path, "schema_version", ALD_SHARD_SCHEMA));
    ALD_TRY(ald_h5_put_text(file, path, "encoding", ald_encoding_name(header->encoding)));
    if (header->full16)
        ALD_TRY(ald_h5_put_text(file, path, "full_dtype", "f16"));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i) {
        const ald_shard_attribute_t *attribute = &ald_shard_attributes[i];
        const char *member = (const char *)header + attribute->offset;
        if (attribute->is_text)
            ALD_TRY(ald_h5_put_text(file, path, attribute->name, member));
        else
            ALD_TRY(ald_h5_put_integer(file, path, attribute->name, *(const int64_t *)member));
    }
    if (header->sha256_reference[0] != '\0')
        ALD_TRY(ald_h5_put_text(file, path, "sha256_reference", header->sha256_reference));
    ALD_TRY(ald_h5_put_text(file, path, "config", header->config == NULL ? "" : header->config));
done:
    return status;
}

static ald_status_t make_groups(hid_t file, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t list = -1, group = -1;
    ALD_H5(list = ald_h5_group_properties(), path, "/");
    for (int i = 0; i < ALD_SHARD_GROUPS; ++i) {
        const char *name = ald_shard_groups[i];
        ALD_H5(group = H5Gcreate2(file, name, H5P_DEFAULT, list, H5P_DEFAULT), path, name);
        ALD_H5(H5Gclose(group), path, name);
    }
done:
    H5Pclose(list);
    return status;
}

ald_status_t ald_shard_put_root(hid_t file, const char *path, const char *format,
                                const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put_attributes(file, path, format, header));
    ALD_TRY(make_groups(file, path));
done:
    return status;
}

const char *ald_source_name(ald_source_t source)
{
    static const char *const names[] = {"chosen", "rejected", "policy"};
    return names[source];
}

int64_t ald_dataset_width(const ald_dataset_info_t *info, const ald_shard_header_t *header)
{
    switch (info->width) {
    case ALD_WIDTH_V:
        return header->vocab_size;
    case ALD_WIDTH_H:
        return header->hidden_size;
    case ALD_WIDTH_K:
        return header->top_k;
    case ALD_WIDTH_KNOTS:
        return 3;
    default:
        return 1;
    }
}

size_t ald_column_size(ald_column_type_t type)
{
    static const size_t sizes[] = {
        [ALD_COLUMN_I64] = 8,    [ALD_COLUMN_I32] = 4,      [ALD_COLUMN_F32] = 4,
        [ALD_COLUMN_F16] = 2,    [ALD_COLUMN_F16_WIDE] = 2, [ALD_COLUMN_BF16] = 2,
        [ALD_COLUMN_SOURCE] = 1, [ALD_COLUMN_TEXT] = 16, /* a reference into the heap */
    };
    return sizes[type];
}

size_t ald_column_memory_size(ald_column_type_t type)
{
    return type == ALD_COLUMN_F16_WIDE ? sizeof(float) : ald_column_size(type);
}

static hid_t source_type(void)
{
    hid_t type = H5Tenum_create(H5T_STD_U8LE);
    for (uint8_t i = ALD_SOURCE_CHOSEN; type >= 0 && i <= ALD_SOURCE_POLICY; ++i) {
        if (H5Tenum_insert(type, ald_source_name((ald_source_t)i), &i) < 0) {
            H5Tclose(type);
            return -1;
        }
    }
    return type;
}

hid_t ald_column_h5_type(ald_column_type_t type)
{
    switch (type) {
    case ALD_COLUMN_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case ALD_COLUMN_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case ALD_COLUMN_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case ALD_COLUMN_F16:
    case ALD_COLUMN_F16_WIDE:
        return ald_h5_f16_type();
    case ALD_COLUMN_BF16:
        return H5Tcopy(H5T_STD_U16LE);
    case ALD_COLUMN_SOURCE:
        return source_type();
    case ALD_COLUMN_TEXT:
        return ald_h5_text_type();
    }
    return -1;
}

const ald_head_digest_t *ald_dataset_head(const ald_dataset_info_t *info,
                                          const ald_shard_header_t *header)
{
    return strstr(info->path, "_dpo") != NULL         ? &header->head_dpo
           : strstr(info->path, "_reference") != NULL ? &header->head_reference
                                                      : &header->head_reverse;
}

bool ald_dataset_is_in(const ald_dataset_info_t *info, const ald_shard_header_t *header)
{
    if ((info->encodings & ALD_IN_REFERENCE) != 0 && header->sha256_reference[0] == '\0')
        return false;
    if ((info->encodings & ALD_IN_CERTIFIED) != 0)
        return header->certified;
    if ((info->encodings & ALD_IN_FULL16) != 0)
        return header->full16;
    if (info->width == ALD_WIDTH_V && header->full16)
        return false;
    return (info->encodings >> header->encoding & 1) != 0;
}

const void **ald_dataset_member(ald_scored_t *sequence, ald_shard_dataset_t dataset)
{
    switch (dataset) {
#define MEMBER(name, member)                                                                       \
    case ALD_DATASET_##name:                                                                       \
        return (const void **)&sequence->member;
        MEMBER(RESPONSE_ID, response_ids)
        MEMBER(LOGPROB_DPO, logprob_dpo)
        MEMBER(LOGPROB_REVERSE, logprob_reverse)
        MEMBER(LOGPROB_POLICY, logprob_policy)
        MEMBER(TVD, tvd)
        MEMBER(FULL_LOGPROB, full_logprob_dpo)
        MEMBER(FULL_RATIO, full_log_ratio)
        MEMBER(FULL16_LOGPROB, full_logprob_dpo)
        MEMBER(FULL16_RATIO, full_log_ratio)
        MEMBER(HIDDEN_DPO, hidden_dpo)
        MEMBER(HIDDEN_REVERSE, hidden_reverse)
        MEMBER(HIDDEN32_DPO, hidden32_dpo)
        MEMBER(HIDDEN32_REVERSE, hidden32_reverse)
        MEMBER(TOPK_ID, topk_id)
        MEMBER(TOPK_LOGPROB, topk_logprob_dpo)
        MEMBER(TOPK_RATIO, topk_log_ratio)
        MEMBER(TAIL_DPO, tail_dpo)
        MEMBER(TAIL_REVERSE, tail_reverse)
        MEMBER(PROPOSAL_FACTOR, proposal_factor)
        MEMBER(PROPOSAL_TEMPERATURE, proposal_temperature)
        MEMBER(PROPOSAL_LOGZ, proposal_logz)
        MEMBER(ALPHA_MAX, alpha_max)
        MEMBER(TAIL_MASS, tail_mass)
        MEMBER(TAIL_LEAST, tail_least)
        MEMBER(TAIL_RATIO_MIN, tail_ratio_min)
        MEMBER(TAIL_RATIO_MAX, tail_ratio_max)
        MEMBER(LOGPROB_REFERENCE, logprob_reference)
        MEMBER(TVD_REFERENCE, tvd_reference)
        MEMBER(FULL_RATIO_REFERENCE, full_log_ratio_reference)
        MEMBER(FULL16_RATIO_REFERENCE, full_log_ratio_reference)
        MEMBER(HIDDEN_REFERENCE, hidden_reference)
        MEMBER(HIDDEN32_REFERENCE, hidden32_reference)
        MEMBER(TOPK_RATIO_REFERENCE, topk_log_ratio_reference)
        MEMBER(TAIL_REFERENCE, tail_reference)
        MEMBER(ALPHA_MAX_REFERENCE, alpha_max_reference)
        MEMBER(TAIL_MASS_REFERENCE, tail_mass_reference)
        MEMBER(TAIL_LEAST_REFERENCE, tail_least_reference)
        MEMBER(RATIO_MIN_REFERENCE, tail_ratio_min_reference)
        MEMBER(RATIO_MAX_REFERENCE, tail_ratio_max_reference)
#undef MEMBER
    default:
        return NULL;
    }
}

int64_t ald_shard_position_bytes(const ald_shard_header_t *header)
{
    int64_t bytes = 0;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_dataset_info_t *info = &ald_shard_datasets[i];
        if (info->rows == ALD_ROWS_R && ald_dataset_is_in(info, header))
            bytes += ald_dataset_width(info, header) * (int64_t)ald_column_memory_size(info->type);
    }
    return bytes;
}

ald_column_plan_t ald_column_plan(const ald_dataset_info_t *info, const ald_shard_header_t *header)
{
    ald_column_plan_t plan = {.used = ald_dataset_is_in(info, header)};
    if (!plan.used)
        return plan;
    plan.filtered = header->gzip && strncmp(info->path, "/teacher/", 9) == 0;
    plan.size = ald_column_size(info->type);
    plan.width = ald_dataset_width(info, header);
    const size_t row_bytes = (size_t)plan.width * plan.size;
    const int64_t pieces = (int64_t)((row_bytes + CHUNK_MAX - 1) / CHUNK_MAX);
    plan.chunk_width = (plan.width + pieces - 1) / pieces;
    plan.chunk_rows = row_bytes < CHUNK_TARGET ? CHUNK_TARGET / (int64_t)row_bytes : 1;
    if (info->width == ALD_WIDTH_1)
        plan.chunk_rows = info->type == ALD_COLUMN_TEXT ? 1 : NARROW_ROWS;
    plan.chunk_bytes = (size_t)(plan.chunk_rows * plan.chunk_width) * plan.size;
    return plan;
}

/* The page cache holds a file in pieces of at most the size by which their places can be divided;
 * chunks that begin at multiples of their size are written and read by larger pieces. */
int64_t ald_shard_alignment(const ald_shard_header_t *header)
{
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_column_plan_t plan = ald_column_plan(&ald_shard_datasets[i], header);
        const int64_t left = CHUNK_PLACE - (int64_t)plan.chunk_bytes;
        if (plan.used && ald_shard_datasets[i].width != ALD_WIDTH_1 &&
            (plan.filtered || left < 0 || left > CHUNK_PLACE / 32))
            return ALD_H5_PAGE;
    }
    return CHUNK_PLACE;
}

void ald_scored_take_reference(ald_scored_t *sequence)
{
    sequence->logprob_reverse = sequence->logprob_reference;
    sequence->tvd = sequence->tvd_reference;
    sequence->full_log_ratio = sequence->full_log_ratio_reference;
    sequence->hidden_reverse = sequence->hidden_reference;
    sequence->hidden32_reverse = sequence->hidden32_reference;
    sequence->topk_log_ratio = sequence->topk_log_ratio_reference;
    sequence->tail_reverse = sequence->tail_reference;
    sequence->alpha_max = sequence->alpha_max_reference;
    sequence->tail_mass = sequence->tail_mass_reference;
    sequence->tail_least = sequence->tail_least_reference;
    sequence->tail_ratio_min = sequence->tail_ratio_min_reference;
    sequence->tail_ratio_max = sequence->tail_ratio_max_reference;
}
