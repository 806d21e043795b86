/* inspect of shards: what a header says, spreads of the teacher's numbers, one row, checks, index.
 * Weights and rewards are composed by the settings in the shard, as a trainer would take them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/shard/diff.h"
#include "ald/shard/format.h"
#include "ald/shard/index.h"
#include "ald/shard/manifest.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"
#include "ald/teacher/teacher.h"
#include "ald/text/tokenizer.h"
#include "ald/tokens/lines.h"
#include "ald/tokens/scored.h"
#include "ald/tokens/table.h"
#include "ald/tokens/write.h"
#include "cli/inspect_impl.h"

/* The teacher as a run of the shard's own configuration composes it. */
typedef struct {
    ald_teacher_t teacher;
    ald_contrast_t contrast; /* of the shard */
    ald_teacher_rule_t rule; /* the same in words */
} settings_t;

/* The data that the shard has of the contrast that it was scored for. */
static const ald_contrasted_t *contrast_of(const settings_t *settings, const ald_scored_t *sequence)
{
    return &sequence->contrast[settings->contrast];
}

static ald_status_t read_settings(const char *path, const ald_shard_t *shard, settings_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_t config = {0};
    ald_vec_t name;
    ald_vec_init(&name, 1);
    ALD_TRY(ald_vec_printf(&name, "%s: attribute config", path));
    ALD_TRY(ald_config_load_text(ald_shard_header(shard)->config, name.data, &config));
    ald_teacher_init(&config, &out->teacher);
    out->contrast = ald_shard_header(shard)->contrast;
    ald_teacher_describe(&out->teacher, &out->rule);
done:
    ald_config_reset(&config);
    ald_vec_reset(&name);
    return status;
}

/* Computes alpha of a sequence's positions, [response_count], in the arena. */
static ald_status_t alphas_of(const settings_t *settings, const ald_scored_t *sequence,
                              ald_arena_t *arena, double **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = ALD_ARENA_ARRAY(arena, double, sequence->response_count + 1);
    ALD_CHECK(*out != NULL, ALD_STATUS_RESOURCE, "out of memory: a response's alphas");
    ald_teacher_alphas(&settings->teacher, sequence->response_count,
                       contrast_of(settings, sequence)->tvd, *out);
done:
    return status;
}

/* Values of all shards together. */
typedef struct {
    ald_vec_t tvd, alpha, reward, lengths, spread; /* double */
    int64_t shards, sequences, tokens, positions, bytes, sampled;
    int64_t sources[ALD_SOURCE_POLICY + 1];
} totals_t;

static ald_status_t add_sequence(totals_t *totals, const settings_t *settings, ald_arena_t *arena,
                                 const ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    const double length = (double)sequence->response_count;
    const double spread =
        ald_teacher_spread(sequence->response_count, contrast_of(settings, sequence)->tvd);
    double *alpha;
    ALD_TRY(alphas_of(settings, sequence, arena, &alpha));
    ++totals->sources[sequence->source];
    ALD_TRY(ald_vec_push(&totals->lengths, &length));
    ALD_TRY(ald_vec_push(&totals->spread, &spread));
    for (int64_t t = 0; t < sequence->response_count; ++t) {
        const ald_contrasted_t *contrast = contrast_of(settings, sequence);
        const double tvd = contrast->tvd[t];
        const double reward =
            settings->teacher.beta * (double)(sequence->logprob_dpo[t] - contrast->logprob[t]);
        totals->sampled += !isnan(sequence->logprob_policy[t]);
        ALD_TRY(ald_vec_push(&totals->tvd, &tvd));
        ALD_TRY(ald_vec_push(&totals->alpha, &alpha[t]));
        ALD_TRY(ald_vec_push(&totals->reward, &reward));
    }
done:
    return status;
}

static ald_status_t add_shard(totals_t *totals, const char *path, ald_shard_t *shard)
{
    ald_status_t status = ALD_STATUS_OK;
    settings_t settings;
    ald_arena_t arena = {0};
    ald_scored_t sequence;
    ALD_TRY(read_settings(path, shard, &settings));
    for (int64_t i = 0; i < ald_shard_count(shard); ++i) {
        ald_arena_mark_t mark = ald_arena_mark(&arena);
        ALD_TRY(ald_shard_read(shard, i, false, &arena, &sequence));
        ALD_TRY(add_sequence(totals, &settings, &arena, &sequence));
        ald_arena_release(&arena, mark);
    }
    ++totals->shards;
    totals->sequences += ald_shard_count(shard);
    totals->tokens += ald_shard_tokens(shard);
    totals->positions += ald_shard_positions(shard);
    totals->bytes += ald_file_size(path);
done:
    ald_arena_reset(&arena);
    return status;
}

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The counts of 20 equal bins between the ends: bars that fit a line beside the other numbers. */
static ald_json_t *histogram(const double *sorted, size_t count)
{
    enum { BINS = 20 };
    int64_t bins[BINS] = {0};
    const double low = sorted[0], width = (sorted[count - 1] - low) / BINS;
    for (size_t i = 0; i < count; ++i) {
        int b = width > 0 ? (int)((sorted[i] - low) / width) : 0;
        ++bins[b < 0 ? 0 : b < BINS ? b : BINS - 1];
    }
    ald_json_t *array = ald_json_new_array();
    for (int b = 0; b < BINS; ++b)
        ald_json_push(array, ald_json_new_integer(bins[b]));
    return array;
}

/* Mean, percentiles and histogram of the finite values; sorts them. */
ald_json_t *ald_inspect_spread(ald_vec_t *values)
{
    ald_json_t *out = ald_json_new_object();
    double *list = values->data, sum = 0;
    size_t count = 0;
    for (size_t i = 0; i < values->count; ++i)
        if (isfinite(list[i]))
            list[count++] = list[i];
    for (size_t i = 0; i < count; ++i)
        sum += list[i];
    if (count == 0)
        return out;
    qsort(list, count, sizeof *list, compare_numbers);
    const double last = (double)(count - 1);
    ald_json_set(out, "mean", ald_json_new_number(sum / (double)count));
    ald_json_set(out, "min", ald_json_new_number(list[0]));
    ald_json_set(out, "p5", ald_json_new_number(list[(size_t)(0.05 * last + 0.5)]));
    ald_json_set(out, "p50", ald_json_new_number(list[(size_t)(0.5 * last + 0.5)]));
    ald_json_set(out, "p95", ald_json_new_number(list[(size_t)(0.95 * last + 0.5)]));
    ald_json_set(out, "max", ald_json_new_number(list[count - 1]));
    ald_json_set(out, "histogram", histogram(list, count));
    return out;
}

static void put_text(ald_json_t *report, const char *name, const char *text)
{
    ald_json_set(report, name, ald_json_new_string(text));
}

static void put_integer(ald_json_t *report, const char *name, int64_t value)
{
    ald_json_set(report, name, ald_json_new_integer(value));
}

static void put_header(ald_json_t *report, const ald_shard_header_t *header)
{
    put_text(report, "encoding", ald_encoding_name(header->encoding));
    put_text(report, "contrast", ald_choice_name(ALD_CHOICES_CONTRASTS, header->contrast));
    put_integer(report, "vocab_size", header->vocab_size);
    put_integer(report, "hidden_size", header->hidden_size);
    put_integer(report, "top_k", header->top_k);
    put_integer(report, "policy_step", header->policy_step);
    put_integer(report, "seed", header->seed);
    put_text(report, "chat_format", header->chat_format);
    put_text(report, "tool_version", header->tool_version);
    put_text(report, "created", header->created);
    put_text(report, "sha256_dpo", header->dpo.sha256);
    put_text(report, "sha256_reverse", header->contrasts[header->contrast].sha256);
    if (ald_shard_reference(header)[0] != '\0')
        put_text(report, "sha256_reference", ald_shard_reference(header));
    put_text(report, "sha256_tokenizer", header->sha256_tokenizer);
    put_text(report, "sha256_data", header->sha256_data);
}

static void put_totals(ald_json_t *report, totals_t *totals, const settings_t *settings)
{
    ald_json_t *sources = ald_json_new_object();
    for (int s = 0; s <= ALD_SOURCE_POLICY; ++s)
        put_integer(sources, ald_source_name((ald_source_t)s), totals->sources[s]);
    put_integer(report, "shards", totals->shards);
    put_integer(report, "sequences", totals->sequences);
    put_integer(report, "tokens", totals->tokens);
    put_integer(report, "positions", totals->positions);
    put_integer(report, "sampled_positions", totals->sampled);
    put_integer(report, "bytes", totals->bytes);
    if (totals->positions > 0)
        ald_json_set(report, "bytes_per_position",
                     ald_json_new_number((double)totals->bytes / (double)totals->positions));
    ald_json_set(report, "sources", sources);
    ald_json_set(report, "response_length", ald_inspect_spread(&totals->lengths));
    ald_json_set(report, "tvd", ald_inspect_spread(&totals->tvd));
    ald_json_set(report, "tvd_spread", ald_inspect_spread(&totals->spread));
    ald_json_set(report, "alpha", ald_inspect_spread(&totals->alpha));
    ald_json_set(report, "reward", ald_inspect_spread(&totals->reward));
    put_text(report, "settings", settings->rule.text);
}

static void totals_init(totals_t *totals)
{
    *totals = (totals_t){0};
    ald_vec_init(&totals->tvd, sizeof(double));
    ald_vec_init(&totals->alpha, sizeof(double));
    ald_vec_init(&totals->reward, sizeof(double));
    ald_vec_init(&totals->lengths, sizeof(double));
    ald_vec_init(&totals->spread, sizeof(double));
}

static void totals_reset(totals_t *totals)
{
    ald_vec_reset(&totals->tvd);
    ald_vec_reset(&totals->alpha);
    ald_vec_reset(&totals->reward);
    ald_vec_reset(&totals->lengths);
    ald_vec_reset(&totals->spread);
}

static ald_status_t make_report(const char *path, const ald_shardset_t *set, ald_json_t *report)
{
    ald_status_t status = ALD_STATUS_OK;
    totals_t totals;
    totals_init(&totals);
    const ald_shard_header_t *header = ald_shard_header(set->shards[0]);
    settings_t settings;
    ALD_TRY(read_settings(set->paths[0], set->shards[0], &settings));
    for (int64_t i = 0; i < set->shard_count; ++i)
        ALD_TRY(add_shard(&totals, set->paths[i], set->shards[i]));
    put_text(report, "path", path);
    put_text(report, "kind", ald_path_is_directory(path) ? "shards" : "shard");
    put_header(report, header);
    put_totals(report, &totals, &settings);
done:
    totals_reset(&totals);
    return status;
}

/* One shard, or all of a folder. */
static ald_status_t open_set(const char *path, ald_shardset_t *set)
{
    return ald_path_is_directory(path) ? ald_shardset_open_folder(path, NULL, set)
                                       : ald_shardset_open(&path, 1, NULL, set);
}

ald_status_t ald_inspect_diff(const char *a, const char *b, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shardset_t one = {0}, two = {0};
    ald_json_t *report = ald_json_new_object();
    *out = NULL;
    ALD_TRY(open_set(a, &one));
    ALD_TRY(open_set(b, &two));
    put_text(report, "path", a);
    put_text(report, "kind", "difference");
    put_text(report, "other", b);
    ALD_TRY(ald_shard_diff(&one, &two, report));
    *out = report;
    report = NULL;
done:
    ald_json_free(report);
    ald_shardset_reset(&one);
    ald_shardset_reset(&two);
    return status;
}

ald_status_t ald_inspect_index(const char *folder, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shardset_t set = {0};
    char *path = NULL;
    ald_json_t *report = ald_json_new_object();
    *out = NULL;
    ALD_CHECK(ald_path_is_directory(folder), ALD_STATUS_INPUT, "%s: expected a folder of shards",
              folder);
    ALD_TRY(open_set(folder, &set));
    ALD_TRY(ald_shard_index_write(folder, &set, &path));
    put_text(report, "path", path);
    put_text(report, "kind", "index");
    put_integer(report, "shards", set.shard_count);
    put_integer(report, "sequences", set.count);
    put_integer(report, "bytes", ald_file_size(path));
    *out = report;
    report = NULL;
done:
    ald_free(path);
    ald_json_free(report);
    ald_shardset_reset(&set);
    return status;
}

ald_status_t ald_inspect_shards(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shardset_t set = {0};
    ald_json_t *report = ald_json_new_object();
    *out = NULL;
    ALD_TRY(open_set(path, &set));
    ALD_TRY(make_report(path, &set, report));
    *out = report;
    report = NULL;
done:
    ald_shardset_reset(&set);
    ald_json_free(report);
    return status;
}

ald_status_t ald_inspect_verify(const char *path, ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_verified_t sums;
    ald_json_t *report = ald_json_new_object(), *problems = ald_json_new_array();
    *out = NULL;
    ALD_TRY(ald_manifest_verify(path, problems, &sums));
    put_text(report, "path", path);
    put_text(report, "kind", "verification");
    put_integer(report, "shards", sums.shards);
    put_integer(report, "sequences", sums.sequences);
    put_integer(report, "positions", sums.positions);
    put_integer(report, "bytes", sums.bytes);
    ald_json_set(report, "verified", ald_json_new_bool(ald_json_count(problems) == 0));
    ald_json_set(report, "problems", problems);
    *out = report;
    report = problems = NULL;
done:
    ald_json_free(report);
    ald_json_free(problems);
    return status;
}

/* Appends sequence `row` of the shard, of which `sequence` becomes what was read into the arena. */
static ald_status_t add_row(ald_shard_t *shard, const settings_t *settings, int64_t row,
                            ald_arena_t *arena, ald_tokens_t *tokens, ald_scored_t *sequence)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_shard_header_t *header = ald_shard_header(shard);
    ald_teacher_t teacher = settings->teacher;
    teacher.contrast = settings->contrast;
    ALD_TRY(ald_shard_read(shard, row, !ald_encoding_is_hidden(header->encoding), arena, sequence));
    ALD_TRY(ald_tokens_scored(header, &teacher, sequence, row, tokens));
done:
    return status;
}

static ald_status_t put_tokens(const ald_tokens_t *tokens, ald_json_t *report)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_token_row_t *row =
        &ALD_VEC_AT(&tokens->rows, ald_token_row_t, tokens->rows.count - 1);
    const ald_token_list_t *list = &row->list[0];
    ald_json_t *all = ald_json_new_array(), *one;
    int64_t some;
    ald_json_set(report, "reward",
                 ald_json_new_number(ald_tokens_sum(list, ALD_COLUMN_REWARD, &some)));
    ald_json_set(report, "tokens", all);
    for (int64_t t = 0; t < list->count; ++t) {
        ALD_TRY(ald_tokens_json(tokens, list, t, &one));
        ald_json_push(all, one);
    }
done:
    return status;
}

static ald_status_t make_row_report(const char *path, const settings_t *settings,
                                    const ald_scored_t *sequence, const ald_tokens_t *tokens,
                                    ald_json_t *report)
{
    put_text(report, "path", path);
    put_integer(report, "row",
                ALD_VEC_AT(&tokens->rows, ald_token_row_t, tokens->rows.count - 1).row);
    put_integer(report, "dataset_row", sequence->id);
    put_text(report, "source", ald_source_name(sequence->source));
    put_text(report, "prompt", sequence->prompt);
    put_text(report, "response", sequence->response);
    put_integer(report, "prompt_tokens", sequence->prompt_count);
    put_integer(report, "response_tokens", sequence->response_count);
    ald_json_set(report, "tvd_spread",
                 ald_json_new_number(ald_teacher_spread(sequence->response_count,
                                                        contrast_of(settings, sequence)->tvd)));
    return put_tokens(tokens, report);
}

/* All rows, in order; each as a report where there is a list for these. */
static ald_status_t add_rows(const char *path, ald_shard_t *shard, const settings_t *settings,
                             const ald_inspect_rows_t *rows, ald_tokens_t *tokens,
                             ald_json_t *reports)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *report = NULL;
    ald_scored_t sequence;
    ald_arena_t arena = {0};
    for (size_t i = 0; i < rows->ranges->count; ++i) {
        const ald_range_t range = ALD_VEC_AT(rows->ranges, ald_range_t, i);
        for (int64_t row = range.first; row <= range.last; ++row) {
            ald_arena_release(&arena, (ald_arena_mark_t){0});
            ALD_TRY(add_row(shard, settings, row, &arena, tokens, &sequence));
            if (reports == NULL)
                continue;
            report = ald_json_new_object();
            ald_json_push(reports, report);
            ALD_TRY(make_row_report(path, settings, &sequence, tokens, report));
        }
    }
done:
    ald_arena_reset(&arena);
    return status;
}

/* Opens the tokenizer that the tokens' texts are asked of, which must be the shard's. */
static ald_status_t open_tokenizer(const char *path, const ald_shard_t *shard,
                                   const char *directory, ald_tokenizer_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *made = ald_shard_header(shard)->sha256_tokenizer, *here;
    ALD_TRY(ald_tokenizer_open(directory, out));
    here = ald_tokenizer_sha256(*out);
    ALD_CHECK(made[0] == '\0' || strcmp(made, here) == 0, ALD_STATUS_INPUT,
              "%s was made with another tokenizer (sha256 %.12s...) than that of %s (%.12s...)",
              path, made, directory, here);
done:
    return status;
}

ald_status_t ald_inspect_tokens(const char *path, const ald_inspect_rows_t *rows,
                                ald_json_t **reports)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    ald_tokenizer_t *words = NULL;
    ald_json_t *list = reports == NULL ? NULL : ald_json_new_array();
    ald_tokens_t tokens = {0};
    settings_t settings;
    ALD_TRY(ald_shard_open(path, &shard));
    if (rows->tokenizer != NULL)
        ALD_TRY(open_tokenizer(path, shard, rows->tokenizer, &words));
    ALD_TRY(read_settings(path, shard, &settings));
    ald_tokens_init(words, path, settings.rule.text, &tokens);
    ALD_TRY(add_rows(path, shard, &settings, rows, &tokens, list));
    if (reports == NULL)
        ALD_TRY(ald_tokens_write(&tokens, rows->format, rows->out));
    else
        *reports = list;
    list = NULL;
done:
    ald_json_free(list);
    ald_tokens_reset(&tokens);
    ald_tokenizer_destroy(words);
    ald_shard_close(shard);
    return status;
}
