/* Sequences longer than a model's max_position_embeddings. The rotation goes on beyond them, so
 * nothing fails, but the model has learnt no such position: each stage says so before its work. */
#include "pipeline/positions_impl.h"

#include <string.h>

#include "ald/base/log.h"
#include "ald/base/status.h"
#include "ald/data/dataset.h"
#include "ald/model/model_config.h"
#include "ald/shard/set.h"

int64_t ald_longest_row(const ald_dataset_t *data, int64_t rows, int64_t sampled)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < rows; ++i) {
        const ald_pair_t *row = &data->pairs.rows[i];
        const int64_t counts[] = {row->chosen.count, row->rejected.count, row->response.count,
                                  sampled};
        for (int k = 0; k < 4; ++k)
            if (row->prompt.count + counts[k] > longest)
                longest = row->prompt.count + counts[k];
    }
    return longest;
}

int64_t ald_longest_entry(const ald_shardset_t *set)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < set->count; ++i) {
        const int64_t tokens = set->entries[i].prompt_count + set->entries[i].response_count;
        longest = tokens > longest ? tokens : longest;
    }
    return longest;
}

void ald_positions_warn(const char *const *directories, int64_t count, int64_t longest)
{
    for (int64_t i = 0; i < count; ++i) {
        ald_model_config_t shape;
        bool said = directories[i] == NULL || directories[i][0] == '\0';
        for (int64_t j = 0; j < i; ++j)
            said = said || (directories[j] != NULL && strcmp(directories[i], directories[j]) == 0);
        if (said || ald_model_config_read(directories[i], &shape) != ALD_STATUS_OK)
            continue; /* one that can't be read is an error of whoever loads it */
        if (longest > shape.max_position)
            ald_log_warn("%s/config.json: max_position_embeddings is %lld, but sequences may have "
                         "%lld tokens: the model has not learnt the positions beyond",
                         directories[i], (long long)shape.max_position, (long long)longest);
    }
}
