/* Model cards say what records say, and claim nothing. They have no times and places, so that equal
 * runs give equal cards. */
#include "ald/lineage/card.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/lineage/walk.h"

#define MARK  "<!-- made by aligndistil: without this line it keeps the file as it is -->"
#define BEGIN "<!-- evaluations -->\n"
#define END   "<!-- end of evaluations -->\n"

static const char *text_of(const ald_json_t *object, const char *key)
{
    return ald_json_text(ald_json_get(object, key), NULL);
}

/* The last part of a path, without slashes and dots behind it; freed by ald_free, NULL without
 * memory. "." and ".." have the name of the folder that they are. */
static char *name_of(const char *path)
{
    char whole[PATH_MAX];
    size_t end = strlen(path);
    while (end > 1 && (path[end - 1] == '/' || (path[end - 1] == '.' && path[end - 2] == '/')))
        --end;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        --begin;
    char *out = ald_alloc(end - begin + 1);
    if (out == NULL)
        return NULL;
    memcpy(out, path + begin, end - begin);
    out[end - begin] = '\0';
    if (out[0] != '\0' && strcmp(out, ".") != 0 && strcmp(out, "..") != 0)
        return out;
    ald_free(out);
    const char *last = realpath(path, whole) == NULL ? NULL : strrchr(whole, '/');
    return ald_strdup(last == NULL ? path : last + 1);
}

/* *out becomes FOLDER/README.md whole, or NULL; freed by ald_free. */
static void read_card(const char *folder, char **out)
{
    char *path = ald_path_join(folder, "README.md");
    size_t size = 0;
    *out = NULL;
    if (path != NULL && ald_path_exists(path) && ald_file_read(path, out, &size) != ALD_STATUS_OK)
        *out = NULL;
    ald_free(path);
}

static ald_status_t write_card(const char *folder, const ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(folder, "README.md");
    ALD_CHECK_MEMORY(path, strlen(folder));
    ALD_TRY(ald_file_write(path, text->data, text->count));
done:
    ald_free(path);
    return status;
}

/* --- the block for the hub ---------------------------------------------------------------------
 */

/* A value of a card's block, in one of the forms that are understood. */
typedef struct {
    const char *at; /* a plain scalar, or what is in quotes; NULL: none */
    size_t length;
} scalar_t;

/* The first line of a card's block, or NULL: it has none that ends. *end: its last "---". */
static const char *find_block(const char *card, const char **end)
{
    if (card != NULL && strncmp(card, "\xEF\xBB\xBF", 3) == 0)
        card += 3;
    if (card == NULL || strncmp(card, "---", 3) != 0 || card[3 + strspn(card + 3, " \t\r")] != '\n')
        return NULL;
    const char *begin = card + strcspn(card, "\n") + 1;
    for (const char *at = begin; *at != '\0';) {
        if (strncmp(at, "---", 3) == 0 && strchr("\r\n \t", at[3]) != NULL) { /* NUL, too */
            *end = at;
            return begin;
        }
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
    return NULL;
}

/* What is behind "KEY:" of a line, or NULL: the key may be in quotes and have blanks behind it. */
static const char *match_key(const char *line, const char *key)
{
    const size_t wide = strlen(key);
    const char quote = *line == '"' || *line == '\'' ? *line : '\0';
    line += quote != '\0';
    if (strncmp(line, key, wide) != 0)
        return NULL;
    line += wide;
    if (quote != '\0' && *line++ != quote)
        return NULL;
    line += strspn(line, " \t");
    return *line == ':' && strchr(" \t\r\n", line[1]) != NULL ? line + 1 : NULL;
}

/* A value of one line: plain from a letter or figure (or of a path) on, or in quotes without
 * escapes. */
static scalar_t read_scalar(const char *at)
{
    static const char blank[] = " \t\r";
    const scalar_t none = {0};
    const size_t line = strcspn(at, "\n"), skip = strspn(at, blank);
    const char *begin = at + skip, *stop = at + line;
    const char next = stop[strspn(stop, "\r\n")];
    if (begin >= stop || *stop == '\0' || next == ' ' || next == '\t')
        return none; /* empty, or it goes on in the next line */
    if (*begin == '"' || *begin == '\'') {
        const size_t length = strcspn(begin + 1, *begin == '"' ? "\"\\\n" : "'\n");
        const char *behind = begin + 1 + length;
        const size_t rest = *behind == *begin ? strspn(behind + 1, blank) : 0;
        return *behind == *begin &&
                       (behind[1 + rest] == '\n' || (rest > 0 && behind[1 + rest] == '#'))
                   ? (scalar_t){begin + 1, length}
                   : none;
    }
    for (const char *p = begin; p < stop; ++p) {
        if (*p == '#' && p > begin && strchr(blank, p[-1]) != NULL)
            stop = p; /* a comment */
        else if (((unsigned char)*p < ' ' && strchr(blank, *p) == NULL) ||
                 (*p == ':' && strchr(blank, p[1]) != NULL))
            return none;
    }
    while (stop > begin && strchr(blank, stop[-1]) != NULL)
        --stop;
    const size_t length = (size_t)(stop - begin);
    const bool null = length == 4 && strncasecmp(begin, "null", 4) == 0;
    const bool starts = isalnum((unsigned char)*begin) || strchr("./_", *begin) != NULL;
    return length > 0 && starts && !null ? (scalar_t){begin, length} : none;
}

static scalar_t find_scalar(const char *card, const char *key)
{
    const char *end = NULL;
    const scalar_t none = {0};
    for (const char *at = find_block(card, &end); at != NULL && at < end;) {
        const char *value = match_key(at, key);
        if (value != NULL)
            return read_scalar(value);
        at += strcspn(at, "\n") + 1;
    }
    return none;
}

static ald_status_t put_quoted(ald_vec_t *out, const char *key, const char *value, size_t length)
{
    ald_status_t status = ALD_STATUS_OK;
    char *quoted = NULL;
    ald_json_t *json = ald_json_new_text(value, length);
    ALD_TRY(ald_json_dump(json, false, &quoted)); /* a string of JSON is one of YAML */
    ALD_TRY(ald_vec_printf(out, "%s: %s\n", key, quoted));
done:
    ald_json_free(json);
    ald_free(quoted);
    return status;
}

/* The name of the origin: config.json's where it is one of the hub's, or its folder's. */
static ald_status_t put_base(ald_vec_t *out, const char *origin)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(origin, "config.json");
    ald_json_t *config = NULL;
    char *last = name_of(origin);
    const char *name = NULL;
    ALD_CHECK_MEMORY(last, strlen(origin));
    if (path != NULL && ald_json_read(path, &config) == ALD_STATUS_OK)
        name = text_of(config, "_name_or_path");
    const char *slash = name == NULL ? NULL : strchr(name, '/');
    if (slash == NULL || slash == name || slash[1] == '\0' || name[0] == '.' ||
        strchr(slash + 1, '/') != NULL)
        name = last;
    ALD_TRY(put_quoted(out, "base_model", name, strlen(name)));
done:
    ald_free(last);
    ald_json_free(config);
    ald_free(path);
    return status;
}

static ald_status_t put_block(ald_vec_t *out, const char *origin, const char *stage)
{
    static const char *const carried[] = {"license", "license_name", "license_link"};
    ald_status_t status = ALD_STATUS_OK;
    char *card;
    read_card(origin, &card);
    const bool ours = card != NULL && strstr(card, MARK) != NULL;
    const scalar_t base = find_scalar(card, "base_model");
    ALD_TRY(ald_vec_printf(out, "---\nlibrary_name: transformers\n"
                                "pipeline_tag: text-generation\n"));
    if (ours && base.at != NULL)
        ALD_TRY(put_quoted(out, "base_model", base.at, base.length));
    else
        ALD_TRY(put_base(out, origin));
    for (size_t i = 0; i < sizeof carried / sizeof *carried; ++i) {
        const scalar_t value = find_scalar(card, carried[i]);
        if (value.at != NULL)
            ALD_TRY(put_quoted(out, carried[i], value.at, value.length));
    }
    ALD_TRY(ald_vec_printf(out, "tags:\n- aligndistil\n- %s\n---\n%s\n\n", stage, MARK));
done:
    ald_free(card);
    return status;
}

/* --- names in Markdown -------------------------------------------------------------------------
 */

/* Appends a name in a line of text or, with `code`, between backticks; in a table, too. */
static ald_status_t put_name(ald_vec_t *out, const char *name, bool code)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool ticks = code && strchr(name, '`') != NULL;
    size_t most = 0; /* backticks behind each other */
    for (const char *at = name; ticks && (at = strchr(at, '`')) != NULL;) {
        const size_t count = strspn(at, "`");
        most = count > most ? count : most;
        at += count;
    }
    for (size_t i = 0; code && i < most + 1; ++i)
        ALD_TRY(ald_vec_printf(out, "`"));
    if (ticks)
        ALD_TRY(ald_vec_printf(out, " "));
    for (const char *at = name; *at != '\0'; ++at) {
        const bool escaped = *at == '|' || (!code && strchr("`<[\\", *at) != NULL);
        const unsigned char byte = (unsigned char)*at;
        ALD_TRY(ald_vec_printf(out, "%s%c", escaped ? "\\" : "",
                               byte < ' ' || byte == 0x7F ? '?' : *at));
    }
    if (ticks)
        ALD_TRY(ald_vec_printf(out, " "));
    for (size_t i = 0; code && i < most + 1; ++i)
        ALD_TRY(ald_vec_printf(out, "`"));
done:
    return status;
}

/* --- the sections ------------------------------------------------------------------------------
 */

static const struct {
    const char *stage, *text;
} methods[] = {
    {"sft", "Supervised fine-tuning: the mean cross-entropy of the responses' tokens (AdamW)."},
    {"dpo", "Training on preference pairs against a reference model (dpo.loss, AdamW)."},
    {"reverse", "Training on preference pairs with chosen and rejected swapped, as the contrast of "
                "a teacher; it is not for use by itself."},
    {"distill", "Token-level distillation of a teacher that is composed of a DPO model and a "
                "contrast model (distill.*, AdamW)."},
};

static ald_status_t put_method(ald_vec_t *out, const ald_json_t *record)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *stage = text_of(record, "stage");
    ALD_TRY(ald_vec_printf(out, "## Method\n\n"));
    for (size_t i = 0; i < sizeof methods / sizeof *methods; ++i)
        if (strcmp(methods[i].stage, stage) == 0)
            ALD_TRY(ald_vec_printf(out, "%s\n", methods[i].text));
    ALD_TRY(ald_vec_printf(
        out,
        "Stage `%s` of aligndistil %s, %lld steps. `run.json` says with which program, where "
        "and when.\n\n",
        stage, text_of(ald_json_get(record, "program"), "version"),
        (long long)ald_json_integer(ald_json_get(record, "steps"), 0)));
done:
    return status;
}

/* Names without the folders before the last part. */
static ald_status_t put_data(ald_vec_t *out, const ald_json_t *record)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *inputs = ald_json_get(record, "inputs");
    ALD_TRY(ald_vec_printf(out, "## Data\n\n| what | name | sha256 |\n|---|---|---|\n"));
    for (size_t i = 0; i < ald_json_count(inputs); ++i) {
        const ald_json_t *input = ald_json_at(inputs, i);
        const char *path = text_of(input, "path"), *digest = text_of(input, "sha256");
        const char *last = path == NULL ? NULL : strrchr(path, '/');
        ALD_TRY(ald_vec_printf(out, "| `%s` | ", text_of(input, "role")));
        ALD_TRY(put_name(out, last != NULL ? last + 1 : path == NULL ? "?" : path, true));
        ALD_TRY(ald_vec_printf(out, " | `%s` |\n", digest == NULL ? "none" : digest));
    }
    ALD_TRY(ald_vec_printf(out, "\n"));
done:
    return status;
}

static bool is_digest(const char *text)
{
    return strlen(text) == ALD_SHA256_HEX - 1 && strspn(text, "0123456789abcdef") == strlen(text);
}

static ald_status_t put_settings(ald_vec_t *out, const ald_json_t *record)
{
    ald_status_t status = ALD_STATUS_OK;
    void *at = NULL;
    const char *key;
    const ald_json_t *value;
    ALD_TRY(ald_vec_printf(out, "## Settings\n\n| key | value |\n|---|---|\n"));
    while (ald_json_next(ald_json_get(record, "settings"), &at, &key, &value)) {
        const char *text = ald_json_text(value, NULL);
        if (text == NULL || is_digest(text))
            continue;
        ALD_TRY(ald_vec_printf(out, "| `%s` | ", key));
        ALD_TRY(put_name(out, text, true));
        ALD_TRY(ald_vec_printf(out, " |\n"));
    }
    ALD_TRY(ald_vec_printf(out, "\n"));
done:
    return status;
}

/* Names the models whose own data isn't known: ends of the lineage. */
static ald_status_t put_unknown(ald_vec_t *out, const ald_json_t *node)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *kind = text_of(node, "kind"), *path = text_of(node, "path");
    const char *last = path == NULL ? NULL : strrchr(path, '/');
    const ald_json_t *inputs = ald_json_get(node, "inputs");
    if (kind != NULL && strcmp(kind, "model") == 0 && text_of(node, "note") != NULL &&
        last != NULL) {
        ALD_TRY(ald_vec_printf(out, "- What "));
        ALD_TRY(put_name(out, last + 1, true));
        ALD_TRY(ald_vec_printf(out, " was trained on isn't known here.\n"));
    }
    for (size_t i = 0; i < ald_json_count(inputs); ++i)
        ALD_TRY(put_unknown(out, ald_json_at(inputs, i)));
done:
    return status;
}

static ald_status_t put_limits(ald_vec_t *out, const ald_json_t *record, const ald_json_t *tree)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *settings = ald_json_get(record, "settings");
    const char *prompt = text_of(settings, "data.max_prompt_tokens");
    const char *response = text_of(settings, "data.max_response_tokens");
    ALD_TRY(ald_vec_printf(out, "## Limits\n\n"
                                "- The figures above hold for the rows that they were measured on, "
                                "and for no others.\n"));
    if (prompt != NULL && response != NULL)
        ALD_TRY(ald_vec_printf(out,
                               "- Trained on prompts of at most %s tokens and responses of at most "
                               "%s; longer ones were cut.\n",
                               prompt, response));
    ALD_TRY(put_unknown(out, tree));
    ALD_TRY(ald_vec_printf(out, "\n"));
done:
    return status;
}

static ald_status_t compose(ald_vec_t *out, const char *directory, const char *origin,
                            const ald_json_t *record)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *tree = NULL;
    char *name = name_of(directory);
    ALD_CHECK_MEMORY(name, strlen(directory));
    ALD_TRY(ald_lineage_walk(directory, false, &tree));
    ALD_TRY(put_block(out, origin, text_of(record, "stage")));
    ALD_TRY(ald_vec_printf(out, "# "));
    ALD_TRY(put_name(out, name, false));
    ALD_TRY(ald_vec_printf(out, "\n\n"));
    ALD_TRY(put_data(out, record));
    ALD_TRY(put_method(out, record));
    ALD_TRY(put_settings(out, record));
    ALD_TRY(ald_vec_printf(out,
                           "## Evaluations\n\n%sNone yet: `aligndistil eval` of this folder "
                           "puts its figures here.\n%s\n",
                           BEGIN, END));
    ALD_TRY(put_limits(out, record, tree));
    ALD_TRY(ald_vec_printf(out, "## Lineage\n\n```\n"));
    ALD_TRY(ald_lineage_text(tree, true, out));
    ALD_TRY(ald_vec_printf(out, "```\n\n`aligndistil inspect --lineage --verify` of this folder "
                                "checks it.\n"));
done:
    ald_free(name);
    ald_json_free(tree);
    return status;
}

ald_status_t ald_card_write(const char *directory, const char *origin, const ald_json_t *record)
{
    ald_status_t status = ALD_STATUS_OK;
    char *there, *carried;
    read_card(directory, &there);
    read_card(origin, &carried);
    ald_vec_t text;
    ald_vec_init(&text, 1);
    if (there != NULL && strstr(there, MARK) == NULL &&
        (carried == NULL || strcmp(there, carried) != 0))
        goto done; /* its user's */
    ALD_TRY(compose(&text, directory, origin, record));
    ALD_TRY(write_card(directory, &text));
done:
    ald_vec_reset(&text);
    ald_free(there);
    ald_free(carried);
    return status;
}

/* --- evaluations -------------------------------------------------------------------------------
 */

/* A cell of a number; of one that isn't known, as an interval of one row, a dash. */
static ald_status_t put_number(ald_vec_t *out, const ald_json_t *value)
{
    return ald_json_is_number(value) ? ald_vec_printf(out, " %.4g |", ald_json_number(value, 0.0))
                                     : ald_vec_printf(out, " - |");
}

static ald_status_t put_metric(ald_vec_t *out, const char *key, const ald_json_t *value)
{
    static const char *const cells[] = {"value", "low", "high"};
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(out, "| `%s` |", key));
    for (size_t i = 0; i < sizeof cells / sizeof *cells; ++i)
        ALD_TRY(put_number(out, ald_json_get(value, cells[i])));
    ALD_TRY(ald_vec_printf(out, " %lld |\n",
                           (long long)ald_json_integer(ald_json_get(value, "count"), 0)));
done:
    return status;
}

static ald_status_t put_figures(ald_vec_t *out, const ald_json_t *eval)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *path = text_of(eval, "data"), *key;
    const char *last = path == NULL ? NULL : strrchr(path, '/');
    void *at = NULL;
    const ald_json_t *value;
    ALD_TRY(ald_vec_printf(out, "By `aligndistil eval` on %lld rows of ",
                           (long long)ald_json_integer(ald_json_get(eval, "rows"), 0)));
    ALD_TRY(put_name(out, last != NULL ? last + 1 : path == NULL ? "?" : path, true));
    ALD_TRY(ald_vec_printf(out,
                           " (sha256 `%s`); intervals of 95%%.\n\n"
                           "| metric | value | low | high | of |\n|---|---|---|---|---|\n",
                           text_of(eval, "sha256_data")));
    while (ald_json_next(ald_json_get(eval, "metrics"), &at, &key, &value))
        ALD_TRY(put_metric(out, key, value));
done:
    return status;
}

ald_status_t ald_card_evaluated(const char *directory, const char *eval)
{
    ald_status_t status = ALD_STATUS_OK;
    char *card, *path = ald_path_join(eval, "eval.json");
    read_card(directory, &card);
    ald_json_t *report = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    if (card == NULL || strstr(card, MARK) == NULL || path == NULL || !ald_path_exists(path))
        goto done;
    const char *begin = strstr(card, BEGIN), *end = begin == NULL ? NULL : strstr(begin, END);
    if (end == NULL)
        goto done;
    ALD_TRY(ald_json_read(path, &report));
    ALD_TRY(ald_vec_append(&text, card, (size_t)(begin - card)));
    ALD_TRY(ald_vec_printf(&text, BEGIN));
    ALD_TRY(put_figures(&text, report));
    ALD_TRY(ald_vec_printf(&text, "%s", end));
    ALD_TRY(write_card(directory, &text));
done:
    ald_vec_reset(&text);
    ald_json_free(report);
    ald_free(card);
    ald_free(path);
    return status;
}
