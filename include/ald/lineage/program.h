/* With which program a result was made. Layer: lineage. */
#ifndef ALD_LINEAGE_PROGRAM_H
#define ALD_LINEAGE_PROGRAM_H

#include "ald/base/json.h"

/* {"name", "version", "commit", "compiler", "kernel", "products", "libraries": {name: version}}:
 * the commit is that which was checked out when the build was configured, with "-changed" where
 * files differed from it, "unknown" without git; kernel is the instruction level in use. Local. */
ald_json_t *ald_program_describe(void);

#endif
