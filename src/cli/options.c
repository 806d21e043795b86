#include "ald/cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ald/base/arena.h"
#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/config/print.h"
#include "ald/config/sweep.h"
#include "ald/num/gemm.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"

/* The words of a command line, before the configuration is read. */
typedef struct {
    const char *file, **settings, *sweep;
    int count;
    ald_log_level_t level;
} words_t;

static bool parse_whole(const char *text, int64_t *out)
{
    char *end;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && *out >= 0;
}

/* --part I/N, I from 0. */
static ald_status_t parse_part(const char *text, ald_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    long long part, parts;
    int end = 0;
    ALD_CHECK(sscanf(text, "%lld/%lld%n", &part, &parts, &end) == 2 && text[end] == '\0' &&
                  part >= 0 && part < parts,
              ALD_STATUS_USAGE, "--part %s: expected I/N with 0 <= I < N", text);
    out->part = part;
    out->parts = parts;
done:
    return status;
}

/* The task of a Slurm array: its place among _MIN, _MIN + _STEP, ... and their number. */
static ald_status_t part_of_array(ald_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *id = getenv("SLURM_ARRAY_TASK_ID"), *count = getenv("SLURM_ARRAY_TASK_COUNT");
    const char *low = getenv("SLURM_ARRAY_TASK_MIN"), *step = getenv("SLURM_ARRAY_TASK_STEP");
    int64_t i, n, first = 0, stride = 1;
    if (id == NULL || count == NULL)
        return status;
    ALD_CHECK(parse_whole(id, &i) && parse_whole(count, &n) &&
                  (low == NULL || parse_whole(low, &first)) &&
                  (step == NULL || parse_whole(step, &stride)) && stride > 0 && n > 0 &&
                  (i - first) % stride == 0 && i >= first && (i - first) / stride < n,
              ALD_STATUS_USAGE,
              "SLURM_ARRAY_TASK_ID=%s, _COUNT=%s, _MIN=%s, _STEP=%s: not a regular array", id,
              count, low ? low : "", step ? step : "");
    out->part = (i - first) / stride;
    out->parts = n;
done:
    return status;
}

ald_status_t ald_option_choose(const char *command, const char *word, const char **chosen)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(*chosen == NULL || strcmp(*chosen, word) == 0, ALD_STATUS_USAGE,
              "%s: %s and %s exclude each other; expected one of them", command, *chosen, word);
    *chosen = word;
done:
    return status;
}

static ald_status_t parse_words(int argc, char **argv, const char *extra, words_t *words,
                                ald_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    bool explicit_part = false;
    const char *talk = NULL; /* --quiet or --verbose */
    for (int i = 1; i < argc; ++i) {
        const char *word = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool takes_value = strcmp(word, "-c") == 0 || strcmp(word, "--set") == 0 ||
                           strcmp(word, "--show") == 0 || strcmp(word, "--part") == 0 ||
                           strcmp(word, "--sweep") == 0;
        ALD_CHECK(!takes_value || value != NULL, ALD_STATUS_USAGE, "%s: expected a value behind it",
                  word);
        i += takes_value;
        if (strcmp(word, "-c") == 0) {
            words->file = value;
        } else if (strcmp(word, "--set") == 0) {
            words->settings[words->count++] = value;
        } else if (strcmp(word, "--quiet") == 0 || strcmp(word, "--verbose") == 0) {
            ALD_TRY(ald_option_choose(argv[0], word, &talk));
            words->level = word[2] == 'q' ? ALD_LOG_QUIET : ALD_LOG_VERBOSE;
        } else if (strcmp(word, "--show") == 0 && strcmp(extra, "show") == 0) {
            ALD_CHECK(parse_whole(value, &out->show), ALD_STATUS_USAGE,
                      "--show %s: expected a row's number", value);
        } else if (strcmp(word, "--sweep") == 0 && strcmp(extra, "sweep") == 0) {
            words->sweep = value;
        } else if (strcmp(word, "--part") == 0 && strcmp(extra, "part") == 0) {
            ALD_TRY(parse_part(value, out));
            explicit_part = true;
        } else {
            ALD_CHECK(0, ALD_STATUS_USAGE, "%s: unknown option; see aligndistil %s --help", word,
                      argv[0]);
        }
    }
    ALD_CHECK(words->file != NULL, ALD_STATUS_USAGE, "%s: expected -c FILE.cfg", argv[0]);
    if (strcmp(extra, "part") == 0 && !explicit_part)
        ALD_TRY(part_of_array(out));
done:
    return status;
}

static ald_status_t load(int argc, char **argv, const char *extra, const ald_comm_t *world,
                         ald_options_t *out, char **text)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *settings[argc + 1];
    words_t words = {.settings = settings, .level = ALD_LOG_NORMAL};
    ALD_TRY(parse_words(argc, argv, extra, &words, out));
    ald_log_setup(words.level, world->rank == 0);
    ALD_TRY(ald_config_load(words.file, words.settings, words.count, &out->config));
    ALD_TRY(ald_config_print(&out->config, text));
    if (words.sweep != NULL)
        ALD_TRY(ald_sweep_load(words.sweep, words.file, words.settings, words.count, &out->sweep));
done:
    return status;
}

/* All ranks have read the same sweep. Collective. */
static ald_status_t compare_sweep(const ald_sweep_t *sweep, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ald_vec_t all;
    ald_vec_init(&all, 1);
    for (int64_t i = 0; i < sweep->count && status == ALD_STATUS_OK; ++i) {
        status = ald_config_print(&sweep->runs[i].config, &text);
        if (status == ALD_STATUS_OK)
            status = ald_vec_printf(&all, "%s\n%s\n", sweep->runs[i].name, text);
        ald_free(text);
        text = NULL;
    }
    ALD_TRY(ald_comm_agree(world, status));
    ALD_TRY(ald_comm_compare(world, all.data, all.count, "the sweep"));
done:
    ald_vec_reset(&all);
    return status;
}

int ald_threads_choose(int64_t asked, const ald_comm_t *world)
{
    const char *text = getenv("OMP_NUM_THREADS"), *policy = getenv("OMP_WAIT_POLICY");
    const int cores = ald_comm_cores(world);
    int64_t threads = asked;
    if (threads == 0 && (text == NULL || !parse_whole(text, &threads) || threads == 0))
        threads = cores;
    if (threads > cores && (policy == NULL || strcasecmp(policy, "passive") != 0))
        ald_log_warn("%lld threads on rank 0's %d cores: set OMP_WAIT_POLICY=passive, or waiting "
                     "threads take the cores of working ones",
                     (long long)threads, cores);
    return ald_threads_set((int)threads);
}

ald_status_t ald_options_parse(int argc, char **argv, const char *extra, const ald_comm_t *world,
                               ald_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    *out = (ald_options_t){.show = -1, .parts = 1};
    ALD_TRY(ald_comm_agree(world, load(argc, argv, extra, world, out, &text)));
    ALD_TRY(ald_comm_compare(world, text, strlen(text), "the configuration"));
    if (strcmp(extra, "sweep") == 0)
        ALD_TRY(compare_sweep(&out->sweep, world));
    ald_fail_setup(out->config.debug.fail, world->rank);
    ald_gemm_choose(out->config.runtime.precision);
    int threads = ald_threads_choose(out->config.runtime.threads, world);
    ald_log_info("aligndistil %s %s: %d ranks, %d threads each", ALD_VERSION, argv[0], world->size,
                 threads);
    ald_log_verbose("%s", text);
done:
    ald_free(text);
    return status;
}
