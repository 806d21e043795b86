/* inspect: what is in a file or folder of ours, on one screen.
 * The kind of file is told by its place and name, so that one command shows them all. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/lineage/walk.h"
#include "ald/par/comm.h"
#include "cli/commands_impl.h"
#include "cli/inspect_impl.h"
#include "cli/options_impl.h"

static bool has_file(const char *folder, const char *name)
{
    char *path = ald_path_join(folder, name);
    bool there = path != NULL && ald_path_exists(path);
    ald_free(path);
    return there;
}

static ald_status_t inspect_folder(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *metrics = ald_path_join(path, "metrics.jsonl");
    ALD_CHECK_MEMORY(metrics, strlen(path));
    if (has_file(path, "config.json"))
        status = ald_inspect_model(path, out);
    else if (ald_path_exists(metrics))
        status = ald_inspect_metrics(metrics, out);
    else
        status = ald_inspect_shards(path, out);
done:
    ald_free(metrics);
    return status;
}

static ald_status_t inspect_path(const char *path, const ald_options_t *options, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = NULL;
    ALD_CHECK(ald_path_exists(path), ALD_STATUS_INPUT, "%s: no such file or folder", path);
    if (options->lineage)
        return ald_lineage_walk(path, options->verify, out);
    if (options->verify)
        return ald_inspect_verify(path, out);
    if (options->index)
        return ald_inspect_index(path, out);
    if (ald_path_is_directory(path))
        return inspect_folder(path, out);
    bool rows = false;
    if (ald_path_ends(path, ".json") || ald_path_ends(path, ".gz") ||
        (ald_path_ends(path, ".jsonl") && !ald_path_ends(path, "metrics.jsonl")))
        ALD_TRY(ald_inspect_rows(path, &rows, out));
    if (rows)
        return status;
    if (ald_path_ends(path, ".jsonl") || ald_path_ends(path, "metrics.h5"))
        return ald_inspect_metrics(path, out);
    ALD_CHECK(ald_path_ends(path, ".h5"), ALD_STATUS_INPUT,
              "%s: expected a model directory, a shard, a folder of shards, a checkpoint, metrics, "
              "or rows of data (.jsonl, .json, .gz)",
              path);
    return ald_inspect_shards(path, out);
done:
    return status;
}

/* A lineage as a tree, and what isn't as it says. */
static ald_status_t print_lineage(const ald_json_t *tree)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *problems = ald_json_get(tree, "problems");
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_lineage_text(tree, false, &text));
    for (size_t i = 0; i < ald_json_count(problems); ++i)
        ALD_TRY(
            ald_vec_printf(&text, "changed: %s\n", ald_json_text(ald_json_at(problems, i), NULL)));
    ald_print("%s", (const char *)text.data);
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t print_report(const ald_json_t *report, bool lineage, bool json)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    if (!json && lineage)
        return print_lineage(report);
    if (!json) {
        ald_inspect_print(report);
        return status;
    }
    ALD_TRY(ald_json_dump(report, true, &text));
    puts(text);
done:
    ald_free(text);
    return status;
}

/* Sequences of one shard, token by token: a table, or with --json a report for each. */
static ald_status_t tokens(const ald_options_t *options)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *const *paths = options->paths.data;
    const ald_inspect_rows_t rows = {&options->row.list, options->tokenizer, options->format,
                                     options->out};
    ald_json_t *reports = NULL;
    ALD_CHECK(options->paths.count == 1, ALD_STATUS_USAGE,
              "inspect --row: expected one PATH, found %zu", options->paths.count);
    if (options->out != NULL)
        ALD_TRY(ald_path_apart("--out", options->out, "the shard", paths[0]));
    if (options->out != NULL && options->tokenizer != NULL)
        ALD_TRY(ald_path_apart("--out", options->out, "--tokenizer", options->tokenizer));
    ALD_TRY(ald_inspect_tokens(paths[0], &rows, options->json ? &reports : NULL));
    for (size_t r = 0; r < ald_json_count(reports); ++r)
        ALD_TRY(print_report(ald_json_at(reports, r), false, true));
done:
    ald_json_free(reports);
    return status;
}

static ald_status_t diff(const ald_options_t *options)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *const *paths = options->paths.data;
    ald_json_t *report = NULL;
    ALD_CHECK(options->paths.count == 2, ALD_STATUS_USAGE,
              "inspect --diff: expected two shards, or folders of them");
    ALD_TRY(ald_inspect_diff(paths[0], paths[1], &report));
    ALD_TRY(print_report(report, false, options->json));
done:
    ald_json_free(report);
    return status;
}

static ald_status_t inspect(const ald_options_t *options)
{
    ald_status_t status = ALD_STATUS_OK, failed = ALD_STATUS_OK;
    const char *const *paths = options->paths.data;
    ald_json_t *report = NULL;
    for (size_t i = 0; i < options->paths.count; ++i) {
        if (ald_path_ends(paths[i], ".cfg")) {
            ALD_TRY(ald_inspect_config(paths[i], &options->settings, options->key, options->made));
            continue;
        }
        if (i > 0 && !options->json)
            putchar('\n');
        ald_json_free(report);
        report = NULL;
        ALD_TRY(inspect_path(paths[i], options, &report));
        ALD_TRY(print_report(report, options->lineage, options->json));
        const ald_json_t *problems = ald_json_get(report, "problems");
        const char *first = ald_json_text(ald_json_at(problems, 0), NULL);
        if (first !=
            NULL) /* the status is that of the first path with problems; all are looked at */
            status = ald_status_raise(ALD_STATUS_INPUT, "%s: %zu problems, the first: %s", paths[i],
                                      ald_json_count(problems), first);
        failed = failed == ALD_STATUS_OK ? status : failed;
    }
    status = failed;
done:
    ald_json_free(report);
    return status;
}

/* Rank 0 alone inspects: the others would print the same. */
static ald_status_t run(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    if (world->rank == 0)
        status = options->diff                 ? diff(options)
                 : options->row.list.count > 0 ? tokens(options)
                                               : inspect(options);
    return ald_comm_agree(world, status);
}

const ald_command_t ald_command_inspect = {
    .bit = ALD_FOR_INSPECT,
    .name = "inspect",
    .summary = "shows what is in a model, shard, checkpoint, metrics, data or configuration file",
    .help = "PATH is a model directory, a shard, a folder of shards, a checkpoint folder,\n"
            "metrics.jsonl or metrics.h5, rows of generations, pairs or prompts, JSONL or a\n"
            "JSON array, gzipped or not, or a configuration (.cfg): its values, paths resolved.\n",
    .run = run,
};
