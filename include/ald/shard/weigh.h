/* The size of a shard's file before there is one. Layer: shard. */
#ifndef ALD_SHARD_WEIGH_H
#define ALD_SHARD_WEIGH_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/shard/format.h"

typedef struct {
    int64_t sequences, tokens, positions; /* N, T, R */
    int64_t text_bytes;                   /* of all prompts and responses */
} ald_shard_content_t;

/* The bytes of the file: what its chunks take, whole and where a writer lets them begin. What lies
 * between them is estimated, some chunks' worth. gzip isn't counted. Local. */
double ald_shard_bytes(const ald_shard_header_t *header, const ald_shard_content_t *content);
/* The bytes of a shard of such numbers that is written to `path`, to see. Local. */
ald_status_t ald_shard_trial(const char *path, const ald_shard_header_t *header,
                             const ald_shard_content_t *content, double *bytes);

#endif
