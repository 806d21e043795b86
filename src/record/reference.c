/* Numbers of dpo's reference kept in a file: they never change during a run, so a resumed run, or
 * one of other settings, need not load the reference and compute them again. */
#include "ald/record/reference.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/record/h5.h"

static ald_status_t write_values(hid_t file, const char *path, const double *values, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    const hsize_t shape[2] = {(hsize_t)count, 2}, chunk[2] = {count < 32768 ? shape[0] : 32768, 2};
    hid_t space = -1, list = -1, data = -1;
    ALD_H5(space = H5Screate_simple(2, shape, NULL), path, "logprob");
    ALD_H5(list = ald_h5_dataset_properties(), path, "logprob");
    ALD_H5(H5Pset_chunk(list, 2, chunk), path, "logprob");
    ALD_H5(data =
               H5Dcreate2(file, "logprob", H5T_IEEE_F64LE, space, H5P_DEFAULT, list, H5P_DEFAULT),
           path, "logprob");
    ALD_H5(H5Dwrite(data, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path,
           "logprob");
done:
    if (data >= 0 && H5Dclose(data) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(path, "logprob");
    H5Pclose(list);
    H5Sclose(space);
    return status;
}

static ald_status_t write_file(const char *temporary, const char *path, const char *made_from,
                               const double *values, int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t file = -1;
    ALD_TRY(ald_h5_create(temporary, ALD_H5_PAGE, &file));
    ALD_TRY(ald_h5_put_text(file, path, "format", "aligndistil-reference"));
    ALD_TRY(ald_h5_put_text(file, path, "made_from", made_from));
    ALD_TRY(write_values(file, path, values, count));
    ALD_H5(H5Fflush(file, H5F_SCOPE_GLOBAL), path, "cannot write");
done:
    if (file >= 0 && H5Fclose(file) < 0 &&
        status == ALD_STATUS_OK) /* closed once, also after a failure */
        status = ald_h5_raise(path, "cannot write");
    return status;
}

ald_status_t ald_reference_write(const char *path, const char *made_from, const double *values,
                                 int64_t count)
{
    ald_status_t status = ALD_STATUS_OK;
    char *temporary = ald_path_temporary(path);
    ALD_CHECK_MEMORY(temporary, strlen(path));
    ald_h5_begin();
    ALD_TRY(write_file(temporary, path, made_from, values, count));
    ALD_TRY(ald_file_publish(temporary, path));
done:
    if (status != ALD_STATUS_OK && temporary != NULL)
        unlink(temporary);
    ald_free(temporary);
    return status;
}

static bool read_values(hid_t file, double *values, int64_t count)
{
    hsize_t shape[2] = {0, 0};
    hid_t data = H5Dopen2(file, "logprob", H5P_DEFAULT);
    hid_t space = data < 0 ? -1 : H5Dget_space(data);
    bool good = space >= 0 && H5Sget_simple_extent_ndims(space) == 2 &&
                H5Sget_simple_extent_dims(space, shape, NULL) == 2 && shape[0] == (hsize_t)count &&
                shape[1] == 2 &&
                H5Dread(data, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    H5Sclose(space);
    H5Dclose(data);
    return good;
}

bool ald_reference_read(const char *path, const char *made_from, double *values, int64_t count)
{
    hid_t file = -1;
    char *found = NULL;
    ald_h5_begin();
    if (!ald_path_exists(path) || ald_h5_open(path, &file) != ALD_STATUS_OK)
        return false;
    bool good = ald_h5_get_text(file, path, "made_from", &found) == ALD_STATUS_OK &&
                strcmp(found, made_from) == 0 && read_values(file, values, count);
    H5Fclose(file);
    ald_free(found);
    return good;
}
