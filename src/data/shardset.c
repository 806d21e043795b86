#include "ald/shardset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/file.h"

char *ald_shard_path(const char *folder, int64_t number)
{
    char name[48];
    snprintf(name, sizeof name, "shard-%06lld.h5", (long long)number);
    return ald_path_join(folder, name);
}

/* One text of the header against what is wanted. */
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

static ald_status_t fits_number(const char *path, const char *what, int64_t found, int64_t wanted)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(wanted == 0 || found == wanted, ALD_STATUS_INPUT,
              "%s: attribute %s is %lld, but this configuration's is %lld", path, what,
              (long long)found, (long long)wanted);
done:
    return status;
}

ald_status_t ald_shard_fits(const char *path, const ald_shard_header_t *header,
                            const ald_shard_header_t *expected)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(fits_text(path, "contrast", header->contrast, expected->contrast));
    ALD_TRY(
        fits_text(path, "sha256_tokenizer", header->sha256_tokenizer, expected->sha256_tokenizer));
    ALD_TRY(fits_text(path, "sha256_dpo", header->sha256_dpo, expected->sha256_dpo));
    ALD_TRY(fits_text(path, "sha256_reverse", header->sha256_reverse, expected->sha256_reverse));
    ALD_TRY(fits_text(path, "sha256_data", header->sha256_data, expected->sha256_data));
    ALD_TRY(fits_text(path, "chat_format", header->chat_format, expected->chat_format));
    if (header->encoding == expected->encoding)
        ALD_TRY(fits_number(path, "top_k", header->top_k, expected->top_k));
done:
    return status;
}

/* What the shards of a set must share whatever the configuration says. */
static ald_status_t fits_first(const char *path, const ald_shard_header_t *header,
                               const char *first_path, const ald_shard_header_t *first)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(header->encoding == first->encoding, ALD_STATUS_INPUT,
              "%s: encoding \"%s\", but %s has \"%s\"", path, ald_encoding_name(header->encoding),
              first_path, ald_encoding_name(first->encoding));
    ALD_CHECK(header->vocab_size == first->vocab_size, ALD_STATUS_INPUT,
              "%s: vocab_size %lld, but %s has %lld", path, (long long)header->vocab_size,
              first_path, (long long)first->vocab_size);
    ALD_CHECK(header->full16 == first->full16, ALD_STATUS_INPUT, "%s: full_dtype %s, but %s has %s",
              path, header->full16 ? "f16" : "f32", first_path, first->full16 ? "f16" : "f32");
done:
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    const ald_entry_t *x = a, *y = b;
#define ORDER(member)                                                                              \
    if (x->member != y->member)                                                                    \
    return x->member < y->member ? -1 : 1
    ORDER(id);
    ORDER(source);
    ORDER(shard);
    ORDER(index);
#undef ORDER
    return 0;
}

static ald_status_t add_entries(ald_shardset_t *set, int64_t shard, int64_t *used)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < ald_shard_count(set->shards[shard]); ++i) {
        ald_scored_t peek;
        ALD_TRY(ald_shard_peek(set->shards[shard], i, &peek));
        set->entries[(*used)++] = (ald_entry_t){
            (int32_t)shard, i, peek.id, peek.source, peek.prompt_count, peek.response_count};
    }
done:
    return status;
}

ald_status_t ald_shardset_open(const char *const *paths, int64_t count,
                               const ald_shard_header_t *expected, ald_shardset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t used = 0;
    *out = (ald_shardset_t){.shard_count = count};
    out->shards = ald_calloc((size_t)count + 1, sizeof *out->shards);
    out->paths = ald_calloc((size_t)count + 1, sizeof *out->paths);
    out->pool = ald_calloc(1, sizeof *out->pool);
    ALD_CHECK(out->shards != NULL && out->paths != NULL && out->pool != NULL, ALD_STATUS_RESOURCE,
              "out of memory");
    for (int64_t i = 0; i < count; ++i) {
        out->paths[i] = ald_strdup(paths[i]);
        ALD_CHECK(out->paths[i] != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ALD_TRY(ald_shard_open(paths[i], &out->shards[i]));
        ald_shard_join(out->shards[i], out->pool);
        ALD_TRY(ald_shard_fits(paths[i], ald_shard_header(out->shards[i]), expected));
        ALD_TRY(fits_first(paths[i], ald_shard_header(out->shards[i]), paths[0],
                           ald_shard_header(out->shards[0])));
        out->count += ald_shard_count(out->shards[i]);
    }
    out->entries = ald_calloc((size_t)out->count + 1, sizeof *out->entries);
    ALD_CHECK(out->entries != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < count; ++i)
        ALD_TRY(add_entries(out, i, &used));
    qsort(out->entries, (size_t)out->count, sizeof *out->entries, compare_entries);
done:
    return status;
}

int64_t ald_shard_number(const char *name)
{
    long long number = -1;
    int end = 0;
    bool whole =
        sscanf(name, "shard-%lld.h5%n", &number, &end) == 1 && end > 0 && name[end] == '\0';
    return whole && number >= 0 ? number : -1;
}

ald_status_t ald_shardset_open_folder(const char *folder, const ald_shard_header_t *expected,
                                      ald_shardset_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, **paths = NULL;
    size_t count = 0, used = 0;
    *out = (ald_shardset_t){0};
    ALD_TRY(ald_dir_list(folder, &names, &count));
    paths = ald_calloc(count + 1, sizeof *paths);
    ALD_CHECK(paths != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (size_t i = 0; i < count; ++i) {
        if (ald_shard_number(names[i]) < 0)
            continue;
        paths[used] = ald_path_join(folder, names[i]);
        ALD_CHECK(paths[used++] != NULL, ALD_STATUS_RESOURCE, "out of memory");
    }
    ALD_CHECK(used > 0, ALD_STATUS_INPUT, "%s: no shard-NNNNNN.h5 in this folder", folder);
    ALD_TRY(ald_shardset_open((const char *const *)paths, (int64_t)used, expected, out));
done:
    ald_names_free(names, count);
    ald_names_free(paths, used);
    return status;
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
    *set = (ald_shardset_t){0};
}

ald_status_t ald_shardset_read(ald_shardset_t *set, int64_t entry, ald_arena_t *arena,
                               ald_scored_t *out)
{
    const ald_entry_t *e = &set->entries[entry];
    return ald_shard_read(set->shards[e->shard], e->index, true, arena, out);
}
