/* A sweep: several configurations that differ only in settings on which no shard depends. Layer:
 * config.
 *
 * The file is libconfig:
 *
 *   at_once = 0;                                      # runs in memory together; 0: as many as fit
 *   runs: ( { name = "plain"; teacher: { extrapolation = "none"; }; },
 *           { name = "other-order"; seed = 2; } );    # pieces of a configuration, with a name
 *   grid: { teacher: { strength = [5.0, 20.0]; };     # every combination of the values, named
 *           distill: { divergence = ["reverse", "forward"]; }; };   # strength-5.0_divergence-...
 */
#ifndef ALD_CONFIG_SWEEP_H
#define ALD_CONFIG_SWEEP_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"

typedef struct {
    char *name;          /* of its folder: letters, digits and "._+-" */
    char *label;         /* its settings, "teacher.strength=5.0 seed=2" */
    ald_config_t config; /* complete, as --set with these settings after the others would make it;
                            but distill.output is that of the configuration, followed by /NAME */
} ald_sweep_run_t;

typedef struct {
    ald_sweep_run_t *runs; /* [count]: those of `runs`, then those of `grid`; owned */
    int64_t count, at_once;
} ald_sweep_t;

/* Reads the sweep `path` over the configuration `config` with its `count` settings of --set. USAGE
 * naming file and line for what ald_config_load refuses, for a key that shards or places depend on,
 * for names that are missing, unfit or there twice. Local; free with reset, which takes a zeroed
 * one. */
ald_status_t ald_sweep_load(const char *path, const char *config, const char *const *settings,
                            int count, ald_sweep_t *out);
void ald_sweep_reset(ald_sweep_t *sweep);

#endif
