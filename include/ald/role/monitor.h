/* What a policy in training says in fixed rows: how probable given terms are at their places, and
 * its greedy answers, step by step. Layer: role. */
#ifndef ALD_ROLE_MONITOR_H
#define ALD_ROLE_MONITOR_H

#include "ald/base/status.h"
#include "ald/train/engine.h"
#include "ald/train/loop.h"

typedef struct ald_monitor ald_monitor_t;

/* Reads monitor.rows with the tokenizer of the engine's origin, and finds the terms in its answers;
 * what an earlier run has seen up to the engine's step is kept. *out is NULL where monitor.rows
 * isn't set. USAGE for monitor.alarm, INPUT for the files. Collective over the trainers; root has
 * it all. */
ald_status_t ald_monitor_open(ald_engine_t *engine, ald_monitor_t **out);
void ald_monitor_close(ald_monitor_t *monitor); /* takes NULL */

/* ald_loop_t.watch: every monitor.every steps, at the first and at the last, sets the metrics
 * "monitor/p(TERM)", means over the term's places, writes monitor.jsonl and monitor.html into the
 * engine's output, and warns, or ends the run, as monitor.alarm says. Collective over the trainers.
 */
ald_status_t ald_monitor_watch(void *monitor, ald_run_t *run);

#endif
