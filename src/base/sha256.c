/* SHA-256 by libcrypto, which uses the CPU's instructions for it. Shards name their models,
 * tokenizer and data by content, so whole models are hashed, and that must be quick. */
#include "ald/base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"

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

/* Read and not mapped: a large file's pages would count as this process's memory. */
ald_status_t ald_sha256_file(const char *path, char hex[ALD_SHA256_HEX])
{
    enum { PIECE = 1 << 20 }; /* large enough for the disk, small beside everything else */
    ald_status_t status = ALD_STATUS_OK;
    ald_sha256_t sha = {0};
    ssize_t got = 0;
    char *piece = ald_alloc(PIECE);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ALD_CHECK(file >= 0, ald_status_of_errno(errno), "%s: cannot read: %s", path, strerror(errno));
    ald_sha256_init(&sha);
    ALD_CHECK(piece != NULL && sha.context != NULL, ALD_STATUS_RESOURCE, "out of memory");
    while ((got = read(file, piece, PIECE)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0)
            ald_sha256_update(&sha, piece, (size_t)got);
    ALD_CHECK(got == 0, ald_status_of_errno(errno), "%s: cannot read: %s", path, strerror(errno));
    ald_sha256_final(&sha, hex);
done:
    EVP_MD_CTX_free(sha.context);
    if (file >= 0)
        close(file);
    ald_free(piece);
    return status;
}
