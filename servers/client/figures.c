// SPDX-License-Identifier: BSD-2-Clause
/* What the transport tells of a stream besides its octets, as Linux shows it (TCP_INFO, TCP_MAXSEG). The words are the
 * transport's, each read once: a lie is shown as it is, and misleads nobody but who asked. They are of the last time
 * that something happened to the connection. What is not told is 0. */
#include <linux/tcp.h>

#include "servers/client/session.h"

#define SEGMENT_DEFAULT 536         /* as Linux before there is a connection (RFC 9293 3.7.1) */
#define NO_THRESHOLD    0x7fffffffU /* as Linux: slow start goes on for ever */

enum { /* Linux's numbers (include/net/tcp_states.h), which netinet/tcp.h has, and which conflicts with linux/tcp.h */
       SHOWN_ESTABLISHED = 1,
       SHOWN_SYN_SENT = 2,
       SHOWN_CLOSE = 7,
       SHOWN_LISTEN = 10,
};

/* By the number of RFC 9293 3.3.2 in the order of enum tcp_state, which is what the slot has. */
static const uint8_t shown_state[] = {7, 10, 2, 3, 1, 4, 5, 8, 11, 9, 6};

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static uint32_t in_segments(uint32_t octets, uint32_t segment)
{
    if (octets >= NO_THRESHOLD)
        return NO_THRESHOLD;
    return segment != 0 ? octets / segment : 0;
}

/* NULL: no slot, or the transport has not told anything of this use of it. */
static const struct slot_transport *words_of(const struct socket *k)
{
    const struct slot_transport *t = __atomic_load_n(&k->words, __ATOMIC_ACQUIRE);
    uint32_t phase = socket_phase(k);
    if (t == NULL || (phase != SOCKET_CONNECTING && phase != SOCKET_STREAM))
        return NULL;
    return __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE) == k->slot_generation ? t : NULL;
}

static uint8_t state_without_words(const struct socket *k)
{
    switch (socket_phase(k)) {
    case SOCKET_LISTENING:
        return SHOWN_LISTEN;
    case SOCKET_CONNECTING:
        return SHOWN_SYN_SENT;
    case SOCKET_STREAM:
        return SHOWN_ESTABLISHED;
    default:
        return SHOWN_CLOSE;
    }
}

static uint8_t state_of(const struct socket *k, uint32_t kind)
{
    uint32_t state = kind & 0xf;
    if (socket_phase(k) == SOCKET_STREAM && (socket_view(k).state & (SLOT_ERROR | SLOT_CLOSED)) != 0)
        return SHOWN_CLOSE;
    return state != 0 && state < sizeof shown_state ? shown_state[state] : state_without_words(k);
}

/* Of the send ring what is not acknowledged, as far as the window lets it out: not all of it need be in flight. */
static uint32_t unacknowledged(const struct socket *k, uint32_t cwnd, uint32_t segment)
{
    struct slot_view v = socket_view(k);
    uint32_t held = v.room - v.space;
    uint32_t most = held < cwnd ? held : cwnd;
    return segment != 0 ? (most + segment - 1) / segment : 0;
}

static void fill(const struct socket *k, const struct slot_transport *t, struct tcp_info *ret)
{
    uint32_t kind = load(&t->tcp_kind), mss = load(&t->mss), cwnd = load(&t->cwnd);
    uint32_t segment = mss & 0xffff;
    ret->tcpi_state = state_of(k, kind);
    ret->tcpi_retransmits = ret->tcpi_backoff = (uint8_t)(kind >> 8);
    ret->tcpi_snd_wscale = kind >> 20 & 0xf;
    ret->tcpi_rcv_wscale = kind >> 16 & 0xf;
    ret->tcpi_options = (uint8_t)(kind >> 24); /* TCP_KIND_* are TCPI_OPT_* */
    ret->tcpi_rto = load(&t->rto_us);
    ret->tcpi_rtt = load(&t->srtt_us);
    ret->tcpi_rttvar = load(&t->rttvar_us);
    ret->tcpi_snd_mss = segment;
    ret->tcpi_rcv_mss = ret->tcpi_advmss = mss >> 16;
    ret->tcpi_snd_cwnd = in_segments(cwnd, segment);
    ret->tcpi_snd_ssthresh = in_segments(load(&t->ssthresh), segment);
    ret->tcpi_total_retrans = load(&t->retransmitted);
    ret->tcpi_unacked = unacknowledged(k, cwnd, segment);
    ret->tcpi_rcv_space = stream_receive_shape(k).next_size;
}

_Static_assert(TCP_KIND_TIMESTAMPS == TCPI_OPT_TIMESTAMPS && TCP_KIND_SACK == TCPI_OPT_SACK &&
                   TCP_KIND_SCALED == TCPI_OPT_WSCALE && TCP_KIND_ECN == TCPI_OPT_ECN,
               "bits as they are shown");

void stream_figures(const struct socket *k, struct tcp_info *ret)
{
    const struct slot_transport *t = words_of(k);
    *ret = (struct tcp_info){.tcpi_state = state_without_words(k)};
    if (t != NULL)
        fill(k, t, ret);
    else if (socket_phase(k) == SOCKET_LISTENING) /* as Linux: connections that wait to be accepted */
        ret->tcpi_unacked = __atomic_load_n(&k->word->accept_ready, __ATOMIC_RELAXED);
}

uint32_t stream_segment_size(const struct socket *k)
{
    const struct slot_transport *t = words_of(k);
    uint32_t segment = t != NULL ? load(&t->mss) & 0xffff : 0;
    int32_t asked = socket_option(k, OPTION_MAXIMUM_SEGMENT);
    return segment != 0 ? segment : asked != 0 ? (uint32_t)asked : SEGMENT_DEFAULT;
}

uint32_t stream_congestion(const struct socket *k)
{
    const struct slot_transport *t = words_of(k);
    return t != NULL ? load(&t->tcp_kind) >> 4 & 0xf : 0;
}
