/* `eval --judged`: the judges' files turned into the benchmarks' figures, on a machine that has
 * none of their programs. What counts how is theirs; src/pipeline/JUDGED.md says where it stands.
 */
#include "ald/pipeline/stage_judged.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/vec.h"
#include "ald/data/row_file.h"
#include "pipeline/judged_impl.h"

void ald_judged_put(ald_judged_t *judged, const char *name, double value)
{
    judged->values[judged->count].name = name;
    judged->values[judged->count++].value = value;
}

/* Finds a model, or a model's category, by its name, or adds it. */
static ald_status_t find(ald_vec_t *list, const char *name, ald_judged_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < list->count; ++i) {
        *out = &ALD_VEC_AT(list, ald_judged_t, i);
        if (strcmp((*out)->name, name) == 0)
            return status;
    }
    ald_judged_t fresh = {.name = ald_strdup(name)};
    ALD_CHECK_MEMORY(fresh.name, strlen(name) + 1);
    for (int i = 0; i < 2; ++i)
        ald_vec_init(&fresh.scores[i], sizeof(double));
    ald_vec_init(&fresh.categories, sizeof(ald_judged_t));
    if (ald_vec_push(list, &fresh) != ALD_STATUS_OK) {
        ald_free(fresh.name);
        return ALD_STATUS_RESOURCE;
    }
    *out = &ALD_VEC_AT(list, ald_judged_t, list->count - 1);
done:
    return status;
}

static ald_status_t text_of(const ald_json_t *row, const char *key, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *value = ald_json_get(row, key);
    *out = ald_json_text(value, NULL);
    ALD_CHECK(*out != NULL, ALD_STATUS_INPUT, "\"%s\": expected a string, found %s", key,
              ald_json_type_name(value));
done:
    return status;
}

/* --- the benchmarks' rows -----------------------------------------------------------------------
 */

/* Characters, as Python counts them. */
static ald_status_t characters(const ald_json_t *row, const char *key, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *text = NULL;
    size_t length = 0;
    ALD_TRY(text_of(row, key, &text));
    ald_json_text(ald_json_get(row, key), &length);
    *out = (double)ald_utf8_count(text, length);
done:
    return status;
}

/* 1: the baseline's output, 2: the model's; between them by the judge's probability, 0 or 1.5 a
 * draw.
 */
static ald_status_t read_alpaca(const ald_json_t *row, ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *model = NULL, *baseline = NULL;
    ald_judged_t *judged = NULL;
    ald_judged_row_t lengths = {NAN, {0.0, 0.0}};
    const ald_json_t *preference = ald_json_get(row, "preference");
    ALD_CHECK(ald_json_is_number(preference) || ald_json_is_null(preference), ALD_STATUS_INPUT,
              "\"preference\": expected a number or null, found %s",
              ald_json_type_name(preference));
    double value = ald_json_number(preference, NAN);
    value = value == 0.0 ? 1.5 : value;
    ALD_TRY(text_of(row, "generator_1", &baseline));
    ALD_TRY(text_of(row, "generator_2", &model));
    ALD_TRY(find(&all->models, model, &judged));
    ALD_CHECK(all->models.count == 1 &&
                  (all->baseline == NULL || strcmp(all->baseline, baseline) == 0),
              ALD_STATUS_INPUT,
              "\"generator_2\" is \"%s\" against \"%s\"; expected one model and one "
              "baseline in a file",
              model, baseline);
    if (all->baseline == NULL)
        all->baseline = ald_strdup(baseline);
    ALD_TRY(characters(row, "output_1", &lengths.lengths[0]));
    ALD_TRY(characters(row, "output_2", &lengths.lengths[1]));
    if (value >= 1.0 && value <= 2.0) {
        lengths.preference = value - 1.0;
        ALD_TRY(ald_vec_push(&judged->scores[0], &lengths.preference));
        judged->wins += value > 1.5;
        judged->losses += value < 1.5;
        judged->ties += value == 1.5;
    } else {
        ++all->left_out;
    }
    ALD_TRY(ald_vec_push(&all->lengths, &lengths));
done:
    return status;
}

/* The verdicts of the program of version 0.1, then those that version 2.0 knows besides. */
enum { VERDICTS_OF_01 = 5 };
static const struct {
    const char *verdict;
    double worth; /* for A */
    int times;    /* that it counts */
} verdicts[] = {{"A>>B", 1.0, 3}, {"A>B", 1.0, 1},  {"A=B", 0.5, 1}, {"B>A", 0.0, 1},
                {"B>>A", 0.0, 3}, {"A<<B", 0.0, 3}, {"A<B", 0.0, 1}, {"B=A", 0.5, 1},
                {"B<A", 1.0, 1},  {"B<<A", 1.0, 3}};
enum { VERDICTS_OF_20 = sizeof verdicts / sizeof verdicts[0] };

typedef struct {
    const char *verdict; /* NULL: none */
    double worth;        /* for the model: the baseline is A in the first game, B in the second */
    int times;           /* 0: none of the verdicts that are known */
} game_t;

static ald_status_t games_of(const ald_json_t *row, int known, ald_judgements_t *all, game_t *out,
                             ald_judged_t **judged)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *model = NULL;
    const ald_json_t *games = ald_json_get(row, "games");
    ALD_CHECK(ald_json_is_array(games) && ald_json_count(games) == 2, ALD_STATUS_INPUT,
              "\"games\": expected a list of two, found %s of %zu", ald_json_type_name(games),
              ald_json_count(games));
    ALD_TRY(text_of(row, "model", &model));
    ALD_TRY(find(&all->models, model, judged));
    for (int g = 0; g < 2; ++g) {
        const ald_json_t *score = ald_json_get(ald_json_at(games, (size_t)g), "score");
        out[g] = (game_t){.verdict = ald_json_text(score, NULL)};
        for (int i = 0; i < known && out[g].verdict != NULL; ++i)
            if (strcmp(verdicts[i].verdict, out[g].verdict) == 0) {
                out[g].worth = g == 0 ? 1.0 - verdicts[i].worth : verdicts[i].worth;
                out[g].times = verdicts[i].times;
            }
    }
done:
    return status;
}

static ald_status_t count_game(const game_t *game, ald_judged_t *judged)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < game->times; ++i)
        ALD_TRY(ald_vec_push(&judged->scores[0], &game->worth));
done:
    return status;
}

/* Version 0.1: each game counts for itself, and one with another verdict, or none, 0 times. */
static ald_status_t read_arena_01(const ald_json_t *row, ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_judged_t *judged = NULL;
    game_t games[2];
    ALD_TRY(games_of(row, VERDICTS_OF_01, all, games, &judged));
    for (int g = 0; g < 2; ++g) {
        all->left_out += games[g].times == 0;
        ALD_TRY(count_game(&games[g], judged));
    }
done:
    return status;
}

/* Version 2.0: a row without both verdicts isn't counted, and its program fails at another one.
 * What counts, counts for its category, too. */
static ald_status_t read_arena_20(const ald_json_t *row, ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_judged_t *judged = NULL, *part = NULL;
    const char *category = NULL;
    game_t games[2];
    ALD_TRY(games_of(row, VERDICTS_OF_20, all, games, &judged));
    for (int g = 0; g < 2; ++g)
        ALD_CHECK(games[g].verdict == NULL || games[g].times > 0, ALD_STATUS_INPUT,
                  "\"games\"[%d].score: \"%s\"; expected A>>B, A>B, A=B, B>A or B>>A", g,
                  games[g].verdict);
    if (!ald_json_is_null(ald_json_get(row, "category"))) {
        ALD_TRY(text_of(row, "category", &category));
        ALD_TRY(find(&judged->categories, category, &part));
    }
    if (games[0].verdict == NULL || games[1].verdict == NULL) {
        ++all->left_out;
        goto done;
    }
    for (int g = 0; g < 2; ++g) {
        ALD_TRY(count_game(&games[g], judged));
        if (part != NULL)
            ALD_TRY(count_game(&games[g], part));
    }
done:
    return status;
}

/* A grade from 1 to 10 of one turn's answer; -1: the judge gave none. */
static ald_status_t read_single(const ald_json_t *row, ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *model = NULL;
    ald_judged_t *judged = NULL;
    const ald_json_t *turn = ald_json_get(row, "turn"), *score = ald_json_get(row, "score");
    const double number = ald_json_number(turn, 0.0); /* 2.0 is a 2, too */
    ALD_CHECK(number == 1.0 || number == 2.0, ALD_STATUS_INPUT, "\"turn\": expected 1 or 2");
    ALD_CHECK(ald_json_is_number(score), ALD_STATUS_INPUT, "\"score\": expected a number, found %s",
              ald_json_type_name(score));
    const double value = ald_json_number(score, 0.0);
    ALD_TRY(text_of(row, "model", &model));
    ALD_TRY(find(&all->models, model, &judged));
    if (value == -1.0)
        ++all->left_out;
    else
        ALD_TRY(ald_vec_push(&judged->scores[number == 1.0 ? 0 : 1], &value));
done:
    return status;
}

/* Who won a game, as FastChat writes it: a model by its member of the row, or none. */
static ald_status_t winner_of(const ald_json_t *row, const char *key, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const words[] = {"model_1", "model_2", "tie", "error"};
    bool known = false;
    ALD_TRY(text_of(row, key, out));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; ++i)
        known |= strcmp(*out, words[i]) == 0;
    ALD_CHECK(known, ALD_STATUS_INPUT,
              "\"%s\": \"%s\"; expected \"model_1\", \"model_2\", \"tie\" or \"error\"", key, *out);
done:
    return status;
}

/* Two games with places exchanged: won by who wins both, else a tie. */
static ald_status_t read_pair(const ald_json_t *row, ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const members[2] = {"model_1", "model_2"};
    const char *winner[2], *model[2];
    ALD_TRY(winner_of(row, "g1_winner", &winner[0]));
    ALD_TRY(winner_of(row, "g2_winner", &winner[1]));
    if (strcmp(winner[0], "error") == 0 || strcmp(winner[1], "error") == 0) {
        ++all->left_out;
        goto done;
    }
    for (int i = 0; i < 2; ++i)
        ALD_TRY(text_of(row, members[i], &model[i]));
    for (int i = 0; i < 2; ++i) {
        ald_judged_t *judged = NULL;
        ALD_TRY(find(&all->models, model[i], &judged));
        const bool decided = strcmp(winner[0], "tie") != 0 && strcmp(winner[0], winner[1]) == 0;
        const bool won = strcmp(winner[0], members[i]) == 0;
        judged->wins += decided && won;
        judged->losses += decided && !won;
        judged->ties += !decided;
    }
done:
    return status;
}

/* --- the benchmarks' figures --------------------------------------------------------------------
 */

/* NaN without a score, and of numbers below what can't be told without one. */
static double mean_of(const ald_vec_t *scores)
{
    if (scores->count == 0)
        return NAN;
    double sum = 0.0;
    for (size_t i = 0; i < scores->count; ++i)
        sum += ALD_VEC_AT(scores, double, i);
    return sum / (double)scores->count;
}

/* Standard error of the mean; one score alone has none. */
static double error_of(const ald_vec_t *scores)
{
    if (scores->count < 2)
        return NAN;
    const double mean = mean_of(scores), n = (double)scores->count;
    double sum = 0.0;
    for (size_t i = 0; i < scores->count; ++i)
        sum += pow(ALD_VEC_AT(scores, double, i) - mean, 2.0);
    return sqrt(sum / (n - 1.0) / n);
}

static ald_status_t count_alpaca(const ald_config_t *config, ald_judgements_t *all,
                                 ald_judged_t *judged)
{
    ald_status_t status = ALD_STATUS_OK;
    const double n = (double)judged->scores[0].count;
    double controlled = NAN, length = 0.0;
    for (size_t i = 0; i < all->lengths.count; ++i)
        length += ALD_VEC_AT(&all->lengths, ald_judged_row_t, i).lengths[1];
    if (config->eval.gamed[0] != '\0' && strcmp(judged->name, all->baseline) == 0)
        controlled = 50.0;
    else if (config->eval.gamed[0] != '\0')
        ALD_TRY(ald_judged_length_controlled(config->eval.gamed, all->lengths.data,
                                             all->lengths.count, &controlled));
    if (!isnan(controlled))
        ald_judged_put(judged, "length_controlled_winrate", controlled);
    ald_judged_put(judged, "win_rate", 100.0 * mean_of(&judged->scores[0]));
    ald_judged_put(judged, "standard_error", 100.0 * error_of(&judged->scores[0]));
    ald_judged_put(judged, "discrete_win_rate",
                   100.0 * ((double)judged->wins + 0.5 * (double)judged->ties) / n);
    ald_judged_put(judged, "n_wins", (double)judged->wins);
    ald_judged_put(judged, "n_wins_base", (double)judged->losses);
    ald_judged_put(judged, "n_draws", (double)judged->ties);
    ald_judged_put(judged, "n_total", n);
    ald_judged_put(judged, "avg_length", floor(length / (double)all->lengths.count));
done:
    return status;
}

static void put_arena(const ald_config_t *config, double tail, ald_judged_t *judged)
{
    double interval[2];
    ald_judged_interval(&judged->scores[0], config->seed, tail, interval);
    ald_judged_put(judged, "score", 100.0 * mean_of(&judged->scores[0]));
    ald_judged_put(judged, "standard_error", 100.0 * error_of(&judged->scores[0]));
    ald_judged_put(judged, "lower", 100.0 * interval[0]);
    ald_judged_put(judged, "upper", 100.0 * interval[1]);
    ald_judged_put(judged, "battles", (double)judged->scores[0].count);
}

static ald_status_t count_arena_01(const ald_config_t *config, ald_judgements_t *all,
                                   ald_judged_t *judged)
{
    (void)all;
    put_arena(config, 0.025, judged);
    return ALD_STATUS_OK;
}

static ald_status_t count_arena_20(const ald_config_t *config, ald_judgements_t *all,
                                   ald_judged_t *judged)
{
    (void)all;
    put_arena(config, 0.05, judged);
    return ALD_STATUS_OK;
}

static ald_status_t count_single(const ald_config_t *config, ald_judgements_t *all,
                                 ald_judged_t *judged)
{
    ald_status_t status = ALD_STATUS_OK;
    (void)config;
    (void)all;
    ald_vec_t both;
    ald_vec_init(&both, sizeof(double));
    for (int i = 0; i < 2; ++i)
        ALD_TRY(ald_vec_append(&both, judged->scores[i].data, judged->scores[i].count));
    ald_judged_put(judged, "first_turn", mean_of(&judged->scores[0]));
    ald_judged_put(judged, "second_turn", mean_of(&judged->scores[1]));
    ald_judged_put(judged, "average", mean_of(&both));
    ald_judged_put(judged, "standard_error", error_of(&both));
    ald_judged_put(judged, "grades", (double)both.count);
done:
    ald_vec_reset(&both);
    return status;
}

static ald_status_t count_pair(const ald_config_t *config, ald_judgements_t *all,
                               ald_judged_t *judged)
{
    (void)config;
    (void)all;
    const double n = (double)(judged->wins + judged->losses + judged->ties);
    ald_judged_put(judged, "win_rate", (double)judged->wins / n);
    ald_judged_put(judged, "loss_rate", (double)judged->losses / n);
    ald_judged_put(judged, "win_rate_adjusted",
                   ((double)judged->wins + 0.5 * (double)judged->ties) / n);
    ald_judged_put(judged, "win", (double)judged->wins);
    ald_judged_put(judged, "loss", (double)judged->losses);
    ald_judged_put(judged, "tie", (double)judged->ties);
    return ALD_STATUS_OK;
}

/* --- the table of benchmarks --------------------------------------------------------------------
 */

typedef struct {
    const char *name;
    const char *members[2]; /* that its rows have, and those of none before it; NULL: one will do */
    const char *unit;       /* of what the judge failed at */
    ald_status_t (*read)(const ald_json_t *row, ald_judgements_t *all);
    ald_status_t (*count)(const ald_config_t *config, ald_judgements_t *all, ald_judged_t *judged);
} ald_benchmark_t;

/* Version 2.0 of Arena-Hard calls a question's id "uid" and has categories, also with the questions
 * of version 0.1; a row with neither name is held to the stricter of the two. */
static const ald_benchmark_t benchmarks[] = {
    {"AlpacaEval 2.0", {"preference"}, "rows", read_alpaca, count_alpaca},
    {"Arena-Hard 2.0", {"games", "uid"}, "rows", read_arena_20, count_arena_20},
    {"Arena-Hard 2.0", {"games", "category"}, "rows", read_arena_20, count_arena_20},
    {"Arena-Hard 0.1", {"games", "question_id"}, "games", read_arena_01, count_arena_01},
    {"Arena-Hard 2.0", {"games"}, "rows", read_arena_20, count_arena_20},
    {"MT-Bench, pairs", {"g1_winner"}, "rows", read_pair, count_pair},
    {"MT-Bench, single answers", {"score"}, "rows", read_single, count_single},
};
enum { BENCHMARKS = sizeof benchmarks / sizeof benchmarks[0] };

static const ald_benchmark_t *benchmark_of(const ald_json_t *row)
{
    for (int b = 0; b < BENCHMARKS; ++b) {
        const char *const *members = benchmarks[b].members;
        if (ald_json_get(row, members[0]) != NULL &&
            (members[1] == NULL || ald_json_get(row, members[1]) != NULL))
            return &benchmarks[b];
    }
    return NULL;
}

static ald_status_t read_rows(const ald_row_file_t *file, const ald_benchmark_t **found,
                              ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *row = NULL;
    for (size_t i = 0; i < file->rows.count && status == ALD_STATUS_OK; ++i) {
        const ald_raw_row_t *raw = &ALD_VEC_AT(&file->rows, ald_raw_row_t, i);
        ald_json_free(row);
        row = NULL;
        status = ald_row_file_parse(file, raw, &row);
        *found = *found != NULL ? *found : benchmark_of(row);
        if (status == ALD_STATUS_OK && *found == NULL)
            status = ald_status_raise(
                ALD_STATUS_INPUT, "expected a row of the judge of AlpacaEval (\"preference\"), "
                                  "Arena-Hard (\"games\") or MT-Bench (\"score\", \"g1_winner\")");
        if (status == ALD_STATUS_OK)
            status = (*found)->read(row, all);
        if (status != ALD_STATUS_OK)
            status = ald_row_file_place(file, raw->number, status);
    }
    ald_json_free(row);
    return status;
}

static ald_status_t check_usable(const ald_row_file_t *file, const ald_judgements_t *all)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t usable = 0;
    for (size_t i = 0; i < all->models.count; ++i) {
        const ald_judged_t *judged = &ALD_VEC_AT(&all->models, ald_judged_t, i);
        usable += judged->scores[0].count + judged->scores[1].count;
        usable += (size_t)(judged->wins + judged->losses + judged->ties);
    }
    ALD_CHECK(usable > 0, ALD_STATUS_INPUT,
              "%s: no verdict in it can be used; the judge failed at every row", file->path);

done:
    return status;
}

static ald_json_t *values_of(const ald_judged_t *judged)
{
    ald_json_t *values = ald_json_new_object(), *categories = NULL;
    for (int k = 0; k < judged->count; ++k)
        ald_json_set(values, judged->values[k].name, ald_json_new_number(judged->values[k].value));
    if (judged->categories.count > 0)
        ald_json_set(values, "categories", categories = ald_json_new_object());
    for (size_t i = 0; i < judged->categories.count; ++i) {
        const ald_judged_t *part = &ALD_VEC_AT(&judged->categories, ald_judged_t, i);
        ald_json_set(categories, part->name, values_of(part));
    }
    return values;
}

static ald_json_t *json_of(const ald_benchmark_t *benchmark, const ald_row_file_t *file,
                           const ald_judgements_t *all)
{
    char left_out[32];
    ald_json_t *json = ald_json_new_object(), *models = ald_json_new_object();
    ald_json_set(json, "format", ald_json_new_string("aligndistil-judged"));
    ald_json_set(json, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(json, "benchmark", ald_json_new_string(benchmark->name));
    ald_json_set(json, "judgements", ald_json_new_string(file->path));
    ald_json_set(json, "sha256", ald_json_new_string(file->sha256));
    if (all->baseline != NULL)
        ald_json_set(json, "baseline", ald_json_new_string(all->baseline));
    ald_json_set(json, "rows", ald_json_new_integer((int64_t)file->rows.count));
    snprintf(left_out, sizeof left_out, "%s_without_judgement", benchmark->unit);
    ald_json_set(json, left_out, ald_json_new_integer(all->left_out));
    for (size_t i = 0; i < all->models.count; ++i) {
        const ald_judged_t *judged = &ALD_VEC_AT(&all->models, ald_judged_t, i);
        ald_json_set(models, judged->name, values_of(judged));
    }
    ald_json_set(json, "models", models);
    return json;
}

static void print_values(const ald_judged_t *judged, int indent)
{
    printf("%*s", indent, "");
    ald_print_word(judged->name);
    putchar('\n');
    for (int k = 0; k < judged->count; ++k) {
        printf("%*s%-26s ", indent + 2, "", judged->values[k].name);
        if (isnan(judged->values[k].value))
            puts("-");
        else
            printf("%.6g\n", judged->values[k].value);
    }
    for (size_t i = 0; i < judged->categories.count; ++i)
        print_values(&ALD_VEC_AT(&judged->categories, ald_judged_t, i), indent + 2);
}

static void print(const ald_benchmark_t *benchmark, const ald_judgements_t *all)
{
    ald_print("%s%s%s, %lld %s without a judgement\n", benchmark->name,
              all->baseline != NULL ? " against " : "", all->baseline != NULL ? all->baseline : "",
              (long long)all->left_out, benchmark->unit);
    for (size_t i = 0; i < all->models.count; ++i)
        print_values(&ALD_VEC_AT(&all->models, ald_judged_t, i), 0);
}

static void reset_list(ald_vec_t *list)
{
    for (size_t i = 0; i < list->count; ++i) {
        ald_judged_t *judged = &ALD_VEC_AT(list, ald_judged_t, i);
        ald_free(judged->name);
        for (int k = 0; k < 2; ++k)
            ald_vec_reset(&judged->scores[k]);
        reset_list(&judged->categories);
    }
    ald_vec_reset(list);
}

static void reset(ald_judgements_t *all)
{
    reset_list(&all->models);
    ald_vec_reset(&all->lengths);
    ald_free(all->baseline);
}

static ald_status_t count_list(const ald_config_t *config, const ald_benchmark_t *benchmark,
                               ald_judgements_t *all, ald_vec_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < list->count; ++i) {
        ald_judged_t *judged = &ALD_VEC_AT(list, ald_judged_t, i);
        ALD_TRY(benchmark->count(config, all, judged));
        ALD_TRY(count_list(config, benchmark, all, &judged->categories));
    }
done:
    return status;
}

static ald_status_t report(const ald_config_t *config, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_benchmark_t *benchmark = NULL;
    ald_row_file_t file = {0};
    ald_judgements_t all = {0};
    ald_json_t *json = NULL;
    char *out = NULL;
    ald_vec_init(&all.models, sizeof(ald_judged_t));
    ald_vec_init(&all.lengths, sizeof(ald_judged_row_t));
    ALD_TRY(ald_row_file_open(path, &file));
    ALD_TRY(read_rows(&file, &benchmark, &all));
    ALD_TRY(check_usable(&file, &all));
    ALD_TRY(count_list(config, benchmark, &all, &all.models));
    json = json_of(benchmark, &file, &all);
    out = ald_path_join(config->eval.output, "judged.json");
    ALD_CHECK_MEMORY(out, strlen(config->eval.output) + 13);
    ALD_TRY(ald_dir_make(config->eval.output));
    ALD_TRY(ald_json_write(json, out));
    print(benchmark, &all);
done:
    ald_json_free(json);
    ald_free(out);
    reset(&all);
    ald_row_file_close(&file);
    return status;
}

ald_status_t ald_stage_judged(const ald_config_t *config, const ald_comm_t *world, const char *path)
{
    return ald_comm_agree(world, world->rank == 0 ? report(config, path) : ALD_STATUS_OK);
}
