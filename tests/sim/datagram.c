// SPDX-License-Identifier: BSD-2-Clause
/* Datagrams: requests that are repeated until they are answered, and a server that sends back what it got. Every octet
 * follows from who asked and which request it is, so that a datagram that is wrong, or another's, is found; that it
 * comes from the port that it always came from shows that sockets stay bound. Losing one is no fault; an error is. */
#include <errno.h>
#include <string.h>

#include "tests/sim/app.h"

#define HEAD        ((uint32_t)sizeof(struct datagram_record))
#define PAUSE_US    1000U
#define PATIENCE_US 100000U

enum datagram_phase {
    DATAGRAM_SOCKET = 0,
    DATAGRAM_SOCKET_WAIT,
    DATAGRAM_NAME,
    DATAGRAM_NAME_WAIT,
    DATAGRAM_OPEN = STEP_BOUND,
    DATAGRAM_CLOSE,
    DATAGRAM_CLOSE_WAIT,
};

struct request { /* at the start of every payload */
    uint64_t content;
    uint32_t number;
    uint32_t length; /* of all */
};

static _Noreturn void wrong(struct sim_app *a, const struct task *t, const char *what, uint32_t value)
{
    sim_fail(a->sim, "%c: task %td, datagrams' %s, step %u: %s (%u)", 'A' + a->stack->index, t - a->task,
             t->kind == TASK_ECHO ? "server" : "client", t->step, what, value);
}

static uint32_t record_octets(uint32_t payload)
{
    return HEAD + ((payload + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1));
}

/* ---- sending ---- */
static bool put(struct sim_app *a, struct task *t, const struct datagram_record *record, const uint8_t *payload)
{
    struct app_view v = app_look(a, t);
    uint32_t size = t->slot.arena->send_size, head = t->slot.send_head, octets = record_octets(record->length);
    uint32_t left = size - head % size, wrap = DATAGRAM_WRAP;
    if (v.space < (octets <= left ? octets : left + octets))
        return false;
    uint8_t *ring = app_send_ring(t);
    if (octets > left) {
        memcpy(ring + head % size, &wrap, sizeof wrap);
        head += left;
    }
    memcpy(ring + head % size, record, HEAD);
    memcpy(ring + head % size + HEAD, payload, record->length);
    app_publish_send(a, t, head + octets);
    return true;
}

static bool ask(struct sim_app *a, struct task *t)
{
    static uint8_t payload[DATAGRAM_MOST];
    uint64_t length_of = t->content + t->count;
    struct request q = {.content = t->content, .number = t->count};
    q.length = (uint32_t)sizeof q + (t->most > sizeof q ? sim_below(&length_of, t->most - (uint32_t)sizeof q) : 0);
    memcpy(payload, &q, sizeof q);
    for (uint32_t i = sizeof q; i < q.length; i++)
        payload[i] = app_octet(t->content + t->count, i);
    struct datagram_record record = {.length = q.length};
    if (t->up == 0) { /* not connected: named each time */
        record.port = t->port;
        record.family = t->to.family;
        memcpy(record.octets, t->to.octets, sizeof record.octets);
    }
    t->patience_us = a->sim->now_us + PATIENCE_US;
    t->tries++;
    return put(a, t, &record, payload);
}

/* ---- receiving ---- */
/* The next record, its payload in place. False: none. */
static bool take(struct sim_app *a, struct task *t, struct datagram_record *ret, const uint8_t **ret_payload)
{
    for (;;) {
        struct app_view v = app_look(a, t);
        uint32_t size = t->slot.arena->receive_size, place = t->slot.receive_tail % size, left = size - place;
        if ((v.state & SLOT_ERROR) != 0 && !app_cold(a))
            wrong(a, t, "an error for datagrams that were merely lost", v.error);
        if (v.error_count != 0 && !(v.error == EHOSTUNREACH && sim_loses(a->sim)) && !app_cold(a))
            wrong(a, t, "told of an error for datagrams that were merely lost", v.error);
        if (v.available == 0)
            return false;
        memcpy(ret, app_receive_ring(t) + place, left < HEAD ? left : HEAD);
        if (ret->length == DATAGRAM_WRAP) {
            app_publish_receive(a, t, t->slot.receive_tail + left);
            continue;
        }
        if (record_octets(ret->length) > left || record_octets(ret->length) > v.available)
            wrong(a, t, "a record that cannot be", ret->length);
        *ret_payload = app_receive_ring(t) + place + HEAD;
        return true;
    }
}

static struct request check(struct sim_app *a, const struct task *t, const struct datagram_record *r,
                            const uint8_t *payload)
{
    struct request q;
    if (r->length < sizeof q)
        wrong(a, t, "a datagram is short", r->length);
    memcpy(&q, payload, sizeof q);
    if (q.length != r->length)
        wrong(a, t, "a datagram has another length", r->length);
    for (uint32_t i = sizeof q; i < q.length; i++)
        if (payload[i] != app_octet(q.content + q.number, i))
            wrong(a, t, "a wrong octet in a datagram at", i);
    return q;
}

static void check_name(struct sim_app *a, const struct task *t, uint64_t content, uint16_t port)
{
    for (uint32_t i = 0; i < SIM_STACKS * SIM_TASKS; i++) {
        const struct task *asker = &a->sim->app[i / SIM_TASKS]->task[i % SIM_TASKS];
        if (asker->kind == TASK_ASKER && asker->content == content && asker->local_port == port)
            return;
    }
    if (!app_cold(a)) /* it may have given up */
        wrong(a, t, "nobody asked this from port", port);
}

static bool echo(struct sim_app *a, struct task *t)
{
    struct datagram_record r;
    const uint8_t *payload;
    if (!take(a, t, &r, &payload))
        return false;
    struct request q = check(a, t, &r, payload);
    check_name(a, t, q.content, r.port);
    struct datagram_record answer = {.length = r.length, .port = r.port, .family = r.family};
    memcpy(answer.octets, r.octets, sizeof answer.octets);
    put(a, t, &answer, payload); /* no room: lost */
    app_publish_receive(a, t, t->slot.receive_tail + record_octets(r.length));
    return true;
}

static bool hear(struct sim_app *a, struct task *t)
{
    struct datagram_record r;
    const uint8_t *payload;
    if (!take(a, t, &r, &payload))
        return false;
    struct request q = check(a, t, &r, payload);
    if (q.content != t->content || r.port != t->port || memcmp(r.octets, t->to.octets, sizeof r.octets) != 0) {
        if (!app_cold(a)) /* else a port may have been given anew */
            wrong(a, t, "an answer for somebody else, from port", r.port);
    }
    app_publish_receive(a, t, t->slot.receive_tail + record_octets(r.length));
    if (q.content != t->content || q.number != t->count)
        return true; /* of a request that was repeated */
    app_progress(a, t, q.number);
    t->patience_us = 0;
    t->count--;
    return true;
}

/* Its peer's port is closed: each datagram may be answered by one error, and one is told of. */
static bool refused_step(struct sim_app *a, struct task *t)
{
    struct app_view v = app_look(a, t);
    bool copies = a->sim->scenario->wide || a->sim->scenario->quality.duplicate > 0;
    if ((v.available > 0 || (v.state & SLOT_ERROR) != 0) && !app_cold(a))
        wrong(a, t, "something came from a closed port", v.available);
    if (v.error_count != 0 && v.error != ECONNREFUSED && !(v.error == EHOSTUNREACH && sim_loses(a->sim)) &&
        (v.state & SLOT_CLOSED) == 0)
        wrong(a, t, "a closed port gives another error", v.error);
    if (v.error_count > t->tries * (copies ? 4 : 1))
        wrong(a, t, "more errors than datagrams", v.error_count);
    if (t->patience_us > a->sim->now_us)
        return false;
    if (v.error_count == 0)
        return ask(a, t);
    app_progress(a, t, v.error);
    t->patience_us = 0;
    t->count = 0;
    t->step = DATAGRAM_CLOSE;
    return true;
}

static bool open_step(struct sim_app *a, struct task *t)
{
    if (t->kind == TASK_REFUSED)
        return refused_step(a, t);
    if (t->kind == TASK_ECHO) {
        if (echo(a, t))
            return true;
        if (!a->leaving)
            return false;
        t->step = DATAGRAM_CLOSE;
        return true;
    }
    if (hear(a, t))
        return true;
    if (t->count == 0) {
        t->step = DATAGRAM_CLOSE;
        return true;
    }
    return t->patience_us <= a->sim->now_us ? ask(a, t) : false;
}

/* ---- its life ---- */
static bool asked(struct sim_app *a, struct task *t, const struct control_request *q, uint32_t next)
{
    if (!app_ask(a, t, q)) {
        app_later(a, t, PAUSE_US);
        return false;
    }
    if (q->operation == CONTROL_CLOSE)
        t->slot.arena = NULL; /* it may be another's before the answer is seen */
    t->step = next;
    return true;
}

/* A server binds its port; every other client connects, the others are given any port. */
static bool name(struct sim_app *a, struct task *t)
{
    t->up = t->kind != TASK_ECHO && t->content % 2 == 0;
    struct control_request q = app_request(t, t->up != 0 ? CONTROL_CONNECT : CONTROL_BIND);
    q.address.family = t->kind == TASK_ECHO ? ADDRESS_IP6 : t->to.family; /* IPv6: of both families */
    if (t->up != 0)
        q.address = t->to;
    if (t->kind == TASK_ECHO || t->up != 0)
        q.port = t->port;
    return asked(a, t, &q, DATAGRAM_NAME_WAIT);
}

static bool named(struct sim_app *a, struct task *t)
{
    struct control_answer answer;
    if (!app_answered(a, t, &answer))
        return false;
    if (answer.error == ENOBUFS) { /* a slot is not free yet */
        t->step = DATAGRAM_NAME;
        app_later(a, t, PAUSE_US);
        return true;
    }
    if (answer.error != 0 && app_cold(a)) {
        app_give_up(a, t);
        return true;
    }
    if (answer.error != 0)
        wrong(a, t, "BIND or CONNECT refused", (uint32_t)answer.error);
    app_take_slot(a, t, &answer);
    t->local_port = answer.local_port;
    t->step = DATAGRAM_OPEN;
    return true;
}

static bool closed(struct sim_app *a, struct task *t)
{
    struct control_answer answer;
    if (!app_answered(a, t, &answer))
        return false;
    if (answer.error != 0 && !app_cold(a))
        wrong(a, t, "CLOSE refused", (uint32_t)answer.error);
    app_end(a, t);
    t->step = STEP_DONE;
    return true;
}

bool datagram_step(struct sim_app *a, struct task *t)
{
    struct control_answer answer;
    struct control_request q = app_request(t, CONTROL_SOCKET);
    switch (t->step) {
    case DATAGRAM_SOCKET:
        if (!app_take_descriptor(a, t))
            wrong(a, t, "no descriptor", 0);
        q = (struct control_request){.operation = CONTROL_SOCKET, .argument = {SESSION_UDP, t->descriptor}};
        if (asked(a, t, &q, DATAGRAM_SOCKET_WAIT))
            return true;
        a->descriptor_used[t->descriptor] = false;
        return false;
    case DATAGRAM_SOCKET_WAIT:
        if (!app_answered(a, t, &answer))
            return false;
        if (answer.error != 0)
            wrong(a, t, "SOCKET refused", (uint32_t)answer.error);
        t->socket = answer.socket;
        t->generation = answer.generation;
        t->step = DATAGRAM_NAME;
        return true;
    case DATAGRAM_NAME:
        return name(a, t);
    case DATAGRAM_NAME_WAIT:
        return named(a, t);
    case DATAGRAM_OPEN:
        return open_step(a, t);
    case DATAGRAM_CLOSE:
        q = app_request(t, CONTROL_CLOSE);
        return asked(a, t, &q, DATAGRAM_CLOSE_WAIT);
    default:
        return closed(a, t);
    }
}
