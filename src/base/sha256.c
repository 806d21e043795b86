#include "ald/sha256.h"

#include <stdio.h>
#include <string.h>

#include "ald/file.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void compress(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    for (int t = 0; t < 16; ++t)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (int t = 16; t < 64; ++t) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; ++t) {
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + K[t] + w[t];
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

void ald_sha256_init(ald_sha256_t *sha)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->bytes = 0;
}

void ald_sha256_update(ald_sha256_t *sha, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    size_t filled = sha->bytes % 64;
    sha->bytes += size;
    if (filled > 0) {
        size_t take = size < 64 - filled ? size : 64 - filled;
        memcpy(sha->block + filled, bytes, take);
        bytes += take, size -= take;
        if (filled + take < 64)
            return;
        compress(sha->state, sha->block);
    }
    for (; size >= 64; bytes += 64, size -= 64)
        compress(sha->state, bytes);
    memcpy(sha->block, bytes, size);
}

void ald_sha256_final(ald_sha256_t *sha, char hex[ALD_SHA256_HEX])
{
    uint64_t bits = sha->bytes * 8;
    uint8_t tail[72] = {0x80};
    size_t pad = (sha->bytes % 64 < 56 ? 56 : 120) - sha->bytes % 64;
    for (int i = 0; i < 8; ++i)
        tail[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    ald_sha256_update(sha, tail, pad + 8);
    for (int i = 0; i < 8; ++i)
        snprintf(hex + 8 * i, 9, "%08x", (unsigned)sha->state[i]);
}

ald_status_t ald_sha256_files(const char *const *paths, size_t count, char hex[ALD_SHA256_HEX])
{
    ald_status_t status = ALD_STATUS_OK;
    ald_sha256_t sha;
    ald_sha256_init(&sha);
    for (size_t i = 0; i < count; ++i) {
        ald_map_t map = {0};
        ALD_TRY(ald_map_open(paths[i], &map));
        ald_sha256_update(&sha, map.data, map.size);
        ald_map_close(&map);
    }
    ald_sha256_final(&sha, hex);
done:
    return status;
}

ald_status_t ald_sha256_file(const char *path, char hex[ALD_SHA256_HEX])
{
    return ald_sha256_files(&path, 1, hex);
}
