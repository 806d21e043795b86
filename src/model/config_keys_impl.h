/* Private to model: typed reading of config.json's keys, with messages that name file and key. */
#ifndef ALD_MODEL_CONFIG_KEYS_IMPL_H
#define ALD_MODEL_CONFIG_KEYS_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/model/model_config.h"

/* An object of the file, and its name in messages ("DIR/config.json: rope_scaling"). */
typedef struct {
    const ald_json_t *json;
    const char *name;
} ald_keys_t;

/* Whether the key is missing or null. */
bool ald_keys_silent(const ald_keys_t *keys, const char *key);
/* Raises "NAME: KEY: expected WHAT, found VALUE"; returns INPUT (RESOURCE without memory). */
ald_status_t ald_keys_wrong(const ald_keys_t *keys, const char *key, const char *expected);
/* Raises that error and goes to the label `done:`. */
#define ALD_WRONG(keys, key, expected)                                                             \
    do {                                                                                           \
        status = ald_keys_wrong((keys), (key), (expected));                                        \
        goto done;                                                                                 \
    } while (0)

/* A positive integer of at most INT32_MAX; `otherwise` where the key is missing (0: required). */
ald_status_t ald_keys_size(const ald_keys_t *keys, const char *key, int64_t otherwise,
                           int64_t *out);
/* A positive finite number; `otherwise` where the key is missing (0: required). */
ald_status_t ald_keys_positive(const ald_keys_t *keys, const char *key, double otherwise,
                               double *out);
/* true or false; `otherwise` where the key is missing. */
ald_status_t ald_keys_bool(const ald_keys_t *keys, const char *key, bool otherwise, bool *out);

/* How a family's layers with a window turn. */
typedef enum {
    ALD_WINDOWS_ALIKE, /* as the others */
    ALD_WINDOWS_PLAIN, /* by the plain rotation of the same rope_theta, without rope_scaling */
    ALD_WINDOWS_LOCAL, /* by the plain rotation of rope_local_base_freq */
} ald_window_turn_t;
/* Reads rope_theta (`theta` where it is missing), rope_scaling, rope_parameters and, with
 * ALD_WINDOWS_LOCAL, rope_local_base_freq into the config's rotations; the sizes must be there
 * already. */
ald_status_t ald_rotation_parse(const ald_keys_t *keys, ald_window_turn_t turn, double theta,
                                ald_model_config_t *config);

#endif
