/* Runs that are finished: what done.json says of them, and recipes compared. Layer: train. */
#ifndef ALD_TRAIN_FINISHED_H
#define ALD_TRAIN_FINISHED_H

#include <stdbool.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/config.h"
#include "ald/par/comm.h"

/* Appends to a text in a vec of bytes what a recipe (an object of texts) has otherwise than
 * another, "KEY was A, is B", up to three of it; nothing where they are equal. Local. */
ald_status_t ald_recipe_differences(const ald_json_t *was, const ald_json_t *is, ald_vec_t *out);

/* What a stage makes, and the file that says that it is made. */
typedef struct {
    const char *stage;
    const char *output; /* a model directory, or a file: what done.json has the sha256 of */
    const char *done;   /* path of its done.json; NULL: that in `output` */
} ald_made_t;

/* Whether `made` is there, of this recipe (root only): it is then said, and there is nothing to
 * do. False where there is no done.json, and with checkpoint.resume = false. USAGE with what
 * differs where another recipe made it; INPUT where the output isn't what was written. The same on
 * all ranks. Collective. */
ald_status_t ald_finished(const ald_comm_t *comm, const ald_config_t *config,
                          const ald_made_t *made, const ald_json_t *recipe, bool *out);
/* Writes done.json: `head` (taken over) with stage, version, the sha256 of the output, inputs
 * (borrowed; NULL: none) and recipe set into it. Local. */
ald_status_t ald_finished_write(const ald_made_t *made, ald_json_t *head, const ald_json_t *inputs,
                                const ald_json_t *recipe);

#endif
