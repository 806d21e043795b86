/* The program as a run's record names it. Versions of libraries are those that it was built with,
 * given by the build, but for MPI's, which says its own: clusters exchange that one. */
#include "ald/lineage/program.h"

#include <mpi.h>
#include <string.h>

#include "ald/base/json.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "program_build.h"

static const struct {
    const char *name, *version;
} libraries[] = {{"jansson", ALD_WITH_JANSSON},    {"libconfig", ALD_WITH_LIBCONFIG},
                 {"pcre2", ALD_WITH_PCRE2},        {"utf8proc", ALD_WITH_UTF8PROC},
                 {"zlib", ALD_WITH_ZLIB},          {"hdf5", ALD_WITH_HDF5},
                 {"libcrypto", ALD_WITH_LIBCRYPTO}};

static ald_json_t *describe_libraries(void)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    ald_json_t *out = ald_json_new_object();
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    ald_json_set(out, "mpi", ald_json_new_text(text, strlen(text)));
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; ++i)
        ald_json_set(out, libraries[i].name, ald_json_new_string(libraries[i].version));
    return out;
}

ald_json_t *ald_program_describe(void)
{
    ald_json_t *out = ald_json_new_object();
    ald_json_set(out, "name", ald_json_new_string("aligndistil"));
    ald_json_set(out, "version", ald_json_new_string(ALD_VERSION));
    ald_json_set(out, "commit", ald_json_new_string(ALD_COMMIT));
    ald_json_set(out, "compiler", ald_json_new_string(ALD_COMPILER));
    ald_json_set(out, "kernel", ald_json_new_string(ald_isa_name(ald_isa)));
    ald_json_set(out, "products", ald_json_new_string(ald_gemm_describe()));
    ald_json_set(out, "libraries", describe_libraries());
    return out;
}
