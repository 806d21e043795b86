/* Frozen models used from their files: matrices stay mapped, in the type of the file, so that the
 * ranks and jobs of a node share one copy. Layer: model. */
#ifndef ALD_MODEL_MAPPED_H
#define ALD_MODEL_MAPPED_H

#include <stdint.h>

#include "ald/base/file.h"
#include "ald/base/sha256.h"
#include "ald/base/status.h"
#include "ald/model/model.h"
#include "ald/model/params.h"

/* Maps a directory's weights for the list of its configuration, with the checks and messages of
 * ald_hf_load but those of values (ald_mapped_check); norms and biases are converted at once.
 * `params` must outlive it. A file that is cut
 * short while it is mapped ends the process (SIGBUS), one that is replaced by another is not
 * noticed. Local. */
ald_status_t ald_mapped_open(const char *directory, const ald_params_t *params, ald_mapped_t **out);
/* INPUT as ald_hf_load for weights that aren't finite or tied wrongly. Reads all of them, so one
 * rank does it for those that map the same files, and lets their pages go again. Local. */
ald_status_t ald_mapped_check(const ald_mapped_t *mapped, const ald_params_t *params);
void ald_mapped_close(ald_mapped_t *mapped); /* takes NULL */
/* The model with the "openblas" products. They share scratch memory, so only one may run at a time.
 */
ald_model_t ald_mapped_model(const ald_mapped_t *mapped, const ald_params_t *params);
/* The mappings of its files, which may be exchanged for copies (ald/par/domain.h); owned by it. */
int64_t ald_mapped_files(const ald_mapped_t *mapped, ald_map_t *const **maps);
/* The bytes of its files, and the bytes that this process has allocated for it. */
int64_t ald_mapped_file_bytes(const ald_mapped_t *mapped);
int64_t ald_mapped_held_bytes(const ald_mapped_t *mapped);
/* SHA-256 of the output matrix's bytes as they lie in the file; reads all of them. Returns its
 * element type's name, "BF16". Local. */
const char *ald_mapped_head_sha256(const ald_mapped_t *mapped, const ald_params_t *params,
                                   char hex[ALD_SHA256_HEX]);

#endif
