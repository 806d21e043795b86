/* Typed reading of one key of config.json at a time. Every wrong value becomes a message of the
 * same form, with file, key, what was expected and what was found. */
#include "model/config_keys_impl.h"

#include <limits.h>
#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"

bool ald_keys_silent(const ald_keys_t *keys, const char *key)
{
    return ald_json_is_null(ald_json_get(keys->json, key));
}

ald_status_t ald_keys_wrong(const ald_keys_t *keys, const char *key, const char *expected)
{
    const ald_json_t *value = ald_json_get(keys->json, key);
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ALD_CHECK(value != NULL, ALD_STATUS_INPUT, "%s: %s: expected %s, but the key is missing",
              keys->name, key, expected);
    ALD_TRY(ald_json_dump(value, false, &text));
    ALD_CHECK(false, ALD_STATUS_INPUT, "%s: %s: expected %s, found %.60s", keys->name, key,
              expected, text);
done:
    ald_free(text);
    return status;
}

ald_status_t ald_keys_size(const ald_keys_t *keys, const char *key, int64_t otherwise, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (otherwise > 0 && ald_keys_silent(keys, key))
        goto done;
    *out = ald_json_integer(ald_json_get(keys->json, key), 0);
    if (*out < 1 || *out > INT_MAX)
        ALD_WRONG(keys, key, "a positive integer");
done:
    return status;
}

ald_status_t ald_keys_positive(const ald_keys_t *keys, const char *key, double otherwise,
                               double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (otherwise > 0 && ald_keys_silent(keys, key))
        goto done;
    *out = ald_json_number(ald_json_get(keys->json, key), NAN);
    if (!(*out > 0 && isfinite(*out)))
        ALD_WRONG(keys, key, "a positive number");
done:
    return status;
}

ald_status_t ald_keys_bool(const ald_keys_t *keys, const char *key, bool otherwise, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = otherwise;
    if (ald_keys_silent(keys, key))
        goto done;
    if (!ald_json_is_bool(ald_json_get(keys->json, key)))
        ALD_WRONG(keys, key, "true or false");
    *out = ald_json_bool(ald_json_get(keys->json, key), otherwise);
done:
    return status;
}
