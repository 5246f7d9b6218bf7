// SPDX-License-Identifier: BSD-2-Clause
/* Requests to the socket server. Each of SESSION_LANES lanes has one request in flight; it is numbered, so that the next
 * incarnation of the server answers a repeated one the same. An answer that does not come is asked for again by a kick. */
#ifndef BULKHEAD_SERVERS_CLIENT_LANE_H
#define BULKHEAD_SERVERS_CLIENT_LANE_H

#include "servers/client/session.h"

#define LANE_NO_DESCRIPTOR UINT32_MAX

/* 0 or a negative errno (the server's, -ENETDOWN, -EPROTO: nonsense); *ret is the one copy of the answer, also with an error of
 * the server's. -EINTR: a signal handler ran and half a second later the answer was still not there, or this long after a
 * close (whose server restarts); nobody waits for the answer any more, what a SOCKET or ACCEPT makes nevertheless is closed,
 * and `descriptor`, which SOCKET, ACCEPT and CLOSE are about, is freed then: it is not the caller's any more. A handler that
 * runs in the first 100 ms goes unseen by a thread that is not the poller. */
int lane_call(struct session *s, const struct control_request *request, uint32_t descriptor, struct control_answer *ret);
/* Sends a close and does not wait; the descriptor is freed when the answer is there. False: no lane to spare. */
bool lane_post_close(struct session *s, const struct control_request *request, uint32_t descriptor);
/* Under the session's lock: abandoned lanes with an answer become free. */
void lane_reclaim(struct session *s);

#endif
