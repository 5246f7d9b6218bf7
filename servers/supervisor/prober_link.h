// SPDX-License-Identifier: BSD-2-Clause
/* The supervisor's end of the link to the prober. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_PROBER_LINK_H
#define BULKHEAD_SERVERS_SUPERVISOR_PROBER_LINK_H

#include <stdbool.h>
#include <stdint.h>

struct supervisor;
struct policy_rule;

void prober_init(struct supervisor *s);
bool prober_is(const struct supervisor *s, uint32_t pid);
void prober_rule(struct policy_rule *ret); /* of its session, whatever the policy says */
void prober_receive(struct supervisor *s); /* untrusted: all of it */
void prober_died(struct supervisor *s);
void prober_deadlines(struct supervisor *s, uint64_t now);
uint64_t prober_deadline(const struct supervisor *s); /* 0: none */
bool prober_stop(struct supervisor *s);               /* true: it is ending */

#endif
