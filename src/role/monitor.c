/* Watching single terms and figures while a model learns: a loss says that it learns something, not
 * that the price in the answer is right. Root alone looks, at a handful of rows; the others wait
 * for it. */
#include "ald/role/monitor.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"
#include "ald/par/stop.h"
#include "ald/role/generator.h"
#include "ald/role/measure.h"
#include "ald/text/figures.h"
#include "ald/text/words.h"
#include "role/monitor_impl.h"

enum { MOST_SERIES = 16, BEFORE = 24 }; /* terms with a metric; bytes shown in front of a term */

static const ald_text_t *response_of(const ald_pair_t *row, int k)
{
    return k == 0 ? &row->chosen : &row->rejected;
}

static const char *name_of(const ald_monitor_place_t *place)
{
    return place->response == 0 ? "chosen" : "rejected";
}

/* --- terms and their places ---------------------------------------------------------------------
 */

/* The number of a term; m->terms.count: there is none such. */
static size_t term_of(const ald_monitor_t *m, const char *text)
{
    size_t i = 0;
    while (i < m->terms.count && strcmp(ald_monitor_term(m, i), text) != 0)
        ++i;
    return i;
}

static ald_status_t add_term(ald_monitor_t *m, const char *text, bool any_case)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_monitor_term_t term = {.any_case = any_case};
    if (text[0] == '\0' || term_of(m, text) < m->terms.count)
        return status;
    term.text = ald_strdup(text);
    ALD_CHECK_MEMORY(term.text, strlen(text));
    ALD_TRY(ald_vec_push(&m->terms, &term));
    term.text = NULL;
done:
    ald_free(term.text);
    return status;
}

/* The terms of monitor.terms, one a line; without it those that rows require, or forbid, which
 * count in upper and lower case. */
static ald_status_t read_terms(ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const keys[] = {"required", "forbidden"};
    const char *path = m->engine->config->monitor.terms;
    ald_json_t *lines = NULL;
    if (path[0] != '\0') {
        ALD_TRY(ald_phrases_read(path, &lines));
        for (size_t i = 0; i < ald_json_count(lines); ++i)
            ALD_TRY(add_term(m, ald_json_text(ald_json_at(lines, i), NULL), false));
        ALD_CHECK(m->terms.count > 0, ALD_STATUS_INPUT, "%s: no terms; expected one a line", path);
    }
    for (int64_t i = 0; i < m->data.pairs.count && path[0] == '\0'; ++i)
        for (int k = 0; k < 2; ++k) {
            const ald_json_t *list = ald_json_get(m->data.pairs.rows[i].extra, keys[k]);
            for (size_t j = 0; j < ald_json_count(list); ++j)
                ALD_TRY(add_term(m, ald_json_text(ald_json_at(list, j), NULL), k == 1));
        }
done:
    ald_json_free(lines);
    return status;
}

/* The text of a response, and where each of its tokens begins: offset [count + 1]. */
static ald_status_t spell(const ald_monitor_t *m, const ald_text_t *response, ald_vec_t *text,
                          ald_vec_t *offset)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int64_t t = 0; t <= response->count; ++t) {
        text->count = 0;
        ALD_TRY(ald_tokenizer_decode(m->data.tokenizer, response->ids, (size_t)t, false, text));
        ALD_TRY(ald_vec_push(offset, &text->count));
    }
    ALD_TRY(ald_vec_append(text, "", 1));
done:
    return status;
}

/* The last bytes of the text in front of a place, whole characters. */
static char *text_before(const char *text, size_t begin)
{
    size_t from = begin > BEFORE ? begin - BEFORE : 0;
    while (from < begin && from > 0 && ((unsigned char)text[from] & 0xC0) == 0x80)
        ++from;
    char *out = ald_calloc(begin - from + 1, 1);
    if (out != NULL)
        memcpy(out, text + from, begin - from);
    return out;
}

/* Every place of a term in the text of a response. */
static ald_status_t find_places(ald_monitor_t *m, ald_monitor_place_t place, const char *text,
                                const size_t *offset, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_monitor_term_t *term = &ALD_VEC_AT(&m->terms, ald_monitor_term_t, place.term);
    const size_t length = strlen(term->text);
    for (const char *at = text;
         (at = ald_figure_find(text, at, term->text, term->any_case)) != NULL; at += length) {
        const size_t begin = (size_t)(at - text), end = begin + length;
        place.first = 0;
        while (place.first < count - 1 && offset[place.first + 1] <= begin)
            ++place.first;
        place.end = place.first + 1;
        while (place.end < count && offset[place.end] < end)
            ++place.end;
        place.before = text_before(text, begin);
        ALD_CHECK_MEMORY(place.before, BEFORE);
        ALD_TRY(ald_vec_push(&m->places, &place));
    }
done:
    return status;
}

static ald_status_t find_all_places(ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text, offset;
    ald_vec_init(&text, 1);
    ald_vec_init(&offset, sizeof(size_t));
    for (int64_t i = 0; i < m->data.pairs.count; ++i)
        for (int k = 0; k < 2; ++k) {
            const ald_text_t *response = response_of(&m->data.pairs.rows[i], k);
            if (response->count == 0)
                continue;
            text.count = 0;
            offset.count = 0;
            ALD_TRY(spell(m, response, &text, &offset));
            for (size_t term = 0; term < m->terms.count; ++term)
                ALD_TRY(find_places(m, (ald_monitor_place_t){.row = i, .response = k, .term = term},
                                    text.data, offset.data, response->count));
        }
done:
    ald_vec_reset(&text);
    ald_vec_reset(&offset);
    return status;
}

/* Names of the first terms' metrics. A "/" would make folders in metrics.h5; terms that differ in
 * it alone are told apart by their number. */
static ald_status_t name_series(ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t name;
    ald_vec_init(&name, 1);
    for (size_t i = 0; i < m->terms.count && i < MOST_SERIES; ++i) {
        bool taken = false;
        name.count = 0;
        ALD_TRY(ald_vec_printf(&name, "monitor/p(%s)", ald_monitor_term(m, i)));
        for (char *c = (char *)name.data + strlen("monitor/"); *c != '\0'; ++c)
            if (*c == '/')
                *c = '_';
        for (size_t k = 0; k < i; ++k)
            taken = taken || strcmp(ALD_VEC_AT(&m->names, char *, k), name.data) == 0;
        if (taken)
            ALD_TRY(ald_vec_printf(&name, " %zu", i + 1));
        char *copy = ald_strdup(name.data);
        ALD_CHECK_MEMORY(copy, name.count);
        ALD_TRY(ald_vec_push(&m->names, &copy));
    }
    if (m->terms.count > MOST_SERIES)
        ald_log_info("monitor: the metrics have the first %d of %zu terms, monitor.jsonl all",
                     MOST_SERIES, m->terms.count);
done:
    ald_vec_reset(&name);
    return status;
}

/* --- alarms -------------------------------------------------------------------------------------
 */

static bool has_place(const ald_monitor_t *m, size_t term)
{
    size_t i = 0;
    while (i < m->places.count && ALD_VEC_AT(&m->places, ald_monitor_place_t, i).term != term)
        ++i;
    return i < m->places.count;
}

/* One alarm: "TERM < BOUND" or "TERM > BOUND", with " stop" behind it or not. */
static ald_status_t read_alarm(ald_monitor_t *m, char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_monitor_alarm_t alarm = {0};
    while (isspace((unsigned char)*text))
        ++text;
    if (*text == '\0')
        return status;
    char *sign = text + strlen(text), *end = NULL;
    while (sign > text && *sign != '<' && *sign != '>')
        --sign;
    alarm.below = *sign == '<';
    alarm.bound = strtod(sign + 1, &end);
    const bool number = end != sign + 1;
    while (isspace((unsigned char)*end))
        ++end;
    alarm.stops = strncmp(end, "stop", 4) == 0;
    end += alarm.stops ? 4 : 0;
    while (isspace((unsigned char)*end))
        ++end;
    char *tail = sign;
    while (tail > text && isspace((unsigned char)tail[-1]))
        --tail;
    ALD_CHECK(sign > text && tail > text && number && *end == '\0' && alarm.bound >= 0.0 &&
                  alarm.bound <= 1.0,
              ALD_STATUS_USAGE,
              "monitor.alarm: \"%s\"; expected \"TERM < PROBABILITY\" or \"TERM > PROBABILITY\", "
              "with \" stop\" behind it to end the run, several with \";\" between them",
              text);
    *tail = '\0';
    alarm.term = term_of(m, text);
    ALD_CHECK(alarm.term < m->terms.count, ALD_STATUS_USAGE,
              "monitor.alarm: \"%s\" is none of the %zu terms of %s", text, m->terms.count,
              m->engine->config->monitor.terms[0] != '\0' ? m->engine->config->monitor.terms
                                                          : m->engine->config->monitor.rows);
    if (!has_place(m, alarm.term))
        ald_log_warn("monitor.alarm: \"%s\" is in no response of %s: it will never sound", text,
                     m->engine->config->monitor.rows);
    ALD_TRY(ald_vec_push(&m->alarms, &alarm));
done:
    return status;
}

static ald_status_t read_alarms(ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = ald_strdup(m->engine->config->monitor.alarm), *state = NULL;
    ALD_CHECK_MEMORY(text, strlen(m->engine->config->monitor.alarm));
    for (char *one = strtok_r(text, ";", &state); one != NULL; one = strtok_r(NULL, ";", &state))
        ALD_TRY(read_alarm(m, one));
done:
    ald_free(text);
    return status;
}

/* The mean of a term's probabilities in what was seen; NaN where it has no place. */
static double mean_of(const ald_monitor_t *m, const ald_json_t *look, size_t term)
{
    double sum = 0.0;
    int64_t count = 0;
    const ald_json_t *list = ald_json_get(look, "places");
    for (size_t i = 0; i < ald_json_count(list) && i < m->places.count; ++i) {
        if (ALD_VEC_AT(&m->places, ald_monitor_place_t, i).term != term)
            continue;
        sum += ald_json_number(ald_json_get(ald_json_at(list, i), "probability"), NAN);
        ++count;
    }
    return count > 0 ? sum / (double)count : NAN;
}

/* Warns of what has passed its bound since the last look; whether the run is to end. */
static bool sound_alarms(ald_monitor_t *m, const ald_json_t *look)
{
    bool ends = false;
    for (size_t i = 0; i < m->alarms.count; ++i) {
        ald_monitor_alarm_t *alarm = &ALD_VEC_AT(&m->alarms, ald_monitor_alarm_t, i);
        const double now = mean_of(m, look, alarm->term);
        const bool passed = alarm->below ? now < alarm->bound : now > alarm->bound;
        if (passed && !alarm->passed)
            ald_log_warn("%s: step %lld: \"%s\" has the probability %.3g, %s %g: monitor.alarm%s",
                         m->engine->stage,
                         (long long)ald_json_integer(ald_json_get(look, "step"), 0),
                         ald_monitor_term(m, alarm->term), now, alarm->below ? "below" : "above",
                         alarm->bound, alarm->stops ? " ends the run" : "");
        alarm->passed = passed;
        ends |= passed && alarm->stops;
    }
    return ends;
}

/* --- looking ------------------------------------------------------------------------------------
 */

/* Probabilities of the terms at their places. */
static ald_status_t look_at_places(ald_monitor_t *m, const ald_model_t *model, ald_json_t *look)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_measure_t measure = {.models = {[ALD_VIEW_POLICY] = model}};
    ald_json_t *list = ald_json_new_array();
    ald_measured_t *at = NULL;
    for (size_t i = 0; i < m->places.count; ++i) {
        const ald_monitor_place_t *place = &ALD_VEC_AT(&m->places, ald_monitor_place_t, i);
        const ald_monitor_place_t *last = i > 0 ? place - 1 : NULL;
        const ald_pair_t *row = &m->data.pairs.rows[place->row];
        const ald_text_t *response = response_of(row, place->response);
        if (last == NULL || last->row != place->row || last->response != place->response) {
            const ald_item_t item = ald_item_of(row, response, NULL);
            ald_free(at);
            at = ald_calloc((size_t)response->count, sizeof *at);
            ALD_CHECK_MEMORY(at, (size_t)response->count * sizeof *at);
            ALD_TRY(ald_measure_positions(&measure, &item, at));
        }
        double logprob = 0.0;
        for (int64_t t = place->first; t < place->end; ++t)
            logprob += at[t].logprob[ALD_VIEW_POLICY];
        ald_json_t *json = ald_json_new_object();
        ald_json_set(json, "row", ald_json_new_integer(row->id));
        ald_json_set(json, "in", ald_json_new_string(name_of(place)));
        ald_json_set(json, "before", ald_json_new_text(place->before, strlen(place->before)));
        ald_json_set(json, "term", ald_json_new_string(ald_monitor_term(m, place->term)));
        ald_json_set(json, "probability", ald_json_new_number(exp(logprob)));
        ald_json_push(list, json);
    }
    ald_json_set(look, "places", list);
    list = NULL;
done:
    ald_json_free(list);
    ald_free(at);
    return status;
}

/* Greedy answers to the prompts. */
static ald_status_t look_at_answers(ald_monitor_t *m, const ald_model_t *model, ald_json_t *look)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t rows = m->data.pairs.count, length = m->engine->config->monitor.answer_tokens;
    ald_generator_t generator;
    ald_arena_t arena;
    ald_vec_t records;
    size_t at = 0;
    ald_json_t *list = ald_json_new_array();
    ald_arena_init(&arena);
    ald_vec_init(&records, 1);
    ald_request_t *requests = ald_calloc((size_t)rows, sizeof *requests);
    ALD_CHECK_MEMORY(requests, (size_t)rows * sizeof *requests);
    if (length == 0)
        goto done;
    for (int64_t i = 0; i < rows; ++i)
        requests[i].row = i;
    ald_generator_init(m->engine->config, model, &m->data, &generator);
    generator.sampling = (ald_sampling_t){.temperature = 0.0, .top_p = 1.0, .top_k = 0};
    generator.max_new_tokens = length;
    ALD_TRY(ald_generator_run(&generator, &m->data.pairs, requests, rows, &arena, &records));
    while (at < records.count) {
        ald_sampled_t sampled;
        const int32_t *ids;
        const float *logprobs;
        bool ended;
        ald_json_t *text = NULL, *json = ald_json_new_object();
        ALD_TRY(ald_sampled_next(&records, &at, &sampled, &ids, &logprobs));
        ALD_TRY(ald_sampled_text(&m->data, ids, sampled.count, &ended, &text));
        ald_json_set(json, "row", ald_json_new_integer(m->data.pairs.rows[sampled.request].id));
        ald_json_set(json, "answer", text);
        ald_json_set(json, "finished", ald_json_new_bool(ended));
        ald_json_push(list, json);
    }
done:
    ald_json_set(look, "answers", list);
    ald_free(requests);
    ald_vec_reset(&records);
    ald_arena_reset(&arena);
    return status;
}

static ald_status_t write_files(const ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t lines;
    char *path = ald_path_join(m->engine->output, "monitor.jsonl");
    char *page = ald_path_join(m->engine->output, "monitor.html");
    ald_vec_init(&lines, 1);
    ALD_CHECK(path != NULL && page != NULL, ALD_STATUS_RESOURCE, "out of memory");
    for (size_t i = 0; i < ald_json_count(m->seen); ++i) {
        char *line = NULL;
        ALD_TRY(ald_json_dump(ald_json_at(m->seen, i), false, &line));
        status = ald_vec_printf(&lines, "%s\n", line);
        ald_free(line);
        ALD_TRY(status);
    }
    ALD_TRY(ald_dir_make(m->engine->output));
    ALD_TRY(ald_file_write(path, lines.data, lines.count));
    ALD_TRY(ald_monitor_page(m, page));
done:
    ald_vec_reset(&lines);
    ald_free(path);
    ald_free(page);
    return status;
}

/* Looks, and writes down what it sees. Root only. */
static ald_status_t look_now(ald_monitor_t *m, ald_metrics_t *metrics, bool *ends)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_t model = ald_engine_model(m->engine);
    ald_json_t *look = ald_json_new_object();
    model.vocabulary = ald_tokenizer_size(m->data.tokenizer);
    ald_json_set(look, "step", ald_json_new_integer(m->engine->step + 1));
    ALD_TRY(look_at_places(m, &model, look));
    ALD_TRY(look_at_answers(m, &model, look));
    for (size_t i = 0; i < m->names.count; ++i) {
        const double mean = mean_of(m, look, i);
        if (!isnan(mean))
            ald_metrics_set(metrics, ALD_VEC_AT(&m->names, char *, i), mean);
    }
    *ends = sound_alarms(m, look);
    ald_json_push(m->seen, look);
    look = NULL;
    ALD_TRY(write_files(m));
done:
    ald_json_free(look);
    return status;
}

ald_status_t ald_monitor_watch(void *monitor, ald_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_monitor_t *m = monitor;
    ald_engine_t *engine = run->engine;
    const int64_t taken = engine->step + 1, every = engine->config->monitor.every;
    bool ends = false;
    if (taken != 1 && taken != engine->steps && taken % every != 0)
        return status;
    if (engine->comm->rank == 0)
        status = look_now(m, &run->metrics, &ends);
    ALD_TRY(ald_comm_agree(engine->comm, status));
    ald_comm_broadcast(engine->comm, &ends, sizeof ends, 0);
    if (ends)
        ald_stop_alarm();
done:
    return status;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

/* Whether what was seen is of the places that are watched now. */
static bool is_of_places(const ald_monitor_t *m, const ald_json_t *look)
{
    const ald_json_t *list = ald_json_get(look, "places");
    bool same = ald_json_count(list) == m->places.count;
    for (size_t i = 0; i < m->places.count && same; ++i) {
        const ald_monitor_place_t *place = &ALD_VEC_AT(&m->places, ald_monitor_place_t, i);
        const ald_json_t *was = ald_json_at(list, i);
        const char *term = ald_json_text(ald_json_get(was, "term"), NULL);
        const char *in = ald_json_text(ald_json_get(was, "in"), NULL);
        const char *before = ald_json_text(ald_json_get(was, "before"), NULL);
        same = term != NULL && in != NULL && before != NULL &&
               strcmp(term, ald_monitor_term(m, place->term)) == 0 &&
               strcmp(before, place->before) == 0 && strcmp(in, name_of(place)) == 0 &&
               ald_json_integer(ald_json_get(was, "row"), -1) == m->data.pairs.rows[place->row].id;
    }
    return same;
}

/* Takes what was seen of other rows or terms out of the way. */
static ald_status_t set_aside(ald_monitor_t *m, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char name[64];
    snprintf(name, sizeof name, "monitor-until-%lld.jsonl", (long long)m->engine->step);
    char *aside = ald_path_join(m->engine->output, name);
    ALD_CHECK_MEMORY(aside, strlen(m->engine->output));
    ald_json_free(m->seen);
    m->seen = ald_json_new_array();
    ALD_TRY(ald_path_rename(path, aside));
    ald_log_warn("monitor: %s is of other rows or terms: it is kept as %s, and what is seen from "
                 "here on begins anew",
                 path, name);
done:
    ald_free(aside);
    return status;
}

/* Reads the looks up to the step that this run goes on from; *same: they are of these places. */
static ald_status_t read_looks(ald_monitor_t *m, const char *path, bool *same)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    *same = true;
    ALD_TRY(ald_file_read(path, &text, &size));
    for (const char *line = text; *line != '\0' && *same;) {
        const size_t length = strcspn(line, "\n");
        ald_json_t *look = NULL;
        ALD_TRY(ald_json_parse(line, length, path, &look));
        if (ald_json_integer(ald_json_get(look, "step"), 0) > m->engine->step) {
            ald_json_free(look);
            break;
        }
        *same = is_of_places(m, look);
        ald_json_push(m->seen, look);
        line += length + (line[length] != '\0');
    }
done:
    ald_free(text);
    return status;
}

/* What an earlier run has seen. STOPPED where an alarm that ends a run has passed in its last look.
 */
static ald_status_t read_seen(ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(m->engine->output, "monitor.jsonl");
    bool same = true;
    ALD_CHECK_MEMORY(path, strlen(m->engine->output));
    if (m->engine->step == 0 || !ald_path_exists(path))
        goto done;
    ALD_TRY(read_looks(m, path, &same));
    if (!same)
        ALD_TRY(set_aside(m, path));
    const size_t looks = ald_json_count(m->seen);
    if (looks > 0)
        ALD_CHECK(!sound_alarms(m, ald_json_at(m->seen, looks - 1)), ALD_STATUS_STOPPED,
                  "%s: stopped by monitor.alarm, at step %lld as before; run the same command with "
                  "another monitor.alarm, or none, to go on",
                  m->engine->stage, (long long)m->engine->step);
done:
    ald_free(path);
    return status;
}

static ald_status_t open_on_root(ald_monitor_t *m)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_config_t *config = m->engine->config;
    ald_config_t whole = *config; /* all rows, whatever the training takes of its own */
    whole.data.max_rows = 0;
    ALD_TRY(ald_dataset_open(&whole, m->engine->origin, m->engine->params.config.vocab_size,
                             config->monitor.rows, "monitor.rows", ALD_PAIRS_PRESENT, 0, 1,
                             &m->data));
    ALD_TRY(read_terms(m));
    ALD_TRY(find_all_places(m));
    ALD_TRY(name_series(m));
    ALD_TRY(read_alarms(m));
    ALD_TRY(read_seen(m));
    ald_log_info("monitor: %zu terms at %zu places in %lld rows of %s", m->terms.count,
                 m->places.count, (long long)m->data.pairs.count, config->monitor.rows);
done:
    return status;
}

ald_status_t ald_monitor_open(ald_engine_t *engine, ald_monitor_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = NULL;
    if (engine->config->monitor.rows[0] == '\0')
        return status;
    ald_monitor_t *m = ald_calloc(1, sizeof *m);
    ALD_CHECK_MEMORY(m, sizeof *m);
    m->engine = engine;
    m->seen = ald_json_new_array();
    ald_vec_init(&m->terms, sizeof(ald_monitor_term_t));
    ald_vec_init(&m->names, sizeof(char *));
    ald_vec_init(&m->places, sizeof(ald_monitor_place_t));
    ald_vec_init(&m->alarms, sizeof(ald_monitor_alarm_t));
    if (engine->comm->rank == 0)
        status = open_on_root(m);
done:
    status = ald_comm_agree(engine->comm, status);
    if (status == ALD_STATUS_OK)
        *out = m;
    else
        ald_monitor_close(m);
    return status;
}

void ald_monitor_close(ald_monitor_t *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->terms.count; ++i)
        ald_free(ALD_VEC_AT(&m->terms, ald_monitor_term_t, i).text);
    for (size_t i = 0; i < m->names.count; ++i)
        ald_free(ALD_VEC_AT(&m->names, char *, i));
    for (size_t i = 0; i < m->places.count; ++i)
        ald_free(ALD_VEC_AT(&m->places, ald_monitor_place_t, i).before);
    ald_vec_reset(&m->terms);
    ald_vec_reset(&m->names);
    ald_vec_reset(&m->places);
    ald_vec_reset(&m->alarms);
    ald_json_free(m->seen);
    ald_dataset_reset(&m->data);
    ald_free(m);
}
