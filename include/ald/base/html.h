/* Text in pages of HTML. Layer: base. */
#ifndef ALD_BASE_HTML_H
#define ALD_BASE_HTML_H

#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Appends the text to a page, with what HTML would read as markup or as the end of an attribute in
 * double quotes spelled out. */
ald_status_t ald_html_escape(ald_vec_t *page, const char *text);

#endif
