/* What an audit found, as JSON for programs and as a summary for people: counts, shares, examples.
 * Both come from the same sums. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/interval.h"
#include "ald/base/json.h"
#include "ald/base/path.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/audit.h"
#include "ald/data/audit_repeats.h"
#include "ald/data/layout.h"
#include "ald/data/minhash.h"
#include "ald/text/tokenizer.h"
#include "ald/text/words.h"
#include "pipeline/audit_impl.h"
#include "pipeline/report_impl.h"

static void sum_reasons(ald_audit_run_t *run, int64_t row)
{
    ald_audit_sums_t *sums = &run->sums;
    const uint32_t reasons = run->rows[row].reasons;
    for (int r = 0; r < ALD_REASON_COUNT; ++r) {
        if ((reasons >> r & 1) == 0)
            continue;
        if (sums->reasons[r] < ALD_AUDIT_EXAMPLES)
            sums->examples[r][sums->reasons[r]] = row;
        ++sums->reasons[r];
    }
    sums->removed += (reasons & run->remove) != 0;
}

bool ald_audit_looked_for(const ald_audit_run_t *run, ald_reason_t reason)
{
    return reason != ALD_REASON_FLIPPED || run->labels.count > 0;
}

void ald_audit_sum(ald_audit_run_t *run)
{
    ald_audit_sums_t *sums = &run->sums;
    memset(sums, 0, sizeof *sums);
    memset(sums->examples, 0xFF, sizeof sums->examples);
    for (int64_t i = 0; i < run->count; ++i) {
        const ald_audit_row_t *row = &run->rows[i];
        sum_reasons(run, i);
        run->labels.exchanged += ald_audit_exchanges(run, i);
        if (!row->read)
            continue;
        ++sums->read;
        ++sums->scripts[row->script];
        for (int k = 0; k < 2; ++k)
            sums->refuses[k] += row->refuses[k];
        if (!row->answered[0] || !row->answered[1])
            continue;
        ++sums->pairs;
        sums->longer += row->length[0] > row->length[1];
        sums->shorter += row->length[0] < row->length[1];
    }
}

ald_interval_t ald_audit_longer(const ald_audit_sums_t *sums)
{
    return ald_interval_share(sums->longer, sums->pairs);
}

ald_interval_t ald_audit_accuracy(const ald_audit_sums_t *sums)
{
    return ald_interval_share(sums->longer, sums->longer + sums->shorter);
}

/* --- JSON ------------------------------------------------------------------------------------ */

/* A row that shows a reason: its place, the other row's, the beginning of its prompt. */
static ald_status_t push_example(const ald_audit_run_t *run, int r, int64_t row, ald_json_t *list)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = ald_json_new_object();
    ald_vec_t text;
    ald_vec_init(&text, 1);
    ald_json_push(list, json);
    ald_json_set(json, run->audit.file.array ? "item" : "line",
                 ald_json_new_integer(ald_audit_place(run, row)));
    if (r < ALD_REASON_OTHERS && run->others[r][row] != ALD_AUDIT_NO_OTHER)
        ald_json_set(json, "other",
                     ald_json_new_integer(ald_audit_place(run, run->others[r][row])));
    ALD_TRY(ald_audit_excerpt(&run->audit, row, &text));
    ald_json_set(json, "text", ald_json_new_text(text.data, text.count));
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t json_of_reasons(const ald_audit_run_t *run, ald_json_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    for (int r = 0; r < ALD_REASON_COUNT; ++r) {
        const ald_reason_t reason = (ald_reason_t)r;
        if (!ald_audit_looked_for(run, reason))
            continue;
        ald_json_t *json = ald_json_new_object(), *examples = ald_json_new_array();
        ald_json_set(out, ald_reason_name(reason), json);
        ald_json_set(json, "rows", ald_json_new_integer(run->sums.reasons[r]));
        ald_json_set(json, "share",
                     ald_json_new_number((double)run->sums.reasons[r] / (double)run->count));
        ald_json_set(json, "removes", ald_json_new_bool((run->remove >> r & 1) != 0));
        ald_json_set(json, "meaning", ald_json_new_string(ald_reason_meaning(reason)));
        ald_json_set(json, "examples", examples);
        for (int k = 0; k < ALD_AUDIT_EXAMPLES && run->sums.examples[r][k] >= 0; ++k)
            ALD_TRY(push_example(run, r, run->sums.examples[r][k], examples));
    }
done:
    return status;
}

static ald_json_t *json_of_length(const ald_audit_sums_t *sums)
{
    const ald_interval_t longer = ald_audit_longer(sums), accuracy = ald_audit_accuracy(sums);
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "chosen_longer", ald_report_interval(&longer));
    ald_json_set(json, "longer_is_better_accuracy", ald_report_interval(&accuracy));
    return json;
}

static ald_json_t *json_of_near(const ald_audit_run_t *run)
{
    const int64_t bands = run->config->audit.bands, rows = run->config->audit.rows;
    ald_json_t *json = ald_json_new_object(), *curve = ald_json_new_array();
    ald_json_set(json, "bands", ald_json_new_integer(bands));
    ald_json_set(json, "rows", ald_json_new_integer(rows));
    ald_json_set(json, "shingle", ald_json_new_integer(run->config->audit.shingle));
    ald_json_set(json, "similarity", ald_json_new_number(run->config->audit.similarity));
    ald_json_set(json, "compared", ald_json_new_integer(run->compared[ALD_AUDIT_WHOLE]));
    ald_json_set(json, "alike", ald_json_new_integer(run->alike[ALD_AUDIT_WHOLE]));
    ald_json_set(json, "prompts_compared", ald_json_new_integer(run->compared[ALD_AUDIT_PROMPT]));
    ald_json_set(json, "prompts_alike", ald_json_new_integer(run->alike[ALD_AUDIT_PROMPT]));
    ald_json_set(json, "probability", curve);
    for (int tenth = 5; tenth < 10; ++tenth) {
        ald_json_t *point = ald_json_new_object();
        ald_json_set(point, "similarity", ald_json_new_number(tenth / 10.0));
        ald_json_set(point, "compared",
                     ald_json_new_number(ald_minhash_probability(tenth / 10.0, bands, rows)));
        ald_json_push(curve, point);
    }
    return json;
}

static ald_json_t *json_of_scripts(const ald_audit_sums_t *sums)
{
    ald_json_t *json = ald_json_new_object();
    for (int s = 0; s < ALD_SCRIPT_COUNT; ++s)
        if (sums->scripts[s] > 0)
            ald_json_set(json, ald_script_name((ald_script_t)s),
                         ald_json_new_integer(sums->scripts[s]));
    return json;
}

static void set_file(const ald_audit_run_t *run, ald_json_t *json)
{
    const ald_audit_t *audit = &run->audit;
    ald_json_set(json, "format", ald_json_new_string("aligndistil-audit"));
    ald_json_set(json, "tool_version", ald_json_new_string(ALD_VERSION));
    ald_json_set(json, "data", ald_json_new_string(run->config->data.train));
    ald_json_set(json, "sha256_data", ald_json_new_string(audit->file.sha256));
    ald_json_set(json, "layout", ald_json_new_string(ald_layout_name(audit->layout)));
    if (audit->tokenizer != NULL) {
        ald_json_set(json, "tokenizer", ald_json_new_string(audit->model));
        ald_json_set(json, "sha256_tokenizer",
                     ald_json_new_string(ald_tokenizer_sha256(audit->tokenizer)));
    }
    if (run->config->data.eval[0] != '\0')
        ald_json_set(json, "eval", ald_json_new_string(run->config->data.eval));
    ald_json_set(json, "rows", ald_json_new_integer(run->count));
    ald_json_set(json, "read", ald_json_new_integer(run->sums.read));
    ald_json_set(json, "pairs", ald_json_new_integer(run->sums.pairs));
    ald_json_set(json, "clean", ald_json_new_integer(run->count - run->sums.removed));
    ald_json_set(json, "removed", ald_json_new_integer(run->sums.removed));
}

ald_status_t ald_audit_write_json(const ald_audit_run_t *run)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = ald_json_new_object(), *reasons = ald_json_new_object();
    char *path = ald_path_join(run->config->audit.output, "audit.json");
    set_file(run, json);
    ald_json_set(json, "reasons", reasons);
    ALD_CHECK(path != NULL, ALD_STATUS_RESOURCE, "out of memory");
    ALD_TRY(json_of_reasons(run, reasons));
    if (run->labels.count > 0)
        ald_json_set(json, "labels", ald_audit_json_of_labels(run));
    ald_json_set(json, "length", json_of_length(&run->sums));
    ald_json_set(json, "near", json_of_near(run));
    ald_json_set(json, "scripts", json_of_scripts(&run->sums));
    ald_json_set(json, "refusals_chosen", ald_json_new_integer(run->sums.refuses[0]));
    ald_json_set(json, "refusals_rejected", ald_json_new_integer(run->sums.refuses[1]));
    ALD_TRY(ald_json_write(json, path));
done:
    ald_free(path);
    ald_json_free(json);
    return status;
}

/* --- the summary ----------------------------------------------------------------------------- */

static void print_share(const char *what, ald_interval_t share)
{
    if (share.count > 0)
        printf("%s: %.4f [%.4f, %.4f] of %lld\n", what, share.value, share.low, share.high,
               (long long)share.count);
}

ald_status_t ald_audit_print(const ald_audit_run_t *run)
{
    const ald_audit_sums_t *sums = &run->sums;
    ald_print("%s: %lld rows, layout %s; %lld pairs\n", run->config->data.train,
              (long long)run->count, ald_layout_name(run->audit.layout), (long long)sums->pairs);
    printf("%-22s %9s %8s  %-8s %9s  %s\n", "reason", "rows", "share", "", "first", "meaning");
    for (int r = 0; r < ALD_REASON_COUNT; ++r) {
        if (sums->reasons[r] == 0)
            continue;
        printf("%-22s %9lld %8.4f  %-8s %9lld  %s\n", ald_reason_name((ald_reason_t)r),
               (long long)sums->reasons[r], (double)sums->reasons[r] / (double)run->count,
               (run->remove >> r & 1) != 0 ? "removed" : "",
               (long long)ald_audit_place(run, sums->examples[r][0]),
               ald_reason_meaning((ald_reason_t)r));
    }
    print_share("the chosen answer is longer", ald_audit_longer(sums));
    print_share("\"the longer is better\" is right, where lengths differ",
                ald_audit_accuracy(sums));
    if (run->labels.count > 0)
        ald_audit_print_labels(run);
    if (run->audit.tokenizer == NULL)
        printf("no tokenizer (neither sft.model nor dpo.policy is there): nothing about tokens\n");
    ald_print("%lld rows clean, %lld removed: %s\n", (long long)(run->count - sums->removed),
              (long long)sums->removed, run->config->audit.output);
    return ALD_STATUS_OK;
}
