/* Fuzzes configurations: the bytes as a file, as the text in a shard, as a sweep over the defaults,
 * and the first of their lines as a --set each. What was read is printed and read again: the same.
 */
#include "ald/config/config.h"

#include "ald/config/print.h"
#include "ald/config/sweep.h"
#include "fuzz.h"

static void check_again(const ald_config_t *config)
{
    ald_config_t again = {0};
    char *text = NULL, *second = NULL;
    ald_status_t status = ald_config_print(config, &text);
    if (status == ALD_STATUS_OK)
        status = ald_config_load_text(text, "again", &again);
    if (status == ALD_STATUS_OK)
        status = ald_config_print(&again, &second);
    if (status != ALD_STATUS_OK || strcmp(text, second) != 0) {
        fprintf(stderr, "not read as printed: %s\n%s", ald_status_message(), text);
        abort();
    }
    ald_free(text);
    ald_free(second);
    ald_config_reset(&again);
}

static ald_status_t load(const char *path, const char *const *settings, int count)
{
    ald_config_t config = {0};
    ald_status_t status = ald_config_load(path, settings, count, &config);
    if (status == ALD_STATUS_OK)
        check_again(&config);
    ald_config_reset(&config);
    fuzz_end(status, 0);
    return status;
}

static void load_lines(char *text)
{
    int left = 4;
    for (char *line = text, *end; line != NULL && left-- > 0; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        load(NULL, (const char *const *)&line, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ald_config_t config = {0};
    ald_sweep_t sweep = {0};
    char path[512], *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    snprintf(path, sizeof path, "%s", fuzz_file("run.cfg", data, size, false));
    load(path, NULL, 0);
    ald_status_t status = ald_config_load_text(text, "shard", &config);
    ald_config_reset(&config);
    fuzz_end(status, 0);
    status = ald_sweep_load(path, NULL, NULL, 0, &sweep);
    ald_sweep_reset(&sweep);
    fuzz_end(status, 0);
    load_lines(text);
    free(text);
    return 0;
}
