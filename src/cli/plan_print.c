/* What `plan` prints. A number that rests on anything but all rows and a measured model has a "~"
 * before it, and the lines at the end say on what. */
#include <math.h>
#include <stdio.h>

#include "ald/base/arena.h"
#include "ald/base/json.h"
#include "ald/base/show.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/config/config.h"
#include "ald/plan/cost.h"
#include "ald/plan/rows.h"
#include "ald/plan/stages.h"
#include "cli/plan_impl.h"

bool ald_plan_is_rough(const ald_planning_t *p, bool time)
{
    return p->plan.train.source != ALD_LENGTHS_MEASURED || p->plan.policy.directory == NULL ||
           (time && p->rates.source != ALD_RATES_MEASURED);
}

const char *ald_plan_bytes(double bytes, char *room)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    int unit = 0;
    for (; bytes >= 999.5 && unit < 5; ++unit)
        bytes /= 1000.0;
    snprintf(room, 32,
             bytes < 9.95 && unit > 0   ? "%.2f %s"
             : bytes < 99.5 && unit > 0 ? "%.1f %s"
                                        : "%.0f %s",
             bytes, units[unit]);
    return room;
}

const char *ald_plan_time(double seconds, char *room)
{
    if (seconds < 120.0)
        snprintf(room, 32, "%.1f s", seconds);
    else if (seconds < 7200.0)
        snprintf(room, 32, "%.1f min", seconds / 60.0);
    else
        snprintf(room, 32, "%.1f h", seconds / 3600.0);
    return room;
}

/* Whether what a stage takes depends on how long samples are. */
static bool samples(const ald_plan_t *plan, const ald_promise_t *promise)
{
    return promise->stage != NULL &&
           (promise == &plan->promise[ALD_PLAN_EVAL] ||
            (promise == &plan->promise[ALD_PLAN_DISTILL] && plan->split.seconds > 0.0));
}

/* Whether it does, and they are taken to be as long as the data's responses. */
static bool guesses(const ald_planning_t *p, const ald_promise_t *promise)
{
    return samples(&p->plan, promise) && p->answers.model == NULL;
}

static void print_stage(const ald_planning_t *p, const ald_promise_t *promise)
{
    const char *rough = ald_plan_is_rough(p, false) ? "~" : "";
    const char *slow = ald_plan_is_rough(p, true) || guesses(p, promise) ? "~" : "";
    const char *about = ald_plan_is_rough(p, false) || guesses(p, promise) ? "~" : "";
    char a[32], b[32], c[32], d[32];
    for (int r = 0; r < promise->roles; ++r) {
        const ald_promised_role_t *role = &promise->role[r];
        printf("%-8s %-21s %5d  %s%-10s", r == 0 ? promise->stage : "", role->name, role->ranks,
               rough, ald_plan_bytes(role->peak, a));
        if (r == 0)
            printf(" %s%-10s %s%-10s %s%-10s %6.0f  %s%s", rough, ald_plan_bytes(promise->node, b),
                   about, ald_plan_bytes(promise->storage.bytes, c), about,
                   ald_plan_bytes(promise->storage.most, a), promise->storage.files, slow,
                   ald_plan_time(promise->seconds, d));
        putchar('\n');
    }
}

static void print_head(const ald_planning_t *p)
{
    const ald_plan_t *plan = &p->plan;
    const ald_model_config_t *shape = &plan->policy.params.config;
    char a[32];
    ald_print("model          %s, %lld layers, %.2f M parameters, %s\n", shape->model_type,
              (long long)shape->layers, (double)plan->policy.params.total * 1e-6,
              plan->policy.directory != NULL ? plan->policy.directory : plan->model_config);
    printf("rows           %lld of %.1f tokens in the prompt, %.1f and %.1f in the responses\n",
           (long long)plan->train.count, plan->train.prompt, plan->train.chosen,
           plan->train.rejected);
    printf("nodes          %d, each with %d rank%s, %d cores, %s\n", plan->site.nodes,
           plan->site.ranks, plan->site.ranks == 1 ? "" : "s", plan->site.cores,
           ald_plan_bytes(plan->site.memory, a));
}

static void print_split(const ald_planning_t *p)
{
    const ald_plan_t *plan = &p->plan;
    const ald_split_t *split = &plan->split;
    char a[32];
    if (split->seconds == 0.0)
        return;
    if (split->trainers == 0)
        printf("\nroles: all on all ranks take least, ~%s a step",
               ald_plan_time(split->seconds, a));
    else
        printf("\nroles: roles.trainers=%d roles.scorers=%d roles.generators=%d take least, ~%s a "
               "step",
               split->trainers, split->scorers, split->generators,
               ald_plan_time(split->seconds, a));
    printf("%s\n", plan->split_is_set ? "; planned is the split of the configuration" : "");
}

void ald_plan_print_idle(const ald_plan_t *plan, char mark)
{
    for (int s = 0; s < ALD_PLAN_STAGES; ++s) {
        const ald_promise_t *promise = &plan->promise[s];
        if (promise->trainers > ceil(promise->micros))
            printf("%c %s: a step has %.1f micro-batches for %d trainers; a smaller "
                   "optimizer.micro_batch_tokens gives work to more of them\n",
                   mark, promise->stage, promise->micros, promise->trainers);
    }
}

/* What is known of the lengths of samples, where a stage depends on them. */
static void print_answers(const ald_planning_t *p)
{
    const ald_promise_t *promise = p->plan.promise;
    const ald_trial_answers_t *answers = &p->answers;
    if (!samples(&p->plan, &promise[ALD_PLAN_EVAL]) &&
        !samples(&p->plan, &promise[ALD_PLAN_DISTILL]))
        return;
    if (answers->model == NULL)
        puts("\n~ samples are assumed to be as long as the data's responses, in time and on the "
             "disk");
    else
        ald_print("\nsamples have %.1f tokens on average, as the first %lld answers of %s, %s\n",
                  answers->tokens, (long long)answers->count, answers->key, answers->model);
}

static void print_notes(const ald_planning_t *p)
{
    const ald_plan_t *plan = &p->plan;
    const bool means = plan->train.source >= ALD_LENGTHS_GIVEN;
    const bool compressed = plan->config->shards.compression != ALD_COMPRESSION_NONE;
    if (!ald_plan_is_rough(p, true) && !compressed)
        return;
    puts("");
    if (compressed)
        puts("~ shards are promised as if they weren't compressed: with shards.compression they "
             "take less");
    if (plan->train.source == ALD_LENGTHS_SAMPLED)
        printf("~ lengths are those of %lld rows, taken at random\n", (long long)plan->train.known);
    if (means)
        printf(
            "~ lengths are %s means; the longest row is assumed to have %lld and %lld tokens, as "
            "data.max_prompt_tokens and data.max_response_tokens allow\n",
            plan->train.source == ALD_LENGTHS_GIVEN ? "the given" : "assumed",
            (long long)plan->train.longest.prompt, (long long)plan->train.longest.chosen);
    if (plan->policy.directory == NULL)
        puts("~ tokenizer and other files of the model are assumed to have 11 MiB");
    if (p->rates.source == ALD_RATES_ASSUMED)
        printf(
            "~ time is assumed, not measured: %.0f GFLOP/s and %.0f GB/s of memory a core, files "
            "at %.0f MB/s, ranks at %.0f MB/s; --calibrate measures\n",
            ALD_ASSUMED_FLOPS * 1e-9, ALD_ASSUMED_READING * 1e-9, ALD_ASSUMED_WRITING * 1e-6,
            ALD_ASSUMED_NETWORK * 1e-6);
    if (p->rates.source == ALD_RATES_EXTRAPOLATED)
        puts(
            "~ time is extrapolated from fewer layers, tokens, vocabulary or cores, measured here");
}

void ald_plan_print(const ald_planning_t *p)
{
    print_head(p);
    printf("\n%-8s %-21s %5s  %-10s %-10s %-10s %-10s %6s  %s\n", "stage", "role", "ranks",
           "a rank", "a node", "disk", "at most", "files", "time");
    for (int s = 0; s < ALD_PLAN_STAGES; ++s)
        if (p->plan.promise[s].stage != NULL)
            print_stage(p, &p->plan.promise[s]);
    print_split(p);
    ald_plan_print_idle(&p->plan, '!');
    print_answers(p);
    print_notes(p);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void set(ald_json_t *to, const char *key, double value)
{
    ald_json_set(to, key, ald_json_new_number(value));
}

/* Bytes and numbers of things. */
static void set_whole(ald_json_t *to, const char *key, double value)
{
    ald_json_set(to, key, ald_json_new_integer(llround(value)));
}

/* Whether a stage's shards are promised as if they weren't compressed. */
static bool is_compressed(const ald_plan_t *plan, const ald_promise_t *promise)
{
    const bool scores = promise == &plan->promise[ALD_PLAN_SCORE] ||
                        (promise == &plan->promise[ALD_PLAN_DISTILL] && samples(plan, promise));
    return scores && plan->config->shards.compression != ALD_COMPRESSION_NONE;
}

static ald_json_t *stage_json(const ald_planning_t *p, const ald_promise_t *promise)
{
    ald_json_t *out = ald_json_new_object(), *roles = ald_json_new_object();
    for (int r = 0; r < promise->roles; ++r) {
        const ald_promised_role_t *role = &promise->role[r];
        ald_json_t *one = ald_json_new_object();
        set_whole(one, "ranks", role->ranks);
        set_whole(one, "peak_bytes", role->peak);
        set_whole(one, "mapped_bytes", role->mapped);
        ald_json_set(one, "parts", ald_json_new_string(role->text[0] == ',' ? role->text + 2 : ""));
        ald_json_set(roles, role->name, one);
    }
    ald_json_set(out, "memory", roles);
    set_whole(out, "node_bytes", promise->node);
    set_whole(out, "bytes", promise->storage.bytes);
    set_whole(out, "bytes_at_most", promise->storage.most);
    set_whole(out, "files", promise->storage.files);
    set_whole(out, "steps", (double)promise->steps);
    set_whole(out, "sequences", (double)promise->sequences);
    set(out, "seconds", promise->seconds);
    ald_json_set(out, "extrapolated",
                 ald_json_new_bool(ald_plan_is_rough(p, false) || guesses(p, promise) ||
                                   is_compressed(&p->plan, promise)));
    ald_json_set(out, "seconds_extrapolated",
                 ald_json_new_bool(ald_plan_is_rough(p, true) || guesses(p, promise)));
    return out;
}

static ald_json_t *rates_json(const ald_rates_t *rates)
{
    static const char *const sources[] = {"assumed", "measured", "extrapolated"};
    ald_json_t *out = ald_json_new_object(), *decode = ald_json_new_object();
    char count[16];
    ald_json_set(out, "source", ald_json_new_string(sources[rates->source]));
    set(out, "train_token_seconds", rates->train);
    set(out, "pair_token_seconds", rates->pair);
    set(out, "micro_batch_seconds", rates->micro);
    set(out, "update_seconds", rates->update);
    set(out, "lesson_position_seconds", rates->lesson);
    set(out, "score_token_seconds", rates->score);
    set(out, "prompt_token_seconds", rates->prefill);
    for (int i = 0; i < ALD_DECODE_POINTS; ++i) {
        snprintf(count, sizeof count, "%d", ald_decode_counts[i]);
        set(decode, count, rates->decode[i]);
    }
    ald_json_set(out, "decode_step_seconds", decode);
    set(out, "written_bytes_per_second", rates->writing);
    return out;
}

static ald_json_t *rows_json(const ald_plan_rows_t *rows)
{
    static const char *const sources[] = {"measured", "sample", "given", "assumed"};
    ald_json_t *out = ald_json_new_object();
    ald_json_set(out, "source", ald_json_new_string(sources[rows->source]));
    set_whole(out, "count", (double)rows->count);
    set_whole(out, "looked_at", rows->source >= ALD_LENGTHS_GIVEN ? 0.0 : (double)rows->known);
    set(out, "prompt_tokens", rows->prompt);
    set(out, "chosen_tokens", rows->chosen);
    set(out, "rejected_tokens", rows->rejected);
    set_whole(out, "longest_prompt", (double)rows->longest.prompt);
    set_whole(out, "longest_chosen", (double)rows->longest.chosen);
    return out;
}

static ald_json_t *answers_json(const ald_trial_answers_t *answers)
{
    ald_json_t *out = ald_json_new_object();
    ald_json_set(out, "model", ald_json_new_string(answers->model));
    set_whole(out, "count", (double)answers->count);
    set(out, "tokens", answers->tokens);
    set(out, "bytes", answers->text);
    return out;
}

static ald_json_t *split_json(const ald_plan_t *plan)
{
    ald_json_t *out = ald_json_new_object();
    set_whole(out, "trainers", plan->split.trainers);
    set_whole(out, "scorers", plan->split.scorers);
    set_whole(out, "generators", plan->split.generators);
    set(out, "step_seconds", plan->split.seconds);
    return out;
}

ald_status_t ald_plan_print_json(const ald_planning_t *p)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_plan_t *plan = &p->plan;
    char *text = NULL;
    ald_json_t *out = ald_json_new_object(), *stages = ald_json_new_object();
    set_whole(out, "nodes", plan->site.nodes);
    set_whole(out, "ranks_per_node", plan->site.ranks);
    set_whole(out, "cores_per_node", plan->site.cores);
    set_whole(out, "memory_per_node", plan->site.memory);
    set_whole(out, "parameters", (double)plan->policy.params.total);
    ald_json_set(out, "rows", rows_json(&plan->train));
    ald_json_set(out, "rates", rates_json(&p->rates));
    if (p->answers.model != NULL)
        ald_json_set(out, "answers", answers_json(&p->answers));
    for (int s = 0; s < ALD_PLAN_STAGES; ++s)
        if (plan->promise[s].stage != NULL)
            ald_json_set(stages, plan->promise[s].stage, stage_json(p, &plan->promise[s]));
    ald_json_set(out, "stages", stages);
    if (plan->split.seconds > 0.0)
        ald_json_set(out, "split", split_json(plan));
    ALD_TRY(ald_json_dump(out, true, &text));
    puts(text);
done:
    ald_json_free(out);
    ald_free(text);
    return status;
}
