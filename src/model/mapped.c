/* Frozen models used from their mapped files: matrices in the type of the file, vectors converted
 * once. The ranks and jobs of a node then share one copy in the page cache. */
#include "ald/model/mapped.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"
#include "ald/num/dtype.h"
#include "ald/num/gemm.h"
#include "ald/num/matrix.h"
#include "model/mapped_impl.h"
#include "model/weights_impl.h"

struct ald_mapped {
    ald_safetensors_t *set;
    const ald_stored_t **stored; /* [params->count] */
    float *vectors;              /* the one-dimensional tensors, in the order of the list */
    const float **vector;        /* [params->count] into it; NULL for matrices */
    float *panel;                /* [room] */
    int64_t room, vector_floats;
};

static int64_t widest(const ald_params_t *params)
{
    int64_t most = 1;
    for (int64_t i = 0; i < params->count; ++i)
        most = params->tensors[i].ndim == 2 && params->tensors[i].shape[1] > most
                   ? params->tensors[i].shape[1]
                   : most;
    return most;
}

static void read_vectors(ald_mapped_t *mapped, const ald_params_t *params)
{
    float *at = mapped->vectors;
    for (int64_t i = 0; i < params->count; ++i) {
        if (params->tensors[i].ndim != 1)
            continue;
        ald_dtype_to_f32(mapped->stored[i]->dtype, mapped->stored[i]->data,
                         params->tensors[i].count, at);
        mapped->vector[i] = at;
        at += params->tensors[i].count;
    }
}

ald_status_t ald_mapped_open(const char *directory, const ald_params_t *params, ald_mapped_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_mapped_t *mapped = ald_calloc(1, sizeof *mapped);
    *out = NULL;
    ALD_CHECK_MEMORY(mapped, sizeof *mapped);
    ALD_TRY(ald_weights_open(directory, params, &mapped->set, &mapped->stored));
    for (int64_t i = 0; i < params->count; ++i)
        mapped->vector_floats += params->tensors[i].ndim == 1 ? params->tensors[i].count : 0;
    mapped->room = ald_panel_floats(widest(params));
    mapped->vectors = ald_alloc(sizeof(float) * (size_t)mapped->vector_floats);
    mapped->vector = ald_calloc((size_t)params->count, sizeof *mapped->vector);
    mapped->panel = ald_alloc(sizeof(float) * (size_t)mapped->room);
    ALD_CHECK(mapped->vectors != NULL && mapped->vector != NULL && mapped->panel != NULL,
              ALD_STATUS_RESOURCE, "out of memory: norms and scratch memory of %s", directory);
    read_vectors(mapped, params);
    *out = mapped;
    mapped = NULL;
done:
    ald_mapped_close(mapped);
    return status;
}

/* Takes a tensor's pages out of this process; the system keeps them for whoever reads them next. */
static void let_go(const ald_stored_t *stored)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), data = (uintptr_t)stored->data;
    const uintptr_t begin = data / page * page;
    const uintptr_t end = data + (uintptr_t)(stored->count * ald_dtype_size(stored->dtype));
    madvise((void *)begin, end - begin, MADV_DONTNEED);
}

ald_status_t ald_mapped_check(const ald_mapped_t *mapped, const ald_params_t *params)
{
    const ald_status_t status =
        ald_weights_check(mapped->set, params, (const ald_stored_t *const *)mapped->stored);
    for (int64_t i = 0; i < params->count; ++i)
        let_go(mapped->stored[i]);
    return status;
}

void ald_mapped_close(ald_mapped_t *mapped)
{
    if (mapped == NULL)
        return;
    ald_safetensors_close(mapped->set);
    ald_free(mapped->stored);
    ald_free(mapped->vectors);
    ald_free(mapped->vector);
    ald_free(mapped->panel);
    ald_free(mapped);
}

ald_model_t ald_mapped_model(const ald_mapped_t *mapped, const ald_params_t *params)
{
    return (ald_model_t){.params = params, .gemm = ald_gemm_chosen(), .mapped = mapped};
}

int64_t ald_mapped_files(const ald_mapped_t *mapped, ald_map_t *const **maps)
{
    return ald_safetensors_maps(mapped->set, maps);
}

int64_t ald_mapped_file_bytes(const ald_mapped_t *mapped)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < ald_safetensors_count(mapped->set); ++i) {
        const ald_stored_t *stored = ald_safetensors_at(mapped->set, i);
        bytes += stored->count * ald_dtype_size(stored->dtype);
    }
    return bytes;
}

int64_t ald_mapped_held_bytes(const ald_mapped_t *mapped)
{
    return (mapped->room + mapped->vector_floats) * (int64_t)sizeof(float);
}

static int compare_offset(const void *key, const void *tensor)
{
    int64_t offset = *(const int64_t *)key, other = ((const ald_tensor_t *)tensor)->offset;
    return (offset > other) - (offset < other);
}

/* The tensor that begins at an offset, which must be one of the list. */
static int64_t tensor_at(const ald_params_t *params, int64_t offset)
{
    const ald_tensor_t *found = bsearch(&offset, params->tensors, (size_t)params->count,
                                        sizeof *params->tensors, compare_offset);
    return found - params->tensors;
}

const float *ald_mapped_vector(const ald_mapped_t *mapped, const ald_params_t *params,
                               int64_t offset)
{
    return mapped->vector[tensor_at(params, offset)];
}

const char *ald_mapped_head_sha256(const ald_mapped_t *mapped, const ald_params_t *params,
                                   char hex[ALD_SHA256_HEX])
{
    const ald_stored_t *stored = mapped->stored[tensor_at(params, params->lm_head)];
    ald_sha256_t sha;
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, stored->data,
                      (size_t)stored->count * (size_t)ald_dtype_size(stored->dtype));
    ald_sha256_final(&sha, hex);
    return ald_dtype_name(stored->dtype);
}

ald_matrix_t ald_mapped_matrix(const ald_mapped_t *mapped, const ald_params_t *params,
                               int64_t offset, int64_t rows)
{
    ald_matrix_t out = {.panel = mapped->panel, .room = mapped->room};
    int64_t i = tensor_at(params, offset);
    for (int64_t have = 0; have < rows; have += params->tensors[i++].shape[0])
        out.block[out.blocks++] = (ald_block_t){mapped->stored[i]->dtype, mapped->stored[i]->data,
                                                params->tensors[i].shape[0]};
    return out;
}
