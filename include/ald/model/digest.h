/* Digests by which shards and notes name a model directory. Layer: model. */
#ifndef ALD_MODEL_DIGEST_H
#define ALD_MODEL_DIGEST_H

#include "ald/base/sha256.h"
#include "ald/base/status.h"

/* A model's digest: of one weight file that file's sha256; of several the sha256 of the lines
 * "HEX  NAME\n", sorted by name, which `sha256sum *.safetensors` prints for them. Threads share the
 * files. A file's sha256 is remembered beside it in the hidden file .NAME.sha256 and believed while
 * size, inode and the times of both's last change are those that it was made for; where the folder
 * can't be written to, nothing is remembered. Local. */
ald_status_t ald_hf_sha256(const char *directory, char hex[ALD_SHA256_HEX]);
/* The same, but nothing is written into the folder. Local. */
ald_status_t ald_hf_sha256_look(const char *directory, char hex[ALD_SHA256_HEX]);
/* sha256 of the bytes of tokenizer.json. Local. */
ald_status_t ald_hf_sha256_tokenizer(const char *directory, char hex[ALD_SHA256_HEX]);

#endif
