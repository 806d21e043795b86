/* Recipes: what decides a result, and nothing else. A checkpoint has one, so that a run goes on
 * only where it is the same run, wherever its files lie now and on however many ranks it is. */
#include "pipeline/recipe_impl.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/model/digest.h"
#include "ald/model/model_config.h"
#include "ald/par/comm.h"

/* debug.product is there when a test has set it. */
#define PRODUCTS "runtime.precision", "debug.product"
#define COMMON   "seed", "data.", "optimizer.", PRODUCTS, "runtime.dtype"

/* The groups of settings of a kind of run, closed by NULL. Off-policy the shards say by their
 * content what they were sampled and scored with. */
typedef struct {
    const char *kind, *groups[12];
} row_t;

static const row_t rows[] = {
    {"sft", {COMMON}},
    {"dpo", {COMMON, "dpo."}},
    {"off-policy", {COMMON, "teacher.", "distill."}},
    {"on-policy", {COMMON, "teacher.", "distill.", "sampling.", "shards."}},
    {"generate", {"seed", "data.", PRODUCTS, "generate.", "sampling."}},
    {"generate-teacher", {"seed", "data.", PRODUCTS, "generate.", "sampling.", "teacher."}},
    {"audit", {"seed", "data.", "optimizer.micro_batch_tokens", PRODUCTS}},
    {"eval",
     {"seed", "data.", "optimizer.micro_batch_tokens", PRODUCTS, "eval.", "sampling.", "teacher."}},
    {"score", {"data.", "shards.", "teacher.contrast", PRODUCTS}},
};

ald_status_t ald_recipe_settings(const ald_config_t *config, const char *kind, ald_json_t *out)
{
    const row_t *row = rows;
    size_t groups = 0;
    while (strcmp(row->kind, kind) != 0)
        ++row;
    while (row->groups[groups] != NULL)
        ++groups;
    return ald_config_settings(config, row->groups, groups, out);
}

static ald_status_t make(const ald_config_t *config, const char *kind, const ald_named_t *models,
                         ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX];
    ald_model_config_t shape;
    ALD_TRY(ald_recipe_settings(config, kind, out));
    for (; models->key != NULL; ++models) {
        if (models->path[0] == '\0')
            continue;
        ALD_TRY(ald_model_config_read(models->path, &shape)); /* its message is the better one */
        ALD_TRY(ald_hf_sha256(models->path, hex));
        ald_json_set(out, models->key, ald_json_new_string(hex));
    }
done:
    return status;
}

ald_status_t ald_recipe(const ald_comm_t *comm, const ald_config_t *config, const char *kind,
                        const ald_named_t *models, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = comm->rank == 0 ? ald_json_new_object() : NULL;
    if (comm->rank == 0)
        status = make(config, kind, models, *out);
    status = ald_comm_agree(comm, status);
    if (status != ALD_STATUS_OK) {
        ald_json_free(*out);
        *out = NULL;
    }
    return status;
}
