// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>

#include "capabilities/filter.h"

static int rules_add(scmp_filter_ctx filter, const struct filter_calls *allowed)
{
    int result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    for (size_t i = 0; result == 0 && i < allowed->count; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed->call[i], 0);
    for (size_t i = 0; result == 0 && i < allowed->commands; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
                                  SCMP_A1_32(SCMP_CMP_EQ, (scmp_datum_t)allowed->command[i]));
    /* memory, but never executable */
    static const int maps[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    for (size_t i = 0; result == 0 && i < sizeof maps / sizeof maps[0]; i++)
        result =
            seccomp_rule_add(filter, SCMP_ACT_ALLOW, maps[i], 1, SCMP_A2_64(SCMP_CMP_MASKED_EQ, 4 /* PROT_EXEC */, 0));
    return result;
}

int filter_calls_only(const struct filter_calls *allowed)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return -ENOMEM;
    int result = rules_add(filter, allowed);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}
