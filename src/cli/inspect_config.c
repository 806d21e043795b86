/* What `inspect` says of a configuration: every key with its value, or for scripts some
 * values alone, or whether a stage's result is there. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/pipeline/made.h"
#include "cli/inspect_impl.h"

/* Prints the value of each key of "a,b,c" on a line of its own. */
static ald_status_t print_values(const ald_config_t *config, const char *keys)
{
    ald_status_t status = ALD_STATUS_OK;
    char key[128];
    ald_vec_t text;
    ald_vec_init(&text, 1);
    for (const char *at = keys; at != NULL; at = strchr(at, ','), at = at == NULL ? NULL : at + 1) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(at, ","), at);
        ALD_TRY(ald_config_value(config, key, &text));
        ALD_TRY(ald_vec_printf(&text, "\n"));
    }
    ald_print("%s", (const char *)text.data);
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t print_made(const ald_config_t *config, const char *stage)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_stage_made(config, stage, &text));
    ald_print("%s\n", (const char *)text.data);
done:
    ald_vec_reset(&text);
    return status;
}

ald_status_t ald_inspect_config(const char *path, const ald_vec_t *settings, const char *keys,
                                const char *made)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_t config = {0};
    char *text = NULL;
    ALD_TRY(ald_config_load(path, settings->data, (int)settings->count, &config));
    if (made != NULL)
        ALD_TRY(print_made(&config, made));
    else if (keys != NULL)
        ALD_TRY(print_values(&config, keys));
    else
        ALD_TRY(ald_config_print(&config, &text));
    if (text != NULL)
        ald_print("%s", text);
done:
    ald_free(text);
    ald_config_reset(&config);
    return status;
}
