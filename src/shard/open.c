/* Opens a shard as if it came from a stranger: links, types, filters, shapes, sizes and
 * attributes are checked before anything is allocated by what they say. */
#include "ald/shard/open.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "shard/chunk_impl.h"
#include "shard/format_impl.h"
#include "shard/object_impl.h"
#include "shard/open_impl.h"
#include "shard/text_impl.h"

enum {
    VOCAB_MAX = 1 << 28,   /* far above any vocabulary, far below where sizes overflow */
    CONFIG_MOST = 1 << 20, /* bytes of its text, which has a few thousand */
};

static ald_status_t read_contrast(ald_shard_t *shard, const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    unsigned value = 0;
    ALD_CHECK(ald_choice_find(ALD_CHOICES_CONTRASTS, text, &value), ALD_STATUS_INPUT,
              "%s: attribute \"contrast\": expected reverse or reference, found \"%.40s\"",
              shard->path, text);
    shard->header.contrast = (ald_contrast_t)value;
done:
    return status;
}

static ald_status_t read_member(ald_shard_t *shard, ald_object_t *root, ald_arena_t *arena,
                                const ald_shard_attribute_t *attribute)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t *header = &shard->header;
    char *member = (char *)header + attribute->offset;
    size_t size = attribute->size;
    const char *text = NULL;
    if (attribute->kind == ALD_ATTRIBUTE_INTEGER)
        return ald_object_integer(root, attribute->name, (int64_t *)member);
    ALD_TRY(ald_object_text(root, attribute->name, arena, &text));
    if (attribute->kind == ALD_ATTRIBUTE_CONTRAST)
        return read_contrast(shard, text);
    if (attribute->kind == ALD_ATTRIBUTE_MODEL) {
        member = header->contrasts[header->contrast].sha256;
        size = sizeof header->contrasts[0].sha256;
    }
    ALD_CHECK(strlen(text) < size, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected at most %zu characters, found %zu", shard->path,
              attribute->name, size - 1, strlen(text));
    memcpy(member, text, strlen(text) + 1);
done:
    return status;
}

/* Checks `format` and `schema_version` first: under others nothing else has a known meaning. */
static ald_status_t check_format(const char *path, ald_object_t *root, ald_arena_t *arena,
                                 int64_t *schema)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *format = NULL;
    int64_t version = 0;
    ALD_TRY(ald_object_text(root, "format", arena, &format));
    ALD_CHECK(strcmp(format, ALD_SHARD_FORMAT_NAME) == 0, ALD_STATUS_INPUT,
              "%s: attribute \"format\": expected \"" ALD_SHARD_FORMAT_NAME "\", found \"%.40s\"",
              path, format);
    ALD_TRY(ald_object_integer(root, "schema_version", &version));
    ALD_CHECK(version <= ALD_SHARD_SCHEMA, ALD_STATUS_INPUT,
              "%s: schema version %lld, but this program reads up to version %d", path,
              (long long)version, ALD_SHARD_SCHEMA);
    ALD_CHECK(version >= 1, ALD_STATUS_INPUT, "%s: schema version %lld: expected 1 to %d", path,
              (long long)version, ALD_SHARD_SCHEMA);
    *schema = version;
done:
    return status;
}

static ald_status_t check_header(const ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *header = &shard->header;
    const bool topk = ald_encoding_has_k(header->encoding);
    ALD_CHECK(header->vocab_size > 0 && header->vocab_size <= VOCAB_MAX, ALD_STATUS_INPUT,
              "%s: attribute \"vocab_size\": expected 1 to %d, found %lld", shard->path, VOCAB_MAX,
              (long long)header->vocab_size);
    ALD_CHECK(header->hidden_size >= ald_encoding_is_hidden(header->encoding) &&
                  header->hidden_size <= VOCAB_MAX,
              ALD_STATUS_INPUT, "%s: attribute \"hidden_size\": found %lld", shard->path,
              (long long)header->hidden_size);
    ALD_CHECK(topk ? header->top_k > 0 && header->top_k <= header->vocab_size &&
                         header->top_k <= ALD_TOP_K_MOST
                   : header->top_k == 0,
              ALD_STATUS_INPUT, "%s: attribute \"top_k\": found %lld with encoding %s", shard->path,
              (long long)header->top_k, ald_encoding_name(header->encoding));
done:
    return status;
}

static ald_status_t get_short(ald_object_t *object, const char *name, char *out, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    const char *text = NULL;
    ALD_TRY(ald_object_text(object, name, &arena, &text));
    ALD_CHECK(strlen(text) < size, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected at most %zu characters, found %zu",
              object->texts->path, name, size - 1, strlen(text));
    memcpy(out, text, strlen(text) + 1);
done:
    ald_arena_reset(&arena);
    return status;
}

/* Reads the attribute that `full` in halves has. */
static ald_status_t read_full_dtype(ald_shard_t *shard, ald_object_t *root)
{
    ald_status_t status = ALD_STATUS_OK;
    char dtype[16];
    if (!ald_encoding_in(shard->header.encoding, ALD_MAY_BE_FULL16) ||
        !ald_object_has(root, "full_dtype"))
        return status;
    shard->header.full16 = true;
    ALD_TRY(get_short(root, "full_dtype", dtype, sizeof dtype));
    ALD_CHECK(strcmp(dtype, ald_shard_full_dtype(&shard->header)) == 0, ALD_STATUS_INPUT,
              "%s: attribute \"full_dtype\": expected \"%s\", found \"%s\"", shard->path,
              ald_shard_full_dtype(&shard->header), dtype);
done:
    return status;
}

/* Opens the header of an object by its path. */
static ald_status_t open_object(hid_t file, ald_texts_t *texts, const char *path, ald_object_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    H5O_info_t info;
    *out = (ald_object_t){0};
    ALD_H5(H5Oget_info_by_name2(file, path, &info, H5O_INFO_BASIC, H5P_DEFAULT), texts->path, path);
    ALD_TRY(ald_object_open(texts, path, info.addr, out));
done:
    return status;
}

static bool has(const ald_shard_t *shard, const char *path)
{
    return H5Lexists(shard->file, path, H5P_DEFAULT) > 0;
}

/* Whether the shard has a certificate: if it holds a reference, for that too. */
static bool is_certified(const ald_shard_t *shard)
{
    return ald_encoding_in(shard->header.encoding, ALD_MAY_BE_CERTIFIED) &&
           has(shard, "/teacher") && has(shard, "/teacher/alpha_max") &&
           (ald_shard_reference(&shard->header)[0] == '\0' ||
            has(shard, "/teacher/alpha_max_reference"));
}

ald_status_t ald_shard_read_header(ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    ald_object_t root = {0};
    const char *encoding = NULL, *config = NULL;
    ALD_TRY(open_object(shard->file, &shard->texts, "/", &root));
    ALD_TRY(check_format(shard->path, &root, &arena, &shard->header.schema));
    ALD_TRY(ald_object_text(&root, "encoding", &arena, &encoding));
    status = ald_encoding_parse(encoding, &shard->header.encoding);
    if (status != ALD_STATUS_OK)
        ALD_TRY(ald_status_prefix(status, "%s: attribute", shard->path));
    for (int i = 0; i < ALD_SHARD_ATTRIBUTES; ++i)
        ALD_TRY(read_member(shard, &root, &arena, &ald_shard_attributes[i]));
    ALD_TRY(ald_object_text(&root, "config", &arena, &config));
    ALD_CHECK(strlen(config) <= CONFIG_MOST, ALD_STATUS_INPUT,
              "%s: attribute \"config\": expected at most %d bytes, found %zu", shard->path,
              CONFIG_MOST, strlen(config));
    shard->header.config = shard->config = ald_strdup(config);
    ALD_CHECK_MEMORY(shard->config, strlen(config));
    char *reference = shard->header.contrasts[ALD_CONTRAST_REFERENCE].sha256;
    if (shard->header.contrast != ALD_CONTRAST_REFERENCE &&
        ald_object_has(&root, "sha256_reference"))
        ALD_TRY(get_short(&root, "sha256_reference", reference, ALD_SHA256_HEX));
    ALD_TRY(check_header(shard));
    ALD_TRY(read_full_dtype(shard, &root));
    shard->header.certified = is_certified(shard);
done:
    ald_object_close(&root);
    ald_arena_reset(&arena);
    return status;
}

/* Checks that the path leads through hard links: a soft or external link could point anywhere. */
static ald_status_t check_link(const ald_shard_t *shard, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char group[32];
    H5L_info_t info;
    const size_t length = (size_t)(strrchr(path, '/') - path);
    if (length > 0) {
        memcpy(group, path, length);
        group[length] = '\0';
        ALD_TRY(check_link(shard, group));
    }
    htri_t there = H5Lexists(shard->file, path, H5P_DEFAULT);
    ALD_H5(there, shard->path, path);
    ALD_CHECK(there > 0, ALD_STATUS_INPUT, "%s: %s is missing", shard->path, path);
    ALD_H5(H5Lget_info(shard->file, path, &info, H5P_DEFAULT), shard->path, path);
    ALD_CHECK(info.type == H5L_TYPE_HARD, ALD_STATUS_INPUT,
              "%s: %s: expected the data itself, found a link", shard->path, path);
done:
    return status;
}

/* Checks that the object header is that of a dataset of ours: only then may HDF5 open it. */
static ald_status_t check_object(ald_object_t *object, const ald_dataset_info_t *info, hid_t type)
{
    static const char *const names[] = {
        [ALD_COLUMN_I64] = "64-bit integers",        [ALD_COLUMN_I32] = "32-bit integers",
        [ALD_COLUMN_F32] = "32-bit floats",          [ALD_COLUMN_F16] = "16-bit floats",
        [ALD_COLUMN_F16_WIDE] = "16-bit floats",     [ALD_COLUMN_BF16] = "16-bit unsigned",
        [ALD_COLUMN_SOURCE] = "the enum of sources", [ALD_COLUMN_TEXT] = "variable-length texts",
    };
    enum { TYPE_BYTES = 512, TAG = 2 }; /* H5Tencode puts two bytes in front of what is stored */
    ald_status_t status = ALD_STATUS_OK;
    const char *file = object->texts->path;
    uint8_t bytes[TYPE_BYTES];
    size_t size = 0;
    ALD_H5(H5Tencode(type, NULL, &size), file, info->path);
    ALD_CHECK(size >= TAG + 8 && size <= sizeof bytes, ALD_STATUS_INTERNAL,
              "%s: a type of %zu bytes", info->path, size);
    ALD_H5(H5Tencode(type, bytes, &size), file, info->path);
    if (info->type ==
        ALD_COLUMN_TEXT) /* a pointer in memory, the id of a heap object in the file */
        bytes[TAG + 4] = ALD_TEXT_HEAP_ID;
    ALD_TRY(ald_object_check(object, &(ald_expected_t){.type_name = names[info->type],
                                                       .type = bytes + TAG,
                                                       .type_bytes = size - TAG,
                                                       .element = ald_column_size(info->type)}));
done:
    return status;
}

static ald_status_t check_bfloat16(ald_object_t *object)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    const char *dtype = NULL;
    ALD_TRY(ald_object_text(object, "dtype", &arena, &dtype));
    ALD_CHECK(strcmp(dtype, "bfloat16") == 0, ALD_STATUS_INPUT,
              "%s: %s: attribute \"dtype\": expected \"bfloat16\", found \"%.40s\"",
              object->texts->path, object->name, dtype);
done:
    ald_arena_reset(&arena);
    return status;
}

static ald_status_t check_before_open(ald_shard_t *shard, const ald_dataset_info_t *info,
                                      hid_t type)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_object_t object = {0};
    ALD_TRY(open_object(shard->file, &shard->texts, info->path, &object));
    ALD_TRY(check_object(&object, info, type));
    if (info->type == ALD_COLUMN_BF16)
        ALD_TRY(check_bfloat16(&object));
done:
    ald_object_close(&object);
    return status;
}

static ald_status_t check_shape(const ald_shard_t *shard, const ald_dataset_info_t *info,
                                ald_chunked_t *column)
{
    ald_status_t status = ALD_STATUS_OK;
    const int rank = info->width == ALD_WIDTH_1 ? 1 : 2;
    hsize_t size[2] = {0, 1};
    hid_t space = -1;
    ALD_H5(space = H5Dget_space(column->dataset), shard->path, info->path);
    ALD_CHECK(H5Sget_simple_extent_ndims(space) == rank, ALD_STATUS_INPUT,
              "%s: %s: expected %d dimension%s", shard->path, info->path, rank,
              rank == 1 ? "" : "s");
    ALD_H5(H5Sget_simple_extent_dims(space, size, NULL), shard->path, info->path);
    column->width = ald_dataset_width(info, &shard->header);
    ALD_CHECK((int64_t)size[1] == column->width, ALD_STATUS_INPUT,
              "%s: %s: expected %lld columns, found %llu", shard->path, info->path,
              (long long)column->width, (unsigned long long)size[1]);
    ALD_CHECK(size[0] < (hsize_t)1 << 48, ALD_STATUS_INPUT, "%s: %s: found %llu rows", shard->path,
              info->path, (unsigned long long)size[0]);
    column->rows = (int64_t)size[0];
done:
    H5Sclose(space);
    return status;
}

/* Opens a dataset for reading, without HDF5's cache of chunks. */
static hid_t open_dataset(hid_t file, const char *path)
{
    hid_t list = H5Pcreate(H5P_DATASET_ACCESS), dataset = -1;
    if (list >= 0 && H5Pset_chunk_cache(list, 1, 0, 1.0) >= 0)
        dataset = H5Dopen2(file, path, list);
    H5Pclose(list);
    return dataset;
}

/* Reads what says which matrix makes logits of hidden states; the first shards of version 1 don't
 * have it. */
static ald_status_t read_head(ald_shard_t *shard, const ald_dataset_info_t *info)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_head_digest_t *head = (ald_head_digest_t *)ald_dataset_head(info, &shard->header);
    ald_object_t object = {0};
    char norm[16];
    ALD_TRY(open_object(shard->file, &shard->texts, info->path, &object));
    if (!ald_object_has(&object, "output_matrix_sha256"))
        goto done;
    ALD_TRY(get_short(&object, "final_norm", norm, sizeof norm));
    ALD_CHECK(strcmp(norm, "applied") == 0, ALD_STATUS_INPUT,
              "%s: %s: attribute \"final_norm\": expected \"applied\", found \"%s\"", shard->path,
              info->path, norm);
    ALD_TRY(get_short(&object, "output_matrix_sha256", head->sha256, sizeof head->sha256));
    ALD_TRY(get_short(&object, "output_matrix_dtype", head->dtype, sizeof head->dtype));
done:
    ald_object_close(&object);
    return status;
}

ald_status_t ald_shard_open_column(ald_shard_t *shard, ald_shard_dataset_t dataset)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_dataset_info_t *info = &ald_shard_datasets[dataset];
    ald_chunked_t *column = &shard->columns[dataset];
    H5O_info_t object;
    column->file = shard->path;
    column->name = info->path;
    column->size = ald_column_size(info->type);
    ALD_TRY(check_link(shard, info->path));
    ALD_H5(H5Oget_info_by_name2(shard->file, info->path, &object, H5O_INFO_BASIC, H5P_DEFAULT),
           shard->path, info->path);
    ALD_CHECK(object.type == H5O_TYPE_DATASET, ALD_STATUS_INPUT, "%s: %s: expected a dataset",
              shard->path, info->path);
    ALD_H5(column->type = ald_column_h5_type(info->type), shard->path, info->path);
    ALD_TRY(check_before_open(shard, info, column->type));
    ALD_H5(column->dataset = open_dataset(shard->file, info->path), shard->path, info->path);
    ALD_TRY(check_shape(shard, info, column));
    ALD_TRY(ald_chunked_check(column, info, shard->file_size));
    if (info->width == ALD_WIDTH_H)
        ALD_TRY(read_head(shard, info));
done:
    return status;
}

bool ald_shard_is_foreign(const char *path)
{
    hid_t file = -1;
    ald_texts_t texts = {.file = -1};
    ald_object_t root = {0};
    ald_arena_t arena = {0};
    int64_t schema;
    ald_h5_begin();
    bool whole = ald_h5_open(path, &file) == ALD_STATUS_OK;
    bool ours = whole && ald_texts_open(path, ald_file_size(path), &texts) == ALD_STATUS_OK &&
                open_object(file, &texts, "/", &root) == ALD_STATUS_OK &&
                check_format(path, &root, &arena, &schema) == ALD_STATUS_OK;
    ald_object_close(&root);
    ald_arena_reset(&arena);
    ald_texts_close(&texts);
    if (whole)
        H5Fclose(file);
    return whole && !ours;
}
