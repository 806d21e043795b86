/* The instruction level that kernels run at: the CPU's highest, or a lower one that is asked for.
 * It is one variable, set before main and hardly ever changed, so asking it costs a kernel nothing.
 */
#include "ald/num/kernel.h"

#include <stdio.h>

#include "ald/base/status.h"

static const char *const names[ALD_ISA_COUNT] = {"x86-64", "x86-64-v3", "x86-64-v4"};

ald_isa_t ald_isa = ALD_ISA_BASE;

ald_isa_t ald_isa_highest(void)
{
#if ALD_LEVELS
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4")   ? ALD_ISA_V4
           : __builtin_cpu_supports("x86-64-v3") ? ALD_ISA_V3
                                                 : ALD_ISA_BASE;
#else
    return ALD_ISA_BASE;
#endif
}

__attribute__((constructor)) static void start(void)
{
    ald_isa = ald_isa_highest();
}

const char *ald_isa_name(ald_isa_t isa)
{
    return names[isa];
}

ald_status_t ald_isa_set(const char *name)
{
    const ald_isa_t highest = ald_isa_highest();
    char there[64] = "";
    if (name == NULL) {
        ald_isa = highest;
        return ALD_STATUS_OK;
    }
    for (ald_isa_t isa = ALD_ISA_BASE; isa <= highest; ++isa) {
        size_t used = strlen(there);
        snprintf(there + used, sizeof there - used, "%s%s", used > 0 ? ", " : "", names[isa]);
        if (strcmp(names[isa], name) == 0) {
            ald_isa = isa;
            return ALD_STATUS_OK;
        }
    }
    return ald_status_raise(ALD_STATUS_USAGE,
                            "ALIGNDISTIL_ISA=%s: expected a level of this CPU: %s", name, there);
}
