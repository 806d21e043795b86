/* The table of keys in memory: looking them up, and storing a checked value in its member. An
 * unknown key gets the nearest known one in its message, since most are misspelt. */
#include "config/keys_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"

#define KEY(kind, path, standard, low, high, choices, help)                                        \
    {ALD_KIND_##kind,       #path, offsetof(ald_config_t, path), standard, low, high,              \
     ALD_CHOICES_##choices, help},
const ald_config_key_t ald_config_keys[] = {ALD_CONFIG_KEYS(KEY)};
#undef KEY
const size_t ald_config_key_count = sizeof ald_config_keys / sizeof ald_config_keys[0];

bool ald_config_is_text(const ald_config_key_t *key)
{
    return key->kind < ALD_KIND_CHOICE;
}

const char *ald_config_expectation(const ald_config_key_t *key)
{
    static const char *const names[] = {
        [ALD_KIND_STRING] = "a string",
        [ALD_KIND_INPUT] = "a path in quotes",
        [ALD_KIND_OUTPUT] = "a path in quotes",
        [ALD_KIND_ROOT] = "a path in quotes",
        [ALD_KIND_SIZE] = "a size in quotes",
        [ALD_KIND_CHOICE] = "a string",
        [ALD_KIND_INTEGER] = "an integer",
        [ALD_KIND_REAL] = "a number",
        [ALD_KIND_REAL0] = "a number",
        [ALD_KIND_REALS2] = "two numbers, [a, b]",
        [ALD_KIND_RAMP] = "a number, or { from = a; to = b; }, or a:b",
        [ALD_KIND_KEEP] = "\"all\", \"none\" or a number of steps",
        [ALD_KIND_BOOL] = "true or false",
        [ALD_KIND_SOURCES] =
            "a list of sources, ( { directory = \"a\"; weight = 1.0; }, ... ), or a:1.0,b:1.0",
    };
    return names[key->kind];
}

const ald_config_key_t *ald_config_find(const char *path)
{
    for (size_t i = 0; i < ald_config_key_count; ++i)
        if (strcmp(ald_config_keys[i].path, path) == 0)
            return &ald_config_keys[i];
    return NULL;
}

bool ald_config_is_group(const char *path)
{
    size_t length = strlen(path);
    for (size_t i = 0; i < ald_config_key_count; ++i)
        if (strncmp(ald_config_keys[i].path, path, length) == 0 &&
            ald_config_keys[i].path[length] == '.')
            return true;
    return false;
}

/* The number of insertions, deletions, replacements and swaps of neighbours that make `b` of `a`.
 * Texts are cut at 63 characters, more than any key has. */
static int edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    int rows[3][LONGEST];
    size_t na = strnlen(a, LONGEST - 1), nb = strnlen(b, LONGEST - 1);
    for (size_t j = 0; j <= nb; ++j)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= na; ++i) {
        int *row = rows[i % 3], *above = rows[(i - 1) % 3], *second = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; ++j) {
            int best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = second[j - 2] + 1 < best ? second[j - 2] + 1 : best;
            row[j] = best;
        }
    }
    return rows[na % 3][nb];
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot == NULL ? path : dot + 1;
}

const char *ald_config_nearest(const char *path)
{
    const char *nearest = ald_config_keys[0].path;
    int least = 1 << 20;
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const char *known = ald_config_keys[i].path;
        int whole = 2 * edit_distance(path, known);
        int part = 2 * edit_distance(last_part(path), last_part(known)) + 3; /* in a wrong group */
        int distance = whole < part ? whole : part;
        if (distance < least) {
            least = distance;
            nearest = known;
        }
    }
    return nearest;
}

const char *ald_config_nearest_group(const char *name, int *length)
{
    const char *nearest = NULL;
    int least = 1 << 20;
    for (size_t i = 0; i < ald_config_key_count; ++i) {
        const char *path = ald_config_keys[i].path;
        char group[64] = "";
        if (strchr(path, '.') != NULL)
            memcpy(group, path, strcspn(path, "."));
        int distance = edit_distance(name, group);
        if (group[0] != '\0' && distance < least) {
            least = distance;
            nearest = path;
            *length = (int)strlen(group);
        }
    }
    return nearest;
}

static bool in_range(const ald_config_key_t *key, double value)
{
    return isfinite(value) && ((value >= key->low && value <= key->high) ||
                               (value == 0.0 && key->kind == ALD_KIND_REAL0));
}

int64_t ald_config_bytes(const char *text)
{
    static const struct {
        const char *unit;
        double bytes;
    } units[] = {{"KB", 1e3},     {"MB", 1e6},        {"GB", 1e9},          {"TB", 1e12},
                 {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}};
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9')
        return -1;
    const double value = strtod(text, &end);
    end += strspn(end, " ");
    for (size_t i = 0; i < sizeof units / sizeof *units; ++i)
        if (strcmp(end, units[i].unit) == 0 && value * units[i].bytes >= 1.0 &&
            value * units[i].bytes < 9e18)
            return (int64_t)(value * units[i].bytes);
    return -1;
}

static ald_status_t store_text(ald_config_t *config, const ald_config_key_t *key, const char *text,
                               const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    char **member = ald_config_member(config, key);
    ALD_CHECK(key->kind != ALD_KIND_SIZE || ald_config_bytes(text) > 0, ALD_STATUS_USAGE,
              "%s: %s: \"%s\" is not a size; expected a number with KB, MB, GB, TB (thousands of "
              "bytes) or KiB, MiB, GiB (1024), as in \"5GB\"",
              place, key->path, text);
    char *copy = ald_strdup(text);
    ALD_CHECK_MEMORY(copy, strlen(text) + 1);
    ald_free(*member);
    *member = copy;
done:
    return status;
}

static ald_status_t store_sources(ald_sources_t *member, const ald_sources_t *value,
                                  const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    while (member->count > 0)
        ald_free(member->directory[--member->count]);
    for (int64_t i = 0; i < value->count; ++i) {
        ALD_CHECK(isfinite(value->weight[i]) && value->weight[i] > 0.0 && value->weight[i] <= 1e9,
                  ALD_STATUS_USAGE,
                  "%s: shards.sources: the weight of %s is %.15g; expected above 0, to 1e+09",
                  place, value->directory[i], value->weight[i]);
        member->directory[i] = ald_strdup(value->directory[i]);
        ALD_CHECK_MEMORY(member->directory[i], strlen(value->directory[i]) + 1);
        member->weight[i] = value->weight[i];
        member->count = i + 1;
    }
done:
    return status;
}

/* Stores a choice. Its member is an enum, which gcc keeps as an unsigned. */
static ald_status_t store_choice(unsigned *member, const ald_config_key_t *key, const char *text,
                                 const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(ald_choice_find(key->choices, text, member), ALD_STATUS_USAGE,
              "%s: %s: \"%s\" is not a choice; expected one of %s", place, key->path, text,
              ald_choice_names(key->choices));
done:
    return status;
}

ald_status_t ald_config_store(ald_config_t *config, const ald_config_key_t *key,
                              const ald_config_value_t *value, const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    void *member = ald_config_member(config, key);
    const bool or_0 = key->kind == ALD_KIND_REAL0;
    const bool two = key->kind == ALD_KIND_REALS2 || key->kind == ALD_KIND_RAMP;
    const int reals = key->kind == ALD_KIND_REAL || or_0 ? 1 : two ? 2 : 0;
    if (ald_config_is_text(key))
        return store_text(config, key, value->text, place);
    if (key->kind == ALD_KIND_CHOICE)
        return store_choice(member, key, value->text, place);
    if (key->kind == ALD_KIND_SOURCES)
        return store_sources(member, &value->sources, place);
    if (key->kind == ALD_KIND_BOOL)
        *(bool *)member = value->flag;
    if (key->kind == ALD_KIND_KEEP && value->integer == ALD_KEEP_ALL)
        *(int64_t *)member = ALD_KEEP_ALL;
    else if (key->kind == ALD_KIND_INTEGER || key->kind == ALD_KIND_KEEP) {
        ALD_CHECK(in_range(key, (double)value->integer), ALD_STATUS_USAGE,
                  "%s: %s: %lld is out of range; expected %.15g to %.15g", place, key->path,
                  (long long)value->integer, key->low, key->high);
        *(int64_t *)member = value->integer;
    }
    for (int i = 0; i < reals; ++i) {
        ALD_CHECK(in_range(key, value->reals[i]), ALD_STATUS_USAGE,
                  "%s: %s: %.15g is out of range; expected %s%.15g to %.15g", place, key->path,
                  value->reals[i], or_0 ? "0, or " : "", key->low, key->high);
        ((double *)member)[i] = value->reals[i];
    }
done:
    return status;
}

/* Resolves \" \\ \n \r \t of quoted text in place; false when the quotes don't close at its end. */
static bool unquote(char *text)
{
    char *to = text, *from = text + 1;
    for (; *from != '\0' && *from != '"'; ++from, ++to) {
        if (*from == '\\' && from[1] != '\0') {
            ++from;
            *to = *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from == 't' ? '\t' : *from;
        } else {
            *to = *from;
        }
    }
    bool closed = from[0] == '"' && from[1] == '\0';
    *to = '\0';
    return closed;
}

static bool parse_reals(const char *text, int count, double *out)
{
    char *end = NULL;
    for (int i = 0; i < count; ++i) {
        text += strspn(text, count > 1 ? " \t[(,{" : " \t");
        out[i] = strtod(text, &end);
        if (end == text)
            return false;
        text = end;
    }
    return text[strspn(text, count > 1 ? " \t])}" : " \t")] == '\0';
}

/* Reads "a" or "a:b". */
static bool parse_ramp(char *text, double *out)
{
    char *colon = strchr(text, ':');
    if (colon != NULL)
        *colon = '\0';
    return parse_reals(text, 1, &out[0]) &&
           parse_reals(colon == NULL ? text : colon + 1, 1, &out[1]);
}

static bool parse_integer(const char *text, int64_t *out)
{
    char *end = NULL;
    *out = strtoll(text, &end, 10);
    end += end != text && *end == 'L';
    return end != text && *end == '\0';
}

bool ald_config_parse_keep(const char *text, int64_t *out)
{
    *out = strcmp(text, "all") == 0 ? ALD_KEEP_ALL : 0;
    return *out > 0 || strcmp(text, "none") == 0;
}

/* Reads "a:1,b:0.5": folders, each with a weight behind its last colon (without one it is 1). */
static bool parse_sources(char *text, ald_sources_t *out)
{
    char *end = NULL;
    out->count = 0;
    while (text != NULL && *text != '\0') {
        char *next = strchr(text, ',');
        if (next != NULL)
            *next++ = '\0';
        char *colon = strrchr(text, ':');
        double weight = colon == NULL ? 1.0 : strtod(colon + 1, &end);
        if (colon != NULL && (end == colon + 1 || *end != '\0'))
            return false;
        if (colon != NULL)
            *colon = '\0';
        if (*text == '\0' || out->count == ALD_SOURCES_MAX)
            return false;
        out->directory[out->count] = text;
        out->weight[out->count++] = weight;
        text = next;
    }
    return true;
}

static bool parse(const ald_config_key_t *key, char *text, ald_config_value_t *out)
{
    out->text = text;
    switch (key->kind) {
    case ALD_KIND_INTEGER:
        return parse_integer(text, &out->integer);
    case ALD_KIND_KEEP:
        return ald_config_parse_keep(text, &out->integer) || parse_integer(text, &out->integer);
    case ALD_KIND_RAMP:
        return parse_ramp(text, out->reals);
    case ALD_KIND_REAL:
    case ALD_KIND_REAL0:
        return parse_reals(text, 1, out->reals);
    case ALD_KIND_REALS2:
        return parse_reals(text, 2, out->reals);
    case ALD_KIND_SOURCES:
        return parse_sources(text, &out->sources);
    case ALD_KIND_BOOL:
        out->flag = strcmp(text, "true") == 0;
        return out->flag || strcmp(text, "false") == 0;
    default:
        return text[0] != '"' || unquote(text);
    }
}

ald_status_t ald_config_store_text(ald_config_t *config, const ald_config_key_t *key,
                                   const char *text, const char *place)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_value_t value = {0};
    char *copy = ald_strdup(text);
    ALD_CHECK_MEMORY(copy, strlen(text) + 1);
    ALD_CHECK(parse(key, copy, &value), ALD_STATUS_USAGE, "%s: %s: expected %s, found \"%s\"",
              place, key->path, ald_config_expectation(key), text);
    ALD_TRY(ald_config_store(config, key, &value, place));
done:
    ald_free(copy);
    return status;
}
