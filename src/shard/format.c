/* The tables of datasets and attributes, and everything that follows from them alone: types,
 * widths, chunks, memory. Writer, reader, comparison and scorer walk these tables. */
#include "ald/shard/format.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/num/dtype.h"
#include "ald/record/h5.h"
#include "ald/shard/fletcher.h"
#include "shard/format_impl.h"

enum {
    CHUNK_PLACE = 1 << 18, /* bytes of a chunk with its checksum: small, so that reading one
                              sequence touches few bytes of others */
    CHUNK_TARGET = CHUNK_PLACE - ALD_FLETCHER_BYTES,
    CHUNK_MAX = 1 << 20, /* bytes, as large as HDF5's cache of chunks: any reader can hold one */
    NARROW_ROWS = 4096,  /* rows of a chunk with one element each: up to 32 KiB */
};

#define SEQUENCE(name, path, type, rows)                                                           \
    {path,       ALD_COLUMN_##type, ALD_ROWS_##rows, ALD_WIDTH_1,                                  \
     ALD_IN_ALL, ALD_BOUND_NONE,    ALD_OF_SEQUENCE, 0},
#define POSITION(name, path, type, width, in, bound, member)                                       \
    {path,        ALD_COLUMN_##type, ALD_ROWS_R,      ALD_WIDTH_##width,                           \
     ALD_IN_##in, ALD_BOUND_##bound, ALD_OF_SEQUENCE, offsetof(ald_scored_t, member)},
#define OF_CONTRAST(path, of, type, width, in, bound, member)                                      \
    {path,        ALD_COLUMN_##type, ALD_ROWS_R,  ALD_WIDTH_##width,                               \
     ALD_IN_##in, ALD_BOUND_##bound, ALD_OF_##of, offsetof(ald_contrasted_t, member)},
#define CONTRAST(name, path, other, ...)  OF_CONTRAST(path, CONTRAST, __VA_ARGS__)
#define REFERENCE(name, path, other, ...) OF_CONTRAST(other, REFERENCE, __VA_ARGS__)
#define NOTHING(name, ...)
const ald_dataset_info_t ald_shard_datasets[ALD_DATASET_COUNT] = {ALD_SHARD_DATASETS(
    SEQUENCE, POSITION, CONTRAST) ALD_SHARD_DATASETS(NOTHING, NOTHING, REFERENCE)};
#undef SEQUENCE
#undef POSITION
#undef OF_CONTRAST
#undef CONTRAST
#undef REFERENCE
#undef NOTHING

#define INTEGER(member)                                                                            \
    {                                                                                              \
#member, ALD_ATTRIBUTE_INTEGER, offsetof(ald_shard_header_t, member), 0                    \
    }
#define TEXT(name, member)                                                                         \
    {                                                                                              \
        name, ALD_ATTRIBUTE_TEXT, offsetof(ald_shard_header_t, member),                            \
            sizeof(((ald_shard_header_t *)0)->member)                                              \
    }
const ald_shard_attribute_t ald_shard_attributes[ALD_SHARD_ATTRIBUTES] = {
    INTEGER(vocab_size),
    INTEGER(hidden_size),
    INTEGER(top_k),
    INTEGER(policy_step),
    INTEGER(seed),
    {"contrast", ALD_ATTRIBUTE_CONTRAST, 0, 0},
    TEXT("sha256_dpo", dpo.sha256),
    {"sha256_reverse", ALD_ATTRIBUTE_MODEL, 0, 0},
    TEXT("sha256_tokenizer", sha256_tokenizer),
    TEXT("sha256_data", sha256_data),
    TEXT("chat_format", chat_format),
    TEXT("tool_version", tool_version),
    TEXT("created", created),
};
#undef INTEGER
#undef TEXT

const char *ald_attribute_text(const ald_shard_attribute_t *attribute,
                               const ald_shard_header_t *header, char room[ALD_ATTRIBUTE_ROOM])
{
    const char *member = (const char *)header + attribute->offset;
    switch (attribute->kind) {
    case ALD_ATTRIBUTE_INTEGER:
        snprintf(room, ALD_ATTRIBUTE_ROOM, "%lld", (long long)*(const int64_t *)member);
        return room;
    case ALD_ATTRIBUTE_CONTRAST:
        return ald_choice_name(ALD_CHOICES_CONTRASTS, header->contrast);
    case ALD_ATTRIBUTE_MODEL:
        return header->contrasts[header->contrast].sha256;
    default:
        return member;
    }
}

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
              "encoding: expected one of %s, found \"%.40s\"",
              ald_choice_names(ALD_CHOICES_ENCODINGS), name);
    *out = (ald_encoding_t)value;
done:
    return status;
}

bool ald_shard_has(const ald_shard_header_t *header, ald_contrast_t contrast)
{
    return contrast == header->contrast || header->contrasts[contrast].sha256[0] != '\0';
}

void ald_shard_choose_form(ald_full_dtype_t full_dtype, ald_shard_header_t *header)
{
    header->full16 =
        ald_encoding_in(header->encoding, ALD_MAY_BE_FULL16) && full_dtype == ALD_FULL_DTYPE_F16;
    header->certified = ald_encoding_in(header->encoding, ALD_MAY_BE_CERTIFIED);
}

void ald_shard_take_settings(const ald_config_t *config, ald_shard_header_t *header)
{
    const int64_t k = config->shards.top_k, V = header->vocab_size;
    header->encoding = config->shards.encoding;
    header->top_k = !ald_encoding_has_k(header->encoding) ? 0 : k < V ? k : V;
    ald_shard_choose_form(config->shards.full_dtype, header);
}

const char *ald_shard_full_dtype(const ald_shard_header_t *header)
{
    return ald_choice_name(ALD_CHOICES_FULL_DTYPES,
                           header->full16 ? ALD_FULL_DTYPE_F16 : ALD_FULL_DTYPE_F32);
}

const char *ald_shard_reference(const ald_shard_header_t *header)
{
    return header->contrast == ALD_CONTRAST_REFERENCE
               ? ""
               : header->contrasts[ALD_CONTRAST_REFERENCE].sha256;
}

static ald_status_t put_attributes(hid_t file, const char *path, const char *format,
                                   const ald_shard_header_t *header)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_h5_put_text(file, path, "format", format));
    ALD_TRY(ald_h5_put_integer(file, path, "schema_version", ALD_SHARD_SCHEMA));
    ALD_TRY(ald_h5_put_text(file, path, "encoding", ald_encoding_name(header->encoding)));
    if (header->full16)
        ALD_TRY(ald_h5_put_text(file, path, "full_dtype", ald_shard_full_dtype(header)));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i) {
        const ald_shard_attribute_t *attribute = &ald_shard_attributes[i];
        const void *member = (const char *)header + attribute->offset;
        char room[ALD_ATTRIBUTE_ROOM];
        if (attribute->kind == ALD_ATTRIBUTE_INTEGER)
            ALD_TRY(ald_h5_put_integer(file, path, attribute->name, *(const int64_t *)member));
        else
            ALD_TRY(ald_h5_put_text(file, path, attribute->name,
                                    ald_attribute_text(attribute, header, room)));
    }
    if (ald_shard_reference(header)[0] != '\0')
        ALD_TRY(ald_h5_put_text(file, path, "sha256_reference", ald_shard_reference(header)));
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
        [ALD_COLUMN_SOURCE] = 1, [ALD_COLUMN_TEXT] = 16, /* the id of an object in the heap */
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

/* The contrast whose dataset it is. */
static ald_contrast_t contrast_of(const ald_dataset_info_t *info, const ald_shard_header_t *header)
{
    return info->of == ALD_OF_REFERENCE ? ALD_CONTRAST_REFERENCE : header->contrast;
}

const ald_head_digest_t *ald_dataset_head(const ald_dataset_info_t *info,
                                          const ald_shard_header_t *header)
{
    return info->of == ALD_OF_SEQUENCE ? &header->dpo.head
                                       : &header->contrasts[contrast_of(info, header)].head;
}

bool ald_dataset_is_in(const ald_dataset_info_t *info, const ald_shard_header_t *header)
{
    if (info->of == ALD_OF_REFERENCE && ald_shard_reference(header)[0] == '\0')
        return false;
    if (info->encodings == ALD_IN_CERTIFIED)
        return header->certified;
    if (info->encodings == ALD_IN_FULL16)
        return header->full16;
    if (info->width == ALD_WIDTH_V && header->full16)
        return false;
    return ald_encoding_in(header->encoding, info->encodings);
}

const void **ald_dataset_member(const ald_shard_header_t *header, ald_scored_t *sequence,
                                ald_shard_dataset_t dataset)
{
    const ald_dataset_info_t *info = &ald_shard_datasets[dataset];
    void *whole = info->of == ALD_OF_SEQUENCE
                      ? (void *)sequence
                      : (void *)&sequence->contrast[contrast_of(info, header)];
    return (const void **)((char *)whole + info->member);
}

const void *ald_dataset_content(const ald_shard_header_t *header, const ald_scored_t *sequence,
                                ald_shard_dataset_t dataset)
{
    return *ald_dataset_member(header, (ald_scored_t *)sequence, dataset);
}

static bool has_width(ald_encoding_t encoding, ald_column_width_t width)
{
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (ald_shard_datasets[i].width == width &&
            ald_encoding_in(encoding, ald_shard_datasets[i].encodings))
            return true;
    return false;
}

bool ald_encoding_is_hidden(ald_encoding_t encoding)
{
    return has_width(encoding, ALD_WIDTH_H);
}

bool ald_encoding_has_k(ald_encoding_t encoding)
{
    return has_width(encoding, ALD_WIDTH_K);
}

/* Whether a scorer fills the dataset; ids and log-probabilities of a sampled response are there
 * before. */
static bool is_scored(ald_shard_dataset_t dataset, const ald_shard_header_t *header)
{
    return ald_shard_datasets[dataset].rows == ALD_ROWS_R && dataset != ALD_DATASET_RESPONSE_ID &&
           dataset != ALD_DATASET_LOGPROB_POLICY &&
           ald_dataset_is_in(&ald_shard_datasets[dataset], header);
}

static int64_t row_bytes(const ald_dataset_info_t *info, const ald_shard_header_t *header)
{
    return ald_dataset_width(info, header) * (int64_t)ald_column_memory_size(info->type);
}

ald_status_t ald_scored_alloc(const ald_shard_header_t *header, int64_t R, ald_arena_t *arena,
                              ald_scored_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (ald_shard_dataset_t d = 0; d < ALD_DATASET_COUNT; ++d) {
        if (!is_scored(d, header))
            continue;
        const size_t bytes = (size_t)(R * row_bytes(&ald_shard_datasets[d], header));
        void *column = ald_arena_alloc(arena, bytes);
        ALD_CHECK(column != NULL, ALD_STATUS_RESOURCE,
                  "out of memory: scoring %lld positions; lower optimizer.micro_batch_tokens",
                  (long long)R);
        *ald_dataset_member(header, out, d) = column;
    }
done:
    return status;
}

/* Sets an element to a number of the column's type, within its bound, from u between 0 and 1. */
static void fill_element(const ald_dataset_info_t *info, const ald_shard_header_t *header, double u,
                         int64_t at, void *column)
{
    const float logarithm = (float)(-12.0 * u);
    switch (info->type) {
    case ALD_COLUMN_I32:
        ((int32_t *)column)[at] = (int32_t)(u * (double)header->vocab_size);
        break;
    case ALD_COLUMN_F16:
        ald_dtype_row_from_f32(&logarithm, 1, ALD_DTYPE_F16, (uint16_t *)column + at);
        break;
    case ALD_COLUMN_BF16:
        ((uint16_t *)column)[at] = (uint16_t)(u * 0x7F80); /* finite */
        break;
    default:
        ((float *)column)[at] = info->bound == ALD_BOUND_SHARE || info->bound == ALD_BOUND_POSITIVE
                                    ? (float)(1.0 - u)
                                    : logarithm;
    }
}

void ald_scored_fill(const ald_shard_header_t *header, uint64_t stream, int64_t R,
                     ald_scored_t *sequence)
{
    for (ald_shard_dataset_t d = 0; d < ALD_DATASET_COUNT; ++d) {
        const ald_dataset_info_t *info = &ald_shard_datasets[d];
        if (!is_scored(d, header))
            continue;
        void *column = (void *)ald_dataset_content(header, sequence, d);
        for (int64_t i = 0; i < R * ald_dataset_width(info, header); ++i)
            fill_element(info, header, ald_rng_uniform((uint64_t)d, stream, (uint64_t)i), i,
                         column);
    }
}

void ald_scored_slice(const ald_shard_header_t *header, const ald_scored_t *all, int64_t first,
                      ald_scored_t *out)
{
    for (ald_shard_dataset_t d = 0; d < ALD_DATASET_COUNT; ++d)
        if (is_scored(d, header))
            *ald_dataset_member(header, out, d) =
                (const char *)ald_dataset_content(header, all, d) +
                first * row_bytes(&ald_shard_datasets[d], header);
}

int64_t ald_shard_position_bytes(const ald_shard_header_t *header)
{
    int64_t bytes = 0;
    for (int i = 0; i < ALD_DATASET_COUNT; ++i) {
        const ald_dataset_info_t *info = &ald_shard_datasets[i];
        if (info->rows == ALD_ROWS_R && ald_dataset_is_in(info, header))
            bytes += row_bytes(info, header);
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

/* The page cache holds a file in power-of-two pieces that begin at multiples of their size. Chunks
 * that begin at multiples of their own size are therefore written and read in larger pieces. */
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
