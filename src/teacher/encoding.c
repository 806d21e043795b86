/* The table of encodings. A new one is a row here, a file of its own, its datasets in the shard's
 * format, and its name among the choices. */
#include "ald/teacher/encoding.h"

#include "ald/config/choices.h"
#include "teacher/encoding_impl.h"

const ald_encoding_row_t *ald_encoding_row(ald_encoding_t encoding)
{
    static const ald_encoding_row_t *const rows[ALD_ENCODING_COUNT] = {
        [ALD_ENCODING_FULL] = &ald_row_full,         [ALD_ENCODING_HIDDEN] = &ald_row_hidden,
        [ALD_ENCODING_HIDDEN32] = &ald_row_hidden32, [ALD_ENCODING_TOPK] = &ald_row_topk,
        [ALD_ENCODING_SAMPLED] = &ald_row_sampled,
    };
    return rows[encoding];
}
