/* Reads the members of a row beside its texts: those that `generate` wrote, and those that eval
 * and the judges need. They are kept, as the row itself is freed. */
#include <math.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/config/choices.h"
#include "ald/data/pairs.h"
#include "data/pairs_row_impl.h"

/* Reads one log-probability for each of response_ids; where the response was cut, the last ones are
 * dropped with its tokens. */
static ald_status_t read_logprobs(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                  ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *list = ald_json_get(row, "logprobs");
    size_t given = ald_json_count(ald_json_get(row, "response_ids"));
    if (ald_json_is_null(list))
        return status;
    ALD_CHECK(ald_json_is_array(list) && given > 0 && ald_json_count(list) == given,
              ALD_STATUS_INPUT, "\"logprobs\": expected a list as long as \"response_ids\", %zu",
              given);
    float *values = ALD_ARENA_ARRAY(reader->arena, float, given);
    ALD_CHECK_MEMORY(values, given * sizeof *values);
    for (size_t i = 0; i < given; ++i) {
        const ald_json_t *value = ald_json_at(list, i);
        ALD_CHECK(ald_json_is_number(value) || ald_json_is_null(value), ALD_STATUS_INPUT,
                  "\"logprobs\"[%zu]: expected a number or null, found %s", i,
                  ald_json_type_name(value));
        values[i] = (float)ald_json_number(value, NAN);
    }
    out->logprobs = values;
done:
    return status;
}

static ald_status_t read_integer(const ald_json_t *row, const char *key, int64_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *json = ald_json_get(row, key);
    ALD_CHECK(ald_json_is_null(json) || ald_json_is_integer(json), ALD_STATUS_INPUT,
              "\"%s\": expected an integer, found %s", key, ald_json_type_name(json));
    *out = ald_json_integer(json, *out);
done:
    return status;
}

ald_status_t ald_pairs_read_generation(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                       ald_pair_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(read_logprobs(reader, row, out));
    ALD_TRY(read_integer(row, "sample", &out->sample));
    ALD_TRY(read_integer(row, "policy_step", &out->policy_step));
    out->id = ald_json_integer(ald_json_get(row, "id"), out->id); /* in other data "id" is text */
done:
    return status;
}

ald_status_t ald_pairs_keep_extra(const ald_pairs_reader_t *reader, const ald_json_t *row,
                                  ald_pair_t *out)
{
    static const char *const keys[] = {"required", "forbidden"};
    static const char *const more[] = {"question_id", "uid",   "turns",  "prompt",
                                       "instruction", "input", "dataset"};
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *extra = ald_json_new_object();
    for (int i = 0; i < 2; ++i) {
        ALD_TRY(ald_json_check_strings(row, keys[i]));
        if (!ald_json_is_null(ald_json_get(row, keys[i])))
            ald_json_set(extra, keys[i], ald_json_share(ald_json_get(row, keys[i])));
    }
    bool question =
        reader->layout >= ALD_LAYOUT_MT_BENCH && reader->layout <= ALD_LAYOUT_ALPACA_EVAL;
    for (size_t i = 0; question && i < sizeof more / sizeof more[0]; ++i)
        if (ald_json_get(row, more[i]) != NULL)
            ald_json_set(extra, more[i], ald_json_share(ald_json_get(row, more[i])));
    if ((reader->options->need & ALD_PAIRS_PRESENT) != 0 &&
        ald_json_is_string(ald_json_get(row, "subset")))
        ald_json_set(extra, "subset", ald_json_share(ald_json_get(row, "subset")));
    if (ald_json_count(extra) > 0) {
#pragma omp critical(ald_pairs_kept)
        status = ald_vec_push(reader->kept, &extra);
        ALD_TRY(status);
        out->extra = extra;
        extra = NULL;
    }
done:
    ald_json_free(extra);
    return status;
}
