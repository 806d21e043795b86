/* What `inspect` finds, as JSON, and how it is printed. Private to the command. */
#ifndef ALD_CLI_INSPECT_IMPL_H
#define ALD_CLI_INSPECT_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"

/* Each makes a report on what lies at `path`; freed by ald_json_free. Local. */
ald_status_t ald_inspect_model(const char *path, ald_json_t **out);
/* One shard, or all shard-NNNNNN.h5 of a folder together. */
ald_status_t ald_inspect_shards(const char *path, ald_json_t **out);
/* Sequences of one shard, token by token. */
typedef struct {
    const ald_vec_t *ranges; /* of ald_range_t */
    const char *tokenizer;   /* a model directory for the tokens' texts, or NULL */
    ald_table_format_t format;
    const char *out; /* NULL: stdout */
} ald_inspect_rows_t;
/* Writes them as a table of that format, or makes an array of reports where it is asked for. */
ald_status_t ald_inspect_tokens(const char *path, const ald_inspect_rows_t *rows,
                                ald_json_t **reports);
/* What ald_manifest_verify finds; "problems" is an array of texts. */
ald_status_t ald_inspect_verify(const char *path, ald_json_t **out);
/* What ald_shard_diff finds between two shards or folders of them. */
ald_status_t ald_inspect_diff(const char *a, const char *b, ald_json_t **out);
/* Writes a folder's index.h5; the report says its name and size. */
ald_status_t ald_inspect_index(const char *folder, ald_json_t **out);
ald_status_t ald_inspect_metrics(const char *path, ald_json_t **out);

/* Prints a configuration with these settings (of const char *), or the values of `keys` alone, as
 * in "output,dpo.output", or what there is of the result of the stage `made`; NULL: all. */
ald_status_t ald_inspect_config(const char *path, const ald_vec_t *settings, const char *keys,
                                const char *made);

/* A JSONL file of generations, pairs, prompts or texts; *rows is false, and nothing made, when its
 * first line has a "step" and is therefore a metrics file. */
ald_status_t ald_inspect_rows(const char *path, bool *rows, ald_json_t **out);

/* Mean, least, most, quantiles and a histogram of doubles, which are sorted in place. */
ald_json_t *ald_inspect_spread(ald_vec_t *values);

/* Prints a report to stdout. Scalars are lines; an object of scalars is one line; an array of
 * objects is a table; an array of numbers is drawn in one line of bars, one of texts is a line
 * each.
 */
void ald_inspect_print(const ald_json_t *report);

#endif
