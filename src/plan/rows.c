/* Lengths of rows. A plan needs no token, but how many there are: of a file of some thousand rows
 * it reads all as a stage does, of a longer one a sample. */
#include "ald/plan/rows.h"

#include <math.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/config/config.h"
#include "ald/data/dataset.h"
#include "ald/data/pairs.h"
#include "ald/data/row_file.h"
#include "ald/role/placement.h"
#include "ald/text/tokenizer.h"

/* Where nothing is known. A token of English has about four letters. */
enum { ROWS = 10000, PROMPT = 256, RESPONSE = 256, LETTERS = 4, ROW = 240 };
#define TOKENIZER 300.0 /* bytes for each token of a vocabulary; measured */

/* Bytes of rows with so many tokens and texts, as ald/data/pairs.h keeps them. */
static double bytes_of(double rows, double tokens, double text)
{
    return rows * ROW + 4.0 * tokens + text;
}

/* Every row has the means, cut as stages cut, but for the first, which is as long as the
 * configuration allows. */
static ald_status_t take_means(const ald_config_t *config, int64_t vocab_size,
                               const ald_rows_given_t *given, ald_plan_rows_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool said = given->rows > 0 || given->prompt > 0 || given->response > 0;
    const ald_lengths_t most = {config->data.max_prompt_tokens, config->data.max_response_tokens,
                                config->data.max_response_tokens};
    const int64_t prompt = given->prompt > 0 ? given->prompt : PROMPT;
    const int64_t response = given->response > 0 ? given->response : RESPONSE;
    const int64_t P = prompt < most.prompt ? prompt : most.prompt;
    const int64_t R = response < most.chosen ? response : most.chosen;
    out->source = said ? ALD_LENGTHS_GIVEN : ALD_LENGTHS_ASSUMED;
    out->count = given->rows > 0 ? given->rows : ROWS;
    if (config->data.max_rows > 0 && config->data.max_rows < out->count)
        out->count = config->data.max_rows;
    out->longest = most;
    out->known = 2;
    out->row = ald_calloc(2, sizeof *out->row);
    ALD_CHECK_MEMORY(out->row, 2 * sizeof *out->row);
    out->row[0] = out->longest;
    out->row[1] = (ald_lengths_t){P, R, R};
    out->prompt = (double)P;
    out->chosen = out->rejected = (double)R;
    out->text = LETTERS * (double)(P + 2 * R);
    out->held = bytes_of((double)out->count, (double)(out->count * (P + 2 * R)),
                         (double)out->count * out->text) +
                TOKENIZER * (double)vocab_size;
done:
    return status;
}

static void raise_to(int64_t *most, int64_t value)
{
    *most = value > *most ? value : *most;
}

static ald_status_t take_lengths(const ald_pairs_t *pairs, ald_plan_rows_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    double sums[4] = {0};
    out->known = pairs->count;
    out->row = ald_calloc((size_t)pairs->count, sizeof *out->row);
    ALD_CHECK_MEMORY(out->row, (size_t)pairs->count * sizeof *out->row);
    for (int64_t i = 0; i < pairs->count; ++i) {
        const ald_pair_t *pair = &pairs->rows[i];
        const ald_text_t *first = pair->response.count > 0 ? &pair->response : &pair->chosen;
        const ald_text_t *const texts[] = {&pair->prompt, first, &pair->rejected};
        out->row[i] = (ald_lengths_t){pair->prompt.count, first->count, pair->rejected.count};
        raise_to(&out->longest.prompt, pair->prompt.count);
        raise_to(&out->longest.chosen, first->count);
        raise_to(&out->longest.rejected, pair->rejected.count);
        for (int k = 0; k < 3; ++k) {
            sums[k] += (double)texts[k]->count;
            sums[3] += texts[k]->text == NULL ? 0.0 : (double)strlen(texts[k]->text);
        }
    }
    out->prompt = sums[0] / (double)pairs->count;
    out->chosen = sums[1] / (double)pairs->count;
    out->rejected = sums[2] / (double)pairs->count;
    out->text = sums[3] / (double)pairs->count;
done:
    return status;
}

/* Reads rows of the kinds that stages read, the first kind that the file has. */
static ald_status_t open_any(const ald_config_t *config, const char *model, int64_t vocab_size,
                             const char *path, ald_dataset_t *out)
{
    static const ald_pairs_need_t needs[] = {ALD_PAIRS_CHOSEN | ALD_PAIRS_REJECTED,
                                             ALD_PAIRS_SCORED, ALD_PAIRS_CHOSEN | ALD_PAIRS_TEXT,
                                             ALD_PAIRS_PROMPT};
    ald_status_t status = ALD_STATUS_OK;
    for (size_t i = 0; i < sizeof needs / sizeof *needs; ++i) {
        status =
            ald_dataset_open(config, model, vocab_size, path, "data.train", needs[i], 0, 1, out);
        if (status != ALD_STATUS_INPUT)
            break;
        if (i + 1 < sizeof needs / sizeof *needs)
            ald_dataset_reset(out);
    }
    return status;
}

static ald_status_t measure(const ald_config_t *config, const char *path, const char *model,
                            int64_t vocab_size, ald_plan_rows_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_row_file_t file = {0};
    ald_dataset_t data = {0};
    ald_config_t some = *config; /* its texts stay the caller's */
    const double before = (double)ald_memory_held();
    ALD_TRY(ald_row_file_open(path, &file));
    int64_t rows = (int64_t)file.rows.count;
    ald_row_file_close(&file);
    if (config->data.max_rows > 0 && config->data.max_rows < rows)
        rows = config->data.max_rows;
    if (rows > ALD_ROWS_SAMPLE) {
        some.data.max_rows = ALD_ROWS_SAMPLE;
        some.data.shuffle = true;
    }
    ALD_TRY(open_any(&some, model, vocab_size, path, &data));
    ALD_TRY(take_lengths(&data.pairs, out));
    const double share = (double)data.pairs.count / (double)data.pairs.counts.read;
    const double here = (double)data.pairs.count;
    out->vocabulary = ald_tokenizer_size(data.tokenizer);
    out->source = rows > ALD_ROWS_SAMPLE ? ALD_LENGTHS_SAMPLED : ALD_LENGTHS_MEASURED;
    out->count = rows > ALD_ROWS_SAMPLE ? (int64_t)((double)rows * share) : data.pairs.count;
    const double tokens = out->prompt + out->chosen + out->rejected;
    out->held = (double)ald_memory_held() - before - here * (double)sizeof *out->row +
                bytes_of(1.0, tokens, out->text) * ((double)out->count - here);
done:
    ald_row_file_close(&file);
    ald_dataset_reset(&data);
    return status;
}

static bool has_tokenizer(const char *model)
{
    char *path = model == NULL ? NULL : ald_path_join(model, "tokenizer.json");
    const bool has = path != NULL && ald_path_exists(path);
    ald_free(path);
    return has;
}

ald_status_t ald_plan_rows(const ald_config_t *config, const char *path, const char *model,
                           int64_t vocab_size, const ald_rows_given_t *given, ald_plan_rows_t *out)
{
    const bool said = given->rows > 0 || given->prompt > 0 || given->response > 0;
    *out = (ald_plan_rows_t){.count = 0};
    if (!said && path[0] != '\0' && ald_path_exists(path) && has_tokenizer(model))
        return measure(config, path, model, vocab_size, out);
    return take_means(config, vocab_size, given, out);
}

void ald_plan_rows_reset(ald_plan_rows_t *rows)
{
    ald_free(rows->row);
    *rows = (ald_plan_rows_t){.count = 0};
}

ald_lengths_t ald_plan_row(const ald_plan_rows_t *rows, int64_t i)
{
    if (rows->source == ALD_LENGTHS_GIVEN || rows->source == ALD_LENGTHS_ASSUMED)
        return rows->row[i > 0];
    return rows->row[i % rows->known];
}

double ald_plan_sample(const ald_config_t *config, const ald_plan_rows_t *rows)
{
    const double most = (double)config->sampling.max_new_tokens;
    if (rows->answer > 0.0)
        return rows->answer;
    return fmin(rows->chosen > 0.0 ? rows->chosen : most, most);
}

void ald_plan_sampled_step(const ald_config_t *config, const ald_plan_rows_t *rows,
                           int64_t parameters, ald_step_work_t *out)
{
    const int64_t batch = config->optimizer.batch_size, n = rows->count;
    const int64_t items = batch < n ? batch : n, block = ald_placement_block(config);
    const double response = ald_plan_sample(config, rows), tokens = rows->prompt + response - 1.0;
    const double in_micro = fmax(floor((double)config->optimizer.micro_batch_tokens / tokens), 1.0);
    *out = (ald_step_work_t){.items = items,
                             .prompt = rows->prompt,
                             .response = response,
                             .tokens = (double)items * tokens,
                             .positions = (double)items * response,
                             .micros = ceil((double)items / in_micro),
                             .blocks = (items + block - 1) / block,
                             .lessons = config->distill.signal == ALD_SIGNAL_DISTRIBUTION,
                             .parameters = (double)parameters};
}
