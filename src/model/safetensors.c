/* Reads safetensors files: an 8-byte little-endian length, that many bytes of JSON, and the
 * tensors' bytes. Nothing in it is believed before it was compared with the file's size. */
#include "ald/model/safetensors.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/num/dtype.h"

enum {
    HEADER_MAX = 100000000, /* bytes, the limit of the format's own library */
    NDIM_MAX = 4,           /* dimensions; the tensors of the families here have 1 or 2 */
};

typedef struct {
    ald_map_t map;
    char *path; /* in the set's arena */
} weight_file_t;

/* A tensor while its header is read: with its place in the file. */
typedef struct {
    ald_stored_t stored;
    int64_t begin, end;
} entry_t;

struct ald_safetensors {
    ald_arena_t arena;     /* names and paths */
    ald_vec_t files;       /* weight_file_t */
    ald_vec_t tensors;     /* ald_stored_t, files in order of name, in each by offset */
    const char **paths;    /* [files] */
    ald_map_t **maps;      /* [files] */
    ald_stored_t **sorted; /* [tensors] by name */
};

static ald_status_t parse_dtype(const ald_json_t *value, entry_t *entry)
{
    const char *text = ald_json_text(value, NULL);
    for (int i = 0; text != NULL && i <= ALD_DTYPE_F16; ++i) {
        if (strcmp(text, ald_dtype_name((ald_dtype_t)i)) == 0) {
            entry->stored.dtype = (ald_dtype_t)i;
            return ALD_STATUS_OK;
        }
    }
    return ald_status_raise(ALD_STATUS_INPUT,
                            "%s: tensor \"%s\": dtype: expected F32, BF16 or F16, found \"%.40s\"",
                            entry->stored.file, entry->stored.name, text == NULL ? "" : text);
}

static ald_status_t parse_shape(const ald_json_t *value, entry_t *entry)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_stored_t *stored = &entry->stored;
    size_t ndim = ald_json_count(value);
    ALD_CHECK(ald_json_is_array(value) && ndim <= NDIM_MAX, ALD_STATUS_INPUT,
              "%s: tensor \"%s\": shape: expected a list of at most %d sizes", stored->file,
              stored->name, NDIM_MAX);
    stored->ndim = (int)ndim;
    stored->count = 1;
    for (size_t i = 0; i < ndim; ++i) {
        stored->shape[i] = ald_json_integer(ald_json_at(value, i), -1);
        ALD_CHECK(stored->shape[i] >= 0 &&
                      !__builtin_mul_overflow(stored->count, stored->shape[i], &stored->count) &&
                      stored->count < INT64_MAX / 8,
                  ALD_STATUS_INPUT, "%s: tensor \"%s\": shape: expected sizes of 0 or more",
                  stored->file, stored->name);
    }
done:
    return status;
}

static ald_status_t parse_offsets(const ald_json_t *value, int64_t data_size, entry_t *entry)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_stored_t *stored = &entry->stored;
    entry->begin = ald_json_integer(ald_json_at(value, 0), -1);
    entry->end = ald_json_integer(ald_json_at(value, 1), -1);
    ALD_CHECK(ald_json_count(value) == 2 && entry->begin >= 0 && entry->end >= entry->begin,
              ALD_STATUS_INPUT, "%s: tensor \"%s\": data_offsets: expected [begin, end]",
              stored->file, stored->name);
    ALD_CHECK(entry->end <= data_size, ALD_STATUS_INPUT,
              "%s: tensor \"%s\": data_offsets [%lld, %lld] end after the file's %lld bytes of "
              "data: cut short, or a wrong offset",
              stored->file, stored->name, (long long)entry->begin, (long long)entry->end,
              (long long)data_size);
    int64_t bytes = stored->count * ald_dtype_size(stored->dtype);
    ALD_CHECK(entry->end - entry->begin == bytes, ALD_STATUS_INPUT,
              "%s: tensor \"%s\": data_offsets span %lld bytes, but shape and dtype need %lld",
              stored->file, stored->name, (long long)(entry->end - entry->begin), (long long)bytes);
done:
    return status;
}

static ald_status_t parse_tensor(ald_safetensors_t *set, const weight_file_t *file,
                                 const char *name, const ald_json_t *value, int64_t data_size,
                                 entry_t *entry)
{
    ald_status_t status = ALD_STATUS_OK;
    *entry = (entry_t){.stored.file = file->path};
    entry->stored.name = ald_arena_strdup(&set->arena, name, strlen(name));
    ALD_CHECK_MEMORY(entry->stored.name, strlen(name));
    ALD_CHECK(ald_json_is_object(value), ALD_STATUS_INPUT,
              "%s: tensor \"%s\": expected an object, found %s", file->path, name,
              ald_json_type_name(value));
    ALD_TRY(parse_dtype(ald_json_get(value, "dtype"), entry));
    ALD_TRY(parse_shape(ald_json_get(value, "shape"), entry));
    ALD_TRY(parse_offsets(ald_json_get(value, "data_offsets"), data_size, entry));
done:
    return status;
}

static int compare_places(const void *a, const void *b)
{
    const entry_t *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end == y->end ? strcmp(x->stored.name, y->stored.name) : x->end < y->end ? -1 : 1;
}

/* The tensors must cover the data from its first byte to its last, each byte once. */
static ald_status_t check_cover(const char *path, const ald_vec_t *entries, int64_t data_size)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t at = 0;
    for (size_t i = 0; i < entries->count; ++i) {
        const entry_t *entry = &ALD_VEC_AT(entries, entry_t, i);
        ALD_CHECK(entry->begin >= at, ALD_STATUS_INPUT,
                  "%s: tensor \"%s\": data_offsets [%lld, %lld] overlap the tensor before it, "
                  "which ends at %lld",
                  path, entry->stored.name, (long long)entry->begin, (long long)entry->end,
                  (long long)at);
        ALD_CHECK(entry->begin == at, ALD_STATUS_INPUT,
                  "%s: tensor \"%s\": data_offsets leave a hole: expected a begin of %lld, found "
                  "%lld",
                  path, entry->stored.name, (long long)at, (long long)entry->begin);
        at = entry->end;
    }
    ALD_CHECK(at == data_size, ALD_STATUS_INPUT,
              "%s: expected %lld bytes of data after the header, found %lld", path, (long long)at,
              (long long)data_size);
done:
    return status;
}

static ald_status_t parse_header(ald_safetensors_t *set, const weight_file_t *file,
                                 const ald_json_t *header, uint64_t data_start)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t data_size = (int64_t)(file->map.size - data_start);
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    ald_vec_t entries;
    ald_vec_init(&entries, sizeof(entry_t));
    ALD_CHECK(ald_json_is_object(header), ALD_STATUS_INPUT,
              "%s: header: expected an object, found %s", file->path, ald_json_type_name(header));
    while (ald_json_next(header, &iterator, &name, &value)) {
        entry_t entry;
        if (strcmp(name, "__metadata__") == 0)
            continue;
        ALD_TRY(parse_tensor(set, file, name, value, data_size, &entry));
        entry.stored.data = file->map.data + data_start + entry.begin;
        ALD_TRY(ald_vec_push(&entries, &entry));
    }
    if (entries.count > 0)
        qsort(entries.data, entries.count, sizeof(entry_t), compare_places);
    ALD_TRY(check_cover(file->path, &entries, data_size));
    for (size_t i = 0; i < entries.count; ++i)
        ALD_TRY(ald_vec_push(&set->tensors, &ALD_VEC_AT(&entries, entry_t, i).stored));
done:
    ald_vec_reset(&entries);
    return status;
}

static ald_status_t open_file(ald_safetensors_t *set, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *header = NULL;
    weight_file_t file = {{0}, ald_arena_strdup(&set->arena, path, strlen(path))};
    uint64_t length = 0;
    ALD_CHECK_MEMORY(file.path, strlen(path));
    ALD_TRY(ald_map_open(path, &file.map));
    status = ald_vec_push(&set->files, &file); /* from here on the set owns the map */
    if (status != ALD_STATUS_OK)
        ald_map_close(&file.map);
    ALD_TRY(status);
    ALD_CHECK(file.map.size >= sizeof length, ALD_STATUS_INPUT,
              "%s: cut short: expected a safetensors file, found %zu bytes", path, file.map.size);
    memcpy(&length, file.map.data, sizeof length);
    length = le64toh(length);
    ALD_CHECK(length <= HEADER_MAX && length <= file.map.size - sizeof length, ALD_STATUS_INPUT,
              "%s: header: a length of %llu bytes in a file of %zu: cut short, or no safetensors "
              "file",
              path, (unsigned long long)length, file.map.size);
    ALD_TRY(ald_json_parse((const char *)file.map.data + sizeof length, length, path, &header));
    ALD_TRY(parse_header(set, &file, header, sizeof length + length));
done:
    ald_json_free(header);
    return status;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The files that an index names, each once, sorted; the strings belong to the index. */
static ald_status_t index_files(const char *path, const ald_json_t *map, ald_vec_t *names)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *tensor = NULL;
    const ald_json_t *value = NULL;
    ALD_CHECK(ald_json_is_object(map) && ald_json_count(map) > 0, ALD_STATUS_INPUT,
              "%s: weight_map: expected an object of tensors and files, found %s", path,
              ald_json_type_name(map));
    while (ald_json_next(map, &iterator, &tensor, &value)) {
        const char *name = ald_json_text(value, NULL);
        ALD_CHECK(name != NULL && name[0] != '\0' && strchr(name, '/') == NULL, ALD_STATUS_INPUT,
                  "%s: weight_map: \"%s\": expected the name of a file in the same folder", path,
                  tensor);
        ALD_TRY(ald_vec_push(names, &name));
    }
    const char **list = names->data;
    qsort(list, names->count, sizeof *list, compare_strings);
    size_t kept = 1;
    for (size_t i = 1; i < names->count; ++i)
        if (strcmp(list[i], list[kept - 1]) != 0)
            list[kept++] = list[i];
    names->count = kept;
done:
    return status;
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp((*(ald_stored_t *const *)a)->name, (*(ald_stored_t *const *)b)->name);
}

/* Builds the lookup by name and refuses a name that two files have. */
static ald_status_t sort_set(ald_safetensors_t *set)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t count = set->tensors.count, files = set->files.count;
    set->sorted = ald_arena_calloc(&set->arena, count + 1, sizeof *set->sorted);
    ALD_CHECK_MEMORY(set->sorted, count * sizeof *set->sorted);
    set->paths = ald_arena_calloc(&set->arena, files + 1, sizeof *set->paths);
    ALD_CHECK_MEMORY(set->paths, files * sizeof *set->paths);
    set->maps = ald_arena_calloc(&set->arena, files + 1, sizeof *set->maps);
    ALD_CHECK_MEMORY(set->maps, files * sizeof *set->maps);
    for (size_t i = 0; i < files; ++i) {
        set->paths[i] = ALD_VEC_AT(&set->files, weight_file_t, i).path;
        set->maps[i] = &ALD_VEC_AT(&set->files, weight_file_t, i).map;
    }
    for (size_t i = 0; i < count; ++i)
        set->sorted[i] = &ALD_VEC_AT(&set->tensors, ald_stored_t, i);
    qsort(set->sorted, count, sizeof *set->sorted, compare_tensors);
    for (size_t i = 1; i < count; ++i)
        ALD_CHECK(compare_tensors(&set->sorted[i - 1], &set->sorted[i]) != 0, ALD_STATUS_INPUT,
                  "%s: tensor \"%s\" is also in %s", set->sorted[i]->file, set->sorted[i]->name,
                  set->sorted[i - 1]->file);
done:
    return status;
}

/* Checks that each tensor of the index is in the file that the index names for it. */
static ald_status_t check_promises(const ald_safetensors_t *set, const char *path,
                                   const ald_json_t *map)
{
    ald_status_t status = ALD_STATUS_OK;
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *value = NULL;
    while (ald_json_next(map, &iterator, &name, &value)) {
        const ald_stored_t *stored = ald_safetensors_find(set, name);
        const char *slash = stored == NULL ? NULL : strrchr(stored->file, '/');
        const char *base = stored == NULL ? "" : slash == NULL ? stored->file : slash + 1;
        ALD_CHECK(strcmp(base, ald_json_text(value, NULL)) == 0, ALD_STATUS_INPUT,
                  "%s: weight_map: tensor \"%s\" is not in %s", path, name,
                  ald_json_text(value, NULL));
    }
done:
    return status;
}

static ald_status_t open_sharded(ald_safetensors_t *set, const char *directory, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *index = NULL;
    ald_vec_t names;
    ald_vec_init(&names, sizeof(char *));
    ALD_TRY(ald_json_read(path, &index));
    const ald_json_t *map = ald_json_get(index, "weight_map");
    ALD_TRY(index_files(path, map, &names));
    for (size_t i = 0; i < names.count; ++i) {
        char *file = ald_path_join(directory, ALD_VEC_AT(&names, const char *, i));
        ALD_CHECK_MEMORY(file, strlen(directory));
        status = open_file(set, file);
        ald_free(file);
        ALD_TRY(status);
    }
    ALD_TRY(sort_set(set));
    ALD_TRY(check_promises(set, path, map));
done:
    ald_vec_reset(&names);
    ald_json_free(index);
    return status;
}

static ald_status_t open_directory(ald_safetensors_t *set, const char *directory)
{
    ald_status_t status = ALD_STATUS_OK;
    char *single = ald_path_join(directory, "model.safetensors");
    char *index = ald_path_join(directory, "model.safetensors.index.json");
    ALD_CHECK_MEMORY(single, strlen(directory));
    ALD_CHECK_MEMORY(index, strlen(directory));
    if (ald_path_exists(single)) {
        ALD_TRY(open_file(set, single));
        ALD_TRY(sort_set(set));
    } else {
        ALD_CHECK(ald_path_exists(index), ALD_STATUS_INPUT,
                  "%s: expected model.safetensors or model.safetensors.index.json, found neither",
                  directory);
        ALD_TRY(open_sharded(set, directory, index));
    }
done:
    ald_free(single);
    ald_free(index);
    return status;
}

ald_status_t ald_safetensors_open(const char *directory_or_file, ald_safetensors_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_safetensors_t *set = ald_calloc(1, sizeof *set);
    *out = NULL;
    ALD_CHECK_MEMORY(set, sizeof *set);
    ald_vec_init(&set->files, sizeof(weight_file_t));
    ald_vec_init(&set->tensors, sizeof(ald_stored_t));
    if (ald_path_is_directory(directory_or_file)) {
        ALD_TRY(open_directory(set, directory_or_file));
    } else {
        ALD_TRY(open_file(set, directory_or_file));
        ALD_TRY(sort_set(set));
    }
    *out = set;
    set = NULL;
done:
    ald_safetensors_close(set);
    return status;
}

void ald_safetensors_close(ald_safetensors_t *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->files.count; ++i)
        ald_map_close(&ALD_VEC_AT(&set->files, weight_file_t, i).map);
    ald_vec_reset(&set->files);
    ald_vec_reset(&set->tensors);
    ald_arena_reset(&set->arena);
    ald_free(set);
}

int64_t ald_safetensors_count(const ald_safetensors_t *set)
{
    return (int64_t)set->tensors.count;
}

const ald_stored_t *ald_safetensors_at(const ald_safetensors_t *set, int64_t index)
{
    return &ALD_VEC_AT(&set->tensors, ald_stored_t, index);
}

const ald_stored_t *ald_safetensors_find(const ald_safetensors_t *set, const char *name)
{
    ald_stored_t key = {.name = name}, *pointer = &key;
    ald_stored_t **found =
        bsearch(&pointer, set->sorted, set->tensors.count, sizeof *set->sorted, compare_tensors);
    return found == NULL ? NULL : *found;
}

int64_t ald_safetensors_files(const ald_safetensors_t *set, const char *const **paths)
{
    *paths = set->paths;
    return (int64_t)set->files.count;
}

int64_t ald_safetensors_maps(const ald_safetensors_t *set, ald_map_t *const **maps)
{
    *maps = set->maps;
    return (int64_t)set->files.count;
}
