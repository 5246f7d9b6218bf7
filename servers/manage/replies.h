// SPDX-License-Identifier: BSD-2-Clause
/* The last answers of one socket, by the id of their request: nanomsg's REQ sends a request again when the answer is
 * late, and what is asked twice is to be done once. */
#ifndef BULKHEAD_SERVERS_MANAGE_REPLIES_H
#define BULKHEAD_SERVERS_MANAGE_REPLIES_H

#include <stddef.h>
#include <stdint.h>

#define REPLIES_KEPT 64

struct kept_reply {
    uint64_t id; /* 0: free */
    size_t octets;
    uint8_t *bytes; /* packed bulkhead.manage.Reply */
};

struct replies {
    struct kept_reply reply[REPLIES_KEPT];
    unsigned next; /* the oldest, overwritten first */
};

/* NULL: no such id is remembered. The answer is the callee's, until the next replies_keep(). */
const struct kept_reply *replies_find(const struct replies *replies, uint64_t id);

/* Takes `bytes` (from malloc) over. */
void replies_keep(struct replies *replies, uint64_t id, uint8_t *bytes, size_t octets);

#endif
