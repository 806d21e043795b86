/* Hugging Face model directories: config.json, tokenizer files, safetensors. Layer: model. */
#ifndef ALD_HF_H
#define ALD_HF_H

#include <stddef.h>
#include <stdint.h>

#include "ald/params.h"
#include "ald/safetensors.h"
#include "ald/sha256.h"
#include "ald/status.h"

/* Fills values[params->total] with the directory's weights as float32. INPUT naming file and tensor
 * for one that is missing or of another shape (a tied model may carry lm_head.weight: ignored).
 * Tensors that the list doesn't know are an error, rotary inv_freq buffers apart. Local. */
ald_status_t ald_hf_load(const char *directory, const ald_params_t *params, float *values);
#define ALD_HF_AS_READ                                                                             \
    ((ald_dtype_t)(ALD_DTYPE_F16 + 1)) /* each tensor as the origin's files do                     \
                                        */
/* Writes a model into `directory`, which must be there: weights in `dtype` (rounded to nearest
 * even), config.json with torch_dtype to fit, otherwise as it is, and the other files and folders
 * of `origin` (generation_config.json, tokenizer files, licence, additional_chat_templates/, ...)
 * copied as they are. Left behind are weights of any format and their indices, hidden files, what a
 * run wrote (metrics, optimizer state), and folders that are models or runs of their own. Values
 * that weren't changed since ald_hf_load come out byte by byte. Above `shard_bytes` (0: 5 GB) the
 * weights are cut between tensors into the sharded form with its index; a larger tensor has a file
 * of its own. Each file appears whole; the weight files of an earlier model in the folder go. Who
 * wants the folder to appear whole publishes it, or marks it done, afterwards. Root only. */
ald_status_t ald_hf_save(const char *directory, const char *origin, const ald_params_t *params,
                         const float *values, ald_dtype_t dtype, int64_t shard_bytes);
/* A model's digest: of one weight file that file's sha256; of several the sha256 of the lines
 * "HEX  NAME\n", sorted by name, which `sha256sum *.safetensors` prints for them. Threads share the
 * files. A file's sha256 is remembered beside it in the hidden file .NAME.sha256 and believed while
 * size, time of the last change and inode of the file are those that it was made for; where the
 * folder can't be written to, nothing is remembered. Local. */
ald_status_t ald_hf_sha256(const char *directory, char hex[ALD_SHA256_HEX]);
/* sha256 of the bytes of tokenizer.json. Local. */
ald_status_t ald_hf_sha256_tokenizer(const char *directory, char hex[ALD_SHA256_HEX]);

#endif
