// SPDX-License-Identifier: BSD-2-Clause
/* Streams. A client connects, says what will come, sends it, and reads what comes back; every octet follows from its
 * place. The server ends its side only when it has all, so a client that has read the end knows that all arrived. A
 * connection may be lost only with tcp's store (a cold start); then both are told, and the client begins anew. */
#include <errno.h>
#include <string.h>

#include "tests/sim/app.h"

#define CHUNK_MAX     6000U
#define OPTIONS_EACH  2U     /* that a socket is given before it connects or listens */
#define PAUSE_US      1000U  /* before a refused request is repeated */
#define AGAIN_US      20000U /* before a lost connection is made anew */
#define LISTENS_AGAIN 2U     /* a new backlog, and an option, while connections wait */
#define HALF_US                                                                                                        \
    120000000U /* a connection whose other end died may stay half-open for ever (RFC 9293 3.5.1): given up */

#define PROBED_US    50000000U
#define HALF_ODD_US  30000000U  /* with a peer that may let it fail */
#define HALF_WIDE_US 600000000U /* ... of wide runs: stalls of minutes, then timers that have backed off to 120 s */

uint32_t sim_connections_lost;

enum stream_phase {
    STREAM_SOCKET = 0,
    STREAM_SOCKET_WAIT,
    STREAM_OPTION,
    STREAM_OPTION_WAIT,
    STREAM_CONNECT,
    STREAM_CONNECT_WAIT,
    STREAM_CONNECTING,
    STREAM_DATA,
    STREAM_CLOSE,
    STREAM_CLOSE_WAIT,
};
enum listener_phase {
    LISTENER_SOCKET = 0,
    LISTENER_SOCKET_WAIT,
    LISTENER_BIND,
    LISTENER_BIND_WAIT,
    LISTENER_OPTION,
    LISTENER_OPTION_WAIT,
    LISTENER_LISTEN,
    LISTENER_LISTEN_WAIT,
    LISTENER_OPEN = STEP_LISTENS,
    LISTENER_ACCEPT_WAIT,
    LISTENER_AGAIN_WAIT,
    LISTENER_CLOSE,
    LISTENER_CLOSE_WAIT,
};

static _Noreturn void wrong(struct sim_app *a, const struct task *t, const char *what, uint32_t value)
{
    sim_fail(a->sim, "%c: task %td of %s, step %u, attempt %u: %s (%u)", 'A' + a->stack->index, t - a->task,
             t->kind == TASK_CLIENT ? "a stream's client" : "a stream's server", t->step, t->attempt, what, value);
}

/* ---- data ---- */
static uint8_t sent_octet(const struct task *t, uint32_t offset)
{
    if (t->kind == TASK_ACCEPTED)
        return app_octet(~t->content, offset);
    return offset < STREAM_HEAD ? t->head[offset] : app_octet(t->content, offset - STREAM_HEAD);
}

static bool may_end(const struct task *t, const struct app_view *v)
{
    bool first = (t->how & STREAM_SERVER_FIRST) != 0 ? t->kind == TASK_ACCEPTED : t->kind == TASK_CLIENT;
    uint32_t wanted = t->kind == TASK_CLIENT ? t->down : STREAM_HEAD + t->up;
    return first || (t->how & STREAM_AT_ONCE) != 0 || ((v->state & SLOT_FIN) != 0 && t->received == wanted);
}

void stream_manners(struct sim_app *a, struct task *t)
{
    const struct sim_manners *m = &a->sim->scenario->manners[a->stack->index];
    if (!a->sim->scenario->wide)
        return;
    t->read_us = t->write_us = t->stall_us = t->read_most = t->write_most = 0;
    if (sim_chance(&a->random, m->slow_readers)) {
        t->read_most = 1U << (4 + sim_below(&a->random, 10));
        t->read_pause_us = 1U << (6 + sim_below(&a->random, 10));
    }
    if (sim_chance(&a->random, m->slow_writers)) {
        t->write_most = 1U << (4 + sim_below(&a->random, 10));
        t->write_pause_us = 1U << (6 + sim_below(&a->random, 10));
    }
    if (m->stall_us != 0 && sim_chance(&a->random, 300)) {
        t->stall_us = 1 + sim_below(&a->random, m->stall_us);
        t->stall_at = sim_below(&a->random, a->sim->scenario->octets);
    }
    t->corks = sim_chance(&a->random, m->cork);
}

/* Now and then the cork is put on or off. */
static uint32_t app_flags(struct sim_app *a, const struct task *t)
{
    return t->corks && sim_chance(&a->random, 700) ? SLOT_APP_CORK : 0;
}

static bool send_some(struct sim_app *a, struct task *t, const struct app_view *v)
{
    uint32_t all = t->kind == TASK_CLIENT ? STREAM_HEAD + t->up : t->down;
    uint32_t n = all - t->sent < v->space ? all - t->sent : v->space;
    if (t->shut || (t->kind == TASK_ACCEPTED && t->received < STREAM_HEAD) || t->write_us > a->sim->now_us)
        return false;
    app_grow(a, t);
    if (n > 0 && t->write_most != 0) {
        n = n < t->write_most ? n : t->write_most;
        t->write_us = a->sim->now_us + 1 + sim_below(&a->random, t->write_pause_us);
    }
    if (n > 0) {
        if (t->corks)
            __atomic_store_n(&t->slot.arena->app->slot[t->slot.slot].flags, app_flags(a, t), __ATOMIC_RELEASE);
        n = 1 + sim_below(&a->random, n < CHUNK_MAX ? n : CHUNK_MAX);
        for (uint32_t i = 0; i < n; i++)
            *app_send_place(t, t->slot.send_head + i) = sent_octet(t, t->sent + i);
        t->sent += n;
        app_publish_send(a, t, t->slot.send_head + n);
        return true;
    }
    if (t->sent < all || !may_end(t, v))
        return false;
    t->shut = true;
    __atomic_store_n(&t->slot.arena->app->slot[t->slot.slot].flags, SLOT_APP_SHUTDOWN, __ATOMIC_RELEASE);
    app_notify(a, t);
    return true;
}

static uint32_t word_at(const uint8_t *octets)
{
    uint32_t word;
    memcpy(&word, octets, sizeof word);
    return word;
}

/* What a server's client says at first. */
static void take_head(struct sim_app *a, struct task *t)
{
    memcpy(&t->content, t->head, sizeof t->content);
    t->up = word_at(t->head + 8) & 0xffffff;
    t->how = t->head[11];
    t->down = word_at(t->head + 12);
    if (t->up > 1U << 20 || t->down > 1U << 20)
        wrong(a, t, "a stream begins with nonsense", t->up);
}

static void take_octet(struct sim_app *a, struct task *t, uint8_t octet)
{
    uint32_t offset = t->received++;
    if (t->kind == TASK_CLIENT) {
        if (offset >= t->down || octet != app_octet(~t->content, offset))
            wrong(a, t, "a wrong octet from the server at", offset);
        return;
    }
    if (offset < STREAM_HEAD) {
        t->head[offset] = octet;
        if (t->received == STREAM_HEAD)
            take_head(a, t);
    } else if (offset - STREAM_HEAD >= t->up || octet != app_octet(t->content, offset - STREAM_HEAD)) {
        wrong(a, t, "a wrong octet from the client at", offset - STREAM_HEAD);
    }
}

static bool receive_some(struct sim_app *a, struct task *t, const struct app_view *v)
{
    if (v->available == 0 || t->read_us > a->sim->now_us)
        return false;
    if (t->stall_us != 0 && t->received >= t->stall_at) {
        t->read_us = a->sim->now_us + t->stall_us;
        t->stall_us = 0;
        return true;
    }
    uint32_t n = 1 + sim_below(&a->random, v->available);
    if (t->read_most != 0) {
        n = n < t->read_most ? n : t->read_most;
        t->read_us = a->sim->now_us + 1 + sim_below(&a->random, t->read_pause_us);
    }
    for (uint32_t i = 0; i < n; i++)
        take_octet(a, t, app_receive_octet(t, t->slot.receive_tail + i));
    app_grow(a, t);
    app_publish_receive(a, t, t->slot.receive_tail + n);
    app_progress(a, t, n);
    a->sim->octets += n;
    return true;
}

static bool complete(const struct task *t, const struct app_view *v)
{
    if ((v->state & SLOT_FIN) == 0 || v->available > 0 || !t->shut)
        return false;
    return t->received == (t->kind == TASK_CLIENT ? t->down : STREAM_HEAD + t->up);
}

/* Of a client that may be one that died; what it is says its head, if that came. */
static bool is_cut(const struct sim_app *a, const struct task *t)
{
    if ((t->how & STREAM_ODD) != 0 || (a->sim->peer != NULL && t->kind == TASK_ACCEPTED && t->received < STREAM_HEAD))
        return true;
    return a->sim->died > 0 && t->kind == TASK_ACCEPTED && (t->received < STREAM_HEAD || (t->how & STREAM_MORTAL) != 0);
}

/* Text overtook a cookie's ACK and was answered with RST; then the ACK came, of a connection without another end. */
static bool late_cookie(const struct sim_app *a, const struct task *t)
{
    return t->kind == TASK_ACCEPTED && t->received == 0 && sim_tcp_sent_cookies(a->sim);
}

/* Told that the connection is gone before its end. */
static void lost(struct sim_app *a, struct task *t, uint32_t error)
{
    /* a neighbour hangs, or three solicitations were lost in a row */
    bool unreachable = error == EHOSTUNREACH && t->step <= STREAM_CONNECTING && sim_loses(a->sim);
    /* what a cookie's ACK that was overtaken brought with it finds nobody (RFC 4987 3.6) */
    bool cookie = late_cookie(a, t) || (error == ECONNRESET && sim_tcp_sent_cookies(a->sim));
    /* SYNs go out at 1, 2, 4 ... seconds: blackouts may meet them all */
    bool unheard = a->sim->scenario->wide && error == ETIMEDOUT && t->step <= STREAM_CONNECTING;
    if (!unheard && !unreachable && !app_cold(a) && !is_cut(a, t) && !cookie)
        wrong(a, t, "the connection was lost; error", error);
    if (!t->lost)
        sim_connections_lost++;
    t->lost = true;
    t->patience_us = 0;
    t->step = STREAM_CLOSE;
    app_progress(a, t, error);
}

static bool half_open(struct sim_app *a, struct task *t, bool did)
{
    uint32_t patience_us = (t->how & STREAM_ODD) != 0 ? HALF_ODD_US : a->sim->scenario->wide ? HALF_WIDE_US : HALF_US;
    if (did || t->patience_us == 0)
        t->patience_us = a->sim->now_us + patience_us;
    if (a->sim->now_us < t->patience_us)
        return false;
    app_check_told(a, t);
    if (!late_cookie(a, t) && !app_cold(a) && !is_cut(a, t))
        wrong(a, t, "nothing has come for so many seconds", patience_us / 1000000);
    return true;
}

/* What a closed socket has not sent is given up after some eight probes of a window that stays closed: who talks to
 * readers that stall for longer waits until all has arrived. */
static bool waits_for_acks(const struct sim_app *a)
{
    const struct sim_manners *m = a->sim->scenario->manners;
    return m[0].stall_us > PROBED_US || m[1].stall_us > PROBED_US;
}

static bool data_step(struct sim_app *a, struct task *t)
{
    struct app_view v = app_look(a, t);
    bool did = receive_some(a, t, &v);
    if (!did && complete(t, &v) &&
        (!waits_for_acks(a) || v.space == t->slot.arena->send_size || (v.state & SLOT_CLOSED) != 0)) {
        t->patience_us = 0;
        t->step = STREAM_CLOSE;
        return true;
    }
    if (!did && v.available == 0 && (v.state & (SLOT_ERROR | SLOT_CLOSED)) != 0) {
        lost(a, t, v.error);
        return true;
    }
    if (!did && (v.state & SLOT_FIN) != 0 && v.available == 0 && is_cut(a, t) && t->received < STREAM_HEAD + t->up) {
        lost(a, t, 0);
        return true;
    }
    if (!did && (v.state & SLOT_FIN) != 0 && v.available == 0 && t->kind == TASK_CLIENT && t->received < t->down &&
        !is_cut(a, t))
        wrong(a, t, "the end came too early, after", t->received);
    if ((v.state & (SLOT_ERROR | SLOT_CLOSED)) == 0)
        did |= send_some(a, t, &v);
    if (half_open(a, t, did)) {
        lost(a, t, 0);
        return true;
    }
    return did;
}

/* None of them changes what arrives. */
static struct control_request option_request(struct sim_app *a, const struct task *t)
{
    static const uint32_t options[][2] = {
        {CONTROL_OPTION_SEND_SIZE, 0}, /* not of one that has its slot, or listens */
        {CONTROL_OPTION_NODELAY, 1},      {CONTROL_OPTION_NODELAY, 0},
        {CONTROL_OPTION_KEEPALIVE, 1},    {CONTROL_OPTION_KEEP_IDLE, 1},
        {CONTROL_OPTION_TTL, 3},          {CONTROL_OPTION_TRAFFIC_CLASS, 8},
        {CONTROL_OPTION_LINGER_RESET, 0}, {CONTROL_OPTION_MAXIMUM_SEGMENT, 700},
        {CONTROL_OPTION_CONGESTION, 1},   {CONTROL_OPTION_CONGESTION, 2},
    };
    uint32_t first = t->kind == TASK_LISTENER ? t->step == LISTENER_OPEN : t->step == STREAM_DATA;
    uint32_t which = first + sim_below(&a->random, sizeof options / sizeof *options - first);
    struct control_request q = app_request(t, CONTROL_SET_OPTION);
    q.argument[0] = options[which][0];
    q.argument[1] = options[which][1];
    return q;
}

/* One while data goes both ways. True: something moved. */
static bool option_in_between(struct sim_app *a, struct task *t)
{
    struct control_answer answer;
    if (t->lane != LANE_NONE) {
        if (!app_answered(a, t, &answer))
            return false;
        if (answer.error != 0 && !app_cold(a))
            wrong(a, t, "SET_OPTION refused", (uint32_t)answer.error);
        return true;
    }
    if (t->step != STREAM_DATA || t->count != 0 || !sim_chance(&a->random, 300))
        return false;
    const struct control_request q = option_request(a, t);
    t->count += app_ask(a, t, &q);
    return t->count != 0;
}

/* ---- a client's connection, and the end of any ---- */
static void begin(struct task *t)
{
    t->sent = t->received = 0;
    t->shut = t->lost = false;
    t->patience_us = 0;
    t->slot.arena = NULL;
    t->attempt++;
    t->content += t->attempt;
    memcpy(t->head, &t->content, sizeof t->content);
    memcpy(t->head + 8, &t->up, sizeof t->up);
    t->head[11] = t->how;
    memcpy(t->head + 12, &t->down, sizeof t->down);
}

static void connect_answered(struct sim_app *a, struct task *t, const struct control_answer *answer)
{
    switch (answer->error) {
    case 0:
    case EINPROGRESS:
        app_take_slot(a, t, answer);
        t->local_port = answer->local_port;
        t->step = STREAM_CONNECTING;
        break;
    case ENOBUFS: /* its last connection's slot is not free yet */
        t->step = STREAM_CONNECT;
        app_later(a, t, PAUSE_US);
        break;
    default:
        lost(a, t, (uint32_t)answer->error);
    }
}

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

static bool socket_answered(struct sim_app *a, struct task *t, uint32_t next)
{
    struct control_answer answer;
    if (!app_answered(a, t, &answer))
        return false;
    if (answer.error != 0)
        wrong(a, t, "SOCKET refused", (uint32_t)answer.error);
    t->socket = answer.socket;
    t->generation = answer.generation;
    t->step = next;
    return true;
}

static bool close_answered(struct sim_app *a, struct task *t)
{
    struct control_answer answer;
    if (!app_answered(a, t, &answer))
        return false;
    if (answer.error != 0 && !app_cold(a))
        wrong(a, t, "CLOSE refused", (uint32_t)answer.error);
    app_end(a, t);
    t->step =
        t->kind == TASK_CLIENT && t->lost && !app_cold(a) && (t->how & STREAM_ODD) == 0 ? STREAM_SOCKET : STEP_DONE;
    app_later(a, t, AGAIN_US);
    if (t->kind == TASK_ACCEPTED)
        t->kind = TASK_FREE;
    return true;
}

static bool connecting_step(struct sim_app *a, struct task *t)
{
    struct app_view v = app_look(a, t);
    if ((v.state & SLOT_CONNECTED) != 0)
        t->step = STREAM_DATA;
    else if ((v.state & (SLOT_ERROR | SLOT_CLOSED)) != 0)
        lost(a, t, v.error);
    else
        return false;
    return true;
}

bool stream_step(struct sim_app *a, struct task *t)
{
    bool did = false;
    struct control_answer answer;
    struct control_request q = app_request(t, CONTROL_SOCKET);
    switch (t->step) {
    case STREAM_SOCKET:
        if (!app_take_descriptor(a, t))
            wrong(a, t, "no descriptor", 0);
        begin(t);
        stream_manners(a, t);
        q = (struct control_request){.operation = CONTROL_SOCKET, .argument = {SESSION_TCP, t->descriptor}};
        if (asked(a, t, &q, STREAM_SOCKET_WAIT))
            return true;
        a->descriptor_used[t->descriptor] = false;
        return false;
    case STREAM_SOCKET_WAIT:
        return socket_answered(a, t, STREAM_OPTION);
    case STREAM_OPTION:
        if (t->count >= OPTIONS_EACH) {
            t->count = 0;
            t->step = STREAM_CONNECT;
            return true;
        }
        q = option_request(a, t);
        return asked(a, t, &q, STREAM_OPTION_WAIT);
    case STREAM_OPTION_WAIT:
        if (!app_answered(a, t, &answer))
            return false;
        if (answer.error != 0 && !app_cold(a))
            wrong(a, t, "SET_OPTION refused", (uint32_t)answer.error);
        t->count++;
        t->step = STREAM_OPTION;
        return true;
    case STREAM_CONNECT:
        q = app_request(t, CONTROL_CONNECT);
        q.address = t->to;
        q.port = t->port;
        return asked(a, t, &q, STREAM_CONNECT_WAIT);
    case STREAM_CONNECT_WAIT:
        if (!app_answered(a, t, &answer))
            return false;
        connect_answered(a, t, &answer);
        return true;
    case STREAM_CONNECTING:
        return connecting_step(a, t);
    case STREAM_DATA:
        did = option_in_between(a, t);
        return data_step(a, t) || did;
    case STREAM_CLOSE:
        if (t->lane != LANE_NONE)
            return option_in_between(a, t);
        q = app_request(t, CONTROL_CLOSE);
        return asked(a, t, &q, STREAM_CLOSE_WAIT);
    default:
        return close_answered(a, t);
    }
}

/* ---- a listener ---- */
static bool listener_answered(struct sim_app *a, struct task *t, uint32_t next)
{
    struct control_answer answer;
    if (!app_answered(a, t, &answer))
        return false;
    if (answer.error != 0 && !app_cold(a))
        wrong(a, t, "a listener's request was refused", (uint32_t)answer.error);
    if (answer.error != 0)
        app_give_up(a, t);
    else
        t->step = next;
    return true;
}

static bool accept_answered(struct sim_app *a, struct task *t)
{
    struct control_answer answer;
    if (!app_answered(a, t, &answer))
        return false;
    t->step = LISTENER_OPEN;
    uint32_t descriptor = t->count;
    if (answer.error != 0) {
        a->descriptor_used[descriptor] = false;
        if (answer.error != EAGAIN && app_cold(a))
            t->step = LISTENER_CLOSE;
        else if (answer.error != EAGAIN)
            wrong(a, t, "ACCEPT refused", (uint32_t)answer.error);
        return true;
    }
    struct task *n = app_task_new(a, TASK_ACCEPTED);
    if (n == NULL)
        wrong(a, t, "more connections than tasks", SIM_TASKS);
    n->descriptor = descriptor;
    n->socket = answer.socket;
    n->generation = answer.generation;
    n->step = STREAM_DATA;
    app_take_slot(a, n, &answer);
    stream_manners(a, n);
    return true;
}

static bool listen_again(struct sim_app *a, struct task *t)
{
    struct control_request q = t->tries % 2 == 0 ? app_request(t, CONTROL_LISTEN) : option_request(a, t);
    if (t->tries % 2 == 0)
        q.argument[0] = 12;
    if (!asked(a, t, &q, LISTENER_AGAIN_WAIT))
        return false;
    t->tries++;
    return true;
}

static bool open_step(struct sim_app *a, struct task *t)
{
    const struct socket_word *word = &a->session->answer->word[t->descriptor];
    uint32_t error = __atomic_load_n(&word->error, __ATOMIC_ACQUIRE);
    if (app_cold(a) && (error != 0 || a->leaving)) { /* it may be gone, and closing it tells */
        t->step = LISTENER_CLOSE;
        return true;
    }
    if (error != 0)
        wrong(a, t, "the listener has an error", word->error);
    if (__atomic_load_n(&word->accept_ready, __ATOMIC_ACQUIRE) != 0) {
        if (t->tries < LISTENS_AGAIN)
            return listen_again(a, t);
        uint32_t own = t->descriptor;
        struct control_request q = app_request(t, CONTROL_ACCEPT);
        if (!app_take_descriptor(a, t))
            wrong(a, t, "no descriptor", 0);
        t->count = q.argument[1] = t->descriptor;
        t->descriptor = own;
        if (asked(a, t, &q, LISTENER_ACCEPT_WAIT))
            return true;
        a->descriptor_used[t->count] = false;
        return false;
    }
    for (uint32_t i = 0; i < SIM_TASKS; i++)
        if (a->task[i].kind == TASK_ACCEPTED)
            return false;
    if (!a->leaving)
        return false;
    t->step = LISTENER_CLOSE;
    return true;
}

bool listener_step(struct sim_app *a, struct task *t)
{
    struct control_request q = app_request(t, CONTROL_SOCKET);
    switch (t->step) {
    case LISTENER_SOCKET:
        if (!app_take_descriptor(a, t))
            wrong(a, t, "no descriptor", 0);
        q.argument[0] = SESSION_TCP;
        q.argument[1] = t->descriptor;
        if (asked(a, t, &q, LISTENER_SOCKET_WAIT))
            return true;
        a->descriptor_used[t->descriptor] = false;
        return false;
    case LISTENER_SOCKET_WAIT:
        return socket_answered(a, t, LISTENER_BIND);
    case LISTENER_BIND:
        q.operation = CONTROL_BIND;
        q.address.family = ADDRESS_IP6; /* of both families */
        q.port = t->port;
        return asked(a, t, &q, LISTENER_BIND_WAIT);
    case LISTENER_BIND_WAIT:
        return listener_answered(a, t, LISTENER_OPTION);
    case LISTENER_OPTION:
        q = option_request(a, t);
        return asked(a, t, &q, LISTENER_OPTION_WAIT);
    case LISTENER_OPTION_WAIT:
        return listener_answered(a, t, LISTENER_LISTEN);
    case LISTENER_LISTEN:
        q.operation = CONTROL_LISTEN;
        q.argument[0] = 8;
        return asked(a, t, &q, LISTENER_LISTEN_WAIT);
    case LISTENER_LISTEN_WAIT:
        return listener_answered(a, t, LISTENER_OPEN);
    case LISTENER_OPEN:
        return open_step(a, t);
    case LISTENER_ACCEPT_WAIT:
        return accept_answered(a, t);
    case LISTENER_AGAIN_WAIT:
        return listener_answered(a, t, LISTENER_OPEN);
    case LISTENER_CLOSE:
        q.operation = CONTROL_CLOSE;
        return asked(a, t, &q, LISTENER_CLOSE_WAIT);
    default:
        return close_answered(a, t);
    }
}
