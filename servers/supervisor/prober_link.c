// SPDX-License-Identifier: BSD-2-Clause
/* The prober: an application of the stack's own in a sandbox (servers/prober), which the supervisor asks at regular
 * intervals whether users are served. It finds who beats, gives back what it was lent, and serves nobody: which no
 * neighbour and no counter can tell from having nothing to do. Whom its reports cost a life is eliminate.c's to say.
 *
 * A report counts only if nothing else explains it: it was served once in the life of this stack; every domain ran for
 * a while before the probe began, moved lately (who does not is the hang watch's) and is not slowed down by a tracer;
 * no change is on its way; and the prober, which is put on the first domain's CPU, was let run in time itself. What
 * follows from it costs a life and no state, and counts as no failed start.
 *
 * It is believed no more than that: what it says of times only ever excuses. One that says nothing for SILENT_US is
 * killed, and one that ends is started again, later each time. It has one session, whose rule is not the policy's: what
 * it may is to bind and connect within the stack. It counts against nobody's sessions.
 *
 * Untrusted: what it sends. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define EVERY_US  1000000 /* unless --probe says otherwise */
#define AGAIN_US  250000  /* after a failure */
#define SILENT_US 8000000
/* A machine that lets nobody run for so long proves nothing: on their way and back some six have to. A request has to
 * do with one. */
#define LATE_US         60000
#define LATE_REQUEST_US 250000
#define RETRY_US        250000
#define RETRY_LAST_US   32000000
#define SHORT_LIFE_US   10000000
#define PROBER_SOCKETS  64
#define PROBER_OCTETS   (4U << 20)

void prober_init(struct supervisor *s)
{
    s->prober = (struct prober_link){.process = {.pidfd = -1}, .socket = -1};
}

static bool is_wanted(const struct supervisor *s)
{
    return !s->options.no_probe && s->started && !s->stopping;
}

static uint64_t every_us(const struct supervisor *s)
{
    return s->options.probe_ms != 0 ? (uint64_t)s->options.probe_ms * 1000 : EVERY_US;
}

bool prober_is(const struct supervisor *s, uint32_t pid)
{
    return s->prober.process.pid != 0 && pid == (uint32_t)s->prober.process.pid;
}

void prober_rule(struct policy_rule *ret)
{
    *ret = (struct policy_rule){.uid = POLICY_ANY, .gid = POLICY_ANY, .attach = true};
    ret->limits = (struct policy_limits){.sessions = 1, .sockets = PROBER_SOCKETS, .memory_octets = PROBER_OCTETS};
    policy_list_all(&ret->bind);
    ret->bind.span[1] = ret->bind.span[0];
    ret->bind.count = 2;
    ret->bind.span[0].prefix = (struct ip_address){.family = ADDRESS_IP4, .octets = {127}};
    ret->bind.span[0].prefix_length = 8;
    ret->bind.span[1].prefix = (struct ip_address){.family = ADDRESS_IP6, .octets = {[15] = 1}};
    ret->bind.span[1].prefix_length = 128;
    ret->connect = ret->bind;
}

static void retry_later(struct supervisor *s, uint64_t now)
{
    struct prober_link *p = &s->prober;
    p->retry_us = p->retry_us == 0 ? RETRY_US : 2 * p->retry_us < RETRY_LAST_US ? 2 * p->retry_us : RETRY_LAST_US;
    p->at_us = now + p->retry_us;
}

static void link_close(struct supervisor *s)
{
    if (s->prober.socket < 0)
        return;
    loop_unwatch(s, s->prober.socket);
    close(s->prober.socket);
    s->prober.socket = -1;
}

static void start(struct supervisor *s, uint64_t now)
{
    struct prober_link *p = &s->prober;
    int pair[2];
    retry_later(s, now);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    struct spawn_request request = {.program = "bulkhead-prober",
                                    .argument = s->options.run_dir,
                                    .control = pair[1],
                                    .uid = geteuid(),
                                    .cpu = s->domain[0].cpu};
    int result = spawn_process(&request, &p->process);
    close(pair[1]);
    p->socket = pair[0];
    p->since_us = now;
    p->silent = false;
    p->asked_us = 0;
    if (result == 0)
        result = loop_watch(s, p->process.pidfd, WATCH_PROBER_PROCESS, 0);
    if (result == 0)
        result = loop_watch(s, p->socket, WATCH_PROBER, 0);
    if (result == 0)
        return;
    link_close(s);
    process_signal(&p->process, SIGKILL);
    char text[32];
    if (p->process.pidfd >= 0)
        process_reap(&p->process, text, sizeof text);
    event_add(s, "failed", "prober", 0, NULL, 0, "cannot be started: %s", strerror(-result));
}

void prober_died(struct supervisor *s)
{
    struct prober_link *p = &s->prober;
    char how[48];
    uint64_t now = now_us();
    loop_unwatch(s, p->process.pidfd);
    process_reap(&p->process, how, sizeof how);
    link_close(s);
    if (s->stopping)
        return;
    if (now - p->since_us >= SHORT_LIFE_US)
        p->retry_us = 0;
    retry_later(s, now);
    event_add(s, "died", "prober", 0, NULL, 0, "%s", how);
}

bool prober_stop(struct supervisor *s)
{
    if (s->prober.process.pid == 0)
        return false;
    process_signal(&s->prober.process, SIGKILL);
    return true;
}

/* ---- what it says ---- */

/* Whether a probe may have failed for a reason that is known already. */
static bool has_reason(struct supervisor *s, const struct probe_report *r, uint64_t now)
{
    return !s->prober.was_well || /* its own fault, or of how the stack was set up */
           health_has_reason(s, r->began_us, now);
}

static void blame(struct supervisor *s, uint32_t servers, enum symptom symptom)
{
    static const char *const seen[SYMPTOMS] = {
        [SYMPTOM_REQUEST] = "requests for sockets are not served",
        [SYMPTOM_TCP] = "TCP connections within the stack fail",
        [SYMPTOM_UDP] = "datagrams within the stack do not arrive",
        [SYMPTOM_BOTH] = "neither TCP nor UDP serves within the stack",
    };
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        if ((servers & SERVER_BIT(id)) != 0)
            health_unserved(s, s->server[id].domain, "the prober", seen[symptom]);
}

static const enum server_id flow[FLOWS][2] = {
    [FLOW_SOCKET_TCP] = {SERVER_SOCKET, SERVER_TCP}, [FLOW_TCP_SOCKET] = {SERVER_TCP, SERVER_SOCKET},
    [FLOW_TCP_IP] = {SERVER_TCP, SERVER_IP},         [FLOW_IP_TCP] = {SERVER_IP, SERVER_TCP},
    [FLOW_UDP_IP] = {SERVER_UDP, SERVER_IP},         [FLOW_IP_UDP] = {SERVER_IP, SERVER_UDP},
};

/* A mask of the rings that can be seen. */
static uint32_t flows_look(const struct supervisor *s, uint32_t ret_said[FLOWS])
{
    uint32_t seen = 0;
    for (unsigned i = 0; i < FLOWS; i++)
        seen |= judge_said(s, flow[i][0], flow[i][1], &ret_said[i]) ? FLOW_BIT(i) : 0;
    return seen;
}

/* The prober's. SESSIONS_MAX: none. */
static uint32_t session_of(const struct supervisor *s)
{
    uint32_t id = 0;
    while (id < SESSIONS_MAX && (s->session[id].state != SESSION_ACTIVE || !s->session[id].prober))
        id++;
    return id;
}

/* Whether tcp has told the socket server, since the prober was asked, what that one needs at this stage: an answer, or
 * a connection to be accepted. */
static bool is_told(const struct supervisor *s, enum probe_stage stage)
{
    static const uint8_t awaited[PROBE_STAGES] = {
        [PROBE_STAGE_CALL] = MESSAGE_ANSWER, [PROBE_STAGE_ACCEPT] = MESSAGE_ESTABLISHED};
    bool seen = awaited[stage] != 0 && (s->prober.seen & FLOW_BIT(FLOW_TCP_SOCKET)) != 0;
    if (stage == PROBE_STAGE_ACCEPT && judge_ends_all(s)) /* on a busy stack what tcp told of this one is overwritten */
        return true;
    return seen &&
           judge_told(s, SERVER_TCP, SERVER_SOCKET, s->prober.said[FLOW_TCP_SOCKET], awaited[stage], session_of(s));
}

/* The slot that the socket server has handed the prober for this end. */
static struct message_socket handed_slot(const struct supervisor *s, const struct probe_report *r, enum probe_end end)
{
    const struct probe_slot *slot = &r->slot[end];
    return (struct message_socket){
        .session = session_of(s), .arena = slot->arena, .slot = slot->slot, .generation = slot->generation};
}

/* Whether the socket server has handed the prober another slot than tcp has given to its connection. */
static bool is_misled(const struct supervisor *s, const struct probe_report *r)
{
    static const uint8_t names[PROBE_ENDS] = {
        [PROBE_END_CONNECTED] = MESSAGE_ANSWER, [PROBE_END_ACCEPTED] = MESSAGE_ESTABLISHED};
    bool misled = false;
    for (unsigned i = 0; i < PROBE_ENDS && (s->prober.seen & FLOW_BIT(FLOW_TCP_SOCKET)) != 0; i++) {
        const struct message_socket socket = handed_slot(s, r, (enum probe_end)i);
        misled |= (r->handed & PROBE_END_BIT(i)) != 0 &&
                  judge_named_others(s, SERVER_TCP, SERVER_SOCKET, s->prober.said[FLOW_TCP_SOCKET], names[i], &socket);
    }
    return misled;
}

/* Whether the socket server let the prober accept a connection, and has not told tcp that one. */
static bool is_untold(const struct supervisor *s, const struct probe_report *r)
{
    const struct message_socket socket = handed_slot(s, r, PROBE_END_ACCEPTED);
    return (r->handed & PROBE_END_BIT(PROBE_END_ACCEPTED)) != 0 && (s->prober.seen & FLOW_BIT(FLOW_SOCKET_TCP)) != 0 &&
           !judge_is_full(s, SERVER_SOCKET, SERVER_TCP) &&
           judge_never_named(s, SERVER_SOCKET, SERVER_TCP, s->prober.said[FLOW_SOCKET_TCP], MESSAGE_ACCEPTED, &socket);
}

/* Whether ip keeps what a transport lent it. What comes back to the transport itself is ip's to give back only when the
 * transport has done so. */
static bool keeps(const struct supervisor *s, enum server_id transport, uint64_t now)
{
    return judge_keeps(s, SERVER_IP, transport, now) && !judge_keeps(s, transport, SERVER_IP, now);
}

static bool is_kept(const struct supervisor *s, enum symptom symptom, uint64_t now)
{
    return (symptom != SYMPTOM_UDP && keeps(s, SERVER_TCP, now)) ||
           (symptom != SYMPTOM_TCP && keeps(s, SERVER_UDP, now));
}

static bool is_undelivered(const struct supervisor *s, enum symptom symptom, uint64_t now)
{
    const uint32_t *said = s->prober.said;
    const uint32_t tcp = FLOW_BIT(FLOW_TCP_IP) | FLOW_BIT(FLOW_IP_TCP),
                   udp = FLOW_BIT(FLOW_UDP_IP) | FLOW_BIT(FLOW_IP_UDP);
    return (symptom != SYMPTOM_UDP && (s->prober.seen & tcp) == tcp &&
            judge_undelivered(s, SERVER_TCP, said[FLOW_TCP_IP], said[FLOW_IP_TCP], now)) ||
           (symptom != SYMPTOM_TCP && (s->prober.seen & udp) == udp &&
            judge_undelivered(s, SERVER_UDP, said[FLOW_UDP_IP], said[FLOW_IP_UDP], now));
}

static uint32_t hint_of(const struct supervisor *s, enum symptom symptom, const struct probe_report *r, uint64_t now)
{
    uint32_t said[FLOWS];
    struct probe_evidence evidence = {.stage = r->stage,
                                      .told = is_told(s, r->stage),
                                      .misled = is_misled(s, r) || is_untold(s, r),
                                      .kept = is_kept(s, symptom, now),
                                      .undelivered = is_undelivered(s, symptom, now),
                                      .seen = flows_look(s, said) & s->prober.seen};
    for (unsigned i = 0; i < FLOWS; i++)
        evidence.moved |=
            (evidence.seen & FLOW_BIT(i)) != 0 && judge_spoke(s, flow[i][0], flow[i][1], s->prober.said[i])
                ? FLOW_BIT(i)
                : 0;
    return eliminate_hint(symptom, &evidence);
}

static void weigh(struct supervisor *s, const struct probe_report *r, uint64_t now)
{
    struct prober_link *p = &s->prober;
    uint32_t together[SERVER_COUNT];
    bool exhausted;
    enum symptom symptom = eliminate_symptom(r);
    p->reports++;
    p->was_well |= symptom == SYMPTOM_NONE;
    p->failures += symptom != SYMPTOM_NONE && symptom != SYMPTOM_UNKNOWN;
    bool late = r->late_us >= (symptom == SYMPTOM_REQUEST ? LATE_REQUEST_US : LATE_US);
    bool other = symptom != SYMPTOM_NONE && has_reason(s, r, now);
    if (symptom != SYMPTOM_NONE && (late || other)) {
        p->excused++;
        if (other)
            p->elimination.failures = 0;
        return;
    }
    for (uint32_t id = 0; id < SERVER_COUNT; id++)
        together[id] = s->server[id].domain->servers;
    uint32_t servers = eliminate(&p->elimination, symptom, hint_of(s, symptom, r, now), together, now, &exhausted);
    blame(s, servers, symptom);
    if (exhausted) {
        event_add(s, "unserved", "prober", 0, NULL, 0, "no new life helps: nobody is blamed for %" PRIu64 " s",
                  p->elimination.pause_us / 1000000);
        process_signal(&p->process, SIGKILL); /* perhaps it is the one */
    }
}

void prober_receive(struct supervisor *s)
{
    struct prober_link *p = &s->prober;
    struct probe_report r;
    ssize_t n = recv(p->socket, &r, sizeof r, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* its end follows */
        link_close(s);
        process_signal(&p->process, SIGKILL);
        return;
    }
    if (n != (ssize_t)sizeof r || p->asked_us == 0 || !eliminate_report_ok(&r)) {
        p->refused++;
        return;
    }
    uint64_t now = now_us();
    enum symptom symptom = eliminate_symptom(&r);
    bool again = symptom != SYMPTOM_NONE && symptom != SYMPTOM_UNKNOWN && now >= p->elimination.quiet_until_us;
    p->at_us = again ? now + AGAIN_US : p->asked_us + every_us(s);
    p->asked_us = 0;
    if (is_wanted(s))
        weigh(s, &r, now);
}

/* ---- time ---- */

static void ask(struct supervisor *s, uint64_t now)
{
    struct prober_link *p = &s->prober;
    p->seen = flows_look(s, p->said);
    if (send(p->socket, "p", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
        p->asked_us = now;
    else
        p->at_us = now + every_us(s);
}

void prober_deadlines(struct supervisor *s, uint64_t now)
{
    struct prober_link *p = &s->prober;
    if (!is_wanted(s))
        return;
    if (p->process.pid == 0 && now >= p->at_us)
        start(s, now);
    else if (p->socket >= 0 && p->asked_us == 0 && now >= p->at_us)
        ask(s, now);
    else if (p->socket >= 0 && p->asked_us != 0 && now - p->asked_us >= SILENT_US && !p->silent) {
        event_add(s, "unserved", "prober", 0, NULL, 0, "says nothing for %d s: killed", SILENT_US / 1000000);
        process_signal(&p->process, SIGKILL);
        p->silent = true;
    }
}

uint64_t prober_deadline(const struct supervisor *s)
{
    return is_wanted(s) && s->prober.asked_us == 0 ? s->prober.at_us : 0;
}
