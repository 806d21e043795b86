/* The memory that a node has left. Layer: base. */
#ifndef ALD_BASE_MEMORY_H
#define ALD_BASE_MEMORY_H

#include <stddef.h>

/* Bytes that all processes of this node together may still take, as the kernel and the limits of
 * this process's control group (version 2) say. */
size_t ald_memory_available(void);

#endif
