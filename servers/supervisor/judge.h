// SPDX-License-Identifier: BSD-2-Clause
/* What the two ends of a channel keep books of, and what that says of an accusation; see judge.c. */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_JUDGE_H
#define BULKHEAD_SERVERS_SUPERVISOR_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "servers/topology/topology.h"

struct message_socket;
struct supervisor;
struct channel_memory;
struct message;

struct channel_books { /* judge.c: of one end, when it was last seen to ... */
    uint32_t said, given;
    uint32_t produced, consumed; /* its indices, when the other end's did not contradict them */
    uint64_t spoke_us, gave_us, even_us;
};
struct judge_device {
    uint32_t looks, taken;
    uint64_t liveness[2]; /* of nic, of ip */
    uint64_t quiet_until_us;
};

void judge_tick(struct supervisor *s, uint64_t now);
/* The channel's half is gone. */
const void *judge_forget(struct channel_memory *channel,
                         unsigned side); /* the mapping, which the caller ends; or NULL */
/* How much `by` has said to `to`, ever, in this life of both. False: there is no ring, or it was not looked at yet. */
bool judge_said(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t *ret);
/* Whether that was more than beats since it had said `from`; also if that cannot be known. */
bool judge_spoke(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from);
/* Whether `who` has had loans of `of` for a second, and given none back meanwhile. */
bool judge_keeps(const struct supervisor *s, enum server_id who, enum server_id of, uint64_t now);
/* Whether `by` has named slots of that session to `to` with `operation` since it had said `from`, and never this one.
 * False also if too much was said since, or there is no ring. */
bool judge_named_others(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from,
                        uint8_t operation, const struct message_socket *socket);
/* Whether it has not named this one. False also as above. */
bool judge_never_named(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from,
                       uint8_t operation, const struct message_socket *socket);
/* Whether `by` has said `operation` about a socket of the session to `to` since it had said `from`. False also if too
 * much was said since, or there is no ring. */
bool judge_told(const struct supervisor *s, enum server_id by, enum server_id to, uint32_t from, uint8_t operation,
                uint32_t session);
/* Whether ip has taken packets from `transport` for this host itself since that had said `sent`, has given it none of
 * such since it had said `given` to it itself, and could have. False also if too much was said since. */
bool judge_undelivered(const struct supervisor *s, enum server_id transport, uint32_t sent, uint32_t given,
                       uint64_t now);
typedef void judge_listener(void *argument, const struct message *m);
/* What `by` has said to `to` from *at on, which moves behind it: all, or what `to` has `taken` of it. *at moves there also
 * if it cannot be heard: too much was said since, or it cannot be read; then false. Untrusted: m. */
bool judge_hear(const struct supervisor *s, enum server_id by, enum server_id to, bool taken, uint32_t *at,
                judge_listener *listener, void *argument);
/* Whether the socket server has lately ended what tcp told it was established, again and again, and let nobody accept. */
bool judge_ends_all(const struct supervisor *s);
/* Whether what `by` has said fills half the ring to `to`, or there is none to be seen. */
bool judge_is_full(const struct supervisor *s, enum server_id by, enum server_id to);
/* Whether the books of the accused speak for what it is accused of, or there are none. */
bool judge_believes(struct supervisor *s, enum server_id accuser, enum server_id accused, const char *why,
                    uint64_t now);

#endif
