/* What an audit found, as one page that needs neither server nor network. Texts of the data are
 * escaped, and what would turn their direction is spelled out. */
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/html.h"
#include "ald/base/interval.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"
#include "ald/data/audit_repeats.h"
#include "ald/data/layout.h"
#include "ald/data/minhash.h"
#include "ald/text/words.h"
#include "pipeline/audit_impl.h"
#include "pipeline/report_impl.h"

static ald_status_t put_example(const ald_audit_run_t *run, int r, int64_t row, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const char *unit = run->audit.file.array ? "item" : "line";
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ALD_TRY(ald_vec_printf(page, "<li>%s %lld", unit, (long long)ald_audit_place(run, row)));
    if (r < ALD_REASON_OTHERS && run->others[r][row] != ALD_AUDIT_NO_OTHER)
        ALD_TRY(ald_vec_printf(page, ", as %s %lld", unit,
                               (long long)ald_audit_place(run, run->others[r][row])));
    ALD_TRY(ald_vec_printf(page, ": <code dir=\"auto\">"));
    ALD_TRY(ald_audit_excerpt(&run->audit, row, &text));
    ALD_TRY(ald_vec_append(&text, "", 1));
    ALD_TRY(ald_html_escape(page, text.data));
    ALD_TRY(ald_vec_printf(page, "</code>\n"));
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t put_reason(const ald_audit_run_t *run, int r, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const double share = (double)run->sums.reasons[r] / (double)run->count;
    ALD_TRY(ald_vec_printf(page,
                           "<tr id=\"%s\"><td><b>%s</b><td class=\"n\">%lld<td class=\"n\">%.4f<td>"
                           "<meter value=\"%.4f\"></meter><td>%s<td>",
                           ald_reason_name((ald_reason_t)r), ald_reason_name((ald_reason_t)r),
                           (long long)run->sums.reasons[r], share, share,
                           (run->remove >> r & 1) != 0 ? "removed" : "reported"));
    ALD_TRY(ald_html_escape(page, ald_reason_meaning((ald_reason_t)r)));
    if (run->sums.reasons[r] > 0)
        ALD_TRY(ald_vec_printf(page, "<details><summary>examples</summary><ul>\n"));
    for (int k = 0; k < ALD_AUDIT_EXAMPLES && run->sums.examples[r][k] >= 0; ++k)
        ALD_TRY(put_example(run, r, run->sums.examples[r][k], page));
    if (run->sums.reasons[r] > 0)
        ALD_TRY(ald_vec_printf(page, "</ul></details>"));
    ALD_TRY(ald_vec_printf(page, "\n"));
done:
    return status;
}

static ald_status_t put_share(const char *what, ald_interval_t share, ald_vec_t *page)
{
    if (share.count == 0)
        return ALD_STATUS_OK;
    return ald_vec_printf(page, "<tr><td>%s<td class=\"n\">%.4f<td>[%.4f, %.4f]<td>of %lld\n", what,
                          share.value, share.low, share.high, (long long)share.count);
}

static ald_status_t put_lengths(const ald_audit_run_t *run, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_audit_sums_t *sums = &run->sums;
    ALD_TRY(ald_vec_printf(page, "</table>\n<h2>Length</h2>\n<table>\n"));
    ALD_TRY(put_share("the chosen answer is longer", ald_audit_longer(sums), page));
    ALD_TRY(put_share("&quot;the longer is better&quot; is right, where lengths differ",
                      ald_audit_accuracy(sums), page));
    ALD_TRY(ald_vec_printf(page,
                           "</table>\n<p>Lengths in characters; intervals of 95%%. Answers that "
                           "refuse: %lld chosen, %lld rejected.\n<h2>Scripts</h2>\n<table>\n",
                           (long long)sums->refuses[0], (long long)sums->refuses[1]));
    for (int s = 0; s < ALD_SCRIPT_COUNT; ++s)
        if (sums->scripts[s] > 0)
            ALD_TRY(ald_vec_printf(page, "<tr><td>%s<td class=\"n\">%lld\n",
                                   ald_script_name((ald_script_t)s), (long long)sums->scripts[s]));
done:
    return status;
}

static ald_status_t put_curve(const ald_audit_run_t *run, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t bands = run->config->audit.bands, rows = run->config->audit.rows;
    ALD_TRY(ald_vec_printf(
        page,
        "</table>\n<h2>Near duplicates</h2>\n<p>Pairs of rows that share one of %lld bands of %lld "
        "hashes of %lld-grams are compared; those of a Jaccard similarity of %g or more are near "
        "duplicates. Of the texts %lld pairs were compared, %lld were; of the prompts %lld and "
        "%lld. Two texts are compared with the probability 1 − (1 − s<sup>%lld</sup>)<sup>%lld"
        "</sup>:\n<table><tr><th>similarity s",
        (long long)bands, (long long)rows, (long long)run->config->audit.shingle,
        run->config->audit.similarity, (long long)run->compared[ALD_AUDIT_WHOLE],
        (long long)run->alike[ALD_AUDIT_WHOLE], (long long)run->compared[ALD_AUDIT_PROMPT],
        (long long)run->alike[ALD_AUDIT_PROMPT], (long long)rows, (long long)bands));
    for (int tenth = 5; tenth < 10; ++tenth)
        ALD_TRY(ald_vec_printf(page, "<td class=\"n\">0.%d", tenth));
    ALD_TRY(ald_vec_printf(page, "\n<tr><th>compared"));
    for (int tenth = 5; tenth < 10; ++tenth)
        ALD_TRY(ald_vec_printf(page, "<td class=\"n\">%.4f",
                               ald_minhash_probability(tenth / 10.0, bands, rows)));
    ALD_TRY(ald_vec_printf(page, "\n</table>\n"));
done:
    return status;
}

static ald_status_t put_page(const ald_audit_run_t *run, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t subject;
    ald_vec_init(&subject, 1);
    ALD_TRY(ald_vec_printf(&subject, "audit of %s", run->config->data.train));
    ALD_TRY(ald_html_begin(page, "audit", subject.data));
    ALD_TRY(
        ald_vec_printf(page,
                       "<p>%lld rows of layout %s, %lld pairs; %lld rows clean, %lld "
                       "removed. sha256 <code>%s</code>.\n<table><tr><th>reason<th>rows<th>share"
                       "<th><th><th>meaning\n",
                       (long long)run->count, ald_layout_name(run->audit.layout),
                       (long long)run->sums.pairs, (long long)(run->count - run->sums.removed),
                       (long long)run->sums.removed, run->audit.file.sha256));
    for (int r = 0; r < ALD_REASON_COUNT; ++r)
        if (ald_audit_looked_for(run, (ald_reason_t)r))
            ALD_TRY(put_reason(run, r, page));
    ALD_TRY(put_lengths(run, page));
    ALD_TRY(put_curve(run, page));
    if (run->labels.count > 0)
        ALD_TRY(ald_audit_put_labels(run, page));
    ALD_TRY(ald_vec_printf(page, "</html>\n"));
done:
    ald_vec_reset(&subject);
    return status;
}

ald_status_t ald_audit_write_page(const ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t page;
    char *path = ald_path_join(run->config->audit.output, "audit.html");
    ald_vec_init(&page, 1);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(put_page(run, &page));
    ALD_TRY(ald_file_write(path, page.data, page.count));
done:
    ald_free(path);
    ald_vec_reset(&page);
    return status;
}
