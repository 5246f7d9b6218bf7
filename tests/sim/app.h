// SPDX-License-Identifier: BSD-2-Clause
/* An application of the simulation, private to app.c, stream.c and datagram.c. */
#ifndef BULKHEAD_TESTS_SIM_APP_H
#define BULKHEAD_TESTS_SIM_APP_H

#include "protocols/tcp/ring.h"
#include "tests/sim/sim.h"

#define APP_DESCRIPTORS 256U
#define LANE_NONE       UINT32_MAX
#define STREAM_HEAD     16U /* octets before the data that a client sends: what it is, how much each way */

struct app_slot {            /* our side of a socket's slot */
    struct sim_arena *arena; /* NULL: none */
    uint32_t slot, generation;
    uint32_t send_head, receive_tail, receive_told;
    struct ring_shape send_ring;
    uint32_t wiped; /* the send ring is overwritten up to here, as soon as we may */
};

struct app_view { /* the transport's words, as servers/client/readiness.c reads them */
    uint32_t space, available, state, error, error_count;
};

enum task_kind { TASK_LISTENER, TASK_ACCEPTED, TASK_CLIENT, TASK_ECHO, TASK_ASKER, TASK_REFUSED, TASK_FREE };

struct task {
    enum task_kind kind;
    uint32_t step;
    uint32_t lane;     /* of the request that waits for its answer */
    uint64_t again_us; /* not before */
    uint32_t descriptor, socket, generation;
    struct app_slot slot;
    struct ip_address to;
    uint16_t port; /* to, or our own of a server */
    uint16_t local_port;
    uint64_t content; /* of the stream or the requests: seed of the octets */
    uint32_t attempt;
    uint32_t up, down;   /* octets of a stream from the client, to it */
    uint32_t sent, received;
    uint8_t head[STREAM_HEAD];
    uint8_t how; /* enum sim_stream_how */
    bool shut, lost;
    uint32_t count, most; /* datagrams */
    uint32_t tries;
    uint64_t read_us, write_us;           /* not before */
    uint32_t read_pause_us, write_pause_us, read_most, write_most; /* 0: as it comes */
    uint32_t stall_at, stall_us;          /* having received so much it reads nothing for so long; 0: never */
    bool corks;
    uint64_t patience_us;
    uint32_t colds;   /* app_colds() when it got its slot */
    uint64_t cold_us; /* it gives up then */
};

struct sim_app {
    struct sim *sim;
    struct sim_stack *stack;
    struct sim_session *session;
    uint64_t random;
    struct doorbell bell[SERVER_COUNT];
    uint32_t lane_sequence[SESSION_LANES];
    bool lane_busy[SESSION_LANES];
    uint64_t kick_us[SESSION_LANES];
    bool descriptor_used[APP_DESCRIPTORS];
    uint32_t notified[SIM_ARENAS][ARENA_SLOTS_MAX];
    uint32_t notify_producer[SIM_ARENAS];
    struct task task[SIM_TASKS];
    bool leaving, left, gone;
    enum sim_phase phase;
    uint64_t wake_us;
};

#define STEP_DONE    100U
#define STEP_LISTENS 8U /* of a listener (stream.c) */
#define STEP_BOUND   4U /* of a server of datagrams (datagram.c) */

/* ---- app.c ---- */
/* The task's request is on its way; `lane` is set. False: no lane is free. */
bool app_ask(struct sim_app *a, struct task *t, const struct control_request *request);
bool app_answered(struct sim_app *a, struct task *t, struct control_answer *ret);
struct control_request app_request(const struct task *t, uint32_t operation);
bool app_take_descriptor(struct sim_app *a, struct task *t);
void app_take_slot(struct sim_app *a, struct task *t, const struct control_answer *answer);
struct app_view app_look(struct sim_app *a, struct task *t);
uint8_t *app_send_ring(const struct task *t);
const uint8_t *app_receive_ring(const struct task *t);
/* Where an octet of a stream is to be put, and is found. */
uint8_t *app_send_place(const struct task *t, uint32_t offset);
uint8_t app_receive_octet(const struct task *t, uint32_t offset);
void app_grow(struct sim_app *a, struct task *t); /* the rings of a stream, as tcp says */
void app_publish_send(struct sim_app *a, struct task *t, uint32_t head);
void app_publish_receive(struct sim_app *a, struct task *t, uint32_t tail);
void app_notify(struct sim_app *a, struct task *t);
void app_progress(struct sim_app *a, const struct task *t, uint32_t what);
void app_later(struct sim_app *a, struct task *t, uint64_t us);
struct task *app_task_new(struct sim_app *a, enum task_kind kind);
uint8_t app_octet(uint64_t content, uint32_t offset);
void app_end(struct sim_app *a, struct task *t); /* after CLOSE was answered */
/* A server of either stack started from an empty store, and sockets are gone with it: nothing more is asked of a task
 * than to end. */
bool app_cold(const struct sim_app *a);
/* ... of those that know of this task's slot. */
uint32_t app_colds(const struct sim_app *a, const struct task *t);
void app_give_up(struct sim_app *a, struct task *t);
/* It waits in vain: that must not be because nobody told it of a cold start. */
void app_check_told(const struct sim_app *a, const struct task *t);

/* How this socket is read and written. */
void stream_manners(struct sim_app *a, struct task *t);
/* Each does what can be done; true: something. */
bool stream_step(struct sim_app *a, struct task *t);
bool datagram_step(struct sim_app *a, struct task *t);
bool listener_step(struct sim_app *a, struct task *t);

#endif
