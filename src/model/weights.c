/* Holds the tensors of a directory against the list: each must be there in its shape, and none
 * may be left over. A tensor without a place means that the model is another one. */
#include "model/weights_impl.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"
#include "ald/num/dtype.h"

static void shape_text(int ndim, const int64_t *shape, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && used < size; ++i)
        used += (size_t)snprintf(out + used, size - used, "%s%lld", i > 0 ? ", " : "",
                                 (long long)shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "]");
}

static ald_status_t find_tensor(const ald_safetensors_t *set, const char *directory,
                                const ald_tensor_t *tensor, const ald_stored_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char expected[96], found[96];
    const ald_stored_t *stored = ald_safetensors_find(set, tensor->name);
    ALD_CHECK(stored != NULL, ALD_STATUS_INPUT, "%s: the weights lack tensor \"%s\"", directory,
              tensor->name);
    shape_text(tensor->ndim, tensor->shape, expected, sizeof expected);
    shape_text(stored->ndim, stored->shape, found, sizeof found);
    ALD_CHECK(strcmp(expected, found) == 0, ALD_STATUS_INPUT,
              "%s: tensor \"%s\": expected shape %s by config.json, found %s", stored->file,
              tensor->name, expected, found);
    *out = stored;
done:
    return status;
}

/* Refuses tensors that the configuration has no place for. */
static ald_status_t check_unknown(const ald_safetensors_t *set, const ald_params_t *params)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t known = 0;
    for (int64_t i = 0; i < params->count; ++i)
        known += ald_safetensors_find(set, params->tensors[i].name) != NULL;
    if (known == ald_safetensors_count(set))
        goto done;
    for (int64_t i = 0; i < ald_safetensors_count(set); ++i) {
        const ald_stored_t *stored = ald_safetensors_at(set, i);
        bool found = ald_path_ends(stored->name, "rotary_emb.inv_freq") ||
                     (params->config.tied && strcmp(stored->name, "lm_head.weight") == 0);
        for (int64_t t = 0; t < params->count && !found; ++t)
            found = strcmp(params->tensors[t].name, stored->name) == 0;
        ALD_CHECK(found, ALD_STATUS_INPUT,
                  "%s: tensor \"%s\" has no place in a %s model of this config.json", stored->file,
                  stored->name, params->config.model_type);
    }
done:
    return status;
}

ald_status_t ald_weights_open(const char *directory, const ald_params_t *params,
                              ald_safetensors_t **set, const ald_stored_t ***stored)
{
    ald_status_t status = ALD_STATUS_OK;
    *set = NULL;
    *stored = ald_calloc((size_t)params->count, sizeof **stored);
    ALD_CHECK_MEMORY(*stored, (size_t)params->count * sizeof **stored);
    ALD_CHECK(ald_path_is_directory(directory), ALD_STATUS_INPUT, "%s: no such model directory",
              directory);
    ALD_TRY(ald_safetensors_open(directory, set));
    ALD_TRY(check_unknown(*set, params));
    for (int64_t i = 0; i < params->count; ++i)
        ALD_TRY(find_tensor(*set, directory, &params->tensors[i], &(*stored)[i]));
done:
    if (status != ALD_STATUS_OK) {
        ald_safetensors_close(*set);
        ald_free(*stored);
        *set = NULL;
        *stored = NULL;
    }
    return status;
}

static ald_status_t check_finite(const ald_stored_t *stored)
{
    ald_status_t status = ALD_STATUS_OK;
    float value;
    const int64_t at = ald_dtype_find_nonfinite(stored->dtype, stored->data, stored->count);
    if (at < 0)
        return status;
    const int64_t size = ald_dtype_size(stored->dtype);
    ald_dtype_row_to_f32(stored->dtype, (const char *)stored->data + at * size, 1, &value);
    ALD_CHECK(false, ALD_STATUS_INPUT,
              "%s: tensor \"%s\": element %lld: expected a finite number, found %g", stored->file,
              stored->name, (long long)at, (double)value);
done:
    return status;
}

/* The first element that differs; -1: none does. Both have the same count. */
static int64_t find_difference(const ald_stored_t *a, const ald_stored_t *b)
{
    enum { SOME = 4096 };
    float one[SOME], two[SOME];
    if (a->dtype == b->dtype &&
        memcmp(a->data, b->data, (size_t)(a->count * ald_dtype_size(a->dtype))) == 0)
        return -1;
    for (int64_t i = 0; i < a->count; i += SOME) {
        const int64_t some = a->count - i < SOME ? a->count - i : SOME;
        ald_dtype_row_to_f32(a->dtype, (const char *)a->data + i * ald_dtype_size(a->dtype), some,
                             one);
        ald_dtype_row_to_f32(b->dtype, (const char *)b->data + i * ald_dtype_size(b->dtype), some,
                             two);
        for (int64_t j = 0; j < some; ++j)
            if (one[j] != two[j])
                return i + j;
    }
    return -1;
}

/* A tied model may carry its output matrix, if it is the embedding: versions of transformers take
 * the one or the other where they differ. */
static ald_status_t check_tied(const ald_safetensors_t *set, const ald_params_t *params)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_stored_t *embedding = ald_safetensors_find(set, "model.embed_tokens.weight");
    const ald_stored_t *head = ald_safetensors_find(set, "lm_head.weight");
    if (!params->config.tied || head == NULL)
        return status;
    const bool alike = head->ndim == 2 && head->shape[0] == embedding->shape[0] &&
                       head->shape[1] == embedding->shape[1];
    const int64_t at = alike ? find_difference(head, embedding) : 0;
    ALD_CHECK(at < 0, ALD_STATUS_INPUT,
              "%s: tensor \"lm_head.weight\" is another than \"model.embed_tokens.weight\" (%s "
              "%lld), but config.json has \"tie_word_embeddings\": true, or a model_type that ties "
              "without it; expected false there, or the weights without it",
              head->file, alike ? "element" : "shape, element", (long long)at);
done:
    return status;
}

ald_status_t ald_weights_check(const ald_safetensors_t *set, const ald_params_t *params,
                               const ald_stored_t *const *stored)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < params->count; ++i)
        ALD_TRY(check_finite(stored[i]));
    ALD_TRY(check_tied(set, params));
done:
    return status;
}
