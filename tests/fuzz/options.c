// SPDX-License-Identifier: BSD-2-Clause
/* What libFuzzer is told by default, before what the command line says. Its entropic schedule counts every feature of
 * every input: with targets that reach thousands it takes nine tenths of the time. Leaks are what the targets look for
 * themselves, all memory being theirs. */
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *count, char ***arguments);

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    static char *const options[] = {"-entropic=0", "-detect_leaks=0", "-timeout=5", "-rss_limit_mb=1024"};
    unsigned more = sizeof options / sizeof options[0], given = (unsigned)*count;
    char **all = calloc(given + more + 1, sizeof *all);
    check(all != NULL && given > 0);
    all[0] = (*arguments)[0];
    memcpy(all + 1, options, sizeof options);
    memcpy(all + 1 + more, *arguments + 1, (given - 1) * sizeof *all);
    *count += (int)more;
    *arguments = all;
    return 0;
}
