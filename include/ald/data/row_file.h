/* A data file in memory, cut into rows that are not parsed yet. Layer: data. */
#ifndef ALD_DATA_ROW_FILE_H
#define ALD_DATA_ROW_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/file.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

/* A row: a line of a JSONL file, or an item of a JSON array. */
typedef struct {
    const char *text;
    size_t length;
    int64_t number; /* 0-based line or index */
} ald_raw_row_t;

typedef struct {
    const char *path; /* borrowed */
    ald_map_t map;    /* the file */
    ald_vec_t wide;   /* its expanded content, when it is compressed */
    const char *text; /* of all rows, within `map` or `wide` */
    size_t size;
    bool array;      /* one JSON array; else JSONL */
    ald_vec_t rows;  /* ald_raw_row_t */
    char sha256[65]; /* of the file */
} ald_row_file_t;

/* Opens JSONL or a JSON array, plain or compressed by gzip, with or without a byte-order mark, told
 * by content. Empty lines are no rows. INPUT for another kind of file, a broken array ("PATH:LINE:
 * COLUMN"), a damaged gzip file, and a file without rows. Local. */
ald_status_t ald_row_file_open(const char *path, ald_row_file_t *out);
/* The same for text in memory, which the caller owns and keeps until the close. */
ald_status_t ald_row_file_use(const char *name, const char *text, size_t size, ald_row_file_t *out);
void ald_row_file_close(ald_row_file_t *source); /* takes a zeroed one */

/* Parses a row. INPUT without file and line for JSONL, with them for an array; also for a row of
 * more than 32 MiB. Local. */
ald_status_t ald_row_file_parse(const ald_row_file_t *source, const ald_raw_row_t *row,
                                ald_json_t **out);
/* Puts "PATH:LINE: " or "PATH: item N: " before the message. */
ald_status_t ald_row_file_place(const ald_row_file_t *source, int64_t number, ald_status_t status);

#endif
