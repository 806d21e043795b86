/* The stage `generate`: responses to a file of prompts, as JSONL. Ids are kept beside the texts, so
 * that scoring sees exactly what was sampled. */
#include "ald/pipeline/stage_generate.h"

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/model/mapped.h"
#include "ald/par/comm.h"
#include "ald/par/fault.h"
#include "ald/plan/memory.h"
#include "ald/role/frozen.h"
#include "ald/role/generator.h"
#include "ald/teacher/teacher.h"
#include "ald/text/tokenizer.h"
#include "ald/train/finished.h"
#include "pipeline/claim_impl.h"
#include "pipeline/data_impl.h"
#include "pipeline/partial_impl.h"
#include "pipeline/positions_impl.h"
#include "pipeline/recipe_impl.h"
#include "pipeline/sampling_impl.h"
#include "pipeline/turns_impl.h"

/* One line: ids are kept beside the text, so that scoring sees exactly what was sampled. */
static ald_status_t write_response(const ald_dataset_t *data, const ald_pair_t *pair,
                                   int64_t sample, int64_t turn, const ald_response_t *response,
                                   ald_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    bool ended;
    ald_json_t *text;
    ALD_TRY(ald_sampled_text(data, response->ids, response->count, &ended, &text));
    ald_json_t *object = ald_json_new_object(), *logprobs = ald_json_new_array();
    for (int64_t i = 0; i < response->count; ++i)
        ald_json_push(logprobs, ald_json_new_number((double)response->logprobs[i]));
    ald_json_set(object, "id", ald_json_new_integer(pair->id));
    ald_json_set(object, "sample", ald_json_new_integer(sample));
    if (turn > 0)
        ald_json_set(object, "turn", ald_json_new_integer(turn + 1));
    ald_json_set(object, "prompt", ald_json_new_string(pair->prompt.text));
    ald_json_set(object, "response", text);
    ald_json_set(object, "prompt_ids", ald_json_of_ids(pair->prompt.ids, pair->prompt.count));
    ald_json_set(object, "response_ids", ald_json_of_ids(response->ids, response->count));
    ald_json_set(object, "logprobs", logprobs);
    ald_json_set(object, "finished", ald_json_new_bool(ended));
    ALD_TRY(ald_json_write_line(object, writer));
done:
    return status;
}

/* A response, and those of the turns that follow it. */
static ald_status_t write_sample(const ald_dataset_t *data, const ald_response_t *responses,
                                 const ald_turns_t *turns, int64_t i, int64_t samples,
                                 ald_writer_t *writer)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(write_response(data, &data->pairs.rows[i / samples], i % samples, 0, &responses[i],
                           writer));
    for (size_t t = 0; t < turns->turns.count; ++t) {
        const ald_turn_t *turn = &ALD_VEC_AT(&turns->turns, ald_turn_t, t);
        int64_t k = ald_turns_find(turns, t, i);
        if (k >= 0)
            ALD_TRY(write_response(data, &turn->pairs.rows[k], i % samples, (int64_t)t + 1,
                                   &turn->responses[k], writer));
    }
done:
    return status;
}

static ald_status_t write_responses(const char *path, const ald_dataset_t *data,
                                    const ald_response_t *responses, const ald_turns_t *turns,
                                    int64_t samples)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_writer_t *writer = NULL;
    char *folder = ald_path_folder(path);
    ALD_CHECK(folder != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_dir_make(folder));
    ALD_TRY(ald_writer_open(path, &writer));
    ALD_TRY(ald_fail_point("output_write"));
    for (int64_t i = 0; i < data->pairs.count * samples; ++i)
        ALD_TRY(write_sample(data, responses, turns, i, samples, writer));
    status = ald_writer_commit(writer);
    writer = NULL;
done:
    ald_writer_discard(writer);
    ald_free(folder);
    return status;
}

static void report(const ald_response_t *responses, int64_t count, double seconds, const char *path)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; ++i)
        tokens += responses[i].count;
    ald_log_info("generate: %lld responses, %lld tokens, %.0f tokens/s, written to %s",
                 (long long)count, (long long)tokens, (double)tokens / seconds, path);
}

/* What is sampled from: a model, or the teacher composed of two. */
typedef struct {
    const char *directory;
    ald_frozen_t model, contrast; /* contrast zeroed: the model alone */
    ald_teacher_t teacher;
} source_t;

/* Loads generate.model, or both models of the teacher. Collective. */
static ald_status_t source_load(const ald_config_t *config, const ald_comm_t *world, source_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_contrast_t contrast = config->teacher.contrast;
    const char *other = ald_contrast_directory(config, contrast);
    int64_t common;
    out->directory = config->generate.teacher ? config->teacher.dpo : config->generate.model;
    if (!config->generate.teacher)
        return ald_frozen_load(world, out->directory, "generate.model", &out->model);
    ALD_TRY(ald_teacher_init_sampled(config, &out->teacher));
    ALD_TRY(ald_frozen_load(world, out->directory, "teacher.dpo", &out->model));
    ALD_TRY(ald_frozen_load(world, other, ald_contrast_key(contrast), &out->contrast));
    ALD_TRY(ald_comm_agree(
        world, ald_frozen_compare(out->directory, &out->model, other, &out->contrast, &common)));
done:
    return status;
}

static void generate_memory(const ald_config_t *config, const ald_comm_t *world,
                            const source_t *source, const ald_dataset_t *data)
{
    const ald_frozen_t *const models[] = {&source->model, &source->contrast};
    const char *const keys[] = {config->generate.teacher ? "teacher.dpo" : "generate.model",
                                ald_contrast_key(config->teacher.contrast)};
    const int64_t prompt = ald_longest_prompt(data, data->pairs.count);
    const int64_t count =
        (data->pairs.count * config->generate.samples + world->size - 1) / world->size;
    ald_memory_plan_t plan;
    ald_memory_begin("generate", &plan);
    for (int k = 0; k < 2 && models[k]->mapped != NULL; ++k) {
        ald_memory_add_mapped(&plan, ald_mapped_file_bytes(models[k]->mapped), keys[k]);
        ald_memory_add(&plan,
                       (double)ald_generator_bytes(&models[k]->params.config, prompt,
                                                   config->sampling.max_new_tokens, count),
                       "keys and values, logits, %lld responses", (long long)count);
    }
    ald_memory_say(&plan);
}

/* What the stage makes, and where. */
typedef struct {
    source_t source;
    ald_dataset_t data;
    ald_partial_t partial;
    char *done, *progress; /* paths beside the output */
} generate_t;

/* Takes over what a run that was stopped has had, unless all is finished. Collective. */
static ald_status_t look_at_run(const ald_config_t *config, const ald_comm_t *world, generate_t *g,
                                bool *finished)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool teacher = config->generate.teacher;
    const ald_contrast_t contrast = config->teacher.contrast;
    const ald_named_t models[] = {
        {teacher ? "teacher.dpo" : "generate.model", g->source.directory},
        {ald_contrast_key(contrast), teacher ? ald_contrast_directory(config, contrast) : ""},
        {NULL, NULL}};
    ald_json_t *recipe = NULL;
    g->done = ald_path_beside(config->generate.output, ".done.json");
    g->progress = ald_path_beside(config->generate.output, ".progress");
    if (g->done == NULL || g->progress == NULL)
        status = ald_status_raise(ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(ald_comm_agree(world, status));
    const ald_made_t made = {"generate", config->generate.output, g->done};
    ALD_TRY(ald_recipe(world, config, teacher ? "generate-teacher" : "generate", models, &recipe));
    if (recipe != NULL) {
        ald_json_set(recipe, "data.train", ald_json_new_string(g->data.pairs.sha256));
        ald_json_set(recipe, "tokenizer",
                     ald_json_new_string(ald_tokenizer_sha256(g->data.tokenizer)));
    }
    ALD_TRY(ald_partial_begin(world, config, &made, g->progress, recipe, &g->partial, finished));
done:
    return status;
}

/* Loads the models and the data. Collective. */
static ald_status_t load(const ald_config_t *config, const ald_comm_t *world, generate_t *g)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(source_load(config, world, &g->source));
    ALD_TRY(ald_data_open(world, config, g->source.directory,
                          g->source.model.params.config.vocab_size, config->data.train,
                          "data.train", ALD_PAIRS_PROMPT, &g->data));
    const char *const models[] = {
        g->source.directory,
        config->generate.teacher ? ald_contrast_directory(config, config->teacher.contrast) : ""};
    ald_positions_warn(
        models, 2, ald_longest_row(&g->data, g->data.pairs.count, config->sampling.max_new_tokens));
done:
    return status;
}

/* Samples all responses and writes them. Collective. */
static ald_status_t sample(const ald_config_t *config, const ald_comm_t *world, generate_t *g)
{
    ald_status_t status = ALD_STATUS_OK;
    const double begun = ald_time();
    const int64_t rows = g->data.pairs.count, samples = config->generate.samples;
    ald_generator_t generator;
    ald_response_t *responses = NULL;
    ald_turns_t turns = {0};
    ald_generator_init(config, &g->source.model.model, &g->data, &generator);
    generator.name = g->source.directory;
    if (config->generate.teacher)
        ald_generator_compose(&g->source.contrast.model, &g->source.teacher, &generator);
    generate_memory(config, world, &g->source, &g->data);
    ALD_TRY(ald_sample_all(&generator, &g->data, rows, samples, 0, &g->partial,
                           ald_turns_any(&g->data), &responses));
    ALD_TRY(ald_turns_sample(config, &generator, &g->data, responses, rows, samples, &g->partial,
                             &turns));
    if (world->rank == 0) {
        status = write_responses(config->generate.output, &g->data, responses, &turns, samples);
        report(responses, rows * samples, ald_time() - begun, config->generate.output);
    }
    ALD_TRY(ald_comm_agree(world, status));
    ALD_TRY(ald_partial_end(&g->partial));
done:
    ald_turns_reset(&turns);
    ald_free(responses);
    return status;
}

ald_status_t ald_stage_generate(const ald_config_t *config, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    generate_t g = {0};
    bool finished = false;
    const bool teacher = config->generate.teacher;
    const ald_contrast_t contrast = config->teacher.contrast;
    const ald_named_t inputs[] = {
        {"data.train", config->data.train},
        {teacher ? "teacher.dpo" : "generate.model",
         teacher ? config->teacher.dpo : config->generate.model},
        {ald_contrast_key(contrast), teacher ? ald_contrast_directory(config, contrast) : ""},
        {NULL, NULL}};
    ALD_TRY(ald_claim(world, "generate", (ald_named_t){"generate.output", config->generate.output},
                      true, inputs));
    ALD_TRY(load(config, world, &g));
    ALD_TRY(look_at_run(config, world, &g, &finished));
    if (!finished)
        ALD_TRY(sample(config, world, &g));
done:
    ald_partial_reset(&g.partial, status);
    ald_free(g.done);
    ald_free(g.progress);
    ald_dataset_reset(&g.data);
    ald_frozen_reset(&g.source.model);
    ald_frozen_reset(&g.source.contrast);
    return status;
}
