/* The order of rows in training: batch_size a step, a new permutation every epoch. Local. Layer:
 * train. */
#ifndef ALD_TRAIN_ORDER_H
#define ALD_TRAIN_ORDER_H

#include <stdint.h>

#include "ald/config/config.h"

int64_t ald_epoch_steps(const ald_config_t *config, int64_t count);
int64_t ald_total_steps(const ald_config_t *config, int64_t count);
/* The rows of step `step` among `count`. order has room for count, items for batch_size; returns
 * how many there are. */
int64_t ald_step_items(const ald_config_t *config, int64_t count, int64_t step, int64_t *order,
                       int64_t *items);

#endif
