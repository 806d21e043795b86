/* Tokens as JSON. Layer: tokens. */
#ifndef ALD_TOKENS_LINES_H
#define ALD_TOKENS_LINES_H

#include <stdint.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/tokens/table.h"

/* {"position", "id", "token", ...} of token t, as a JSON line has it behind its row; the caller's.
 */
ald_status_t ald_tokens_json(const ald_tokens_t *tokens, const ald_token_list_t *list, int64_t t,
                             ald_json_t **out);

#endif
