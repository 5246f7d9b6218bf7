// SPDX-License-Identifier: BSD-2-Clause
/* The domain's end of the control socket: one protobuf message a datagram, descriptors beside it. Messages are unpacked
 * into an arena that the next one reuses, so the process never asks the kernel for more heap. */
#ifndef BULKHEAD_SERVERS_DOMAIN_CONTROL_H
#define BULKHEAD_SERVERS_DOMAIN_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/control.pb-c.h"

#define CONTROL_DATAGRAM_OCTETS 16384 /* most that the supervisor says at once */
#define CONTROL_ARENA_OCTETS    65536 /* the same, unpacked */
#define CONTROL_DESCRIPTORS     64    /* most that come with one datagram */

typedef Bulkhead__Control__ToDomain control_to_domain; /* the generator's names, shortened */
typedef Bulkhead__Control__FromDomain control_from_domain;

struct control {
    int fd;
    size_t arena_used, batch_used; /* the second by a batch itself */
    _Alignas(16) uint8_t arena[CONTROL_ARENA_OCTETS];
    uint8_t datagram[CONTROL_DATAGRAM_OCTETS];
};

struct control_message {
    control_to_domain *what; /* valid until the next control_receive() */
    int fd[CONTROL_DESCRIPTORS];
    uint32_t fd_count;
};

enum control_outcome { CONTROL_NOTHING = 0, CONTROL_MESSAGE = 1 };

/* The next message. CONTROL_NOTHING only when not waiting. Negative: -EPIPE (closed), -EBADMSG (truncated or not a
 * message), or another errno. */
int control_receive(struct control *control, bool wait, struct control_message *ret)
    __attribute__((warn_unused_result));
/* The message at `index` of a Batch that was received, with its descriptors. 0, or -EBADMSG. What the previous one was unpacked
 * to is gone. */
int control_batch_at(struct control *control, struct control_message *batch, size_t index, struct control_message *ret)
    __attribute__((warn_unused_result));
/* The descriptor at `index` of the message, now the caller's; -1: no such. */
int control_take(struct control_message *message, int32_t index);
/* Closes the descriptors that nobody took. */
void control_release(struct control_message *message);
/* Waits a second for room, at most. 0, -EAGAIN (no room), or another negative errno. */
int control_send(struct control *control, const control_from_domain *message) __attribute__((warn_unused_result));

/* What each of the domain's servers needs of the supervisor, in the order of Become.servers. */
int control_send_standby(struct control *control, const uint32_t *pool_octets, const uint64_t *store_octets,
                         const uint32_t *store_version, size_t count) __attribute__((warn_unused_result));
int control_send_ready(struct control *control, uint32_t incarnation) __attribute__((warn_unused_result));
int control_send_ack(struct control *control, uint64_t epoch) __attribute__((warn_unused_result));
int control_send_session_done(struct control *control, uint32_t session) __attribute__((warn_unused_result));
int control_send_broken(struct control *control, uint32_t server, uint32_t peer, const char *why)
    __attribute__((warn_unused_result));
/* A Fault has struck: what it did, in one line. */
int control_send_faulted(struct control *control, uint32_t server, uint32_t kind, const char *text)
    __attribute__((warn_unused_result));
/* What was not said for want of room is not said. `level` as syslog(3): 3 error, 4 warning, 6 info. */
void control_log(struct control *control, uint32_t level, uint32_t server, const char *text, int error);

#endif
