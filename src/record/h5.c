/* What writers and readers of HDF5 share: opening files, properties, attributes, and one line for
 * a failure. The library's own report is pages long, and its files have times in them. */
#include "ald/record/h5.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"

/* Objects of at least so many bytes are aligned; of smaller ones the gaps would waste too much. */
enum { ALIGNED = 1 << 16 };

void ald_h5_begin(void)
{
    H5dont_atexit(); /* fails once the library runs, when the first call has done its work */
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

typedef struct {
    char text[400];
    int error; /* errno that HDF5 mentions, or 0 */
    int no_space;
} reason_t;

/* Shortens HDF5's descriptions to what a user can act on. */
static void describe(const char *from, reason_t *out)
{
    static const char *const known[][2] = {
        {"truncated file", "the file is cut short"},
        {"file signature not found", "not an HDF5 file, or cut short"},
        {"bad object header version", "the file was not finished by its writer"},
        {"Fletcher32 checksum", "the data is damaged (its Fletcher-32 checksum doesn't match)"},
    };
    const char *number = strstr(from, "errno = "), *message = strstr(from, "error message = '");
    out->error = number != NULL ? atoi(number + strlen("errno = ")) : 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
        if (strstr(from, known[i][0]) != NULL) {
            snprintf(out->text, sizeof out->text, "%s", known[i][1]);
            return;
        }
    }
    if (message != NULL) {
        message += strlen("error message = '");
        snprintf(out->text, sizeof out->text, "%.*s", (int)strcspn(message, "'"), message);
    } else {
        snprintf(out->text, sizeof out->text, "%s", from);
    }
}

/* The innermost entry is the most specific one. */
static herr_t take_reason(unsigned n, const H5E_error2_t *entry, void *context)
{
    reason_t *reason = context;
    if (n == 0 && entry->desc != NULL)
        describe(entry->desc, reason);
    if (entry->min_num == H5E_NOSPACE)
        reason->no_space = 1;
    return 0;
}

ald_status_t ald_h5_raise(const char *file, const char *what)
{
    reason_t reason = {.text = "HDF5 gives no reason"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_reason, &reason);
    ald_status_t code = reason.no_space ? ALD_STATUS_RESOURCE : ALD_STATUS_INPUT;
    if (reason.error != 0)
        code = ald_status_of_errno(reason.error);
    return ald_status_raise(code, "%s: %s: %s", file, what, reason.text);
}

/* Lets the cache of metadata begin small and stay below ALD_H5_METADATA. */
static herr_t limit_metadata(hid_t list)
{
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Pget_mdc_config(list, &config) < 0)
        return -1;
    config.set_initial_size = 1;
    config.initial_size = config.min_size = ALD_H5_METADATA / 4;
    config.max_size = ALD_H5_METADATA;
    return H5Pset_mdc_config(list, &config);
}

/* Properties of file access: no locks, and objects that a failure left open are closed with their
 * file. */
static hid_t access_properties(void)
{
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0)
        return list;
    if (H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) >= 0 && H5Pset_file_locking(list, 0, 1) >= 0 &&
        limit_metadata(list) >= 0)
        return list;
    H5Pclose(list);
    return -1;
}

ald_status_t ald_h5_create(const char *path, int64_t alignment, hid_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t access = -1, creation = -1;
    *out = -1;
    ALD_H5(access = access_properties(), path, "create");
    ALD_H5(H5Pset_alignment(access, ALIGNED, (hsize_t)alignment), path, "create");
    ALD_H5(creation = H5Pcreate(H5P_FILE_CREATE), path, "create");
    ALD_H5(H5Pset_obj_track_times(creation, 0), path, "create");
    ALD_H5(*out = H5Fcreate(path, H5F_ACC_TRUNC, creation, access), path, "cannot write");
done:
    H5Pclose(creation);
    H5Pclose(access);
    return status;
}

ald_status_t ald_h5_open(const char *path, hid_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t access = -1;
    *out = -1;
    ALD_H5(access = access_properties(), path, "open");
    ALD_H5(*out = H5Fopen(path, H5F_ACC_RDONLY, access), path, "cannot read");
done:
    H5Pclose(access);
    return status;
}

static hid_t properties_without_times(hid_t class)
{
    hid_t list = H5Pcreate(class);
    if (list >= 0 && H5Pset_obj_track_times(list, 0) < 0) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

hid_t ald_h5_group_properties(void)
{
    return properties_without_times(H5P_GROUP_CREATE);
}

hid_t ald_h5_dataset_properties(void)
{
    return properties_without_times(H5P_DATASET_CREATE);
}

hid_t ald_h5_text_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && H5Tset_size(type, H5T_VARIABLE) >= 0 && H5Tset_cset(type, H5T_CSET_UTF8) >= 0)
        return type;
    H5Tclose(type);
    return -1;
}

hid_t ald_h5_f16_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type >= 0 && H5Tset_fields(type, 15, 10, 5, 0, 10) >= 0 && H5Tset_size(type, 2) >= 0 &&
        H5Tset_ebias(type, 15) >= 0)
        return type;
    H5Tclose(type);
    return -1;
}

static ald_status_t put(hid_t object, const char *file, const char *name, hid_t type,
                        const void *value)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t space = -1, attribute = -1;
    ALD_H5(space = H5Screate(H5S_SCALAR), file, name);
    ALD_H5(attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT), file, name);
    ALD_H5(H5Awrite(attribute, type, value), file, name);
done:
    if (attribute >= 0 && H5Aclose(attribute) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(file, name);
    H5Sclose(space);
    return status;
}

ald_status_t ald_h5_put_integer(hid_t object, const char *file, const char *name, int64_t value)
{
    return put(object, file, name, H5T_STD_I64LE, &(uint64_t){htole64((uint64_t)value)});
}

ald_status_t ald_h5_put_text(hid_t object, const char *file, const char *name, const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t type = -1;
    ALD_H5(type = ald_h5_text_type(), file, name);
    ALD_TRY(put(object, file, name, type, &text));
done:
    H5Tclose(type);
    return status;
}

/* Opens a scalar attribute with a string, and its type in the file. */
static ald_status_t open_attribute(hid_t object, const char *file, const char *name, hid_t *out,
                                   hid_t *type)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t space = -1;
    *out = *type = -1;
    htri_t there = H5Aexists(object, name);
    ALD_H5(there, file, name);
    ALD_CHECK(there > 0, ALD_STATUS_INPUT, "%s: attribute \"%s\" is missing", file, name);
    ALD_H5(*out = H5Aopen(object, name, H5P_DEFAULT), file, name);
    ALD_H5(*type = H5Aget_type(*out), file, name);
    ALD_H5(space = H5Aget_space(*out), file, name);
    ALD_CHECK(H5Tget_class(*type) == H5T_STRING && H5Sget_simple_extent_type(space) == H5S_SCALAR,
              ALD_STATUS_INPUT, "%s: attribute \"%s\": expected one string", file, name);
done:
    H5Sclose(space);
    return status;
}

ald_status_t ald_h5_get_text(hid_t object, const char *file, const char *name, char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t attribute = -1, type = -1;
    char *text = NULL;
    *out = NULL;
    ALD_TRY(open_attribute(object, file, name, &attribute, &type));
    ALD_CHECK(H5Tis_variable_str(type) > 0, ALD_STATUS_INPUT,
              "%s: attribute \"%s\": expected a string of variable length", file, name);
    ALD_H5(H5Aread(attribute, type, &text), file, name);
    *out = ald_strdup(text == NULL ? "" : text); /* HDF5 gives NULL for an empty one */
    ALD_CHECK_MEMORY(*out, text == NULL ? 1 : strlen(text) + 1);
done:
    H5free_memory(text);
    H5Tclose(type);
    H5Aclose(attribute);
    return status;
}
