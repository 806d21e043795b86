/* The files of an evaluation: figures as JSON for programs, a page for people, answers for judges.
 * They are apart from the measuring, so that all show the same numbers and none computes its own.
 */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/html.h"
#include "ald/base/interval.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/data/pairs.h"
#include "ald/role/measure.h"
#include "ald/teacher/teacher.h"
#include "pipeline/eval_impl.h"
#include "pipeline/report_impl.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/turns_impl.h"

/* Answers on the page: enough to see what a model does, few enough to be read. All are in
 * answers.jsonl. */
#define SHOWN 20

static ald_json_t *json_of_models(const ald_eval_t *e)
{
    static const char *const names[ALD_VIEWS] = {"model", "dpo", "contrast", "reference",
                                                 "model_contrast"};
    ald_json_t *json = ald_json_new_object();
    for (int k = 0; k < ALD_VIEWS; ++k) {
        if (e->directory[k][0] == '\0')
            continue;
        ald_json_t *model = ald_json_new_object();
        ald_json_set(model, "directory", ald_json_new_string(e->directory[k]));
        ald_json_set(model, "sha256", ald_json_new_string(e->view[k]->sha256));
        ald_json_set(json, names[k], model);
    }
    return json;
}

static ald_json_t *json_of_teacher(const ald_teacher_t *teacher)
{
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "contrast",
                 ald_json_new_string(ald_choice_name(ALD_CHOICES_CONTRASTS, teacher->contrast)));
    ald_json_set(
        json, "extrapolation",
        ald_json_new_string(ald_choice_name(ALD_CHOICES_EXTRAPOLATIONS, teacher->extrapolation)));
    ald_json_set(json, "strength", ald_json_new_number(teacher->strength));
    ald_json_set(json, "epsilon", ald_json_new_number(teacher->epsilon));
    ald_json_set(json, "temperature", ald_json_new_number(teacher->temperature));
    ald_json_set(json, "plausibility", ald_json_new_number(teacher->plausibility));
    return json;
}

static ald_json_t *json_of_sampling(const ald_config_t *config)
{
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "samples", ald_json_new_integer(config->eval.generate));
    ald_json_set(json, "temperature", ald_json_new_number(config->sampling.temperature));
    ald_json_set(json, "top_p", ald_json_new_number(config->sampling.top_p));
    ald_json_set(json, "top_k", ald_json_new_integer(config->sampling.top_k));
    ald_json_set(json, "max_new_tokens", ald_json_new_integer(config->sampling.max_new_tokens));
    ald_json_set(json, "seed", ald_json_new_integer(config->seed));
    return json;
}

static ald_json_t *json_of_metrics(const ald_eval_metrics_t *metrics)
{
    ald_json_t *json = ald_json_new_object();
    for (int i = 0; i < metrics->count; ++i)
        ald_json_set(json, metrics->list[i].name, ald_report_interval(&metrics->list[i].value));
    return json;
}

static ald_status_t write_json(const ald_eval_t *e, const char *path)
{
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "format", ald_json_new_string("aligndistil-eval"));
    ald_json_set(json, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(json, "models", json_of_models(e));
    if (e->measure.models[ALD_VIEW_COMPOSED] != NULL)
        ald_json_set(json, "teacher", json_of_teacher(&e->measure.teacher));
    ald_json_set(json, "data", ald_json_new_string(e->config->data.eval));
    ald_json_set(json, "sha256_data", ald_json_new_string(e->data.pairs.sha256));
    ald_json_set(json, "rows", ald_json_new_integer(e->rows));
    ald_json_set(json, "rows_skipped",
                 ald_json_new_integer(e->data.pairs.counts.read - e->data.pairs.count));
    ald_json_set(json, "pairs", ald_json_new_integer(e->pairs));
    ald_json_set(json, "prompts_cut", ald_json_new_integer(e->data.pairs.counts.prompts_cut));
    ald_json_set(json, "responses_cut", ald_json_new_integer(e->data.pairs.counts.responses_cut));
    ald_json_set(json, "beta", ald_json_new_number(e->config->teacher.beta));
    ald_json_set(json, "sampling", json_of_sampling(e->config));
    ald_json_set(json, "metrics", json_of_metrics(&e->metrics));
    if (e->categories != NULL)
        ald_json_set(json, "rewards_by", ald_json_share(e->categories));
    ald_status_t status = ald_json_write(json, path);
    ald_json_free(json);
    return status;
}

static const ald_pair_t *row_of(const ald_eval_t *e, int64_t sample)
{
    return &e->data.pairs.rows[sample / e->config->eval.generate];
}

static ald_json_t *json_of_answer(const ald_eval_t *e, int64_t i)
{
    const ald_answer_t *answer = &e->answers[i];
    const ald_pair_t *row = row_of(e, i);
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "id", ald_json_new_integer(row->id));
    ald_json_set(json, "sample", ald_json_new_integer(i % e->config->eval.generate));
    ald_json_set(json, "prompt", ald_json_new_string(row->prompt.text));
    ald_json_set(json, "response", ald_json_new_text(answer->text, strlen(answer->text)));
    if (row->chosen.text != NULL)
        ald_json_set(json, "chosen", ald_json_new_string(row->chosen.text));
    ald_json_set(json, "response_ids", ald_json_of_ids(e->responses[i].ids, e->responses[i].count));
    ald_json_set(json, "tokens", ald_json_new_integer(e->responses[i].count));
    ald_json_set(json, "finished", ald_json_new_bool(answer->ended));
    if (answer->exact >= 0)
        ald_json_set(json, "exact", ald_json_new_bool(answer->exact > 0));
    if (answer->forbidden >= 0)
        ald_json_set(json, "forbidden", ald_json_new_bool(answer->forbidden > 0));
    ald_json_set(json, "kl", ald_json_new_number(e->sampled[i].kl));
    ald_json_set(json, "reward",
                 ald_json_new_number(e->config->teacher.beta * e->sampled[i].reward));
    return json;
}

static ald_status_t write_answers(const ald_eval_t *e, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    ALD_TRY(ald_writer_open(path, &writer));
    for (int64_t i = 0; i < e->samples; ++i)
        ALD_TRY(ald_json_write_line(json_of_answer(e, i), writer));
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    return status;
}

static ald_status_t put_answer(const ald_eval_t *e, int64_t i, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_answer_t *answer = &e->answers[i];
    ALD_TRY(
        ald_vec_printf(page, "<tr><td>%lld<td><pre dir=\"auto\">", (long long)row_of(e, i)->id));
    ALD_TRY(ald_html_escape(page, row_of(e, i)->prompt.text));
    ALD_TRY(ald_vec_printf(page, "</pre><td><pre dir=\"auto\">"));
    ALD_TRY(ald_html_escape(page, answer->text));
    ALD_TRY(ald_vec_printf(page, "</pre><td>%s %s %s\n",
                           answer->exact < 0   ? ""
                           : answer->exact > 0 ? "exact"
                                               : "<b>wrong</b>",
                           answer->forbidden > 0 ? "<b>forbidden term</b>" : "",
                           answer->ended ? "" : "<b>cut</b>"));
done:
    return status;
}

static ald_status_t write_page(const ald_eval_t *e, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t page, subject;
    ald_vec_init(&page, 1);
    ald_vec_init(&subject, 1);
    ALD_TRY(ald_vec_printf(&subject, "%s%s",
                           e->config->eval.teacher ? "the composed teacher of " : "",
                           e->directory[ALD_VIEW_POLICY][0] != '\0' ? e->directory[ALD_VIEW_POLICY]
                                                                    : e->directory[ALD_VIEW_DPO]));
    ALD_TRY(ald_html_begin(&page, "eval", subject.data));
    ALD_TRY(ald_vec_printf(&page, "<p>%lld rows of ", (long long)e->rows));
    ALD_TRY(ald_html_escape(&page, e->config->data.eval));
    ALD_TRY(ald_vec_printf(&page, "; intervals of 95%%.\n<table><tr><th>metric<th>value<th>low"
                                  "<th>high<th>of<th>meaning\n"));
    for (int i = 0; i < e->metrics.count; ++i) {
        const ald_interval_t *v = &e->metrics.list[i].value;
        ALD_TRY(ald_vec_printf(&page,
                               "<tr><td>%s<td class=\"n\">%.4g<td class=\"n\">%.4g"
                               "<td class=\"n\">%.4g<td class=\"n\">%lld<td>%s\n",
                               e->metrics.list[i].name, v->value, v->low, v->high,
                               (long long)v->count, e->metrics.list[i].meaning));
    }
    ALD_TRY(ald_vec_printf(&page, "</table>\n"));
    ALD_TRY(ald_eval_page_categories(e->categories, &page));
    if (e->samples > 0)
        ALD_TRY(ald_vec_printf(
            &page, "<p>Every token of a row: <code>aligndistil eval -c FILE --show ROW --format "
                   "html --out tokens.html</code>\n<table><tr><th>row<th>prompt<th>answer<th>\n"));
    for (int64_t i = 0; i < e->samples && i < SHOWN; ++i)
        ALD_TRY(put_answer(e, i, &page));
    ALD_TRY(ald_vec_printf(&page, "%s</html>\n", e->samples > 0 ? "</table>\n" : ""));
    ALD_TRY(ald_file_write(path, page.data, page.count));
done:
    ald_vec_reset(&subject);
    ald_vec_reset(&page);
    return status;
}

void ald_eval_print(const ald_eval_metrics_t *metrics)
{
    printf("%-20s %10s   %-21s %7s  %s\n", "metric", "value", "95% interval", "of", "meaning");
    for (int i = 0; i < metrics->count; ++i) {
        const ald_interval_t *v = &metrics->list[i].value;
        char range[48];
        snprintf(range, sizeof range, "[%.4g, %.4g]", v->low, v->high);
        printf("%-20s %10.4g   %-21s %7lld  %s\n", metrics->list[i].name, v->value, range,
               (long long)v->count, metrics->list[i].meaning);
    }
}

/* The metrics of the table of settings, in its order. */
static const struct {
    const char *name, *title;
} shown[] = {{"exact", "exact"},       {"forbidden", "forbidden"},
             {"finished", "finished"}, {"response_length", "tokens"},
             {"kl/token", "kl/token"}, {"reward/token", "reward/token"}};
enum { SHOWN_METRICS = sizeof shown / sizeof *shown };

static const ald_interval_t *find_metric(const ald_eval_metrics_t *metrics, const char *name)
{
    for (int i = 0; i < metrics->count; ++i)
        if (strcmp(metrics->list[i].name, name) == 0)
            return &metrics->list[i].value;
    return NULL;
}

static void print_points(const ald_eval_point_t *points, const ald_eval_metrics_t *metrics,
                         int64_t count)
{
    printf("%8s %12s", "r", "plausibility");
    for (int m = 0; m < SHOWN_METRICS; ++m)
        if (find_metric(&metrics[0], shown[m].name) != NULL)
            printf("  %-25s", shown[m].title);
    putchar('\n');
    for (int64_t i = 0; i < count; ++i) {
        printf("%8g %12g", points[i].strength, points[i].plausibility);
        for (int m = 0; m < SHOWN_METRICS; ++m) {
            const ald_interval_t *v = find_metric(&metrics[i], shown[m].name);
            char text[64] = "";
            if (v != NULL)
                snprintf(text, sizeof text, "%.4g [%.4g, %.4g]", v->value, v->low, v->high);
            if (v != NULL)
                printf("  %-25s", text);
        }
        putchar('\n');
    }
}

ald_status_t ald_eval_report_points(const char *folder, const ald_eval_point_t *points,
                                    const ald_eval_metrics_t *metrics, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(folder, "strengths.json");
    ald_json_t *list = ald_json_new_array();
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (int64_t i = 0; i < count; ++i) {
        ald_json_t *json = ald_json_new_object();
        ald_json_set(json, "strength", ald_json_new_number(points[i].strength));
        ald_json_set(json, "plausibility", ald_json_new_number(points[i].plausibility));
        ald_json_set(json, "metrics", json_of_metrics(&metrics[i]));
        ald_json_push(list, json);
    }
    ALD_TRY(ald_json_write(list, path));
    print_points(points, metrics, count);
done:
    ald_json_free(list);
    ald_free(path);
    return status;
}

/* Writes the file `name` of the folder by `write`. */
static ald_status_t write_file(const ald_eval_t *e, const char *name,
                               ald_status_t (*write)(const ald_eval_t *, const char *))
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(e->folder, name);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(write(e, path));
done:
    ald_free(path);
    return status;
}

/* The name by which a judge knows the model: eval.name, or its folder's name, or "teacher". */
static ald_status_t model_name(const ald_config_t *config, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = config->eval.name, *end = config->eval.model + strlen(config->eval.model);
    *out = NULL;
    if (name[0] == '\0' && config->eval.teacher)
        name = "teacher";
    if (name[0] == '\0') {
        while (end > config->eval.model + 1 && end[-1] == '/')
            --end;
        for (name = end; name > config->eval.model && name[-1] != '/';)
            --name;
    } else {
        end = name + strlen(name);
    }
    *out = ald_calloc((size_t)(end - name) + 1, 1);
    ALD_CHECK_MEMORY(*out, (size_t)(end - name));
    memcpy(*out, name, (size_t)(end - name));
done:
    return status;
}

static ald_status_t write_benchmark(const ald_eval_t *e)
{
    ald_status_t status = ALD_STATUS_OK;
    char *name = NULL;
    ALD_TRY(model_name(e->config, &name));
    const ald_answers_t answers = {.data = &e->data,
                                   .responses = e->responses,
                                   .turns = &e->turns,
                                   .rows = e->rows,
                                   .samples = e->config->eval.generate,
                                   .model = name,
                                   .sha256 = e->view[ALD_VIEW_POLICY]->sha256};
    ALD_TRY(ald_answers_write(&answers, e->folder));
done:
    ald_free(name);
    return status;
}

ald_status_t ald_eval_report(const ald_eval_t *eval)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_dir_make(eval->folder));
    if (eval->samples > 0) {
        ALD_TRY(write_file(eval, "answers.jsonl", write_answers));
        ALD_TRY(write_benchmark(eval));
    }
    ALD_TRY(write_file(eval, "eval.html", write_page));
    ALD_TRY(write_file(eval, "eval.json", write_json));
    ald_log_info("eval: written to %s", eval->folder);
done:
    return status;
}
