/* Recognises chat templates by their content, however they are laid out. Layer: text. */
#ifndef ALD_TEXT_TEMPLATE_IMPL_H
#define ALD_TEXT_TEMPLATE_IMPL_H

#include <stdbool.h>
#include <stddef.h>

#include "ald/base/status.h"

/* The templates that are known, by what they do with messages. The first six write ChatML. */
typedef enum {
    ALD_TEMPLATE_PLAIN,          /* every message as it is */
    ALD_TEMPLATE_SMOLLM2,        /* the same, after a default system message */
    ALD_TEMPLATE_QWEN25,         /* the same, and tool messages in its own way */
    ALD_TEMPLATE_QWEN3,          /* removes and adds <think> parts of assistants' messages */
    ALD_TEMPLATE_QWEN3_INSTRUCT, /* Qwen3-Instruct-2507: Qwen3's tools, nothing about <think> */
    ALD_TEMPLATE_QWEN3_TRAINING, /* TRL's for training: every answer has a <think> part */
    ALD_TEMPLATE_LLAMA3,         /* Llama 3.0 */
    ALD_TEMPLATE_LLAMA3_OPEN, /* the same as published first: always ends with a generation prompt
                               */
    ALD_TEMPLATE_LLAMA31,     /* 3.1 to 3.3: a system message with dates, tools */
    ALD_TEMPLATE_LLAMA2,
    ALD_TEMPLATE_MISTRAL_OLD,       /* 7B v0.2 as published first: no system message */
    ALD_TEMPLATE_MISTRAL_OLD_SPACE, /* 7B v0.1: the same with a space after each answer */
    ALD_TEMPLATE_MISTRAL_V1,
    ALD_TEMPLATE_MISTRAL_V3,
    ALD_TEMPLATE_MISTRAL_TEKKEN, /* Nemo */
    ALD_TEMPLATE_ZEPHYR,         /* TinyLlama too */
    ALD_TEMPLATE_COUNT,
} ald_template_t;

/* *known says whether the template is a known one. If so, *kind is which, and default_system is its
 * default system message ("" for none), in up to `size` bytes with the NUL. */
ald_status_t ald_template_recognise(const char *text, bool *known, ald_template_t *kind,
                                    char *default_system, size_t size);

#endif
