/* bench: speed and memory of this machine on a model's shape, its tokenizer or its disk.
 * What is measured is in src/bench; here is what to measure, and how it is printed. */
#include <stdio.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/bench/bench.h"
#include "ald/bench/kernels.h"
#include "ald/bench/store.h"
#include "ald/bench/text.h"
#include "ald/config/choices.h"
#include "ald/model/model_config.h"
#include "ald/num/gemm.h"
#include "ald/num/kernel.h"
#include "ald/par/comm.h"
#include "ald/shard/format.h"
#include "ald/teacher/encoding.h"
#include "ald/text/tokenizer.h"
#include "cli/commands_impl.h"
#include "cli/options_impl.h"
#include "cli/setup_impl.h"

/* Parses the phases of --only, as in "forward,train". */
static ald_status_t parse_only(const char *text, bool wanted[ALD_BENCH_PHASES])
{
    ald_status_t status = ALD_STATUS_OK;
    memset(wanted, 0, sizeof(bool) * ALD_BENCH_PHASES);
    for (const char *at = text; at != NULL;) {
        const char *comma = strchr(at, ',');
        size_t length = comma != NULL ? (size_t)(comma - at) : strlen(at);
        int found = -1;
        for (int i = 0; i < ALD_BENCH_PHASES; ++i)
            if (strlen(ald_bench_names[i]) == length &&
                strncmp(at, ald_bench_names[i], length) == 0)
                found = i;
        ALD_CHECK(found >= 0, ALD_STATUS_USAGE,
                  "--only %s: expected some of forward,decode,score,train", text);
        wanted[found] = true;
        at = comma != NULL ? comma + 1 : NULL;
    }
done:
    return status;
}

/* Reads the model's shape from its directory or from a config.json alone. */
static ald_status_t read_shape(const ald_options_t *options, ald_model_config_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_json_t *json = NULL;
    if (options->model != NULL)
        return ald_model_config_read(options->model, out);
    ALD_TRY(ald_json_read(options->model_config, &json));
    ALD_TRY(ald_model_config_parse(json, options->model_config, out));
    if (options->layers > 0)
        out->layers = options->layers;
done:
    ald_json_free(json);
    return status;
}

/* Takes from the options what to time of a model. */
static ald_status_t read_bench(const ald_options_t *options, ald_bench_options_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = (ald_bench_options_t){.model = options->model,
                                 .sequences = options->sequences,
                                 .tokens = options->tokens,
                                 .repeat = options->repeat};
    for (int i = 0; i < ALD_BENCH_PHASES; ++i)
        out->wanted[i] = true;
    if (options->only != NULL)
        ALD_TRY(parse_only(options->only, out->wanted));
    ALD_TRY(read_shape(options, &out->shape));
done:
    return status;
}

static double gflops(double flop, double seconds)
{
    return flop / seconds * 1e-9;
}

static void print_text(const ald_bench_options_t *o, const ald_bench_report_t *r, int threads)
{
    const double mib = 1048576.0;
    ald_print("model          %s, %lld layers, %lld parameters, %s\n", o->shape.model_type,
              (long long)o->shape.layers, (long long)r->parameters,
              o->model != NULL ? o->model : "random weights");
    printf("batch          %lld sequences of %lld tokens, %d threads\n", (long long)o->sequences,
           (long long)o->tokens, threads);
    printf("products       %s\n", ald_gemm_describe());
    printf("machine        sgemm %.1f GFLOP/s, memory read %.1f GB/s\n", r->sgemm_gflops,
           r->read_gigabytes);
    printf("\n%-8s %10s %9s %9s %9s %7s %9s %12s %10s\n", "", "tokens/s", "GFLOP/s", "seconds",
           "limit s", "share", "cpu share", "planned MiB", "held MiB");
    for (int i = 0; i < ALD_BENCH_PHASES; ++i) {
        const ald_bench_figures_t *p = &r->phase[i];
        if (p->measured)
            printf("%-8s %10.1f %9.1f %9.3f %9.3f %6.1f%% %8.1f%% %12.1f %10.1f\n",
                   ald_bench_names[i], p->tokens / p->seconds, gflops(p->flop, p->seconds),
                   p->seconds, p->limit_seconds, 100.0 * p->share, 100.0 * p->cpu_share,
                   p->planned_bytes / mib, p->held_bytes / mib);
    }
    if (r->phase[ALD_BENCH_DECODE].measured)
        printf("\ndecode's limit is the reading of %.1f MiB of weights a step, that of the others "
               "sgemm\n",
               r->step_bytes / mib);
    printf("peak memory    %.1f MiB, the bench's own buffers included\n", r->peak_rss_bytes / mib);
}

static ald_json_t *phase_json(const ald_bench_figures_t *p, bool reads)
{
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "tokens_per_second", ald_json_new_number(p->tokens / p->seconds));
    ald_json_set(json, "gflops", ald_json_new_number(gflops(p->flop, p->seconds)));
    ald_json_set(json, "flop", ald_json_new_number(p->flop));
    ald_json_set(json, "seconds", ald_json_new_number(p->seconds));
    ald_json_set(json, reads ? "read_seconds" : "sgemm_seconds",
                 ald_json_new_number(p->limit_seconds));
    ald_json_set(json, reads ? "read_share" : "sgemm_share", ald_json_new_number(p->share));
    ald_json_set(json, "cpu_seconds", ald_json_new_number(p->cpu_seconds));
    ald_json_set(json, reads ? "cpu_read_share" : "cpu_sgemm_share",
                 ald_json_new_number(p->cpu_share));
    ald_json_set(json, "planned_bytes", ald_json_new_integer((int64_t)p->planned_bytes));
    ald_json_set(json, "held_bytes", ald_json_new_integer((int64_t)p->held_bytes));
    return json;
}

/* `name` is what the model's shape was read from. */
static ald_status_t print_json(const char *name, const ald_bench_options_t *o,
                               const ald_bench_report_t *r, int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    char *text = NULL;
    ald_json_t *json = ald_json_new_object();
    ald_json_set(json, "model", ald_json_new_string(name));
    ald_json_set(json, "layers", ald_json_new_integer(o->shape.layers));
    ald_json_set(json, "parameters", ald_json_new_integer(r->parameters));
    ald_json_set(json, "sequences", ald_json_new_integer(o->sequences));
    ald_json_set(json, "tokens", ald_json_new_integer(o->tokens));
    ald_json_set(json, "repeat", ald_json_new_integer(o->repeat));
    ald_json_set(json, "threads", ald_json_new_integer(threads));
    ald_json_set(json, "blas", ald_json_new_string(ald_gemm_describe()));
    ald_json_set(json, "machine_sgemm_gflops", ald_json_new_number(r->sgemm_gflops));
    ald_json_set(json, "machine_read_gb_per_second", ald_json_new_number(r->read_gigabytes));
    ald_json_set(json, "peak_rss_bytes", ald_json_new_integer((int64_t)r->peak_rss_bytes));
    for (int i = 0; i < ALD_BENCH_PHASES; ++i)
        if (r->phase[i].measured)
            ald_json_set(json, ald_bench_names[i], phase_json(&r->phase[i], i == ALD_BENCH_DECODE));
    ALD_TRY(ald_json_dump(json, true, &text));
    puts(text);
done:
    ald_json_free(json);
    ald_free(text);
    return status;
}

/* bench --text: times the tokenizer alone. */
static ald_status_t bench_text(const ald_options_t *options, const ald_comm_t *world, int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_tokenizer_t *tokenizer = NULL;
    ald_bench_text_t r;
    ALD_TRY(ald_tokenizer_open(options->model, &tokenizer));
    ALD_TRY(ald_bench_text(tokenizer, options->text, options->repeat, &r));
    const double megabytes = (double)r.bytes * 1e-6;
    if (world->rank == 0 && options->json)
        printf("{\"bytes\": %lld, \"tokens\": %lld, \"threads\": %d, \"first_seconds\": %.6f, "
               "\"seconds\": %.6f}\n",
               (long long)r.bytes, (long long)r.tokens, threads, r.first, r.seconds);
    else if (world->rank == 0)
        ald_print("text           %s, %lld bytes in %lld pieces, %lld tokens\n"
                  "first pass     %.2f MB/s\n"
                  "median of %-4lld %.2f MB/s, %.2f MB/s a thread, %d threads\n",
                  options->text, (long long)r.bytes, (long long)r.pieces, (long long)r.tokens,
                  megabytes / r.first, (long long)options->repeat, megabytes / r.seconds,
                  megabytes / r.seconds / threads, threads);
done:
    ald_tokenizer_destroy(tokenizer);
    return status;
}

static void print_store(const ald_bench_store_t *r, bool json)
{
    const double megabytes = (double)r->bytes * 1e-6;
    const char *name = ald_encoding_name(r->encoding);
    if (json)
        printf("\"%s\": {\"bytes\": %lld, \"sequences\": %lld, \"positions\": %lld, "
               "\"write_seconds\": %.6f, \"plain_write_seconds\": %.6f, \"write_share\": %.4f, "
               "\"read_seconds\": %.6f, \"plain_read_seconds\": %.6f, \"read_share\": %.4f}",
               name, (long long)r->bytes, (long long)r->sequences, (long long)r->positions,
               r->write, r->plain_write, r->plain_write / r->write, r->read, r->plain_read,
               r->plain_read / r->read);
    else
        printf("%-8s %9.1f %12.1f %10.1f %7.1f%% %12.1f %10.1f %7.1f%%\n", name, megabytes,
               megabytes / r->write, megabytes / r->plain_write, 100.0 * r->plain_write / r->write,
               megabytes / r->read, megabytes / r->plain_read, 100.0 * r->plain_read / r->read);
}

/* bench --store: times shards beside plain files, on rank 0 alone, since ranks would share a disk.
 */
static ald_status_t bench_store(const ald_options_t *options)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_bench_store_t reports[ALD_ENCODING_COUNT];
    int count = 0;
    for (ald_encoding_t e = 0; e < ALD_ENCODING_COUNT; ++e)
        if (ald_encoding_row(e)->bench)
            ALD_TRY(ald_bench_store(options->store, e, options->megabytes, options->repeat,
                                    &reports[count++]));
    if (!options->json)
        printf("%-8s %9s %12s %10s %8s %12s %10s %8s\n", "", "MB", "write MB/s", "plain", "share",
               "read MB/s", "plain", "share");
    for (int i = 0; i < count; ++i) {
        printf("%s", !options->json ? "" : i == 0 ? "{" : ", ");
        print_store(&reports[i], options->json);
    }
    printf("%s", options->json ? "}\n" : "");
done:
    return status;
}

static void print_kernel(const ald_bench_kernel_t *r, bool json)
{
    const ald_isa_t highest = ald_isa_highest();
    if (json)
        printf("{\"name\": \"%s\", \"size\": %lld", r->name, (long long)r->size);
    else
        printf("%-31s %7lld", r->name, (long long)r->size);
    for (ald_isa_t isa = highest; isa <= highest; --isa) {
        const double share = r->seconds[highest] / r->seconds[isa];
        const char *slow = isa == ALD_ISA_V3 && share < ALD_KERNEL_FLOOR ? "!" : "";
        if (json)
            printf(", \"%s\": %.4g", ald_isa_name(isa), r->seconds[isa]);
        else
            printf(" %10.3f %5.0f%%%-1s", 1e6 * r->seconds[isa], 100.0 * share, slow);
    }
    printf("%s", json ? "}" : "\n");
}

/* bench --kernels: on rank 0 alone, since ranks would share the cores. */
static ald_status_t bench_kernels(const ald_options_t *options)
{
    ald_status_t status = ALD_STATUS_OK;
    const int64_t count = ald_bench_kernel_count();
    ald_bench_kernel_t *reports = ald_calloc((size_t)count, sizeof *reports);
    ALD_CHECK_MEMORY(reports, (size_t)count * sizeof *reports);
    ALD_TRY(ald_bench_kernels(options->repeat, reports));
    if (!options->json)
        printf("%-31s %7s", "microseconds of a call", "size");
    for (ald_isa_t isa = ald_isa_highest(); !options->json && isa <= ald_isa_highest(); --isa)
        printf(" %17s", ald_isa_name(isa));
    printf("%s", options->json ? "[" : "\n");
    for (int64_t i = 0; i < count; ++i) {
        printf("%s", options->json && i > 0 ? ",\n" : "");
        print_kernel(&reports[i], options->json);
    }
    printf("%s",
           options->json ? "]\n" : "%: the highest level's time / this level's; !: below 40%\n");
done:
    ald_free(reports);
    return status;
}

static ald_status_t bench_model(const ald_options_t *options, const ald_bench_options_t *wanted,
                                const ald_comm_t *world, int threads)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_bench_report_t report;
    const char *name = options->model != NULL ? options->model : options->model_config;
    ALD_TRY(ald_bench_run(wanted, &report));
    if (world->rank == 0 && options->json)
        ALD_TRY(print_json(name, wanted, &report, threads));
    else if (world->rank == 0)
        print_text(wanted, &report, threads);
done:
    return status;
}

static ald_status_t run(const ald_options_t *options, const ald_comm_t *world)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_bench_options_t wanted;
    int threads = 0;
    const bool alone = options->store != NULL || options->kernels; /* what rank 0 does */
    if (options->text == NULL && !alone)
        status = read_bench(options, &wanted);
    ALD_TRY(ald_comm_agree(world, status));
    ALD_TRY(ald_setup_threads(options->threads, world, &threads));
    if (alone && world->rank == 0)
        status = options->kernels ? bench_kernels(options) : bench_store(options);
    else if (alone)
        status = ALD_STATUS_OK;
    else
        status = options->text != NULL ? bench_text(options, world, threads)
                                       : bench_model(options, &wanted, world, threads);
    ALD_TRY(ald_comm_agree(world, status));
done:
    return status;
}

const ald_command_t ald_command_bench = {
    .bit = ALD_FOR_BENCH,
    .name = "bench",
    .summary = "times forward, decoding, scoring and training beside the machine's limits",
    .help =
        "The model is a directory, or a config.json alone with random weights. Under mpirun all\n"
        "ranks measure at once, each alone, and rank 0 prints its figures. A directory's weights "
        "are\n"
        "used in the type that they are stored in, as the stages with frozen models do; training\n"
        "and random weights are float32.\n",
    .notes =
        "forward: hidden states of a batch. decode: one token behind each sequence. score: both\n"
        "teachers (of equal weights) over the vocabulary, into a shard. train: a step of one\n"
        "micro-batch, AdamW included. share: the time that plain sgemm takes for the phase's\n"
        "matrix products, or memory for the weights that decoding reads, over the phase's time, "
        "side\n"
        "by side in one run; cpu share: the same by processor time, which other programs on the\n"
        "machine disturb less.\n",
    .run = run,
};
