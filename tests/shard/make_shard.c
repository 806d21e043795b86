/* make_shard PATH full|hidden|hidden32|topk|sampled COUNT [gzip]: writes the sample shard for
 * checks in Python. */
#include <stdlib.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/shard/format.h"
#include "shard_sample.h"

int main(int argc, char **argv)
{
    ald_encoding_t encoding;
    if (argc < 4 || ald_encoding_parse(argv[2], &encoding) != ALD_STATUS_OK)
        return ALD_STATUS_USAGE;
    ald_status_t status = sample_write(argv[1], encoding, atoll(argv[3]), argc > 4);
    if (status != ALD_STATUS_OK)
        fprintf(stderr, "%s\n", ald_status_message());
    return status;
}
