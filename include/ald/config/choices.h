/* The choices of the configuration: each list once, from which come the enum, the texts that a file
 * may have, and those that messages and the help name. Layer: config. */
#ifndef ALD_CONFIG_CHOICES_H
#define ALD_CONFIG_CHOICES_H

#include <stdbool.h>

/* C(constant, value, text), in the order in which messages and the help name them. Values of
 * encodings are part of the digest of a sweep's shards. */
#define ALD_DATA_LAYOUTS(C)                                                                        \
    C(ALD_LAYOUT_AUTO, 10, "auto")                                                                 \
    C(ALD_LAYOUT_PAIRS, 0, "pairs")                 /* prompt, chosen, rejected or response */     \
    C(ALD_LAYOUT_PROMPTS, 1, "prompts")             /* prompt alone */                             \
    C(ALD_LAYOUT_ULTRAFEEDBACK, 2, "ultrafeedback") /* a prompt, whole conversations beside it */  \
    C(ALD_LAYOUT_IMPLICIT, 3, "implicit")           /* conversations in chosen and rejected */     \
    C(ALD_LAYOUT_HH, 4, "hh")                       /* the same as "\n\nHuman:" texts */           \
    C(ALD_LAYOUT_SHAREGPT, 5, "sharegpt")           /* conversations of {from, value} */           \
    C(ALD_LAYOUT_ALPACA, 6, "alpaca")               /* instruction, input, chosen or output */     \
    C(ALD_LAYOUT_MESSAGES, 11, "messages")          /* a conversation that ends with an answer */  \
    C(ALD_LAYOUT_COMPLETION, 12, "completion")      /* prompt, completion */                       \
    C(ALD_LAYOUT_MT_BENCH, 7, "mt-bench")           /* turns: strings */                           \
    C(ALD_LAYOUT_ARENA_HARD, 8, "arena-hard")       /* turns: [{content}], or prompt with uid */   \
    C(ALD_LAYOUT_ALPACA_EVAL, 9, "alpaca-eval")     /* instruction, dataset */
#define ALD_RESPONSES(C)                                                                           \
    C(ALD_RESPONSES_CHOSEN, 0, "chosen")                                                           \
    C(ALD_RESPONSES_REJECTED, 1, "rejected")                                                       \
    C(ALD_RESPONSES_BOTH, 2, "both")
#define ALD_CHAT_FORMATS(C)                                                                        \
    C(ALD_CHAT_FORMAT_AUTO, 0, "auto")                                                             \
    C(ALD_CHAT_FORMAT_CHATML, 1, "chatml")                                                         \
    C(ALD_CHAT_FORMAT_LLAMA3, 2, "llama3")                                                         \
    C(ALD_CHAT_FORMAT_LLAMA2, 3, "llama2")                                                         \
    C(ALD_CHAT_FORMAT_MISTRAL, 4, "mistral")                                                       \
    C(ALD_CHAT_FORMAT_ZEPHYR, 5, "zephyr")                                                         \
    C(ALD_CHAT_FORMAT_NONE, 6, "none")
#define ALD_SCHEDULES(C)                                                                           \
    C(ALD_SCHEDULE_COSINE, 0, "cosine")                                                            \
    C(ALD_SCHEDULE_LINEAR, 1, "linear")                                                            \
    C(ALD_SCHEDULE_CONSTANT, 2, "constant")
#define ALD_PREFERENCE_LOSSES(C)                                                                   \
    C(ALD_PREFERENCE_SIGMOID, 0, "sigmoid")                                                        \
    C(ALD_PREFERENCE_IPO, 1, "ipo")                                                                \
    C(ALD_PREFERENCE_HINGE, 2, "hinge")                                                            \
    C(ALD_PREFERENCE_SIMPO, 3, "simpo") /* without a reference */                                  \
    C(ALD_PREFERENCE_CDPO, 4, "cdpo")                                                              \
    C(ALD_PREFERENCE_TDPO1, 5, "tdpo1")                                                            \
    C(ALD_PREFERENCE_TDPO2, 6, "tdpo2")
#define ALD_CONTRASTS(C)                                                                           \
    C(ALD_CONTRAST_REVERSE, 0, "reverse")                                                          \
    C(ALD_CONTRAST_REFERENCE, 1, "reference")
#define ALD_EXTRAPOLATIONS(C)                                                                      \
    C(ALD_EXTRAPOLATION_ADAPTIVE, 0, "adaptive")                                                   \
    C(ALD_EXTRAPOLATION_CONSTANT, 1, "constant")                                                   \
    C(ALD_EXTRAPOLATION_NONE, 2, "none")
#define ALD_ENCODINGS(C)                                                                           \
    C(ALD_ENCODING_FULL, 0, "full")                                                                \
    C(ALD_ENCODING_HIDDEN, 1, "hidden")                                                            \
    C(ALD_ENCODING_HIDDEN32, 3, "hidden32")                                                        \
    C(ALD_ENCODING_TOPK, 2, "topk")                                                                \
    C(ALD_ENCODING_SAMPLED, 4, "sampled")
#define ALD_FULL_DTYPES(C)                                                                         \
    C(ALD_FULL_DTYPE_F32, 0, "f32")                                                                \
    C(ALD_FULL_DTYPE_F16, 1, "f16")
#define ALD_COMPRESSIONS(C)                                                                        \
    C(ALD_COMPRESSION_NONE, 0, "none")                                                             \
    C(ALD_COMPRESSION_GZIP, 1, "gzip")
#define ALD_TABLE_FORMATS(C)                                                                       \
    C(ALD_TABLE_FORMAT_TEXT, 0, "text")                                                            \
    C(ALD_TABLE_FORMAT_JSONL, 1, "jsonl")                                                          \
    C(ALD_TABLE_FORMAT_HTML, 2, "html")
#define ALD_ROLES(C)                                                                               \
    C(ALD_ROLE_TRAINER, 0, "trainer")                                                              \
    C(ALD_ROLE_SCORER, 1, "scorer")                                                                \
    C(ALD_ROLE_GENERATOR, 2, "generator")                                                          \
    C(ALD_ROLE_ANY, 3, "any")
#define ALD_MODES(C)                                                                               \
    C(ALD_MODE_ON_POLICY, 0, "on-policy")                                                          \
    C(ALD_MODE_OFF_POLICY, 1, "off-policy")                                                        \
    C(ALD_MODE_MIXED, 2, "mixed")
#define ALD_DIVERGENCES(C)                                                                         \
    C(ALD_DIVERGENCE_REVERSE, 0, "reverse") /* KL(student || teacher) */                           \
    C(ALD_DIVERGENCE_FORWARD, 1, "forward") /* KL(teacher || student) */                           \
    C(ALD_DIVERGENCE_JSD, 2, "jsd")         /* mean of both to their mixture */
#define ALD_SIGNALS(C)                                                                             \
    C(ALD_SIGNAL_DISTRIBUTION, 0, "distribution") /* the teacher's, at every position */           \
    C(ALD_SIGNAL_TOKEN, 1, "token")               /* rewards of sampled tokens */                  \
    C(ALD_SIGNAL_SEQUENCE, 2, "sequence")         /* their sum */
#define ALD_PENALTIES(C)                                                                           \
    C(ALD_PENALTY_BETA0, 0, "beta0")                                                               \
    C(ALD_PENALTY_BETA, 1, "beta") /* beta0 over alpha */
#define ALD_TOKEN_WEIGHTS(C)                                                                       \
    C(ALD_TOKEN_WEIGHT_BETA, 0, "beta")                                                            \
    C(ALD_TOKEN_WEIGHT_UNIFORM, 1, "uniform")
#define ALD_GRANULARITIES(C)                                                                       \
    C(ALD_GRANULARITY_TOKEN, 0, "token")                                                           \
    C(ALD_GRANULARITY_RESPONSE, 1, "response")                                                     \
    C(ALD_GRANULARITY_SEQUENCE, 1, "sequence") /* the older name of "response" */                  \
    C(ALD_GRANULARITY_AUTO, 2, "auto")         /* by ald_teacher_by_token */
#define ALD_GUARD_ACTIONS(C)                                                                       \
    C(ALD_GUARD_WARN, 0, "warn")                                                                   \
    C(ALD_GUARD_REDUCE, 1, "reduce") /* teacher.strength */                                        \
    C(ALD_GUARD_STOP, 2, "stop")
#define ALD_AUDIT_MODELS(C)                                                                        \
    C(ALD_AUDIT_MODELS_NONE, 0, "none")                                                            \
    C(ALD_AUDIT_MODELS_LENGTH, 1, "length") /* the answers' lengths in place of models */          \
    C(ALD_AUDIT_MODELS_GIVEN, 2, "given")                                                          \
    C(ALD_AUDIT_MODELS_CROSSFIT, 3, "crossfit")
#define ALD_CALIBRATIONS(C)                                                                        \
    C(ALD_CALIBRATE_AUTO, 0, "auto") /* where the run is long enough */                            \
    C(ALD_CALIBRATE_ALWAYS, 1, "always")                                                           \
    C(ALD_CALIBRATE_NEVER, 2, "never")
#define ALD_PRECISIONS(C)                                                                          \
    C(ALD_PRECISION_AUTO, 0, "auto")                                                               \
    C(ALD_PRECISION_FP32, 1, "fp32")
#define ALD_PRODUCTS(C)                                                                            \
    C(ALD_PRODUCT_AUTO, 0, "auto") /* as runtime.precision says */                                 \
    C(ALD_PRODUCT_PERTURBED, 1, "perturbed")
#define ALD_STORED_DTYPES(C)                                                                       \
    C(ALD_STORED_DTYPE_AUTO, 0, "auto") /* as the model that was trained had it */                 \
    C(ALD_STORED_DTYPE_F32, 1, "F32")                                                              \
    C(ALD_STORED_DTYPE_BF16, 2, "BF16")                                                            \
    C(ALD_STORED_DTYPE_F16, 3, "F16")

#define ALD_FROZEN_COPIES(C)                                                                       \
    C(ALD_FROZEN_NODE, 0, "node")                                                                  \
    C(ALD_FROZEN_DOMAIN, 1, "domain") /* of memory (NUMA) */

/* L(list): the lists above, whose names the table of keys has. */
#define ALD_CHOICE_LISTS(L)                                                                        \
    L(DATA_LAYOUTS)                                                                                \
    L(RESPONSES)                                                                                   \
    L(CHAT_FORMATS)                                                                                \
    L(SCHEDULES)                                                                                   \
    L(PREFERENCE_LOSSES)                                                                           \
    L(CONTRASTS)                                                                                   \
    L(EXTRAPOLATIONS)                                                                              \
    L(ENCODINGS)                                                                                   \
    L(FULL_DTYPES)                                                                                 \
    L(TABLE_FORMATS)                                                                               \
    L(ROLES)                                                                                       \
    L(COMPRESSIONS)                                                                                \
    L(MODES)                                                                                       \
    L(DIVERGENCES)                                                                                 \
    L(SIGNALS)                                                                                     \
    L(PENALTIES)                                                                                   \
    L(TOKEN_WEIGHTS)                                                                               \
    L(GRANULARITIES)                                                                               \
    L(GUARD_ACTIONS)                                                                               \
    L(AUDIT_MODELS)                                                                                \
    L(CALIBRATIONS)                                                                                \
    L(PRECISIONS)                                                                                  \
    L(PRODUCTS)                                                                                    \
    L(STORED_DTYPES)                                                                               \
    L(FROZEN_COPIES)

#define ALD_CHOICE_CONSTANT(constant, value, text) constant = value,
typedef enum { ALD_DATA_LAYOUTS(ALD_CHOICE_CONSTANT) } ald_layout_t;
typedef enum { ALD_RESPONSES(ALD_CHOICE_CONSTANT) } ald_responses_t;
typedef enum { ALD_CHAT_FORMATS(ALD_CHOICE_CONSTANT) } ald_chat_format_t;
typedef enum { ALD_SCHEDULES(ALD_CHOICE_CONSTANT) } ald_schedule_t;
typedef enum { ALD_PREFERENCE_LOSSES(ALD_CHOICE_CONSTANT) } ald_preference_loss_t;
typedef enum { ALD_CONTRASTS(ALD_CHOICE_CONSTANT) ALD_CONTRAST_COUNT } ald_contrast_t;
typedef enum { ALD_EXTRAPOLATIONS(ALD_CHOICE_CONSTANT) } ald_extrapolation_t;
typedef enum {
    ALD_ENCODINGS(ALD_CHOICE_CONSTANT) ALD_ENCODING_COUNT,
    ALD_ENCODING_ANY = ALD_ENCODING_COUNT, /* in what is expected of a shard, in none itself */
} ald_encoding_t;
typedef enum { ALD_TABLE_FORMATS(ALD_CHOICE_CONSTANT) } ald_table_format_t;
typedef enum { ALD_ROLES(ALD_CHOICE_CONSTANT) } ald_role_t;
typedef enum { ALD_FULL_DTYPES(ALD_CHOICE_CONSTANT) } ald_full_dtype_t;
typedef enum { ALD_COMPRESSIONS(ALD_CHOICE_CONSTANT) } ald_compression_t;
typedef enum { ALD_MODES(ALD_CHOICE_CONSTANT) } ald_mode_t;
typedef enum { ALD_DIVERGENCES(ALD_CHOICE_CONSTANT) } ald_divergence_t;
typedef enum { ALD_SIGNALS(ALD_CHOICE_CONSTANT) } ald_signal_t;
typedef enum { ALD_PENALTIES(ALD_CHOICE_CONSTANT) } ald_penalty_t;
typedef enum { ALD_TOKEN_WEIGHTS(ALD_CHOICE_CONSTANT) } ald_token_weight_t;
typedef enum { ALD_GRANULARITIES(ALD_CHOICE_CONSTANT) } ald_granularity_t;
typedef enum { ALD_GUARD_ACTIONS(ALD_CHOICE_CONSTANT) } ald_guard_action_t;
typedef enum { ALD_AUDIT_MODELS(ALD_CHOICE_CONSTANT) } ald_audit_models_t;
typedef enum { ALD_CALIBRATIONS(ALD_CHOICE_CONSTANT) } ald_calibration_choice_t;
typedef enum { ALD_PRECISIONS(ALD_CHOICE_CONSTANT) } ald_precision_t;
typedef enum { ALD_PRODUCTS(ALD_CHOICE_CONSTANT) } ald_product_choice_t;
typedef enum { ALD_STORED_DTYPES(ALD_CHOICE_CONSTANT) } ald_stored_dtype_t;
typedef enum { ALD_FROZEN_COPIES(ALD_CHOICE_CONSTANT) } ald_frozen_copies_t;
#undef ALD_CHOICE_CONSTANT

#define ALD_CHOICE_LIST(list) ALD_CHOICES_##list,
typedef enum {
    ALD_CHOICES_NONE,
    ALD_CHOICE_LISTS(ALD_CHOICE_LIST) ALD_CHOICES_COUNT
} ald_choices_t;
#undef ALD_CHOICE_LIST

/* The text of a value of that list. */
const char *ald_choice_name(ald_choices_t list, unsigned value);
/* Sets *value to that of the text; false, and nothing set, for a text that isn't in the list. */
bool ald_choice_find(ald_choices_t list, const char *text, unsigned *value);
/* All texts of the list, "a|b|c"; static. */
const char *ald_choice_names(ald_choices_t list);

#endif
