// SPDX-License-Identifier: BSD-2-Clause
/* A supervisor and servers in one thread, for tests of libbulkhead: answers HELLO and ARENA on DIR/attach, the lanes, and plays
 * loopback TCP and UDP between the sockets of the one session, with the real doorbell protocol both ways. */
#ifndef BULKHEAD_TESTS_UNIT_FAKE_STACK_H
#define BULKHEAD_TESTS_UNIT_FAKE_STACK_H

#include <stdbool.h>
#include <stdint.h>

struct fake_stack;

struct fake_stack *fake_stack_start(void); /* sets BULKHEAD_RUN_DIR */
void fake_stack_stop(struct fake_stack *f);
/* From the test's thread; each takes effect before it returns. */
void fake_stack_lie(struct fake_stack *f, uint32_t seed);   /* 0: no more. Random words in every slot, each pass */
void fake_stack_reset_all(struct fake_stack *f);            /* every connection ends with ECONNRESET */
void fake_stack_forget(struct fake_stack *f, bool slots); /* a cold start of the socket server; `slots`: these tell of it, too */
void fake_stack_hang_up(struct fake_stack *f);              /* the supervisor is gone */
void fake_stack_die(struct fake_stack *f);                  /* killed while asleep: nobody hears the bells. Ends the thread */
void fake_stack_mute(struct fake_stack *f, bool on);        /* the supervisor answers nothing */
void fake_stack_stall(struct fake_stack *f, bool on);       /* the transports look at no arena */
void fake_stack_refuse(struct fake_stack *f, int error, uint32_t slots); /* arenas of more than that many */
void fake_stack_lose_answers(struct fake_stack *f, int count); /* lanes are looked at, but not answered, that often */
uint32_t fake_stack_arenas(const struct fake_stack *f);
uint32_t fake_stack_option(struct fake_stack *f, uint32_t option); /* enum control_option, as any socket last set it */
uint32_t fake_stack_sockets(struct fake_stack *f); /* open now */
uint32_t fake_stack_app_flags(struct fake_stack *f); /* SLOT_APP_*, of the stream that last had news */
uint32_t fake_stack_backlog(struct fake_stack *f);   /* as last listened with */
void fake_stack_drain(struct fake_stack *f, bool on); /* off: peers acknowledge nothing more (SLOT_DRAINED) */
void fake_stack_pend(struct fake_stack *f, bool on); /* attempts to connect from now on have no outcome */
/* What every stream's words have of figures. */
#define FAKE_MSS      1448U
#define FAKE_PEER_MSS 1460U
#define FAKE_RTT_US   1234U

#endif
