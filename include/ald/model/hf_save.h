/* Hugging Face model directories: written. Layer: model. */
#ifndef ALD_MODEL_HF_SAVE_H
#define ALD_MODEL_HF_SAVE_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/model/params.h"
#include "ald/num/dtype.h"

/* A value of `dtype`: each tensor in the type that it has in the origin's files. */
#define ALD_HF_AS_READ ((ald_dtype_t)(ALD_DTYPE_F16 + 1))
/* What runtime.dtype asks for. Local. */
ald_dtype_t ald_hf_dtype(ald_stored_dtype_t stored);
/* Writes a model into `directory`, which must be there: weights in `dtype` (rounded to nearest
 * even), config.json with a torch_dtype that fits, otherwise unchanged, and the other files and
 * folders of `origin` (generation_config.json, tokenizer files, licence,
 * additional_chat_templates/, ...) copied as they are. Left behind are weights of any format and
 * their indices, hidden files, what a run wrote (metrics, optimizer state), and folders that are
 * models or runs of their own. Values that weren't changed since ald_hf_load come out byte by byte.
 * Above `shard_bytes` (0: 5 GB) the weights are cut between tensors into the sharded form with its
 * index; a larger tensor has a file of its own. Each file appears whole; the weight files of an
 * earlier model in the folder are removed. A caller that wants the folder to appear whole publishes
 * it, or marks it done, afterwards. Root only. */
ald_status_t ald_hf_save(const char *directory, const char *origin, const ald_params_t *params,
                         const float *values, ald_dtype_t dtype, int64_t shard_bytes);
/* Adds the bytes and number of the files that ald_hf_save would write, but for config.json.
 * `origin` may lack weights, whose types are then those that its config.json says, or be NULL:
 * nothing is carried along. Local. */
ald_status_t ald_hf_weigh(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                          int64_t shard_bytes, int64_t *bytes, int64_t *files);
/* The bytes of the tensors alone, as they lie in a directory's files or as its config.json says.
 * Local. */
ald_status_t ald_hf_weights_bytes(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                                  int64_t *bytes);

/* What one of several writers has of a model: whole weight files of those that ald_hf_save would
 * write, and with rank 0 all that isn't weights. */
typedef struct {
    ald_dtype_t dtype; /* not ALD_HF_AS_READ */
    int rank;
    int64_t shard_bytes, first_part, end_part;
    int64_t first, count; /* of the parameters, those that it needs; none: 0 */
} ald_hf_share_t;
/* Finds the share of writer `rank` of `size`. Local. */
ald_status_t ald_hf_share(const ald_params_t *params, ald_dtype_t dtype, int64_t shard_bytes,
                          int rank, int size, ald_hf_share_t *out);
/* Writes it into an empty folder; all shares together are what ald_hf_save would write. `values`:
 * [share->count], the parameters from share->first on. Local. */
ald_status_t ald_hf_save_share(const char *directory, const char *origin,
                               const ald_params_t *params, const float *values,
                               const ald_hf_share_t *share);

#endif
