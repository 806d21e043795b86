/* Private to role: what is watched, and its page. Layer: role. */
#ifndef ALD_ROLE_MONITOR_IMPL_H
#define ALD_ROLE_MONITOR_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/dataset.h"
#include "ald/role/monitor.h"

typedef struct {
    char *text;    /* owned */
    bool any_case; /* it is found in upper and lower case */
} ald_monitor_term_t;

/* A place of a term: tokens [first, end) of a response of a row have its bytes. */
typedef struct {
    int64_t row;
    int response; /* 0: chosen, 1: rejected */
    int64_t first, end;
    size_t term;
    char *before; /* owned: the text in front of it */
} ald_monitor_place_t;

/* "TERM < BOUND" or "TERM > BOUND", and what then. */
typedef struct {
    size_t term;
    bool below, stops, passed; /* passed: when last looked */
    double bound;
} ald_monitor_alarm_t;

struct ald_monitor {
    ald_engine_t *engine;
    ald_dataset_t data;
    ald_vec_t terms;  /* ald_monitor_term_t */
    ald_vec_t names;  /* char *, owned: of their metrics */
    ald_vec_t places; /* ald_monitor_place_t, by row and place */
    ald_vec_t alarms; /* ald_monitor_alarm_t */
    ald_json_t *seen; /* a list of what each look has seen: the lines of monitor.jsonl */
};

static inline const char *ald_monitor_term(const ald_monitor_t *monitor, size_t i)
{
    return ALD_VEC_AT(&monitor->terms, ald_monitor_term_t, i).text;
}

/* The page of all that was seen, into `path`. Local. */
ald_status_t ald_monitor_page(const ald_monitor_t *monitor, const char *path);

#endif
