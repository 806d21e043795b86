/* inspect: what is in a file or folder of ours, on one screen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/cli/options.h"
#include "ald/par/comm.h"
#include "cli/commands_impl.h"
#include "cli/inspect_impl.h"

typedef struct {
    int64_t row; /* -1: a summary */
    const char *tokenizer;
    bool json, verify, diff, index;
    int paths; /* argv[1 .. paths] after parsing */
} inspect_options_t;

static ald_status_t parse(int argc, char **argv, inspect_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *chosen = NULL;
    *out = (inspect_options_t){.row = -1};
    for (int i = 1; i < argc; ++i) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(word, "--row") == 0 || strcmp(word, "--verify") == 0 ||
            strcmp(word, "--diff") == 0 || strcmp(word, "--index") == 0)
            ALD_TRY(ald_option_choose("inspect", word, &chosen));
        if (strcmp(word, "--row") == 0) {
            char *end;
            out->row = strtoll(value, &end, 10);
            ALD_CHECK(end != value && *end == '\0' && out->row >= 0, ALD_STATUS_USAGE,
                      "--row %s: expected a sequence's number from 0", value);
            ++i;
        } else if (strcmp(word, "--tokenizer") == 0) {
            ALD_CHECK(value[0] != '\0', ALD_STATUS_USAGE, "--tokenizer: expected a folder");
            out->tokenizer = value;
            ++i;
        } else if (strcmp(word, "--json") == 0) {
            out->json = true;
        } else if (strcmp(word, "--verify") == 0) {
            out->verify = true;
        } else if (strcmp(word, "--diff") == 0) {
            out->diff = true;
        } else if (strcmp(word, "--index") == 0) {
            out->index = true;
        } else {
            ALD_CHECK(strncmp(word, "--", 2) != 0, ALD_STATUS_USAGE,
                      "%s: unknown option; see aligndistil inspect --help", word);
            argv[++out->paths] = argv[i];
        }
    }
    ALD_CHECK(out->paths > 0, ALD_STATUS_USAGE, "inspect: expected a file or folder");
    ALD_CHECK(!out->diff || out->paths == 2, ALD_STATUS_USAGE,
              "inspect --diff: expected two shards, or folders of them");
done:
    return status;
}

static bool has_file(const char *folder, const char *name)
{
    char *path = ald_path_join(folder, name);
    bool there = path != NULL && ald_path_exists(path);
    ald_free(path);
    return there;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
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

static ald_status_t inspect_path(const char *path, const inspect_options_t *options,
                                 ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = NULL;
    ALD_CHECK(ald_path_exists(path), ALD_STATUS_INPUT, "%s: no such file or folder", path);
    if (options->verify)
        return ald_inspect_verify(path, out);
    if (options->index)
        return ald_inspect_index(path, out);
    if (options->row >= 0)
        return ald_inspect_row(path, options->row, options->tokenizer, out);
    if (ald_path_is_directory(path))
        return inspect_folder(path, out);
    bool rows = false;
    if (ends_with(path, ".json") || ends_with(path, ".gz") ||
        (ends_with(path, ".jsonl") && !ends_with(path, "metrics.jsonl")))
        ALD_TRY(ald_inspect_rows(path, &rows, out));
    if (rows)
        return status;
    if (ends_with(path, ".jsonl") || ends_with(path, "metrics.h5"))
        return ald_inspect_metrics(path, out);
    ALD_CHECK(ends_with(path, ".h5"), ALD_STATUS_INPUT,
              "%s: expected a model directory, a shard, a folder of shards, a checkpoint, metrics, "
              "or rows of data (.jsonl, .json, .gz)",
              path);
    return ald_inspect_shards(path, out);
done:
    return status;
}

static ald_status_t print_report(const ald_json_t *report, bool json)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
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

static ald_status_t inspect(int argc, char **argv)
{
    ald_status_t status = ALD_STATUS_OK, failed = ALD_STATUS_OK;
    inspect_options_t options;
    ald_json_t *report = NULL;
    ALD_TRY(parse(argc, argv, &options));
    if (options.diff) {
        ALD_TRY(ald_inspect_diff(argv[1], argv[2], &report));
        ALD_TRY(print_report(report, options.json));
        goto done;
    }
    for (int i = 1; i <= options.paths; ++i) {
        if (i > 1 && !options.json)
            putchar('\n');
        ald_json_free(report);
        report = NULL;
        ALD_TRY(inspect_path(argv[i], &options, &report));
        ALD_TRY(print_report(report, options.json));
        const ald_json_t *problems = ald_json_get(report, "problems");
        const char *first = ald_json_text(ald_json_at(problems, 0), NULL);
        if (first != NULL) /* of the first path that has some; the others are looked at too */
            status = ald_status_raise(ALD_STATUS_INPUT, "%s: %zu problems, the first: %s", argv[i],
                                      ald_json_count(problems), first);
        failed = failed == ALD_STATUS_OK ? status : failed;
    }
    status = failed;
done:
    ald_json_free(report);
    return status;
}

static ald_status_t run(int argc, char **argv, const ald_comm_t *world)
{
    return ald_comm_agree(world, world->rank == 0 ? inspect(argc, argv) : ALD_STATUS_OK);
}

const ald_command_t ald_command_inspect = {
    .name = "inspect",
    .arguments = "PATH... [--row N [--tokenizer DIR] | --verify | --index] [--json]\n"
                 "       --diff A B [--json]",
    .summary = "shows what is in a model, shard, checkpoint, metrics or data file",
    .help =
        "PATH is a model directory, a shard, a folder of shards, a checkpoint folder,\n"
        "metrics.jsonl or metrics.h5, or rows of generations, pairs or prompts, JSONL or a\n"
        "JSON array, gzipped or not.\n"
        "  --row N          sequence N (from 0) of a shard, token by token\n"
        "  --tokenizer DIR  with --row: also the tokens' texts\n"
        "  --verify         a folder of shards, or one: all bytes, offsets and ranges, every row\n"
        "                   once and in order, as manifest.json says; exit code 3 for problems\n"
        "  --index          a folder of shards: writes index.h5, which h5py opens as one\n"
        "  --diff A B       two folders of shards: which rows and datasets differ, and by how "
        "much\n"
        "  --json           one JSON object per path\n",
    .run = run,
};
