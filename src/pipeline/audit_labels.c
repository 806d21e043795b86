/* Labels that are likely flipped, by the margins of models that haven't seen the row. The file is
 * cut into folds by prompts; each is scored by a model that the `dpo` stage's code trains on the
 * others, or by one that is given. A fold's margins are kept as soon as they are there, so that an
 * audit that was stopped goes on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/audit.h"
#include "ald/data/dataset.h"
#include "ald/data/labels.h"
#include "ald/data/pairs.h"
#include "ald/data/row_file.h"
#include "ald/model/batch.h"
#include "ald/model/model_config.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/role/frozen.h"
#include "ald/role/measure.h"
#include "ald/train/finished.h"
#include "pipeline/audit_impl.h"
#include "pipeline/claim_impl.h"
#include "pipeline/data_impl.h"
#include "pipeline/dpo_training_impl.h"
#include "pipeline/measuring_impl.h"
#include "pipeline/partial_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/recipe_impl.h"

/* --- settings -------------------------------------------------------------------------------- */

static ald_status_t check_models(const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    if (config->audit.models == ALD_AUDIT_MODELS_GIVEN)
        ALD_CHECK(config->audit.policy[0] != '\0' && config->audit.reference[0] != '\0',
                  ALD_STATUS_USAGE,
                  "%s: not set; expected a model directory, as audit.models is \"given\"",
                  config->audit.policy[0] == '\0' ? "audit.policy" : "audit.reference");
    if (config->audit.models == ALD_AUDIT_MODELS_CROSSFIT) {
        ALD_CHECK(config->dpo.policy[0] != '\0', ALD_STATUS_USAGE,
                  "dpo.policy: not set; expected a model directory, as audit.models is "
                  "\"crossfit\"");
        ALD_CHECK(!config->dpo.reverse, ALD_STATUS_USAGE,
                  "dpo.reverse: true; expected false, as a reverse model prefers the rejected "
                  "answers");
    }
done:
    return status;
}

ald_status_t ald_audit_labels_check(const ald_config_t *config, uint32_t remove, bool limited)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool removes = (remove >> ALD_REASON_FLIPPED & 1) != 0;
    const double *range = config->audit.ambiguous;
    ALD_CHECK(range[0] <= range[1], ALD_STATUS_USAGE,
              "audit.ambiguous: [%g, %g]; expected the lower probability first", range[0],
              range[1]);
    ALD_CHECK(config->audit.models != ALD_AUDIT_MODELS_NONE ||
                  !(removes || limited || config->audit.flip),
              ALD_STATUS_USAGE, "%s: needs audit.models, which is \"none\"; expected one of %s",
              config->audit.flip ? "audit.flip"
              : removes          ? "audit.remove: likely-flipped"
                                 : "--fail-on likely-flipped",
              ald_choice_names(ALD_CHOICES_AUDIT_MODELS));
    ALD_CHECK(!(removes && config->audit.flip), ALD_STATUS_USAGE,
              "audit.flip: true, and audit.remove has likely-flipped; expected one of the two");
    ALD_TRY(check_models(config));
done:
    return status;
}

/* INPUT at a pair whose answers can't be exchanged, before anything is trained. Root only. */
static ald_status_t check_rows(const ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_row_file_t *file = &run->audit.file;
    ald_json_t *row = NULL, *exchanged = NULL;
    ALD_CHECK(ald_labels_can_exchange(run->audit.layout), ALD_STATUS_USAGE,
              "audit.flip: answers of the layout %s can't be exchanged; remove likely-flipped rows "
              "in place of that",
              ald_layout_name(run->audit.layout));
    for (int64_t i = 0; i < run->count; ++i) {
        if (!run->rows[i].answered[0] || !run->rows[i].answered[1])
            continue;
        const ald_raw_row_t *raw = &ALD_VEC_AT(&file->rows, ald_raw_row_t, i);
        ALD_TRY(ald_row_file_parse(file, raw, &row));
        ALD_TRY(ald_labels_exchange(row, &exchanged));
        const bool can = exchanged != NULL;
        ald_json_free(exchanged);
        ald_json_free(row);
        row = exchanged = NULL;
        if (!can) {
            status = ald_status_raise(ALD_STATUS_INPUT,
                                      "audit.flip: expected \"chosen\" and \"rejected\", or two "
                                      "texts in \"output\", to exchange");
            return ald_row_file_place(file, raw->number, status);
        }
    }
done:
    ald_json_free(row);
    return status;
}

/* --- the folds ------------------------------------------------------------------------------- */

typedef struct {
    const ald_comm_t *world;
    ald_config_t config; /* of all rows; its texts are the run's */
    const char *policy, *reference, *reference_key;
    ald_dataset_t data;       /* its rows are pairs */
    ald_frozen_t frozen;      /* the reference */
    int64_t *fold;            /* [pairs] */
    double *margin;           /* [pairs] log-ratio of chosen less that of rejected, nats */
    ald_pair_t *rows;         /* [pairs] those of a training, borrowed */
    ald_item_t *items;        /* [pairs] */
    ald_measured_t *measured; /* [2 pairs] */
    ald_json_t *recipe;       /* of the trainings, or of the given pair; root only */
} cross_t;

static bool trains(const cross_t *c)
{
    return c->config.audit.models == ALD_AUDIT_MODELS_CROSSFIT;
}

static ald_status_t cross_room(cross_t *c)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_pairs_t *pairs = &c->data.pairs;
    int64_t n = 0;
    for (int64_t i = 0; i < pairs->count; ++i)
        if (pairs->rows[i].chosen.count > 0 && pairs->rows[i].rejected.count > 0)
            pairs->rows[n++] = pairs->rows[i];
    pairs->count = n;
    ALD_CHECK(n > 0, ALD_STATUS_INPUT, "%s: no row has \"chosen\" and \"rejected\"",
              c->config.data.train);
    c->fold = ald_calloc((size_t)n, sizeof *c->fold);
    c->margin = ald_calloc((size_t)n, sizeof *c->margin);
    c->rows = ald_calloc((size_t)n, sizeof *c->rows);
    c->items = ald_calloc((size_t)n, sizeof *c->items);
    c->measured = ald_calloc(2 * (size_t)n, sizeof *c->measured);
    ALD_CHECK(c->fold && c->margin && c->rows && c->items && c->measured, ALD_STATUS_RESOURCE,
              "out of memory: %lld pairs", (long long)n);
    for (int64_t i = 0; i < n; ++i)
        c->fold[i] = ald_labels_fold(&pairs->rows[i].prompt, (uint64_t)c->config.seed,
                                     c->config.audit.folds);
done:
    return status;
}

/* The directories, by audit.models. */
static void cross_name(cross_t *c, const ald_config_t *config)
{
    c->config = *config;
    c->config.data.max_rows = 0;
    c->policy = trains(c) ? config->dpo.policy : config->audit.policy;
    c->reference = trains(c) ? config->dpo.reference : config->audit.reference;
    c->reference_key = trains(c) ? "dpo.reference" : "audit.reference";
    if (c->reference[0] == '\0') {
        c->reference = c->policy;
        c->reference_key = "dpo.policy";
    }
}

/* Collective, as the following but where they say otherwise. */
static ald_status_t cross_init(cross_t *c, const ald_comm_t *world, const ald_config_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t shape;
    c->world = world;
    cross_name(c, config);
    const ald_named_t models[] = {{trains(c) ? "dpo.policy" : "audit.policy", c->policy},
                                  {c->reference_key, c->reference == c->policy ? "" : c->reference},
                                  {NULL, NULL}};
    ALD_TRY(ald_comm_agree(world, ald_model_config_read(c->policy, &shape)));
    ALD_TRY(ald_data_open(world, &c->config, c->policy, shape.vocab_size, config->data.train,
                          "data.train", ALD_PAIRS_PRESENT, &c->data));
    ALD_TRY(ald_comm_agree(world, cross_room(c)));
    const char *const directories[] = {c->policy, c->reference};
    ald_positions_warn(directories, 2, ald_longest_row(&c->data, c->data.pairs.count, 0));
    ALD_TRY(ald_frozen_load(world, c->reference, c->reference_key, &c->frozen));
    ALD_TRY(ald_recipe(world, &c->config, trains(c) ? "dpo" : "audit", models, &c->recipe));
done:
    return status;
}

static void cross_reset(cross_t *c)
{
    ald_json_free(c->recipe);
    ald_frozen_reset(&c->frozen);
    ald_dataset_reset(&c->data);
    ald_free(c->fold);
    ald_free(c->margin);
    ald_free(c->rows);
    ald_free(c->items);
    ald_free(c->measured);
}

/* A fold's paths in audit.output: folds/K-of-N, and that with the endings of the files of its
 * margins, of what says that they are made, and of those so far. */
typedef struct {
    int64_t k;
    char *model, *margins, *done, *progress; /* owned */
    int64_t scored, trained;
    char sha256[ALD_SHA256_HEX]; /* of the file and of which of its rows are in which fold */
} fold_t;

static void fold_reset(fold_t *fold)
{
    ald_free(fold->model);
    ald_free(fold->margins);
    ald_free(fold->done);
    ald_free(fold->progress);
}

static ald_status_t fold_paths(const cross_t *c, fold_t *out)
{
    static const char *const ends[] = {"", ".json", ".done.json", ".progress"};
    char **const paths[] = {&out->model, &out->margins, &out->done, &out->progress};
    ald_status_t status = ALD_STATUS_OK;
    for (int i = 0; i < 4; ++i) {
        char name[80];
        snprintf(name, sizeof name, "folds/%lld-of-%lld%s", (long long)out->k + 1,
                 (long long)c->config.audit.folds, ends[i]);
        *paths[i] = ald_path_join(c->config.audit.output, name);
        ALD_CHECK(*paths[i] != NULL, ALD_STATUS_RESOURCE, "out of memory");
    }
done:
    return status;
}

static ald_status_t fold_init(const cross_t *c, int64_t k, fold_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char which[160];
    ald_sha256_t sha;
    *out = (fold_t){.k = k};
    ALD_TRY(fold_paths(c, out));
    for (int64_t i = 0; i < c->data.pairs.count; ++i)
        out->scored += c->fold[i] == k;
    out->trained = c->data.pairs.count - out->scored;
    snprintf(which, sizeof which, "%s without fold %lld of %lld by seed %lld", c->data.pairs.sha256,
             (long long)k, (long long)c->config.audit.folds, (long long)c->config.seed);
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, which, strlen(which));
    ald_sha256_final(&sha, out->sha256);
done:
    return status;
}

/* Trains on the pairs that aren't in the fold. */
static ald_status_t train_fold(cross_t *c, const fold_t *fold)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_config_t config = c->config;
    ald_dataset_t others = c->data; /* what it points to stays c->data's */
    config.dpo.output = fold->model;
    ALD_CHECK(fold->trained > 0, ALD_STATUS_INPUT,
              "%s: all pairs are in fold %lld, as rows of one prompt stay together; expected more "
              "prompts",
              config.data.train, (long long)fold->k + 1);
    others.pairs.rows = c->rows;
    others.pairs.count = 0;
    for (int64_t i = 0; i < c->data.pairs.count; ++i)
        if (c->fold[i] != fold->k)
            c->rows[others.pairs.count++] = c->data.pairs.rows[i];
    memcpy(others.pairs.sha256, fold->sha256, sizeof fold->sha256);
    ALD_TRY(ald_dpo_train(&config, c->world, &others));
done:
    return status;
}

/* Nine digits, as files have it: a margin that was read back is the same. */
static double rounded(double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    return strtod(text, NULL);
}

/* Puts the margins of the fold's pairs in their places. Local. */
static ald_status_t take_margins(cross_t *c, const fold_t *fold, const char *policy)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_measured_t *pair = c->measured;
    for (int64_t i = 0; i < c->data.pairs.count; ++i) {
        double ratio[2];
        if (c->fold[i] != fold->k)
            continue;
        for (int j = 0; j < 2; ++j, ++pair)
            ratio[j] = pair->logprob[ALD_VIEW_POLICY] - pair->logprob[ALD_VIEW_REFERENCE];
        c->margin[i] = rounded(ratio[0] - ratio[1]);
        ALD_CHECK(isfinite(c->margin[i]), ALD_STATUS_INPUT,
                  "%s and %s: give line %lld of %s a margin of %g: their numbers overflow", policy,
                  c->reference, (long long)c->data.pairs.rows[i].line, c->config.data.train,
                  c->margin[i]);
    }
done:
    return status;
}

/* Measures the fold's pairs with a model and its reference. */
static ald_status_t measure_fold(cross_t *c, const fold_t *fold, const ald_partial_t *partial)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *directory = trains(c) ? fold->model : c->policy;
    ald_frozen_t policy = {0};
    int64_t common = 0, count = 0;
    ald_measure_t measure = {.micro_batch_tokens = c->config.optimizer.micro_batch_tokens};
    const ald_measuring_t measuring = {"audit", "pairs", partial, &measure, false};
    ALD_TRY(
        ald_frozen_load(c->world, directory, trains(c) ? "dpo.output" : "audit.policy", &policy));
    ALD_TRY(ald_comm_agree(
        c->world, ald_frozen_compare(directory, &policy, c->reference, &c->frozen, &common)));
    policy.model.vocabulary = c->frozen.model.vocabulary = common;
    measure.models[ALD_VIEW_POLICY] = &policy.model;
    measure.models[ALD_VIEW_REFERENCE] = &c->frozen.model;
    for (int64_t i = 0; i < c->data.pairs.count; ++i) {
        const ald_pair_t *row = &c->data.pairs.rows[i];
        if (c->fold[i] == fold->k)
            c->items[count++] = ald_item_of(row, &row->chosen, &row->rejected);
    }
    ALD_TRY(ald_measure_kept(&measuring, c->items, count, 2 * count, c->measured));
    ALD_TRY(take_margins(c, fold, directory));
done:
    ald_frozen_reset(&policy);
    return status;
}

/* Takes over the margins of a fold that is made. Root only. */
static ald_status_t read_margins(cross_t *c, const fold_t *fold)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *list = NULL;
    int64_t n = 0;
    ALD_TRY(ald_json_read(fold->margins, &list));
    ALD_CHECK((int64_t)ald_json_count(list) == fold->scored, ALD_STATUS_INPUT,
              "%s: %zu margins; expected %lld", fold->margins, ald_json_count(list),
              (long long)fold->scored);
    for (int64_t i = 0; i < c->data.pairs.count; ++i)
        if (c->fold[i] == fold->k)
            c->margin[i] = ald_json_number(ald_json_at(list, (size_t)n++), NAN);
done:
    ald_json_free(list);
    return status;
}

/* Root only. */
static ald_status_t write_margins(const cross_t *c, const fold_t *fold)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *list = ald_json_new_array();
    for (int64_t i = 0; i < c->data.pairs.count; ++i)
        if (c->fold[i] == fold->k)
            ald_json_push(list, ald_json_new_number(c->margin[i]));
    ALD_TRY(ald_fail_point("output_write"));
    ALD_TRY(ald_json_write(list, fold->margins));
done:
    ald_json_free(list);
    return status;
}

static ald_status_t make_fold(cross_t *c, const fold_t *fold, ald_partial_t *partial)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_log_info("audit: fold %lld of %lld: %lld pairs, by a model %s %lld others",
                 (long long)fold->k + 1, (long long)c->config.audit.folds, (long long)fold->scored,
                 trains(c) ? "trained on the" : "that is given, as the", (long long)fold->trained);
    if (trains(c))
        ALD_TRY(train_fold(c, fold));
    ALD_TRY(measure_fold(c, fold, partial));
    ALD_TRY(ald_comm_agree(c->world, c->world->rank == 0 ? write_margins(c, fold) : ALD_STATUS_OK));
    ALD_TRY(ald_partial_end(partial));
done:
    return status;
}

/* What a fold's margins follow from, on root. */
static ald_json_t *recipe_of(const cross_t *c, const fold_t *fold)
{
    ald_json_t *recipe = c->recipe == NULL ? NULL : ald_json_copy(c->recipe);
    if (recipe != NULL)
        ald_json_set(recipe, "data.train", ald_json_new_string(fold->sha256));
    return recipe;
}

/* Takes a fold's margins from an earlier run, or makes them. Its model isn't needed any more then.
 */
static ald_status_t take_fold(cross_t *c, int64_t k)
{
    ald_status_t status = ALD_STATUS_OK;
    fold_t fold = {0};
    ald_partial_t partial = {0};
    bool finished = false;
    ALD_TRY(ald_comm_agree(c->world, fold_init(c, k, &fold)));
    if (fold.scored == 0)
        goto done;
    const ald_made_t made = {"audit", fold.margins, fold.done};
    ALD_TRY(ald_partial_begin(c->world, &c->config, &made, fold.progress, recipe_of(c, &fold),
                              &partial, &finished));
    if (!finished)
        ALD_TRY(make_fold(c, &fold, &partial));
    if (c->world->rank == 0 && finished)
        status = read_margins(c, &fold);
    if (c->world->rank == 0 && status == ALD_STATUS_OK && trains(c) && !c->config.audit.keep_models)
        status = ald_dir_remove(fold.model);
    ALD_TRY(ald_comm_agree(c->world, status));
done:
    ald_partial_reset(&partial, status);
    fold_reset(&fold);
    return status;
}

/* Root makes the folder of the folds. */
static ald_status_t make_folder(const cross_t *c)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_path_join(c->config.audit.output, "folds");
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_make(path));
    ALD_TRY(ald_dir_sweep(path));
done:
    ald_free(path);
    return status;
}

/* --- the labels ------------------------------------------------------------------------------ */

static ald_status_t labels_room(ald_labels_t *labels, int64_t most)
{
    ald_status_t status = ALD_STATUS_OK;
    labels->row = ald_calloc((size_t)most + 1, sizeof *labels->row);
    labels->margin = ald_calloc((size_t)most + 1, sizeof *labels->margin);
    labels->flipped = ald_calloc((size_t)most + 1, sizeof *labels->flipped);
    ALD_CHECK(labels->row && labels->margin && labels->flipped, ALD_STATUS_RESOURCE,
              "out of memory: %lld labels", (long long)most);
done:
    return status;
}

/* The margins in the order of the file. Root only, as the following. */
static ald_status_t labels_of_models(const cross_t *c, ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_labels_t *labels = &run->labels;
    int64_t row = 0;
    ALD_CHECK(strcmp(c->data.pairs.sha256, run->audit.file.sha256) == 0, ALD_STATUS_INPUT,
              "%s: was changed while it was audited", run->config->data.train);
    ALD_TRY(labels_room(labels, c->data.pairs.count));
    for (int64_t i = 0; i < c->data.pairs.count; ++i) {
        while (ALD_VEC_AT(&run->audit.file.rows, ald_raw_row_t, row).number !=
               c->data.pairs.rows[i].line - 1)
            ++row;
        labels->row[labels->count] = row;
        labels->margin[labels->count++] = c->margin[i];
    }
done:
    return status;
}

/* Characters that the chosen answer has more, or has less where the shorter is chosen more often.
 */
static ald_status_t labels_of_lengths(ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_labels_t *labels = &run->labels;
    int64_t longer = 0;
    ALD_TRY(labels_room(labels, run->count));
    for (int64_t i = 0; i < run->count; ++i) {
        const ald_audit_row_t *row = &run->rows[i];
        if (!row->read || !row->answered[0] || !row->answered[1])
            continue;
        const double more = (double)row->length[0] - (double)row->length[1];
        longer += (more > 0.0) - (more < 0.0);
        labels->row[labels->count] = i;
        labels->margin[labels->count++] = more;
    }
    labels->shorter = longer < 0;
    for (int64_t i = 0; i < labels->count && labels->shorter; ++i)
        labels->margin[i] = 0.0 - labels->margin[i];
    ALD_CHECK(labels->count > 0, ALD_STATUS_INPUT, "%s: no row has \"chosen\" and \"rejected\"",
              run->config->data.train);
done:
    return status;
}

ald_label_t ald_audit_label(const ald_audit_run_t *run, int64_t i)
{
    const double flipped = run->labels.flipped[i], *range = run->config->audit.ambiguous;
    return flipped >= range[1]   ? ALD_LABEL_FLIPPED
           : flipped <= range[0] ? ALD_LABEL_RIGHT
                                 : ALD_LABEL_AMBIGUOUS;
}

/* Fits the noise, and gives each pair its probability and the rows their reason. */
static ald_status_t judge(ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_labels_t *labels = &run->labels;
    status = ald_noise_fit(labels->margin, labels->count, &labels->noise);
    if (status != ALD_STATUS_OK)
        return ald_status_prefix(status, "%s", run->config->data.train);
    for (int64_t i = 0; i < labels->count; ++i) {
        labels->flipped[i] = ald_noise_flipped(&labels->noise, labels->margin[i]);
        const ald_label_t label = ald_audit_label(run, i);
        ++labels->sums[label];
        if (label == ALD_LABEL_FLIPPED)
            run->rows[labels->row[i]].reasons |= 1u << ALD_REASON_FLIPPED;
    }
    return status;
}

static ald_status_t cross_fit(const ald_comm_t *world, ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    cross_t c = {0};
    ALD_TRY(cross_init(&c, world, run->config));
    ALD_TRY(ald_comm_agree(world, world->rank == 0 ? make_folder(&c) : ALD_STATUS_OK));
    for (int64_t k = 0; k < run->config->audit.folds; ++k)
        ALD_TRY(take_fold(&c, k));
    ALD_TRY(ald_comm_agree(world, world->rank == 0 ? labels_of_models(&c, run) : ALD_STATUS_OK));
done:
    cross_reset(&c);
    return status;
}

ald_status_t ald_audit_labels(const ald_comm_t *world, ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_audit_models_t models = run->config->audit.models;
    if (models == ALD_AUDIT_MODELS_NONE)
        return status;
    if (world->rank == 0 && run->config->audit.flip)
        status = check_rows(run);
    ALD_TRY(ald_comm_agree(world, status));
    if (models != ALD_AUDIT_MODELS_LENGTH)
        ALD_TRY(cross_fit(world, run));
    else if (world->rank == 0)
        status = labels_of_lengths(run);
    if (world->rank == 0 && status == ALD_STATUS_OK)
        status = judge(run);
    ALD_TRY(ald_comm_agree(world, status));
done:
    return status;
}

void ald_audit_labels_reset(ald_labels_t *labels)
{
    ald_free(labels->row);
    ald_free(labels->margin);
    ald_free(labels->flipped);
    *labels = (ald_labels_t){0};
}
