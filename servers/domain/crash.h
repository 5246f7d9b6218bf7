// SPDX-License-Identifier: BSD-2-Clause
/* The crash page, filled by a dying domain. */
#ifndef BULKHEAD_SERVERS_DOMAIN_CRASH_H
#define BULKHEAD_SERVERS_DOMAIN_CRASH_H

#include "servers/domain/state.h"

/* From now on a deadly signal fills domain->crash, if there is such a page. `stack_top`: a frame address of a caller;
 * the backtrace ends there. */
void crash_watch(struct domain *domain, const void *stack_top);

#endif
