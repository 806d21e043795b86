/* Runs that are finished. A stage that has made its output from the same recipe has nothing to do;
 * what another recipe made is never overwritten unless that is asked for. */
#include "ald/train/finished.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/model/digest.h"
#include "ald/par/comm.h"

enum { NAMED = 3 }; /* differences that are named */

/* Appends a difference, or that there are more. */
static ald_status_t put(ald_vec_t *out, int number, const char *key, const char *was,
                        const char *is)
{
    if (number == NAMED)
        return ald_vec_printf(out, "; ...");
    if (number > NAMED)
        return ALD_STATUS_OK;
    return ald_vec_printf(out, "%s%s was %.80s, is %.80s", number > 0 ? "; " : "", key,
                          was == NULL ? "not there" : was, is == NULL ? "not there" : is);
}

ald_status_t ald_recipe_differences(const ald_json_t *was, const ald_json_t *is, ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    void *at = NULL;
    const char *key;
    const ald_json_t *value;
    int count = 0;
    while (ald_json_next(was, &at, &key, &value)) {
        const char *old = ald_json_text(value, NULL);
        const char *new = ald_json_text(ald_json_get(is, key), NULL);
        if (old == NULL || new == NULL || strcmp(old, new) != 0)
            ALD_TRY(put(out, count++, key, old, new));
    }
    at = NULL;
    while (ald_json_next(is, &at, &key, &value))
        if (ald_json_get(was, key) == NULL)
            ALD_TRY(put(out, count++, key, NULL, ald_json_text(value, NULL)));
done:
    return status;
}

static char *done_path(const ald_made_t *made)
{
    return made->done != NULL ? ald_strdup(made->done) : ald_path_join(made->output, "done.json");
}

static ald_status_t digest(const char *output, char hex[ALD_SHA256_HEX])
{
    return ald_path_is_directory(output) ? ald_hf_sha256_look(output, hex)
                                         : ald_sha256_file(output, hex);
}

/* INPUT unless the output is what was written. */
static ald_status_t check_output(const ald_made_t *made, const ald_json_t *said, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX] = "";
    const char *wanted = ald_json_text(ald_json_get(said, "sha256"), NULL);
    status = digest(made->output, hex);
    ALD_CHECK(status == ALD_STATUS_OK && wanted != NULL && strcmp(hex, wanted) == 0,
              status == ALD_STATUS_RESOURCE ? status : ALD_STATUS_INPUT,
              "%s: says that %s is finished, but %s: --force makes it anew, another output leaves "
              "it",
              path, made->output,
              status == ALD_STATUS_OK ? "its sha256 is another" : "it can't be read");
done:
    return status;
}

/* Compares what `path` says with the recipe. */
static ald_status_t compare(const ald_made_t *made, const ald_json_t *recipe, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *said = NULL;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_json_read(path, &said));
    const ald_json_t *saved = ald_json_get(said, "recipe");
    if (!ald_json_is_object(saved))
        ALD_TRY(ald_vec_printf(&text, "it doesn't say of what (an older version's)"));
    else
        ALD_TRY(ald_recipe_differences(saved, recipe, &text));
    ALD_CHECK(text.count == 0, ALD_STATUS_USAGE,
              "%s: %s is finished, made with another configuration or other inputs: %s; --force "
              "makes it anew, another output leaves it",
              path, made->output, (const char *)text.data);
    ALD_TRY(check_output(made, said, path));
done:
    ald_vec_reset(&text);
    ald_json_free(said);
    return status;
}

static ald_status_t look(const ald_made_t *made, const ald_json_t *recipe, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = done_path(made);
    ALD_CHECK_MEMORY(path, strlen(made->output));
    *out = ald_path_exists(path);
    if (*out)
        ALD_TRY(compare(made, recipe, path));
    if (*out)
        ald_log_info("%s: finished: %s says that %s is made, with this configuration and these "
                     "inputs; --force makes it anew",
                     made->stage, path, made->output);
done:
    ald_free(path);
    return status;
}

ald_status_t ald_finished(const ald_comm_t *comm, const ald_config_t *config,
                          const ald_made_t *made, const ald_json_t *recipe, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = false;
    if (comm->rank == 0 && config->checkpoint.resume)
        status = look(made, recipe, out);
    ALD_TRY(ald_comm_agree(comm, status));
    MPI_Bcast(out, sizeof *out, MPI_BYTE, 0, comm->mpi);
done:
    return status;
}

ald_status_t ald_finished_write(const ald_made_t *made, ald_json_t *head, const ald_json_t *inputs,
                                const ald_json_t *recipe)
{
    ald_status_t status = ALD_STATUS_OK;
    char hex[ALD_SHA256_HEX], *path = done_path(made);
    ALD_CHECK(path != NULL && head != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(digest(made->output, hex));
    ald_json_set(head, "stage", ald_json_new_string(made->stage));
    ald_json_set(head, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(head, "sha256", ald_json_new_string(hex));
    if (inputs != NULL)
        ald_json_set(head, "inputs", ald_json_copy(inputs));
    if (recipe != NULL)
        ald_json_set(head, "recipe", ald_json_copy(recipe));
    ALD_TRY(ald_json_write(head, path));
done:
    ald_json_free(head);
    ald_free(path);
    return status;
}
