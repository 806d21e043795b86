/* Loads a configuration: defaults, a file, --set, then the paths. A setting goes to its member by
 * the table of keys, so that no key can be read in two ways. */
#include "ald/config/config.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "config/keys_impl.h"
#include "config/parse_impl.h"

/* Longest path "group.key" that is looked at. The known ones have less than 40 characters, so
 * anything that is longer is unknown anyway, and is shown up to here. */
enum { PATH_SIZE = 256 };

typedef struct {
    ald_config_t *config;
    const char *file; /* for messages */
    ald_status_t (*take)(ald_config_t *config, const config_setting_t *setting, const char *path,
                         const char *place);
} loading_t;

static bool is_integer(const config_setting_t *setting)
{
    int type = config_setting_type(setting);
    return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
}

static bool read_real(const config_setting_t *setting, double *out)
{
    if (setting == NULL)
        return false;
    if (is_integer(setting))
        *out = (double)config_setting_get_int64(setting);
    else if (config_setting_type(setting) == CONFIG_TYPE_FLOAT)
        *out = config_setting_get_float(setting);
    else
        return false;
    return true;
}

/* A number, or a group of two and nothing else. */
static bool read_ramp(const config_setting_t *setting, double *out)
{
    if (config_setting_is_group(setting))
        return config_setting_length(setting) == 2 &&
               read_real(config_setting_get_member(setting, "from"), &out[0]) &&
               read_real(config_setting_get_member(setting, "to"), &out[1]);
    const bool number = read_real(setting, &out[0]);
    out[1] = out[0];
    return number;
}

static bool read_keep(const config_setting_t *setting, int64_t *out)
{
    const char *text = config_setting_get_string(setting);
    if (text != NULL)
        return ald_config_parse_keep(text, out);
    *out = is_integer(setting) ? config_setting_get_int64(setting) : 0;
    return is_integer(setting);
}

/* Reads one source of the list: a group with a directory, maybe a weight, and nothing else. */
static bool read_source(const config_setting_t *setting, ald_sources_t *out)
{
    const char *directory = NULL;
    double weight = 1.0;
    const config_setting_t *number = config_setting_get_member(setting, "weight");
    if (!config_setting_is_group(setting) || out->count == ALD_SOURCES_MAX ||
        !config_setting_lookup_string(setting, "directory", &directory) || directory[0] == '\0' ||
        (number != NULL && !read_real(number, &weight)) ||
        config_setting_length(setting) != 1 + (number != NULL))
        return false;
    out->directory[out->count] = (char *)directory;
    out->weight[out->count++] = weight;
    return true;
}

static bool read_sources(const config_setting_t *setting, ald_sources_t *out)
{
    out->count = 0;
    if (!config_setting_is_list(setting))
        return false;
    for (int i = 0; i < config_setting_length(setting); ++i)
        if (!read_source(config_setting_get_elem(setting, (unsigned)i), out))
            return false;
    return true;
}

static bool read_value(const ald_config_key_t *key, const config_setting_t *setting,
                       ald_config_value_t *out)
{
    switch (key->kind) {
    case ALD_KIND_INTEGER:
        out->integer = is_integer(setting) ? config_setting_get_int64(setting) : 0;
        return is_integer(setting);
    case ALD_KIND_REAL:
    case ALD_KIND_REAL0:
        return read_real(setting, &out->reals[0]);
    case ALD_KIND_REALS2:
        return (config_setting_is_array(setting) || config_setting_is_list(setting)) &&
               config_setting_length(setting) == 2 &&
               read_real(config_setting_get_elem(setting, 0), &out->reals[0]) &&
               read_real(config_setting_get_elem(setting, 1), &out->reals[1]);
    case ALD_KIND_RAMP:
        return read_ramp(setting, out->reals);
    case ALD_KIND_KEEP:
        return read_keep(setting, &out->integer);
    case ALD_KIND_SOURCES:
        return read_sources(setting, &out->sources);
    case ALD_KIND_BOOL:
        out->flag = config_setting_get_bool(setting);
        return config_setting_type(setting) == CONFIG_TYPE_BOOL;
    default:
        out->text = config_setting_get_string(setting);
        return out->text != NULL;
    }
}

static ald_status_t load_setting(ald_config_t *config, const config_setting_t *setting,
                                 const char *path, const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_key_t *key = ald_config_find(path);
    ald_config_value_t value = {0};
    ALD_CHECK(!ald_config_is_group(path), ALD_STATUS_USAGE,
              "%s: %s: expected a group, %s: { ... }; found %s", place, path, path,
              ald_config_type_name(setting));
    if (key == NULL && config_setting_is_group(setting)) {
        int length = 0;
        const char *nearest = ald_config_nearest_group(path, &length);
        return ald_status_raise(ALD_STATUS_USAGE, "%s: %s: unknown group; did you mean %.*s?",
                                place, path, length, nearest);
    }
    if (key == NULL)
        return ald_config_unknown(place, path);
    ALD_CHECK(read_value(key, setting, &value), ALD_STATUS_USAGE, "%s: %s: expected %s, found %s",
              place, path, ald_config_expectation(key), ald_config_type_name(setting));
    ALD_TRY(ald_config_store(config, key, &value, place));
done:
    return status;
}

/* Loads a setting that another version wrote. A key that this version doesn't have is passed over;
 * where it doesn't take the value, the default stands. */
static ald_status_t load_foreign(ald_config_t *config, const config_setting_t *setting,
                                 const char *path, const char *place)
{
    ald_status_t status = load_setting(config, setting, path, place);
    if (status != ALD_STATUS_USAGE)
        return status;
    if (ald_config_find(path) != NULL || ald_config_is_group(path))
        ald_log_warn("%s; the default is taken", ald_status_message());
    return ALD_STATUS_OK;
}

/* Walks the settings of a group; `prefix` is "" for the root, else "group.". */
static ald_status_t load_group(const loading_t *loading, const config_setting_t *group,
                               const char *prefix)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < config_setting_length(group); ++i) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        char path[PATH_SIZE], place[ALD_PLACE_SIZE];
        snprintf(path, sizeof path, "%s%.100s", prefix, config_setting_name(setting));
        ald_config_place(setting, loading->file, place);
        if (config_setting_is_group(setting) && ald_config_is_group(path)) {
            char inner[PATH_SIZE];
            snprintf(inner, sizeof inner, "%.200s.", path);
            ALD_TRY(load_group(loading, setting, inner));
        } else {
            ALD_TRY(loading->take(loading->config, setting, path, place));
        }
    }
done:
    return status;
}

static ald_status_t load_file(ald_config_t *config, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    config_t parsed;
    const loading_t loading = {config, path, load_setting};
    ALD_TRY(ald_config_parse(path, &parsed));
    ALD_TRY(load_group(&loading, config_root_setting(&parsed), ""));
done:
    config_destroy(&parsed);
    return status;
}

static ald_status_t load_assignment(ald_config_t *config, const char *assignment)
{
    ald_status_t status = ALD_STATUS_OK;
    char path[PATH_SIZE];
    size_t length = strcspn(assignment, "=");
    ALD_CHECK(assignment[length] == '=' && length > 0, ALD_STATUS_USAGE,
              "--set %s: expected path=value", assignment);
    snprintf(path, sizeof path, "%.*s", (int)(length < 200 ? length : 200), assignment);
    const ald_config_key_t *key = ald_config_find(path);
    ALD_CHECK(!ald_config_is_group(path), ALD_STATUS_USAGE,
              "--set: %s: is a group; expected one of its keys", path);
    if (key == NULL)
        return ald_config_unknown("--set", path);
    ALD_TRY(ald_config_store_text(config, key, assignment + length + 1, "--set"));
done:
    return status;
}

static ald_status_t resolve(char **member, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    if ((*member)[0] == '\0' || folder[0] == '\0' || strcmp(folder, ".") == 0)
        return status;
    char *joined = ald_path_join(folder, *member);
    ALD_CHECK_MEMORY(joined, strlen(folder) + strlen(*member));
    ald_free(*member);
    *member = joined;
done:
    return status;
}

static ald_status_t resolve_all(ald_config_t *config, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(resolve(&config->output, folder)); /* first, since the OUTPUT keys are relative to it */
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const ald_config_key_t *key = &ald_config_keys[i];
        if (key->kind == ALD_KIND_INPUT)
            ALD_TRY(resolve(ald_config_member(config, key), folder));
        else if (key->kind == ALD_KIND_OUTPUT)
            ALD_TRY(resolve(ald_config_member(config, key), config->output));
    }
    for (int64_t i = 0; i < config->shards.sources.count; ++i)
        ALD_TRY(resolve(&config->shards.sources.directory[i], config->output));
done:
    return status;
}

static ald_status_t load_defaults(ald_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < ald_config_key_count; ++i)
        ALD_TRY(ald_config_store_text(out, &ald_config_keys[i], ald_config_keys[i].standard,
                                      "defaults"));
done:
    return status;
}

ald_status_t ald_config_load(const char *path, const char *const *settings, int count,
                             ald_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *folder = NULL;
    ALD_TRY(load_defaults(out));
    if (path != NULL)
        ALD_TRY(load_file(out, path));
    for (int i = 0; i < count; ++i)
        ALD_TRY(load_assignment(out, settings[i]));
    folder = path == NULL ? ald_strdup(".") : ald_path_folder(path);
    ALD_CHECK_MEMORY(folder, 1);
    ALD_TRY(resolve_all(out, folder));
done:
    ald_free(folder);
    if (status != ALD_STATUS_OK)
        ald_config_reset(out);
    return status;
}

/* Whether libconfig would open another file, by an @include at the beginning of a line. */
static bool includes_files(const char *text)
{
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += strspn(line, " \t\r\n");
        if (strncmp(line, "@include", strlen("@include")) == 0)
            return true;
    }
    return false;
}

ald_status_t ald_config_load_text(const char *text, const char *name, ald_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const loading_t loading = {out, name, load_foreign};
    config_t parsed;
    config_init(&parsed);
    ALD_TRY(load_defaults(out));
    ALD_CHECK(!includes_files(text), ALD_STATUS_INPUT,
              "%s: expected a configuration on its own, found @include", name);
    ALD_CHECK(config_read_string(&parsed, text), ALD_STATUS_INPUT, "%s:%d: %s", name,
              config_error_line(&parsed), config_error_text(&parsed));
    ALD_TRY(load_group(&loading, config_root_setting(&parsed), ""));
done:
    config_destroy(&parsed);
    if (status != ALD_STATUS_OK)
        ald_config_reset(out);
    return status;
}

void ald_config_reset(ald_config_t *config)
{
    for (size_t i = 0; i < ald_config_key_count; ++i)
        if (ald_config_is_text(&ald_config_keys[i]))
            ald_free(*(char **)ald_config_member(config, &ald_config_keys[i]));
    for (int64_t i = 0; i < config->shards.sources.count; ++i)
        ald_free(config->shards.sources.directory[i]);
    memset(config, 0, sizeof *config);
}
