/* Tokens as a shard has them. Layer: tokens. */
#ifndef ALD_TOKENS_SCORED_H
#define ALD_TOKENS_SCORED_H

#include "ald/base/status.h"
#include "ald/shard/format.h"
#include "ald/teacher/teacher.h"
#include "ald/tokens/table.h"

/* Appends a sequence as row `row`. Teacher and alternatives are there as far as the encoding says
 * them: all of `full`; of `topk` the stored tokens, with all others as one outcome; of `sampled`
 * the draws' shares of training's estimate; of hidden states nothing. Local. */
ald_status_t ald_tokens_scored(const ald_shard_header_t *header, const ald_teacher_t *teacher,
                               const ald_scored_t *sequence, int64_t row, ald_tokens_t *tokens);

#endif
