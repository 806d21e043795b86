/* A table of tokens in the form that is asked for. The whole output is made before any of it is
 * written, so that a failure leaves no half of a file. */
#include "ald/tokens/write.h"

#include <stdio.h>

#include "ald/base/file.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/tokens/table.h"
#include "tokens/write_impl.h"

ald_status_t ald_tokens_write(const ald_tokens_t *tokens, ald_table_format_t format,
                              const char *path)
{
    static ald_status_t (*const forms[])(const ald_tokens_t *, ald_vec_t *) = {
        [ALD_TABLE_FORMAT_TEXT] = ald_tokens_text,
        [ALD_TABLE_FORMAT_JSONL] = ald_tokens_lines,
        [ALD_TABLE_FORMAT_HTML] = ald_tokens_page};
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(forms[format](tokens, &text));
    if (path != NULL)
        ALD_TRY(ald_file_write(path, text.data, text.count));
    else
        fwrite(text.data, 1, text.count, stdout);
done:
    ald_vec_reset(&text);
    return status;
}
