/* Rows of a data file as the items of steps (ald/train/order.h). All but the feed's functions are
 * local. Layer: train. */
#ifndef ALD_TRAIN_ROWS_H
#define ALD_TRAIN_ROWS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/train/loop.h"

typedef struct {
    const ald_config_t *config;
    const ald_dataset_t *data;
    int64_t *order, *items; /* [rows], [batch_size]; order is owned */
} ald_rows_t;
/* RESOURCE without memory. `data` stays the caller's. */
ald_status_t ald_rows_init(const ald_config_t *config, const ald_dataset_t *data, ald_rows_t *out);
void ald_rows_reset(ald_rows_t *rows); /* takes a zeroed one */
/* A feed of these rows; the first step's metrics say what was cut and left out of the file. */
ald_feed_t ald_rows_feed(ald_rows_t *rows);

#endif
