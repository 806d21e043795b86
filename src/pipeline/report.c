/* Pieces of the reports of stages: they show the same things in the same form, and what a row says
 * is never markup of a page. */
#include "pipeline/report_impl.h"

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"

ald_json_t *ald_report_interval(const ald_interval_t *value)
{
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "value", ald_json_new_number(value->value));
    ald_json_set(json, "low", ald_json_new_number(value->low));
    ald_json_set(json, "high", ald_json_new_number(value->high));
    ald_json_set(json, "count", ald_json_new_integer(value->count));
    return json;
}
