// SPDX-License-Identifier: BSD-2-Clause
#include "servers/transport/transport.h"

#include <string.h>

#include "servers/counters.h"

void transport_warm(struct transport *t)
{
    memset(t, 0, offsetof(struct transport, session) + TRANSPORT_WARM_SESSIONS * sizeof t->session[0]);
}

void transport_init(struct transport *t, const struct server_context *context,
                    const struct transport_operations *operations, struct endpoint *endpoint, uint16_t *dirty,
                    uint32_t endpoint_max, uint64_t now_us)
{
    t->context = context;
    t->operations = operations;
    t->ip = context->port[SERVER_IP];
    t->socket = context->port[SERVER_SOCKET];
    t->endpoint = endpoint;
    t->dirty = dirty;
    t->endpoint_max = endpoint_max;
    t->now_us = now_us;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        transport_session_added(t, i);
}

void transport_recovered(struct transport *t)
{
    if (t->socket->attached)
        transport_reconcile(t);
}

uint64_t transport_deadline_us(const struct transport *t)
{
    uint64_t at = UINT64_MAX;
    if (t->loans > 0)
        at = t->now_us + TRANSPORT_LOAN_US;
    if (t->blocked && t->ip->attached && t->blocked_us + TRANSPORT_BLOCKED_US < at)
        at = t->blocked_us + TRANSPORT_BLOCKED_US;
    bool notices = t->alive_sending || t->queue_first != 0;
    if (notices && t->socket->attached && t->now_us + TRANSPORT_LOAN_US < at)
        at = t->now_us + TRANSPORT_LOAN_US;
    if (t->counters_stale && t->counters_at_us + TRANSPORT_COUNTERS_US < at)
        at = t->counters_at_us + TRANSPORT_COUNTERS_US;
    return at;
}

void transport_server_peer_lost(void *state, enum server_id peer)
{
    struct transport *t = state;
    if (peer == SERVER_IP)
        t->returns = (struct port_returns){0}; /* its buffers are of a pool that is gone */
}

void transport_server_peer_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct transport *t = state;
    t->now_us = now_us;
    if (peer == SERVER_IP)
        transport_reclaim(t);
    if (peer == SERVER_SOCKET)
        transport_reconcile(t);
}

/* ---- counters ---- */

static const char *const transport_counter_name[] = {
#define X(name) #name,
    TRANSPORT_COUNTERS(X)
#undef X
};
_Static_assert(sizeof transport_counter_name / sizeof transport_counter_name[0] ==
                   sizeof(struct transport_counters) / sizeof(uint64_t),
               "one name each");

static const char *const refusal_name[CAPABILITY_REFUSALS] = {
    [CAPABILITY_REFUSED_INDEX] = "refused_index", [CAPABILITY_REFUSED_GENERATION] = "refused_generation",
    [CAPABILITY_REFUSED_TYPE] = "refused_type",   [CAPABILITY_REFUSED_RIGHTS] = "refused_rights",
    [CAPABILITY_REFUSED_RANGE] = "refused_range",
};

static const char *const gauge_name[] = {"loans", "endpoints", "port_malformed", "port_full"};

static bool counters_due(const struct transport *t, uint64_t now_us)
{
    return t->counters_stale && now_us - t->counters_at_us >= TRANSPORT_COUNTERS_US;
}

/* Names (once) and values to the status page. Returns the next place. */
static uint32_t counters_copy(struct transport *t, uint32_t place, const struct transport_counter_list *list)
{
    struct status_counter *page = t->context->counter;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!t->counters_named)
            counters_name(page, place, list->name[i]);
        place = counters_value(page, place, list->value[i]);
    }
    return place;
}

static uint32_t counters_own(struct transport *t)
{
    uint64_t refused[CAPABILITY_REFUSALS];
    for (uint32_t i = 0; i < CAPABILITY_REFUSALS; i++)
        refused[i] = t->ip->table.refused[i] + t->socket->table.refused[i];
    uint64_t endpoints = 0;
    for (uint64_t left = t->seen; left != 0; left &= left - 1)
        endpoints += t->session[__builtin_ctzll(left)].endpoints;
    const uint64_t gauge[] = {t->loans, endpoints, t->ip->counters.malformed + t->socket->counters.malformed,
                              t->ip->counters.full + t->socket->counters.full};
    const struct transport_counter_list list[] = {
        {transport_counter_name, (const uint64_t *)&t->counters, sizeof t->counters / sizeof(uint64_t)},
        {refusal_name, refused, CAPABILITY_REFUSALS},
        {gauge_name, gauge, sizeof gauge / sizeof gauge[0]},
    };
    uint32_t place = 0;
    for (uint32_t i = 0; i < sizeof list / sizeof list[0]; i++)
        place = counters_copy(t, place, &list[i]);
    return place;
}

/* ---- the end of a burst ---- */

bool transport_burst_end(struct transport *t, uint64_t now_us, bool did)
{
    did |= transport_notices(t);
    if (t->returns.message.count > 0 && port_returns_flush(t->ip, &t->returns))
        did = true;
    if (did)
        t->counters_stale = true;
    return did || t->dirty_count > 0 || counters_due(t, now_us);
}

void transport_publish(struct transport *t, uint64_t now_us, const struct transport_counter_list *list, uint32_t count)
{
    transport_publish_slots(t);
    if (!counters_due(t, now_us))
        return;
    t->counters_at_us = now_us;
    t->counters_stale = false;
    uint32_t place = counters_own(t);
    for (uint32_t i = 0; i < count; i++)
        place = counters_copy(t, place, &list[i]);
    t->counters_named = true;
}

/* ---- sessions ---- */

void transport_server_session_added(void *state, uint32_t session)
{
    transport_session_added(state, session);
}

/* New sockets are refused from here on (its `ending` is set); SESSION_END of the socket server closes what there is. */
void transport_server_session_ended(void *state, uint32_t session)
{
    struct transport *t = state;
    if (session >= SESSIONS_MAX)
        return;
    t->session[session].ended = true;
    if (t->session[session].end_early)
        transport_session_end(t, t->now_us, session);
}

void transport_server_session_removed(void *state, uint32_t session)
{
    struct transport *t = state;
    transport_session_removed(t, t->now_us, session);
}

bool transport_context_ok(const struct server_context *context, size_t octets)
{
    return context->store != NULL && context->store_octets >= octets && context->pool != NULL &&
           context->port[SERVER_IP] != NULL && context->port[SERVER_SOCKET] != NULL;
}
