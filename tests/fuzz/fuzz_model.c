/* Fuzzes model configurations: config.json, 0xFF, generation_config.json. What is read is laid out
 * as a list of tensors, and planned for. */
#include "ald/model/model_config.h"
#include "ald/model/params.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_part_t parts[2];
    ald_model_config_t config;
    ald_params_t params = {0};
    fuzz_cut(data, size, 2, parts);
    fuzz_file("config.json", parts[0].data, parts[0].size, false);
    fuzz_file("generation_config.json", parts[1].data, parts[1].size, true);
    ald_status_t status = ald_model_config_read(fuzz_folder(), &config);
    if (status == ALD_STATUS_OK)
        status = ald_params_init(&config, &params);
    ald_params_reset(&params);
    fuzz_end(status, 0);
    return 0;
}
