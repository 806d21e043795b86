/* The one table of options: a new option is a member of ald_options_t, a row here, and its use.
 * What it excludes or needs stands in the row as well, so that help shows what is checked. */
#include "cli/options_impl.h"

#include <string.h>

#include "ald/base/log.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"

enum {
    STAGES = ALD_FOR_STAGES,
    ALL =
        STAGES | ALD_FOR_INSPECT | ALD_FOR_TOKENIZE | ALD_FOR_BENCH | ALD_FOR_PLAN | ALD_FOR_AUDIT,
};

/* Offset and kind of a member: its type says what can be stored in it. */
#define TARGET(member)                                                                             \
    .offset = offsetof(ald_options_t, member),                                                     \
    .kind = _Generic(((ald_options_t *)NULL)->member,                                              \
        bool: ALD_OPTION_FLAG,                                                                     \
        const char *: ALD_OPTION_TEXT,                                                             \
        int64_t: ALD_OPTION_INTEGER,                                                               \
        ald_vec_t: ALD_OPTION_LIST,                                                                \
        ald_ranges_t: ALD_OPTION_RANGES,                                                           \
        default: ALD_OPTION_CONSTANT)

#define VIEWS  "--row|--verify|--index|--diff"
#define MODES  "--jsonl|--decode|--render|--mask"
#define MODELS "--model|--config|--store|--kernels"

const ald_option_t ald_option_table[] = {
    /* stages */
    {"-c", "FILE.cfg", "the configuration", STAGES | ALD_FOR_PLAN | ALD_FOR_AUDIT, TARGET(config),
     .required = true},
    {"--set", "path=value", "changes one of its values; the last one counts",
     STAGES | ALD_FOR_PLAN | ALD_FOR_INSPECT | ALD_FOR_AUDIT, TARGET(settings)},
    {"--force", NULL, "makes anew what is finished, and goes on from no checkpoint",
     (STAGES & ~ALD_FOR_SCORE) | ALD_FOR_AUDIT, TARGET(force)},
    {"--deadline", "SECONDS",
     "stops in time for these to be enough, as runtime.time_limit; the same command goes on",
     STAGES | ALD_FOR_AUDIT, TARGET(deadline)},
    {"--ledger", "FILE",
     "appends a line for the finished stage, as runtime.ledger; many may write to one file",
     STAGES | ALD_FOR_AUDIT, TARGET(ledger)},
    {"--part", "I/N", "part I (from 0) of N; else as the Slurm array says", ALD_FOR_SCORE,
     TARGET(part)},
    {"--sweep", "FILE", "trains several runs over the same shards", ALD_FOR_DISTILL, TARGET(sweep)},
    {"--show", "ROWS",
     "rows of data.eval token by token, as in 3 or 0,4,8:11: log-probabilities, alpha, rewards, "
     "divergences, and what teacher and model would rather say",
     ALD_FOR_EVAL, TARGET(show)},
    {"--format", "FORM",
     "the main numbers as text, a line of jsonl with all for each token, or an html page, which "
     "needs no server",
     ALD_FOR_EVAL, TARGET(format), .choices = ALD_CHOICES_TABLE_FORMATS, .needs = "--show"},
    {"--out", "FILE", "writes them there, and nothing to the screen", ALD_FOR_EVAL, TARGET(out),
     .needs = "--show"},
    {"--strengths", "LIST", "evaluates the composed teacher at each r, as in 5,10,20,40",
     ALD_FOR_EVAL, TARGET(strengths), .excludes = "--show"},
    {"--plausibilities", "LIST", "and at each plausibility, as in 0,0.05", ALD_FOR_EVAL,
     TARGET(plausibilities), .excludes = "--show"},
    {"--judged", "FILE", "counts what the judge of AlpacaEval, MT-Bench or Arena-Hard has written",
     ALD_FOR_EVAL, TARGET(judged), .excludes = "--show|--strengths|--plausibilities"},
    {"--role", "ROLE", "what the ranks of this command do, where mpirun or srun starts several",
     ALD_FOR_DISTILL, TARGET(role), .choices = ALD_CHOICES_ROLES},
    /* audit */
    {"--fail-on", "REASON=SHARE",
     "exit code 3 when more than that share of the rows has the reason", ALD_FOR_AUDIT,
     TARGET(fail_on)},
    /* inspect */
    {"PATH", NULL, "file or folder", ALD_FOR_INSPECT, TARGET(paths), .required = true},
    {"--row", "ROWS", "sequences (from 0) of one shard, as in 3 or 0,4,8:11, token by token",
     ALD_FOR_INSPECT, TARGET(row), .excludes = VIEWS},
    {"--tokenizer", "DIR", "also the tokens' texts", ALD_FOR_INSPECT, TARGET(tokenizer),
     .needs = "--row"},
    {"--format", "FORM",
     "the main numbers as text, a line of jsonl with all for each token, or an html page, which "
     "needs no server",
     ALD_FOR_INSPECT, TARGET(format), .choices = ALD_CHOICES_TABLE_FORMATS, .needs = "--row",
     .excludes = "--json"},
    {"--out", "FILE", "writes them there, and nothing to the screen", ALD_FOR_INSPECT, TARGET(out),
     .needs = "--row", .excludes = "--json"},
    {"--verify", NULL,
     "a folder of shards, or one: all bytes, offsets and ranges, every row once and in order, as "
     "manifest.json says; exit code 3 for problems",
     ALD_FOR_INSPECT, TARGET(verify), .excludes = VIEWS},
    {"--index", NULL, "a folder of shards: writes index.h5, which h5py opens as one",
     ALD_FOR_INSPECT, TARGET(index), .excludes = VIEWS},
    {"--diff", NULL,
     "two shards, or folders of them: which rows and datasets differ, and by how much",
     ALD_FOR_INSPECT, TARGET(diff), .excludes = VIEWS},
    {"--key", "KEYS", "of a configuration the values of these keys alone, as in output,seed",
     ALD_FOR_INSPECT, TARGET(key), .excludes = VIEWS},
    {"--made", "STAGE",
     "of a configuration whether the result of sft, dpo, score, distill or eval is there: no and "
     "inputs that aren't, yes, or otherwise and what differs",
     ALD_FOR_INSPECT, TARGET(made), .excludes = VIEWS "|--key"},
    {"--lineage", NULL,
     "what a result was made from, back to the data, as run.json says; with --verify all digests "
     "of what is there, exit code 3 where something changed",
     ALD_FOR_INSPECT, TARGET(lineage), .excludes = "--row|--index|--diff|--key|--made"},
    /* tokenize */
    {"MODEL_DIR", NULL, "model directory with the tokenizer", ALD_FOR_TOKENIZE, TARGET(directory),
     .required = true},
    {"FILE", NULL, "what to read in place of standard input", ALD_FOR_TOKENIZE, TARGET(file)},
    {"--jsonl", NULL, "lines {\"text\"} or {\"messages\"}; prints a line {\"ids\"} for each",
     ALD_FOR_TOKENIZE, TARGET(mode), .constant = ALD_TOKENIZE_JSONL, .excludes = MODES},
    {"--decode", NULL, "lines {\"ids\"}; prints lines {\"text\"}", ALD_FOR_TOKENIZE, TARGET(mode),
     .constant = ALD_TOKENIZE_DECODE, .excludes = MODES},
    {"--render", NULL, "lines {\"messages\"}; prints lines {\"text\"} or {\"error\"}",
     ALD_FOR_TOKENIZE, TARGET(mode), .constant = ALD_TOKENIZE_RENDER, .excludes = MODES},
    {"--mask", NULL,
     "data rows as sft trains on them; prints lines {\"ids\", \"mask\"}, mask 1 at the tokens of "
     "the response",
     ALD_FOR_TOKENIZE, TARGET(mode), .constant = ALD_TOKENIZE_MASK, .excludes = MODES},
    {"--rejected", NULL, "the rejected responses, not the chosen ones", ALD_FOR_TOKENIZE,
     TARGET(rejected), .needs = "--mask"},
    {"--layout", "LAYOUT", "as data.layout", ALD_FOR_TOKENIZE, TARGET(layout),
     .choices = ALD_CHOICES_DATA_LAYOUTS, .needs = "--mask"},
    {"--add-generation-prompt", NULL, "conversations end where the answer begins", ALD_FOR_TOKENIZE,
     TARGET(generation_prompt), .needs = "--jsonl|--render"},
    {"--chat-format", "FORMAT", "as data.chat_format", ALD_FOR_TOKENIZE, TARGET(chat_format),
     .choices = ALD_CHOICES_CHAT_FORMATS, .needs = "--jsonl|--render|--mask"},
    {"--count", NULL, "the number of ids instead of them", ALD_FOR_TOKENIZE, TARGET(count),
     .excludes = "--decode|--render"},
    /* bench */
    {"--model", "DIR", "a model directory", ALD_FOR_BENCH, TARGET(model), .required = true,
     .excludes = MODELS},
    {"--text", "FILE", "its tokenizer alone, on this text", ALD_FOR_BENCH, TARGET(text),
     .needs = "--model", .excludes = "--store|--only|--sequences|--tokens"},
    {"--config", "FILE", "a config.json alone, with random weights", ALD_FOR_BENCH,
     TARGET(model_config), .required = true, .excludes = MODELS},
    {"--layers", "N", "so many layers", ALD_FOR_BENCH, TARGET(layers), .low = 1, .high = 10000,
     .needs = "--config"},
    {"--store", "DIR",
     "no model: shards of hidden and topk written into DIR and read again, checksums and fsync "
     "included, in turn with plain files of the same bytes",
     ALD_FOR_BENCH, TARGET(store), .required = true,
     .excludes = MODELS "|--only|--sequences|--tokens|--threads"},
    {"--kernels", NULL,
     "no model: each kernel on each instruction level of this CPU, on one thread; the shortest "
     "time of the repeats",
     ALD_FOR_BENCH, TARGET(kernels), .required = true,
     .excludes = MODELS "|--only|--sequences|--tokens|--threads"},
    {"--megabytes", "N", "about so many of each encoding", ALD_FOR_BENCH, TARGET(megabytes),
     .low = 1, .high = 1 << 20, .needs = "--store"},
    {"--sequences", "N", "sequences in a batch", ALD_FOR_BENCH, TARGET(sequences), .low = 1,
     .high = 65536},
    {"--tokens", "N", "tokens of each", ALD_FOR_BENCH, TARGET(tokens), .low = 1, .high = 1 << 20},
    {"--threads", "N", "threads per rank (this rank's share of the cores at hand)", ALD_FOR_BENCH,
     TARGET(threads), .low = 1, .high = 4096},
    {"--repeat", "N", "timed runs of each phase; medians are printed", ALD_FOR_BENCH,
     TARGET(repeat), .low = 1, .high = 1000},
    {"--only", "PHASES", "some of forward,decode,score,train", ALD_FOR_BENCH, TARGET(only)},
    /* plan */
    {"--nodes", "N", "nodes (1)", ALD_FOR_PLAN, TARGET(nodes), .low = 1, .high = 100000},
    {"--ranks", "N", "ranks of each (1, or those that roles.* ask for)", ALD_FOR_PLAN,
     TARGET(ranks), .low = 1, .high = 4096},
    {"--cores", "N", "cores of each (as here)", ALD_FOR_PLAN, TARGET(cores), .low = 1,
     .high = 65536},
    {"--memory", "SIZE", "memory of each, as in 256GB (as here)", ALD_FOR_PLAN, TARGET(memory)},
    {"--calibrate", NULL, "measures here, in a minute at most, what the model's work takes",
     ALD_FOR_PLAN, TARGET(calibrate)},
    {"--model-config", "FILE", "a config.json for models that aren't there", ALD_FOR_PLAN,
     TARGET(shape)},
    {"--rows", "N", "rows of data.train, in place of reading it", ALD_FOR_PLAN, TARGET(rows),
     .low = 1, .high = 10000000},
    {"--prompt-tokens", "N", "tokens of a prompt on average", ALD_FOR_PLAN, TARGET(prompt_tokens),
     .low = 1, .high = 1 << 24},
    {"--response-tokens", "N", "tokens of a response on average", ALD_FOR_PLAN,
     TARGET(response_tokens), .low = 1, .high = 1 << 24},
    {"--sbatch", NULL, "sizes of the jobs as shell assignments, to be read after jobs/site.sh",
     ALD_FOR_PLAN, TARGET(sbatch), .excludes = "--json|--compare"},
    {"--task-hours", "H", "hours of a task of the score array (1)", ALD_FOR_PLAN,
     TARGET(task_hours), .needs = "--sbatch"},
    {"--tasks", "N", "so many tasks of the score array, whatever each takes", ALD_FOR_PLAN,
     TARGET(tasks), .low = 1, .high = 1 << 24, .needs = "--sbatch", .excludes = "--task-hours"},
    {"--compare", "RUN", "what the stages of an output folder have taken, beside what is promised",
     ALD_FOR_PLAN, TARGET(compare)},
    /* several commands */
    {"--json", NULL, "one JSON object for each report",
     ALD_FOR_INSPECT | ALD_FOR_BENCH | ALD_FOR_PLAN, TARGET(json)},
    {"--quiet", NULL, "warnings and errors alone", ALL, TARGET(level), .constant = ALD_LOG_QUIET,
     .excludes = "--verbose"},
    {"--verbose", NULL, "more of what happens: settings, files, memory", ALL, TARGET(level),
     .constant = ALD_LOG_VERBOSE, .excludes = "--quiet"},
};
const size_t ald_option_count = sizeof ald_option_table / sizeof *ald_option_table;
_Static_assert(sizeof ald_option_table / sizeof *ald_option_table <= ALD_OPTIONS_MOST,
               "the parser keeps so many of them apart");

const ald_options_t ald_options_standard = {
    .level = ALD_LOG_NORMAL,
    .settings = {.item = sizeof(const char *)},
    .role = ALD_ROLE_ANY,
    .show = {{.item = sizeof(ald_range_t)}},
    .fail_on = {.item = sizeof(const char *)},
    .paths = {.item = sizeof(const char *)},
    .row = {{.item = sizeof(ald_range_t)}},
    .layout = ALD_LAYOUT_AUTO,
    .chat_format = ALD_CHAT_FORMAT_AUTO,
    .sequences = 2,
    .tokens = 512,
    .repeat = 3,
    .megabytes = 300,
};

void ald_options_reset(ald_options_t *options)
{
    ald_vec_reset(&options->settings);
    ald_vec_reset(&options->fail_on);
    ald_vec_reset(&options->paths);
    ald_vec_reset(&options->show.list);
    ald_vec_reset(&options->row.list);
}

bool ald_option_is_positional(const ald_option_t *option)
{
    return option->name[0] != '-';
}

bool ald_option_is_listed(const char *list, const char *name)
{
    const size_t length = strlen(name);
    for (const char *at = list; at != NULL;) {
        if (strncmp(at, name, length) == 0 && (at[length] == '|' || at[length] == '\0'))
            return true;
        at = strchr(at, '|');
        at = at == NULL ? NULL : at + 1;
    }
    return false;
}

bool ald_option_exclude(const ald_option_t *one, const ald_option_t *other)
{
    return one != other && (ald_option_is_listed(one->excludes, other->name) ||
                            ald_option_is_listed(other->excludes, one->name));
}

const ald_option_t *ald_option_find(unsigned command, const char *name)
{
    for (size_t i = 0; i < ald_option_count; ++i)
        if (ald_option_table[i].commands & command &&
            !ald_option_is_positional(&ald_option_table[i]) &&
            strcmp(ald_option_table[i].name, name) == 0)
            return &ald_option_table[i];
    return NULL;
}

const ald_option_t *ald_option_positional(unsigned command, int64_t at)
{
    for (size_t i = 0; i < ald_option_count; ++i) {
        const ald_option_t *option = &ald_option_table[i];
        if (!(option->commands & command) || !ald_option_is_positional(option))
            continue;
        if (at-- == 0 || option->kind == ALD_OPTION_LIST) /* a list takes all that come */
            return option;
    }
    return NULL;
}
