// SPDX-License-Identifier: BSD-2-Clause
/* What must hold of every segment, judged where tcp's engine, its store and the link meet. The linker puts these before
 * tcp_input(), tcp_poll() and store_commit() for who calls them from other files; on the link each frame is looked at
 * once more. What is known of a connection here was gathered from what came and went, not asked of the engine, as far
 * as that can be. A new incarnation is held to all that the last commit before its death could have let out.
 *
 *   acknowledged    no ACK goes back; none is ahead of what the store of tcp holds at the time the frame leaves
 *   window, ours    the right edge that was advertised is not taken back, and lies within the ring
 *   window, theirs  no text lies beyond the highest right edge that the peer gave, but for a probe's octet
 *   sent            no text that the peer acknowledged is sent again; of new text no more than cwnd is in flight, and
 *                   what limited transmit adds (RFC 3042); with SACK: scoreboard.c
 *   received        what is placed lies within the ring, and not where the application still reads */
#include <stdlib.h>
#include <string.h>

#include "servers/tcp/tcp_server.h"
#include "tests/sim/watch.h"

#define LINK_HEADER  14U
#define LIMITED      3U /* segments above cwnd: RFC 3042's two, and the one that is not full */
#define WATCHED_MOST 256U

struct sim_watch_tcp {
    const struct tcp *engine; /* of the incarnation that is watched */
    uint32_t high;
    struct watched of[WATCHED_MOST];
    uint32_t kept_high; /* as of the last commit */
    struct watched kept[WATCHED_MOST];
    uint32_t colds; /* stores of tcp that were forgotten */
    bool commits;   /* is in it: who dies there may have written the word, and the watch did not see it */
    bool cookies;   /* any of its lives sent some */
};

static struct sim_watch_tcp watches[SIM_STACKS];
static struct sim *the_sim;

void sim_tcp_watch_begin(struct sim *sim)
{
    the_sim = sim;
    memset(watches, 0, sizeof watches);
}

static struct sim_watch_tcp *watch_of(const struct tcp *t)
{
    struct sim_watch_tcp *w = &watches[the_sim->running->stack->index];
    if (w->engine != t)
        sim_fail(the_sim, "%c tcp: an engine that nobody made", 'A' + the_sim->running->stack->index);
    return w;
}

/* What was seen of the life before since its last commit was never let out; what its peers SACKed is forgotten, as it
 * may. */
static void next_life(struct sim_watch_tcp *w, const struct tcp *t, uint32_t colds)
{
    if (colds != w->colds)
        w->kept_high = 0;
    w->colds = colds;
    w->engine = t;
    memset(w->of, 0, sizeof w->of);
    memcpy(w->of, w->kept, w->kept_high * sizeof w->of[0]);
    w->high = w->kept_high;
    for (uint32_t i = 0; i < w->high; i++) {
        w->of[i].reports = 0;
        w->of[i].pending |= w->commits; /* what the store has is looked at with this life's first commit */
    }
    w->commits = false;
}

static bool same(const struct ip_address *a, const struct ip_address *b)
{
    return a->family == b->family && memcmp(a->octets, b->octets, a->family == ADDRESS_IP4 ? 4 : 16) == 0;
}

/* NULL: not watched (a listener, or there are too many). */
static struct watched *watched_of(const struct tcp *t, uint32_t index)
{
    if (index >= WATCHED_MOST)
        return NULL;
    const struct tcp_conn *c = tcp_conn_at(t, index);
    struct sim_watch_tcp *w = watch_of(t);
    struct watched *at = &w->of[index];
    if (c->state == TCP_LISTEN || c->state == TCP_CLOSED)
        return NULL;
    /* `gone`: a late cookie makes another of the same numbers */
    if (!at->used || at->gone || at->iss != c->iss || at->remote_port != c->identity.remote_port ||
        !same(&at->remote, &c->identity.remote))
        *at = (struct watched){.used = true,
                               .pending = true,
                               .iss = c->iss,
                               .local = c->identity.local,
                               .remote = c->identity.remote,
                               .local_port = c->identity.local_port,
                               .remote_port = c->identity.remote_port,
                               .peer_ack = c->snd_una};
    w->high = index >= w->high ? index + 1 : w->high;
    return at;
}

static uint32_t word32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t word16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

_Noreturn void watch_wrong(const struct watched *w, const char *what, uint32_t value, uint32_t limit)
{
    sim_fail(the_sim, "%c tcp, port %u to %u: %s: %u of %u", 'A' + the_sim->running->stack->index, w->local_port,
             w->remote_port, what, value - w->iss, limit - w->iss);
}

/* ---- the engine's settings, of its seed and the same in all its lives ---- */
struct tcp *__real_tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us);
struct tcp *__wrap_tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us);

struct tcp *__wrap_tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us)
{
    const struct sim_engine *e = &the_sim->scenario->engine[the_sim->running->stack->index];
    struct tcp_config c = *config;
    c.no_sack = e->no_sack;
    c.no_pacing = e->no_pacing;
    c.no_timestamps = e->no_timestamps;
    c.no_mtu_probing = e->no_mtu_probing;
    struct tcp *t = __real_tcp_init(memory, &c, now_us);
    const struct sim_stack *k = the_sim->running->stack;
    next_life(&watches[k->index], t, k->cold[SERVER_TCP]);
    return t;
}

/* ---- in ---- */
enum tcp_input_result __real_tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                       const struct tcp_segment_in *meta, const uint8_t *header, uint32_t header_length,
                                       uint32_t segment_length, struct tcp_placement *ret);
enum tcp_input_result __wrap_tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                       const struct tcp_segment_in *meta, const uint8_t *header, uint32_t header_length,
                                       uint32_t segment_length, struct tcp_placement *ret);

static void check_placement(const struct tcp *t, const struct tcp_placement *p)
{
    const struct tcp_conn *c = tcp_conn_at(t, p->conn);
    uint32_t size = u32_max(c->receive_size, c->receive_next_size);
    if (p->length > 0 && p->stream_offset + p->length - c->receive_consumed > size)
        sim_fail(the_sim, "%c tcp: text is placed at %u, %u octets, and %u of a ring of %u are read",
                 'A' + the_sim->running->stack->index, p->stream_offset, p->length, c->receive_consumed, size);
}

/* Untrusted: header. The SACK option's blocks, if any. */
static void take_sack(struct watched *w, const struct tcp_conn *c, const uint8_t *header, uint32_t octets)
{
    for (uint32_t at = 20; at + 1 < octets && header[at] != TCP_OPTION_END;) {
        uint32_t length = header[at] == TCP_OPTION_NOP ? 1 : header[at + 1];
        if (length == 0 || at + length > octets)
            return;
        for (uint32_t i = 2; header[at] == 5 && i + 8 <= length; i += 8)
            scoreboard_reported(w, c, word32(header + 8),
                                (struct tcp_range){word32(header + at + i), word32(header + at + i + 4)});
        at += length;
    }
}

enum tcp_input_result __wrap_tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                       const struct tcp_segment_in *meta, const uint8_t *header, uint32_t header_length,
                                       uint32_t segment_length, struct tcp_placement *ret)
{
    ret->conn = TCP_NONE;
    enum tcp_input_result result = __real_tcp_input(t, now_us, index, meta, header, header_length, segment_length, ret);
    if (result == TCP_INPUT_DONE && ret->conn != TCP_NONE)
        check_placement(t, ret);
    struct watched *w = index != TCP_NONE ? watched_of(t, index) : NULL;
    if (w == NULL) {
        if (index < WATCHED_MOST) /* it ended: its block goes with the next commit */
            watch_of(t)->of[index].pending = true;
        return result;
    }
    const struct tcp_conn *c = tcp_conn_at(t, index);
    uint8_t flags = header[13];
    if (w->irs == 0)
        w->stored = c->irs; /* nothing, until it is committed */
    w->irs = c->irs;
    w->pending = true;
    if (seq_after(c->snd_una, w->peer_ack))
        w->peer_ack = c->snd_una;
    if ((flags & TCP_FLAG_ACK) == 0 || header_length < 20)
        return result;
    const struct ip_address scripted = sim_peer_address(); /* which says anything */
    if (result == TCP_INPUT_DONE && !same(&w->remote, &scripted))
        take_sack(w, c, header, u32_min(header_length, (header[12] >> 4) * 4U));
    scoreboard_check(w, t, c);
    uint32_t window = word16(header + 14) << ((flags & TCP_FLAG_SYN) != 0 ? 0 : c->send_window_scale);
    uint32_t edge = word32(header + 8) + window;
    if (!seq_after(word32(header + 8), c->snd_max) && (!w->edged || seq_after(edge, w->peer_edge)))
        w->peer_edge = edge;
    w->edged = true;
    return result;
}

/* ---- out ---- */
bool __real_tcp_poll(struct tcp *t, uint64_t now_us, struct tcp_output *ret);
bool __wrap_tcp_poll(struct tcp *t, uint64_t now_us, struct tcp_output *ret);

static void check_ack(struct watched *w, const struct tcp_conn *c, const struct tcp_output *o)
{
    uint32_t ack = word32(o->header + 8), flags = o->header[13];
    uint32_t shift = (flags & TCP_FLAG_SYN) != 0 ? 0 : c->receive_window_scale;
    uint32_t edge = ack + (word16(o->header + 14) << shift);
    uint32_t most = c->irs + 1 + c->receive_consumed + u32_max(c->receive_size, c->receive_next_size);
    if ((flags & TCP_FLAG_ACK) == 0 || (flags & TCP_FLAG_RST) != 0)
        return;
    if (w->acked && seq_before(ack, w->ack))
        watch_wrong(w, "an ACK goes back", ack, w->ack);
    /* a SYN's window is never scaled (RFC 7323 2.2), so it may say less than there is */
    if (w->acked && (flags & TCP_FLAG_SYN) == 0 && seq_before(edge + (1U << shift) - 1, w->edge))
        watch_wrong(w, "the window's right edge goes back", edge, w->edge);
    if (seq_after(edge, seq_max(most, ack)))
        watch_wrong(w, "the window is larger than the ring", edge, most);
    w->ack = ack;
    if (!w->acked || seq_after(edge, w->edge))
        w->edge = edge;
    w->acked = true;
}

/* New text while nothing was lost: recovery has bounds of its own, and so has who gets SACKs (scoreboard.c). */
static void check_flight(const struct watched *w, const struct tcp_conn *c, uint32_t before, uint32_t end)
{
    bool recovers = (c->flags & (TCP_CONN_RECOVERY | TCP_CONN_LOSS | TCP_CONN_SACK)) != 0;
    uint32_t mss = u32_max(c->mss, TCP_MSS_MIN), most = c->cwnd + LIMITED * mss;
    if (!recovers && seq_after(end, before) && end - c->snd_una > most)
        watch_wrong(w, "more is in flight than cwnd", end, c->snd_una + c->cwnd);
}

static void check_text(struct watched *w, const struct tcp *t, const struct tcp_conn *c, uint32_t snd_max,
                       const struct tcp_output *o)
{
    uint32_t seq = word32(o->header + 4), end = seq + o->payload_length;
    if (o->payload_length == 0)
        return;
    if (!seq_after(end, w->peer_ack))
        watch_wrong(w, "what was acknowledged is sent again", end, w->peer_ack);
    if (w->edged && seq_after(end, seq_max(w->peer_edge, seq_max(snd_max, w->peer_ack + 1))))
        watch_wrong(w, "text lies beyond the peer's window", end, w->peer_edge);
    check_flight(w, c, snd_max, end);
    scoreboard_sent(w, t, c, seq, end);
}

bool __wrap_tcp_poll(struct tcp *t, uint64_t now_us, struct tcp_output *ret)
{
    static uint32_t snd_max[WATCHED_MOST]; /* before: to tell new text from old */
    struct sim_watch_tcp *known = watch_of(t);
    for (uint32_t i = 0; i < known->high; i++)
        snd_max[i] = tcp_conn_at(t, i)->snd_max;
    if (!__real_tcp_poll(t, now_us, ret))
        return false;
    uint32_t high = known->high;
    struct watched *w = ret->conn != TCP_NONE ? watched_of(t, ret->conn) : NULL;
    if (w == NULL)
        return true;
    const struct tcp_conn *c = tcp_conn_at(t, ret->conn);
    if (w->irs == 0)
        w->stored = c->irs;
    w->irs = c->irs;
    check_ack(w, c, ret);
    if (ret->conn < high)
        check_text(w, t, c, snd_max[ret->conn], ret);
    scoreboard_check(w, t, c);
    return true;
}

/* ---- the store ---- */
void __real_store_commit(struct store *store);
void __wrap_store_commit(struct store *store);

static void committed(struct sim_watch_tcp *s, const struct store *store)
{
    static union tcp_stored block;
    for (uint32_t i = 0; i < s->high; i++) {
        struct watched *w = &s->of[i];
        if (!w->pending)
            continue;
        bool there = store_read(store, TCP_STORE_CONNECTION(i), &block) == STORE_BLOCK_GOOD;
        w->gone = !there || block.block.conn.iss != w->iss; /* in TIME-WAIT, if anywhere */
        if (!w->gone)
            w->stored = block.block.conn.rcv_nxt;
        w->pending = false;
    }
    s->cookies |= tcp_counters(s->engine)->cookies_sent > 0;
    memcpy(s->kept, s->of, s->high * sizeof s->of[0]);
    s->kept_high = s->high;
}

void __wrap_store_commit(struct store *store)
{
    const struct sim_stack *k = the_sim->running != NULL ? the_sim->running->stack : NULL;
    struct sim_watch_tcp *s = k != NULL && store->memory == k->memory[SERVER_TCP].store ? &watches[k->index] : NULL;
    if (s != NULL)
        s->commits = true;
    __real_store_commit(store);
    if (s == NULL)
        return;
    s->commits = false;
    committed(s, store);
}

/* ---- the link ---- */
static struct watched *find(struct sim_watch_tcp *s, const struct ip_address *local, const struct ip_address *remote,
                            const uint8_t *tcp)
{
    for (uint32_t i = 0; i < s->high; i++) {
        struct watched *w = &s->of[i];
        if (w->used && w->local_port == word16(tcp) && w->remote_port == word16(tcp + 2) && same(&w->local, local) &&
            same(&w->remote, remote))
            return w;
    }
    return NULL;
}

void sim_tcp_watch_frame(struct sim *sim, uint32_t stack, const uint8_t *frame, uint32_t octets)
{
    struct ip_address local = {.family = ADDRESS_IP4}, remote = {.family = ADDRESS_IP4};
    const uint8_t *ip = frame + LINK_HEADER, *tcp;
    if (octets < LINK_HEADER + 40)
        return;
    if (word16(frame + 12) == 0x0800 && ip[9] == 6 && (word16(ip + 6) & 0x3fff) == 0) {
        memcpy(local.octets, ip + 12, 4);
        memcpy(remote.octets, ip + 16, 4);
        tcp = ip + (ip[0] & 0x0f) * 4U;
    } else if (word16(frame + 12) == 0x86dd && ip[6] == 6 && octets >= LINK_HEADER + 60) {
        local.family = remote.family = ADDRESS_IP6;
        memcpy(local.octets, ip + 8, 16);
        memcpy(remote.octets, ip + 24, 16);
        tcp = ip + 40;
    } else {
        return;
    }
    sim_note(sim, "%c frame of %u octets: port %u to %u seq %u ack %u flags %02x window %u", 'A' + stack, octets,
             word16(tcp), word16(tcp + 2), word32(tcp + 4), word32(tcp + 8), tcp[13], word16(tcp + 14));
    struct watched *w = find(&watches[stack], &local, &remote, tcp);
    if (w == NULL || (tcp[13] & (TCP_FLAG_ACK | TCP_FLAG_RST)) != TCP_FLAG_ACK || w->gone || w->irs == 0)
        return;
    sim->acks_judged++;
    /* one of an older connection of the same ports may be far behind, never ahead */
    if (seq_after(word32(tcp + 8), w->stored) && !seq_before(word32(tcp + 8), w->irs))
        sim_fail(sim, "%c port %u to %u: octet %u is acknowledged and the store has %u", 'A' + stack, w->local_port,
                 w->remote_port, word32(tcp + 8) - w->irs, w->stored - w->irs);
}

/* ---- the end ---- */
static const struct tcp *engine_of(const struct sim_stack *k)
{
    const struct sim_domain *d = k->memory[SERVER_TCP].domain;
    if (d->state != SIM_RUNNING || d->life == NULL)
        return NULL;
    return ((const struct tcp_server *)d->life->server[SERVER_TCP].state)->engine;
}

bool sim_tcp_drained(const struct sim_stack *k)
{
    const struct tcp *t = engine_of(k);
    return t != NULL && tcp_drained(t);
}

bool sim_tcp_sent_cookies(const struct sim *sim)
{
    (void)sim;
    return watches[0].cookies || watches[1].cookies;
}
