/* Which rank plays which role. It follows from the configuration and the number of ranks alone, so
 * that all ranks know all roles without a message. */
#include "ald/role/placement.h"

#include "ald/base/status.h"
#include "ald/config/config.h"

int64_t ald_placement_block(const ald_config_t *config)
{
    enum { BLOCKS = 32, LEAST = 4 }; /* so many blocks, fewer where they would have fewer items */
    const int64_t items = (config->optimizer.batch_size + BLOCKS - 1) / BLOCKS;
    return items < LEAST ? LEAST : items;
}

int64_t ald_placement_shards(const ald_config_t *config, const ald_placement_t *place,
                             int64_t items)
{
    const int64_t block = ald_placement_block(config), blocks = (items + block - 1) / block;
    return blocks < place->scorers.count ? blocks : place->scorers.count;
}

bool ald_ranks_have(const ald_ranks_t *ranks, int rank)
{
    return rank >= ranks->first && rank < ranks->first + ranks->count;
}

ald_status_t ald_placement_make(const ald_config_t *config, int size, ald_placement_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t t = config->roles.trainers, s = config->roles.scorers, g = config->roles.generators;
    ALD_CHECK(t + s + g <= size, ALD_STATUS_USAGE,
              "roles: %lld trainers, %lld scorers and %lld generators need %lld ranks, but there "
              "are %d",
              (long long)t, (long long)s, (long long)g, (long long)(t + s + g), size);
    ald_ranks_t left = {(int)t, (int)(size - t - s - g)}, all = {0, size};
    ald_ranks_t rest = left.count > 0 ? left : all;
    out->trainers = t > 0 ? (ald_ranks_t){0, (int)t} : rest;
    out->scorers = s > 0 ? (ald_ranks_t){(int)(size - g - s), (int)s} : rest;
    out->generators = g > 0 ? (ald_ranks_t){(int)(size - g), (int)g} : rest;
    /* So trainers begin with rank 0, which writes the files: on ranks of their own, on the
     * unclaimed ones, which come first then, or on all. */
done:
    return status;
}
