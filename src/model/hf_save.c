/* Writes a model directory: weights, config.json, the origin's other files. What training didn't
 * change stays byte by byte, so other tools read the result as they read the origin. */
#include "ald/model/hf_save.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/log.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "ald/model/safetensors.h"
#include "ald/model/safetensors_write.h"
#include "ald/num/dtype.h"
#include "model/weights_impl.h"

ald_dtype_t ald_hf_dtype(ald_stored_dtype_t stored)
{
    static const ald_dtype_t dtypes[] = {[ALD_STORED_DTYPE_AUTO] = ALD_HF_AS_READ,
                                         [ALD_STORED_DTYPE_F32] = ALD_DTYPE_F32,
                                         [ALD_STORED_DTYPE_BF16] = ALD_DTYPE_BF16,
                                         [ALD_STORED_DTYPE_F16] = ALD_DTYPE_F16};
    return dtypes[stored];
}

static const char *dtype_text(ald_dtype_t dtype)
{
    static const char *const names[] = {"\"float32\"", "\"bfloat16\"", "\"float16\""};
    return names[dtype];
}

/* The end of the JSON string that begins at text[at]. */
static size_t skip_string(const char *text, size_t at)
{
    for (++at; text[at] != '\0' && text[at] != '"'; ++at)
        at += text[at] == '\\' && text[at + 1] != '\0';
    return text[at] == '"' ? at + 1 : at;
}

static size_t skip_space(const char *text, size_t at)
{
    while (isspace((unsigned char)text[at]))
        ++at;
    return at;
}

/* Finds the scalar value of a key of the outermost object in valid JSON; false when absent. */
static bool find_scalar(const char *text, const char *key, size_t *begin, size_t *end)
{
    int depth = 0;
    for (size_t at = 0; text[at] != '\0';) {
        depth += (text[at] == '{' || text[at] == '[') - (text[at] == '}' || text[at] == ']');
        if (text[at] != '"') {
            ++at;
            continue;
        }
        size_t first = at + 1, after = skip_string(text, at), length = after - first - 1;
        at = skip_space(text, after);
        if (depth != 1 || text[at] != ':' || strlen(key) != length ||
            strncmp(text + first, key, length) != 0)
            continue;
        *begin = skip_space(text, at + 1);
        *end = text[*begin] == '"' ? skip_string(text, *begin)
                                   : *begin + strcspn(text + *begin, ",} \t\r\n");
        return true;
    }
    return false;
}

/* Replaces the value of one key, if the text has it, and keeps every other byte: a JSON library
 * would change the digits of numbers. */
static ald_status_t replace_scalar(ald_vec_t *text, const char *key, const char *value, bool *found)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *old = text->data;
    size_t begin = 0, end = 0;
    ald_vec_t changed;
    ald_vec_init(&changed, 1);
    if (!find_scalar(old, key, &begin, &end))
        return status;
    *found = true;
    ALD_TRY(ald_vec_printf(&changed, "%.*s%s%s", (int)begin, old, value, old + end));
    ald_vec_reset(text);
    *text = changed;
    ald_vec_init(&changed, 1);
done:
    ald_vec_reset(&changed);
    return status;
}

static ald_status_t replace_dtype(ald_vec_t *text, ald_dtype_t dtype)
{
    ald_status_t status = ALD_STATUS_OK;
    bool found = false;
    ald_vec_t changed;
    ald_vec_init(&changed, 1);
    ALD_TRY(replace_scalar(text, "torch_dtype", dtype_text(dtype), &found));
    ALD_TRY(replace_scalar(text, "dtype", dtype_text(dtype), &found));
    if (found)
        goto done;
    const char *old = text->data;
    size_t begin = skip_space(old, 0) + 1; /* after the brace; config.json is never empty */
    ALD_TRY(ald_vec_printf(&changed, "%.*s\n  \"torch_dtype\": %s,%s", (int)begin, old,
                           dtype_text(dtype), old + begin));
    ald_vec_reset(text);
    *text = changed;
    ald_vec_init(&changed, 1);
done:
    ald_vec_reset(&changed);
    return status;
}

static ald_status_t write_config(const char *directory, const char *origin, ald_dtype_t dtype)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_model_config_t config;
    char *from = ald_path_join(origin, "config.json"),
         *to = ald_path_join(directory, "config.json");
    char *text = NULL;
    size_t size = 0;
    ald_vec_t changed;
    ald_vec_init(&changed, 1);
    ALD_CHECK_MEMORY(from, strlen(origin));
    ALD_CHECK_MEMORY(to, strlen(directory));
    ALD_TRY(ald_model_config_read(origin, &config));
    ALD_TRY(ald_file_read(from, &text, &size));
    ALD_TRY(ald_vec_printf(&changed, "%s", text));
    if (config.dtype != dtype && dtype != ALD_HF_AS_READ)
        ALD_TRY(replace_dtype(&changed, dtype));
    ALD_TRY(ald_file_write(to, changed.data, changed.count));
done:
    ald_vec_reset(&changed);
    ald_free(text);
    ald_free(from);
    ald_free(to);
    return status;
}

/* Whether a file belongs to a model, beside its weights and config.json. Weights in other forms,
 * the adapter that was merged into these, what a run left: all of that would be another model's. */
static bool is_carried(const char *name)
{
    static const char *const patterns[] = {"generation_config.json",
                                           "configuration.json",
                                           "preprocessor_config.json",
                                           "processor_config.json",
                                           "tokenizer.json",
                                           "tokenizer_config.json",
                                           "tokenizer.model*",
                                           "sentencepiece*.model",
                                           "spiece.model",
                                           "tekken.json",
                                           "vocab.json",
                                           "vocab.txt",
                                           "merges.txt",
                                           "added_tokens.json",
                                           "special_tokens_map.json",
                                           "chat_template.json",
                                           "*.jinja",
                                           "*.py",
                                           "README*",
                                           "LICEN[CS]E*",
                                           "NOTICE*",
                                           "USE_POLICY*",
                                           "*.md",
                                           "*.png",
                                           "*.jpg",
                                           "*.jpeg",
                                           "*.gif",
                                           "*.svg",
                                           "*.webp"};
    bool found = false;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns && name[0] != '.'; ++i)
        found = found || fnmatch(patterns[i], name, 0) == 0;
    return found && strstr(name, ".tmp-") == NULL;
}

/* Whether the program reads a file of this name itself, so that its content is known. */
static bool is_read(const char *name)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "generation_config.json",
                                        "chat_template.jinja"};
    for (size_t i = 0; i < sizeof names / sizeof *names; ++i)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Whether an entry is a file or folder, or a link to a file that may be shown: one that everybody
 * may read, one of the cache of huggingface_hub (../../blobs/...), or one that is read here anyway.
 */
static bool may_follow(const char *path, const char *name)
{
    struct stat own, target;
    char to[64] = "";
    if (lstat(path, &own) != 0 || stat(path, &target) != 0)
        return false;
    if (!S_ISLNK(own.st_mode))
        return S_ISREG(own.st_mode) || S_ISDIR(own.st_mode);
    bool cached = readlink(path, to, sizeof to - 1) > 0 && strncmp(to, "../", 3) == 0 &&
                  strstr(to, "/blobs/") != NULL;
    return S_ISREG(target.st_mode) && (cached || is_read(name) || (target.st_mode & S_IROTH) != 0);
}

/* Whether a folder of the origin is a model or a run of its own. */
static ald_status_t is_alone(const char *folder, bool *out)
{
    static const char *const marks[] = {"config.json", "done.json", "state.json"};
    ald_status_t status = ALD_STATUS_OK;
    *out = false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; ++i) {
        char *path = ald_path_join(folder, marks[i]);
        ALD_CHECK_MEMORY(path, strlen(folder));
        *out = *out || ald_path_exists(path);
        ald_free(path);
    }
done:
    return status;
}

/* Whether a file of this name is written anew, with the model's own configuration or weights. */
static bool is_written(const char *name)
{
    return fnmatch("config.json", name, 0) == 0 || fnmatch("model*.safetensors*", name, 0) == 0;
}

/* Where files go, or with `directory` NULL the bytes and number of those that would go there. */
typedef struct {
    const char *directory;
    int64_t bytes, files;
} target_t;

/* Copies, or counts, one of them, unless it isn't a model's. */
static ald_status_t copy_file(target_t *target, const char *from, const char *name)
{
    ald_status_t status = ALD_STATUS_OK;
    char *to = NULL;
    if (!is_carried(name)) {
        if (!is_written(name) && target->directory != NULL)
            ald_log_verbose("%s is not carried along", from);
        return status;
    }
    target->bytes += ald_file_size(from);
    target->files += 1;
    if (target->directory == NULL)
        return status;
    to = ald_path_join(target->directory, name);
    ALD_CHECK_MEMORY(to, strlen(target->directory));
    ALD_TRY(ald_dir_make(target->directory));
    ALD_TRY(ald_file_copy(from, to));
done:
    ald_free(to);
    return status;
}

static ald_status_t copy_others(target_t *target, const char *origin, int depth);

/* Copies those of a folder in the origin. */
static ald_status_t copy_folder(target_t *target, const char *from, const char *name, int depth)
{
    ald_status_t status = ALD_STATUS_OK;
    target_t inner = {0};
    char *to = NULL;
    if (target->directory != NULL) {
        to = ald_path_join(target->directory, name);
        ALD_CHECK_MEMORY(to, strlen(target->directory));
        inner.directory = to;
    }
    ALD_TRY(copy_others(&inner, from, depth));
    target->bytes += inner.bytes;
    target->files += inner.files;
done:
    ald_free(to);
    return status;
}

/* Copies the other files of the origin. A folder of which nothing is copied isn't made. */
static ald_status_t copy_others(target_t *target, const char *origin, int depth)
{
    enum { DEPTH_MAX = 8 }; /* model directories have a folder or two in them */
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *from = NULL;
    size_t count = 0;
    bool alone = false;
    ALD_TRY(ald_dir_list(origin, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        ald_free(from);
        from = ald_path_join(origin, names[i]);
        ALD_CHECK_MEMORY(from, strlen(origin));
        if (names[i][0] == '.' || !may_follow(from, names[i]))
            continue;
        if (!ald_path_is_directory(from)) {
            ALD_TRY(copy_file(target, from, names[i]));
        } else if (depth < DEPTH_MAX) {
            ALD_TRY(is_alone(from, &alone));
            if (!alone)
                ALD_TRY(copy_folder(target, from, names[i], depth + 1));
        }
    }
done:
    ald_free(from);
    ald_names_free(names, count);
    return status;
}

/* The tensors of one weight file: [first, end) of the list. */
typedef struct {
    int64_t first, end, bytes;
    char name[48];
} part_t;

/* Cuts the list where the next tensor would take a file above the limit. */
static ald_status_t plan_parts(const ald_params_t *params, const ald_dtype_t *dtypes, int64_t limit,
                               ald_vec_t *parts)
{
    ald_status_t status = ALD_STATUS_OK;
    part_t part = {0};
    for (int64_t i = 0; i < params->count; ++i) {
        int64_t bytes = params->tensors[i].count * ald_dtype_size(dtypes[i]);
        if (part.end > part.first && part.bytes + bytes > limit) {
            ALD_TRY(ald_vec_push(parts, &part));
            part = (part_t){.first = i};
        }
        part.end = i + 1;
        part.bytes += bytes;
    }
    ALD_TRY(ald_vec_push(parts, &part));
    for (size_t i = 0; i < parts->count; ++i) {
        part_t *one = &ALD_VEC_AT(parts, part_t, i);
        if (parts->count == 1)
            snprintf(one->name, sizeof one->name, "model.safetensors");
        else
            snprintf(one->name, sizeof one->name, "model-%05zu-of-%05zu.safetensors", i + 1,
                     parts->count);
    }
done:
    return status;
}

/* The tensors of a part as they are to be written, freed by ald_free. `values`: those of the
 * parameters from `base` on; NULL: none. */
static ald_status_t list_part(const ald_params_t *params, const float *values, int64_t base,
                              const ald_dtype_t *dtypes, const part_t *part, ald_unstored_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = part->end - part->first;
    *out = ald_calloc((size_t)count, sizeof **out);
    ALD_CHECK_MEMORY(*out, (size_t)count * sizeof **out);
    for (int64_t i = 0; i < count; ++i) {
        const ald_tensor_t *tensor = &params->tensors[part->first + i];
        (*out)[i] =
            (ald_unstored_t){.name = tensor->name,
                             .ndim = tensor->ndim,
                             .shape = {tensor->shape[0], tensor->shape[1]},
                             .values = values == NULL ? NULL : values + (tensor->offset - base),
                             .dtype = dtypes[part->first + i]};
    }
done:
    return status;
}

/* `values`: those of the parameters from `base` on. */
static ald_status_t write_part(const char *directory, const ald_params_t *params,
                               const float *values, int64_t base, const ald_dtype_t *dtypes,
                               const part_t *part)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_unstored_t *list = NULL;
    char *path = ald_path_join(directory, part->name);
    ALD_CHECK_MEMORY(path, strlen(directory));
    ALD_TRY(list_part(params, values, base, dtypes, part, &list));
    ALD_TRY(ald_safetensors_write(path, list, part->end - part->first));
done:
    ald_free(path);
    ald_free(list);
    return status;
}

static ald_json_t *index_of(const ald_params_t *params, const ald_vec_t *parts)
{
    ald_json_t *index = ald_json_new_object(), *metadata = ald_json_new_object();
    ald_json_t *map = ald_json_new_object();
    int64_t total_size = 0;
    for (size_t p = 0; p < parts->count; ++p) {
        const part_t *part = &ALD_VEC_AT(parts, part_t, p);
        total_size += part->bytes;
        for (int64_t i = part->first; i < part->end; ++i)
            ald_json_set(map, params->tensors[i].name, ald_json_new_string(part->name));
    }
    ald_json_set(metadata, "total_size", ald_json_new_integer(total_size));
    ald_json_set(index, "metadata", metadata);
    ald_json_set(index, "weight_map", map);
    return index;
}

static ald_status_t write_index(const char *directory, const ald_params_t *params,
                                const ald_vec_t *parts)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *index = index_of(params, parts);
    char *path = ald_path_join(directory, "model.safetensors.index.json");
    ALD_CHECK_MEMORY(path, strlen(directory));
    ALD_TRY(ald_json_write(index, path));
done:
    ald_json_free(index);
    ald_free(path);
    return status;
}

/* Removes the weight files of an earlier model, which a reader would take for this model's. */
static ald_status_t remove_stale(const char *directory, const ald_vec_t *parts)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ALD_TRY(ald_dir_list(directory, &names, &count));
    for (size_t i = 0; i < count; ++i) {
        bool stale = ald_path_ends(names[i], ".safetensors") ||
                     (parts->count == 1 && ald_path_ends(names[i], ".safetensors.index.json"));
        for (size_t p = 0; p < parts->count; ++p)
            stale = stale && strcmp(names[i], ALD_VEC_AT(parts, part_t, p).name) != 0;
        if (stale && strncmp(names[i], "model", 5) == 0)
            ALD_TRY(ald_dir_remove_in(directory, names[i]));
    }
done:
    ald_names_free(names, count);
    return status;
}

/* Chooses the type of each tensor in the files to write. */
static ald_status_t choose_dtypes(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                                  ald_dtype_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_safetensors_t *set = NULL;
    const ald_stored_t **stored = NULL;
    if (dtype == ALD_HF_AS_READ)
        ALD_TRY(ald_weights_open(origin, params, &set, &stored));
    for (int64_t i = 0; i < params->count; ++i)
        out[i] = stored != NULL ? stored[i]->dtype : dtype;
done:
    ald_free(stored);
    ald_safetensors_close(set);
    return status;
}

/* What is written: tensors in their types, in files. */
typedef struct {
    ald_dtype_t *dtypes; /* [params->count] owned */
    ald_vec_t parts;     /* of part_t */
} files_t;

static void files_reset(files_t *files)
{
    ald_free(files->dtypes);
    ald_vec_reset(&files->parts);
}

/* `origin` may be NULL unless the types are those of its files. */
static ald_status_t files_init(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                               int64_t shard_bytes, files_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t limit = shard_bytes > 0 ? shard_bytes : 5000000000;
    ald_vec_init(&out->parts, sizeof(part_t));
    out->dtypes = ald_calloc((size_t)params->count, sizeof *out->dtypes);
    ALD_CHECK_MEMORY(out->dtypes, (size_t)params->count * sizeof *out->dtypes);
    ALD_TRY(choose_dtypes(origin, params, dtype, out->dtypes));
    ALD_TRY(plan_parts(params, out->dtypes, limit, &out->parts));
done:
    return status;
}

/* Writes all but the weights. */
static ald_status_t write_beside(const char *directory, const char *origin,
                                 const ald_params_t *params, ald_dtype_t dtype,
                                 const ald_vec_t *parts)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(write_config(directory, origin, dtype));
    ALD_TRY(copy_others(&(target_t){.directory = directory}, origin, 0));
    if (parts->count > 1)
        ALD_TRY(write_index(directory, params, parts));
done:
    return status;
}

ald_status_t ald_hf_share(const ald_params_t *params, ald_dtype_t dtype, int64_t shard_bytes,
                          int rank, int size, ald_hf_share_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    files_t files = {0};
    *out = (ald_hf_share_t){.dtype = dtype, .shard_bytes = shard_bytes, .rank = rank};
    ALD_TRY(files_init(NULL, params, dtype, shard_bytes, &files));
    const int64_t parts = (int64_t)files.parts.count;
    out->first_part = (parts * rank + size - 1) / size;
    out->end_part = (parts * (rank + 1) + size - 1) / size;
    if (out->first_part == out->end_part)
        goto done;
    const int64_t first = ALD_VEC_AT(&files.parts, part_t, (size_t)out->first_part).first;
    const int64_t end = ALD_VEC_AT(&files.parts, part_t, (size_t)out->end_part - 1).end;
    out->first = params->tensors[first].offset;
    out->count = params->tensors[end - 1].offset + params->tensors[end - 1].count - out->first;
done:
    files_reset(&files);
    return status;
}

ald_status_t ald_hf_save_share(const char *directory, const char *origin,
                               const ald_params_t *params, const float *values,
                               const ald_hf_share_t *share)
{
    ald_status_t status = ALD_STATUS_OK;
    files_t files = {0};
    ALD_TRY(files_init(NULL, params, share->dtype, share->shard_bytes, &files));
    if (share->rank == 0)
        ALD_TRY(write_beside(directory, origin, params, share->dtype, &files.parts));
    for (int64_t i = share->first_part; i < share->end_part; ++i)
        ALD_TRY(write_part(directory, params, values, share->first, files.dtypes,
                           &ALD_VEC_AT(&files.parts, part_t, (size_t)i)));
done:
    files_reset(&files);
    return status;
}

ald_status_t ald_hf_save(const char *directory, const char *origin, const ald_params_t *params,
                         const float *values, ald_dtype_t dtype, int64_t shard_bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    files_t files = {0};
    ALD_TRY(files_init(origin, params, dtype, shard_bytes, &files));
    ALD_TRY(write_beside(directory, origin, params, dtype, &files.parts));
    for (size_t i = 0; i < files.parts.count; ++i)
        ALD_TRY(write_part(directory, params, values, 0, files.dtypes,
                           &ALD_VEC_AT(&files.parts, part_t, i)));
    ALD_TRY(remove_stale(directory, &files.parts));
done:
    files_reset(&files);
    return status;
}

/* The bytes of the weight files, and of their index. */
static ald_status_t weigh_parts(const ald_params_t *params, const ald_dtype_t *dtypes,
                                const ald_vec_t *parts, int64_t *bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_unstored_t *list = NULL;
    ald_json_t *index = NULL;
    char *text = NULL;
    for (size_t i = 0; i < parts->count; ++i) {
        const part_t *part = &ALD_VEC_AT(parts, part_t, i);
        ald_free(list);
        ALD_TRY(list_part(params, NULL, 0, dtypes, part, &list));
        ALD_TRY(ald_safetensors_weigh(list, part->end - part->first, bytes));
    }
    if (parts->count == 1)
        goto done;
    index = index_of(params, parts);
    ALD_TRY(ald_json_dump(index, true, &text));
    *bytes += (int64_t)strlen(text) + 1;
done:
    ald_free(list);
    ald_free(text);
    ald_json_free(index);
    return status;
}

/* Chooses types as choose_dtypes, but by config.json where there are no weights to look at. */
static void guess_dtypes(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                         ald_dtype_t *out)
{
    if (origin != NULL && choose_dtypes(origin, params, dtype, out) == ALD_STATUS_OK)
        return;
    for (int64_t i = 0; i < params->count; ++i)
        out[i] = dtype == ALD_HF_AS_READ ? params->config.dtype : dtype;
}

ald_status_t ald_hf_weights_bytes(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                                  int64_t *bytes)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_dtype_t *dtypes = ald_calloc((size_t)params->count, sizeof *dtypes);
    ALD_CHECK_MEMORY(dtypes, (size_t)params->count * sizeof *dtypes);
    guess_dtypes(origin, params, dtype, dtypes);
    *bytes = 0;
    for (int64_t i = 0; i < params->count; ++i)
        *bytes += params->tensors[i].count * ald_dtype_size(dtypes[i]);
done:
    ald_free(dtypes);
    return status;
}

ald_status_t ald_hf_weigh(const char *origin, const ald_params_t *params, ald_dtype_t dtype,
                          int64_t shard_bytes, int64_t *bytes, int64_t *files)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t limit = shard_bytes > 0 ? shard_bytes : 5000000000;
    target_t others = {0};
    ald_dtype_t *dtypes = ald_calloc((size_t)params->count, sizeof *dtypes);
    ald_vec_t parts;
    ald_vec_init(&parts, sizeof(part_t));
    ALD_CHECK_MEMORY(dtypes, (size_t)params->count * sizeof *dtypes);
    guess_dtypes(origin, params, dtype, dtypes);
    ALD_TRY(plan_parts(params, dtypes, limit, &parts));
    ALD_TRY(weigh_parts(params, dtypes, &parts, bytes));
    *files += (int64_t)parts.count + (parts.count > 1);
    if (origin != NULL)
        ALD_TRY(copy_others(&others, origin, 0));
    *bytes += others.bytes;
    *files += others.files;
done:
    ald_free(dtypes);
    ald_vec_reset(&parts);
    return status;
}
