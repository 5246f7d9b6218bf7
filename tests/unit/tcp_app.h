// SPDX-License-Identifier: BSD-2-Clause
/* An application of two engines' tests: sends one stream of octets and checks another, each known by its salt. */
#ifndef BULKHEAD_TESTS_UNIT_TCP_APP_H
#define BULKHEAD_TESTS_UNIT_TCP_APP_H

#include "tests/unit/tcp_harness.h"

struct app { /* sends `total`, reads whatever comes */
    struct host *h;
    uint32_t conn;
    uint32_t total, written, read;
    uint32_t salt, peer_salt;
    uint32_t slow; /* reads at most so much a step; 0: all */
    bool said_all; /* and shut down */
    bool done;     /* conn ended */
};

static inline uint8_t octet_at(uint32_t salt, uint32_t offset)
{
    return (uint8_t)((offset * 2654435761U >> 13) ^ (offset >> 3) ^ salt);
}

static inline void app_write(struct app *a)
{
    const struct tcp_conn *c = host_conn(a->h, a->conn);
    uint32_t room = c->send_acked + c->send_size - a->written;
    uint32_t n = a->total - a->written < room ? a->total - a->written : room;
    for (uint32_t i = 0; i < n; i++)
        a->h->send_ring[a->conn][(a->written + i) & (c->send_size - 1)] = octet_at(a->salt, a->written + i);
    a->written += n;
    if (n > 0)
        tcp_send_available(a->h->t, a->h->now_us, a->conn, a->written);
    a->said_all = a->written == a->total;
    if (a->said_all && !c->user_fin)
        tcp_shutdown_send(a->h->t, a->h->now_us, a->conn);
}

/* c: the connection, or what is known of it when it is gone. */
static inline void app_read(struct app *a, const struct tcp_conn *c)
{
    uint32_t n = c->receive_next - a->read;
    if (a->slow > 0 && n > a->slow)
        n = a->slow;
    for (uint32_t i = 0; i < n; i++)
        require(a->h->receive_ring[a->conn][(a->read + i) & (c->receive_size - 1)] ==
                octet_at(a->peer_salt, a->read + i));
    a->read += n;
    if (n > 0)
        tcp_receive_consumed(a->h->t, a->h->now_us, a->conn, a->read);
}

#endif
