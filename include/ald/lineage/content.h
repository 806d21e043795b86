/* What lies at a path, by digests of its content, and whether it still is what a record says.
 * A description is an object {"kind", "sha256", "files": {NAME: sha256}} of a kind:
 *   "file"    sha256 of its bytes; no "files"
 *   "model"   sha256 as ald_hf_sha256 has it; the files are weights, configuration, tokenizer and
 *             templates (.safetensors, .json, .jinja, .model, .txt), not what a run wrote beside
 *   "shards"  sha256 of the lines "HEX  shard-NNNNNN.h5\n" of manifest.json, which `sha256sum
 *             shard-*.h5 | sha256sum` gives; no "files". Without a manifest, as on-policy runs
 *             leave them, computed from the shards, which are the files
 *   "folder"  of reports: "files" are given names, and sha256 is the first one's
 * All functions are local. Layer: lineage. */
#ifndef ALD_LINEAGE_CONTENT_H
#define ALD_LINEAGE_CONTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"

/* Sets kind, sha256 and files into `out`. `names`: of a "folder", closed by NULL; those that aren't
 * there are left out. INPUT for what can't be read. */
ald_status_t ald_content_describe(const char *path, const char *kind, const char *const *names,
                                  ald_json_t *out);
/* Whether what lies there, as far as a description of it goes, was changed, moved or made at that
 * second or later; true where that can't be seen. */
bool ald_content_is_newer(const char *path, const char *kind, int64_t since);
/* Computes all digests again, from the bytes, and pushes a text to `changes` (a JSON array) for
 * each that isn't as `said` (a description) has it. */
ald_status_t ald_content_verify(const char *path, const ald_json_t *said, ald_json_t *changes);

#endif
