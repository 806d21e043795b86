/* SHA-256 (FIPS 180-4). Layer: base. */
#ifndef ALD_SHA256_H
#define ALD_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "ald/status.h"

typedef struct {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} ald_sha256_t;

#define ALD_SHA256_HEX 65 /* characters of a digest in hexadecimal, with its NUL */

void ald_sha256_init(ald_sha256_t *sha);
void ald_sha256_update(ald_sha256_t *sha, const void *data, size_t size);
/* Lower-case hexadecimal, NUL-terminated. */
void ald_sha256_final(ald_sha256_t *sha, char hex[ALD_SHA256_HEX]);
ald_status_t ald_sha256_file(const char *path, char hex[ALD_SHA256_HEX]);
/* Over the content of several files, one after the other. */
ald_status_t ald_sha256_files(const char *const *paths, size_t count, char hex[ALD_SHA256_HEX]);

#endif
