/* Frequencies of the rotary embedding from rope_scaling and rope_parameters, as transformers
 * reads them. Each type is a row of a table; a key that is not known is an error. Layers with a
 * window may turn otherwise than the rest. */
#include "ald/model/rotation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/model/model_config.h"
#include "model/config_keys_impl.h"

void ald_rotation_init(double theta, int64_t head_dim, ald_rotation_t *out)
{
    *out = (ald_rotation_t){.type = "default", .theta = theta, .factor = 1};
    for (int64_t i = 0; i < head_dim / 2; ++i)
        out->frequency[i] = pow(theta, -2.0 * (double)i / (double)head_dim);
}

/* Positions divided by `factor` (Chen et al. 2023). */
static ald_status_t scale_linear(const ald_keys_t *rope, const ald_keys_t *file,
                                 const ald_model_config_t *config, ald_rotation_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    double factor;
    (void)file;
    ALD_TRY(ald_keys_positive(rope, "factor", 0, &factor));
    for (int64_t i = 0; i < config->head_dim / 2; ++i)
        out->frequency[i] /= factor;
done:
    return status;
}

/* Up to max_position_embeddings the rotation is the plain one. Beyond, it depends on the length of
 * the whole sequence, so keys in a cache, or a prompt that two responses share, would need several:
 * the limit refuses such sequences. */
static ald_status_t scale_dynamic(const ald_keys_t *rope, const ald_keys_t *file,
                                  const ald_model_config_t *config, ald_rotation_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    double factor;
    (void)file;
    ALD_TRY(ald_keys_positive(rope, "factor", 0, &factor));
    out->limit = config->max_position;
done:
    return status;
}

/* Llama 3.1: slow frequencies are divided by `factor`, fast ones kept, those between interpolated.
 */
static ald_status_t scale_llama3(const ald_keys_t *rope, const ald_keys_t *file,
                                 const ald_model_config_t *config, ald_rotation_t *out)
{
    static const char key[] = "original_max_position_embeddings";
    ald_status_t status = ALD_STATUS_OK;
    double factor, low, high;
    int64_t context;
    ALD_TRY(ald_keys_positive(rope, "factor", 0, &factor));
    ALD_TRY(ald_keys_positive(rope, "low_freq_factor", 0, &low));
    ALD_TRY(ald_keys_positive(rope, "high_freq_factor", 0, &high));
    if (high <= low)
        ALD_WRONG(rope, "high_freq_factor", "a number above low_freq_factor");
    bool above = ald_keys_silent(rope, key) && !ald_keys_silent(file, key);
    ALD_TRY(ald_keys_size(above ? file : rope, key, 0, &context));
    for (int64_t i = 0; i < config->head_dim / 2; ++i) {
        double waves = (double)context * out->frequency[i] / (2 * M_PI); /* in that context */
        double keep = (waves - low) / (high - low);
        keep = keep < 0 ? 0 : keep > 1 ? 1 : keep;
        out->frequency[i] *= keep + (1 - keep) / factor;
    }
done:
    return status;
}

/* YaRN's factor of cosine and sine (Peng et al. 2023, eq. 22, as a factor of q and k each). */
static double yarn_scale(double factor, double weight)
{
    return factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1;
}

static ald_status_t yarn_factor(const ald_keys_t *rope, double factor, double *out)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char *const keys[] = {"mscale", "mscale_all_dim"};
    double scale[2] = {0, 0}, one = yarn_scale(factor, 1);
    for (int k = 0; k < 2; ++k) /* 0 counts as a missing key */
        if (!ald_keys_silent(rope, keys[k]) &&
            ald_json_number(ald_json_get(rope->json, keys[k]), NAN) != 0)
            ALD_TRY(ald_keys_positive(rope, keys[k], 0, &scale[k]));
    if (scale[0] > 0 && scale[1] > 0)
        one = yarn_scale(factor, scale[0]) / yarn_scale(factor, scale[1]);
    ALD_TRY(ald_keys_positive(rope, "attention_factor", one, out));
done:
    return status;
}

/* The index of the pair, as a real number, that turns `turns` times within a context. */
static double yarn_pair(double turns, int64_t context, const ald_rotation_t *rotation, int64_t D)
{
    return (double)D * log((double)context / (turns * 2 * M_PI)) / (2 * log(rotation->theta));
}

/* YaRN: pairs that turn often within the original context are kept, slow ones are divided by
 * `factor`, those between are interpolated. `factor` is taken as the file has it, even where
 * max_position_embeddings is another multiple of the original context. */
static ald_status_t scale_yarn(const ald_keys_t *rope, const ald_keys_t *file,
                               const ald_model_config_t *config, ald_rotation_t *out)
{
    static const char key[] = "original_max_position_embeddings";
    ald_status_t status = ALD_STATUS_OK;
    const int64_t D = config->head_dim;
    double factor, fast, slow;
    int64_t context;
    bool truncate;
    ALD_TRY(ald_keys_positive(rope, "factor", 0, &factor));
    ALD_TRY(yarn_factor(rope, factor, &out->factor));
    ALD_TRY(ald_keys_positive(rope, "beta_fast", 32, &fast));
    ALD_TRY(ald_keys_positive(rope, "beta_slow", 1, &slow));
    ALD_TRY(ald_keys_bool(rope, "truncate", true, &truncate));
    ALD_TRY(ald_keys_size(file, key, config->max_position, &context));
    ALD_TRY(ald_keys_size(rope, key, context, &context));
    if (out->theta <= 1)
        ALD_WRONG(ald_keys_silent(rope, "rope_theta") ? file : rope, "rope_theta",
                  "a number above 1 (for \"yarn\")");
    double low = yarn_pair(fast, context, out, D), high = yarn_pair(slow, context, out, D);
    low = fmax(truncate ? floor(low) : low, 0);
    high = fmin(truncate ? ceil(high) : high, (double)(D - 1));
    high += high == low ? 0.001 : 0;
    for (int64_t i = 0; i < D / 2; ++i) {
        double slowed = fmin(fmax(((double)i - low) / (high - low), 0), 1);
        out->frequency[i] *= 1 - slowed + slowed / factor;
    }
done:
    return status;
}

static ald_status_t scale_nothing(const ald_keys_t *rope, const ald_keys_t *file,
                                  const ald_model_config_t *config, ald_rotation_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    (void)file, (void)config, (void)out;
    if (!ald_keys_silent(rope, "factor") && ald_keys_silent(rope, "rope_type") &&
        ald_keys_silent(rope, "type"))
        ALD_WRONG(rope, "rope_type", "the type that the factor belongs to");
done:
    return status;
}

typedef ald_status_t (*scale_fn)(const ald_keys_t *rope, const ald_keys_t *file,
                                 const ald_model_config_t *config, ald_rotation_t *out);

static const struct {
    const char *name;
    scale_fn scale; /* turns a plain rotation into one of the type */
} types[] = {{"default", scale_nothing},
             {"linear", scale_linear},
             {"dynamic", scale_dynamic},
             {"llama3", scale_llama3},
             {"yarn", scale_yarn}};

/* Refuses keys that no type knows, as they might change the rotation. */
static ald_status_t check_keys(const ald_keys_t *rope)
{
    static const char *const known[] = {"type",
                                        "rope_type",
                                        "rope_theta",
                                        "factor",
                                        "truncate",
                                        "beta_fast",
                                        "beta_slow",
                                        "low_freq_factor",
                                        "high_freq_factor",
                                        "mscale",
                                        "mscale_all_dim",
                                        "finetuned",
                                        "attention_factor",
                                        "partial_rotary_factor",
                                        "original_max_position_embeddings"};
    ald_status_t status = ALD_STATUS_OK;
    const char *key;
    const ald_json_t *value;
    void *iterator = NULL;
    double share;
    while (ald_json_next(rope->json, &iterator, &key, &value)) {
        bool found = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; ++i)
            found = found || strcmp(key, known[i]) == 0;
        ALD_CHECK(found, ALD_STATUS_INPUT, "%s: %s: this key is not supported", rope->name, key);
    }
    ALD_TRY(ald_keys_positive(rope, "partial_rotary_factor", 1, &share));
    if (share != 1)
        ALD_WRONG(rope, "partial_rotary_factor", "1");
done:
    return status;
}

/* Reads rope_type, which older files call type: an index into `types`. */
static ald_status_t get_type(const ald_keys_t *rope, size_t *out)
{
    static const char *const keys[] = {"rope_type", "type"};
    static const char expected[] = "one of \"default\", \"linear\", \"dynamic\", \"llama3\", "
                                   "\"yarn\"";
    const size_t count = sizeof types / sizeof *types;
    ald_status_t status = ALD_STATUS_OK;
    size_t found[2] = {0, 0};
    for (int k = 0; k < 2; ++k) {
        if (ald_keys_silent(rope, keys[k]))
            continue;
        const char *name = ald_json_text(ald_json_get(rope->json, keys[k]), NULL);
        while (name != NULL && found[k] < count && strcmp(name, types[found[k]].name) != 0)
            ++found[k];
        if (name == NULL || found[k] == count)
            ALD_WRONG(rope, keys[k], expected);
    }
    bool older = ald_keys_silent(rope, "rope_type");
    if (!older && !ald_keys_silent(rope, "type") && found[0] != found[1])
        ALD_WRONG(rope, "type", "the same as rope_type");
    *out = found[older];
done:
    return status;
}

/* Reads one object of parameters, whose rope_theta goes before that of the file. */
static ald_status_t parse_one(const ald_keys_t *rope, const ald_keys_t *file, double theta,
                              const ald_model_config_t *config, ald_rotation_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t type = 0;
    ALD_CHECK(ald_json_is_object(rope->json), ALD_STATUS_INPUT, "%s: expected an object, found %s",
              rope->name, ald_json_type_name(rope->json));
    ALD_TRY(get_type(rope, &type));
    ALD_TRY(check_keys(rope));
    ALD_TRY(ald_keys_positive(rope, "rope_theta", theta, &theta));
    ald_rotation_init(theta, config->head_dim, out);
    snprintf(out->type, sizeof out->type, "%s", types[type].name);
    ALD_TRY(types[type].scale(rope, file, config, out));
done:
    return status;
}

static bool is_same(const ald_rotation_t *a, const ald_rotation_t *b)
{
    return a->factor == b->factor && a->limit == b->limit &&
           memcmp(a->frequency, b->frequency, sizeof a->frequency) == 0;
}

/* The rotations of layers without a window and with one, and what they are read by: for the two,
 * the rope_theta of objects that have none. */
typedef struct {
    ald_rotation_t of[2];
    double theta[2];
    ald_window_turn_t turn;
} rotations_t;

/* Reads parameters that are given by kind of layer. A kind that is missing turns as the other one,
 * or by the plain rotation. */
static ald_status_t parse_by_layer(const ald_keys_t *rope, const ald_keys_t *file,
                                   const ald_model_config_t *config, rotations_t *r)
{
    static const char *const kinds[] = {"full_attention", "sliding_attention"};
    ald_status_t status = ALD_STATUS_OK;
    const char *key;
    const ald_json_t *value;
    void *iterator = NULL;
    bool found[2] = {false, false};
    while (ald_json_next(rope->json, &iterator, &key, &value)) {
        char name[640];
        const int kind = strcmp(key, kinds[1]) == 0;
        ALD_CHECK(strcmp(key, kinds[kind]) == 0, ALD_STATUS_INPUT,
                  "%s: %s: expected \"full_attention\" and \"sliding_attention\" alone", rope->name,
                  key);
        snprintf(name, sizeof name, "%s: %s", rope->name, key);
        ALD_TRY(parse_one(&(ald_keys_t){value, name}, file, r->theta[kind], config, &r->of[kind]));
        found[kind] = true;
    }
    for (int kind = 0; kind < 2; ++kind)
        if (!found[kind] && r->turn == ALD_WINDOWS_ALIKE)
            r->of[kind] = r->of[!kind];
        else if (!found[kind])
            ald_rotation_init(r->turn == ALD_WINDOWS_PLAIN ? r->of[!kind].theta : r->theta[kind],
                              config->head_dim, &r->of[kind]);
    ALD_CHECK(r->turn != ALD_WINDOWS_ALIKE || is_same(&r->of[0], &r->of[1]), ALD_STATUS_INPUT,
              "%s: full_attention and sliding_attention differ; expected one rotation for all "
              "layers",
              rope->name);
done:
    return status;
}

/* Reads one of the two keys; where it is missing, the rotations are the plain ones. */
static ald_status_t parse_key(const ald_keys_t *file, const char *key,
                              const ald_model_config_t *config, rotations_t *r)
{
    ald_status_t status = ALD_STATUS_OK;
    char name[512];
    snprintf(name, sizeof name, "%s: %s", file->name, key);
    const ald_keys_t rope = {ald_json_get(file->json, key), name};
    ald_rotation_init(r->theta[0], config->head_dim, &r->of[0]);
    ald_rotation_init(r->theta[1], config->head_dim, &r->of[1]);
    if (ald_keys_silent(file, key))
        goto done;
    if (ald_json_get(rope.json, "full_attention") != NULL ||
        ald_json_get(rope.json, "sliding_attention") != NULL) {
        ALD_TRY(parse_by_layer(&rope, file, config, r));
        goto done;
    }
    if (r->turn == ALD_WINDOWS_LOCAL && strcmp(key, "rope_parameters") == 0)
        ALD_WRONG(file, key, "an object with \"full_attention\" and \"sliding_attention\"");
    ALD_TRY(parse_one(&rope, file, r->theta[0], config, &r->of[0]));
    if (r->turn == ALD_WINDOWS_ALIKE)
        r->of[1] = r->of[0];
    else if (r->turn == ALD_WINDOWS_PLAIN)
        ald_rotation_init(r->of[0].theta, config->head_dim, &r->of[1]);
done:
    return status;
}

ald_status_t ald_rotation_parse(const ald_keys_t *file, ald_window_turn_t turn, double theta,
                                ald_model_config_t *config)
{
    static const char scaling[] = "rope_scaling", parameters[] = "rope_parameters";
    ald_status_t status = ALD_STATUS_OK;
    rotations_t older, newer;
    double share, local;
    ALD_TRY(ald_keys_positive(file, "rope_theta", theta, &theta));
    local = theta;
    if (turn == ALD_WINDOWS_LOCAL)
        ALD_TRY(ald_keys_positive(file, "rope_local_base_freq", 10000, &local));
    ALD_TRY(ald_keys_positive(file, "partial_rotary_factor", 1, &share));
    if (share != 1)
        ALD_WRONG(file, "partial_rotary_factor", "1");
    older = newer = (rotations_t){.theta = {theta, local}, .turn = turn};
    ALD_TRY(parse_key(file, scaling, config, &older));
    ALD_TRY(parse_key(file, parameters, config, &newer));
    ALD_CHECK(ald_keys_silent(file, scaling) || ald_keys_silent(file, parameters) ||
                  (is_same(&older.of[0], &newer.of[0]) && is_same(&older.of[1], &newer.of[1])),
              ALD_STATUS_INPUT,
              "%s: rope_scaling and rope_parameters differ; expected one rotation", file->name);
    if (ald_keys_silent(file, scaling))
        older = newer;
    config->rotation = older.of[0];
    config->window_rotation = older.of[1];
    config->two_rotations = !is_same(&older.of[0], &older.of[1]);
done:
    return status;
}
