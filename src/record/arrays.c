/* Named arrays of floats in an HDF5 file, which any tool reads. Each has a checksum, so that damage
 * is an error and not another run. */
#include "ald/record/arrays.h"

#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/record/h5.h"

enum {
    CHUNK = 1 << 18,      /* floats: 1 MiB, as large as HDF5's cache of chunks */
    PIECE = CHUNK * 64LL, /* floats of a call, which other threads wait for */
};

/* Writes the numbers in pieces. */
static ald_status_t put_values(hid_t data, hid_t space, const char *path, const ald_array_t *array)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t memory = -1;
    for (int64_t at = 0; at < array->count; at += PIECE) {
        const hsize_t first = (hsize_t)at;
        const hsize_t some = (hsize_t)(array->count - at < PIECE ? array->count - at : PIECE);
        ALD_H5(memory = H5Screate_simple(1, &some, NULL), path, array->name);
        ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &first, NULL, &some, NULL), path,
               array->name);
        ALD_H5(H5Dwrite(data, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, array->values + at),
               path, array->name);
        H5Sclose(memory);
        memory = -1;
    }
done:
    if (memory >= 0)
        H5Sclose(memory);
    return status;
}

/* One dataset with a checksum. */
static ald_status_t put(hid_t file, const char *path, const ald_array_t *array)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = array->name;
    hsize_t size = (hsize_t)array->count, chunk = size < CHUNK ? size : CHUNK;
    hid_t space = -1, plist = -1, data = -1;
    ALD_H5(space = H5Screate_simple(1, &size, NULL), path, name);
    ALD_H5(plist = ald_h5_dataset_properties(), path, name);
    ALD_H5(H5Pset_chunk(plist, 1, &chunk), path, name);
    ALD_H5(H5Pset_fletcher32(plist), path, name);
    ALD_H5(data = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, plist, H5P_DEFAULT),
           path, name);
    ALD_TRY(put_values(data, space, path, array));
done:
    if (data >= 0 && H5Dclose(data) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(path, name);
    H5Pclose(plist);
    H5Sclose(space);
    return status;
}

/* Reads array->count numbers from `first` on, of `total` in the file. */
static ald_status_t get(hid_t file, const char *path, const ald_array_t *array, int64_t first,
                        int64_t total)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *name = array->name;
    const hsize_t start = (hsize_t)first, count = (hsize_t)array->count;
    hid_t data = -1, space = -1, memory = -1;
    ALD_H5(data = H5Dopen2(file, name, H5P_DEFAULT), path, name);
    ALD_H5(space = H5Dget_space(data), path, name);
    ALD_CHECK(H5Sget_simple_extent_ndims(space) == 1 &&
                  H5Sget_simple_extent_npoints(space) == total,
              ALD_STATUS_INPUT, "%s: %s: expected %lld numbers, found %lld", path, name,
              (long long)total, (long long)H5Sget_simple_extent_npoints(space));
    if (count == 0)
        goto done;
    ALD_H5(memory = H5Screate_simple(1, &count, NULL), path, name);
    ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &count, NULL), path, name);
    ALD_H5(H5Dread(data, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, array->values), path, name);
done:
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(data);
    return status;
}

/* One virtual dataset over those of the same name in the parts. */
static ald_status_t put_joined(hid_t file, const char *path, const char *name,
                               const ald_array_part_t *parts, int count)
{
    ald_status_t status = ALD_STATUS_OK;
    hsize_t size = 0, at = 0;
    hid_t list = -1, space = -1, source = -1, data = -1;
    for (int p = 0; p < count; ++p)
        size += (hsize_t)parts[p].count;
    ALD_H5(list = ald_h5_dataset_properties(), path, name);
    ALD_H5(space = H5Screate_simple(1, &size, NULL), path, name);
    for (int p = 0; p < count; ++p) {
        const hsize_t some = (hsize_t)parts[p].count;
        ALD_H5(source = H5Screate_simple(1, &some, NULL), path, name);
        ALD_H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &some, NULL), path, name);
        ALD_H5(H5Pset_virtual(list, space, parts[p].file, name, source), path, name);
        H5Sclose(source);
        source = -1;
        at += some;
    }
    ALD_H5(data = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT),
           path, name);
done:
    H5Sclose(source);
    H5Dclose(data);
    H5Sclose(space);
    H5Pclose(list);
    return status;
}

/* Closes a file that was written, whatever came before; with nothing wrong it is on the disk then.
 */
static ald_status_t close_written(hid_t file, const char *path, ald_status_t status)
{
    if (file >= 0 && status == ALD_STATUS_OK && H5Fflush(file, H5F_SCOPE_GLOBAL) < 0)
        status = ald_h5_raise(path, "cannot write");
    if (file >= 0 && H5Fclose(file) < 0 && status == ALD_STATUS_OK)
        status = ald_h5_raise(path, "cannot write");
    if (status == ALD_STATUS_OK)
        status = ald_file_publish(path, path); /* for its fsync */
    return status;
}

ald_status_t ald_arrays_write(const char *path, const ald_array_t *arrays, int count)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t file = -1;
    ald_h5_begin();
    ALD_TRY(ald_h5_create(path, ALD_H5_PAGE, &file));
    for (int i = 0; i < count; ++i)
        ALD_TRY(put(file, path, &arrays[i]));
done:
    return close_written(file, path, status);
}

ald_status_t ald_arrays_join(const char *path, const char *const *names, int count,
                             const ald_array_part_t *parts, int parts_count)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t file = -1;
    ald_h5_begin();
    ALD_TRY(ald_h5_create(path, ALD_H5_PAGE, &file));
    for (int i = 0; i < count; ++i)
        ALD_TRY(put_joined(file, path, names[i], parts, parts_count));
done:
    return close_written(file, path, status);
}

int64_t ald_arrays_bytes(int arrays, int64_t count)
{
    const int64_t chunk = 4 * (count < CHUNK ? count : CHUNK) + 4; /* with its checksum */
    const int64_t pages = (chunk + ALD_H5_PAGE - 1) / ALD_H5_PAGE;
    const int64_t chunks = arrays * ((count + CHUNK - 1) / CHUNK);
    return ALD_H5_PAGE + (chunks - 1) * pages * ALD_H5_PAGE + chunk;
}

bool ald_arrays_take_threads(void)
{
    hbool_t takes = false;
    return H5is_library_threadsafe(&takes) >= 0 && takes;
}

ald_status_t ald_arrays_read(const char *path, const ald_array_t *arrays, int count, int64_t first,
                             int64_t total)
{
    ald_status_t status = ALD_STATUS_OK;
    hid_t file = -1;
    ald_h5_begin();
    ALD_TRY(ald_h5_open(path, &file));
    for (int i = 0; i < count; ++i)
        ALD_TRY(get(file, path, &arrays[i], first, total));
done:
    if (file >= 0)
        H5Fclose(file);
    return status;
}
