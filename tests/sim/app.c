// SPDX-License-Identifier: BSD-2-Clause
/* Applications: one session each, in it tasks that look like threads of a program over libbulkhead, but never block.
 * The session protocol (ipc/session.h) is spoken as servers/client does it: lanes and kicks, slots, notify rings, the
 * sleep word; only that a task's step does what can be done now, and the application sleeps when no task can do
 * anything. */
#include "tests/sim/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLD_US 30000000U
#define KICK_US 100000U /* as the library: an answer that has not come by then is asked for again */

struct sim_app *sim_app_new(struct sim_stack *k, uint64_t seed)
{
    struct sim_app *a = calloc(1, sizeof *a);
    a->sim = k->sim;
    a->stack = k;
    a->random = seed;
    a->session = sim_session_attach(k);
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        const struct sim_domain *d = k->memory[id].domain;
        a->bell[id] = (struct doorbell){.fd = d->bell, .sleep = &d->status->sleep};
    }
    for (uint32_t i = 0; i < SIM_TASKS; i++)
        a->task[i].kind = TASK_FREE;
    return a;
}

void sim_app_free(struct sim_app *a)
{
    free(a);
}

uint8_t app_octet(uint64_t content, uint32_t offset)
{
    uint64_t x = (content + offset / 8) * 0x9e3779b97f4a7c15ULL;
    x ^= x >> 31;
    x *= 0xbf58476d1ce4e5b9ULL;
    return (uint8_t)(x >> (8 * (offset % 8)));
}

void app_progress(struct sim_app *a, const struct task *t, uint32_t what)
{
    a->sim->progress_us = a->sim->now_us;
    sim_hash_word(a->sim, ((uint64_t)(t - a->task) << 32) + what);
}

void app_later(struct sim_app *a, struct task *t, uint64_t us)
{
    t->again_us = a->sim->now_us + us;
}

struct task *app_task_new(struct sim_app *a, enum task_kind kind)
{
    for (uint32_t i = 0; i < SIM_TASKS; i++) {
        if (a->task[i].kind != TASK_FREE)
            continue;
        a->task[i] = (struct task){.kind = kind, .lane = LANE_NONE};
        return &a->task[i];
    }
    return NULL;
}

/* ---- requests ---- */
static void kick(struct sim_app *a, uint32_t lane)
{
    a->kick_us[lane] = a->sim->now_us + KICK_US;
    __atomic_fetch_add(&a->session->control->kick, 1, __ATOMIC_RELEASE);
    doorbell_ring(&a->bell[SERVER_SOCKET]);
}

bool app_ask(struct sim_app *a, struct task *t, const struct control_request *request)
{
    for (uint32_t i = 0; i < SESSION_LANES; i++) {
        if (a->lane_busy[i])
            continue;
        struct control_lane_app *lane = &a->session->control->lane[i];
        a->lane_busy[i] = true;
        t->lane = i;
        lane->request = *request;
        __atomic_store_n(&lane->sequence, ++a->lane_sequence[i], __ATOMIC_RELEASE);
        kick(a, i);
        return true;
    }
    return false;
}

bool app_answered(struct sim_app *a, struct task *t, struct control_answer *ret)
{
    const struct control_lane_socket *lane = &a->session->answer->lane[t->lane];
    if (__atomic_load_n(&lane->sequence, __ATOMIC_ACQUIRE) != a->lane_sequence[t->lane]) {
        if (a->sim->now_us >= a->kick_us[t->lane])
            kick(a, t->lane);
        return false;
    }
    *ret = lane->answer;
    a->lane_busy[t->lane] = false;
    t->lane = LANE_NONE;
    app_progress(a, t, (uint32_t)ret->error);
    sim_note(a->sim, "%c application: task %td step %u answered %d", 'A' + a->stack->index, t - a->task, t->step,
             ret->error);
    return true;
}

struct control_request app_request(const struct task *t, uint32_t operation)
{
    return (struct control_request){.operation = operation, .socket = t->socket, .generation = t->generation};
}

bool app_take_descriptor(struct sim_app *a, struct task *t)
{
    for (uint32_t i = 0; i < APP_DESCRIPTORS; i++) {
        if (a->descriptor_used[i])
            continue;
        a->descriptor_used[i] = true;
        t->descriptor = i;
        return true;
    }
    return false;
}

void app_end(struct sim_app *a, struct task *t)
{
    a->descriptor_used[t->descriptor] = false;
    t->socket = 0;
    t->slot.arena = NULL;
}

bool app_cold(const struct sim_app *a)
{
    return a->sim->cold > 0;
}

/* A datagram socket that udp has forgotten is bound again in its slot. */
uint32_t app_colds(const struct sim_app *a, const struct task *t)
{
    enum server_id transport = topology_transport(t->slot.arena->transport);
    return a->stack->cold[SERVER_SOCKET] + (transport == SERVER_TCP ? a->stack->cold[transport] : 0);
}

void app_check_told(const struct sim_app *a, const struct task *t)
{
    if (t->slot.arena != NULL && t->colds != app_colds(a, t))
        sim_fail(a->sim, "%c: task %td was not told that its socket is gone", 'A' + a->stack->index, t - a->task);
}

void app_give_up(struct sim_app *a, struct task *t)
{
    app_end(a, t);
    t->patience_us = 0;
    t->step = STEP_DONE;
    app_progress(a, t, STEP_DONE);
    if (t->kind == TASK_ACCEPTED)
        t->kind = TASK_FREE;
}

/* ---- slots ---- */
void app_take_slot(struct sim_app *a, struct task *t, const struct control_answer *answer)
{
    if (answer->arena >= a->session->arenas || answer->slot >= a->session->arena[answer->arena].slots)
        sim_fail(a->sim, "%c: an answer names slot %u of arena %u", 'A' + a->stack->index, answer->slot, answer->arena);
    struct sim_arena *arena = &a->session->arena[answer->arena];
    for (uint32_t i = 0; i < SIM_TASKS; i++)
        if (&a->task[i] != t && a->task[i].slot.arena == arena && a->task[i].slot.slot == answer->slot) {
            if (a->stack->cold[topology_transport(arena->transport)] == 0)
                sim_fail(a->sim, "%c: slot %u is given to two sockets", 'A' + a->stack->index, answer->slot);
            app_give_up(a, &a->task[i]);
        }
    t->slot = (struct app_slot){.arena = arena, .slot = answer->slot, .generation = answer->slot_generation};
    t->colds = app_colds(a, t);
    struct slot_app *words = &arena->app->slot[answer->slot];
    t->slot.send_ring = ring_make(arena->send_size);
    words->send_head = words->receive_tail = words->flags = words->send_ring = words->receive_granted = 0;
    __atomic_store_n(&words->generation, answer->slot_generation, __ATOMIC_RELEASE);
}

uint8_t *app_send_ring(const struct task *t)
{
    const struct sim_arena *a = t->slot.arena;
    return (uint8_t *)a->app + arena_send_offset(a->slots) + (size_t)t->slot.slot * a->send_most;
}

const uint8_t *app_receive_ring(const struct task *t)
{
    const struct sim_arena *a = t->slot.arena;
    return (const uint8_t *)a->words + arena_receive_offset(a->slots) + (size_t)t->slot.slot * a->receive_most;
}

uint8_t *app_send_place(const struct task *t, uint32_t offset)
{
    return app_send_ring(t) + ring_position(&t->slot.send_ring, offset);
}

static struct ring_shape receive_shape(const struct task *t)
{
    const struct sim_arena *a = t->slot.arena;
    struct ring_shape shape = ring_make(a->receive_size);
    if (a->transport == SESSION_TCP)
        (void)ring_of_word(a->words->slot[t->slot.slot].receive_ring, a->receive_most, &shape);
    return shape;
}

uint8_t app_receive_octet(const struct task *t, uint32_t offset)
{
    struct ring_shape shape = receive_shape(t);
    return app_receive_ring(t)[ring_position(&shape, offset)];
}

void app_grow(struct sim_app *a, struct task *t)
{
    const struct sim_arena *arena = t->slot.arena;
    const struct slot_transport *words = &arena->words->slot[t->slot.slot];
    struct slot_app *app = &arena->app->slot[t->slot.slot];
    if (__atomic_load_n(&words->generation, __ATOMIC_ACQUIRE) != t->slot.generation)
        return;
    uint32_t send = words->rings_wanted & 0xff, receive = words->rings_wanted >> 8;
    if (send != 0 && ring_grow(&t->slot.send_ring, 1U << send, t->slot.send_head))
        __atomic_store_n(&app->send_ring, ring_word(&t->slot.send_ring), __ATOMIC_RELEASE);
    if (receive == 0 || 1U << receive <= app->receive_granted)
        return;
    __atomic_store_n(&app->receive_granted, 1U << receive, __ATOMIC_RELEASE);
    app_notify(a, t);
}

struct app_view app_look(struct sim_app *a, struct task *t)
{
    struct app_view v = {0};
    const struct slot_transport *words = &t->slot.arena->words->slot[t->slot.slot];
    if (__atomic_load_n(&words->generation, __ATOMIC_ACQUIRE) != t->slot.generation)
        return v;
    v.state = words->state;
    v.error = words->error;
    v.error_count = words->error_count;
    uint32_t held = t->slot.send_head - words->send_tail, ahead = words->receive_head - t->slot.receive_tail;
    struct ring_shape receive = receive_shape(t);
    uint32_t room = ring_room(&t->slot.send_ring, words->send_tail);
    if (held > room || ahead > ring_room(&receive, t->slot.receive_tail))
        sim_fail(a->sim, "%c: words of slot %u go backwards: %u of %u written are held, %u received are not read",
                 'A' + a->stack->index, t->slot.slot, held, t->slot.send_head, ahead);
    v.space = room - held;
    v.available = ahead;
    for (; t->slot.wiped != words->send_tail;
         t->slot.wiped++) /* said to be ours again: it is used for something else */
        *app_send_place(t, t->slot.wiped) = 0xdd;
    (void)ring_settle(&t->slot.send_ring, t->slot.wiped);
    return v;
}

void app_notify(struct sim_app *a, struct task *t)
{
    struct sim_arena *arena = t->slot.arena;
    uint32_t index = (uint32_t)(arena - a->session->arena), *producer = &a->notify_producer[index];
    uint32_t *notified = &a->notified[index][t->slot.slot];
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (E) */
    uint32_t unread = *producer - arena->words->notify_consumer;
    if (*notified == 0 || *producer - (*notified - 1) > unread || unread > ARENA_SLOTS_MAX) {
        arena->app->notify[*producer % ARENA_SLOTS_MAX] = t->slot.slot;
        *notified = *producer + 1;
        __atomic_store_n(&arena->app->notify_producer, ++*producer, __ATOMIC_RELEASE);
    }
    doorbell_ring(&a->bell[topology_transport(arena->transport)]);
}

void app_publish_send(struct sim_app *a, struct task *t, uint32_t head)
{
    t->slot.send_head = head;
    __atomic_store_n(&t->slot.arena->app->slot[t->slot.slot].send_head, head, __ATOMIC_RELEASE);
    app_notify(a, t);
}

void app_publish_receive(struct sim_app *a, struct task *t, uint32_t tail)
{
    t->slot.receive_tail = tail;
    __atomic_store_n(&t->slot.arena->app->slot[t->slot.slot].receive_tail, tail, __ATOMIC_RELEASE);
    if (tail - t->slot.receive_told < t->slot.arena->receive_size / 4)
        return;
    t->slot.receive_told = tail;
    app_notify(a, t);
}

/* ---- what it is to do ---- */
/* Something new to do: it would not have been asleep. */
static void wake(struct sim_app *a)
{
    if (a->phase != PHASE_AWAKE)
        doorbell_wake(&a->session->control->sleep);
    a->phase = PHASE_AWAKE;
}

void sim_app_serve(struct sim_app *a, uint16_t port)
{
    app_task_new(a, TASK_LISTENER)->port = port;
    app_task_new(a, TASK_ECHO)->port = port;
}

void sim_app_stream(struct sim_app *a, const struct ip_address *to, uint16_t port, uint32_t up, uint32_t down,
                    uint32_t how)
{
    struct task *t = app_task_new(a, TASK_CLIENT);
    t->to = *to;
    t->port = port;
    t->up = up;
    t->how = (uint8_t)how;
    t->down = down;
    t->content = sim_random(&a->random);
    wake(a);
}

void sim_app_datagrams(struct sim_app *a, const struct ip_address *to, uint16_t port, uint32_t count, uint32_t most)
{
    struct task *t = app_task_new(a, TASK_ASKER);
    t->to = *to;
    t->port = port;
    t->count = count;
    t->most = most;
    t->content = sim_random(&a->random);
    wake(a);
}

void sim_app_refused(struct sim_app *a, const struct ip_address *to, uint16_t port)
{
    struct task *t = app_task_new(a, TASK_REFUSED);
    t->to = *to;
    t->port = port;
    t->count = 1;
    t->most = 100;
    t->content = 2 * sim_random(&a->random); /* even: it connects */
    wake(a);
}

bool sim_app_attached(const struct sim_app *a)
{
    return a->session->state == SESSION_ACTIVE;
}

void sim_app_force(struct sim_app *a)
{
    sim_session_force(a->stack, a->session);
}

void sim_app_die(struct sim_app *a)
{
    a->gone = true;
    a->sim->died++;
    sim_note(a->sim, "%c application dies", 'A' + a->stack->index);
    sim_session_end(a->stack, a->session);
}

void sim_app_leave(struct sim_app *a)
{
    a->leaving = true;
    wake(a);
}

bool sim_app_clients_done(const struct sim_app *a)
{
    for (uint32_t i = 0; i < SIM_TASKS; i++)
        if ((a->task[i].kind == TASK_CLIENT || a->task[i].kind == TASK_ASKER || a->task[i].kind == TASK_REFUSED) &&
            a->task[i].step != STEP_DONE)
            return false;
    return true;
}

bool sim_app_serving(const struct sim_app *a)
{
    for (uint32_t i = 0; i < SIM_TASKS; i++) {
        const struct task *t = &a->task[i];
        if ((t->kind == TASK_LISTENER && t->step < STEP_LISTENS) || (t->kind == TASK_ECHO && t->step < STEP_BOUND))
            return false;
    }
    return true;
}

bool sim_app_left(const struct sim_app *a)
{
    return a->gone;
}

bool sim_app_gone(const struct sim_app *a)
{
    return a->gone && a->session->state == SESSION_FREE;
}

void sim_app_show(const struct sim_app *a)
{
    static const char *const kinds[] = {"listener", "accepted", "client", "echo", "asker", "refused", "free"};
    for (uint32_t i = 0; i < SIM_TASKS; i++) {
        const struct task *t = &a->task[i];
        if (t->kind == TASK_FREE || t->step == STEP_DONE)
            continue;
        fprintf(
            stderr,
            "  %c task %u %s: step %u lane %d socket %x slot %u generation %x sent %u of %u received %u of %u%s%s\n",
            'A' + a->stack->index, i, kinds[t->kind], t->step, (int)t->lane, t->socket, t->slot.slot,
            t->slot.generation, t->sent, t->up, t->received, t->down, t->shut ? " shut" : "", t->lost ? " lost" : "");
    }
}

/* ---- steps ---- */
static bool all_done(const struct sim_app *a)
{
    for (uint32_t i = 0; i < SIM_TASKS; i++)
        if (a->task[i].kind != TASK_FREE && a->task[i].step != STEP_DONE)
            return false;
    return true;
}

/* A cold start's victim is told by its socket's word. Who asks with datagrams gives up: who would answer may be one. */
static bool cold_step(struct sim_app *a, struct task *t)
{
    if (!app_cold(a) || t->lane != LANE_NONE || t->slot.arena == NULL)
        return false;
    bool told = a->session->answer->word[t->descriptor].error != 0;
    if (t->cold_us == 0 && (t->kind == TASK_ASKER || t->kind == TASK_REFUSED))
        t->cold_us = a->sim->now_us + COLD_US;
    if (!told && (t->cold_us == 0 || t->cold_us > a->sim->now_us))
        return false;
    if (!told)
        app_check_told(a, t);
    a->sim->untold += !told;
    sim_note(a->sim, "%c application: task %td gives up, %s", 'A' + a->stack->index, t - a->task,
             told ? "told" : "not told");
    app_give_up(a, t);
    return true;
}

static bool task_step(struct sim_app *a, struct task *t)
{
    if (t->kind == TASK_FREE || t->step == STEP_DONE || t->again_us > a->sim->now_us)
        return false;
    if (cold_step(a, t))
        return true;
    if (t->kind == TASK_LISTENER)
        return listener_step(a, t);
    return t->kind == TASK_ECHO || t->kind == TASK_ASKER || t->kind == TASK_REFUSED ? datagram_step(a, t)
                                                                                    : stream_step(a, t);
}

static bool tasks_step(struct sim_app *a)
{
    bool did = false;
    for (uint32_t i = 0; i < SIM_TASKS; i++)
        did |= task_step(a, &a->task[i]);
    if (a->leaving && all_done(a) && !a->gone) {
        a->gone = true;
        sim_session_end(a->stack, a->session);
    }
    return did;
}

static uint64_t next_us(const struct sim_app *a)
{
    uint64_t at_us = SIM_NEVER;
    for (uint32_t i = 0; i < SIM_TASKS; i++) {
        const struct task *t = &a->task[i];
        if (t->kind == TASK_FREE || t->step == STEP_DONE)
            continue;
        if (t->again_us > a->sim->now_us && t->again_us < at_us)
            at_us = t->again_us;
        if (t->lane != LANE_NONE && a->kick_us[t->lane] < at_us)
            at_us = a->kick_us[t->lane];
        if (t->cold_us != 0 && t->cold_us < at_us)
            at_us = t->cold_us;
        if (t->patience_us != 0 && t->patience_us < at_us)
            at_us = t->patience_us;
        if (t->read_us > a->sim->now_us && t->read_us < at_us)
            at_us = t->read_us;
        if (t->write_us > a->sim->now_us && t->write_us < at_us)
            at_us = t->write_us;
    }
    return at_us;
}

void sim_app_step(struct sim_app *a)
{
    if (a->gone)
        return;
    switch (a->phase) {
    case PHASE_ASLEEP:
        doorbell_drain(a->session->bell);
        doorbell_wake(&a->session->control->sleep);
        a->phase = PHASE_AWAKE;
        break;
    case PHASE_AWAKE:
        if (!tasks_step(a) && !a->gone) {
            doorbell_sleep(&a->session->control->sleep);
            a->phase = PHASE_SLEEPY;
        }
        break;
    case PHASE_SLEEPY:
        a->phase = PHASE_ASLEEP;
        if (tasks_step(a)) {
            doorbell_wake(&a->session->control->sleep);
            a->phase = PHASE_AWAKE;
        }
        a->wake_us = next_us(a);
        break;
    }
}

bool sim_app_can_step(struct sim_app *a)
{
    if (a->gone || a->session->state != SESSION_ACTIVE)
        return false;
    if (a->phase != PHASE_ASLEEP || a->wake_us <= a->sim->now_us)
        return true;
    return sim_bell_rung(a->sim, a->session->bell);
}

uint64_t sim_app_deadline(const struct sim_app *a)
{
    return a->gone || a->session->state != SESSION_ACTIVE || a->phase != PHASE_ASLEEP ? SIM_NEVER : a->wake_us;
}
