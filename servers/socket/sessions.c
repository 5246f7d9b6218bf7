// SPDX-License-Identifier: BSD-2-Clause
/* Sessions come, end, are let go of by both transports, and are then given back to the supervisor. */
#include <string.h>

#include "servers/socket/socket_internal.h"

void session_begin(struct socket_server *server, uint32_t session)
{
    if (session >= SESSIONS_MAX || !server->context->session[session].present)
        return;
    struct session_state *state = &server->session[session];
    if (!state->known) {
        state->known = true;
        state->look = true;
        state->ready_producer = ready_start(server->context->incarnation);
        server->counters.sessions_added++;
        if (server->cold == COLD_UNTOLD)
            recover_lanes_cold(server, session);
        for (uint32_t i = 0; i < SESSION_LANES; i++) /* an answer may have been committed and not shown */
            state->lane[i].publish = state->lane[i].done != 0;
        state->publish = state->ring = true;
        for (uint32_t i = state->sockets.head; i != INDEX_NONE; i = server->entry[i].link[LINK_OWNER].next)
            socket_word_changed(server, &server->entry[i]);
        server->work = true;
    }
    if (server->context->session[session].ending)
        sessions_end(server, session);
}

static void lanes_clear(struct session_state *state)
{
    for (uint32_t i = 0; i < SESSION_LANES; i++) {
        bool stored = state->lane[i].done != 0;
        state->lane[i] = (struct lane){.changed = stored};
        state->lanes_changed |= stored;
    }
    state->publish = state->ring = state->look = false;
}

static void done_check(struct socket_server *server, struct session_state *state)
{
    bool all = true;
    for (int t = 0; t < SESSION_TRANSPORTS; t++)
        all &= state->end_done[t];
    if (state->ending && all && !state->done)
        state->done_due = server->work = true;
}

void sessions_end(struct socket_server *server, uint32_t session)
{
    if (session >= SESSIONS_MAX || !server->session[session].known || server->session[session].ending)
        return;
    struct session_state *state = &server->session[session];
    state->ending = true;
    while (state->sockets.count > 0) /* the transports close theirs, told by one SESSION_END each */
        socket_free(server, &server->entry[state->sockets.head]);
    lanes_clear(state);
    for (int t = 0; t < SESSION_TRANSPORTS; t++) {
        state->end_send[t] = server->peer[t].port != NULL;
        state->end_done[t] = server->peer[t].port == NULL;
    }
    server->work = true;
    done_check(server, state);
}

void session_released(struct socket_server *server, uint32_t session, enum session_transport t)
{
    if (session >= SESSIONS_MAX || !server->session[session].ending || server->session[session].end_send[t]) {
        server->counters.drop_malformed++; /* nobody asked */
        return;
    }
    server->session[session].end_done[t] = true;
    done_check(server, &server->session[session]);
}

void session_forget(struct socket_server *server, uint32_t session)
{
    if (session >= SESSIONS_MAX)
        return;
    struct session_state *state = &server->session[session];
    while (state->sockets.count > 0)
        socket_free(server, &server->entry[state->sockets.head]);
    lanes_clear(state);
    state->known = state->ending = state->done = state->done_due = false;
    for (int t = 0; t < SESSION_TRANSPORTS; t++)
        state->end_send[t] = state->end_done[t] = false;
    server->work = true;
}

void sessions_publish(struct socket_server *server)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session_state *state = &server->session[i];
        if (!state->done_due)
            continue;
        state->done_due = false;
        state->done = true;
        server->counters.sessions_done++;
        server->context->session_done(server->context->domain, i);
    }
}
