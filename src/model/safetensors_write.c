/* Writes one safetensors file with tensors in the order given. Values are converted piece by
 * piece, so that a file of any size takes two small buffers. */
#include "ald/model/safetensors_write.h"

#include <endian.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/num/dtype.h"

static int64_t element_count(const ald_unstored_t *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->ndim; ++i)
        count *= tensor->shape[i];
    return count;
}

/* Describes one tensor whose bytes begin at *at, and moves *at behind them. */
static ald_json_t *describe(const ald_unstored_t *tensor, int64_t *at)
{
    ald_json_t *entry = ald_json_new_object();
    ald_json_t *shape = ald_json_new_array(), *offsets = ald_json_new_array();
    for (int i = 0; i < tensor->ndim; ++i)
        ald_json_push(shape, ald_json_new_integer(tensor->shape[i]));
    ald_json_push(offsets, ald_json_new_integer(*at));
    *at += element_count(tensor) * ald_dtype_size(tensor->dtype);
    ald_json_push(offsets, ald_json_new_integer(*at));
    ald_json_set(entry, "dtype", ald_json_new_string(ald_dtype_name(tensor->dtype)));
    ald_json_set(entry, "shape", shape);
    ald_json_set(entry, "data_offsets", offsets);
    return entry;
}

/* Makes the text of the header, padded with blanks so that the data is aligned to 8 bytes. */
static ald_status_t make_header(const ald_unstored_t *tensors, int64_t count, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    int64_t at = 0;
    ald_json_t *header = ald_json_new_object(), *metadata = ald_json_new_object();
    ald_json_set(metadata, "format",
                 ald_json_new_string("pt")); /* transformers refuses files without it */
    ald_json_set(header, "__metadata__", metadata);
    for (int64_t i = 0; i < count; ++i)
        ald_json_set(header, tensors[i].name, describe(&tensors[i], &at));
    ALD_TRY(ald_json_dump(header, false, &text));
    ALD_TRY(ald_vec_append(out, text, strlen(text)));
    while (out->count % 8 != 0)
        ALD_TRY(ald_vec_append(out, " ", 1));
done:
    ald_json_free(header);
    ald_free(text);
    return status;
}

ald_status_t ald_safetensors_weigh(const ald_unstored_t *tensors, int64_t count, int64_t *bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t header;
    ald_vec_init(&header, 1);
    ALD_TRY(make_header(tensors, count, &header));
    *bytes += (int64_t)(sizeof(uint64_t) + header.count);
    for (int64_t i = 0; i < count; ++i)
        *bytes += element_count(&tensors[i]) * ald_dtype_size(tensors[i].dtype);
done:
    ald_vec_reset(&header);
    return status;
}

static ald_status_t write_values(ald_writer_t *writer, const ald_unstored_t *tensor, void *buffer,
                                 int64_t room)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_dtype_t dtype = tensor->dtype;
    const int64_t count = element_count(tensor);
    for (int64_t i = 0; i < count; i += room) {
        int64_t some = count - i < room ? count - i : room;
        const void *bytes = tensor->values + i;
        if (dtype != ALD_DTYPE_F32) {
            ald_f32_to_dtype(tensor->values + i, some, dtype, buffer);
            bytes = buffer;
        }
        const int64_t bad = ald_dtype_find_nonfinite(dtype, bytes, some);
        ALD_CHECK(bad < 0, ALD_STATUS_INTERNAL,
                  "tensor \"%s\": element %lld is %g, which isn't a finite number in %s",
                  tensor->name, (long long)(i + bad), (double)tensor->values[i + bad],
                  ald_dtype_name(dtype));
        ALD_TRY(ald_writer_write(writer, bytes, (size_t)(some * ald_dtype_size(dtype))));
    }
done:
    return status;
}

ald_status_t ald_safetensors_write(const char *path, const ald_unstored_t *tensors, int64_t count)
{
    enum { ROOM = 1 << 21 }; /* bytes of converted values at a time: few writes, little memory */
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    void *buffer = NULL;
    ald_vec_t header;
    ald_vec_init(&header, 1);
    ALD_TRY(make_header(tensors, count, &header));
    buffer = ald_alloc(ROOM * sizeof(float));
    ALD_CHECK_MEMORY(buffer, ROOM * sizeof(float));
    ALD_TRY(ald_writer_open(path, &writer));
    uint64_t length = htole64(header.count);
    ALD_TRY(ald_writer_write(writer, &length, sizeof length));
    ALD_TRY(ald_writer_write(writer, header.data, header.count));
    for (int64_t i = 0; i < count; ++i)
        ALD_TRY(write_values(writer, &tensors[i], buffer, ROOM));
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    ald_free(buffer);
    ald_vec_reset(&header);
    return status;
}
