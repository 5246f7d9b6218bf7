// SPDX-License-Identifier: BSD-2-Clause
/* Connections that end with an RST: after an abort, or when their user is gone. An RST is said once. If we died between
 * the commit of the end and the moment at which the RST is out, nobody would say it, and a peer that has nothing to
 * send would never hear of it. So the block stays in the store and says so, until the burst after the one in which the
 * RST went out; a new incarnation that finds it says it (again: no harm) and restores nothing (recover.c). */
#include "servers/tcp/tcp_server.h"

bool tcp_farewell_begin(struct tcp_server *s, uint32_t connection)
{
    if (s->farewells == CONNECTIONS_MAX || tcp_farewell(s->engine, connection) == TCP_FAREWELL_NONE)
        return false;
    struct tcp_block block = {.endpoint = TRANSPORT_NONE, .ended = 1, .conn = *tcp_conn_at(s->engine, connection)};
    block.conn.state = TCP_ESTABLISHED; /* whatever it was */
    block.conn.closed_by_user = 1;
    s->farewell[s->farewells++] = (uint16_t)connection;
    store_put_part(&s->store, TCP_STORE_CONNECTION(connection), &block,
                   (uint32_t)(offsetof(struct tcp_block, conn) + offsetof(struct tcp_conn, range)));
    return true;
}

bool tcp_farewells_end(struct tcp_server *s)
{
    uint32_t before = s->farewells, kept = 0;
    for (uint32_t i = 0; i < before; i++) {
        uint32_t connection = s->farewell[i];
        if (tcp_farewell(s->engine, connection) == TCP_FAREWELL_DUE)
            s->farewell[kept++] = (uint16_t)connection;
        else
            store_erase(&s->store, TCP_STORE_CONNECTION(connection));
    }
    s->farewells = kept;
    return kept != before;
}
