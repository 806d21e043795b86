/* The configuration as text: the effective values, and the help. Both walk the table of keys, so
 * neither can miss a key or show one that does not exist. */
#include "ald/config/print.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "config/keys_impl.h"

ald_status_t ald_config_print_real(ald_vec_t *text, double value)
{
    char number[40];
    for (int digits = 6; digits <= 17; ++digits) {
        snprintf(number, sizeof number, "%.*g", digits, value);
        if (strtod(number, NULL) == value)
            break;
    }
    return ald_vec_printf(text, "%s%s", number, strpbrk(number, ".e") == NULL ? ".0" : "");
}

static ald_status_t print_string(ald_vec_t *text, const char *value)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(text, "\""));
    for (; *value != '\0'; ++value) {
        if (*value == '"' || *value == '\\')
            ALD_TRY(ald_vec_printf(text, "\\%c", *value));
        else if ((unsigned char)*value < ' ')
            ALD_TRY(ald_vec_printf(text, "\\x%02x", (unsigned)*value));
        else
            ALD_TRY(ald_vec_printf(text, "%c", *value));
    }
    ALD_TRY(ald_vec_printf(text, "\""));
done:
    return status;
}

static ald_status_t print_sources(ald_vec_t *text, const ald_sources_t *sources)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(text, "("));
    for (int64_t i = 0; i < sources->count; ++i) {
        ALD_TRY(ald_vec_printf(text, "%s { directory = ", i > 0 ? "," : ""));
        ALD_TRY(print_string(text, sources->directory[i]));
        ALD_TRY(ald_vec_printf(text, "; weight = "));
        ALD_TRY(ald_config_print_real(text, sources->weight[i]));
        ALD_TRY(ald_vec_printf(text, "; }"));
    }
    ALD_TRY(ald_vec_printf(text, " )"));
done:
    return status;
}

static ald_status_t print_value(ald_vec_t *text, const ald_config_t *config,
                                const ald_config_key_t *key)
{
    ald_status_t status = ALD_STATUS_OK;
    const void *member = (const char *)config + key->offset;
    const double *reals = member;
    switch (key->kind) {
    case ALD_KIND_INTEGER: {
        long long value = *(const int64_t *)member;
        return ald_vec_printf(text, "%lld%s", value, value > INT32_MAX ? "L" : "");
    }
    case ALD_KIND_BOOL:
        return ald_vec_printf(text, "%s", *(const bool *)member ? "true" : "false");
    case ALD_KIND_CHOICE:
        return print_string(text, ald_choice_name(key->choices, *(const unsigned *)member));
    case ALD_KIND_SOURCES:
        return print_sources(text, member);
    case ALD_KIND_REAL:
    case ALD_KIND_REAL0:
        return ald_config_print_real(text, reals[0]);
    case ALD_KIND_KEEP:
        if (*(const int64_t *)member == ALD_KEEP_ALL || *(const int64_t *)member == 0)
            return print_string(text, *(const int64_t *)member == 0 ? "none" : "all");
        return ald_vec_printf(text, "%lldL", (long long)*(const int64_t *)member);
    case ALD_KIND_RAMP:
        if (reals[0] == reals[1])
            return ald_config_print_real(text, reals[0]);
        ALD_TRY(ald_vec_printf(text, "{ from = "));
        ALD_TRY(ald_config_print_real(text, reals[0]));
        ALD_TRY(ald_vec_printf(text, "; to = "));
        ALD_TRY(ald_config_print_real(text, reals[1]));
        return ald_vec_printf(text, "; }");
    case ALD_KIND_REALS2:
        ALD_TRY(ald_vec_printf(text, "["));
        ALD_TRY(ald_config_print_real(text, reals[0]));
        ALD_TRY(ald_vec_printf(text, ", "));
        ALD_TRY(ald_config_print_real(text, reals[1]));
        return ald_vec_printf(text, "]");
    default:
        return print_string(text, *(char *const *)member);
    }
done:
    return status;
}

/* How many characters "group." has in a path, or "group.inner."; 0 for a key of the root. */
static size_t group_length(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot == NULL ? 0 : (size_t)(dot - path) + 1;
}

/* Whether the key only says where a stage writes, which ranks do what, or which fault a test
 * injects: the content of what is written doesn't depend on such a key. It does on the products of
 * a test, so a run that has them says so, and no other run says anything of them. */
static bool is_place(const ald_config_t *config, const ald_config_key_t *key)
{
    if (key->offset == offsetof(ald_config_t, debug.product))
        return config->debug.product == ALD_PRODUCT_AUTO;
    return key->kind == ALD_KIND_ROOT || key->kind == ALD_KIND_OUTPUT ||
           key->kind == ALD_KIND_SOURCES || strncmp(key->path, "debug.", strlen("debug.")) == 0 ||
           strncmp(key->path, "roles.", strlen("roles.")) == 0;
}

/* Closes the groups of a key's path and opens those of the next one's, of which the first `*depth`
 * are open; either path may be "". */
static ald_status_t change_group(ald_vec_t *text, const char *from, const char *to, int *depth)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t old = group_length(from), wanted = group_length(to);
    size_t shared = 0;
    for (size_t i = 0; i < old && i < wanted && from[i] == to[i]; ++i)
        shared = from[i] == '.' ? i + 1 : shared;
    for (size_t i = shared; i < old; ++i)
        if (from[i] == '.')
            ALD_TRY(ald_vec_printf(text, "%*s};\n", 2 * --*depth, ""));
    for (size_t i = shared, end; i < wanted; i = end + 1) {
        end = i + strcspn(to + i, ".");
        ALD_TRY(ald_vec_printf(text, "%*s%.*s: {\n", 2 * (*depth)++, "", (int)(end - i), to + i));
    }
done:
    return status;
}

static ald_status_t print_keys(const ald_config_t *config, bool places, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    const char *last = "";
    int depth = 0;
    ald_vec_init(&text, 1);
    *out = NULL;
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const ald_config_key_t *key = &ald_config_keys[i];
        if (!places && is_place(config, key))
            continue;
        ALD_TRY(change_group(&text, last, key->path, &depth));
        last = key->path;
        ALD_TRY(ald_vec_printf(&text, "%*s%s = ", 2 * depth, "", last + group_length(last)));
        ALD_TRY(print_value(&text, config, key));
        ALD_TRY(ald_vec_printf(&text, ";\n"));
    }
    ALD_TRY(change_group(&text, last, "", &depth));
    *out = text.data;
    text.data = NULL;
done:
    ald_vec_reset(&text);
    return status;
}

ald_status_t ald_config_print(const ald_config_t *config, char **out)
{
    return print_keys(config, true, out);
}

ald_status_t ald_config_print_content(const ald_config_t *config, char **out)
{
    return print_keys(config, false, out);
}

ald_status_t ald_config_value(const ald_config_t *config, const char *key, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const ald_config_key_t *one = &ald_config_keys[i];
        if (strcmp(one->path, key) != 0)
            continue;
        const void *member = (const char *)config + one->offset;
        if (ald_config_is_text(one))
            return ald_vec_printf(text, "%s", *(char *const *)member);
        if (one->kind == ALD_KIND_CHOICE)
            return ald_vec_printf(text, "%s",
                                  ald_choice_name(one->choices, *(const unsigned *)member));
        return print_value(text, config, one);
    }
    ALD_CHECK(0, ALD_STATUS_USAGE, "%s: no key of the configuration", key);
done:
    return status;
}

/* Whether results depend on the key's value: not on a path but on what is there, and not on what is
 * kept or checked on the way. */
static bool is_setting(const ald_config_t *config, const ald_config_key_t *key)
{
    static const char *const beside[] = {"shards.keep", "shards.compression",
                                         "distill.max_teacher_error"};
    for (size_t i = 0; i < sizeof beside / sizeof *beside; ++i)
        if (strcmp(key->path, beside[i]) == 0)
            return false;
    return !is_place(config, key) && key->kind != ALD_KIND_INPUT;
}

ald_status_t ald_config_settings(const ald_config_t *config, const char *const *groups,
                                 size_t count, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const ald_config_key_t *key = &ald_config_keys[i];
        bool wanted = false;
        for (size_t g = 0; g < count; ++g)
            wanted = wanted || strncmp(key->path, groups[g], strlen(groups[g])) == 0;
        if (!wanted || !is_setting(config, key))
            continue;
        text.count = 0;
        ALD_TRY(print_value(&text, config, key));
        ald_json_set(out, key->path, ald_json_new_string(text.data));
    }
done:
    ald_vec_reset(&text);
    return status;
}

bool ald_config_about(size_t index, ald_config_about_t *out)
{
    static const char *const kinds[] = {
        [ALD_KIND_STRING] = "string",    [ALD_KIND_INPUT] = "path",  [ALD_KIND_OUTPUT] = "path",
        [ALD_KIND_ROOT] = "path",        [ALD_KIND_SIZE] = "size",   [ALD_KIND_CHOICE] = "choice",
        [ALD_KIND_INTEGER] = "integer",  [ALD_KIND_REAL] = "number", [ALD_KIND_REAL0] = "number",
        [ALD_KIND_REALS2] = "2 numbers", [ALD_KIND_BOOL] = "bool",   [ALD_KIND_SOURCES] = "list",
        [ALD_KIND_RAMP] = "number",      [ALD_KIND_KEEP] = "steps",
    };
    if (index >= ald_config_key_count)
        return false;
    const ald_config_key_t *key = &ald_config_keys[index];
    const bool quoted =
        ald_config_is_text(key) || key->kind == ALD_KIND_CHOICE || key->kind == ALD_KIND_KEEP;
    const char *quote = quoted ? "\"" : "";
    *out = (ald_config_about_t){.path = key->path, .kind = kinds[key->kind], .help = key->help};
    if (key->kind == ALD_KIND_CHOICE)
        out->choices = ald_choice_names(key->choices);
    if (key->kind == ALD_KIND_BOOL)
        out->choices = "true|false";
    snprintf(out->standard, sizeof out->standard, "%s%s%s", quote, key->standard, quote);
    return true;
}

static ald_status_t describe_key(ald_vec_t *text, size_t index)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_about_t key;
    ald_config_about(index, &key);
    ALD_TRY(
        ald_vec_printf(text, "  %-30s %-9s %-20s %s", key.path, key.kind, key.standard, key.help));
    if (ald_config_keys[index].kind == ALD_KIND_CHOICE)
        ALD_TRY(ald_vec_printf(text, " (%s)", key.choices));
    ALD_TRY(ald_vec_printf(text, "\n"));
done:
    return status;
}

ald_status_t ald_config_describe(const char *group, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    *out = NULL;
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const char *path = ald_config_keys[i].path;
        size_t length = group_length(path);
        if (group == NULL ||
            (length > 0 && strlen(group) == length - 1 && strncmp(path, group, length - 1) == 0))
            ALD_TRY(describe_key(&text, i));
    }
    ALD_TRY(ald_vec_printf(&text, "%s", ""));
    *out = text.data;
    text.data = NULL;
done:
    ald_vec_reset(&text);
    return status;
}
