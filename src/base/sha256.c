#include "ald/sha256.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "ald/file.h"

void ald_sha256_init(ald_sha256_t *sha)
{
    sha->context = EVP_MD_CTX_new();
    if (sha->context != NULL && EVP_DigestInit_ex(sha->context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(sha->context);
        sha->context = NULL;
    }
}

void ald_sha256_update(ald_sha256_t *sha, const void *data, size_t size)
{
    if (sha->context != NULL) /* of SHA-256 in memory, nothing can fail from here on */
        EVP_DigestUpdate(sha->context, data, size);
}

void ald_sha256_final(ald_sha256_t *sha, char hex[ALD_SHA256_HEX])
{
    uint8_t digest[EVP_MAX_MD_SIZE] = {0};
    if (sha->context != NULL)
        EVP_DigestFinal_ex(sha->context, digest, NULL);
    EVP_MD_CTX_free(sha->context);
    sha->context = NULL;
    for (int i = 0; i < 32; ++i)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

ald_status_t ald_sha256_file(const char *path, char hex[ALD_SHA256_HEX])
{
    ald_status_t status = ALD_STATUS_OK;
    ald_sha256_t sha;
    ald_map_t map = {0};
    ALD_TRY(ald_map_open(path, &map));
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, map.data, map.size);
    ald_sha256_final(&sha, hex);
done:
    ald_map_close(&map);
    return status;
}
