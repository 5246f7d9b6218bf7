// SPDX-License-Identifier: BSD-2-Clause
/* What the files of the TCP engine share. The engine's memory is one block: struct tcp, then the arrays that
 * it points to. struct tcp_conn is the state; struct tcp_side and the arrays are derived from it (hash
 * chains, timer heap, queues) and never leave the engine.
 *
 * Fields of struct tcp_conn that are the engine's own and not plain RFC 9293 names:
 *   snd_max       highest sequence number sent, plus one; snd_nxt goes back to snd_una on a timeout
 *   fin_seq       sequence number of the peer's FIN; valid with TCP_CONN_FIN_KNOWN
 *   mss           the peer's limit, or the path's; what a segment carries at most is conn_send_mss()
 *   acks_owed     pure ACKs that out-of-order segments are still to be answered with
 *   retransmit_at_us  retransmission timer, or persist timer with TCP_CONN_PERSIST: never both
 *   range[]       out-of-order data held, sorted, disjoint, not adjacent, all above rcv_nxt */
#ifndef BULKHEAD_PROTOCOLS_TCP_TCP_INTERNAL_H
#define BULKHEAD_PROTOCOLS_TCP_TCP_INTERNAL_H

#include "protocols/tcp/tcp.h"
#include "protocols/tcp/tcp_sender.h"
#include "protocols/tcp/tcp_wire.h"

enum tcp_conn_flag {
    TCP_CONN_ACK_NOW = 1 << 0,        /* an ACK goes out at the next turn */
    TCP_CONN_NODELAY = 1 << 1,        /* Nagle is off */
    TCP_CONN_PERSIST = 1 << 2,        /* retransmit_at_us is the persist timer */
    TCP_CONN_PROBE_NOW = 1 << 3,      /* the persist timer went off */
    TCP_CONN_RECOVERY = 1 << 4,       /* in fast recovery, until recover is acknowledged */
    TCP_CONN_LOSS = 1 << 5,           /* after a timeout, until recover is acknowledged */
    TCP_CONN_RETRANSMIT_ONE = 1 << 6, /* one segment at snd_una goes out at the next turn */
    TCP_CONN_FIN_KNOWN = 1 << 7,      /* fin_seq is valid */
    TCP_CONN_WINDOW_SCALE = 1 << 8,   /* the peer's SYN carried the option */
    TCP_CONN_PASSIVE = 1 << 9,        /* came from a listener */
    TCP_CONN_RST_NOW = 1 << 10,       /* CLOSED, but the peer is still to be told */
    TCP_CONN_SYN_RESENT = 1 << 11,    /* our SYN was retransmitted */
    TCP_CONN_TIMESTAMPS = 1 << 12,    /* both SYNs carried the option: RFC 7323's Snd.TS.OK */
    TCP_CONN_RTT_RESENT = 1 << 13,    /* what is being timed was retransmitted */
    TCP_CONN_CORK = 1 << 14,          /* what fills no segment waits */
    TCP_CONN_CORK_OVER = 1 << 15,     /* ... and has waited long enough */
    TCP_CONN_KEEP_PROBE = 1 << 16,    /* the keepalive timer went off */
    TCP_CONN_SACK = 1 << 17,          /* both SYNs carried SACK-permitted (RFC 2018 2) */
    TCP_CONN_ECN = 1 << 18,           /* RFC 3168: both sides do it */
    TCP_CONN_ECE = 1 << 19,           /* every ACK says that a CE came, until the peer says CWR */
    TCP_CONN_CWR = 1 << 20,           /* the next new text says CWR */
    TCP_CONN_CWR_STATE = 1 << 21,     /* the window was reduced; until more than cwr_seq is acknowledged */
    TCP_CONN_RST_SENT = 1 << 22,      /* CLOSED, and the peer has been told */
    TCP_CONN_NOT_ECT = 1 << 27,       /* with TCP_CONN_ECN: our packets are not, a SYN of ours did not ask */
};

enum ecn_codepoint { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3 }; /* RFC 3168 5 */

#define TCP_SACK_BLOCKS_MAX 4U /* as many as fit */
#define TCP_MSS_DEFAULT    536U  /* RFC 9293 3.7.1: MUST assume, IPv4 */
#define TCP_MSS_DEFAULT_IP6 1220U /* likewise, IPv6 */
#define TCP_MSS_MIN        88U   /* Deviates: smaller offers are taken as this (tinygrams, CVE-2019-11479) */
#define TCP_DELAYED_ACK_US 40000U
#define TCP_SYN_RETRIES    6U /* 127 s. Deviates: RFC 9293 3.8.3: MUST be three minutes at least; as Linux */
#define TCP_SYN_ACK_RETRIES 5U
#define TCP_ORPHAN_US      60000000U /* FIN-WAIT-2 of a connection closed by its user */
#define TCP_CORK_US        200000U   /* as Linux */
#define TCP_CHALLENGE_GAP_US    100000U  /* per connection */
#define TCP_DUPLICATE_ACKS 3U   /* RFC 5681 3.2 */
#define TCP_ACKS_OWED_MAX  16U
#define TCP_REPLIES        256U /* power of two */
#define TCP_PORT_FIRST     32768U
#define TCP_PORT_LAST      60999U
#define TCP_PORT_PATIENCE  256U     /* candidates before a port in TIME-WAIT is taken */
#define TCP_PORT_REST_US   1000000U /* which must have been there so long */
#define COOKIE_LIFE_US           120000000U /* after the last one was sent */
#define TIME_WAIT_GATHER_US      1000000U   /* TIME-WAITs that end so near each other end together */

struct tcp_side { /* derived state of one index */
    uint32_t hash_next;
    uint32_t ready_next;
    uint32_t touched_next;
    uint32_t heap_position;        /* TCP_NONE: not in the heap */
    uint32_t list_prev, list_next; /* in t->free */
    uint32_t child_prev, child_next; /* among the children of a listener that are not accepted */
    uint32_t child_head;             /* of a listener */
    uint64_t name;    /* tcp_name() */
    uint8_t ready;    /* in the ready queue */
    uint8_t touched;  /* in the touched queue */
    uint8_t used;     /* not in t->free */
    uint8_t reported; /* CLOSED was reported */
    uint8_t orphan;   /* restart.c: ORPHAN_* */
};

enum { ORPHAN_NONE = 0, ORPHAN_SYN_RECEIVED = 1, ORPHAN_ESTABLISHED = 2 }; /* put back, and its listener not yet */

struct tcp_list {
    uint32_t head, tail, count;
};

struct tcp_timer {
    uint64_t at_us;
    uint32_t index;
    uint32_t reserved;
};

struct tcp_time_wait_side {        /* derived state of one TIME-WAIT */
    uint32_t hash_link;            /* record + 1 of the next in the chain; 0: none */
    uint32_t list_prev, list_next; /* in live or in free */
    uint32_t touched_next;
    uint64_t answer_at_us; /* as challenge_at_us of a connection */
    uint8_t used;          /* in live */
    uint8_t touched;
};

struct tcp_time_waits { /* time_wait.c */
    struct tcp_time_wait *record;
    struct tcp_time_wait_side *side;
    uint32_t *bucket; /* record + 1 of the first in the chain */
    uint32_t bucket_mask;
    uint32_t fresh;                      /* as of connections */
    struct tcp_list live, free, touched; /* live: in the order of their ends */
};

struct tcp_reply { /* of no connection */
    struct ip_address source, destination;
    uint16_t source_port, destination_port;
    uint32_t seq, ack;
    uint8_t flags;
    bool timestamps;    /* it carries the option */
    uint32_t ts_offset; /* of our clock */
    uint32_t tsecr;
    uint16_t window;
    uint16_t mss;         /* of a SYN: */
    int32_t window_scale; /* -1: none */
    uint32_t tsval;       /* in place of our clock */
    bool sack_permitted;
};

struct tcp {
    struct tcp_config config; /* defaults filled in */
    struct tcp_counters counters;
    struct tcp_conn *conn;
    struct tcp_side *side;
    struct tcp_timer *heap; /* binary heap; keys may be early, never late (timer.c) */
    uint32_t *bucket;       /* heads of hash chains: connections and listeners */
    uint32_t bucket_mask;
    uint32_t heap_count;
    struct tcp_list free, ready, touched;
    struct tcp_time_waits time_wait;
    struct tcp_sender *sender; /* by index of the connection; zeroed when it begins */
    struct tcp_flight *flight;
    uint32_t flight_free;      /* first of the free records; TCP_NONE */
    uint32_t flight_fresh;     /* records from here on were never used */
    uint32_t fresh;   /* indices from here on were never used, and are not in the free list */
    uint32_t next_ephemeral;
    uint64_t started_us;
    uint64_t cookies_until_us; /* no cookie is taken after this */
    uint32_t syn_received;     /* of all listeners */
    struct tcp_work *work;     /* NULL: nobody wants to know */
    bool orphans;              /* there may be some; until the first tcp_poll() */
    uint32_t reply_head, reply_count;
    struct tcp_reply reply[TCP_REPLIES];
};

struct segment { /* a received segment, parsed and checked */
    uint32_t seq, ack;
    uint32_t text;           /* sequence number of the first octet of payload */
    uint32_t payload_length;
    uint32_t payload_offset; /* grows when the front is trimmed */
    uint32_t window;         /* as found, not scaled */
    uint32_t mss;            /* option; 0: none */
    int32_t window_scale;    /* option; -1: none */
    uint32_t gso_size;
    uint8_t flags;
    uint8_t ecn;             /* codepoint of its packet */
    bool timestamps;         /* option: */
    uint32_t tsval, tsecr;
    bool sack_permitted;     /* option, of a SYN */
    uint8_t sack_count;      /* option: blocks, not looked at yet */
    struct tcp_range sack[TCP_SACK_BLOCKS_MAX];
};

/* ---- sequence numbers (RFC 9293 3.4) ---- */
static inline bool seq_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool seq_after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_after(a, b) ? a : b;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
    return seq_before(a, b) ? a : b;
}

static inline uint32_t u32_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t u32_max(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* ---- one connection ---- */
static inline uint32_t conn_index(const struct tcp *t, const struct tcp_conn *c)
{
    return (uint32_t)(c - t->conn);
}

static inline bool conn_is_synchronized(const struct tcp_conn *c)
{
    return c->state >= TCP_ESTABLISHED;
}

/* End of the room in the receive ring: what could be advertised. */
static inline uint32_t conn_right_edge(const struct tcp_conn *c)
{
    struct ring_shape ring = tcp_receive_ring(c);
    return c->irs + 1 + c->receive_consumed + ring_room(&ring, c->receive_consumed);
}

/* Octets of the send ring that lie in one piece from stream offset `offset` on: no segment crosses its end. */
static inline uint32_t conn_send_run(const struct tcp_conn *c, uint32_t offset)
{
    struct ring_shape ring = tcp_send_ring(c);
    return ring_run(&ring, offset);
}

#define TIMESTAMPS_OCTETS 12U /* of the option, padded */
#define SACK_OCTETS       4U  /* likewise, without blocks */
#define SACK_BLOCK_OCTETS 8U

/* Blocks that the next segment reports: one for each range held, and before them a duplicate, as far as there is room
 * (RFC 2018 3: three beside timestamps). */
static inline uint32_t conn_sack_blocks(const struct tcp_conn *c)
{
    if (!(c->flags & TCP_CONN_SACK))
        return 0;
    uint32_t most = (c->flags & TCP_CONN_TIMESTAMPS) ? TCP_SACK_BLOCKS_MAX - 1 : TCP_SACK_BLOCKS_MAX;
    return u32_min(c->range_count + (c->duplicate.start != c->duplicate.end), most);
}

/* Payload of the largest segment: the peer's limit (c->mss) or the user's, less the options that every segment
 * carries (RFC 6691 2, RFC 9293 3.7.1: Eff.snd.MSS). */
static inline uint32_t conn_send_mss(const struct tcp_conn *c)
{
    uint32_t mss = c->mss, user = c->options.maximum_segment;
    if (user != 0)
        mss = u32_min(mss, u32_max(user, TCP_MSS_MIN));
    return mss - ((c->flags & TCP_CONN_TIMESTAMPS) ? TIMESTAMPS_OCTETS : 0);
}

/* Of the one that goes out next: SACK's blocks take their room, too. What counts in segments (the congestion window) counts
 * in the former. */
static inline uint32_t conn_segment_mss(const struct tcp_conn *c)
{
    uint32_t blocks = conn_sack_blocks(c);
    return conn_send_mss(c) - (blocks > 0 ? SACK_OCTETS + blocks * SACK_BLOCK_OCTETS : 0);
}

/* Sequence number that our FIN has or will have. */
static inline uint32_t conn_send_fin_seq(const struct tcp_conn *c)
{
    return c->iss + 1 + c->send_end;
}

static inline bool conn_fin_acked(const struct tcp_conn *c)
{
    return c->fin_sent && c->snd_una == conn_send_fin_seq(c) + 1;
}

static inline bool conn_is_corked(const struct tcp_conn *c)
{
    return (c->flags & (TCP_CONN_CORK | TCP_CONN_CORK_OVER)) == TCP_CONN_CORK && !c->user_fin;
}

/* tcp.c */
struct tcp_conn *conn_allocate_at(struct tcp *t, uint32_t index); /* which is free */
/* In the table and the hash. NULL: the table is full. */
struct tcp_conn *conn_new(struct tcp *t, const struct tcp_identity *identity, enum tcp_state state,
                          uint32_t receive_size, uint32_t send_size);
bool conn_size_is_valid(uint32_t size); /* of a ring */
void conn_ready(struct tcp *t, struct tcp_conn *c);   /* gets a turn in tcp_poll() */
void conn_touched(struct tcp *t, struct tcp_conn *c); /* the block changed */
void conn_changed(struct tcp *t, struct tcp_conn *c); /* both, and its timers are put in order */
void conn_release_if_done(struct tcp *t, struct tcp_conn *c);
struct tcp_conn *conn_of_user(struct tcp *t, uint32_t index); /* NULL: no such */
void conn_end(struct tcp *t, struct tcp_conn *c, enum tcp_error error); /* to CLOSED, nothing sent */
void conn_reset(struct tcp *t, struct tcp_conn *c, enum tcp_error error); /* to CLOSED, RST sent */
void conn_time_wait(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint8_t flags);  /* ends it, a record goes on */
void conn_last_acked(struct tcp *t, uint64_t now_us, struct tcp_conn *c); /* LAST-ACK is over */
void conn_fin_wait_2(struct tcp_conn *c, uint64_t now_us);
void conn_init_send(struct tcp *t, struct tcp_conn *c, uint32_t iss);
uint32_t conn_local_mss(const struct tcp *t, const struct tcp_conn *c); /* of the link */
uint32_t conn_offered_mss(const struct tcp *t, const struct tcp_conn *c);
uint8_t conn_window_scale(uint32_t receive_most);
void conn_refresh_offsets(struct tcp_conn *c); /* send_acked, receive_next */
void index_list_append(struct tcp *t, struct tcp_list *list, uint32_t index);
void index_list_prepend(struct tcp *t, struct tcp_list *list, uint32_t index);
void index_list_remove(struct tcp *t, struct tcp_list *list, uint32_t index);

/* listener.c */
bool conn_is_child(const struct tcp_conn *c);
void child_add(struct tcp *t, struct tcp_conn *listener, struct tcp_conn *child);
void child_remove(struct tcp *t, struct tcp_conn *child); /* also from its listener's counts */
void child_established(struct tcp *t, struct tcp_conn *child);
void listener_end(struct tcp *t, struct tcp_conn *listener);
void child_restored(struct tcp *t, struct tcp_conn *child);
void listener_restored(struct tcp *t, struct tcp_conn *listener);
void orphans_settle(struct tcp *t);
bool accept_queue_is_full(const struct tcp_conn *listener);               /* nobody else is let in */
bool syns_are_full(const struct tcp *t, const struct tcp_conn *listener); /* no other SYN is kept */

/* demux.c */
void demux_insert(struct tcp *t, uint32_t index);
void demux_remove(struct tcp *t, uint32_t index);
uint32_t demux_conn(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                    const struct ip_address *remote, uint16_t remote_port);
uint32_t demux_listener(const struct tcp *t, const struct ip_address *local, uint16_t local_port);
bool demux_listener_conflicts(const struct tcp *t, const struct tcp_identity *identity);

/* time_wait.c */
void time_wait_init(struct tcp *t);
bool time_wait_has_room(const struct tcp *t); /* for one that is not RFC 9293's */
uint32_t time_wait_find(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                        const struct ip_address *remote, uint16_t remote_port); /* TCP_NONE */
uint32_t time_wait_new(struct tcp *t, uint64_t now_us, const struct tcp_conn *c, uint8_t flags);
void time_wait_end(struct tcp *t, uint32_t record);
void time_wait_acknowledge(struct tcp *t, uint32_t record);
void time_wait_expire(struct tcp *t, uint64_t now_us);
uint64_t time_wait_deadline_us(const struct tcp *t);
bool time_wait_has_rested(const struct tcp *t, uint64_t now_us, uint32_t record); /* its port may be used again */
bool time_wait_is_followed(const struct tcp_time_wait *r, uint32_t irs); /* one kept for a cookie, by another connection */
uint32_t time_wait_floor(const struct tcp *t, uint32_t record); /* initial sequence numbers from here on */

/* cookie.c */
bool cookie_is_good(const struct tcp *t, uint64_t now_us, const struct tcp_segment_in *meta, const struct segment *s);
bool cookie_would_reopen(const struct tcp *t, uint64_t now_us, const struct tcp_conn *c); /* what comes late, once it ended */

/* open.c */
uint32_t syn_mss(const struct segment *s, const struct ip_address *peer); /* that the SYN offers */
struct tcp_identity identity_of_child(const struct tcp_segment_in *meta);
struct tcp_conn *child_new(struct tcp *t, uint64_t now_us, struct tcp_conn *listener, const struct tcp_segment_in *meta,
                           const struct segment *syn, const uint32_t *iss); /* NULL: the table is full */
void reply_reset(struct tcp *t, const struct tcp_segment_in *meta, const struct segment *s);
bool reply_push(struct tcp *t, const struct tcp_reply *reply);

/* options.c */
enum segment_result { SEGMENT_OK, SEGMENT_BAD_HEADER, SEGMENT_BAD_OPTIONS };
enum segment_result segment_parse(const uint8_t *header, uint32_t header_length,
                                  uint32_t segment_length, struct segment *ret);
struct syn_options {
    uint32_t mss;
    int32_t window_scale; /* -1: none */
    bool timestamps;
    uint32_t tsval, tsecr;
    bool sack_permitted;
};
/* Octets written: a multiple of 4. */
uint32_t options_write_syn(uint8_t *at, const struct syn_options *o);
uint32_t options_write_timestamps(uint8_t *at, uint32_t tsval, uint32_t tsecr);
uint32_t options_write_sack(uint8_t *at, const struct tcp_range *block, uint32_t count);

/* timestamps.c */
#define TIMESTAMP_TICK_US 1000U
uint32_t timestamp_clock(const struct tcp *t, uint64_t now_us, uint32_t ts_offset);
uint32_t timestamp_offset(const struct tcp *t, const struct tcp_identity *identity);
bool timestamp_is_old(uint32_t tsval, uint32_t ts_recent, uint64_t ts_recent_at_us, uint64_t now_us); /* PAWS */
void timestamp_take_syn(const struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s);
void timestamp_take(struct tcp_conn *c, uint64_t now_us, const struct segment *s);

/* output.c */
bool conn_output(struct tcp *t, uint64_t now_us, struct tcp_conn *c, struct tcp_output *ret);
bool reply_output(struct tcp *t, uint64_t now_us, struct tcp_output *ret);
bool window_update_due(const struct tcp_conn *c);

/* tcp.c: what is worked on now. One store, but while somebody is watched for. */
void work_watched(struct tcp_work *work, uint64_t key);
static inline void work_on(struct tcp *t, uint32_t index, enum tcp_work_kind kind)
{
    struct tcp_work *work = t->work;
    if (work == NULL)
        return;
    uint64_t name = t->side[index].name, key = name != 0 ? name + (uint64_t)kind : work->nobody;
    __atomic_store_n(work->word, key, __ATOMIC_RELAXED);
    if (work->watched_count > 0)
        work_watched(work, key);
}
static inline void work_on_nobody(struct tcp *t)
{
    if (t->work != NULL)
        __atomic_store_n(t->work->word, t->work->nobody, __ATOMIC_RELAXED);
}

/* timer.c */
void timer_sync(struct tcp *t, const struct tcp_conn *c);
void timer_remove(struct tcp *t, const struct tcp_conn *c);
void timer_run(struct tcp *t, uint64_t now_us);
void timer_settle(struct tcp *t); /* makes the top of the heap exact */

/* keepalive.c */
void conn_heard(struct tcp_conn *c, uint64_t now_us); /* an acceptable segment came */
void keepalive_set(struct tcp_conn *c, uint64_t now_us, const struct tcp_options *old); /* c->options are new */
void keepalive_timeout(struct tcp *t, uint64_t now_us, struct tcp_conn *c);
void keepalive_restored(struct tcp_conn *c, uint64_t now_us); /* its timer is one that can be */
void patience_restored(struct tcp_conn *c, uint64_t now_us); /* the user timeout's */
enum tcp_error conn_give_up_reason(const struct tcp_conn *c);
void conn_give_up(struct tcp *t, struct tcp_conn *c, bool answers);
bool conn_is_given_up(struct tcp *t, uint64_t now_us, const struct tcp_conn *c); /* nothing more is sent again */
uint32_t conn_retries(const struct tcp *t, const struct tcp_conn *c);
uint64_t user_timeout_clamp(const struct tcp *t, const struct tcp_conn *c, uint64_t sent_us, uint64_t at_us);

/* rtt.c */
void rtt_start(struct tcp_conn *c, uint64_t now_us, uint32_t end);
void rtt_resent(struct tcp_conn *c);
void rtt_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s);
void rtt_sampled(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t sample_us, bool round);
void rtt_backed_off(const struct tcp *t, struct tcp_conn *c);

/* congestion.c: the window, by the connection's algorithm (reno here, cubic.c). `in_flight`: before the ACK. */
void congestion_init(struct tcp *t, struct tcp_conn *c);
void congestion_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t acked, uint32_t in_flight);
void congestion_reduce(struct tcp *t, struct tcp_conn *c, uint64_t now_us); /* a loss or an ECE: ssthresh, not cwnd */
void congestion_timeout(struct tcp *t, struct tcp_conn *c, uint64_t now_us);
uint32_t congestion_window(const struct tcp_conn *c); /* with limited transmit */
void congestion_rtt(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t rtt_us); /* each sample */
void congestion_save(struct tcp *t, const struct tcp_conn *c); /* before a reduction, for ... */
void congestion_restore(struct tcp *t, struct tcp_conn *c);    /* ... its undoing */
void congestion_confirmed(struct tcp *t, const struct tcp_conn *c); /* it is not to be undone */
void congestion_resume(struct tcp *t, struct tcp_conn *c, uint64_t now_us); /* nothing in flight, something to send */
void congestion_sent(struct tcp *t, struct tcp_conn *c, uint64_t now_us);
void congestion_changed(const struct tcp *t, struct tcp_conn *c, const struct tcp_options *old); /* c->options are new */

/* pacing.c */
void pacing_rtt(struct tcp *t, const struct tcp_conn *c, uint32_t rtt_us);
bool pacing_holds(struct tcp *t, const struct tcp_conn *c, uint64_t now_us);
uint32_t pacing_limit(const struct tcp *t, const struct tcp_conn *c);
void pacing_sent(struct tcp *t, const struct tcp_conn *c, uint64_t now_us, uint32_t length);

/* flight.c */
void flights_release(struct tcp *t, struct tcp_conn *c); /* what is in flight is known no more */

/* recovery.c: losses, with a peer that SACKs */
void recovery_acked(struct tcp *t, struct tcp_conn *c, uint64_t now_us, const struct segment *s, uint32_t old_una,
                    bool duplicate, bool echoed); /* echoed: a CE, the window does not grow */
void recovery_timed_out(struct tcp *t, struct tcp_conn *c, uint64_t now_us); /* retransmission timer */
void recovery_timer(struct tcp *t, struct tcp_conn *c, uint64_t now_us);     /* recovery_at_us */
void recovery_sent(struct tcp *t, struct tcp_conn *c, uint64_t now_us, uint32_t start, uint32_t end, uint32_t mss); /* at snd_nxt */
void recovery_resend_all(struct tcp *t, struct tcp_conn *c); /* in other sizes; the window stays */

/* resume.c: what goes out first after a restart */
bool resume_output(struct tcp *t, struct tcp_conn *c, uint32_t *ret_length, bool *ret_fin); /* a segment at snd_una */
void resume_sent(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t end);
void resume_acked_in_order(struct tcp *t, uint64_t now_us, struct tcp_conn *c, const struct segment *s); /* without SACK */
bool resume_excuses(struct tcp *t, const struct tcp_conn *c); /* no reduction for this loss */

/* newreno.c: fast retransmit and recovery with a peer that does not SACK */
bool newreno_duplicate_ack(struct tcp *t, struct tcp_conn *c, uint64_t now_us); /* true: fast retransmit now */
bool newreno_partial_ack(struct tcp_conn *c, uint32_t acked);

/* path.c */
void path_begin(struct tcp *t, const struct tcp_conn *c);
void path_acked(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t acked);
void path_timeout(struct tcp *t, uint64_t now_us, struct tcp_conn *c);
void path_resent(struct tcp *t, const struct tcp_conn *c, uint32_t start, uint32_t end); /* it goes out again */
bool path_probe_lost(struct tcp *t, uint64_t now_us, struct tcp_conn *c); /* no reduction for it */
uint32_t path_probe_due(const struct tcp *t, uint64_t now_us, const struct tcp_conn *c, uint32_t available, uint32_t usable);
void path_probe_sent(struct tcp *t, struct tcp_conn *c, uint32_t octets);
/* autotune.c: how large the rings should be */
void autotune_measured(const struct tcp *t, const struct tcp_conn *c, uint32_t rtt_us);
void autotune_send(struct tcp *t, const struct tcp_conn *c);
void autotune_consumed(struct tcp *t, uint64_t now_us, const struct tcp_conn *c);

/* reassembly.c */
bool ranges_trim(const struct tcp_conn *c, uint32_t *start, uint32_t *end);
uint32_t ranges_held(const struct tcp_conn *c, uint32_t start, uint32_t end);
bool ranges_insert(struct tcp_conn *c, uint32_t start, uint32_t end);
void ranges_advance(struct tcp_conn *c);

/* delayed_ack.c */
void ack_text(struct tcp *t, uint64_t now_us, struct tcp_conn *c, uint32_t octets); /* so much came in order */
void ack_duplicate(const struct tcp *t, const struct tcp_conn *c);                  /* it was there before */
void ack_sent(const struct tcp *t, uint64_t now_us, struct tcp_conn *c, bool with_text);
void ack_delayed(const struct tcp *t, struct tcp_conn *c); /* long enough */

/* sack.c: what was received, as the peer is told (RFC 2018 4, RFC 2883) */
void sack_take_syn(const struct tcp *t, struct tcp_conn *c, const struct segment *s);
void sack_take(struct tcp_conn *c, uint32_t start);        /* text from there on is in the ranges now */
void sack_advance(struct tcp_conn *c);                     /* rcv_nxt has moved */
bool sack_note_duplicate(struct tcp_conn *c, const struct segment *s); /* true: some of it was there before */
uint32_t sack_report(const struct tcp_conn *c, struct tcp_range ret[TCP_SACK_BLOCKS_MAX]);
void sack_reported(struct tcp *t, struct tcp_conn *c);

/* ecn.c */
bool ecn_is_asked_for(const struct tcp *t, const struct segment *syn); /* and to be had */
void ecn_take_syn(struct tcp *t, struct tcp_conn *c, const struct segment *s);
uint8_t ecn_syn_flags(const struct tcp *t, struct tcp_conn *c);
void ecn_received(struct tcp *t, struct tcp_conn *c, const struct segment *s);
void ecn_reduced(struct tcp_conn *c); /* called by congestion_reduce() */
bool ecn_echoed(struct tcp *t, uint64_t now_us, struct tcp_conn *c, const struct segment *s);
uint8_t ecn_new_text(struct tcp_conn *c, uint8_t *ret_codepoint);

/* isn.c */
uint64_t hash_addresses(const struct tcp *t, const struct ip_address *local, uint16_t local_port,
                        const struct ip_address *remote, uint16_t remote_port);
uint32_t isn_make(const struct tcp *t, uint64_t now_us, const struct tcp_identity *identity);
uint32_t port_offset(const struct tcp *t, const struct tcp_identity *identity);

#endif
