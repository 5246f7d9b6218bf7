// SPDX-License-Identifier: BSD-2-Clause
/* What the files of a new incarnation share: restart_check.c, restart.c, resume.c. */
#ifndef BULKHEAD_PROTOCOLS_TCP_RESTART_H
#define BULKHEAD_PROTOCOLS_TCP_RESTART_H

#include "protocols/tcp/recovery.h"

/* restart_check.c. Untrusted: all of the block (store). */
bool listener_is_sound(const struct tcp_conn *block);
bool syn_sent_is_sound(const struct tcp_conn *block);
bool conn_is_sound(const struct tcp *t, uint32_t index, const struct tcp_conn *block); /* SYN-RECEIVED to LAST-ACK */

/* resume.c: what is not in the store, and what goes out first. */
void resume_begin(struct tcp *t, struct tcp_conn *c); /* the block is in its place */

#endif
