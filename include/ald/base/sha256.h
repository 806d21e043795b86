/* SHA-256 (FIPS 180-4), by libcrypto, which uses the CPU's instructions for it. Layer: base. */
#ifndef ALD_BASE_SHA256_H
#define ALD_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "ald/base/status.h"

typedef struct {
    void *context; /* owned from init to final */
} ald_sha256_t;

#define ALD_SHA256_HEX 65 /* characters of a digest in hexadecimal, with its NUL */

/* Each init needs its final, which frees. */
void ald_sha256_init(ald_sha256_t *sha);
void ald_sha256_update(ald_sha256_t *sha, const void *data, size_t size);
/* Lower-case hexadecimal, NUL-terminated; all zeros when libcrypto had no memory. */
void ald_sha256_final(ald_sha256_t *sha, char hex[ALD_SHA256_HEX]);
ald_status_t ald_sha256_file(const char *path, char hex[ALD_SHA256_HEX]);

#endif
