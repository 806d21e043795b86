/* A run's record, run.json beside its result: what was made, from what, by which program, where,
 * when. All functions are local; root calls them. Layer: lineage. */
#ifndef ALD_LINEAGE_RUN_H
#define ALD_LINEAGE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"

/* Seconds since 1970 as "2026-01-31T23:59:59Z"; "" for 0. */
void ald_run_time(int64_t when, char out[24]);
/* The seconds of such a text; 0 for another one, and for NULL. */
int64_t ald_run_seconds(const char *text);

/* Notes that this process's stage begins, and whether it goes on from what is there. */
void ald_run_setup(bool resume);
/* Notes that it begins on an output (a folder, or with `file` a file), whose lock it has: what is
 * finished already, and whether it goes on from what a stopped run has kept (.run.json in the
 * folder, which is there until the stage is finished). */
void ald_run_begin(const char *output, bool file);
/* Notes that it was stopped after `seconds`. */
void ald_run_stopped(const char *output, bool file, double seconds);

/* Gives the memory of what was noted back. */
void ald_run_end(void);

/* An input, by the key of the configuration that names it. */
typedef struct {
    const char *role, *kind, *path; /* kind: of ald/lineage/content.h; path "": none */
} ald_run_input_t;

typedef struct {
    const char *stage;
    const char *output, *kind; /* the result, and its kind of ald/lineage/content.h */
    const char *const *names;  /* of a "folder"'s files */
    const char *claimed;       /* the output that ald_run_begin was told, or NULL */
    bool claimed_file;
    const char *record; /* path of run.json */
    const char *done;   /* of the done.json that says settings; NULL or not there: none */
    const char *root;   /* the folder below which paths are written as relative ones */
    const ald_run_input_t *inputs; /* closed by a NULL role */
    const ald_json_t *settings;    /* where no done.json has them */
    const ald_json_t *hosts;       /* names of the nodes */
    int ranks, threads;
    int64_t part, parts; /* of score; parts 0: another stage */
    double seconds;      /* of this process's run */
} ald_run_t;

/* Writes the record, unless that of the result is there already; *out is what was written (the
 * caller's), or what a run wrote that was killed before ald_run_written, or NULL. INPUT for content
 * that can't be read. */
ald_status_t ald_run_write(const ald_run_t *run, ald_json_t **out);
/* Notes that what goes with the record, a card and a line of the ledger, is written. */
void ald_run_written(const ald_run_t *run);

/* PATH.run.json: the path of the record of a file, or of a folder of shards, which holds nothing
 * but what is the same at all times. Freed by ald_free. */
char *ald_run_beside(const char *path);
/* The path of the record that speaks of what lies at `path`: PATH/run.json, PATH.run.json, or of a
 * file the run.json of its folder that lists it, first where links lead to; NULL where there is
 * none. Freed by ald_free. */
char *ald_run_find(const char *path);

#endif
