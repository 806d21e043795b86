/* The page of a monitor: each term's probability at its places over the steps, and answers as they
 * change. One file that is opened as it is: no scripts, nothing from elsewhere. */
#include <math.h>
#include <stdio.h>

#include "ald/base/file.h"
#include "ald/base/html.h"
#include "ald/base/json.h"
#include "role/monitor_impl.h"

enum { WIDTH = 240, HEIGHT = 36, ANSWERS = 6 }; /* of a trajectory; answers shown of a row */

static double probability(const ald_monitor_t *m, size_t look, size_t place)
{
    const ald_json_t *list = ald_json_get(ald_json_at(m->seen, look), "places");
    return ald_json_number(ald_json_get(ald_json_at(list, place), "probability"), NAN);
}

static int64_t step_of(const ald_monitor_t *m, size_t look)
{
    return ald_json_integer(ald_json_get(ald_json_at(m->seen, look), "step"), 0);
}

/* From 0 at the bottom to 1 at the top, over the steps. */
static ald_status_t put_trajectory(const ald_monitor_t *m, size_t place, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t looks = ald_json_count(m->seen);
    const int64_t first = step_of(m, 0), all = step_of(m, looks - 1) - first;
    ALD_TRY(
        ald_vec_printf(page, "<svg width=\"%d\" height=\"%d\"><polyline points=\"", WIDTH, HEIGHT));
    for (size_t i = 0; i < looks; ++i) {
        const double p = probability(m, i, place);
        if (isfinite(p))
            ALD_TRY(ald_vec_printf(page, "%.1f,%.1f ",
                                   all > 0 ? WIDTH * (double)(step_of(m, i) - first) / (double)all
                                           : 0.0,
                                   (HEIGHT - 2) * (1.0 - p) + 1.0));
    }
    ALD_TRY(ald_vec_printf(page, "\"/></svg>"));
done:
    return status;
}

static ald_status_t put_places(const ald_monitor_t *m, int64_t row, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t looks = ald_json_count(m->seen);
    ALD_TRY(ald_vec_printf(page,
                           "<table><tr><th>after<th>term<th>in<th>first<th>now<th>steps "
                           "%lld to %lld\n",
                           (long long)step_of(m, 0), (long long)step_of(m, looks - 1)));
    for (size_t i = 0; i < m->places.count; ++i) {
        const ald_monitor_place_t *place = &ALD_VEC_AT(&m->places, ald_monitor_place_t, i);
        if (place->row != row)
            continue;
        ALD_TRY(ald_vec_printf(page, "<tr><td><bdi>"));
        ALD_TRY(ald_html_escape(page, place->before));
        ALD_TRY(ald_vec_printf(page, "</bdi><td><bdi>"));
        ALD_TRY(ald_html_escape(page, ald_monitor_term(m, place->term)));
        ALD_TRY(ald_vec_printf(page, "</bdi><td>%s<td>%.3g<td>%.3g<td>",
                               place->response == 0 ? "chosen" : "rejected", probability(m, 0, i),
                               probability(m, looks - 1, i)));
        ALD_TRY(put_trajectory(m, i, page));
        ALD_TRY(ald_vec_printf(page, "\n"));
    }
    ALD_TRY(ald_vec_printf(page, "</table>\n"));
done:
    return status;
}

/* The first, the last and some answers between them; one that is the same as before isn't repeated.
 */
static ald_status_t put_answers(const ald_monitor_t *m, int64_t row, ald_vec_t *page)
{
    ald_status_t status = ALD_STATUS_OK;
    const size_t looks = ald_json_count(m->seen), shown = looks < ANSWERS ? looks : ANSWERS;
    ALD_TRY(ald_vec_printf(page, "<table><tr><th>step<th>greedy answer\n"));
    for (size_t k = 0; k < shown; ++k) {
        const size_t i = shown > 1 ? k * (looks - 1) / (shown - 1) : 0;
        const ald_json_t *look = ald_json_at(m->seen, i);
        const ald_json_t *answer = ald_json_at(ald_json_get(look, "answers"), (size_t)row);
        const char *text = ald_json_text(ald_json_get(answer, "answer"), NULL);
        if (text == NULL)
            continue;
        ALD_TRY(
            ald_vec_printf(page, "<tr><td>%lld<td><pre dir=\"auto\">", (long long)step_of(m, i)));
        ALD_TRY(ald_html_escape(page, text));
        ALD_TRY(ald_vec_printf(page, "</pre>\n"));
    }
    ALD_TRY(ald_vec_printf(page, "</table>\n"));
done:
    return status;
}

ald_status_t ald_monitor_page(const ald_monitor_t *m, const char *path)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t page;
    ald_vec_init(&page, 1);
    ALD_TRY(ald_html_begin(&page, "monitor", m->engine->output));
    for (int64_t i = 0; i < m->data.pairs.count; ++i) {
        const ald_pair_t *row = &m->data.pairs.rows[i];
        ALD_TRY(ald_vec_printf(&page, "<h2>row %lld</h2>\n<pre dir=\"auto\">", (long long)row->id));
        ALD_TRY(ald_html_escape(&page, row->prompt.text));
        ALD_TRY(ald_vec_printf(&page, "</pre>\n"));
        ALD_TRY(put_places(m, i, &page));
        ALD_TRY(put_answers(m, i, &page));
    }
    ALD_TRY(ald_vec_printf(&page, "</html>\n"));
    ALD_TRY(ald_file_write(path, page.data, page.count));
done:
    ald_vec_reset(&page);
    return status;
}
