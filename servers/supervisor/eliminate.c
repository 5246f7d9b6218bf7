// SPDX-License-Identifier: BSD-2-Clause
/* The probe is an end-to-end failure monitor as Candea et al. have them (Microreboot, OSDI 2004): it sees that users
 * are not served, not whose fault that is. So the likeliest has a new life first; if that was in vain the next
 * likeliest, and so on; then nobody for a while, since the reason is none that a new life mends, or the prober's own. A
 * life costs its domain no state, so a wrong guess costs milliseconds. Series of guesses are ever rarer until all was
 * well for long: a prober that lies costs a few lives. */
#include "servers/supervisor/eliminate.h"

#define CANDIDATES_MOST 3

/* Who is blamed first, second, third. */
static const uint32_t candidate[SYMPTOMS][CANDIDATES_MOST] = {
    [SYMPTOM_REQUEST] = {SERVER_BIT(SERVER_SOCKET)},
    [SYMPTOM_TCP] = {SERVER_BIT(SERVER_TCP), SERVER_BIT(SERVER_SOCKET), SERVER_BIT(SERVER_IP)},
    [SYMPTOM_UDP] = {SERVER_BIT(SERVER_UDP), SERVER_BIT(SERVER_SOCKET), SERVER_BIT(SERVER_IP)},
    [SYMPTOM_BOTH] = {SERVER_BIT(SERVER_IP), SERVER_BIT(SERVER_SOCKET),
                      SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP)},
};

bool eliminate_report_ok(const struct probe_report *r)
{
    return r->magic == PROBE_MAGIC && r->request < PROBE_OUTCOMES && r->tcp < PROBE_OUTCOMES &&
           r->udp < PROBE_OUTCOMES && r->stage < PROBE_STAGES && r->handed < PROBE_END_BIT(PROBE_ENDS);
}

enum symptom eliminate_symptom(const struct probe_report *r)
{
    if (r->request == PROBE_FAILED)
        return SYMPTOM_REQUEST;
    if (r->tcp == PROBE_FAILED)
        return r->udp == PROBE_FAILED ? SYMPTOM_BOTH : SYMPTOM_TCP;
    if (r->udp == PROBE_FAILED)
        return SYMPTOM_UDP;
    return r->tcp == PROBE_SERVED && r->udp == PROBE_SERVED ? SYMPTOM_NONE : SYMPTOM_UNKNOWN;
}

static void series_ends(struct elimination *e, uint64_t now)
{
    uint64_t pause = e->pause_us == 0 ? ELIMINATE_PAUSE_US : 2 * e->pause_us;
    e->pause_us = pause < ELIMINATE_MOST_US ? pause : ELIMINATE_MOST_US;
    e->quiet_until_us = now + e->pause_us;
    e->tried = 0;
    e->failures = 0;
}

static void well(struct elimination *e, uint64_t now)
{
    e->failures = 0;
    if (e->tried != 0)
        series_ends(e, now);
    if (now > e->quiet_until_us && now - e->quiet_until_us >= ELIMINATE_CALM_US)
        e->pause_us = 0;
}

/* All servers that have a new life when those in `servers` have. */
static uint32_t with_neighbours(uint32_t servers, const uint32_t together[SERVER_COUNT])
{
    uint32_t all = servers;
    for (uint32_t left = servers; left != 0; left &= left - 1)
        all |= together[__builtin_ctz(left)];
    return all;
}

static uint32_t tcp_hint(const struct probe_evidence *e)
{
    if ((e->stage == PROBE_STAGE_CALL || e->stage == PROBE_STAGE_ACCEPT) && e->told)
        return SERVER_BIT(SERVER_SOCKET);
    return e->stage == PROBE_STAGE_OCTETS ? SERVER_BIT(SERVER_TCP) : 0;
}

uint32_t eliminate_hint(enum symptom symptom, const struct probe_evidence *e)
{
    uint32_t still = e->seen & ~e->moved;
    bool tcp_kept = (e->moved & FLOW_BIT(FLOW_TCP_IP)) != 0 && (still & FLOW_BIT(FLOW_IP_TCP)) != 0;
    bool udp_kept = (e->moved & FLOW_BIT(FLOW_UDP_IP)) != 0 && (still & FLOW_BIT(FLOW_IP_UDP)) != 0;
    if (e->misled && (symptom == SYMPTOM_TCP || symptom == SYMPTOM_BOTH))
        return SERVER_BIT(SERVER_SOCKET);
    switch (symptom) {
    case SYMPTOM_REQUEST:
        return SERVER_BIT(SERVER_SOCKET);
    case SYMPTOM_TCP:
        if ((still & FLOW_BIT(FLOW_SOCKET_TCP)) != 0)
            return SERVER_BIT(SERVER_SOCKET);
        return tcp_kept || e->kept || e->undelivered ? SERVER_BIT(SERVER_IP) : tcp_hint(e);
    case SYMPTOM_UDP:
        if ((still & FLOW_BIT(FLOW_UDP_IP)) != 0 && !e->kept)
            return SERVER_BIT(SERVER_UDP);
        return udp_kept || e->kept || e->undelivered ? SERVER_BIT(SERVER_IP) : 0;
    case SYMPTOM_BOTH:
        return tcp_kept || udp_kept || e->kept || e->undelivered ? SERVER_BIT(SERVER_IP) : 0;
    default:
        return 0;
    }
}

static uint32_t blame(struct elimination *e, uint32_t servers, const uint32_t together[SERVER_COUNT])
{
    e->tried |= with_neighbours(servers, together);
    e->failures = 0;
    return servers;
}

uint32_t eliminate(struct elimination *e, enum symptom symptom, uint32_t hint, const uint32_t together[SERVER_COUNT],
                   uint64_t now, bool *ret_exhausted)
{
    *ret_exhausted = false;
    if (symptom == SYMPTOM_NONE)
        well(e, now);
    if (symptom == SYMPTOM_NONE || symptom == SYMPTOM_UNKNOWN)
        return 0;
    if (symptom != e->symptom || e->failures == 0)
        *e = (struct elimination){symptom, 0, now, e->tried, e->quiet_until_us, e->pause_us};
    e->failures++;
    if (e->failures < ELIMINATE_FAILURES || now < e->quiet_until_us)
        return 0;
    if ((hint & ~e->tried) != 0)
        return blame(e, hint & ~e->tried, together);
    if (e->tried == 0 && now - e->since_us < ELIMINATE_GUESS_US)
        return 0;
    for (uint32_t i = 0; i < CANDIDATES_MOST; i++)
        if ((candidate[symptom][i] & ~e->tried) != 0)
            return blame(e, candidate[symptom][i] & ~e->tried, together);
    series_ends(e, now);
    *ret_exhausted = true;
    return 0;
}
