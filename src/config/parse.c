/* Reads files in libconfig's syntax. The library knows the line of each setting, and every
 * message about a wrong one takes it from here. */
#include "config/parse_impl.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "config/keys_impl.h"

const char *ald_config_type_name(const config_setting_t *setting)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_GROUP:
        return "a group";
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return "an integer";
    case CONFIG_TYPE_FLOAT:
        return "a number";
    case CONFIG_TYPE_STRING:
        return "a string";
    case CONFIG_TYPE_BOOL:
        return "a boolean";
    default:
        return "a list";
    }
}

void ald_config_place(const config_setting_t *setting, const char *file, char *place)
{
    const char *source = config_setting_source_file(setting);
    snprintf(place, ALD_PLACE_SIZE, "%.500s:%u", source == NULL ? file : source,
             config_setting_source_line(setting));
}

ald_status_t ald_config_unknown(const char *place, const char *path)
{
    return ald_status_raise(ALD_STATUS_USAGE, "%s: %s: unknown key; did you mean %s?", place, path,
                            ald_config_nearest(path));
}

/* The text is read here and not by libconfig, whose scanner ends the process when read(2) fails. */
ald_status_t ald_config_parse(const char *path, config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL, *folder = NULL;
    size_t size = 0;
    config_init(out);
    if (ald_file_read(path, &text, &size) != ALD_STATUS_OK) {
        status = ald_status_raise(ALD_STATUS_USAGE, "%s", ald_status_message());
        goto done;
    }
    folder = ald_path_folder(path);
    ALD_CHECK_MEMORY(folder, strlen(path));
    ALD_CHECK(memchr(text, '\0', size) == NULL, ALD_STATUS_USAGE,
              "%s: not a configuration file: it contains NUL bytes", path);
    config_set_include_dir(out, folder);
    if (!config_read_string(out, text)) {
        const char *source = config_error_file(out);
        status = ald_status_raise(ALD_STATUS_USAGE, "%s:%d: %s", source == NULL ? path : source,
                                  config_error_line(out), config_error_text(out));
        goto done;
    }
done:
    ald_free(folder);
    ald_free(text);
    return status;
}
