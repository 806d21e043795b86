/* Lists of shards, and the verification of a set. Tasks of an array finish in any order and some
 * fail, so each leaves a list, and whoever completes the set writes the manifest. */
#include "ald/shard/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/folder.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/shard/format.h"
#include "ald/shard/read.h"
#include "ald/shard/set.h"

#define FORMAT   "aligndistil-manifest"
#define MANIFEST "manifest.json"
#define PART     "manifest.part-"

/* --- entries ---------------------------------------------------------------------------------- */

static ald_status_t read_sequences(ald_shard_t *shard, ald_manifest_entry_t *entry)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_arena_t arena = {0};
    for (int64_t i = 0; i < ald_shard_count(shard); ++i) {
        ald_scored_t sequence;
        ald_arena_mark_t mark = ald_arena_mark(&arena);
        ALD_TRY(ald_shard_read(shard, i, true, &arena, &sequence));
        entry->first_id = i == 0 ? sequence.id : entry->first_id;
        entry->last_id = sequence.id;
        ald_arena_release(&arena, mark);
    }
done:
    ald_arena_reset(&arena);
    return status;
}

static ald_status_t entry_of(const char *path, ald_shard_t *shard, ald_manifest_entry_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *slash = strrchr(path, '/');
    *out = (ald_manifest_entry_t){.number = ald_shard_number(slash == NULL ? path : slash + 1),
                                  .sequences = ald_shard_count(shard),
                                  .tokens = ald_shard_tokens(shard),
                                  .positions = ald_shard_positions(shard),
                                  .bytes = ald_file_size(path)};
    ALD_TRY(read_sequences(shard, out));
    ALD_TRY(ald_sha256_file(path, out->sha256));
done:
    return status;
}

ald_status_t ald_manifest_entry_make(const char *path, ald_manifest_entry_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    ALD_TRY(ald_shard_open(path, &shard));
    ALD_TRY(entry_of(path, shard, out));
done:
    ald_shard_close(shard);
    return status;
}

/* --- as JSON ---------------------------------------------------------------------------------- */

/* The integers of an entry. */
static const struct {
    const char *name;
    size_t offset;
} fields[] = {
    {"sequences", offsetof(ald_manifest_entry_t, sequences)},
    {"tokens", offsetof(ald_manifest_entry_t, tokens)},
    {"positions", offsetof(ald_manifest_entry_t, positions)},
    {"first_id", offsetof(ald_manifest_entry_t, first_id)},
    {"last_id", offsetof(ald_manifest_entry_t, last_id)},
    {"bytes", offsetof(ald_manifest_entry_t, bytes)},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static void shard_name(int64_t number, char name[48])
{
    snprintf(name, 48, "shard-%06lld.h5", (long long)number);
}

static ald_json_t *entry_json(const ald_manifest_entry_t *entry)
{
    char name[48];
    ald_json_t *json = ald_json_new_object();
    shard_name(entry->number, name);
    ald_json_set(json, "name", ald_json_new_string(name));
    for (int i = 0; i < FIELDS; ++i) {
        const int64_t *value = (const int64_t *)((const char *)entry + fields[i].offset);
        ald_json_set(json, fields[i].name, ald_json_new_integer(*value));
    }
    ald_json_set(json, "sha256", ald_json_new_string(entry->sha256));
    return json;
}

static ald_status_t entry_parse(const ald_json_t *json, const char *path, size_t index,
                                ald_manifest_entry_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = ald_json_text(ald_json_get(json, "name"), NULL);
    const char *sha256 = ald_json_text(ald_json_get(json, "sha256"), NULL);
    out->number = name == NULL ? -1 : ald_shard_number(name);
    ALD_CHECK(out->number >= 0, ALD_STATUS_INPUT, "%s: shards[%zu]: name: expected shard-NNNNNN.h5",
              path, index);
    ALD_CHECK(sha256 != NULL && strlen(sha256) == ALD_SHA256_HEX - 1, ALD_STATUS_INPUT,
              "%s: shards[%zu]: sha256: expected 64 hexadecimal digits", path, index);
    strcpy(out->sha256, sha256);
    for (int i = 0; i < FIELDS; ++i) {
        int64_t value = ald_json_integer(ald_json_get(json, fields[i].name), -1);
        ALD_CHECK(value >= 0, ALD_STATUS_INPUT, "%s: shards[%zu]: %s: expected a number", path,
                  index, fields[i].name);
        *(int64_t *)((char *)out + fields[i].offset) = value;
    }
done:
    return status;
}

/* What identifies a set: everything in the header that the content depends on. */
static ald_json_t *set_json(const ald_manifest_set_t *set)
{
    const ald_shard_header_t *h = set->header;
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "shards", ald_json_new_integer(set->shards));
    ald_json_set(json, "encoding", ald_json_new_string(ald_encoding_name(h->encoding)));
    ald_json_set(json, "contrast",
                 ald_json_new_string(ald_choice_name(ALD_CHOICES_CONTRASTS, h->contrast)));
    ald_json_set(json, "vocab_size", ald_json_new_integer(h->vocab_size));
    ald_json_set(json, "top_k", ald_json_new_integer(h->top_k));
    ald_json_set(json, "chat_format", ald_json_new_string(h->chat_format));
    ald_json_set(json, "sha256_dpo", ald_json_new_string(h->dpo.sha256));
    ald_json_set(json, "sha256_reverse", ald_json_new_string(h->contrasts[h->contrast].sha256));
    if (ald_shard_reference(h)[0] != '\0')
        ald_json_set(json, "sha256_reference", ald_json_new_string(ald_shard_reference(h)));
    ald_json_set(json, "sha256_tokenizer", ald_json_new_string(h->sha256_tokenizer));
    ald_json_set(json, "sha256_data", ald_json_new_string(h->sha256_data));
    return json;
}

/* Whether a file is this text and a newline. */
static bool is_same(const char *path, const char *text)
{
    char *found = NULL;
    size_t size = 0;
    bool same = ald_path_exists(path) && ald_file_read(path, &found, &size) == ALD_STATUS_OK &&
                size == strlen(text) + 1 && memcmp(found, text, size - 1) == 0;
    ald_free(found);
    return same;
}

static ald_status_t list_write(const ald_manifest_set_t *set, const char *name,
                               const ald_manifest_entry_t *entries, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t sums[FIELDS] = {0};
    ald_json_t *json = ald_json_new_object(), *shards = ald_json_new_array();
    char *text = NULL, *path = ald_path_join(set->folder, name);
    ALD_CHECK(path != NULL && json != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ald_json_set(json, "format", ald_json_new_string(FORMAT));
    ald_json_set(json, "version", ald_json_new_integer(ALD_MANIFEST_VERSION));
    ald_json_set(json, "set", set_json(set));
    for (int64_t i = 0; i < count; ++i) {
        for (int f = 0; f < FIELDS; ++f)
            sums[f] += *(const int64_t *)((const char *)&entries[i] + fields[f].offset);
        ald_json_push(shards, entry_json(&entries[i]));
    }
    for (int f = 0; f < FIELDS; ++f)
        if (strstr(fields[f].name, "_id") == NULL)
            ald_json_set(json, fields[f].name, ald_json_new_integer(sums[f]));
    ald_json_set(json, "shards", shards);
    shards = NULL;
    ALD_TRY(ald_json_dump(json, true, &text));
    if (!is_same(path, text)) /* a rerun that changes nothing doesn't touch the file */
        ALD_TRY(ald_json_write(json, path));
done:
    ald_json_free(shards);
    ald_json_free(json);
    ald_free(text);
    ald_free(path);
    return status;
}

static ald_status_t list_parse(const ald_json_t *json, const char *path, ald_vec_t *entries)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *format = ald_json_text(ald_json_get(json, "format"), NULL);
    const ald_json_t *shards = ald_json_get(json, "shards");
    ALD_CHECK(format != NULL && strcmp(format, FORMAT) == 0, ALD_STATUS_INPUT,
              "%s: format: expected \"%s\"", path, FORMAT);
    ALD_CHECK(ald_json_integer(ald_json_get(json, "version"), 0) == ALD_MANIFEST_VERSION,
              ALD_STATUS_INPUT, "%s: version: expected %d", path, ALD_MANIFEST_VERSION);
    ALD_CHECK(ald_json_is_array(shards), ALD_STATUS_INPUT, "%s: shards: expected an array", path);
    for (size_t i = 0; i < ald_json_count(shards); ++i) {
        ald_manifest_entry_t entry = {0};
        ALD_TRY(entry_parse(ald_json_at(shards, i), path, i, &entry));
        ALD_TRY(ald_vec_push(entries, &entry));
    }
done:
    return status;
}

/* --- the lists of a set ----------------------------------------------------------------------- */

static bool is_list(const char *name)
{
    const size_t length = strlen(name), end = strlen(".json");
    return strcmp(name, MANIFEST) == 0 ||
           (strncmp(name, PART, strlen(PART)) == 0 && strcmp(name + length - end, ".json") == 0);
}

/* Appends the entries of one list, if it is one of this set. */
static ald_status_t list_add(const ald_manifest_set_t *set, const char *wanted, const char *name,
                             ald_vec_t *entries)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t before = entries->count;
    ald_json_t *json = NULL;
    char *found = NULL, *path = ald_path_join(set->folder, name);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    if (ald_json_read(path, &json) != ALD_STATUS_OK)
        goto done; /* another task has just removed it, or it is damaged */
    if (ald_json_get(json, "set") == NULL)
        goto done;
    ALD_TRY(ald_json_dump(ald_json_get(json, "set"), false, &found));
    if (strcmp(found, wanted) == 0 && list_parse(json, path, entries) != ALD_STATUS_OK)
        entries->count = before;
done:
    ald_json_free(json);
    ald_free(found);
    ald_free(path);
    return status;
}

ald_status_t ald_manifest_known(const ald_manifest_set_t *set, ald_vec_t *entries)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *wanted = NULL;
    size_t count = 0;
    ald_json_t *json = set_json(set);
    ALD_TRY(ald_json_dump(json, false, &wanted));
    ALD_TRY(ald_dir_list(set->folder, &names, &count));
    for (size_t i = 0; i < count; ++i)
        if (is_list(names[i]))
            ALD_TRY(list_add(set, wanted, names[i], entries));
done:
    ald_json_free(json);
    ald_free(wanted);
    ald_names_free(names, count);
    return status;
}

ald_status_t ald_manifest_write_part(const ald_manifest_set_t *set, int64_t part, int64_t parts,
                                     const ald_manifest_entry_t *entries, int64_t count)
{
    char name[80];
    snprintf(name, sizeof name, PART "%lld-of-%lld.json", (long long)part, (long long)parts);
    return list_write(set, name, entries, count);
}

static ald_status_t remove_parts(const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ALD_TRY(ald_dir_list(folder, &names, &count));
    for (size_t i = 0; i < count; ++i)
        if (is_list(names[i]) && strcmp(names[i], MANIFEST) != 0)
            ALD_TRY(ald_dir_remove_in(folder, names[i]));
done:
    ald_names_free(names, count);
    return status;
}

/* Whether the file of the entry is there, with the size that it names. */
static ald_status_t is_there(const char *folder, const ald_manifest_entry_t *entry, bool *out)
{
    ald_status_t status = ALD_STATUS_OK;
    char *path = ald_shard_path(folder, entry->number);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    *out = ald_file_size(path) == entry->bytes;
    ald_free(path);
done:
    return status;
}

ald_status_t ald_manifest_finish(const ald_manifest_set_t *set, const ald_manifest_entry_t *entries,
                                 int64_t count, int64_t *found)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t known;
    ald_vec_init(&known, sizeof(ald_manifest_entry_t));
    ald_manifest_entry_t *all = ald_calloc((size_t)set->shards + 1, sizeof *all);
    bool *have = ald_calloc((size_t)set->shards + 1, sizeof *have);
    *found = 0;
    ALD_CHECK(all != NULL && have != NULL, ALD_STATUS_RESOURCE, "out of memory: %lld shards",
              (long long)set->shards);
    ALD_TRY(ald_manifest_known(set, &known));
    ALD_TRY(ald_vec_append(&known, entries, (size_t)count));
    for (size_t i = 0; i < known.count; ++i) {
        const ald_manifest_entry_t *entry = &ALD_VEC_AT(&known, ald_manifest_entry_t, i);
        if (entry->number >= set->shards)
            continue;
        ALD_TRY(is_there(set->folder, entry, &have[entry->number]));
        all[entry->number] = *entry;
    }
    for (int64_t k = 0; k < set->shards; ++k)
        *found += have[k];
    if (*found == set->shards) {
        ALD_TRY(list_write(set, MANIFEST, all, set->shards));
        ALD_TRY(remove_parts(set->folder));
    }
done:
    ald_vec_reset(&known);
    ald_free(all);
    ald_free(have);
    return status;
}

/* --- a finished set --------------------------------------------------------------------------- */

/* Reads FOLDER/manifest.json: the entries by number, all from 0 on. *there is false when there is
 * none. INPUT for one that is damaged. */
static ald_status_t read_manifest(const char *folder, bool *there, ald_vec_t *entries)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    char *path = ald_path_join(folder, MANIFEST);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    *there = ald_path_exists(path);
    if (!*there)
        goto done;
    ALD_TRY(ald_json_read(path, &json));
    ALD_TRY(list_parse(json, path, entries));
    for (size_t i = 0; i < entries->count; ++i)
        ALD_CHECK(ALD_VEC_AT(entries, ald_manifest_entry_t, i).number == (int64_t)i,
                  ALD_STATUS_INPUT, "%s: shards[%zu]: expected shard-%06zu.h5", path, i, i);
done:
    ald_json_free(json);
    ald_free(path);
    return status;
}

/* The names of shards in a folder, by number; freed by ald_names_free. */
static ald_status_t list_shards(const char *folder, char ***out, size_t *count)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t all = 0, kept = 0;
    *count = 0;
    *out = NULL;
    ALD_TRY(ald_dir_list(folder, &names, &all));
    for (size_t i = 0; i < all; ++i) {
        if (ald_shard_number(names[i]) >= 0)
            names[kept++] = names[i];
        else
            ald_free(names[i]);
    }
    *out = names;
    *count = kept;
done:
    return status;
}

ald_status_t ald_manifest_check(const char *folder, bool *there)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL;
    size_t count = 0;
    ald_vec_t entries;
    ald_vec_init(&entries, sizeof(ald_manifest_entry_t));
    ALD_TRY(read_manifest(folder, there, &entries));
    if (!*there)
        goto done;
    for (size_t i = 0; i < entries.count; ++i) {
        const ald_manifest_entry_t *entry = &ALD_VEC_AT(&entries, ald_manifest_entry_t, i);
        bool fits = false;
        ALD_TRY(is_there(folder, entry, &fits));
        ALD_CHECK(
            fits, ALD_STATUS_INPUT,
            "%s/shard-%06zu.h5: expected %lld bytes by manifest.json; missing or changed: run "
            "score again",
            folder, i, (long long)entry->bytes);
    }
    ALD_TRY(list_shards(folder, &names, &count));
    for (size_t i = 0; i < count; ++i)
        ALD_CHECK(ald_shard_number(names[i]) < (int64_t)entries.count, ALD_STATUS_INPUT,
                  "%s/%s: manifest.json has no such shard", folder, names[i]);
done:
    ald_names_free(names, count);
    ald_vec_reset(&entries);
    return status;
}

/* --- verification ----------------------------------------------------------------------------- */

typedef struct {
    ald_json_t *problems;
    ald_verified_t *sums;
    char first[400];           /* path of the first shard that could be read */
    ald_shard_header_t header; /* and its header, without config */
    int64_t id;                /* of the last sequence; -1: none yet */
    ald_source_t source;
} verify_t;

static void problem(verify_t *v, const char *text)
{
    ald_json_push(v->problems, ald_json_new_text(text, strlen(text)));
}

/* Checks that each row is there exactly once, in the order of id, then source. Samples of one row
 * follow each other. */
static void verify_order(verify_t *v, const char *path, ald_shard_t *shard)
{
    char text[600];
    for (int64_t i = 0; i < ald_shard_count(shard); ++i) {
        ald_scored_t s;
        if (ald_shard_peek(shard, i, &s) != ALD_STATUS_OK)
            return;
        bool after = s.id > v->id ||
                     (s.id == v->id && (s.source > v->source || s.source == ALD_SOURCE_POLICY));
        v->id = s.id;
        v->source = s.source;
        if (after)
            continue;
        snprintf(text, sizeof text, "%s: /sequence/id[%lld]: row %lld (%s) again, or out of order",
                 path, (long long)i, (long long)s.id, ald_source_name(s.source));
        problem(v, text);
        return;
    }
}

static ald_status_t verify_entry(verify_t *v, const char *path, const ald_manifest_entry_t *found,
                                 const ald_manifest_entry_t *listed)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_CHECK(strcmp(found->sha256, listed->sha256) == 0, ALD_STATUS_INPUT,
              "%s: sha256 %.12s..., but manifest.json has %.12s...", path, found->sha256,
              listed->sha256);
    for (int i = 0; i < FIELDS; ++i) {
        int64_t a = *(const int64_t *)((const char *)found + fields[i].offset);
        int64_t b = *(const int64_t *)((const char *)listed + fields[i].offset);
        ALD_CHECK(a == b, ALD_STATUS_INPUT, "%s: %s %lld, but manifest.json has %lld", path,
                  fields[i].name, (long long)a, (long long)b);
    }
    v->sums->sequences += found->sequences;
done:
    return status;
}

static ald_status_t verify_shard(verify_t *v, const char *path, const ald_manifest_entry_t *listed)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_shard_t *shard = NULL;
    ald_manifest_entry_t found;
    ALD_CHECK(ald_path_exists(path), ALD_STATUS_INPUT, "%s: missing", path);
    ALD_TRY(ald_shard_open(path, &shard));
    ALD_TRY(entry_of(path, shard, &found));
    if (v->first[0] == '\0') {
        snprintf(v->first, sizeof v->first, "%s", path);
        v->header = *ald_shard_header(shard);
        v->header.config = NULL;
    }
    ALD_TRY(ald_shard_fits_first(path, ald_shard_header(shard), v->first, &v->header));
    ALD_TRY(ald_shard_fits_folder(path, ald_shard_header(shard), v->first, &v->header));
    verify_order(v, path, shard);
    if (listed != NULL)
        ALD_TRY(verify_entry(v, path, &found, listed));
    else
        v->sums->sequences += found.sequences;
    v->sums->shards += 1;
    v->sums->positions += found.positions;
    v->sums->bytes += found.bytes;
done:
    ald_shard_close(shard);
    return status;
}

/* Verifies one shard. A damaged one becomes a problem in the list, and verification goes on. */
static ald_status_t verify_one(verify_t *v, const char *path, const ald_manifest_entry_t *listed)
{
    ald_status_t status = verify_shard(v, path, listed);
    if (status == ALD_STATUS_INPUT) {
        problem(v, ald_status_message());
        status = ALD_STATUS_OK;
    }
    return status;
}

static ald_status_t verify_folder(verify_t *v, const char *folder)
{
    ald_status_t status = ALD_STATUS_OK;
    char **names = NULL, *path = NULL, text[600];
    size_t count = 0;
    bool there = false;
    ald_vec_t entries;
    ald_vec_init(&entries, sizeof(ald_manifest_entry_t));
    status = read_manifest(folder, &there, &entries);
    if (status == ALD_STATUS_INPUT) {
        problem(v, ald_status_message());
        status = ALD_STATUS_OK;
        entries.count = 0;
    } else if (!there) {
        snprintf(text, sizeof text, "%s: no manifest.json: the set isn't complete", folder);
        problem(v, text);
    }
    ALD_TRY(status);
    for (size_t i = 0; i < entries.count; ++i) {
        ald_free(path);
        path = ald_shard_path(folder, (int64_t)i);
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        ALD_TRY(verify_one(v, path, &ALD_VEC_AT(&entries, ald_manifest_entry_t, i)));
    }
    ALD_TRY(list_shards(folder, &names, &count));
    ALD_CHECK(count > 0 || there, ALD_STATUS_INPUT, "%s: no shard-NNNNNN.h5 in this folder",
              folder);
    for (size_t i = 0; i < count; ++i) {
        if (ald_shard_number(names[i]) < (int64_t)entries.count)
            continue;
        ald_free(path);
        path = ald_path_join(folder, names[i]);
        ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
        if (there) {
            snprintf(text, sizeof text, "%s: not in manifest.json", path);
            problem(v, text);
        }
        ALD_TRY(verify_one(v, path, NULL));
    }
done:
    ald_free(path);
    ald_names_free(names, count);
    ald_vec_reset(&entries);
    return status;
}

ald_status_t ald_manifest_verify(const char *path, ald_json_t *problems, ald_verified_t *out)
{
    verify_t v = {.problems = problems, .sums = out, .id = -1};
    *out = (ald_verified_t){0};
    return ald_path_is_directory(path) ? verify_folder(&v, path) : verify_one(&v, path, NULL);
}
