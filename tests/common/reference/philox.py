"""Philox4x32-10 (Salmon et al., SC 2011) and what the C code draws from it."""
MASK = 0xFFFFFFFF


def philox(key, counter):
    """Four words from a key of two and a counter of four 32-bit words."""
    (k0, k1), c = key, list(counter)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k0, second & MASK, first >> 32 ^ c[3] ^ k1, first & MASK]
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c


def uniform(key, stream, index):
    """In [0, 1): 53 bits of the block of counter (index, stream)."""
    words = philox((key & MASK, key >> 32), (index & MASK, index >> 32, stream & MASK, stream >> 32))
    return ((words[1] << 32 | words[0]) >> 11) * 2.0 ** -53


def permutation(key, stream, count):
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        j = int(uniform(key, stream, i) * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def step_items(seed, count, batch, step):
    """Items of 0-based `step`: a new permutation every epoch, batches in its order."""
    per_epoch = -(-count // batch)
    order = permutation(seed, step // per_epoch, count)
    first = step % per_epoch * batch
    return order[first:first + batch]
