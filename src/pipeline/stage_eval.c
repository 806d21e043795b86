/* The stage `eval`: rewards of the pairs of data.eval, perplexity, and what the model answers. All
 * models are measured on the same tokens in one go, so that their numbers can be compared. */
#include "ald/pipeline/stage_eval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/interval.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/batch.h"
#include "ald/model/mapped.h"
#include "ald/model/model_config.h"
#include "ald/par/comm.h"
#include "ald/plan/memory.h"
#include "ald/plan/micro.h"
#include "ald/plan/stage_memory.h"
#include "ald/role/frozen.h"
#include "ald/role/generator.h"
#include "ald/role/measure.h"
#include "ald/teacher/teacher.h"
#include "ald/text/figures.h"
#include "ald/text/patterns.h"
#include "ald/text/tokenizer.h"
#include "ald/train/finished.h"
#include "pipeline/claim_impl.h"
#include "pipeline/data_impl.h"
#include "pipeline/eval_impl.h"
#include "pipeline/measuring_impl.h"
#include "pipeline/partial_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/recipe_impl.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/turns_impl.h"

#define PAIRS "pairs" /* the name that the pairs' sequences are kept as */

/* The directory of a view, or with `key` the setting that names it. */
static const char *view_of(const ald_config_t *config, ald_view_t view, bool key)
{
    const ald_contrast_t contrast = config->teacher.contrast;
    const bool teacher = config->eval.teacher;
    switch (view) {
    case ALD_VIEW_POLICY:
        if (teacher)
            return key ? "teacher.dpo" : config->teacher.dpo;
        return key ? "eval.model" : config->eval.model;
    case ALD_VIEW_COMPOSED:
        return key       ? ald_contrast_key(contrast)
               : teacher ? ald_contrast_directory(config, contrast)
                         : "";
    case ALD_VIEW_DPO:
        return key ? "eval.dpo" : config->eval.dpo;
    case ALD_VIEW_CONTRAST:
        return key ? "eval.contrast" : config->eval.contrast;
    default:
        return key ? "eval.reference" : config->eval.reference;
    }
}

/* Whether the view is there; the teacher must be. */
static bool has_view(const ald_config_t *config, ald_view_t view)
{
    const bool teacher = view == ALD_VIEW_POLICY || view == ALD_VIEW_COMPOSED;
    return (teacher && config->eval.teacher) || view_of(config, view, false)[0] != '\0';
}

/* Loads the model of a view, once however many views a directory has. Collective. */
static ald_status_t load_view(ald_eval_t *e, ald_view_t k)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int j = 0; j < (int)k && e->view[k] == NULL; ++j)
        if (e->view[j] != NULL && strcmp(e->directory[j], e->directory[k]) == 0)
            e->view[k] = e->view[j];
    if (e->view[k] == NULL) {
        ALD_TRY(
            ald_frozen_load(e->world, e->directory[k], view_of(e->config, k, true), &e->frozen[k]));
        ALD_TRY(ald_frozen_digest(e->world, e->directory[k], &e->frozen[k]));
        e->view[k] = &e->frozen[k];
    }
    e->measure.models[k] = &e->view[k]->model;
done:
    return status;
}

/* Loads what is set; all are compared on the tokens that they share. */
static ald_status_t load_models(ald_eval_t *e)
{
    ald_status_t status = ALD_STATUS_OK;
    int first = -1;
    int64_t common = 0;
    e->measure.micro_batch_tokens = e->config->optimizer.micro_batch_tokens;
    if (e->config->eval.teacher)
        ALD_TRY(ald_teacher_init_sampled(e->config, &e->measure.teacher));
    for (int k = 0; k < ALD_VIEWS; ++k) {
        e->directory[k] = view_of(e->config, (ald_view_t)k, false);
        if (!has_view(e->config, (ald_view_t)k))
            continue;
        ALD_TRY(load_view(e, (ald_view_t)k));
        first = first < 0 ? k : first;
        if (e->view[k] == &e->frozen[k])
            ALD_TRY(
                ald_comm_agree(e->world, ald_frozen_compare(e->directory[first], e->view[first],
                                                            e->directory[k], e->view[k], &common)));
    }
    for (int k = 0; k < ALD_VIEWS; ++k)
        e->frozen[k].model.vocabulary = common;
    ALD_CHECK(first >= 0, ALD_STATUS_USAGE,
              "eval.model: not set; expected a model directory (or eval.dpo and eval.contrast)");
    ALD_TRY(ald_data_open(e->world, e->config, e->directory[first], common, e->config->data.eval,
                          "data.eval", ALD_PAIRS_PRESENT, &e->data));
    int64_t most = e->config->eval.max_rows;
    e->rows = most > 0 && most < e->data.pairs.count ? most : e->data.pairs.count;
    const bool samples = has_view(e->config, ALD_VIEW_POLICY) && e->config->eval.generate > 0;
    ald_positions_warn(
        e->directory, ALD_VIEWS,
        ald_longest_row(&e->data, e->rows, samples ? e->config->sampling.max_new_tokens : 0));
done:
    return status;
}

/* Memory for all that follows, and the rows that have pairs. */
static ald_status_t make_room(ald_eval_t *e, ald_item_t **items)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t n = (size_t)e->rows;
    if (e->measure.models[ALD_VIEW_POLICY] != NULL)
        e->samples = e->rows * e->config->eval.generate;
    size_t s = (size_t)e->samples;
    e->pair_row = ald_calloc(n + 1, sizeof *e->pair_row);
    e->preferred = ald_calloc(2 * n + 1, sizeof *e->preferred);
    e->sampled = ald_calloc(s + 1, sizeof *e->sampled);
    e->answers = ald_calloc(s + 1, sizeof *e->answers);
    *items = ald_calloc((n > s ? n : s) + 1, sizeof **items);
    ALD_CHECK(e->pair_row && e->preferred && e->sampled && e->answers && *items,
              ALD_STATUS_RESOURCE, "out of memory: %lld rows", (long long)e->rows);
    for (int64_t i = 0; i < e->rows; ++i)
        if (ald_eval_has_pair(&e->data.pairs.rows[i]))
            e->pair_row[e->pairs++] = i;
done:
    return status;
}

/* The pairs' micro-batches, and the answers', which are taken to be as long as they may. */
static ald_micro_most_t largest_micro(const ald_eval_t *e)
{
    const int64_t longest = e->config->sampling.max_new_tokens;
    ald_micro_most_t most;
    ald_micro_most_init(e->measure.micro_batch_tokens, &most);
    for (int64_t i = 0; i < e->pairs; ++i) {
        const ald_pair_t *row = &e->data.pairs.rows[e->pair_row[i]];
        const ald_item_t item = ald_item_of(row, &row->chosen, &row->rejected);
        ald_micro_most_add(&most, ald_item_tokens(&item), row->chosen.count + row->rejected.count);
    }
    ald_micro_most_end(&most);
    for (int64_t i = 0; i < e->samples; ++i) {
        const ald_pair_t *row = &e->data.pairs.rows[i / e->config->eval.generate];
        ald_micro_most_add(&most, row->prompt.count + longest - 1, longest);
    }
    return most;
}

static void eval_memory(const ald_eval_t *e)
{
    ald_memory_plan_t plan;
    ald_evaluation_plan_t evaluation = {.config = e->config,
                                        .samples = e->samples,
                                        .prompt = ald_longest_prompt(&e->data, e->rows),
                                        .most = largest_micro(e)};
    for (int k = 0; k < ALD_VIEWS; ++k) {
        if (e->frozen[k].mapped == NULL)
            continue;
        const int at = evaluation.models++;
        evaluation.shape = &e->frozen[k].params.config;
        evaluation.mapped[at] = ald_mapped_file_bytes(e->frozen[k].mapped);
        evaluation.key[at] = view_of(e->config, (ald_view_t)k, true);
    }
    ald_memory_begin("eval", &plan);
    ald_memory_eval(&plan, &evaluation);
    ald_memory_say(&plan);
}

/* INPUT that names the model whose log-probability of a response is no finite number: a report of
 * such would leave numbers out, or count NaN as less. All ranks have the same. */
static ald_status_t check_measured(const ald_eval_t *e, const ald_measured_t *found, int64_t count,
                                   bool distributions)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_model_t *const *models = e->measure.models;
    const bool kl = models[ALD_VIEW_POLICY] != NULL && models[ALD_VIEW_REFERENCE] != NULL;
    for (int64_t i = 0; i < count; ++i) {
        for (int k = 0; k < ALD_VIEW_COMPOSED; ++k)
            ALD_CHECK(models[k] == NULL || isfinite(found[i].logprob[k]), ALD_STATUS_INPUT,
                      "%s: %s: gives a response a log-probability of %g: its numbers overflow",
                      view_of(e->config, (ald_view_t)k, true), e->directory[k],
                      found[i].logprob[k]);
        ALD_CHECK(!distributions || !kl || isfinite(found[i].kl), ALD_STATUS_INPUT,
                  "%s: its divergence from %s is %g: their numbers overflow",
                  e->directory[ALD_VIEW_POLICY], e->directory[ALD_VIEW_REFERENCE], found[i].kl);
    }
done:
    return status;
}

/* Measures the items but for what an earlier run has measured of them. Collective. */
static ald_status_t measure(ald_eval_t *e, const char *name, const ald_item_t *items, int64_t count,
                            int64_t sequences, ald_measured_t *out)
{
    const ald_measuring_t measuring = {.stage = "eval",
                                       .name = name,
                                       .partial = &e->partial,
                                       .measure = &e->measure,
                                       .distributions = strcmp(name, PAIRS) != 0};
    return ald_measure_kept(&measuring, items, count, sequences, out);
}

static ald_status_t measure_pairs(ald_eval_t *e, ald_item_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < e->pairs; ++i) {
        const ald_pair_t *row = &e->data.pairs.rows[e->pair_row[i]];
        items[i] = ald_item_of(row, &row->chosen, &row->rejected);
    }
    ALD_TRY(measure(e, PAIRS, items, e->pairs, 2 * e->pairs, e->preferred));
    ALD_TRY(check_measured(e, e->preferred, 2 * e->pairs, false));
done:
    return status;
}

static ald_status_t measure_samples(ald_eval_t *e, ald_item_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_generator_t generator;
    int64_t per_row = e->config->eval.generate;
    if (e->samples == 0)
        return status;
    ald_generator_init(e->config, e->measure.models[ALD_VIEW_POLICY], &e->data, &generator);
    generator.name = e->directory[ALD_VIEW_POLICY];
    if (e->config->eval.teacher)
        ald_generator_compose(e->measure.models[ALD_VIEW_COMPOSED], &e->measure.teacher,
                              &generator);
    ALD_TRY(ald_sample_all(&generator, &e->data, e->rows, per_row, 0, &e->partial, true,
                           &e->responses));
    ALD_TRY(ald_turns_sample(e->config, &generator, &e->data, e->responses, e->rows, per_row,
                             &e->partial, &e->turns));
    for (int64_t i = 0; i < e->samples; ++i) {
        const ald_pair_t *row = &e->data.pairs.rows[i / per_row];
        const ald_text_t response = {e->responses[i].ids, e->responses[i].count, NULL};
        items[i] = ald_item_of(row, &response, NULL);
    }
    ALD_TRY(measure(e, "answers", items, e->samples, e->samples, e->sampled));
    ALD_TRY(check_measured(e, e->sampled, e->samples, true));
done:
    return status;
}

/* What a row asks for under a key: its own list, or what the patterns find in its prompt; NULL:
 * nothing. *made is for the caller to free. */
static ald_status_t asked(const ald_eval_t *e, const ald_pair_t *row, const char *key,
                          const ald_json_t **out, ald_json_t **made)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = ald_json_get(row->extra, key);
    if (*out == NULL && e->patterns != NULL) {
        if (ald_patterns_of(e->patterns, row->prompt.text, key, made) != ALD_STATUS_OK)
            status = ald_status_prefix(ALD_STATUS_INPUT, "%s, on line %lld of %s",
                                       e->config->eval.patterns, (long long)row->line,
                                       e->config->data.eval);
        *out = *made;
    }
    return status;
}

static ald_status_t judge_answer(const ald_eval_t *e, const ald_pair_t *row, ald_answer_t *answer)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *made[2] = {NULL, NULL};
    const ald_json_t *required = NULL, *forbidden = NULL;
    ALD_TRY(asked(e, row, "required", &required, &made[0]));
    ALD_TRY(asked(e, row, "forbidden", &forbidden, &made[1]));
    answer->exact = required == NULL ? -1 : ald_figures_exact(answer->text, required);
    answer->forbidden = forbidden == NULL ? -1 : ald_terms_found(answer->text, forbidden) > 0;
done:
    ald_json_free(made[0]);
    ald_json_free(made[1]);
    return status;
}

/* Texts of the answers, and what they get right. */
static ald_status_t judge_answers(ald_eval_t *e)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t i = 0; i < e->samples; ++i) {
        const ald_pair_t *row = &e->data.pairs.rows[i / e->config->eval.generate];
        ald_answer_t *answer = &e->answers[i];
        ALD_TRY(ald_sampled_text(&e->data, e->responses[i].ids, e->responses[i].count,
                                 &answer->ended, &answer->json));
        answer->text = ald_json_text(answer->json, NULL);
        ALD_TRY(judge_answer(e, row, answer));
    }
done:
    return status;
}

static void put_metric(ald_eval_t *e, const char *name, const char *meaning, ald_interval_t value)
{
    if (value.count == 0 || isnan(value.value))
        return;
    ald_eval_metrics_t *metrics = &e->metrics;
    metrics->list[metrics->count].name = name;
    metrics->list[metrics->count].meaning = meaning;
    metrics->list[metrics->count++].value = value;
}

/* Share of pairs, and mean margin, by beta0 (log pi_dpo - log pi_base) of the whole responses, the
 * base being the contrast or the reference. */
static void put_rewards(ald_eval_t *e, ald_view_t base, const char *accuracy, const char *margin,
                        double *work)
{
    int64_t right = 0;
    if (e->measure.models[ALD_VIEW_DPO] == NULL || e->measure.models[base] == NULL)
        return;
    for (int64_t i = 0; i < e->pairs; ++i) {
        work[i] = e->config->teacher.beta * ald_eval_reward(e, base, i);
        right += work[i] > 0.0;
    }
    put_metric(e, accuracy, "pairs whose chosen response has the higher reward",
               ald_interval_share(right, e->pairs));
    put_metric(e, margin, "reward of chosen less reward of rejected",
               ald_interval_ratio(e->pairs, work, NULL));
}

static void put_perplexity(ald_eval_t *e, double *work, double *lengths)
{
    if (e->measure.models[ALD_VIEW_POLICY] == NULL)
        return;
    for (int64_t i = 0; i < e->pairs; ++i) {
        work[i] = -e->preferred[2 * i].logprob[ALD_VIEW_POLICY];
        lengths[i] = (double)e->data.pairs.rows[e->pair_row[i]].chosen.count;
    }
    ald_interval_t nats = ald_interval_ratio(e->pairs, work, lengths);
    put_metric(e, "perplexity", "of the chosen responses, per token",
               (ald_interval_t){exp(nats.value), exp(nats.low), exp(nats.high), nats.count});
}

/* Share of the answers that are asked for it and have it. */
static ald_interval_t share_of(const ald_eval_t *e, bool exact)
{
    int64_t asked = 0, have = 0;
    for (int64_t i = 0; i < e->samples; ++i) {
        int found = exact ? e->answers[i].exact : e->answers[i].forbidden;
        asked += found >= 0;
        have += found > 0;
    }
    return ald_interval_share(have, asked);
}

static void put_answers(ald_eval_t *e, double *work, double *lengths)
{
    int64_t ended = 0, n = e->samples;
    put_metric(e, "exact", "answers with all required figures in their places", share_of(e, true));
    put_metric(e, "forbidden", "answers with a forbidden term", share_of(e, false));
    for (int64_t i = 0; i < n; ++i) {
        lengths[i] = (double)e->responses[i].count;
        ended += e->answers[i].ended;
    }
    put_metric(e, "finished", "answers that end before the limit", ald_interval_share(ended, n));
    put_metric(e, "response_length", "tokens of an answer", ald_interval_ratio(n, lengths, NULL));
    for (int64_t i = 0; i < n; ++i)
        work[i] = e->sampled[i].kl;
    put_metric(e, "kl/token", "nats from the reference, per token",
               ald_interval_ratio(n, work, lengths));
    put_metric(e, "kl/sequence", "nats from the reference, per answer",
               ald_interval_ratio(n, work, NULL));
    for (int64_t i = 0; i < n; ++i)
        work[i] = e->config->teacher.beta * e->sampled[i].reward;
    put_metric(e, "reward/token", "expected token reward under the model",
               ald_interval_ratio(n, work, lengths));
}

static ald_status_t report(ald_eval_t *e)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t n = (size_t)(e->rows + e->samples);
    double *work = ald_alloc(sizeof *work * 2 * (n + 1));
    ALD_CHECK_MEMORY(work, sizeof *work * 2 * (n + 1));
    ALD_TRY(judge_answers(e));
    put_rewards(e, ALD_VIEW_REFERENCE, "reward_accuracy/dpo", "reward_margin/dpo", work);
    put_rewards(e, ALD_VIEW_CONTRAST, "reward_accuracy/pair", "reward_margin/pair", work);
    put_perplexity(e, work, work + n);
    if (e->samples > 0)
        put_answers(e, work, work + n);
    ALD_TRY(ald_eval_categories(e, &e->categories));
    ALD_TRY(ald_eval_report(e));
done:
    ald_free(work);
    return status;
}

/* Frees what one evaluation has made of the models and the data. */
static void results_reset(ald_eval_t *e)
{
    for (int64_t i = 0; i < e->samples && e->answers != NULL; ++i)
        ald_json_free(e->answers[i].json);
    ald_json_free(e->categories);
    e->categories = NULL;
    ald_turns_reset(&e->turns);
    ald_free(e->responses);
    if (e->answers != NULL)
        memset(e->answers, 0, sizeof *e->answers * (size_t)e->samples);
    e->responses = NULL;
    e->metrics.count = 0;
}

static void eval_reset(ald_eval_t *e)
{
    results_reset(e);
    ald_free(e->answers);
    ald_free(e->sampled);
    ald_free(e->preferred);
    ald_free(e->pair_row);
    ald_dataset_reset(&e->data);
    ald_patterns_destroy(e->patterns);
    for (int k = 0; k < ALD_VIEWS; ++k)
        ald_frozen_reset(&e->frozen[k]);
}

/* Measures and reports into the folder. Collective. */
static ald_status_t evaluate(ald_eval_t *e, const char *folder, ald_item_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    e->folder = folder;
    ALD_TRY(measure_pairs(e, items));
    ALD_TRY(measure_samples(e, items));
    ALD_TRY(ald_comm_agree(e->world, e->world->rank == 0 ? report(e) : ALD_STATUS_OK));
done:
    return status;
}

/* Evaluates the teacher at one point, into its folder in eval.output. Collective. */
static ald_status_t evaluate_point(ald_eval_t *e, const ald_eval_point_t *point, ald_item_t *items,
                                   ald_eval_metrics_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t folder;
    char prefix[96];
    ald_vec_init(&folder, 1);
    snprintf(prefix, sizeof prefix, "%.17g:%.17g:", point->strength, point->plausibility);
    e->partial.prefix = prefix;
    e->measure.teacher.strength = point->strength;
    e->measure.teacher.plausibility = point->plausibility;
    ALD_TRY(ald_comm_agree(e->world, ald_vec_printf(&folder, "%s/strength-%g-plausibility-%g",
                                                    e->config->eval.output, point->strength,
                                                    point->plausibility)));
    ALD_TRY(evaluate(e, folder.data, items));
    *out = e->metrics;
    results_reset(e);
done:
    e->partial.prefix = "";
    ald_vec_reset(&folder);
    return status;
}

/* Collective. */
static ald_status_t evaluate_points(ald_eval_t *e, const ald_eval_point_t *points, int64_t count,
                                    ald_item_t *items)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_eval_metrics_t *metrics = ald_calloc((size_t)count, sizeof *metrics);
    if (metrics == NULL)
        status =
            ald_status_raise(ALD_STATUS_RESOURCE, "out of memory: %lld points", (long long)count);
    ALD_TRY(ald_comm_agree(e->world, status));
    for (int64_t i = 0; i < count; ++i)
        ALD_TRY(evaluate_point(e, &points[i], items, &metrics[i]));
    if (e->world->rank == 0)
        status = ald_eval_report_points(e->config->eval.output, points, metrics, count);
    ALD_TRY(ald_comm_agree(e->world, status));
done:
    ald_free(metrics);
    return status;
}

/* The recipe of an evaluation, on root. Collective. */
static ald_status_t make_recipe(const ald_eval_t *e, const ald_eval_point_t *points, int64_t count,
                                ald_json_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_recipe(e->world, e->config, "eval", &(ald_named_t){NULL, NULL}, out));
    for (int k = 0; k < ALD_VIEWS && *out != NULL; ++k)
        if (e->view[k] != NULL)
            ald_json_set(*out, view_of(e->config, (ald_view_t)k, true),
                         ald_json_new_string(e->view[k]->sha256));
    for (int64_t i = 0; i < count && status == ALD_STATUS_OK; ++i)
        status = ald_vec_printf(&text, "%s%g/%g", i > 0 ? " " : "", points[i].strength,
                                points[i].plausibility);
    if (*out != NULL) {
        ald_json_set(*out, "data.eval", ald_json_new_string(e->data.pairs.sha256));
        if (e->patterns != NULL)
            ald_json_set(*out, "eval.patterns",
                         ald_json_new_string(ald_patterns_sha256(e->patterns)));
        ald_json_set(*out, "tokenizer",
                     ald_json_new_string(ald_tokenizer_sha256(e->data.tokenizer)));
        ald_json_set(*out, "strengths", ald_json_new_string(count > 0 ? text.data : "none"));
    }
    ALD_TRY(ald_comm_agree(e->world, status));
done:
    ald_vec_reset(&text);
    return status;
}

/* Paths of the files that say what is made; an evaluation and one of strengths may share a
 * folder. */
typedef struct {
    char *output, *done, *progress;
} paths_t;

static ald_status_t paths_init(const ald_config_t *config, bool points, paths_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *folder = config->eval.output;
    out->output = ald_path_join(folder, points ? "strengths.json" : "eval.json");
    out->done = ald_path_join(folder, points ? "strengths.done.json" : "done.json");
    out->progress = ald_path_join(folder, points ? "strengths.progress" : "eval.progress");
    ALD_CHECK(out->output != NULL && out->done != NULL && out->progress != NULL,
              ALD_STATUS_RESOURCE, "out of memory");
done:
    return status;
}

static void paths_reset(paths_t *paths)
{
    ald_free(paths->output);
    ald_free(paths->done);
    ald_free(paths->progress);
}

/* Measures what isn't measured yet, and reports. Collective. */
static ald_status_t run(ald_eval_t *e, const ald_eval_point_t *points, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_item_t *items = NULL;
    ALD_TRY(ald_comm_agree(e->world, make_room(e, &items)));
    eval_memory(e);
    if (count > 0) {
        ALD_TRY(evaluate_points(e, points, count, items));
    } else {
        ALD_TRY(evaluate(e, e->config->eval.output, items));
        if (e->world->rank == 0) {
            ald_eval_print(&e->metrics);
            ald_eval_print_categories(e->categories);
        }
    }
    ALD_TRY(ald_partial_end(&e->partial));
done:
    ald_free(items);
    return status;
}

/* The answers of an earlier evaluation are evaluated into another folder. Local. */
static ald_status_t check_inputs(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    char *answers = ald_path_join(config->eval.output, "answers.jsonl");
    ALD_CHECK(answers != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_path_apart("eval.output", answers, "data.eval", config->data.eval));
done:
    ald_free(answers);
    return status;
}

/* Claims the output before anything is read. Collective. */
static ald_status_t begin(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_comm_agree(world, world->rank == 0 ? check_inputs(config) : ALD_STATUS_OK));
    ALD_TRY(ald_claim(world, "eval", (ald_named_t){"eval.output", config->eval.output}, false,
                      &(ald_named_t){NULL, NULL}));
done:
    return status;
}

ald_status_t ald_stage_eval(const ald_config_t *config, const ald_comm_t *world,
                            const ald_eval_show_t *show, const ald_eval_point_t *points,
                            int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_eval_t e = {.config = config, .world = world};
    ald_json_t *recipe = NULL;
    paths_t paths = {0};
    bool finished = false;
    ALD_CHECK(show->count == 0 || (config->eval.dpo[0] != '\0' && config->eval.contrast[0] != '\0'),
              ALD_STATUS_USAGE, "--show: needs eval.dpo and eval.contrast");
    if (show->count == 0)
        ALD_TRY(begin(config, world));
    if (config->eval.patterns[0] != '\0')
        ALD_TRY(ald_comm_agree(world, ald_patterns_load(config->eval.patterns, &e.patterns)));
    ALD_TRY(load_models(&e));
    if (show->count > 0) {
        ALD_TRY(ald_comm_agree(world, world->rank == 0 ? ald_eval_show(&e, show) : ALD_STATUS_OK));
        goto done;
    }
    ALD_TRY(ald_comm_agree(world, paths_init(config, count > 0, &paths)));
    ALD_TRY(make_recipe(&e, points, count, &recipe));
    const ald_made_t made = {"eval", paths.output, paths.done};
    ALD_TRY(ald_partial_begin(world, config, &made, paths.progress, recipe, &e.partial, &finished));
    if (!finished)
        ALD_TRY(run(&e, points, count));
done:
    ald_partial_reset(&e.partial, status);
    paths_reset(&paths);
    eval_reset(&e);
    return status;
}
