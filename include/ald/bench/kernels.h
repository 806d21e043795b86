/* Speed of the kernels on each instruction level that the CPU has. Layer: bench. */
#ifndef ALD_BENCH_KERNELS_H
#define ALD_BENCH_KERNELS_H

#include <stdint.h>

#include "ald/base/status.h"
#include "ald/num/kernel.h"

/* A level is slow at a kernel that takes more than 1 / ALD_KERNEL_FLOOR times the highest level's
 * time: for AVX2 beside AVX-512, whose registers are twice as long. */
#define ALD_KERNEL_FLOOR 0.4

typedef struct {
    const char *name;
    int64_t size;                  /* numbers of a row, or what the name says */
    double seconds[ALD_ISA_COUNT]; /* of one call; 0 at levels that the CPU lacks */
} ald_bench_kernel_t;

/* Rows of ald_bench_kernels. */
int64_t ald_bench_kernel_count(void);
/* Times every kernel on one thread, `repeat` times on each level in turns, and keeps the shortest:
 * other programs only slow a try down. out [ald_bench_kernel_count()]. Local; the level is left as
 * it was. RESOURCE without memory. */
ald_status_t ald_bench_kernels(int64_t repeat, ald_bench_kernel_t *out);

#endif
