/* What pages of all stages begin with, and the escaping of text in them: whatever a model or a data
 * file says is shown, and does nothing. No page has a hole of its own. */
#include "ald/base/html.h"

#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/show.h"

static const char style[] =
    ":root{color-scheme:light dark}"
    "body{font:15px/1.45 sans-serif;max-width:75em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:.8em 0}"
    "td,th{padding:.25em .8em;text-align:left;vertical-align:top;border-bottom:1px solid #8884}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;margin:0}bdi{font-"
    "family:monospace}"
    "b{color:#c33}summary{cursor:pointer}ul{margin:.3em 0}"
    "code{overflow-wrap:anywhere}meter{width:8em}"
    "svg{background:#8882}polyline{fill:none;stroke:#27c;stroke-width:1.5}";

ald_status_t ald_html_begin(ald_vec_t *page, const char *kind, const char *subject)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(ald_vec_printf(page,
                           "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\n"
                           "<meta name=\"viewport\" content=\"width=device-width\">"
                           "<title>aligndistil %s</title>\n<style>%s</style>\n<h1>",
                           kind, style));
    ALD_TRY(ald_html_escape(page, subject));
    ALD_TRY(ald_vec_printf(page, "</h1>\n"));
done:
    return status;
}

ald_status_t ald_html_escape(ald_vec_t *page, const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t length = strlen(text), size = 4 * length + 1;
    char *shown = ald_alloc(size);
    ALD_CHECK_MEMORY(shown, size);
    ald_show(text, length, true, shown, size);
    for (const char *at = shown; *at != '\0'; ++at) {
        const char *name = *at == '&'   ? "&amp;"
                           : *at == '<' ? "&lt;"
                           : *at == '>' ? "&gt;"
                           : *at == '"' ? "&quot;"
                                        : NULL;
        if (name != NULL)
            ALD_TRY(ald_vec_printf(page, "%s", name));
        else
            ALD_TRY(ald_vec_append(page, at, 1));
    }
done:
    ald_free(shown);
    return status;
}
