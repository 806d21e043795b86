/* AlpacaEval's length-controlled win rate: what the win rate would be if answers were as long as
 * the baseline's, by a logistic regression on the difference of lengths and the instruction's
 * difficulty.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/logistic.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "pipeline/judged_impl.h"

/* Features of a row; the last is 0 for the gamed baselines and 1 for the model. */
enum { LENGTH, DIFFICULTY, MODEL, FEATURES };
enum { FOLDS = 5 };
static const double GAMED_WEIGHT = 0.2 / 2; /* for each of two gamed baselines */

/* The columns of df_gamed.csv that are used. */
enum { PREFERENCE, INDEX, DELTA, HARDNESS, COLUMNS };
static const char *const column_names[COLUMNS] = {"preference", "index", "std_delta_len",
                                                  "instruction_difficulty"};

/* The next field of a line of CSV, which ends at a comma or the line's end; NULL at the end. Fields
 * of this file have neither quotes nor commas. */
static char *next_field(char **at)
{
    char *field = *at;
    if (field == NULL)
        return NULL;
    *at = strchr(field, ',');
    if (*at != NULL)
        *(*at)++ = '\0';
    return field;
}

static ald_status_t read_header(const char *path, char *line, int *places)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int k = 0; k < COLUMNS; ++k)
        places[k] = -1;
    char *at = line, *field = NULL;
    for (int i = 0; (field = next_field(&at)) != NULL; ++i)
        for (int k = 0; k < COLUMNS; ++k)
            if (strcmp(field, column_names[k]) == 0)
                places[k] = i;
    for (int k = 0; k < COLUMNS; ++k)
        ALD_CHECK(places[k] >= 0, ALD_STATUS_INPUT, "%s:1: no column \"%s\"", path,
                  column_names[k]);
done:
    return status;
}

static ald_status_t read_line(const char *path, size_t number, char *line, const int *places,
                              double *values)
{
    ald_status_t status = ALD_STATUS_OK;
    bool read[COLUMNS] = {false};
    char *at = line, *field = NULL;
    for (int i = 0; (field = next_field(&at)) != NULL; ++i)
        for (int k = 0; k < COLUMNS; ++k) {
            char *end = NULL;
            if (places[k] != i)
                continue;
            values[k] = field[0] == '\0' ? NAN : strtod(field, &end);
            read[k] = field[0] == '\0' || *end == '\0';
        }
    for (int k = 0; k < COLUMNS; ++k)
        ALD_CHECK(read[k] && (k == PREFERENCE || isfinite(values[k])), ALD_STATUS_INPUT,
                  "%s:%zu: expected a number as \"%s\"", path, number, column_names[k]);
done:
    return status;
}

/* Reads the rows of the gamed baselines, and each instruction's difficulty by its index, which is
 * that of a row of annotations. */
static ald_status_t read_gamed(const char *path, ald_vec_t *rows, ald_vec_t *difficulty)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL, *line = NULL;
    int places[COLUMNS] = {0};
    size_t number = 0, size = 0;
    ALD_TRY(ald_file_read(path, &text, &size));
    for (char *at = text; at != NULL && *at != '\0';) {
        line = at;
        at = strchr(line, '\n');
        if (at != NULL)
            *at++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (++number == 1) {
            ALD_TRY(read_header(path, line, places));
            continue;
        }
        double v[COLUMNS] = {0.0};
        ALD_TRY(read_line(path, number, line, places, v));
        ALD_CHECK(v[INDEX] >= 0.0 && v[INDEX] < 1e6, ALD_STATUS_INPUT,
                  "%s:%zu: index %g; expected 0 to 999999", path, number, v[INDEX]);
        while (difficulty->count <= (size_t)v[INDEX])
            ALD_TRY(ald_vec_push(difficulty, &(double){NAN}));
        double *hardness = &ALD_VEC_AT(difficulty, double, (size_t)v[INDEX]);
        if (isnan(*hardness))
            *hardness = v[HARDNESS];
        const ald_logistic_row_t row = {
            {tanh(v[DELTA]), v[HARDNESS], 0.0}, v[PREFERENCE], GAMED_WEIGHT, 0};
        if (!isnan(row.y))
            ALD_TRY(ald_vec_push(rows, &row));
    }
    ALD_CHECK(rows->count > 0, ALD_STATUS_INPUT, "%s: no rows", path);
done:
    ald_free(text);
    return status;
}

/* The standard deviation (of a sample) of the differences of lengths, over all rows. */
static double deviation(const ald_judged_row_t *rows, size_t count)
{
    double mean = 0.0, sum = 0.0;
    for (size_t i = 0; i < count; ++i)
        mean += (rows[i].lengths[0] - rows[i].lengths[1]) / (double)count;
    for (size_t i = 0; i < count; ++i)
        sum += pow(rows[i].lengths[0] - rows[i].lengths[1] - mean, 2.0);
    return sqrt(sum / ((double)count - 1.0));
}

static ald_status_t append_model(const char *path, const ald_judged_row_t *rows, size_t count,
                                 const ald_vec_t *difficulty, ald_vec_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    const double scale = deviation(rows, count);
    ALD_CHECK(
        scale > 0.0, ALD_STATUS_INPUT,
        "all answers are longer than the baseline's by the same; expected lengths that differ");
    for (size_t i = 0; i < count; ++i) {
        ALD_CHECK(i < difficulty->count && !isnan(ALD_VEC_AT(difficulty, double, i)),
                  ALD_STATUS_INPUT, "%s: no difficulty of instruction %zu, which was judged", path,
                  i);
        const double hardness = ALD_VEC_AT(difficulty, double, i);
        const ald_logistic_row_t row = {
            {tanh((rows[i].lengths[0] - rows[i].lengths[1]) / scale), hardness, 1.0},
            rows[i].preference,
            1.0,
            0};
        if (!isnan(row.y))
            ALD_TRY(ald_vec_push(all, &row));
    }
done:
    return status;
}

ald_status_t ald_judged_length_controlled(const char *gamed, const ald_judged_row_t *rows,
                                          size_t count, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t all, difficulty;
    double w[ALD_LOGISTIC_FEATURES], sum = 0.0;
    ald_vec_init(&all, sizeof(ald_logistic_row_t));
    ald_vec_init(&difficulty, sizeof(double));
    ALD_TRY(read_gamed(gamed, &all, &difficulty));
    ALD_TRY(append_model(gamed, rows, count, &difficulty, &all));
    ald_logistic_row_t *list = all.data;
    for (size_t i = 0; i < all.count; ++i) /* as GroupKFold deals out groups of one size */
        list[i].fold = (int)((all.count - 1 - i) % FOLDS);
    const double c = ald_logistic_choose(list, all.count, FEATURES, FOLDS);
    ald_logistic_fit(list, all.count, FEATURES, c, -1, w);
    for (size_t i = 0; i < count; ++i)
        sum += 1.0 / (1.0 + exp(-w[DIFFICULTY] * ALD_VEC_AT(&difficulty, double, i) - w[MODEL]));
    *out = 100.0 * sum / (double)count;
done:
    ald_vec_reset(&all);
    ald_vec_reset(&difficulty);
    return status;
}
