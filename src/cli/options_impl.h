/* The options of all commands: one row each in one table, from which come parsing, checks and help.
 * Private to the command line. */
#ifndef ALD_CLI_OPTIONS_IMPL_H
#define ALD_CLI_OPTIONS_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/log.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/tokens/table.h"

/* The commands as bits: a row says which ones take it. */
typedef enum {
    ALD_FOR_SFT = 1 << 0,
    ALD_FOR_DPO = 1 << 1,
    ALD_FOR_DISTILL = 1 << 2,
    ALD_FOR_GENERATE = 1 << 3,
    ALD_FOR_SCORE = 1 << 4,
    ALD_FOR_EVAL = 1 << 5,
    ALD_FOR_INSPECT = 1 << 6,
    ALD_FOR_TOKENIZE = 1 << 7,
    ALD_FOR_BENCH = 1 << 8,
    ALD_FOR_PLAN = 1 << 9,
    ALD_FOR_AUDIT = 1 << 10,
    /* the stages, which a signal stops and which go on */
    ALD_FOR_STAGES = ALD_FOR_SFT | ALD_FOR_DPO | ALD_FOR_DISTILL | ALD_FOR_GENERATE |
                     ALD_FOR_SCORE | ALD_FOR_EVAL,
} ald_command_bit_t;

typedef enum {
    ALD_TOKENIZE_TEXT,
    ALD_TOKENIZE_JSONL,
    ALD_TOKENIZE_DECODE,
    ALD_TOKENIZE_RENDER,
    ALD_TOKENIZE_MASK,
} ald_tokenize_mode_t;

/* Rows as "3", "0:5" (both ends) or "0,3,8:9"; none: not given. */
typedef struct {
    ald_vec_t list; /* ald_range_t */
} ald_ranges_t;

/* What a command line says. Texts point into argv; those that weren't given are NULL. */
typedef struct {
    const char *command; /* its name */
    ald_log_level_t level;
    bool json;
    /* stages */
    const char *config, *part, *sweep, *deadline, *ledger;
    ald_vec_t settings; /* const char *, the "path=value" of --set in order */
    bool force;
    ald_role_t role;
    ald_ranges_t show;
    const char *strengths, *plausibilities, *judged;
    /* audit */
    ald_vec_t fail_on; /* const char *, "REASON=SHARE" */
    /* inspect */
    ald_vec_t paths; /* const char * */
    ald_ranges_t row;
    const char *tokenizer, *key, *made;
    bool verify, lineage, index, diff;
    /* eval and inspect */
    ald_table_format_t format;
    const char *out;
    /* tokenize */
    const char *directory, *file;
    ald_tokenize_mode_t mode;
    ald_layout_t layout;
    ald_chat_format_t chat_format;
    bool rejected, generation_prompt, count;
    /* bench */
    const char *model, *model_config, *text, *store, *only;
    bool kernels;
    int64_t layers, threads; /* 0: those of the file, this rank's share */
    int64_t sequences, tokens, repeat, megabytes;
    /* plan; 0 and NULL: as it is here, or measured */
    int64_t nodes, ranks, cores;
    const char *memory, *shape, *compare, *task_hours;
    int64_t rows, prompt_tokens, response_tokens, tasks;
    bool calibrate, sbatch;
} ald_options_t;

/* The values of options that aren't given. */
extern const ald_options_t ald_options_standard;
/* Frees the lists. */
void ald_options_reset(ald_options_t *options);

/* What is stored, by the type of the member that a row is for. */
typedef enum {
    ALD_OPTION_FLAG,     /* bool: true */
    ALD_OPTION_TEXT,     /* const char *: the value */
    ALD_OPTION_INTEGER,  /* int64_t from `low` to `high` */
    ALD_OPTION_RANGES,   /* ald_ranges_t */
    ALD_OPTION_LIST,     /* ald_vec_t of const char *: the values, as it may be given many times */
    ALD_OPTION_CONSTANT, /* an enum: the value, one of `choices`; `constant` where the option
                             has no value */
} ald_option_kind_t;

/* A row of the table. Lists of names are texts, "--jsonl|--decode". */
typedef struct {
    const char *name;     /* "--set"; without dashes for a positional argument: "PATH" */
    const char *argument; /* the value's name in help; NULL: the option has no value */
    const char *help;
    unsigned commands; /* bits of the commands that take it */
    size_t offset;     /* in ald_options_t */
    ald_option_kind_t kind;
    bool required;        /* it must be given, or one that it excludes and that is required too */
    const char *excludes; /* options that can't be given beside it (nor it beside them) */
    const char *needs;    /* options of which one must be given as well */
    int64_t low, high;
    ald_choices_t choices;
    unsigned constant;
} ald_option_t;

/* In the order in which help lists them. */
extern const ald_option_t ald_option_table[];
enum { ALD_OPTIONS_MOST = 128 };
extern const size_t ald_option_count;

bool ald_option_is_positional(const ald_option_t *option);
/* Whether a list of names (or NULL) has this name. */
bool ald_option_is_listed(const char *list, const char *name);
bool ald_option_exclude(const ald_option_t *one, const ald_option_t *other);
/* The option, or the `at`-th positional argument from 0, of a command; NULL when it has none. */
const ald_option_t *ald_option_find(unsigned command, const char *name);
const ald_option_t *ald_option_positional(unsigned command, int64_t at);

#endif
