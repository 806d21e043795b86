/* The safetensors format, read by mapping. Layer: model. */
#ifndef ALD_MODEL_SAFETENSORS_H
#define ALD_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/num/dtype.h"

/* One tensor in a mapped file. */
typedef struct {
    const char *name;
    const char *file; /* path, for messages */
    ald_dtype_t dtype;
    int ndim;
    int64_t shape[4];
    int64_t count;    /* elements */
    const void *data; /* little-endian, not necessarily aligned */
} ald_stored_t;

/* The tensors of one file or of a directory (model.safetensors, or the sharded form with
 * model.safetensors.index.json). Opaque: everything in it has been checked. */
typedef struct ald_safetensors ald_safetensors_t;

/* INPUT naming file and tensor for: a file cut short, a header that isn't JSON or too large,
 * overlapping or out-of-file offsets, holes, a size that doesn't fit shape and dtype, an unknown
 * dtype, a tensor that the index promises and the file lacks. Local; free with close. */
ald_status_t ald_safetensors_open(const char *directory_or_file, ald_safetensors_t **out);
void ald_safetensors_close(ald_safetensors_t *set); /* takes NULL */
int64_t ald_safetensors_count(const ald_safetensors_t *set);
const ald_stored_t *ald_safetensors_at(const ald_safetensors_t *set, int64_t index);
/* NULL when there is none of that name. */
const ald_stored_t *ald_safetensors_find(const ald_safetensors_t *set, const char *name);
/* The weight files, sorted by name; owned by the set. */
int64_t ald_safetensors_files(const ald_safetensors_t *set, const char *const **paths);
/* Their mappings, in the same order; owned by the set. */
int64_t ald_safetensors_maps(const ald_safetensors_t *set, ald_map_t *const **maps);

#endif
