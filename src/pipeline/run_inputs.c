/* What each stage is made from: one table of keys, since a record that left an input out would
 * break the chain without a word. */
#include "pipeline/run_inputs_impl.h"

#include <stddef.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/lineage/run.h"
#include "ald/teacher/teacher.h"

static void add(ald_run_inputs_t *to, const char *role, const char *kind, const char *path)
{
    if (path[0] != '\0' && to->count < ALD_RUN_INPUTS)
        to->list[to->count++] = (ald_run_input_t){role, kind, path};
}

static void add_teacher(ald_run_inputs_t *to, const ald_config_t *config)
{
    const ald_contrast_t contrast = config->teacher.contrast;
    add(to, "teacher.dpo", "model", config->teacher.dpo);
    add(to, ald_contrast_key(contrast), "model", ald_contrast_directory(config, contrast));
}

static void add_scored(ald_run_inputs_t *to, const ald_config_t *config)
{
    add_teacher(to, config);
    if (config->shards.with_reference && config->teacher.contrast != ALD_CONTRAST_REFERENCE)
        add(to, "teacher.reference", "model", config->teacher.reference);
    add(to, "data.train", "file", config->data.train);
}

static void add_sources(ald_run_inputs_t *to, const ald_config_t *config)
{
    const ald_sources_t *sources = &config->shards.sources;
    for (int64_t i = 0; i < sources->count; ++i)
        add(to, "shards.sources", "shards", sources->directory[i]);
}

static void of_sft(const ald_config_t *config, ald_run_inputs_t *to)
{
    add(to, "sft.model", "model", config->sft.model);
    add(to, "data.train", "file", config->data.train);
}

static void of_dpo(const ald_config_t *config, ald_run_inputs_t *to)
{
    add(to, "dpo.policy", "model", config->dpo.policy);
    add(to, "dpo.reference", "model", config->dpo.reference);
    add(to, "data.train", "file", config->data.train);
}

static void of_distill(const ald_config_t *config, ald_run_inputs_t *to)
{
    add(to, "distill.policy", "model", config->distill.policy);
    if (config->distill.mode != ALD_MODE_OFF_POLICY)
        add_scored(to, config);
    else if (config->shards.sources.count == 0)
        add(to, "shards.directory", "shards", config->shards.directory);
    add_sources(to, config);
}

static void of_generate(const ald_config_t *config, ald_run_inputs_t *to)
{
    if (config->generate.teacher)
        add_teacher(to, config);
    else
        add(to, "generate.model", "model", config->generate.model);
    add(to, "data.train", "file", config->data.train);
}

static void of_eval(const ald_config_t *config, ald_run_inputs_t *to)
{
    if (config->eval.teacher)
        add_teacher(to, config);
    else
        add(to, "eval.model", "model", config->eval.model);
    add(to, "eval.dpo", "model", config->eval.dpo);
    add(to, "eval.contrast", "model", config->eval.contrast);
    add(to, "eval.reference", "model", config->eval.reference);
    add(to, "data.eval", "file", config->data.eval);
    add(to, "eval.patterns", "file", config->eval.patterns);
}

/* The tokenizer that an audit reads, as data/audit.h has it: of the model that is trained next. */
static void add_tokenizer(ald_run_inputs_t *to, const ald_config_t *config)
{
    const bool sft = config->sft.model[0] != '\0';
    const char *model = sft ? config->sft.model : config->dpo.policy;
    if (model[0] == '\0' || !ald_path_is_directory(model))
        return;
    to->tokenizer = ald_path_join(model, "tokenizer.json");
    if (to->tokenizer != NULL && ald_path_exists(to->tokenizer))
        add(to, sft ? "sft.model" : "dpo.policy", "file", to->tokenizer);
}

static void of_audit(const ald_config_t *config, ald_run_inputs_t *to)
{
    add(to, "data.train", "file", config->data.train);
    add(to, "data.eval", "file", config->data.eval);
    add(to, "audit.refusals", "file", config->audit.refusals);
    add(to, "audit.terms", "file", config->audit.terms);
    if (config->audit.models == ALD_AUDIT_MODELS_GIVEN) {
        add(to, "audit.policy", "model", config->audit.policy);
        add(to, "audit.reference", "model", config->audit.reference);
    } else if (config->audit.models == ALD_AUDIT_MODELS_CROSSFIT) {
        add(to, "dpo.policy", "model", config->dpo.policy);
        add(to, "dpo.reference", "model", config->dpo.reference);
    }
    add_tokenizer(to, config);
}

static void of_score(const ald_config_t *config, ald_run_inputs_t *to)
{
    add_scored(to, config);
}

static const struct {
    const char *stage;
    void (*list)(const ald_config_t *config, ald_run_inputs_t *to);
} stages[] = {{"sft", of_sft},         {"dpo", of_dpo},     {"reverse", of_dpo},
              {"distill", of_distill}, {"score", of_score}, {"generate", of_generate},
              {"eval", of_eval},       {"audit", of_audit}};

void ald_run_inputs(const ald_config_t *config, const char *stage, ald_run_inputs_t *out)
{
    *out = (ald_run_inputs_t){.count = 0};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; ++i)
        if (strcmp(stages[i].stage, stage) == 0)
            stages[i].list(config, out);
}

void ald_run_inputs_reset(ald_run_inputs_t *inputs)
{
    ald_free(inputs->tokenizer);
    *inputs = (ald_run_inputs_t){.count = 0};
}
