/* Text in pages of HTML. Layer: base. */
#ifndef ALD_BASE_HTML_H
#define ALD_BASE_HTML_H

#include "ald/base/status.h"
#include "ald/base/vec.h"

/* Begins a page of its own file: how it looks, in light or in dark as the reader's system has it,
 * its title "aligndistil KIND" and its heading `subject`. */
ald_status_t ald_html_begin(ald_vec_t *page, const char *kind, const char *subject);

/* Appends the text to a page, with what HTML would read as markup or as the end of an attribute in
 * double quotes spelled out, and what would turn the direction of the rest (as ald_show has it). */
ald_status_t ald_html_escape(ald_vec_t *page, const char *text);

#endif
