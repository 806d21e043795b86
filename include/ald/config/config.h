/* The configuration: one table of keys, one plain struct. Layer: config.
 *
 * A key is written once, in ALD_CONFIG_KEYS; loading, checking, --set, printing, the effective
 * configuration in shards and the help all walk that table. src/config/README.md is the page for
 * users. */
#ifndef ALD_CONFIG_CONFIG_H
#define ALD_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "ald/base/status.h"
#include "ald/config/choices.h"

#define ALD_KEEP_ALL    INT64_MAX
#define ALD_SOURCES_MAX 16 /* sets to mix; each costs an open folder and a metric of its own */
/* Folders of shards that are mixed. */
typedef struct {
    int64_t count;
    char *directory[ALD_SOURCES_MAX];
    double weight[ALD_SOURCES_MAX]; /* above 0; only their ratios count */
} ald_sources_t;

typedef struct {
    int64_t seed;
    char *output;
    struct {
        char *train, *eval;
        ald_layout_t layout;
        ald_responses_t responses;
        ald_chat_format_t chat_format;
        int64_t max_rows, max_prompt_tokens, max_response_tokens;
        bool shuffle;
    } data;
    struct {
        double lr, betas[2], epsilon, weight_decay, max_grad_norm;
        ald_schedule_t schedule;
        double warmup_ratio, min_lr_ratio;
        int64_t batch_size, micro_batch_tokens, epochs, max_steps;
    } optimizer;
    struct {
        char *model, *output;
    } sft;
    struct {
        char *policy, *reference, *output;
        ald_preference_loss_t loss;
        double beta, label_smoothing, gamma, tdpo_alpha;
        bool reverse;
    } dpo;
    struct {
        char *dpo, *reverse, *reference;
        ald_contrast_t contrast;
        ald_extrapolation_t extrapolation;
        double strength, epsilon, beta, temperature, plausibility;
    } teacher;
    struct {
        char *directory;
        ald_encoding_t encoding;
        int64_t top_k, sequences_per_shard;
        ald_full_dtype_t full_dtype;
        ald_compression_t compression;
        int64_t keep; /* the last so many steps; ALD_KEEP_ALL */
        bool with_reference;
        ald_sources_t sources;
    } shards;
    struct {
        char *policy, *output;
        ald_mode_t mode;
        double on_policy_fraction[2]; /* at the first step of the run, and at its last */
        int64_t max_staleness;
        ald_signal_t signal;
        ald_penalty_t penalty;
        ald_divergence_t divergence;
        ald_token_weight_t token_weight;
        bool length_normalize;
        ald_granularity_t granularity;
        struct {
            double max_length_ratio, max_kl;
            ald_guard_action_t action;
        } guard;
        double max_teacher_error;
    } distill;
    struct {
        int64_t trainers, scorers, generators;
        ald_calibration_choice_t calibrate;
    } roles;
    struct {
        char *model, *output;
        int64_t samples;
        bool teacher;
    } generate;
    struct {
        char *model, *name, *dpo, *contrast, *reference, *output, *patterns, *gamed;
        int64_t max_rows, generate;
        bool teacher;
    } eval;
    struct {
        char *rows, *terms, *alarm;
        int64_t every, answer_tokens;
    } monitor;
    struct {
        char *output, *remove, *refusals, *terms, *policy, *reference;
        int64_t bands, rows, shingle, folds;
        double similarity, ambiguous[2]; /* at or below: right; at or above: flipped */
        ald_audit_models_t models;
        bool figures, flip, keep_models;
    } audit;
    struct {
        double temperature, top_p;
        int64_t top_k, max_new_tokens;
    } sampling;
    struct {
        int64_t every_steps, keep_last;
        bool resume;
    } checkpoint;
    struct {
        ald_precision_t precision;
        ald_stored_dtype_t dtype;
        char *max_shard_size;
        bool recompute;
        int64_t threads;
        double deadline, time_limit;
        ald_frozen_copies_t frozen_copies;
        char *ledger;
    } runtime;
    struct {
        char *fail, *domains;
        ald_product_choice_t product;
    } debug;
} ald_config_t;

/* K(kind, path, default, low, high, choices, help)
 *   kind     STRING | INPUT (a path only read) | OUTPUT (a path written, relative to `output`) |
 *            ROOT (the key `output` itself) | SIZE (see ald_config_bytes) | CHOICE |
 *            INTEGER | REAL | REAL0 | REALS2 | BOOL | SOURCES (paths relative to `output`)
 *   path     the member of ald_config_t, which is also the key's name
 *   default  text, parsed as a value would be
 *   low/high inclusive bounds of numbers, without what divides or what a float loses. REAL0 takes
 *            0, too, where that has a meaning of its own
 *   choices  for CHOICE the list of ald/config/choices.h, else NONE */
#define ALD_CONFIG_KEYS(K)                                                                         \
    K(INTEGER, seed, "1", 0, 9e15, NONE, "key of every random number")                             \
    K(ROOT, output, "runs", 0, 0, NONE, "folder for everything that a stage writes")               \
    K(INPUT, data.train, "", 0, 0, NONE, "pairs, prompts or generations (JSON, JSONL, .gz)")       \
    K(INPUT, data.eval, "", 0, 0, NONE, "held-out pairs or prompts (the same)")                    \
    K(CHOICE, data.layout, "auto", 0, 0, DATA_LAYOUTS,                                             \
      "of the rows (auto: as the first ones show)")                                                \
    K(INTEGER, data.max_rows, "0", 0, 1e12, NONE, "rows of a file to take (0: all)")               \
    K(BOOL, data.shuffle, "false", 0, 0, NONE, "max_rows takes rows at random, not the first")     \
    K(CHOICE, data.responses, "chosen", 0, 0, RESPONSES, "off-policy responses")                   \
    K(CHOICE, data.chat_format, "auto", 0, 0, CHAT_FORMATS, "how conversations become text")       \
    K(INTEGER, data.max_prompt_tokens, "1024", 1, 1e9, NONE,                                       \
      "longer prompts lose their beginning")                                                       \
    K(INTEGER, data.max_response_tokens, "1024", 1, 1e9, NONE, "longer responses lose their end")  \
    K(REAL, optimizer.lr, "1e-6", 0, 1e3, NONE, "peak learning rate")                              \
    K(REALS2, optimizer.betas, "0.9 0.95", 0, 0.999999, NONE, "AdamW's decay rates")               \
    K(REAL, optimizer.epsilon, "1e-8", 1e-20, 1, NONE, "AdamW's epsilon")                          \
    K(REAL, optimizer.weight_decay, "0.0", 0, 1e3, NONE,                                           \
      "decoupled weight decay of matrices (norms and biases have none)")                           \
    K(REAL0, optimizer.max_grad_norm, "1.0", 1e-9, 1e9, NONE,                                      \
      "clip the global norm here (0: never)")                                                      \
    K(CHOICE, optimizer.schedule, "cosine", 0, 0, SCHEDULES, "after the warmup")                   \
    K(REAL, optimizer.warmup_ratio, "0.1", 0, 1, NONE, "share of the steps with a rising rate")    \
    K(REAL, optimizer.min_lr_ratio, "0.1", 0, 1, NONE, "final rate over peak rate")                \
    K(INTEGER, optimizer.batch_size, "128", 1, 1e9, NONE, "sequences (pairs for dpo) per step")    \
    K(INTEGER, optimizer.micro_batch_tokens, "4096", 1, 1e9, NONE, "tokens at once on a rank")     \
    K(INTEGER, optimizer.epochs, "1", 1, 1e9, NONE, "passes over the data")                        \
    K(INTEGER, optimizer.max_steps, "0", 0, 1e12, NONE, "end after this many steps (0: no limit)") \
    K(INPUT, sft.model, "", 0, 0, NONE, "model directory to start from")                           \
    K(OUTPUT, sft.output, "sft", 0, 0, NONE, "model directory to write")                           \
    K(INPUT, dpo.policy, "", 0, 0, NONE, "model directory to start from")                          \
    K(INPUT, dpo.reference, "", 0, 0, NONE, "frozen reference (empty: the policy's start)")        \
    K(OUTPUT, dpo.output, "dpo", 0, 0, NONE, "model directory to write")                           \
    K(CHOICE, dpo.loss, "sigmoid", 0, 0, PREFERENCE_LOSSES, "preference loss")                     \
    K(REAL, dpo.beta, "0.1", 1e-9, 1e6, NONE, "strength of the implicit KL constraint")            \
    K(REAL, dpo.label_smoothing, "0.0", 0, 0.5, NONE, "assumed share of flipped labels")           \
    K(REAL, dpo.gamma, "0.5", 0, 1e6, NONE, "target margin of simpo")                              \
    K(REAL, dpo.tdpo_alpha, "0.5", 0, 1e6, NONE, "weight of the divergences in tdpo2")             \
    K(BOOL, dpo.reverse, "false", 0, 0, NONE, "swap chosen and rejected")                          \
    K(INPUT, teacher.dpo, "", 0, 0, NONE, "DPO model directory")                                   \
    K(INPUT, teacher.reverse, "", 0, 0, NONE, "reverse DPO model directory")                       \
    K(INPUT, teacher.reference, "", 0, 0, NONE, "reference model directory")                       \
    K(CHOICE, teacher.contrast, "reverse", 0, 0, CONTRASTS, "what is extrapolated from")           \
    K(CHOICE, teacher.extrapolation, "adaptive", 0, 0, EXTRAPOLATIONS, "strength rule")            \
    K(REAL, teacher.strength, "20.0", 0, 1e6, NONE, "r of equations 11 and 16")                    \
    K(REAL, teacher.epsilon, "1e-3", 1e-9, 1e3, NONE, "added to r TVD")                            \
    K(REAL, teacher.beta, "0.1", 1e-12, 1e6, NONE, "beta0 of the token weight and reward")         \
    K(REAL, teacher.temperature, "1.0", 1e-3, 1e3, NONE, "tau, divides the teacher's logits")      \
    K(REAL, teacher.plausibility, "0.0", 0, 1, NONE,                                               \
      "raise no token below this share of pi_dpo's likeliest (0: off)")                            \
    K(OUTPUT, shards.directory, "shards", 0, 0, NONE, "folder of teacher shards")                  \
    K(CHOICE, shards.encoding, "hidden", 0, 0, ENCODINGS, "what a shard holds")                    \
    K(INTEGER, shards.top_k, "64", 1, 1e9, NONE, "tokens of topk, draws of sampled")               \
    K(CHOICE, shards.full_dtype, "f32", 0, 0, FULL_DTYPES, "numbers of full: f16 halves the size") \
    K(INTEGER, shards.sequences_per_shard, "256", 1, 1e9, NONE, "sequences in a file")             \
    K(CHOICE, shards.compression, "none", 0, 0, COMPRESSIONS, "HDF5 filter of the teacher data")   \
    K(KEEP, shards.keep, "all", 0, 1e12, NONE,                                                     \
      "on-policy shards after their step: all, none, or those of the last N steps")                \
    K(BOOL, shards.with_reference, "false", 0, 0, NONE,                                            \
      "also store what teacher.contrast = \"reference\" needs")                                    \
    K(SOURCES, shards.sources, "", 0, 0, NONE,                                                     \
      "folders that distill mixes, in place of shards.directory (--set: a:2,b:1)")                 \
    K(INPUT, distill.policy, "", 0, 0, NONE, "model directory to start from")                      \
    K(OUTPUT, distill.output, "aligned", 0, 0, NONE, "model directory to write")                   \
    K(CHOICE, distill.mode, "on-policy", 0, 0, MODES, "whose responses")                           \
    K(RAMP, distill.on_policy_fraction, "1.0", 0, 1, NONE,                                         \
      "share sampled in mode mixed: a number, or { from; to; } over the run")                      \
    K(INTEGER, distill.max_staleness, "0", 0, 1000, NONE,                                          \
      "steps a sampling policy may lag behind")                                                    \
    K(CHOICE, distill.signal, "distribution", 0, 0, SIGNALS,                                       \
      "the teacher's distribution, or its rewards as scalars by policy gradients")                 \
    K(CHOICE, distill.penalty, "beta0", 0, 0, PENALTIES, "weight of their KL to the DPO model")    \
    K(CHOICE, distill.divergence, "reverse", 0, 0, DIVERGENCES, "student to teacher")              \
    K(CHOICE, distill.token_weight, "beta", 0, 0, TOKEN_WEIGHTS, "weight of a position's loss")    \
    K(BOOL, distill.length_normalize, "true", 0, 0, NONE, "divide by the response's length")       \
    K(CHOICE, distill.granularity, "token", 0, 0, GRANULARITIES,                                   \
      "alpha from each position's TVD, from the response's mean, or as fits")                      \
    K(REAL, distill.max_teacher_error, "0.0", 0, 1, NONE,                                          \
      "refuse a topk position whose teacher may be further off, in total variation (0: warn)")     \
    K(REAL, distill.guard.max_length_ratio, "0.0", 0, 1e6, NONE,                                   \
      "limit of the sampled responses' mean length over the first step's (0: none)")               \
    K(REAL, distill.guard.max_kl, "0.0", 0, 1e6, NONE,                                             \
      "limit of kl/dpo, nats per token (0: none)")                                                 \
    K(CHOICE, distill.guard.action, "warn", 0, 0, GUARD_ACTIONS,                                   \
      "when a moving average is above its limit")                                                  \
    K(INTEGER, roles.trainers, "0", 0, 1e6, NONE, "ranks that train (0: automatic)")               \
    K(INTEGER, roles.scorers, "0", 0, 1e6, NONE, "ranks that score (0: automatic)")                \
    K(INTEGER, roles.generators, "0", 0, 1e6, NONE, "ranks that sample (0: automatic)")            \
    K(CHOICE, roles.calibrate, "auto", 0, 0, CALIBRATIONS,                                         \
      "measure which ranks should do what, where all is automatic")                                \
    K(INPUT, generate.model, "", 0, 0, NONE, "model directory to sample from")                     \
    K(OUTPUT, generate.output, "generations.jsonl", 0, 0, NONE, "responses (JSONL)")               \
    K(INTEGER, generate.samples, "1", 1, 1e6, NONE, "responses per prompt")                        \
    K(BOOL, generate.teacher, "false", 0, 0, NONE,                                                 \
      "sample from the composed teacher (teacher.*) in place of generate.model")                   \
    K(INPUT, eval.model, "", 0, 0, NONE, "model directory to evaluate")                            \
    K(STRING, eval.name, "", 0, 0, NONE,                                                           \
      "of the model in benchmark answers (empty: its folder's)")                                   \
    K(INPUT, eval.dpo, "", 0, 0, NONE, "DPO model of the reward pair")                             \
    K(INPUT, eval.contrast, "", 0, 0, NONE, "contrast of the reward pair")                         \
    K(INPUT, eval.reference, "", 0, 0, NONE, "model that the KL is measured from")                 \
    K(OUTPUT, eval.output, "eval", 0, 0, NONE, "folder of the reports")                            \
    K(INTEGER, eval.max_rows, "0", 0, 1e12, NONE, "rows of data.eval to use (0: all)")             \
    K(INTEGER, eval.generate, "1", 0, 1e6, NONE, "sampled responses per prompt (0: none)")         \
    K(BOOL, eval.teacher, "false", 0, 0, NONE,                                                     \
      "evaluate the composed teacher (teacher.*) in place of eval.model")                          \
    K(INPUT, eval.patterns, "", 0, 0, NONE,                                                        \
      "file of figures and terms for rows without (src/text/README.md)")                           \
    K(INPUT, eval.gamed, "", 0, 0, NONE,                                                           \
      "df_gamed.csv of AlpacaEval, for --judged's length-controlled win rate")                     \
    K(OUTPUT, audit.output, "audit", 0, 0, NONE, "folder of reports, clean.jsonl, removed.jsonl")  \
    K(STRING, audit.remove, "standard", 0, 0, NONE, "reasons to remove rows (src/data/AUDIT.md)")  \
    K(INTEGER, audit.bands, "14", 1, 1024, NONE, "bands of MinHash")                               \
    K(INTEGER, audit.rows, "8", 1, 1024, NONE, "hash functions in a band; at most 1024 in all")    \
    K(INTEGER, audit.shingle, "5", 1, 1000, NONE,                                                  \
      "words in an n-gram (characters where a script has no spaces)")                              \
    K(REAL, audit.similarity, "0.8", 0, 1, NONE, "Jaccard similarity of near duplicates")          \
    K(INPUT, audit.refusals, "", 0, 0, NONE, "file of phrases of refusals, one a line")            \
    K(INPUT, audit.terms, "", 0, 0, NONE, "file of forbidden terms, one a line")                   \
    K(BOOL, audit.figures, "false", 0, 0, NONE,                                                    \
      "report numbers of an answer that a prompt with numbers doesn't have")                       \
    K(CHOICE, audit.models, "none", 0, 0, AUDIT_MODELS, "whose margins tell flipped labels")       \
    K(INPUT, audit.policy, "", 0, 0, NONE, "given: a DPO model that hasn't seen the rows")         \
    K(INPUT, audit.reference, "", 0, 0, NONE, "given: what it was trained from")                   \
    K(INTEGER, audit.folds, "5", 2, 1000, NONE, "crossfit: parts, each scored without having it")  \
    K(REALS2, audit.ambiguous, "0.2 0.5", 0, 1, NONE,                                              \
      "a label is right up to the first probability of a flip, flipped from the second on")        \
    K(BOOL, audit.flip, "false", 0, 0, NONE,                                                       \
      "clean.jsonl has likely flipped rows with their answers exchanged")                          \
    K(BOOL, audit.keep_models, "false", 0, 0, NONE, "crossfit: keep the models of the folds")      \
    K(INPUT, monitor.rows, "", 0, 0, NONE, "data file whose rows are looked at during training")   \
    K(INPUT, monitor.terms, "", 0, 0, NONE,                                                        \
      "file of terms, one a line (empty: the rows' \"required\" and \"forbidden\")")               \
    K(INTEGER, monitor.every, "50", 1, 1e12, NONE, "steps between two looks")                      \
    K(INTEGER, monitor.answer_tokens, "64", 0, 1e6, NONE, "longest greedy answer (0: none)")       \
    K(STRING, monitor.alarm, "", 0, 0, NONE,                                                       \
      "as in \"4.60 < 0.5; cheap > 0.01 stop\": warns, or stops the run")                          \
    K(REAL0, sampling.temperature, "1.0", 1e-6, 1e3, NONE, "0: greedy")                            \
    K(REAL, sampling.top_p, "1.0", 0, 1, NONE, "nucleus")                                          \
    K(INTEGER, sampling.top_k, "0", 0, 1e9, NONE, "most likely tokens kept (0: all)")              \
    K(INTEGER, sampling.max_new_tokens, "1024", 1, 1e9, NONE, "longest response")                  \
    K(INTEGER, checkpoint.every_steps, "50", 0, 1e12, NONE, "steps between checkpoints (0: none)") \
    K(INTEGER, checkpoint.keep_last, "2", 0, 1e9, NONE, "checkpoints kept (0: all)")               \
    K(BOOL, checkpoint.resume, "true", 0, 0, NONE, "go on from what is there (false: --force)")    \
    K(CHOICE, runtime.precision, "auto", 0, 0, PRECISIONS, "arithmetic of the matrix products")    \
    K(CHOICE, runtime.dtype, "auto", 0, 0, STORED_DTYPES, "of written weights (auto: as read)")    \
    K(SIZE, runtime.max_shard_size, "5GB", 0, 0, NONE,                                             \
      "weight files above it are cut into several")                                                \
    K(BOOL, runtime.recompute, "false", 0, 0, NONE,                                                \
      "compute activations again in the backward, a layer at a time: less memory")                 \
    K(INTEGER, runtime.threads, "0", 0, 4096, NONE, "threads per rank (0: its cores' share)")      \
    K(REAL, runtime.deadline, "36000.0", 0.1, 1e9, NONE, "seconds that a rank waits for others")   \
    K(REAL0, runtime.time_limit, "0.0", 1e-3, 1e9, NONE,                                           \
      "seconds that a run may take before it stops (0: until its job ends)")                       \
    K(CHOICE, runtime.frozen_copies, "node", 0, 0, FROZEN_COPIES,                                  \
      "frozen weights in memory: one copy a node, or one a NUMA domain")                           \
    K(OUTPUT, runtime.ledger, "", 0, 0, NONE, "file that gets a line for each finished stage")     \
    K(STRING, debug.fail, "", 0, 0, NONE, "SITE:RANK:TIME[:signal|:hang], for tests of failures")  \
    K(STRING, debug.domains, "", 0, 0, NONE,                                                       \
      "for tests: a folder in place of /sys/devices/system/node")                                  \
    K(CHOICE, debug.product, "auto", 0, 0, PRODUCTS,                                               \
      "for tests: matrix products that show what is computed together")

/* Loads FILE.cfg, then the `count` settings "path=value" in order, and resolves paths: INPUT ones
 * and `output` against the file's folder, OUTPUT ones against `output`; empty ones stay empty.
 * USAGE for a missing file, a syntax error (file:line), an unknown key (with the nearest known
 * one), a wrong type, a value out of range. `path` NULL: defaults and settings alone. Local; the
 * caller frees with ald_config_reset. */
ald_status_t ald_config_load(const char *path, const char *const *settings, int count,
                             ald_config_t *out);
/* Reads a configuration as ald_config_print wrote it, in whatever version: a shard's. Keys that it
 * lacks have their defaults; keys that this version lacks are passed over; a value that this
 * version doesn't take (a choice of a later one) is warned of, and the default stands. Paths stay
 * as they are. INPUT "NAME:LINE: ..." for a text that can't be parsed, or that would include files.
 * Local; the caller frees with ald_config_reset. */
ald_status_t ald_config_load_text(const char *text, const char *name, ald_config_t *out);
/* The bytes of a size: a number and KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB; -1 for any
 * other text, and for less than one byte. */
int64_t ald_config_bytes(const char *text);
/* Frees the strings; takes a zeroed struct. */
void ald_config_reset(ald_config_t *config);

#endif
