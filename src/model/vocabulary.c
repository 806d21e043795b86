/* How many tokens two models share. Embeddings of one tokenizer are padded to different sizes,
 * and a comparison over the padding would be over rows that nothing was ever learnt of. */
#include "ald/model/vocabulary.h"

#include <stdbool.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/text/tokenizer.h"

/* *common becomes the smaller of the tokenizer's ids and the row counts, or of the row counts
 * alone. Of equal counts that are too small for the ids the data says more (ald/data/dataset.h). */
static ald_status_t compare(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                            bool padded, int64_t *common)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_tokenizer_t *tokenizer = NULL;
    const int64_t rows = rows_a < rows_b ? rows_a : rows_b;
    ALD_TRY(ald_tokenizer_open(a, &tokenizer));
    const int64_t ids = ald_tokenizer_size(tokenizer);
    ALD_CHECK(rows >= ids || rows_a == rows_b, ALD_STATUS_INPUT,
              "%s: vocab_size %lld, but %s has %lld; expected that they differ beyond the "
              "tokenizer's %lld ids alone",
              b, (long long)rows_b, a, (long long)rows_a, (long long)ids);
    *common = padded || rows < ids ? rows : ids;
    if (rows_a != rows_b)
        ald_log_info("vocabulary: %s has %lld rows, %s %lld, the tokenizer %lld ids; compared on "
                     "%lld",
                     a, (long long)rows_a, b, (long long)rows_b, (long long)ids,
                     (long long)*common);
done:
    ald_tokenizer_destroy(tokenizer);
    return status;
}

ald_status_t ald_vocabulary_common(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common)
{
    return compare(a, rows_a, b, rows_b, false, common);
}

ald_status_t ald_vocabulary_padded(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common)
{
    return compare(a, rows_a, b, rows_b, true, common);
}
