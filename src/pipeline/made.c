/* Results that are there, seen without their models: a finished stage is left out of a chain of
 * jobs, unless it was made from something else than the chain would make it from. */
#include "ald/pipeline/made.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/lineage/content.h"
#include "ald/lineage/run.h"
#include "ald/train/finished.h"
#include "pipeline/recipe_impl.h"
#include "pipeline/run_inputs_impl.h"

/* --- inputs ------------------------------------------------------------------------------------
 */

/* What a record says of an input: of several with one role, as shards.sources, the one in its
 * place. NULL: nothing. */
static const ald_json_t *said_of(const ald_json_t *record, const ald_run_inputs_t *inputs, int i)
{
    const ald_json_t *list = ald_json_get(record, "inputs");
    int before = 0;
    for (int k = 0; k < i; ++k)
        before += strcmp(inputs->list[k].role, inputs->list[i].role) == 0;
    for (size_t k = 0; k < ald_json_count(list); ++k) {
        const ald_json_t *one = ald_json_at(list, k);
        const char *role = ald_json_text(ald_json_get(one, "role"), NULL);
        if (role != NULL && strcmp(role, inputs->list[i].role) == 0 && before-- == 0)
            return one;
    }
    return NULL;
}

/* Whether the input lies where a record, which is at `where`, says that it lay. */
static bool is_at(const char *where, const ald_json_t *said, const char *path)
{
    char there[PATH_MAX], now[PATH_MAX];
    const char *was = ald_json_text(ald_json_get(said, "path"), NULL);
    char *folder = ald_path_folder(where);
    char *whole = was == NULL || folder == NULL ? NULL
                  : was[0] == '/'               ? ald_strdup(was)
                                                : ald_path_join(folder, was);
    const bool out = whole != NULL && realpath(whole, there) != NULL &&
                     realpath(path, now) != NULL && strcmp(there, now) == 0;
    ald_free(folder);
    ald_free(whole);
    return out;
}

/* Whether two descriptions are of the same content. */
static ald_status_t is_same(const ald_json_t *was, const ald_json_t *is, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *names[] = {"sha256", "files"};
    *out = true;
    for (int i = 0; i < 2 && *out; ++i) {
        char *a = NULL, *b = NULL;
        const ald_json_t *old = ald_json_get(was, names[i]), *new = ald_json_get(is, names[i]);
        if (old != NULL && new != NULL &&
            (status = ald_json_dump(old, false, &a)) == ALD_STATUS_OK &&
            (status = ald_json_dump(new, false, &b)) == ALD_STATUS_OK)
            *out = strcmp(a, b) == 0;
        ald_free(a);
        ald_free(b);
    }
    return status;
}

static ald_status_t compare_input(const ald_json_t *record, const char *where,
                                  const ald_run_inputs_t *inputs, int i, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_run_input_t *input = &inputs->list[i];
    const ald_json_t *said = said_of(record, inputs, i);
    const int64_t began = ald_run_seconds(ald_json_text(ald_json_get(record, "began"), NULL));
    ald_json_t *now = ald_json_new_object();
    bool same = said != NULL;
    if (!ald_path_exists(input->path) || (same && is_at(where, said, input->path) &&
                                          !ald_content_is_newer(input->path, input->kind, began)))
        goto done;
    if (same) {
        ALD_TRY(ald_content_describe(input->path, input->kind, NULL, now));
        ALD_TRY(is_same(said, now, &same));
    }
    if (!same)
        ALD_TRY(ald_vec_printf(text, "%s%s (%s) is another", text->count > 0 ? "; " : "",
                               input->role, input->path));
done:
    ald_json_free(now);
    return status;
}

/* --- a stage -----------------------------------------------------------------------------------
 */

/* The files that speak of a result. */
typedef struct {
    const char *kind; /* of its recipe */
    char *done;       /* says that it is finished */
    char *record;
    bool lists; /* done is a list without a recipe */
} made_t;

static ald_status_t find(const ald_config_t *config, const char *stage, made_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool on_policy = config->distill.mode != ALD_MODE_OFF_POLICY;
    const struct {
        const char *stage, *kind, *folder;
    } stages[] = {{"sft", "sft", config->sft.output},
                  {"dpo", "dpo", config->dpo.output},
                  {"score", "score", config->shards.directory},
                  {"distill", on_policy ? "on-policy" : "off-policy", config->distill.output},
                  {"eval", "eval", config->eval.output}};
    const size_t count = sizeof stages / sizeof *stages;
    size_t i = 0;
    while (i < count && strcmp(stages[i].stage, stage) != 0)
        ++i;
    ALD_CHECK(i < count, ALD_STATUS_USAGE, "--made %s: expected sft, dpo, score, distill or eval",
              stage);
    out->kind = stages[i].kind;
    out->lists = strcmp(stage, "score") == 0;
    out->done = ald_path_join(stages[i].folder, out->lists ? "manifest.json" : "done.json");
    out->record =
        out->lists ? ald_run_beside(stages[i].folder) : ald_path_join(stages[i].folder, "run.json");
    ALD_CHECK_MEMORY(out->done, strlen(stages[i].folder));
    ALD_CHECK_MEMORY(out->record, strlen(stages[i].folder));
done:
    return status;
}

/* Keeps of a recipe or a record's settings those that have a name in `is`: the rest are digests of
 * inputs, and settings that the result doesn't depend on. */
static ald_json_t *settings_in(const ald_json_t *was, const ald_json_t *is)
{
    ald_json_t *out = ald_json_new_object();
    const ald_json_t *value;
    const char *key;
    void *at = NULL;
    while (ald_json_next(is, &at, &key, &value))
        if (ald_json_get(was, key) != NULL)
            ald_json_set(out, key, ald_json_copy(ald_json_get(was, key)));
    return out;
}

static ald_status_t compare_settings(const ald_config_t *config, const char *kind,
                                     const ald_json_t *was, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *is = ald_json_new_object(), *had = NULL;
    ALD_TRY(ald_recipe_settings(config, kind, is));
    had = settings_in(was, is);
    ALD_TRY(ald_recipe_differences(had, is, text));
done:
    ald_json_free(had);
    ald_json_free(is);
    return status;
}

static ald_status_t compare(const ald_config_t *config, const char *stage, const made_t *made,
                            ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *done = NULL, *record = NULL;
    ald_run_inputs_t inputs;
    ald_run_inputs(config, stage, &inputs);
    if (!made->lists)
        ALD_TRY(ald_json_read(made->done, &done));
    if (ald_path_exists(made->record))
        ALD_TRY(ald_json_read(made->record, &record));
    const ald_json_t *recipe = ald_json_get(done, "recipe");
    const ald_json_t *was = recipe != NULL ? recipe : ald_json_get(record, "settings");
    if (was != NULL)
        ALD_TRY(compare_settings(config, made->kind, was, text));
    for (int i = 0; record != NULL && i < inputs.count; ++i)
        ALD_TRY(compare_input(record, made->record, &inputs, i, text));
done:
    ald_run_inputs_reset(&inputs);
    ald_json_free(record);
    ald_json_free(done);
    return status;
}

/* A path without links and "..", as far as what it leads to is there; as it is where it is too
 * long. */
static void settle(const char *path, char out[PATH_MAX])
{
    char folder[PATH_MAX];
    size_t length = strlen(path);
    snprintf(out, PATH_MAX, "%s", path);
    if (length >= PATH_MAX)
        return;
    while (length > 0) {
        memcpy(folder, path, length);
        folder[length] = '\0';
        if (realpath(folder, out) != NULL) {
            const size_t begun = strlen(out);
            snprintf(out + begun, PATH_MAX - begun, "%s", path + length);
            return;
        }
        while (length > 0 && path[--length] != '/')
            continue;
    }
    snprintf(out, PATH_MAX, "%s", path);
}

/* Whether a path leads, or would lead, below a folder. */
static bool is_below(const char *path, const char *folder)
{
    char below[PATH_MAX], above[PATH_MAX];
    settle(path, below);
    settle(folder, above);
    const size_t length = strlen(above);
    return strncmp(below, above, length) == 0 && below[length] == '/';
}

/* Names the inputs that aren't there; those below `output` are other stages' to make. */
static ald_status_t name_missing(const ald_config_t *config, const char *stage, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_run_inputs_t inputs;
    ald_run_inputs(config, stage, &inputs);
    for (int i = 0; i < inputs.count; ++i) {
        const ald_run_input_t *input = &inputs.list[i];
        if (!ald_path_exists(input->path) && !is_below(input->path, config->output))
            ALD_TRY(ald_vec_printf(text, "%s%s (%s) isn't there", text->count > 0 ? "; " : "",
                                   input->role, input->path));
    }
done:
    ald_run_inputs_reset(&inputs);
    return status;
}

ald_status_t ald_stage_made(const ald_config_t *config, const char *stage, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    made_t made = {0};
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(find(config, stage, &made));
    const bool there = ald_path_exists(made.done);
    ALD_TRY(there ? compare(config, stage, &made, &text) : name_missing(config, stage, &text));
    if (text.count > 0)
        ALD_TRY(ald_vec_printf(out, "%s: %s", there ? "otherwise" : "no", (const char *)text.data));
    else
        ALD_TRY(ald_vec_printf(out, "%s", there ? "yes" : "no"));
done:
    ald_vec_reset(&text);
    ald_free(made.done);
    ald_free(made.record);
    return status;
}
