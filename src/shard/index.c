/* Writes index.h5, a file of virtual datasets over all shards of a folder. Analysis in h5py then
 * sees one file, and no byte of teacher data is copied. */
#include "ald/shard/index.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/record/h5.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "shard/format_impl.h"

#define NAME "index.h5"

typedef struct {
    const char *path; /* the final one, for messages */
    hid_t file;
    const ald_shardset_t *set;
    const ald_shard_header_t *header; /* of the first shard */
} index_t;

static int64_t rows_of(const ald_shard_t *shard, ald_column_rows_t rows)
{
    if (rows == ALD_ROWS_T)
        return ald_shard_tokens(shard);
    return rows == ALD_ROWS_R ? ald_shard_positions(shard) : ald_shard_count(shard);
}

/* Maps rows [at, at + rows) of the virtual dataset to a shard's dataset. */
static ald_status_t map_shard(const index_t *x, const ald_dataset_info_t *info, int64_t shard,
                              int64_t at, hid_t space, hid_t list)
{
    ald_status_t status = ALD_STATUS_OK;
    const int rank = info->width == ALD_WIDTH_1 ? 1 : 2;
    const hsize_t width = (hsize_t)ald_dataset_width(info, x->header);
    const hsize_t start[2] = {(hsize_t)at, 0};
    const hsize_t count[2] = {(hsize_t)rows_of(x->set->shards[shard], info->rows), width};
    const char *slash = strrchr(x->set->paths[shard], '/');
    const char *name = slash == NULL ? x->set->paths[shard] : slash + 1;
    hid_t source = -1;
    if (count[0] == 0)
        goto done;
    ALD_H5(source = H5Screate_simple(rank, count, NULL), x->path, info->path);
    ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL), x->path,
           info->path);
    ALD_H5(H5Pset_virtual(list, space, name, info->path, source), x->path, info->path);
done:
    H5Sclose(source);
    return status;
}

static ald_status_t put_virtual(const index_t *x, const ald_dataset_info_t *info)
{
    ald_status_t status = ALD_STATUS_OK;
    const int rank = info->width == ALD_WIDTH_1 ? 1 : 2;
    const float nothing = NAN;
    hsize_t size[2] = {0, (hsize_t)ald_dataset_width(info, x->header)};
    int64_t at = 0;
    hid_t type = -1, list = -1, space = -1, dataset = -1;
    for (int64_t i = 0; i < x->set->shard_count; ++i)
        size[0] += (hsize_t)rows_of(x->set->shards[i], info->rows);
    ALD_H5(type = ald_column_h5_type(info->type), x->path, info->path);
    ALD_H5(list = ald_h5_dataset_properties(), x->path, info->path);
    ALD_H5(space = H5Screate_simple(rank, size, NULL), x->path, info->path);
    if (info->type == ALD_COLUMN_F32 || info->type == ALD_COLUMN_F16 ||
        info->type == ALD_COLUMN_F16_WIDE)
        ALD_H5(H5Pset_fill_value(list, H5T_NATIVE_FLOAT, &nothing), x->path, info->path);
    for (int64_t i = 0; i < x->set->shard_count; ++i) {
        ALD_TRY(map_shard(x, info, i, at, space, list));
        at += rows_of(x->set->shards[i], info->rows);
    }
    ALD_H5(dataset = H5Dcreate2(x->file, info->path, type, space, H5P_DEFAULT, list, H5P_DEFAULT),
           x->path, info->path);
    if (info->type == ALD_COLUMN_BF16)
        ALD_TRY(ald_h5_put_text(dataset, x->path, "dtype", "bfloat16"));
done:
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(list);
    H5Tclose(type);
    return status;
}

/* Writes a dataset that the index itself holds, int64 [count]. */
static ald_status_t put_numbers(const index_t *x, const char *name, const int64_t *values,
                                int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const hsize_t size = (hsize_t)count;
    hid_t list = -1, space = -1, dataset = -1;
    ALD_H5(list = ald_h5_dataset_properties(), x->path, name);
    ALD_H5(space = H5Screate_simple(1, &size, NULL), x->path, name);
    ALD_H5(dataset =
               H5Dcreate2(x->file, name, H5T_STD_I64LE, space, H5P_DEFAULT, list, H5P_DEFAULT),
           x->path, name);
    ALD_H5(H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), x->path,
           name);
done:
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(list);
    return status;
}

/* Writes the offsets through all shards, and the shard number of each sequence. */
static ald_status_t put_sequences(const index_t *x)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t n = x->set->count;
    int64_t *token = ald_calloc(3 * (size_t)n + 2, sizeof *token), at = 0;
    ALD_CHECK_MEMORY(token, 3 * (size_t)n * sizeof *token);
    int64_t *response = token + n + 1, *shard = response + n + 1;
    for (int64_t k = 0; k < x->set->shard_count; ++k) {
        const char *slash = strrchr(x->set->paths[k], '/');
        for (int64_t i = 0; i < ald_shard_count(x->set->shards[k]); ++i, ++at) {
            ald_scored_t s;
            ALD_TRY(ald_shard_peek(x->set->shards[k], i, &s));
            token[at + 1] = token[at] + s.prompt_count + s.response_count;
            response[at + 1] = response[at] + s.response_count;
            shard[at] = ald_shard_number(slash == NULL ? x->set->paths[k] : slash + 1);
        }
    }
    ALD_TRY(put_numbers(x, ald_shard_datasets[ALD_DATASET_TOKEN_START].path, token, n + 1));
    ALD_TRY(put_numbers(x, ald_shard_datasets[ALD_DATASET_RESPONSE_START].path, response, n + 1));
    ALD_TRY(put_numbers(x, "/sequence/shard", shard, n));
done:
    ald_free(token);
    return status;
}

static ald_status_t write_all(const index_t *x)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_header_t common = *x->header; /* the attributes that all shards share */
    for (int64_t i = 0; i < x->set->shard_count; ++i)
        common.certified = common.certified && ald_shard_header(x->set->shards[i])->certified;
    ALD_TRY(ald_shard_put_root(x->file, x->path, "aligndistil-index", x->header));
    ALD_TRY(ald_h5_put_integer(x->file, x->path, "shards", x->set->shard_count));
    ALD_TRY(put_sequences(x));
    for (int i = 0; i < ALD_DATASET_COUNT; ++i)
        if (ald_shard_datasets[i].rows != ALD_ROWS_N1 &&
            ald_dataset_is_in(&ald_shard_datasets[i], &common))
            ALD_TRY(put_virtual(x, &ald_shard_datasets[i]));
    ALD_H5(H5Fflush(x->file, H5F_SCOPE_GLOBAL), x->path, "cannot write");
done:
    return status;
}

ald_status_t ald_shard_index_write(const char *folder, const ald_shardset_t *set, char **path)
{
    ald_status_t status = ALD_STATUS_OK;
    char *temporary = NULL;
    *path = ald_path_join(folder, NAME);
    ALD_CHECK(*path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    index_t x = {.path = *path, .file = -1, .set = set, .header = ald_shard_header(set->shards[0])};
    temporary = ald_path_temporary(*path);
    ALD_CHECK(temporary != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ald_h5_begin();
    ALD_TRY(ald_h5_create(temporary, ALD_H5_PAGE, &x.file));
    status = write_all(&x);
    if (H5Fclose(x.file) < 0 && status == ALD_STATUS_OK) /* closed once, also after a failure */
        status = ald_h5_raise(*path, "cannot write");
    ALD_TRY(status);
    ALD_TRY(ald_file_publish(temporary, *path));
done:
    if (status != ALD_STATUS_OK && temporary != NULL)
        unlink(temporary);
    ald_free(temporary);
    return status;
}
