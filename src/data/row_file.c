/* Cuts a data file into rows without parsing them. So ranks and threads can share the parsing,
 * and a JSON array need not be in memory as one value. */
#include "ald/data/row_file.h"

#include <string.h>

#include "ald/base/file.h"
#include "ald/base/gzip.h"
#include "ald/base/json.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Bytes of a row: no conversation that a model could take in is as long, and a text without any
 * space may need seconds for so much. */
enum { ROW_MOST = 32 << 20 };

/* Kinds of files that are often given where JSON is expected, and the bytes that they begin with.
 */
static const struct {
    const char *bytes, *what;
} strangers[] = {
    {"PAR1", "a Parquet file"},
    {"ARROW1", "an Arrow file"},
    {"PK\x03\x04", "a zip file"},
    {"BZh", "compressed by bzip2"},
    {"\x28\xB5\x2F\xFD", "compressed by zstd"},
    {"\xFD\x37zXZ", "compressed by xz"},
    {"\xFF\xFE", "text in UTF-16"},
    {"\xFE\xFF", "text in UTF-16"},
};

static bool begins(const void *data, size_t size, const char *bytes)
{
    return size >= strlen(bytes) && memcmp(data, bytes, strlen(bytes)) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && is_blank(*at))
        ++at;
    return at;
}

static ald_status_t split_lines(ald_row_file_t *source)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *at = source->text, *end = at + source->size;
    for (int64_t number = 0; at < end; ++number) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline == NULL ? end : newline;
        const ald_raw_row_t row = {at, (size_t)(next - at), number};
        if (skip_blanks(at, next) < next)
            ALD_TRY(ald_vec_push(&source->rows, &row));
        at = next + 1;
    }
done:
    return status;
}

/* The place of the quote that ends the string beginning at `at`; `end` when there is none. */
static const char *string_end(const char *at, const char *end)
{
    for (++at; at < end && *at != '"'; ++at)
        at += *at == '\\' && at + 1 < end;
    return at;
}

/* The end of the value at `at`: where its brackets are closed, or where a simple value stops. */
static const char *value_end(const char *at, const char *end)
{
    int64_t depth = 0;
    for (; at < end; ++at) {
        if (*at == '"')
            at = string_end(at, end);
        else if (*at == '{' || *at == '[')
            ++depth;
        else if (depth == 0 && (*at == ',' || *at == ']' || is_blank(*at)))
            return at;
        else if ((*at == '}' || *at == ']') && --depth == 0)
            return at + 1;
    }
    return end;
}

/* Cuts an array into its items; *good is false when it isn't an array. */
static ald_status_t split_array(ald_row_file_t *source, const char *at, bool *good)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *end = source->text + source->size;
    *good = false;
    at = skip_blanks(at + 1, end);
    for (int64_t number = 0; at < end && *at != ']'; ++number) {
        ald_raw_row_t row = {at, 0, number};
        at = value_end(at, end);
        row.length = (size_t)(at - row.text);
        at = skip_blanks(at, end);
        if (row.length == 0 || at == end || (*at != ',' && *at != ']'))
            goto done;
        ALD_TRY(ald_vec_push(&source->rows, &row));
        if (*at == ',') {
            at = skip_blanks(at + 1, end);
            if (at == end || *at == ']')
                goto done;
        }
    }
    *good = at < end && skip_blanks(at + 1, end) == end;
done:
    return status;
}

/* Refuses a broken array. The message names line and column, for which the whole is parsed. */
static ald_status_t refuse_array(const ald_row_file_t *source)
{
    ald_json_t *whole = NULL;
    ald_status_t status = ald_json_parse(source->text, source->size, source->path, &whole);
    ald_json_free(whole);
    return status == ALD_STATUS_OK
               ? ald_status_raise(ALD_STATUS_INTERNAL, "%s: the array's items can't be told apart",
                                  source->path)
               : status;
}

static ald_status_t split_rows(ald_row_file_t *source)
{
    ald_status_t status = ALD_STATUS_OK;
    bool good = true;
    const char *end = source->text + source->size, *at = skip_blanks(source->text, end);
    source->array = at < end && *at == '[';
    if (!source->array)
        return split_lines(source);
    ALD_TRY(split_array(source, at, &good));
    if (!good)
        status = refuse_array(source);
done:
    return status;
}

/* Finds the text of the file: expanded, and without a byte-order mark. */
static ald_status_t find_text(ald_row_file_t *source)
{
    static const char mark[] = "\xEF\xBB\xBF";
    ald_status_t status = ALD_STATUS_OK;
    if (ald_gzip_is(source->text, source->size)) {
        ALD_TRY(ald_gzip_expand(source->text, source->size, source->path, &source->wide));
        ald_map_close(&source->map);
        source->text = source->wide.count > 0 ? source->wide.data : "";
        source->size = source->wide.count;
    }
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; ++i)
        ALD_CHECK(!begins(source->text, source->size, strangers[i].bytes), ALD_STATUS_INPUT,
                  "%s: is %s; expected JSONL or a JSON array in UTF-8, plain or compressed by gzip",
                  source->path, strangers[i].what);
    if (begins(source->text, source->size, mark)) {
        source->text += sizeof mark - 1;
        source->size -= sizeof mark - 1;
    }
done:
    return status;
}

static ald_status_t read_text(const char *text, size_t size, ald_row_file_t *source)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_sha256_t sha;
    ald_vec_init(&source->rows, sizeof(ald_raw_row_t));
    ald_vec_init(&source->wide, 1);
    source->text = text;
    source->size = size;
    ald_sha256_init(&sha);
    ald_sha256_update(&sha, text, size);
    ald_sha256_final(&sha, source->sha256);
    ALD_TRY(find_text(source));
    ALD_TRY(split_rows(source));
    ALD_CHECK(source->rows.count > 0, ALD_STATUS_INPUT, "%s: no rows", source->path);
done:
    return status;
}

ald_status_t ald_row_file_open(const char *path, ald_row_file_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_row_file_t){.path = path};
    ALD_TRY(ald_map_open(path, &out->map));
    ALD_TRY(read_text((const char *)out->map.data, out->map.size, out));
done:
    return status;
}

ald_status_t ald_row_file_use(const char *name, const char *text, size_t size, ald_row_file_t *out)
{
    *out = (ald_row_file_t){.path = name};
    return read_text(text, size, out);
}

void ald_row_file_close(ald_row_file_t *source)
{
    ald_vec_reset(&source->rows);
    ald_vec_reset(&source->wide);
    ald_map_close(&source->map);
}

ald_status_t ald_row_file_parse(const ald_row_file_t *source, const ald_raw_row_t *row,
                                ald_json_t **out)
{
    *out = NULL;
    if (row->length > ROW_MOST) {
        ald_status_t status = ald_status_raise(
            ALD_STATUS_INPUT, "a row of %zu bytes; expected at most %d", row->length, ROW_MOST);
        return source->array ? ald_row_file_place(source, row->number, status) : status;
    }
    ald_status_t status = ald_json_parse(row->text, row->length, "", out);
    if (status != ALD_STATUS_INPUT)
        return status;
    if (source->array)
        return refuse_array(source);
    /* The place within the line is replaced by the file's line. */
    const char *reason = strstr(ald_status_message(), "not valid JSON");
    return reason == NULL ? status : ald_status_raise(status, "%s", reason);
}

ald_status_t ald_row_file_place(const ald_row_file_t *source, int64_t number, ald_status_t status)
{
    return source->array
               ? ald_status_prefix(status, "%s: item %lld", source->path, (long long)number)
               : ald_status_prefix(status, "%s:%lld", source->path, (long long)number + 1);
}
