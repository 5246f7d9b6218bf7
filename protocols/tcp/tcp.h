// SPDX-License-Identifier: BSD-2-Clause
/* TCP, sans-I/O (RFC 9293). Bytes and time in, segments and a deadline out; nothing is called, allocated or
 * kept outside the memory that was handed in. Payload never passes through the engine: it says where the
 * payload of a received segment belongs (tcp_placement) and which part of the send stream a segment carries
 * (tcp_output). Stream offsets are sequence numbers less the initial one: octet 0 of a stream is the octet
 * after the SYN; they are 32 bits wide and wrap like sequence numbers. Ring sizes are powers of two, so
 * `offset & (size - 1)` is the place in the ring.
 *
 * Two stacks fit in one program: all state hangs on one pointer. */
#ifndef BULKHEAD_PROTOCOLS_TCP_TCP_H
#define BULKHEAD_PROTOCOLS_TCP_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"
#include "protocols/tcp/ring.h"

#define TCP_NONE        UINT32_MAX /* "no connection", also "no deadline" as UINT64_MAX */
#define TCP_HEADER_MAX  60
#define TCP_RANGES_MAX  128 /* out-of-order ranges kept for one connection */
#define TCP_RING_MIN    1024U
#define TCP_RING_MAX    (1U << 30)
#define TCP_SUPER_SEGMENT_MAX 65160U /* payload of one super-segment: 64 KiB less headers */

enum tcp_state { /* RFC 9293 3.3.2; values are in the store, so they never change */
    TCP_CLOSED = 0,
    TCP_LISTEN = 1,
    TCP_SYN_SENT = 2,
    TCP_SYN_RECEIVED = 3,
    TCP_ESTABLISHED = 4,
    TCP_FIN_WAIT_1 = 5,
    TCP_FIN_WAIT_2 = 6,
    TCP_CLOSE_WAIT = 7,
    TCP_CLOSING = 8,
    TCP_LAST_ACK = 9,
    TCP_TIME_WAIT = 10, /* of no block: see struct tcp_time_wait */
};

enum tcp_error { /* why a connection ended; told to the application by its transport server */
    TCP_ERROR_NONE = 0,
    TCP_ERROR_REFUSED = 1,     /* RST in SYN-SENT: ECONNREFUSED */
    TCP_ERROR_RESET = 2,       /* RST from the peer: ECONNRESET */
    TCP_ERROR_TIMED_OUT = 3,   /* gave up retransmitting: ETIMEDOUT */
    TCP_ERROR_UNREACHABLE = 4, /* ICMP in SYN-SENT, or before giving up: EHOSTUNREACH */
    TCP_ERROR_ABORTED = 5,     /* tcp_abort() */
    TCP_ERROR_NETWORK = 6,     /* as UNREACHABLE: ENETUNREACH */
    TCP_ERROR_PROTOCOL = 7,    /* ... ENOPROTOOPT */
    TCP_ERROR_PROHIBITED = 8,  /* ... EACCES */
    TCP_ERROR_PIPE = 9,        /* RST after the peer's FIN: EPIPE, as Linux */
};

enum tcp_congestion { TCP_CONGESTION_DEFAULT = 0, TCP_CONGESTION_RENO = 1, TCP_CONGESTION_CUBIC = 2 }; /* in the store */

enum tcp_ecn { /* RFC 3168 6.1.1, as net.ipv4.tcp_ecn of Linux */
    TCP_ECN_PASSIVE = 0, /* who asks for it gets it */
    TCP_ECN_OFF = 1,
    TCP_ECN_ON = 2,      /* and it is asked for */
};

struct tcp_options { /* what its user may ask of a connection, or of all that a listener will make; 0: the default */
    uint8_t nodelay;          /* TCP_NODELAY: 0 lets Nagle's algorithm (RFC 9293 3.7.4) hold small segments back */
    uint8_t keepalive;        /* RFC 9293 3.8.4 */
    uint8_t keep_count;       /* 9 */
    uint8_t linger_reset;     /* tcp_close() resets */
    uint16_t keep_idle_s;     /* 7200 */
    uint16_t keep_interval_s; /* 75 */
    uint16_t maximum_segment; /* no segment with more payload, nor offered; options count against it */
    uint8_t congestion;       /* enum tcp_congestion; 0: the engine's default */
    uint8_t reserved;
    uint32_t user_timeout_ms; /* RFC 5482, local: data not acknowledged for so long ends the connection; also keepalive's patience */
};

/* Who a connection is: written once when it is made, never changed after (DESIGN section 6). For a listener
 * `remote*` is zero. `owner`, `session`, `arena`, `slot`, `generation` are opaque here and belong to the
 * server that hosts the engine. */
struct tcp_identity {
    struct ip_address local;
    struct ip_address remote;
    uint16_t local_port; /* host order */
    uint16_t remote_port;
    uint32_t owner;      /* socket id */
    uint32_t session;
    uint32_t arena;      /* UINT32_MAX: no slot attached yet (SYN-RECEIVED) */
    uint32_t slot;
    uint32_t generation; /* of the slot's use */
};

struct tcp_range {
    uint32_t start; /* sequence numbers, [start, end) */
    uint32_t end;
};

/* One connection or listener: flat, pointer-free, self-contained; copied as it is into the store. What is
 * derived (hash chains, timer heap, queues) lives elsewhere in the engine. The engine's own fields are
 * documented in tcp_internal.h; the hosting server reads the ones above the line and writes none. */
struct tcp_conn {
    struct tcp_identity identity;
    uint8_t state; /* enum tcp_state */
    uint8_t error; /* enum tcp_error */
    uint8_t closed_by_user;
    uint8_t fin_received;   /* all data before the peer's FIN has been received, FIN included */
    uint32_t listener;      /* index of the listener that made this one, or TCP_NONE */
    uint32_t backlog;       /* of a listener */
    uint32_t accept_queue;  /* of a listener: established, not yet told accepted (see tcp_accepted) */
    uint32_t send_acked;    /* stream offset: all before it is acknowledged */
    uint32_t send_end;      /* stream offset: what the application has made available */
    uint32_t receive_next;  /* stream offset: all before it has been received in order */
    uint32_t receive_consumed; /* stream offset the application has consumed to */
    uint32_t receive_size;  /* octets of the receive ring, a power of two */
    uint32_t send_size;     /* octets of the send ring, a power of two */
    /* ---- below: the engine's own ---- */
    uint8_t user_fin;       /* tcp_shutdown_send or tcp_close was called */
    uint8_t fin_sent;
    uint8_t accept_pending; /* counted in its listener's accept_queue */
    uint8_t send_window_scale;    /* shift for windows that the peer advertises (RFC 7323) */
    uint8_t receive_window_scale; /* shift for windows that we advertise */
    uint8_t probes;               /* zero-window probes in a row: the back-off of the persist timer */
    uint8_t duplicate_acks;
    uint8_t retransmits;          /* in a row without progress */
    uint32_t iss, snd_una, snd_nxt, snd_max, snd_wnd, snd_wl1, snd_wl2, snd_wnd_max;
    uint32_t irs, rcv_nxt, rcv_adv; /* rcv_adv: right edge that was advertised; never taken back */
    uint32_t mss;                   /* what we may send in one segment */
    uint32_t cwnd, ssthresh, recover; /* octets, octets, sequence number */
    uint32_t srtt_us, rttvar_us, rto_us;
    uint32_t rtt_seq;               /* sequence number being timed (Karn) */
    uint32_t ack_owed;              /* octets received since the last ACK went out */
    uint32_t flags;                 /* engine-private bits (tcp_internal.h) */
    uint32_t syn_received;          /* of a listener: children in SYN-RECEIVED */
    uint32_t fin_seq;               /* of the peer's FIN, once it is known */
    uint32_t snd_sml;               /* end of the last small segment sent (Nagle as modified by Minshall) */
    uint32_t cwnd_acked;            /* octets acknowledged since cwnd last grew in congestion avoidance */
    uint32_t rcv_mss;               /* estimate of the size of the peer's full segments */
    uint32_t acks_owed;             /* duplicate ACKs still to send for out-of-order segments */
    uint32_t retransmitted;         /* segments, in all */
    struct tcp_options options;
    uint32_t ts_recent;             /* RFC 7323 4.3: TS.Recent, with TCP_CONN_TIMESTAMPS */
    uint32_t ts_offset;             /* added to our clock in TSval (5.4) */
    uint32_t last_ack_sent;         /* Last.ACK.sent */
    uint8_t keep_probes;            /* unanswered */
    uint8_t soft_error;             /* enum tcp_error that ICMP said of it last (RFC 1122 4.2.3.9) */
    uint8_t reserved1[2];
    uint64_t ts_recent_at_us;       /* when ts_recent was set: PAWS lets it go after 24 days (5.5) */
    uint64_t received_at_us;        /* when the peer was heard last */
    uint64_t unacked_at_us;         /* when what is at snd_una went out first; 0: nothing is in flight */
    uint64_t keep_at_us;            /* keepalive timer; 0: off */
    uint64_t rtt_start_us;          /* 0: nothing is being timed */
    uint64_t retransmit_at_us;      /* 0: off; also the persist timer */
    uint64_t ack_at_us;             /* 0: off */
    uint64_t state_at_us;           /* FIN-WAIT-2 of an orphan; 0: off */
    uint64_t challenge_at_us;       /* not before this the next ACK in answer to a segment out of window */
    uint32_t range_count;
    uint32_t sack_recent_count;
    uint32_t sack_recent[4];        /* RFC 2018 4: where text that came out of order began, the latest first */
    struct tcp_range duplicate;     /* RFC 2883: to be reported in the next ACK; empty: nothing */
    uint32_t cwr_seq;               /* RFC 3168 6.1.2: no other reduction for an ECE until this is acknowledged */
    uint32_t cubic_w_max, cubic_w_est, cubic_prior; /* RFC 9438 4.1.2: octets; W_max, W_est, cwnd_prior */
    uint32_t cubic_k_ms;            /* K */
    uint32_t cubic_acked;           /* of an octet of cwnd, in parts of cwnd */
    uint32_t receive_next_size;     /* the rings grow in place (ring.h): their sizes from ... */
    uint32_t receive_turn;          /* ... this stream offset on, the origin of both */
    uint32_t receive_most;          /* and what they may ever be */
    uint32_t send_next_size, send_turn, send_most;
    uint64_t cubic_epoch_us;        /* t of epoch start; 0: none */
    struct tcp_range range[TCP_RANGES_MAX]; /* last: of what is stored only those in use */
};
_Static_assert(sizeof(struct tcp_conn) == 416 + 8 * TCP_RANGES_MAX, "lies in the store: no padding");

static inline struct ring_shape tcp_receive_ring(const struct tcp_conn *c)
{
    return (struct ring_shape){.size = c->receive_size, .next_size = c->receive_next_size, .turn = c->receive_turn};
}
static inline struct ring_shape tcp_send_ring(const struct tcp_conn *c)
{
    return (struct ring_shape){.size = c->send_size, .next_size = c->send_next_size, .turn = c->send_turn};
}

/* Counters, one name for code, test and `bulkhead stat`. */
#define TCP_COUNTERS(X)                                                                                \
    X(segments_in) X(segments_out) X(octets_in) X(octets_out) X(connects) X(accepts)                    \
    X(retransmits) X(fast_retransmits) X(timeouts) X(out_of_order) X(duplicates) X(zero_window_probes) \
    X(challenge_acks) X(resets_in) X(resets_out) X(drop_header) X(drop_options) X(drop_no_connection)  \
    X(drop_out_of_window) X(drop_no_ack) X(drop_backlog_full) X(drop_table_full) X(drop_reply_queue)   \
    X(drop_ranges_full) X(drop_bad_ack) X(drop_after_close) X(time_wait_reused) X(mss_lowered)            \
    X(drop_too_big) X(drop_paws) X(drop_no_timestamp) X(time_waits) X(cookies_sent) X(cookies_taken)     \
    X(drop_cookie) X(keepalive_probes) X(keepalive_ended) X(user_timeouts) X(orphans_ended)             \
    X(soft_errors) X(drop_unreachable)                                                                  \
    X(sacked) X(drop_sack) X(dsacks_in) X(dsacks_out) X(reneged) X(recoveries) X(rack_marked) X(loss_probes)  \
    X(spurious_recoveries) X(spurious_timeouts) X(flights_full)                                           \
    X(ecn_connections) X(ce_in) X(ece_in) X(mtu_probes) X(mtu_probes_lost) X(black_holes) X(too_big_delayed) \
    X(rings_grown) X(paced)

struct tcp_counters {
#define X(name) uint64_t name;
    TCP_COUNTERS(X)
#undef X
};

struct tcp_config {
    uint32_t connections;   /* table size, at most 1 << 20 */
    uint32_t mtu;           /* of the link, octets */
    uint8_t secret[16];     /* ISNs (RFC 6528) and ports (RFC 6056): the same for every incarnation */
    uint32_t time_wait_us;  /* 0: 60 s. Deviates: RFC 9293 says 2 MSL = 240 s; as Linux */
    uint32_t rto_initial_us, rto_min_us, rto_max_us; /* 0: 1 s (RFC 6298), 200 ms (as Linux), 120 s */
    uint32_t retries;       /* 0: 15, then TCP_ERROR_TIMED_OUT; SYN: 6 */
    bool gso;               /* super-segments out; false: one MSS a segment */
    bool no_timestamps;     /* neither offer nor take RFC 7323's option */
    bool no_cookies;        /* a full backlog drops SYNs */
    uint32_t time_waits;    /* records of TIME-WAIT, at most 1 << 20; 0: 2 * connections. The oldest gives way */
    uint32_t orphan_retries; /* 0: 8. As `retries`, once the user has closed */
    uint32_t flights;        /* records of what is in flight (flight.c), beside one for each connection; 0: 3 * connections + 4096 */
    uint8_t congestion;      /* enum tcp_congestion; 0: TCP_CONGESTION_CUBIC */
    uint8_t ecn;             /* enum tcp_ecn */
    bool no_sack;            /* neither offer nor take RFC 2018's option; with it RACK-TLP and F-RTO are off */
    bool no_pacing;
    bool no_mtu_probing;     /* RFC 4821 */
};

enum {
    TCP_TIME_WAIT_TIMESTAMPS = 1 << 0, /* the connection had them */
    TCP_TIME_WAIT_COOKIE = 1 << 1,     /* the peer closed first; kept for the cookie that it came of, see cookie.c */
    TCP_TIME_WAIT_FLAGS = (1 << 2) - 1,
};

/* All that TIME-WAIT has to know: flat, compact, in the store like a block. */
struct tcp_time_wait {
    struct ip_address local, remote; /* ADDRESS_NONE: the record is free */
    uint16_t local_port, remote_port;
    uint32_t snd_nxt, rcv_nxt;
    uint32_t ts_recent, ts_offset; /* with timestamps */
    uint8_t flags;                 /* TCP_TIME_WAIT_* */
    uint8_t window_scale;          /* of what we advertise */
    uint16_t window;               /* as advertised last */
    uint64_t ts_recent_at_us;
    uint64_t ends_at_us;
};
_Static_assert(sizeof(struct tcp_time_wait) == 80, "lies in the store: no padding");

struct tcp; /* the engine */

size_t tcp_size(const struct tcp_config *config); /* octets of memory that tcp_init() wants, aligned to 64 */
/* `memory` is zeroed, tcp_size() octets; pages of it that are not needed yet are not touched. */
struct tcp *tcp_init(void *memory, const struct tcp_config *config, uint64_t now_us);
/* Touches of it what tcp_init() and that many connections will touch first. Whoever does this long before tcp_init() spares
 * it the page faults. */
void tcp_warm(void *memory, const struct tcp_config *config, uint32_t connections);

/* ---- looking ---- */
const struct tcp_conn *tcp_conn_at(const struct tcp *t, uint32_t index); /* index < connections */
const struct tcp_counters *tcp_counters(const struct tcp *t);
bool tcp_drained(const struct tcp *t); /* no connection, listener, reply or timer is left; TIME-WAITs may be */
const struct tcp_time_wait *tcp_time_wait_at(const struct tcp *t, uint32_t record); /* record < config.time_waits */
uint32_t tcp_time_wait_records(const struct tcp *t); /* of the table */

struct tcp_figures { /* for TCP_INFO */
    uint8_t state, retransmits;
    uint8_t send_window_scale, receive_window_scale; /* with `scaled` */
    bool scaled, timestamps, sack, ecn;
    uint8_t congestion;      /* enum tcp_congestion */
    uint32_t srtt_us, rttvar_us, rto_us, cwnd, ssthresh, retransmitted;
    uint32_t mss, rcv_mss;
    uint32_t send_wanted, receive_wanted; /* octets that the rings should have, more than they will; 0: they are large enough */
};
void tcp_figures(const struct tcp *t, uint32_t index, struct tcp_figures *ret); /* index < connections */
bool tcp_send_drained(const struct tcp *t, uint32_t index); /* all that was sent, FIN included, is acknowledged */

/* ---- input ---- */
struct tcp_segment_in { /* what the sender below has already checked; demultiplexing uses only this */
    struct ip_address source, destination;
    uint16_t source_port, destination_port;
    uint8_t ecn;
    uint16_t gso_size; /* > 0: a super-segment of segments of this payload size */
};

/* The connection, else the listener, that a segment belongs to; TCP_NONE if neither. */
uint32_t tcp_lookup(const struct tcp *t, const struct tcp_segment_in *meta);

struct tcp_placement {
    uint32_t conn;           /* TCP_NONE: nothing to place */
    uint32_t payload_offset; /* from the start of the segment's payload */
    uint32_t stream_offset;  /* where it belongs in the receive stream */
    uint32_t length;         /* 0: nothing to place */
};

enum tcp_input_result {
    TCP_INPUT_DROPPED = 0,   /* counted; no state changed but perhaps a reply queued */
    TCP_INPUT_DONE = 1,      /* *ret says what to copy, if anything */
};

/* Untrusted: header, header_length (as found: the copied part of a segment, TCP_HEADER_MAX at most),
 * segment_length (header and payload, octets). The checksum was verified by the caller. `index` is what
 * tcp_lookup() returned. A connection in SYN-RECEIVED that has no slot (identity.arena == UINT32_MAX) must
 * be given one by tcp_attach() before, or the segment be dropped by the caller; the engine itself drops the
 * segment that would establish such a connection (drop_backlog_full: the peer sends it again). */
enum tcp_input_result tcp_input(struct tcp *t, uint64_t now_us, uint32_t index,
                                const struct tcp_segment_in *meta, const uint8_t *header,
                                uint32_t header_length, uint32_t segment_length,
                                struct tcp_placement *ret);

/* Untrusted: header, header_length (as for tcp_input()). Whether the segment acknowledges the SYN of a connection in
 * SYN-RECEIVED, so that nothing (a slot) need be spent on one that does not. */
bool tcp_completes_handshake(const struct tcp *t, uint32_t index, const uint8_t *header, uint32_t header_length);

/* Untrusted: header, header_length (as for tcp_input()). For a segment whose tcp_lookup() gave a listener: if it completes a
 * handshake that a SYN cookie began (RFC 4987 3.6), the index of the connection that is made of it, in SYN-RECEIVED without a
 * slot; else `listener`. The segment goes on to tcp_input() with what this returned. */
uint32_t tcp_open_cookie(struct tcp *t, uint64_t now_us, uint32_t listener, const struct tcp_segment_in *meta,
                         const uint8_t *header, uint32_t header_length);

/* ICMP said of a segment of ours that it does not arrive, and why (REFUSED, UNREACHABLE, NETWORK, PROTOCOL, PROHIBITED). Ends
 * an attempt in SYN-SENT (RFC 5461); else it is soft (RFC 1122 4.2.3.9): kept, and the reason told if the
 * connection times out later. `sequence` is that of the quoted segment and must lie in [snd_una, snd_max] (RFC 5927). */
void tcp_unreachable(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t sequence, enum tcp_error why);

/* ICMP "too big" about a segment of ours: mtu as it said (0: it did not). Segments become smaller, the one at snd_una is
 * sent again in the new size at once, and the congestion window stays (RFC 1191 6.5). Ignored unless `sequence` lies in
 * [snd_una, snd_max) (RFC 5927 7.1) and the new MSS is below the present one; once a segment of the present size was
 * acknowledged it is believed only if what it is about times out (7.2). */
void tcp_too_big(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t sequence, uint32_t mtu);

/* ---- user calls; results are the closed lists given ---- */
enum tcp_call_result {
    TCP_CALL_OK = 0,
    TCP_CALL_TABLE_FULL = 1,
    TCP_CALL_IN_USE = 2,   /* the address and port, or the four-tuple */
    TCP_CALL_NO_PORT = 3,  /* no ephemeral port is free */
    TCP_CALL_BAD_STATE = 4,
};

/* Ring sizes are powers of two from TCP_RING_MIN to TCP_RING_MAX, else BAD_STATE. Receive ring sizes are
 * promised in the SYN-ACK: children get `receive_size`/`send_size`. OK, TABLE_FULL, IN_USE, BAD_STATE. */
enum tcp_call_result tcp_listen(struct tcp *t, const struct tcp_identity *identity, uint32_t backlog,
                                uint32_t receive_size, uint32_t send_size, uint32_t *ret_index);
/* local_port 0: an ephemeral one (RFC 6056 algorithm 3), read back with tcp_conn_at(). OK, TABLE_FULL,
 * IN_USE, NO_PORT, BAD_STATE (ring sizes). */
enum tcp_call_result tcp_connect(struct tcp *t, uint64_t now_us, const struct tcp_identity *identity,
                                 uint32_t receive_size, uint32_t send_size, uint32_t *ret_index);
/* What the rings may grow to, from the sizes that they have on (autotune.c): of a listener those of its connections. Before
 * the SYN is out, for the window scale follows from it (RFC 7323 2.2); later it may be lowered. Nonsense is passed over. */
void tcp_ring_limits(struct tcp *t, uint32_t index, uint32_t receive_most, uint32_t send_most);
/* Its user has memory for `octets` of receive ring, a power of two: a growth that is wanted begins. */
void tcp_receive_granted(struct tcp *t, uint32_t index, uint32_t octets);
/* Its user has begun a growth of the send ring. False: that cannot be (as ring.h says), nothing has changed. */
bool tcp_send_grown(struct tcp *t, uint32_t index, const struct ring_shape *shape);
/* Gives a connection in SYN-RECEIVED its owner and slot. OK, BAD_STATE. */
enum tcp_call_result tcp_attach(struct tcp *t, uint32_t index, uint32_t owner, uint32_t session,
                                uint32_t arena, uint32_t slot, uint32_t generation);
/* The application has taken (or been handed) this connection: it no longer counts against the backlog. */
void tcp_accepted(struct tcp *t, uint32_t index);
/* The application has written up to stream offset `end`. Ignored unless it lies in
 * [send_end, send_acked + what the send ring has room for]. */
void tcp_send_available(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t end);
/* The application has consumed up to `consumed`. Ignored unless in [receive_consumed, receive_next]. */
void tcp_receive_consumed(struct tcp *t, uint64_t now_us, uint32_t index, uint32_t consumed);
void tcp_shutdown_send(struct tcp *t, uint64_t now_us, uint32_t index);
/* Options of a connection, or of those that a listener makes from now on. */
void tcp_set_options(struct tcp *t, uint64_t now_us, uint32_t index, const struct tcp_options *options);
/* TCP_CORK: what fills no segment waits until the cork is off, all is said (tcp_shutdown_send()), or 200 ms. */
void tcp_set_cork(struct tcp *t, uint64_t now_us, uint32_t index, bool cork);
/* Of a listener: OK, BAD_STATE. */
enum tcp_call_result tcp_set_backlog(struct tcp *t, uint32_t index, uint32_t backlog);
/* FIN after all data; RST at once if received data was not consumed (RFC 1122 4.2.2.13, RFC 2525 2.17). A
 * listener ends, its children that were not accepted are reset. */
void tcp_close(struct tcp *t, uint64_t now_us, uint32_t index);
void tcp_abort(struct tcp *t, uint64_t now_us, uint32_t index);

/* ---- output ---- */
struct tcp_output {
    uint32_t conn; /* TCP_NONE for a stateless reply */
    struct ip_address source, destination;
    uint16_t source_port, destination_port;
    uint16_t gso_size;        /* 0: one segment; else payload of each segment */
    uint8_t header_length;    /* octets in header, a multiple of 4 */
    uint8_t push;             /* unused by the server; for tests */
    uint8_t ecn;              /* codepoint of its packets (RFC 3168 5): 0, or 2 for ECT(0) */
    uint32_t stream_offset;   /* of the payload */
    uint32_t payload_length;  /* never crosses the end of the send ring */
    uint8_t header[TCP_HEADER_MAX]; /* checksum field zero */
};

/* One segment at a time; false: nothing (more) to send now. Connections take turns. */
bool tcp_poll(struct tcp *t, uint64_t now_us, struct tcp_output *ret);
/* When tcp_poll() may have something without any other call: UINT64_MAX for never, 0 while it has something
 * now (the caller stopped polling early). Timers run inside tcp_poll(). */
uint64_t tcp_deadline_us(const struct tcp *t);

/* Whose timer or output tcp_poll() is at, for whoever wants to know what it died over. */
enum tcp_work_kind {
    TCP_WORK_OUTPUT,
    TCP_WORK_ACK_TIMER,
    TCP_WORK_RECOVERY_TIMER,
    TCP_WORK_RETRANSMISSION_TIMER, /* and persist */
    TCP_WORK_KEEPALIVE_TIMER,
    TCP_WORK_STATE_TIMER,
    TCP_WORK_KINDS
};
#define TCP_WORK_NAME_STEP 8U /* a name is a multiple of it; what is said is name + kind */
_Static_assert(TCP_WORK_KINDS <= TCP_WORK_NAME_STEP, "a kind fits below a name");
struct tcp_work {
    uint64_t *word;          /* written by the engine */
    uint64_t nobody;         /* what it says between connections, and of one without a name */
    const uint64_t *watched; /* whether it has come to one of these: at most 64 */
    uint32_t watched_count;
    uint64_t worked_on; /* a bit each; the caller clears them */
};
/* The caller's memory, from now on; NULL: nobody wants to know. */
void tcp_tell_work(struct tcp *t, struct tcp_work *work);
void tcp_name(struct tcp *t, uint32_t index, uint64_t name); /* until the connection is gone; 0 none */
bool tcp_is_named(const struct tcp *t, uint32_t index);

/* Connections touched since this was last asked, each once; false: none left. The caller commits each block
 * to its store and publishes it. A connection found in TCP_CLOSED is gone: its index is free for reuse once
 * this has returned it (so copy what is needed before the next call). */
bool tcp_next_touched(struct tcp *t, uint32_t *ret_index);
/* Of a connection that is gone, until its index is used again: is its peer told by an RST, and has that gone out? */
enum tcp_farewell { TCP_FAREWELL_NONE = 0, TCP_FAREWELL_DUE, TCP_FAREWELL_SENT };
enum tcp_farewell tcp_farewell(const struct tcp *t, uint32_t conn);
/* The same of TIME-WAIT records, for the store. */
bool tcp_next_touched_time_wait(struct tcp *t, uint32_t *ret_record);

/* ---- restart ---- */
/* Untrusted: block (store). Puts it back under its index, in any order: a listener, an attempt, a connection in any state
 * but CLOSED and TIME-WAIT. Before the first tcp_poll(), at which each speaks: an attempt and SYN-RECEIVED with their SYN, others with
 * the first segment that is not acknowledged, or an ACK. OK, BAD_STATE (not restorable, or fails its invariants), IN_USE
 * (index or address taken); then nothing has changed. */
enum tcp_call_result tcp_restore(struct tcp *t, uint32_t index, const struct tcp_conn *block);
/* Puts a TIME-WAIT back. OK, BAD_STATE (fails its invariants), IN_USE (the record or the four-tuple is taken). */
enum tcp_call_result tcp_restore_time_wait(struct tcp *t, uint32_t record, const struct tcp_time_wait *what);
/* Tells the peer of a lost connection: queues RSTs that it will accept (at snd_una and at snd_max).
 * False: the reply queue is full, call again after tcp_poll(). */
bool tcp_reset_lost(struct tcp *t, const struct tcp_conn *block);
/* What is below on this host has died and is back, without what it had in its hands: each connection speaks at its next
 * turn, those with something in flight first, so that no peer waits for a timeout. */
void tcp_speak_again(struct tcp *t);

#endif
