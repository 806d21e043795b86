/* Files in libconfig's syntax, for the files of this layer. Layer: config. */
#ifndef ALD_CONFIG_PARSE_IMPL_H
#define ALD_CONFIG_PARSE_IMPL_H

#include <libconfig.h>

#include "ald/base/status.h"

enum { ALD_PLACE_SIZE = 600 }; /* a path of usual length and a line; longer ones are cut */

/* Parses a file; USAGE naming file and line. config_destroy it also after a failure. Local. */
ald_status_t ald_config_parse(const char *path, config_t *out);
/* "FILE:LINE" of a setting into place[ALD_PLACE_SIZE]; `file` where the setting knows none. */
void ald_config_place(const config_setting_t *setting, const char *file, char *place);
/* "a group", "an integer", ...: what a message says that it found. */
const char *ald_config_type_name(const config_setting_t *setting);
/* USAGE for a key that doesn't exist, with the nearest one that does. */
ald_status_t ald_config_unknown(const char *place, const char *path);

#endif
