// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the engine share; not for its callers. */
#ifndef BULKHEAD_PROTOCOLS_NDP_NDP_INTERNAL_H
#define BULKHEAD_PROTOCOLS_NDP_NDP_INTERNAL_H

#include "protocols/ndp/ndp.h"
#include "protocols/ndp/ndp_wire.h"

/* ---- ndp.c: messages ---- */
/* `station`: NULL for a group's own. `option`: NDP_OPTION_*, 0 for none; it tells `own`. */
void ndp_message_build(const struct ip_address *source, const struct ip_address *destination,
                       const struct mac_address *station, struct ndp_wire w, uint8_t option,
                       const struct mac_address *own, struct ndp_output *ret);
void ndp_advertise(struct ndp *t, const struct ndp_own *own, const struct ip_address *destination,
                   const struct mac_address *station, struct ndp_output *ret);

/* ---- own.c ---- */
uint64_t ndp_random_us(const struct ndp *t, const struct ndp_own *o, uint64_t now_us, uint64_t most_us);
void ndp_own_start(struct ndp *t, struct ndp_own *o, uint64_t now_us);
struct ndp_own *ndp_own_find(struct ndp *t, const uint8_t ip6[16]);
const struct ndp_own *ndp_own_for(const struct ndp *t, const struct ip_address *target);
/* All are duplicates, or there are none. */
bool ndp_own_is_hopeless(const struct ndp *t);
/* NDP_DROP_conflict. */
enum ndp_input_result ndp_own_conflict(struct ndp *t, uint64_t now_us, struct ndp_own *o,
                                       const struct mac_address *station);
/* True: *ret is to be sent. */
bool ndp_own_act(struct ndp *t, uint64_t now_us, struct ndp_own *o, struct ndp_output *ret);

/* ---- listener.c ---- */
/* Untrusted: message (wire; private). NDP_INPUT_DONE, NDP_DROP_short, NDP_DROP_query. */
enum ndp_input_result ndp_query(struct ndp *t, uint64_t now_us, const struct ip6_header *ip6, const uint8_t *message,
                                size_t length);
void ndp_report_send(struct ndp *t, uint64_t now_us, struct ndp_own *o, struct ndp_output *ret);

#endif
