/* Several shards as one list of sequences, sorted by row. Shards that do not belong together are
 * refused with both sides named, since training on such a mixture would not fail. */
#include "ald/shard/set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "shard/format_impl.h"

char *ald_shard_path(const char *folder, int64_t number)
{
    char name[48];
    snprintf(name, sizeof name, "shard-%06lld.h5", (long long)number);
    return ald_path_join(folder, name);
}

/* Checks one text of the header against the expected one. */
static ald_status_t fits_text(const char *path, const char *what, const char *found,
                              const char *wanted)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(wanted[0] == '\0' || strcmp(found, wanted) == 0, ALD_STATUS_INPUT,
              "%s: attribute %s is %s, but this configuration's is %s; take another "
              "shards.directory, or remove the shard",
              path, what, found, wanted);
done:
    return status;
}

static ald_status_t fits_encoding(const char *path, const ald_shard_header_t *header,
                                  const ald_shard_header_t *expected)
{
    ald_status_t status = ALD_STATUS_OK;
    if (expected->encoding == ALD_ENCODING_ANY)
        return status;
    ALD_TRY(fits_text(path, "encoding", ald_encoding_name(header->encoding),
                      ald_encoding_name(expected->encoding)));
    ALD_TRY(fits_text(path, "full_dtype", ald_shard_full_dtype(header),
                      ald_shard_full_dtype(expected)));
    ALD_CHECK(header->top_k == expected->top_k, ALD_STATUS_INPUT,
              "%s: attribute top_k is %lld, but this configuration's is %lld; take another "
              "shards.directory, or remove the shard",
              path, (long long)header->top_k, (long long)expected->top_k);
done:
    return status;
}

/* Checks each model that the configuration names, under the name that the shard has for it. */
static ald_status_t fits_models(const char *path, const ald_shard_header_t *header,
                                const ald_shard_header_t *expected)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(fits_text(path, "sha256_dpo", header->dpo.sha256, expected->dpo.sha256));
    for (int c = 0; c < ALD_CONTRAST_COUNT; ++c)
        ALD_TRY(fits_text(path, c == (int)header->contrast ? "sha256_reverse" : "sha256_reference",
                          header->contrasts[c].sha256, expected->contrasts[c].sha256));
done:
    return status;
}

ald_status_t ald_shard_fits(const char *path, const ald_shard_header_t *header,
                            const ald_shard_header_t *expected)
{
    ald_status_t status = ALD_STATUS_OK;
    if (expected == NULL)
        return status;
    if (!ald_shard_has(header, expected->contrast))
        ALD_TRY(fits_text(path, "contrast",
                          ald_choice_name(ALD_CHOICES_CONTRASTS, header->contrast),
                          ald_choice_name(ALD_CHOICES_CONTRASTS, expected->contrast)));
    ALD_TRY(
        fits_text(path, "sha256_tokenizer", header->sha256_tokenizer, expected->sha256_tokenizer));
    ALD_TRY(fits_models(path, header, expected));
    ALD_TRY(fits_text(path, "sha256_data", header->sha256_data, expected->sha256_data));
    ALD_TRY(fits_text(path, "chat_format", header->chat_format, expected->chat_format));
    ALD_TRY(fits_encoding(path, header, expected));
done:
    return status;
}

/* Compare a member of two headers; the message names both files. */
#define SAME_NUMBER(member)                                                                        \
    ALD_CHECK(header->member == first->member, ALD_STATUS_INPUT,                                   \
              "%s: " #member " %lld, but %s has %lld", path, (long long)header->member,            \
              first_path, (long long)first->member)
#define SAME_TEXT(name, one, two)                                                                  \
    ALD_CHECK(strcmp(one, two) == 0, ALD_STATUS_INPUT, "%s: " name " %s, but %s has %s", path,     \
              one, first_path, two)

ald_status_t ald_shard_fits_first(const char *path, const ald_shard_header_t *header,
                                  const char *first_path, const ald_shard_header_t *first)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(header->encoding == first->encoding, ALD_STATUS_INPUT,
              "%s: encoding \"%s\", but %s has \"%s\"", path, ald_encoding_name(header->encoding),
              first_path, ald_encoding_name(first->encoding));
    SAME_NUMBER(vocab_size);
    ALD_CHECK(header->full16 == first->full16, ALD_STATUS_INPUT, "%s: full_dtype %s, but %s has %s",
              path, ald_shard_full_dtype(header), first_path, ald_shard_full_dtype(first));
    SAME_NUMBER(hidden_size);
    SAME_NUMBER(top_k);
    SAME_TEXT("contrast", ald_choice_name(ALD_CHOICES_CONTRASTS, header->contrast),
              ald_choice_name(ALD_CHOICES_CONTRASTS, first->contrast));
    SAME_TEXT("sha256_dpo", header->dpo.sha256, first->dpo.sha256);
    SAME_TEXT("sha256_reverse", header->contrasts[header->contrast].sha256,
              first->contrasts[first->contrast].sha256);
    SAME_TEXT("sha256_reference", ald_shard_reference(header), ald_shard_reference(first));
    SAME_TEXT("sha256_tokenizer", header->sha256_tokenizer, first->sha256_tokenizer);
done:
    return status;
}

ald_status_t ald_shard_fits_folder(const char *path, const ald_shard_header_t *header,
                                   const char *first_path, const ald_shard_header_t *first)
{
    ald_status_t status = ALD_STATUS_OK;
    SAME_TEXT("sha256_data", header->sha256_data, first->sha256_data);
    SAME_TEXT("chat_format", header->chat_format, first->chat_format);
done:
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    const ald_entry_t *x = a, *y = b;
#define ORDER(member)                                                                              \
    if (x->member != y->member)                                                                    \
    return x->member < y->member ? -1 : 1
    ORDER(folder);
    ORDER(id);
    ORDER(source);
    ORDER(shard);
    ORDER(index);
#undef ORDER
    return 0;
}

static ald_status_t add_entries(ald_shardset_t *set, int64_t shard, int32_t folder, int64_t *used)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < ald_shard_count(set->shards[shard]); ++i) {
        ald_scored_t peek;
        ALD_TRY(ald_shard_peek(set->shards[shard], i, &peek));
        set->entries[(*used)++] = (ald_entry_t){.folder = folder,
                                                .shard = (int32_t)shard,
                                                .index = i,
                                                .id = peek.id,
                                                .source = peek.source,
                                                .prompt_count = peek.prompt_count,
                                                .response_count = peek.response_count};
    }
done:
    return status;
}

static ald_status_t open_shard(ald_shardset_t *set, int64_t shard, const char *path,
                               const ald_shard_header_t *expected)
{
    ald_status_t status = ALD_STATUS_OK;
    set->paths[shard] = ald_strdup(path);
    ALD_CHECK(set->paths[shard] != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_shard_open(path, &set->shards[shard]));
    ald_shard_join(set->shards[shard], set->pool);
    ALD_TRY(ald_shard_fits(path, ald_shard_header(set->shards[shard]), expected));
    ALD_TRY(ald_shard_fits_first(path, ald_shard_header(set->shards[shard]), set->paths[0],
                                 ald_shard_header(set->shards[0])));
    set->count += ald_shard_count(set->shards[shard]);
done:
    return status;
}

/* Opens paths[first[f]] to paths[first[f + 1] - 1] as folder f. */
static ald_status_t open_files(const char *const *paths, const int64_t *first, int64_t folders,
                               const ald_shard_header_t *expected, ald_shardset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t used = 0, count = first[folders];
    *out = (ald_shardset_t){.shard_count = count, .folders = folders};
    out->shards = ald_calloc((size_t)count + 1, sizeof *out->shards);
    out->paths = ald_calloc((size_t)count + 1, sizeof *out->paths);
    out->folder_start = ald_calloc((size_t)folders + 1, sizeof *out->folder_start);
    out->pool = ald_calloc(1, sizeof *out->pool);
    ALD_CHECK(out->shards != NULL && out->paths != NULL && out->folder_start != NULL &&
                  out->pool != NULL,
              ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < count; ++i)
        ALD_TRY(open_shard(out, i, paths[i], expected));
    out->entries = ald_calloc((size_t)out->count + 1, sizeof *out->entries);
    ALD_CHECK(out->entries != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t f = 0; f < folders; ++f) {
        for (int64_t i = first[f]; i < first[f + 1]; ++i) {
            ALD_TRY(ald_shard_fits_folder(out->paths[i], ald_shard_header(out->shards[i]),
                                          out->paths[first[f]],
                                          ald_shard_header(out->shards[first[f]])));
            ALD_TRY(add_entries(out, i, (int32_t)f, &used));
        }
        out->folder_start[f + 1] = used;
    }
    qsort(out->entries, (size_t)out->count, sizeof *out->entries, compare_entries);
done:
    return status;
}

ald_status_t ald_shardset_open(const char *const *paths, int64_t count,
                               const ald_shard_header_t *expected, ald_shardset_t *out)
{
    const int64_t first[2] = {0, count};
    return open_files(paths, first, 1, expected, out);
}

int64_t ald_shard_number(const char *name)
{
    long long number = -1;
    int end = 0;
    bool whole =
        sscanf(name, "shard-%lld.h5%n", &number, &end) == 1 && end > 0 && name[end] == '\0';
    return whole && number >= 0 ? number : -1;
}

/* Appends the paths (char *, owned) of a folder's shards. */
static ald_status_t list_folder(const char *folder, ald_vec_t *paths)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *path = NULL;
    size_t count = 0, before = paths->count;
    ALD_TRY(ald_dir_list(folder, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        if (ald_shard_number(names[i]) < 0)
            continue;
        path = ald_path_join(folder, names[i]);
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ALD_TRY(ald_vec_push(paths, &path));
        path = NULL;
    }
    ALD_CHECK(paths->count > before, ALD_STATUS_INPUT, "%s: no shard-NNNNNN.h5 in this folder",
              folder);
done:
    ald_free(path);
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_shardset_open_folders(const char *const *folders, int64_t count,
                                       const ald_shard_header_t *expected, ald_shardset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t first[count + 1];
    ald_vec_t paths;
    *out = (ald_shardset_t){0};
    ald_vec_init(&paths, sizeof(char *));
    first[0] = 0;
    for (int64_t f = 0; f < count; ++f) {
        ALD_TRY(list_folder(folders[f], &paths));
        first[f + 1] = (int64_t)paths.count;
    }
    ALD_TRY(open_files(paths.data, first, count, expected, out));
done:
    for (size_t i = 0; i < paths.count; ++i)
        ald_free(ALD_VEC_AT(&paths, char *, i));
    ald_vec_reset(&paths);
    return status;
}

ald_status_t ald_shardset_open_folder(const char *folder, const ald_shard_header_t *expected,
                                      ald_shardset_t *out)
{
    return ald_shardset_open_folders(&folder, 1, expected, out);
}

void ald_shardset_reset(ald_shardset_t *set)
{
    for (int64_t i = 0; i < set->shard_count && set->shards != NULL; ++i)
        ald_shard_close(set->shards[i]);
    for (int64_t i = 0; i < set->shard_count && set->paths != NULL; ++i)
        ald_free(set->paths[i]);
    ald_free(set->shards);
    ald_free(set->pool);
    ald_free(set->paths);
    ald_free(set->entries);
    ald_free(set->folder_start);
    *set = (ald_shardset_t){0};
}

ald_status_t ald_shardset_read(ald_shardset_t *set, int64_t entry, ald_arena_t *arena,
                               ald_scored_t *out)
{
    const ald_entry_t *e = &set->entries[entry];
    return ald_shard_read(set->shards[e->shard], e->index, true, arena, out);
}
