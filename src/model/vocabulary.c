/* How many tokens two models share. Embeddings of one tokenizer are padded to different sizes,
 * and a comparison over the padding would be over rows that nothing was ever learnt of. */
#include "ald/model/vocabulary.h"

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/text/tokenizer.h"

/* *ids becomes the number of the tokenizer's ids, *rows the smaller row count. Of equal counts that
 * are too small the data says more (ald/data/dataset.h). */
static ald_status_t count(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                          int64_t *ids, int64_t *rows)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_tokenizer_t *tokenizer = NULL;
    ALD_TRY(ald_tokenizer_open(a, &tokenizer));
    *ids = ald_tokenizer_size(tokenizer);
    *rows = rows_a < rows_b ? rows_a : rows_b;
    ALD_CHECK(*rows >= *ids || rows_a == rows_b, ALD_STATUS_INPUT,
              "%s: vocab_size %lld, but %s has %lld; expected that they differ beyond the "
              "tokenizer's %lld ids alone",
              b, (long long)rows_b, a, (long long)rows_a, (long long)*ids);
done:
    ald_tokenizer_destroy(tokenizer);
    return status;
}

static void say(const char *a, int64_t rows_a, const char *b, int64_t rows_b, int64_t ids,
                int64_t common)
{
    if (rows_a != rows_b)
        ald_log_info("vocabulary: %s has %lld rows, %s %lld, the tokenizer %lld ids; compared on "
                     "%lld",
                     a, (long long)rows_a, b, (long long)rows_b, (long long)ids, (long long)common);
}

ald_status_t ald_vocabulary_common(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t ids, rows;
    ALD_TRY(count(a, rows_a, b, rows_b, &ids, &rows));
    *common = ids < rows ? ids : rows;
    say(a, rows_a, b, rows_b, ids, *common);
done:
    return status;
}

ald_status_t ald_vocabulary_padded(const char *a, int64_t rows_a, const char *b, int64_t rows_b,
                                   int64_t *common)
{
    ald_status_t status = ALD_STATUS_OK;
    int64_t ids, rows;
    ALD_TRY(count(a, rows_a, b, rows_b, &ids, &rows));
    *common = rows;
    say(a, rows_a, b, rows_b, ids, *common);
done:
    return status;
}
