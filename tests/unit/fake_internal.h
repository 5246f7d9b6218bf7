// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the stack in a thread share. Its lock is held in all of them but where tests call. */
#ifndef BULKHEAD_TESTS_UNIT_FAKE_INTERNAL_H
#define BULKHEAD_TESTS_UNIT_FAKE_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ipc/doorbell.h"
#include "ipc/session.h"
#include "tests/unit/fake_stack.h"

#define BELLS        3
#define SOCKETS      SESSION_DESCRIPTORS
#define QUEUE        128 /* connections that wait at a listener */
#define NOBODY       UINT32_MAX
#define REFUSE_AFTER 8 /* arenas */
#define FAKE_OPTIONS (CONTROL_OPTION_CONGESTION + 1)
#define PATH_MTU     1500

struct fake_arena {
    uint32_t transport, slots, send_size, receive_size, send_most, receive_most, consumer;
    struct arena_app *app;
    struct arena_transport *words;
    uint32_t holder[ARENA_SLOTS_MAX]; /* socket + 1 */
};

struct fake_socket {
    bool used, listening, closed, reset, finished;
    uint32_t transport, descriptor, peer, generation;
    uint16_t port, remote_port;
    uint32_t arena, slot, slot_generation; /* arena NOBODY: none */
    uint32_t send_tail, receive_head, state, error, error_count, path_mtu;
    struct ip_address local, remote; /* family ADDRESS_NONE: none */
    uint32_t option[FAKE_OPTIONS];
    uint32_t queue[QUEUE], queued;
};

struct fake_stack {
    char folder[32], path[64];
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, connection, bell_read[BELLS], bell_write[BELLS], control_pipe[2];
    int status_fd;
    struct status_page *status;
    struct session_control *control;
    struct session_answer *answer;
    struct doorbell to_session;
    struct fake_arena arena[SESSION_ARENAS];
    uint32_t arenas, generation, lie;
    uint16_t next_port;
    struct fake_socket socket[SOCKETS];
    uint32_t answered[SESSION_LANES];
    uint32_t option[FAKE_OPTIONS]; /* as last set, of any socket */
    int lose;
    bool stop, ended, hang_up, mute, stalled, news, undrained, pend;
    uint32_t app_flags, backlog;
    int refuse;
    uint32_t refuse_above;
};

/* ---- fake_attach.c ---- */
void fake_must(bool good, const char *what);
void fake_attach_message(struct fake_stack *f);

/* ---- fake_slots.c ---- */
void fake_publish(struct fake_stack *f, struct fake_socket *k);
void fake_accept_publish(struct fake_stack *f, const struct fake_socket *listener);
bool fake_slot_take(struct fake_stack *f, uint32_t socket);
void fake_socket_end(struct fake_stack *f, struct fake_socket *k);
bool fake_stream_move(struct fake_stack *f, struct fake_socket *k);
struct fake_socket *fake_by_port(struct fake_stack *f, uint32_t transport, uint16_t port);
struct ip_address fake_loopback(uint8_t family);
bool fake_datagram_move(struct fake_stack *f, struct fake_socket *k);

/* ---- fake_requests.c ---- */
bool fake_lane(struct fake_stack *f, uint32_t i);

#endif
