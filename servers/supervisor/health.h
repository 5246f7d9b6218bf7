// SPDX-License-Identifier: BSD-2-Clause
/* What a death, a silence or an accusation says about a domain, and what follows; see health.c. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_HEALTH_H
#define BULKHEAD_SERVERS_SUPERVISOR_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/control.pb-c.h"

struct domain;
struct supervisor;

/* Of a domain that has died, of `signo` (0: none), before its crash page is used again: suspects are noted. */
void health_died(struct supervisor *s, struct domain *domain, int signo);
/* What its servers are to be told (Configure.suspect). */
uint32_t health_suspects(const struct supervisor *s, const struct domain *domain, Bulkhead__Control__Suspect *ret,
                         uint32_t most);
uint64_t health_hang_us(const struct supervisor *s); /* the deadline for a sign of life, and for an answer */
uint64_t health_tick_us(const struct supervisor *s);
void health_hangs(struct supervisor *s, struct domain *domain); /* killed, as a loop or a stop */
void health_not_ready(struct supervisor *s, struct domain *domain); /* in time: likewise */
/* `accuser` (NULL: the supervisor itself) has found that it lies: killed, told. `what`: anybody's text. */
void health_lies(struct supervisor *s, struct domain *domain, const struct domain *accuser, const char *what);
/* `who` finds that it serves nobody: likewise, and no failed start. Both: our own text. */
void health_unserved(struct supervisor *s, struct domain *domain, const char *who, const char *what);
/* Whether what was not served since then may have a reason that is known: somebody starts, changes, or was not let run. */
bool health_has_reason(struct supervisor *s, uint64_t since, uint64_t now);
/* After a death that was counted in domain->unhealthy: the next step of escalation, if it is due. */
void health_escalate(struct supervisor *s, struct domain *domain);
/* Before its next life: what it is not to go on from is forgotten. What it goes on from, in words. */
const char *health_recovery(struct supervisor *s, struct domain *domain);

#endif
