/* Private to model: the keys of config.json that are known. */
#ifndef ALD_MODEL_CONFIG_KNOWN_IMPL_H
#define ALD_MODEL_CONFIG_KNOWN_IMPL_H

#include "ald/base/status.h"
#include "model/config_keys_impl.h"

/* INPUT naming the first key that is neither read, nor known to leave the mathematics alone, nor
 * has a value that turns it off. null and empty lists and objects say nothing. `also`, which ends
 * with NULL, has keys that are read for this family alone. Local. */
ald_status_t ald_keys_check_known(const ald_keys_t *keys, const char *const *also);

#endif
