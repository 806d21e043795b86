/* Scratch memory for the choice of the K tokens of a position that some encodings keep. K tokens, V
 * vocabulary. Local. Layer: teacher. */
#ifndef ALD_TEACHER_CHOICE_H
#define ALD_TEACHER_CHOICE_H

#include <stdint.h>

#include "ald/base/status.h"

/* A thread's scratch memory for the choice of K tokens, in one block. */
typedef struct {
    double *uniforms;       /* [K] */
    float *logprob, *ratio; /* [K] of the chosen tokens */
    float *key;             /* [V] */
    int32_t *id;            /* [V] */
} ald_choice_t;
ald_status_t ald_choice_init(int64_t V, int64_t K, ald_choice_t *out);
void ald_choice_reset(ald_choice_t *choice); /* takes a zeroed one */

#endif
