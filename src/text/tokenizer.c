/* A tokenizer: opens its files, and runs text through added tokens, normalizer, pre-tokenizer and
 * BPE, or back. It is immutable after opening, so all threads share one. */
#include "ald/text/tokenizer.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/added_impl.h"
#include "text/bpe_impl.h"
#include "text/decoder_impl.h"
#include "text/normalizer_impl.h"
#include "text/pretokenizer_impl.h"
#include "text/unicode_impl.h"

enum { FRONT_MOST = 8 };

struct ald_tokenizer {
    ald_arena_t arena; /* holds what is loaded, but for normalizer, pretokenizer and decoder */
    ald_normalizer_t normalizer;
    ald_pretokenizer_t pretokenizer;
    ald_bpe_t bpe;
    ald_added_list_t added;
    const ald_added_t **added_by_id; /* [size] */
    int64_t size;
    int32_t eos;
    int32_t front[FRONT_MOST]; /* ids that the post-processor puts before a text */
    size_t front_count;
    bool decided; /* tokenizer_config.json goes before special_tokens_map.json */
    const char *directory, *bos_text, *eos_text, *chat_template;
    ald_decoder_t decoder;
    char sha256[ALD_SHA256_HEX];
};

/* Reads the ids that a template of the post-processor puts before a single text. */
static ald_status_t load_front(ald_tokenizer_t *tokenizer, const ald_json_t *json)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *single = ald_json_get(json, "single"),
                     *tokens = ald_json_get(json, "special_tokens");
    ald_vec_t ids;
    ald_vec_init(&ids, sizeof(int32_t));
    for (size_t i = 0; i < ald_json_count(single); ++i) {
        const ald_json_t *item = ald_json_get(ald_json_at(single, i), "SpecialToken");
        const char *name = ald_json_text(ald_json_get(item, "id"), NULL);
        if (name == NULL) /* the text itself */
            break;
        const ald_json_t *list = ald_json_get(ald_json_get(tokens, name), "ids");
        for (size_t k = 0; k < ald_json_count(list); ++k) {
            const int64_t id = ald_json_integer(ald_json_at(list, k), -1);
            const int32_t narrow = (int32_t)id;
            ALD_CHECK(id >= 0 && id < tokenizer->size, ALD_STATUS_INPUT,
                      "post_processor: the ids of \"%s\": expected ids of the vocabulary", name);
            ALD_TRY(ald_vec_push(&ids, &narrow));
        }
    }
    ALD_TRY(ald_vec_append(&ids, tokenizer->front, tokenizer->front_count));
    ALD_CHECK(ids.count <= FRONT_MOST, ALD_STATUS_INPUT,
              "post_processor: %zu tokens before a text; expected %d at most", ids.count,
              FRONT_MOST);
    tokenizer->front_count = ids.count;
    if (ids.count > 0)
        memcpy(tokenizer->front, ids.data, ids.count * sizeof tokenizer->front[0]);
done:
    ald_vec_reset(&ids);
    return status;
}

/* Loads the post-processor, which only puts special tokens around the text; encode never does.
 * Truncation and padding aren't looked at: transformers replaces both at every call, and nothing
 * here asks for either. */
static ald_status_t load_post_processor(ald_tokenizer_t *tokenizer, const ald_json_t *json,
                                        int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *type = NULL;
    const ald_json_t *list = ald_json_get(json, "processors");
    if (ald_json_is_null(json))
        return status;
    ALD_TRY(ald_component_type(json, "post_processor", &type));
    if (strcmp(type, "Sequence") == 0 && depth < 4) {
        for (size_t i = 0; i < ald_json_count(list); ++i)
            ALD_TRY(load_post_processor(tokenizer, ald_json_at(list, i), depth + 1));
    } else if (strcmp(type, "TemplateProcessing") == 0) {
        return load_front(tokenizer, json);
    } else if (strcmp(type, "ByteLevel") != 0) {
        return ald_component_unsupported("post_processor", type,
                                         "ByteLevel, TemplateProcessing or Sequence");
    }
done:
    return status;
}

/* Indexes the added tokens by id, and checks that they agree with the vocabulary. */
static ald_status_t index_added(ald_tokenizer_t *tokenizer)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_added_list_t *list = &tokenizer->added;
    tokenizer->size = tokenizer->bpe.size;
    for (size_t i = 0; i < list->count; ++i)
        if (list->tokens[i].id >= tokenizer->size)
            tokenizer->size = list->tokens[i].id + 1;
    tokenizer->added_by_id =
        ald_arena_calloc(&tokenizer->arena, (size_t)tokenizer->size, sizeof(ald_added_t *));
    ALD_CHECK_MEMORY(tokenizer->added_by_id, (size_t)tokenizer->size * sizeof(ald_added_t *));
    for (size_t i = 0; i < list->count; ++i) {
        const ald_added_t *token = &list->tokens[i];
        int32_t known = ald_bpe_find(&tokenizer->bpe, token->content, token->content_length);
        ALD_CHECK(known < 0 || known == token->id, ALD_STATUS_INPUT,
                  "added_tokens: \"%s\" has id %d, but %d in model.vocab", token->content,
                  token->id, known);
        ALD_CHECK(known >= 0 || token->id >= tokenizer->bpe.size ||
                      tokenizer->bpe.by_id[token->id].text == NULL,
                  ALD_STATUS_INPUT,
                  "added_tokens: \"%s\" has id %d, which is \"%s\" in model.vocab", token->content,
                  token->id, tokenizer->bpe.by_id[token->id].text);
        tokenizer->added_by_id[token->id] = token;
    }
done:
    return status;
}

static ald_status_t load_components(ald_tokenizer_t *tokenizer, const ald_json_t *json)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(ald_json_is_object(json), ALD_STATUS_INPUT, "expected an object, found %s",
              ald_json_type_name(json));
    ALD_TRY(ald_component_check(json, "",
                                "version truncation padding added_tokens normalizer pre_tokenizer "
                                "post_processor decoder model"));
    ALD_TRY(ald_normalizer_load(ald_json_get(json, "normalizer"), &tokenizer->normalizer));
    ALD_TRY(ald_pretokenizer_load(ald_json_get(json, "pre_tokenizer"), &tokenizer->pretokenizer));
    ALD_TRY(ald_decoder_load(ald_json_get(json, "decoder"), &tokenizer->decoder));
    ALD_TRY(ald_bpe_load(ald_json_get(json, "model"), &tokenizer->arena, &tokenizer->bpe));
    ALD_TRY(ald_added_load(ald_json_get(json, "added_tokens"), &tokenizer->normalizer,
                           &tokenizer->arena, &tokenizer->added));
    ALD_TRY(index_added(tokenizer));
    ALD_TRY(load_post_processor(tokenizer, ald_json_get(json, "post_processor"), 0));
done:
    return status;
}

static ald_status_t load_file(ald_tokenizer_t *tokenizer, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    ald_json_t *json = NULL;
    ald_sha256_t sha;
    ALD_TRY(ald_file_read(path, &text, &size));
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, text, size);
    ald_sha256_final(&sha, tokenizer->sha256);
    ALD_TRY(ald_json_parse(text, size, path, &json));
    status = load_components(tokenizer, json);
    if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "%s", path);
done:
    ald_json_free(json);
    ald_free(text);
    return status;
}

/* A special token in these files is text, or an object with "content". */
static ald_status_t load_special(ald_tokenizer_t *tokenizer, const ald_json_t *config,
                                 const char *key, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const ald_json_t *token = ald_json_get(config, key);
    if (ald_json_is_object(token))
        token = ald_json_get(token, "content");
    if (ald_json_is_null(token))
        return status;
    const char *text = ald_json_text(token, &length);
    ALD_CHECK(text != NULL, ALD_STATUS_INPUT, "%s: expected a string, found %s", key,
              ald_json_type_name(token));
    *out = ald_arena_strdup(&tokenizer->arena, text, length);
    ALD_CHECK_MEMORY(*out, length);
done:
    return status;
}

static ald_status_t load_specials(ald_tokenizer_t *tokenizer, const ald_json_t *config)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(load_special(tokenizer, config, "bos_token", &tokenizer->bos_text));
    ALD_TRY(load_special(tokenizer, config, "eos_token", &tokenizer->eos_text));
    if (tokenizer->eos_text[0] == '\0')
        return status;
    tokenizer->eos = ald_tokenizer_find(tokenizer, tokenizer->eos_text);
    ALD_CHECK(tokenizer->eos >= 0, ALD_STATUS_INPUT, "eos_token \"%s\" is not in the vocabulary",
              tokenizer->eos_text);
done:
    return status;
}

/* Loads the template, which is text, or a list of named ones of which "default" is taken. Without
 * one of that name it is empty, which is no template that is known. */
static ald_status_t load_template(ald_tokenizer_t *tokenizer, const ald_json_t *json)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length = 0;
    const ald_json_t *chosen = ald_json_is_object(json) ? ald_json_get(json, "default") : json;
    for (size_t i = 0; i < ald_json_count(json) && ald_json_is_array(json); ++i) {
        const ald_json_t *item = ald_json_at(json, i);
        const char *name = ald_json_text(ald_json_get(item, "name"), NULL);
        if (name != NULL && strcmp(name, "default") == 0)
            chosen = ald_json_get(item, "template");
    }
    if (ald_json_is_null(json))
        return status;
    const char *text = ald_json_text(chosen, &length);
    if (text == NULL) {
        ALD_CHECK(
            ald_json_is_array(json) || ald_json_is_object(json), ALD_STATUS_INPUT,
            "chat_template: expected a string or a list of {\"name\", \"template\"}, found %s",
            ald_json_type_name(json));
        text = "";
    }
    tokenizer->chat_template = ald_arena_strdup(&tokenizer->arena, text, length);
    ALD_CHECK_MEMORY(tokenizer->chat_template, length);
done:
    return status;
}

static ald_status_t load_config(ald_tokenizer_t *tokenizer, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    if (!ald_path_exists(path))
        return status;
    ALD_TRY(ald_json_read(path, &json));
    tokenizer->decided = ald_json_get(json, "added_tokens_decoder") != NULL;
    if (!ald_json_bool(ald_json_get(json, "add_bos_token"), true))
        tokenizer->front_count = 0;
    status = load_specials(tokenizer, json);
    if (status == ALD_STATUS_OK)
        status = load_template(tokenizer, ald_json_get(json, "chat_template"));
    if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "%s", path);
done:
    ald_json_free(json);
    return status;
}

/* Loads special tokens from special_tokens_map.json. Like in transformers they go before those of
 * tokenizer_config.json, unless that has the newer list of added tokens. */
static ald_status_t load_map(ald_tokenizer_t *tokenizer, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    if (!ald_path_exists(path) || (tokenizer->decided && tokenizer->eos >= 0))
        return status;
    ALD_TRY(ald_json_read(path, &json));
    status = load_specials(tokenizer, json);
    if (status != ALD_STATUS_OK)
        status = ald_status_prefix(status, "%s", path);
done:
    ald_json_free(json);
    return status;
}

/* Finds the token of an id; false when there is none, or when it is left out. */
static bool token_of(const ald_tokenizer_t *tokenizer, int32_t id, bool skip_special,
                     const char **text, size_t *length, bool *added)
{
    if (id < 0 || id >= tokenizer->size)
        return false;
    const ald_added_t *found = tokenizer->added_by_id[id];
    *added = found != NULL;
    if (found != NULL) {
        *text = found->pattern; /* normalised if it is looked for in normalised text: so Hugging
                                   Face's tokenizers write it */
        *length = found->length;
        return !(found->special && skip_special);
    }
    if (id >= tokenizer->bpe.size || tokenizer->bpe.by_id[id].text == NULL)
        return false;
    *text = tokenizer->bpe.by_id[id].text;
    *length = tokenizer->bpe.by_id[id].length;
    return true;
}

/* Takes the first end token of a generation_config.json or config.json, which have ids, where no
 * other file names one. */
static ald_status_t load_end(ald_tokenizer_t *tokenizer, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    const char *text = NULL;
    size_t length = 0;
    bool added = false;
    if (tokenizer->eos >= 0 || !ald_path_exists(path))
        return status;
    ALD_TRY(ald_json_read(path, &json));
    const ald_json_t *value = ald_json_get(json, "eos_token_id");
    const int64_t id =
        ald_json_integer(ald_json_is_array(value) ? ald_json_at(value, 0) : value, -1);
    if (id < 0 || id >= tokenizer->size ||
        !token_of(tokenizer, (int32_t)id, false, &text, &length, &added))
        goto done;
    tokenizer->eos = (int32_t)id;
    tokenizer->eos_text = ald_arena_strdup(&tokenizer->arena, text, length);
    ALD_CHECK_MEMORY(tokenizer->eos_text, length);
done:
    ald_json_free(json);
    return status;
}

/* Loads the template from a file of its own, which goes before tokenizer_config.json as in
 * transformers. */
static ald_status_t load_template_file(ald_tokenizer_t *tokenizer, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    size_t size = 0;
    if (!ald_path_exists(path))
        return status;
    ALD_TRY(ald_file_read(path, &text, &size));
    tokenizer->chat_template = ald_arena_strdup(&tokenizer->arena, text, size);
    ALD_CHECK_MEMORY(tokenizer->chat_template, size);
done:
    ald_free(text);
    return status;
}

ald_status_t ald_tokenizer_open(const char *directory, ald_tokenizer_t **out)
{
    static ald_status_t (*const loaders[])(ald_tokenizer_t *, const char *) = {
        load_file, load_config, load_map, load_end, load_end, load_template_file};
    static const char *const names[] = {
        "tokenizer.json",         "tokenizer_config.json", "special_tokens_map.json",
        "generation_config.json", "config.json",           "chat_template.jinja"};
    ald_status_t status = ALD_STATUS_OK;
    char *path = NULL;
    ald_tokenizer_t *tokenizer = ald_calloc(1, sizeof *tokenizer);
    *out = NULL;
    ALD_CHECK_MEMORY(tokenizer, sizeof *tokenizer);
    tokenizer->eos = -1;
    tokenizer->directory = ald_arena_strdup(&tokenizer->arena, directory, strlen(directory));
    ALD_CHECK_MEMORY(tokenizer->directory, strlen(directory));
    tokenizer->bos_text = tokenizer->eos_text = "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        ald_free(path);
        path = ald_path_join(directory, names[i]);
        ALD_CHECK_MEMORY(path, strlen(directory));
        ALD_TRY(loaders[i](tokenizer, path));
    }
    *out = tokenizer;
    tokenizer = NULL;
done:
    ald_free(path);
    ald_tokenizer_destroy(tokenizer);
    return status;
}

void ald_tokenizer_destroy(ald_tokenizer_t *tokenizer)
{
    if (tokenizer == NULL)
        return;
    ald_normalizer_reset(&tokenizer->normalizer);
    ald_pretokenizer_reset(&tokenizer->pretokenizer);
    ald_decoder_reset(&tokenizer->decoder);
    ald_arena_reset(&tokenizer->arena);
    ald_free(tokenizer);
}

/* Memory of one call of encode. */
typedef struct {
    const ald_tokenizer_t *tokenizer;
    ald_vec_t normal; /* bytes */
    ald_vec_t raw_segments, segments;
    ald_pieces_t pieces;
    ald_bpe_scratch_t scratch;
    ald_vec_t *ids;
} encoder_t;

static ald_status_t encode_pieces(encoder_t *encoder, const char *text, size_t length, bool first)
{
    ald_status_t status = ALD_STATUS_OK;
    bool bytes = encoder->tokenizer->pretokenizer.bytes;
    ald_pieces_t *pieces = &encoder->pieces;
    ALD_TRY(ald_pretokenizer_split(&encoder->tokenizer->pretokenizer, text, length, first, pieces));
    for (size_t i = 0; i < pieces->spans.count; ++i) {
        ald_span_t span = ALD_VEC_AT(&pieces->spans, ald_span_t, i);
        ALD_TRY(ald_bpe_encode(&encoder->tokenizer->bpe, pieces->text + span.start, span.length,
                               bytes, &encoder->scratch, encoder->ids));
    }
done:
    return status;
}

/* Encodes text between the added tokens that are looked for in raw text: it is normalised, then
 * searched for the other added tokens. */
static ald_status_t encode_plain(encoder_t *encoder, const char *text, size_t length, bool first)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_tokenizer_t *tokenizer = encoder->tokenizer;
    encoder->normal.count = 0;
    encoder->segments.count = 0;
    ALD_TRY(ald_normalizer_apply(&tokenizer->normalizer, text, length, &encoder->normal));
    const char *normal = encoder->normal.data;
    ALD_TRY(ald_added_split(&tokenizer->added.normalized, normal, encoder->normal.count,
                            &encoder->segments));
    for (size_t i = 0; i < encoder->segments.count; ++i) {
        const ald_segment_t *segment = &ALD_VEC_AT(&encoder->segments, ald_segment_t, i);
        if (segment->token != NULL)
            ALD_TRY(ald_vec_push(encoder->ids, &segment->token->id));
        else
            ALD_TRY(encode_pieces(encoder, normal + segment->start, segment->end - segment->start,
                                  first && segment->start == 0));
    }
done:
    return status;
}

ald_status_t ald_tokenizer_encode(const ald_tokenizer_t *tokenizer, const char *text, size_t length,
                                  ald_vec_t *ids)
{
    ald_status_t status = ALD_STATUS_OK;
    encoder_t encoder = {.tokenizer = tokenizer, .ids = ids};
    ald_vec_init(&encoder.normal, 1);
    ald_vec_init(&encoder.raw_segments, sizeof(ald_segment_t));
    ald_vec_init(&encoder.segments, sizeof(ald_segment_t));
    ald_bpe_scratch_init(&encoder.scratch);
    ALD_TRY(ald_pieces_init(&encoder.pieces));
    ALD_TRY(ald_utf8_check(text, length));
    ALD_TRY(ald_added_split(&tokenizer->added.raw, text, length, &encoder.raw_segments));
    for (size_t i = 0; i < encoder.raw_segments.count; ++i) {
        const ald_segment_t *segment = &ALD_VEC_AT(&encoder.raw_segments, ald_segment_t, i);
        if (segment->token != NULL)
            ALD_TRY(ald_vec_push(ids, &segment->token->id));
        else
            ALD_TRY(encode_plain(&encoder, text + segment->start, segment->end - segment->start,
                                 segment->start == 0));
    }
done:
    ald_vec_reset(&encoder.normal);
    ald_vec_reset(&encoder.raw_segments);
    ald_vec_reset(&encoder.segments);
    ald_pieces_reset(&encoder.pieces);
    ald_bpe_scratch_reset(&encoder.scratch);
    return status;
}

/* Decodes where ByteLevel is the only step: it looks at one token at a time. The text of an added
 * token is the token. */
static ald_status_t decode_plain(const ald_tokenizer_t *tokenizer, const int32_t *ids, size_t count,
                                 bool skip_special, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *token = NULL;
    size_t length = 0;
    bool added = false;
    for (size_t i = 0; i < count; ++i)
        if (token_of(tokenizer, ids[i], skip_special, &token, &length, &added))
            ALD_TRY(added ? ald_vec_append(text, token, length)
                          : ald_decoder_put_bytes(&tokenizer->decoder, token, length, text));
done:
    return status;
}

/* Ids without a token are left out, as by Hugging Face's tokenizers: output matrices are often
 * padded beyond the vocabulary. `within`: the tokens are from within a text. */
static ald_status_t decode(const ald_tokenizer_t *tokenizer, const int32_t *ids, size_t count,
                           bool skip_special, bool within, ald_vec_t *text)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_decoded_t tokens;
    const char *token = NULL;
    size_t length = 0;
    bool added = false;
    if (ald_decoder_is_plain(&tokenizer->decoder))
        return decode_plain(tokenizer, ids, count, skip_special, text);
    ald_decoded_init(&tokens);
    tokens.within = within;
    for (size_t i = 0; i < count; ++i)
        if (token_of(tokenizer, ids[i], skip_special, &token, &length, &added))
            ALD_TRY(ald_decoded_push(&tokens, token, length));
    ALD_TRY(ald_decoder_run(&tokenizer->decoder, &tokens, text));
done:
    ald_decoded_reset(&tokens);
    return status;
}

ald_status_t ald_tokenizer_decode(const ald_tokenizer_t *tokenizer, const int32_t *ids,
                                  size_t count, bool skip_special, ald_vec_t *text)
{
    return decode(tokenizer, ids, count, skip_special, false, text);
}

ald_status_t ald_tokenizer_token(const ald_tokenizer_t *tokenizer, int32_t id, ald_vec_t *text)
{
    return decode(tokenizer, &id, 1, false, true, text);
}

int32_t ald_tokenizer_find(const ald_tokenizer_t *tokenizer, const char *token)
{
    for (size_t i = 0; i < tokenizer->added.count; ++i)
        if (strcmp(tokenizer->added.tokens[i].content, token) == 0)
            return tokenizer->added.tokens[i].id;
    return ald_bpe_find(&tokenizer->bpe, token, strlen(token));
}

const char *ald_tokenizer_directory(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->directory;
}

int64_t ald_tokenizer_size(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->size;
}

int32_t ald_tokenizer_eos(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->eos;
}

const int32_t *ald_tokenizer_front(const ald_tokenizer_t *tokenizer, size_t *count)
{
    *count = tokenizer->front_count;
    return tokenizer->front;
}

const char *ald_tokenizer_bos_text(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->bos_text;
}

const char *ald_tokenizer_eos_text(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->eos_text;
}

bool ald_tokenizer_is_special(const ald_tokenizer_t *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->size && tokenizer->added_by_id[id] != NULL &&
           tokenizer->added_by_id[id]->special;
}

const char *ald_tokenizer_chat_template(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->chat_template;
}

const char *ald_tokenizer_sha256(const ald_tokenizer_t *tokenizer)
{
    return tokenizer->sha256;
}
