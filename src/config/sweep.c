/* Reads a sweep: runs and a grid over one configuration. Each run is made as if by --set, so that
 * it is the run which that command line alone would make, and is checked the same way. */
#include "ald/config/sweep.h"

#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "config/keys_impl.h"
#include "config/parse_impl.h"

enum {
    RUNS_MAX = 4096, /* a grid of more is a mistake: each run needs a policy in memory or on disk */
    PATH_SIZE = 256, /* as in config.c */
};

/* A run before its configuration is made. */
typedef struct {
    char *name;
    ald_vec_t settings; /* char *, "path=value", owned */
} plan_t;

/* One key of the grid. */
typedef struct {
    const ald_config_key_t *key;
    ald_vec_t values; /* char *, owned */
} axis_t;

typedef struct {
    const char *file;
    ald_vec_t plans, axes;
    int64_t at_once;
    ald_config_t scratch; /* each value is stored here, to be checked */
} reader_t;

static void texts_reset(ald_vec_t *texts)
{
    for (size_t i = 0; i < texts->count; ++i)
        ald_free(ALD_VEC_AT(texts, char *, i));
    ald_vec_reset(texts);
}

/* Takes the text over, also on failure. */
static ald_status_t push_text(ald_vec_t *texts, char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(text != NULL, ALD_STATUS_RESOURCE, "out of memory: a sweep's settings");
    ALD_TRY(ald_vec_push(texts, &text));
    text = NULL;
done:
    ald_free(text);
    return status;
}

/* Whether shards and places are the same for all values of the key. */
static bool is_free(const char *path)
{
    static const char *const fixed[] = {"teacher.dpo",          "teacher.reverse",
                                        "teacher.reference",    "distill.output",
                                        "distill.mode",         "distill.on_policy_fraction",
                                        "distill.max_staleness"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; ++i)
        if (strcmp(path, fixed[i]) == 0)
            return false;
    return strcmp(path, "seed") == 0 || strncmp(path, "teacher.", 8) == 0 ||
           strncmp(path, "distill.", 8) == 0 || strncmp(path, "optimizer.", 10) == 0;
}

static ald_status_t find_key(const char *place, const char *path, const ald_config_key_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = ald_config_find(path);
    if (*out == NULL)
        return ald_config_unknown(place, path);
    ALD_CHECK(is_free(path), ALD_STATUS_USAGE,
              "%s: %s: a sweep can't change this; expected seed, or a key of teacher, distill or "
              "optimizer on which neither shards nor places depend",
              place, path);
done:
    return status;
}

static ald_status_t print_scalar(const config_setting_t *setting, const char *place,
                                 const char *path, ald_vec_t *text)
{
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        return ald_vec_printf(text, "%lld", config_setting_get_int64(setting));
    case CONFIG_TYPE_FLOAT:
        return ald_config_print_real(text, config_setting_get_float(setting));
    case CONFIG_TYPE_BOOL:
        return ald_vec_printf(text, "%s", config_setting_get_bool(setting) ? "true" : "false");
    case CONFIG_TYPE_STRING:
        return ald_vec_printf(text, "%s", config_setting_get_string(setting));
    default:
        return ald_status_raise(ALD_STATUS_USAGE, "%s: %s: expected a value, found %s", place, path,
                                ald_config_type_name(setting));
    }
}

/* Makes the text of a setting's value as --set takes it, after a check; freed by ald_free. */
static ald_status_t value_of(reader_t *reader, const config_setting_t *setting,
                             const ald_config_key_t *key, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char place[ALD_PLACE_SIZE];
    ald_vec_t text;
    ald_vec_init(&text, 1);
    *out = NULL;
    ald_config_place(setting, reader->file, place);
    if (key->kind == ALD_KIND_REALS2 && config_setting_length(setting) > 0) {
        for (int i = 0; i < config_setting_length(setting); ++i) {
            ALD_TRY(ald_vec_printf(&text, i == 0 ? "[" : ", "));
            ALD_TRY(print_scalar(config_setting_get_elem(setting, (unsigned)i), place, key->path,
                                 &text));
        }
        ALD_TRY(ald_vec_printf(&text, "]"));
    } else {
        ALD_TRY(print_scalar(setting, place, key->path, &text));
    }
    ALD_TRY(ald_vec_printf(&text, "%s", "")); /* an empty string is a text too */
    ALD_TRY(ald_config_store_text(&reader->scratch, key, text.data, place));
    *out = text.data;
    text.data = NULL;
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t push_setting(ald_vec_t *settings, const ald_config_key_t *key,
                                 const char *value)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_vec_printf(&text, "%s=%s", key->path, value));
    status = push_text(settings, text.data);
    text.data = NULL;
done:
    ald_vec_reset(&text);
    return status;
}

/* Takes what the group of a run, or of the grid, says of a key. */
typedef ald_status_t (*setting_fn)(reader_t *reader, const config_setting_t *setting,
                                   const ald_config_key_t *key, void *context);

/* Calls a function for each key of a group; `prefix` is "" or "group.". The "name" of a run is
 * passed over. */
static ald_status_t walk(reader_t *reader, const config_setting_t *group, const char *prefix,
                         bool named, setting_fn take, void *context)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < config_setting_length(group); ++i) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        const ald_config_key_t *key = NULL;
        char path[PATH_SIZE], place[ALD_PLACE_SIZE];
        snprintf(path, sizeof path, "%.120s%.100s", prefix, config_setting_name(setting));
        ald_config_place(setting, reader->file, place);
        if (named && strcmp(path, "name") == 0)
            continue;
        if (config_setting_is_group(setting) && ald_config_is_group(path)) {
            char inner[PATH_SIZE];
            snprintf(inner, sizeof inner, "%.200s.", path);
            ALD_TRY(walk(reader, setting, inner, false, take, context));
            continue;
        }
        ALD_TRY(find_key(place, path, &key));
        ALD_TRY(take(reader, setting, key, context));
    }
done:
    return status;
}

static ald_status_t take_setting(reader_t *reader, const config_setting_t *setting,
                                 const ald_config_key_t *key, void *context)
{
    ald_status_t status = ALD_STATUS_OK;
    char *value = NULL;
    ALD_TRY(value_of(reader, setting, key, &value));
    ALD_TRY(push_setting(context, key, value));
done:
    ald_free(value);
    return status;
}

static ald_status_t take_axis(reader_t *reader, const config_setting_t *setting,
                              const ald_config_key_t *key, void *context)
{
    ald_status_t status = ALD_STATUS_OK;
    char place[ALD_PLACE_SIZE], *value = NULL;
    axis_t axis = {.key = key};
    (void)context;
    ald_vec_init(&axis.values, sizeof(char *));
    ald_config_place(setting, reader->file, place);
    ALD_CHECK((config_setting_is_array(setting) || config_setting_is_list(setting)) &&
                  config_setting_length(setting) > 0,
              ALD_STATUS_USAGE, "%s: %s: expected a list of values, found %s", place, key->path,
              ald_config_type_name(setting));
    for (int i = 0; i < config_setting_length(setting); ++i) {
        ALD_TRY(value_of(reader, config_setting_get_elem(setting, (unsigned)i), key, &value));
        ALD_TRY(push_text(&axis.values, value));
    }
    ALD_TRY(ald_vec_push(&reader->axes, &axis));
    ald_vec_init(&axis.values, sizeof(char *));
done:
    texts_reset(&axis.values);
    return status;
}

static bool fits_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._+-";
    return name[0] != '\0' && name[0] != '.' && strlen(name) <= 200 &&
           name[strspn(name, allowed)] == '\0' && strncmp(name, "sweep.", 6) != 0;
}

/* Adds a plan with a copy of the name and without settings. */
static ald_status_t add_plan(reader_t *reader, const char *place, const char *name, plan_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    plan_t plan = {0};
    ALD_CHECK(
        fits_name(name), ALD_STATUS_USAGE,
        "%s: name \"%s\": expected letters, digits and ._+-, no dot in front and no \"sweep.\"",
        place, name);
    for (size_t i = 0; i < reader->plans.count; ++i)
        ALD_CHECK(strcmp(ALD_VEC_AT(&reader->plans, plan_t, i).name, name) != 0, ALD_STATUS_USAGE,
                  "%s: name \"%s\": there are two runs of this name", place, name);
    ALD_CHECK(reader->plans.count < RUNS_MAX, ALD_STATUS_USAGE, "%s: more than %d runs", place,
              RUNS_MAX);
    ald_vec_init(&plan.settings, sizeof(char *));
    plan.name = ald_strdup(name);
    ALD_CHECK_MEMORY(plan.name, strlen(name));
    ALD_TRY(ald_vec_push(&reader->plans, &plan));
    plan.name = NULL;
    *out = &ALD_VEC_AT(&reader->plans, plan_t, reader->plans.count - 1);
done:
    ald_free(plan.name);
    return status;
}

static ald_status_t read_run(reader_t *reader, const config_setting_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    char place[ALD_PLACE_SIZE];
    const char *name = NULL;
    plan_t *plan = NULL;
    ald_config_place(run, reader->file, place);
    ALD_CHECK(config_setting_is_group(run) && config_setting_lookup_string(run, "name", &name),
              ALD_STATUS_USAGE,
              "%s: runs: expected { name = \"...\"; ... }, found %s without a name", place,
              ald_config_type_name(run));
    ALD_TRY(add_plan(reader, place, name, &plan));
    ALD_TRY(walk(reader, run, "", true, take_setting, &plan->settings));
done:
    return status;
}

/* The last part of the key, or all of it where two keys of the grid end alike. */
static const char *short_name(const reader_t *reader, const ald_config_key_t *key)
{
    const char *dot = strrchr(key->path, '.'), *last = dot == NULL ? key->path : dot + 1;
    for (size_t i = 0; i < reader->axes.count; ++i) {
        const ald_config_key_t *other = ALD_VEC_AT(&reader->axes, axis_t, i).key;
        const char *end = strrchr(other->path, '.');
        if (other != key && strcmp(end == NULL ? other->path : end + 1, last) == 0)
            return key->path;
    }
    return last;
}

/* Adds the combination of that number, where the values of the last key change fastest. */
static ald_status_t add_combination(reader_t *reader, const char *place, int64_t number)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t axes = reader->axes.count;
    const char *value[axes];
    plan_t *plan = NULL;
    ald_vec_t name;
    ald_vec_init(&name, 1);
    for (size_t a = axes; a-- > 0;) {
        const ald_vec_t *values = &ALD_VEC_AT(&reader->axes, axis_t, a).values;
        value[a] = ALD_VEC_AT(values, char *, number % (int64_t)values->count);
        number /= (int64_t)values->count;
    }
    for (size_t a = 0; a < axes; ++a)
        ALD_TRY(ald_vec_printf(&name, "%s%s-%s", a > 0 ? "_" : "",
                               short_name(reader, ALD_VEC_AT(&reader->axes, axis_t, a).key),
                               value[a]));
    for (char *at = name.data; *at != '\0'; ++at)
        *at = strchr("/[], \"", *at) != NULL ? '-' : *at;
    ALD_TRY(add_plan(reader, place, name.data, &plan));
    for (size_t a = 0; a < axes; ++a)
        ALD_TRY(push_setting(&plan->settings, ALD_VEC_AT(&reader->axes, axis_t, a).key, value[a]));
done:
    ald_vec_reset(&name);
    return status;
}

static ald_status_t read_grid(reader_t *reader, const config_setting_t *grid, const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t combinations = 1;
    ALD_TRY(walk(reader, grid, "", false, take_axis, NULL));
    for (size_t a = 0; a < reader->axes.count && combinations <= RUNS_MAX; ++a)
        combinations *= (int64_t)ALD_VEC_AT(&reader->axes, axis_t, a).values.count;
    ALD_CHECK(reader->axes.count > 0, ALD_STATUS_USAGE, "%s: grid: no keys", place);
    for (int64_t i = 0; i < combinations; ++i)
        ALD_TRY(add_combination(reader, place, i));
done:
    return status;
}

static ald_status_t read_root(reader_t *reader, const config_setting_t *root)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < config_setting_length(root); ++i) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(setting);
        char place[ALD_PLACE_SIZE];
        int type = config_setting_type(setting);
        ald_config_place(setting, reader->file, place);
        if (strcmp(name, "at_once") == 0) {
            reader->at_once = config_setting_get_int64(setting);
            ALD_CHECK((type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64) &&
                          reader->at_once >= 0,
                      ALD_STATUS_USAGE, "%s: at_once: expected a number of runs, or 0", place);
        } else if (strcmp(name, "runs") == 0) {
            ALD_CHECK(config_setting_is_list(setting), ALD_STATUS_USAGE,
                      "%s: runs: expected ( { name = \"...\"; ... }, ... ), found %s", place,
                      ald_config_type_name(setting));
            for (int k = 0; k < config_setting_length(setting); ++k)
                ALD_TRY(read_run(reader, config_setting_get_elem(setting, (unsigned)k)));
        } else {
            ALD_CHECK(strcmp(name, "grid") == 0 && config_setting_is_group(setting),
                      ALD_STATUS_USAGE,
                      "%s: %s: expected at_once, a list \"runs\" or a group \"grid\"", place, name);
            ALD_TRY(read_grid(reader, setting, place));
        }
    }
    ALD_CHECK(reader->plans.count > 0, ALD_STATUS_USAGE, "%s: no runs; expected runs or grid",
              reader->file);
done:
    return status;
}

/* Makes the run's name, label and configuration. */
static ald_status_t make_run(const plan_t *plan, const char *config, const char *const *settings,
                             int count, ald_sweep_run_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *all[(size_t)count + plan->settings.count + 1];
    char *output = NULL;
    ald_vec_t label;
    ald_vec_init(&label, 1);
    for (int i = 0; i < count; ++i)
        all[i] = settings[i];
    for (size_t i = 0; i < plan->settings.count; ++i) {
        all[(size_t)count + i] = ALD_VEC_AT(&plan->settings, char *, i);
        ALD_TRY(ald_vec_printf(&label, "%s%s", i > 0 ? " " : "", all[(size_t)count + i]));
    }
    ALD_TRY(ald_vec_printf(&label, "%s", ""));
    ALD_TRY(ald_config_load(config, all, count + (int)plan->settings.count, &out->config));
    out->name = ald_strdup(plan->name);
    output = ald_path_join(out->config.distill.output, plan->name);
    ALD_CHECK(out->name != NULL && output != NULL, ALD_STATUS_RESOURCE, "out of memory: a run");
    ald_free(out->config.distill.output);
    out->config.distill.output = output;
    output = NULL;
    out->label = label.data;
    label.data = NULL;
done:
    ald_free(output);
    ald_vec_reset(&label);
    return status;
}

static void reader_reset(reader_t *reader)
{
    for (size_t i = 0; i < reader->plans.count; ++i) {
        ald_free(ALD_VEC_AT(&reader->plans, plan_t, i).name);
        texts_reset(&ALD_VEC_AT(&reader->plans, plan_t, i).settings);
    }
    for (size_t i = 0; i < reader->axes.count; ++i)
        texts_reset(&ALD_VEC_AT(&reader->axes, axis_t, i).values);
    ald_vec_reset(&reader->plans);
    ald_vec_reset(&reader->axes);
    ald_config_reset(&reader->scratch);
}

ald_status_t ald_sweep_load(const char *path, const char *config, const char *const *settings,
                            int count, ald_sweep_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    reader_t reader = {.file = path};
    config_t parsed;
    *out = (ald_sweep_t){0};
    ald_vec_init(&reader.plans, sizeof(plan_t));
    ald_vec_init(&reader.axes, sizeof(axis_t));
    ALD_TRY(ald_config_parse(path, &parsed));
    ALD_TRY(read_root(&reader, config_root_setting(&parsed)));
    out->runs = ald_calloc(reader.plans.count, sizeof *out->runs);
    ALD_CHECK_MEMORY(out->runs, reader.plans.count * sizeof *out->runs);
    out->at_once = reader.at_once;
    for (size_t i = 0; i < reader.plans.count; ++i) {
        out->count = (int64_t)i + 1;
        ALD_TRY(make_run(&ALD_VEC_AT(&reader.plans, plan_t, i), config, settings, count,
                         &out->runs[i]));
    }
done:
    config_destroy(&parsed);
    reader_reset(&reader);
    if (status != ALD_STATUS_OK)
        ald_sweep_reset(out);
    return status;
}

void ald_sweep_reset(ald_sweep_t *sweep)
{
    for (int64_t i = 0; i < sweep->count; ++i) {
        ald_free(sweep->runs[i].name);
        ald_free(sweep->runs[i].label);
        ald_config_reset(&sweep->runs[i].config);
    }
    ald_free(sweep->runs);
    *sweep = (ald_sweep_t){0};
}
