// SPDX-License-Identifier: BSD-2-Clause
/* CUBIC (RFC 9438), in octets, milliseconds and integers. A window that meets its limit at W_max comes down to 0.7 of
 * it, grows fast at first, hardly at all near W_max, and beyond it faster and faster: W_cubic(t) = C (t - K)^3 + W_max,
 * with t the time since congestion avoidance began (the epoch). Where Reno would have more, it has what Reno would have
 * (W_est). Time in which the window was not used does not count: the epoch moves with it.
 *
 * Of the block: cubic_w_max W_max, cubic_prior cwnd_prior, cubic_k_ms K, cubic_epoch_us t = 0 (0: congestion avoidance
 * has not begun), cubic_w_est W_est, cwnd_acked octets towards the next segment of W_est, cubic_acked what a division
 * by cwnd left over. */
#include "protocols/tcp/congestion.h"

#define CUBE_UNIT 2500000000ULL /* ms^3 in which C (0.4 segments a cubic second) makes one segment */
#define TIME_MOST (1U << 20)    /* ms; C t^3 of the smallest segment is beyond CWND_MAX long before */

uint32_t cubic_root(uint64_t n)
{
    uint64_t root = 0;
    for (int bit = 20; bit >= 0; bit--) { /* 2^63 has the root 2^21 */
        uint64_t next = root | 1ULL << bit;
        if (next * next * next <= n)
            root = next;
    }
    return (uint32_t)root;
}

/* 4.2, equation 2. */
uint32_t cubic_k_ms(uint32_t w_max, uint32_t cwnd, uint32_t mss)
{
    return w_max <= cwnd ? 0 : cubic_root((w_max - cwnd) * CUBE_UNIT / mss);
}

/* 4.2, equation 1; from 0 to CWND_MAX. */
uint32_t cubic_window(uint32_t w_max, uint32_t k_ms, uint64_t t_ms, uint32_t mss)
{
    bool below = t_ms < k_ms;
    uint64_t d = below ? k_ms - t_ms : t_ms - k_ms;
    d = d < TIME_MOST ? d : TIME_MOST;
    uint64_t cube = d * d * d;
    uint64_t difference = cube / CUBE_UNIT * mss + cube % CUBE_UNIT * mss / CUBE_UNIT;
    if (below)
        return difference < w_max ? w_max - (uint32_t)difference : 0;
    return w_max + difference < CWND_MAX ? (uint32_t)(w_max + difference) : CWND_MAX;
}

/* 4.2, 4.3; 4.8 and 4.10: W_max and K of an epoch that no reduction came before, or a timeout, are cwnd and 0. */
static void epoch_begin(struct tcp_conn *c, uint64_t now_us, uint32_t mss)
{
    c->cubic_epoch_us = now_us > 0 ? now_us : 1;
    if (c->cubic_w_max <= c->cwnd)
        c->cubic_w_max = c->cwnd;
    c->cubic_k_ms = cubic_k_ms(c->cubic_w_max, c->cwnd, mss);
    c->cubic_w_est = c->cwnd;
    c->cwnd_acked = c->cubic_acked = 0;
}

/* 4.3: W_est grows by alpha segments a window; alpha is 3 (1 - 0.7) / (1 + 0.7) = 9/17 until it is where cwnd was. */
static void reno_friendly(struct tcp_conn *c, uint32_t acked, uint32_t mss)
{
    uint64_t window = c->cubic_w_est < c->cubic_prior ? (uint64_t)c->cwnd * 17 / 9 : c->cwnd;
    uint64_t octets = (uint64_t)c->cwnd_acked + acked, more = octets / window * mss;
    c->cwnd_acked = (uint32_t)(octets % window);
    c->cubic_w_est = more < CWND_MAX - c->cubic_w_est ? c->cubic_w_est + (uint32_t)more : CWND_MAX;
}

void cubic_avoid(struct tcp_conn *c, uint64_t now_us, uint32_t acked)
{
    uint32_t mss = conn_send_mss(c);
    if (c->cubic_epoch_us == 0)
        epoch_begin(c, now_us, mss);
    uint64_t t_us = now_us > c->cubic_epoch_us ? now_us - c->cubic_epoch_us : 0;
    uint32_t w_cubic = cubic_window(c->cubic_w_max, c->cubic_k_ms, t_us / 1000, mss);
    uint32_t target = cubic_window(c->cubic_w_max, c->cubic_k_ms, (t_us + c->srtt_us) / 1000, mss);
    reno_friendly(c, acked, mss);
    if (w_cubic < c->cubic_w_est) {
        c->cwnd = u32_max(c->cwnd, c->cubic_w_est);
        return;
    }
    target = u32_min(u32_max(target, c->cwnd), c->cwnd + c->cwnd / 2); /* 4.4, 4.5 */
    uint64_t growth = (uint64_t)(target - c->cwnd) * acked + c->cubic_acked;
    c->cubic_acked = (uint32_t)(growth % c->cwnd);
    growth /= c->cwnd;
    c->cwnd = growth < target - c->cwnd ? c->cwnd + (uint32_t)growth : target; /* one ACK of more than a window */
}

/* 4.6, 4.7. Deviates: 0.7 of cwnd, not of the flight, as 4.6 lets who keeps cwnd from growing unused (congestion.c). In
 * recovery cwnd may be more than it is going to be: NewReno lets it grow with each duplicate. */
uint32_t cubic_reduce(struct tcp_conn *c)
{
    uint32_t cwnd = (c->flags & TCP_CONN_RECOVERY) ? u32_min(c->cwnd, c->ssthresh) : c->cwnd;
    bool converge = cwnd < c->cubic_w_max; /* less than last time: others want more, leave them room */
    c->cubic_w_max = converge ? (uint32_t)((uint64_t)cwnd * 17 / 20) : cwnd;
    c->cubic_prior = cwnd;
    c->cubic_epoch_us = 0;
    return u32_max((uint32_t)((uint64_t)cwnd * 7 / 10), 2 * conn_send_mss(c));
}

/* 4.8 */
void cubic_timed_out(struct tcp_conn *c)
{
    c->cubic_w_max = 0;
    c->cubic_epoch_us = 0;
}

/* 4.2, 5.8: t does not include it. */
void cubic_unused(struct tcp_conn *c, uint64_t now_us, uint64_t for_us)
{
    if (c->cubic_epoch_us == 0)
        return;
    uint64_t epoch_us = c->cubic_epoch_us + for_us;
    c->cubic_epoch_us = epoch_us < now_us ? epoch_us : now_us;
}
