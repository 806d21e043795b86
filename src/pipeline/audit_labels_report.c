/* What the labels of pairs are, against the margins: a line for each pair, and for people the
 * estimated rate and a histogram, in which flipped labels are the hump left of 0. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "pipeline/audit_impl.h"
#include "pipeline/report_impl.h"

static const char *const names[ALD_LABEL_COUNT] = {"right", "ambiguous", "flipped"};

static const char *unit_of(const ald_audit_run_t *run)
{
    return run->config->audit.models != ALD_AUDIT_MODELS_LENGTH ? "nats"
           : run->labels.shorter ? "characters that the rejected answer has more"
                                 : "characters that the chosen answer has more";
}

/* --- labels.jsonl ---------------------------------------------------------------------------- */

static ald_status_t write_lines(const ald_audit_run_t *run, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_labels_t *labels = &run->labels;
    ald_writer_t *writer = NULL;
    ald_vec_t line;
    ald_vec_init(&line, 1);
    ALD_TRY(ald_writer_open(path, &writer));
    for (int64_t i = 0; i < labels->count; ++i) {
        line.count = 0;
        ALD_TRY(ald_vec_printf(&line,
                               "{\"%s\": %lld, \"margin\": %.9g, \"probability\": %.6f, "
                               "\"label\": \"%s\"}\n",
                               run->audit.file.array ? "item" : "line",
                               (long long)ald_audit_place(run, labels->row[i]), labels->margin[i],
                               labels->flipped[i], names[ald_audit_label(run, i)]));
        ALD_TRY(ald_writer_write(writer, line.data, line.count));
    }
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    ald_vec_reset(&line);
    return status;
}

ald_status_t ald_audit_write_labels(const ald_audit_run_t *run)
{
    static const char name[] = "labels.jsonl";
    ald_status_t status = ALD_STATUS_OK;
    char *path = NULL;
    if (run->labels.count == 0)
        return ald_dir_remove_in(run->config->audit.output, name);
    path = ald_path_join(run->config->audit.output, name);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(write_lines(run, path));
done:
    ald_free(path);
    return status;
}

/* --- the histogram --------------------------------------------------------------------------- */

enum { BINS = 24 };

/* Bins of one width from -most to most; what lies beyond is in the first and the last. */
typedef struct {
    double most;
    int64_t counts[BINS][ALD_LABEL_COUNT], highest;
} histogram_t;

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The size that one margin in fifty is above; 1 where most are 0. */
static double usual_size(const ald_labels_t *labels)
{
    const size_t count = (size_t)labels->count;
    double *sizes = ald_alloc(sizeof *sizes * count), found = 0.0;
    if (sizes == NULL)
        return 1.0;
    for (size_t i = 0; i < count; ++i)
        sizes[i] = fabs(labels->margin[i]);
    qsort(sizes, count, sizeof *sizes, by_size);
    found = sizes[(count - 1) * 49 / 50];
    ald_free(sizes);
    return found > 0.0 ? found : 1.0;
}

static void count_bins(const ald_audit_run_t *run, histogram_t *out)
{
    *out = (histogram_t){.most = usual_size(&run->labels)};
    for (int64_t i = 0; i < run->labels.count; ++i) {
        const double at = floor((run->labels.margin[i] / out->most + 1.0) * (BINS / 2));
        const int bin = at < 0.0 ? 0 : at >= BINS ? BINS - 1 : (int)at;
        ++out->counts[bin][ald_audit_label(run, i)];
    }
    for (int b = 0; b < BINS; ++b) {
        const int64_t sum = out->counts[b][0] + out->counts[b][1] + out->counts[b][2];
        out->highest = sum > out->highest ? sum : out->highest;
    }
}

static ald_json_t *json_of_bins(const ald_audit_run_t *run)
{
    ald_json_t *list = ald_json_new_array();
    histogram_t histogram;
    count_bins(run, &histogram);
    for (int b = 0; b < BINS; ++b) {
        ald_json_t *bin = ald_json_new_object();
        ald_json_set(bin, "from", ald_json_new_number(histogram.most * (2.0 * b / BINS - 1.0)));
        for (int label = 0; label < ALD_LABEL_COUNT; ++label)
            ald_json_set(bin, names[label], ald_json_new_integer(histogram.counts[b][label]));
        ald_json_push(list, bin);
    }
    return list;
}

ald_json_t *ald_audit_json_of_labels(const ald_audit_run_t *run)
{
    const ald_labels_t *labels = &run->labels;
    const ald_audit_models_t models = run->config->audit.models;
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "models",
                 ald_json_new_string(ald_choice_name(ALD_CHOICES_AUDIT_MODELS, models)));
    if (models == ALD_AUDIT_MODELS_CROSSFIT)
        ald_json_set(json, "folds", ald_json_new_integer(run->config->audit.folds));
    ald_json_set(json, "unit", ald_json_new_string(unit_of(run)));
    ald_json_set(json, "flip_rate", ald_report_interval(&labels->noise.rate));
    ald_json_set(json, "scale", ald_json_new_number(labels->noise.scale));
    for (int label = 0; label < ALD_LABEL_COUNT; ++label)
        ald_json_set(json, names[label], ald_json_new_integer(labels->sums[label]));
    ald_json_set(json, "exchanged", ald_json_new_integer(labels->exchanged));
    ald_json_set(json, "margins", json_of_bins(run));
    return json;
}

/* --- for people ------------------------------------------------------------------------------ */

void ald_audit_print_labels(const ald_audit_run_t *run)
{
    const ald_labels_t *labels = &run->labels;
    const ald_interval_t rate = labels->noise.rate;
    printf("labels of %lld pairs by %s: %lld likely right, %lld ambiguous, %lld likely flipped; "
           "estimated rate of flips %.4f [%.4f, %.4f]\n",
           (long long)labels->count,
           ald_choice_name(ALD_CHOICES_AUDIT_MODELS, run->config->audit.models),
           (long long)labels->sums[ALD_LABEL_RIGHT], (long long)labels->sums[ALD_LABEL_AMBIGUOUS],
           (long long)labels->sums[ALD_LABEL_FLIPPED], rate.value, rate.low, rate.high);
    if (labels->exchanged > 0)
        printf("%lld rows of clean.jsonl have their answers exchanged; as they were: "
               "flipped.jsonl\n",
               (long long)labels->exchanged);
}

enum { WIDTH = 30, HEIGHT = 160 }; /* of a bar, of the highest one; pixels */

/* A bar of each bin, its labels one on the other. */
static ald_status_t put_bars(const histogram_t *histogram, ald_vec_t *page)
{
    static const char *const colours[ALD_LABEL_COUNT] = {"#4a90d9", "#999", "#d9534a"};
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(page, "<svg viewBox=\"0 0 %d %d\" width=\"100%%\" role=\"img\">\n",
                           BINS * WIDTH, HEIGHT + 24));
    for (int b = 0; b < BINS; ++b) {
        double top = HEIGHT;
        for (int label = 0; label < ALD_LABEL_COUNT; ++label) {
            const double height = HEIGHT * (double)histogram->counts[b][label] /
                                  (double)(histogram->highest > 0 ? histogram->highest : 1);
            top -= height;
            ALD_TRY(ald_vec_printf(page,
                                   "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%.1f\" "
                                   "fill=\"%s\"/>\n",
                                   b * WIDTH + 1, top, WIDTH - 2, height, colours[label]));
        }
    }
    for (int b = 0; b <= BINS; b += BINS / 4)
        ALD_TRY(ald_vec_printf(page,
                               "<text x=\"%d\" y=\"%d\" font-size=\"14\" text-anchor=\"%s\" "
                               "fill=\"currentColor\">%.3g</text>\n",
                               b * WIDTH, HEIGHT + 18,
                               b == 0      ? "start"
                               : b == BINS ? "end"
                                           : "middle",
                               histogram->most * (2.0 * b / BINS - 1.0)));
    ALD_TRY(ald_vec_printf(page, "</svg>\n"));
done:
    return status;
}

ald_status_t ald_audit_put_labels(const ald_audit_run_t *run, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_labels_t *labels = &run->labels;
    const ald_interval_t rate = labels->noise.rate;
    histogram_t histogram;
    count_bins(run, &histogram);
    ALD_TRY(ald_vec_printf(
        page,
        "<h2>Labels</h2>\n<p>Of %lld pairs %lld labels are likely right (blue), %lld ambiguous "
        "(grey), %lld likely flipped (red); estimated rate of flips %.4f [%.4f, %.4f], interval of "
        "95%%. By %s; margins in %s:\n",
        (long long)labels->count, (long long)labels->sums[ALD_LABEL_RIGHT],
        (long long)labels->sums[ALD_LABEL_AMBIGUOUS], (long long)labels->sums[ALD_LABEL_FLIPPED],
        rate.value, rate.low, rate.high,
        ald_choice_name(ALD_CHOICES_AUDIT_MODELS, run->config->audit.models), unit_of(run)));
    ALD_TRY(put_bars(&histogram, page));
    if (labels->exchanged > 0)
        ALD_TRY(ald_vec_printf(page,
                               "<p>%lld rows of clean.jsonl have their answers exchanged; as they "
                               "were they are in flipped.jsonl.\n",
                               (long long)labels->exchanged));
done:
    return status;
}
