/* Escaping of text in pages: whatever a model or a data file says is shown, and does nothing. Pages
 * of every stage go through here, so that none has a hole of its own. */
#include "ald/base/html.h"

ald_status_t ald_html_escape(ald_vec_t *page, const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    for (; *text != '\0'; ++text) {
        const char *name = *text == '&'   ? "&amp;"
                           : *text == '<' ? "&lt;"
                           : *text == '>' ? "&gt;"
                           : *text == '"' ? "&quot;"
                                          : NULL;
        if (name != NULL)
            ALD_TRY(ald_vec_printf(page, "%s", name));
        else
            ALD_TRY(ald_vec_append(page, text, 1));
    }
done:
    return status;
}
