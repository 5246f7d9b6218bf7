// SPDX-License-Identifier: BSD-2-Clause
/* What lies between the two stacks besides netdrv/impair.h: a channel that loses frames in bursts (Gilbert, "Capacity
 * of a burst-noise channel", 1960), blackouts, a router that marks frames instead of dropping them (RFC 3168 5), and
 * one whose next link takes less, from some time on: it drops what is too long and says so (RFC 1191 4, RFC 8201 3).
 * Only TCP goes over that link; datagrams have a path of their own. */
#include <stdlib.h>
#include <string.h>

#include "protocols/base/checksum.h"
#include "tests/sim/sim.h"

#define LINK_HEADER  14U
#define IP4_HEADER   20U
#define IP6_HEADER   40U
#define ICMP_HEADER  8U
#define QUOTED_IP4   28U /* header and 8 octets (RFC 792) */
#define QUOTED_IP6   256U
#define PROTOCOL_TCP 6U
#define TYPE_IP4     0x0800U
#define TYPE_IP6     0x86ddU
#define ALL          1000000U
#define BURST_US     500000U /* or it would outlive whoever backs off */

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t word16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Once in every `blackout_every_us`, not at a time of its own: timers that have backed off to two minutes would meet
 * each of them, or none. */
static bool in_blackout(const struct sim *sim, const struct sim_path *path)
{
    if (path->blackout_us == 0)
        return false;
    uint64_t turn = sim->now_us / path->blackout_every_us, random = sim->scenario->seed ^ turn << 32;
    uint64_t from_us = sim_random(&random) % (path->blackout_every_us - path->blackout_us);
    uint64_t at_us = sim->now_us % path->blackout_every_us;
    return at_us >= from_us && at_us - from_us < path->blackout_us;
}

bool sim_path_loses(struct sim *sim, uint32_t stack)
{
    const struct sim_path *path = &sim->scenario->path[stack];
    struct sim_path_state *state = &sim->path[stack];
    if (path->burst_begin != 0) {
        uint32_t chance = sim_below(&sim->path_random, ALL);
        bool over = chance < path->burst_end || sim->now_us >= state->burst_until_us;
        if (state->in_burst ? over : chance < path->burst_begin) {
            state->in_burst = !state->in_burst;
            state->burst_until_us = sim->now_us + BURST_US;
        }
        if (state->in_burst) {
            sim->lost_in_bursts++;
            return true;
        }
    }
    if (in_blackout(sim, path)) {
        sim->lost_in_blackouts++;
        return true;
    }
    return false;
}

/* RFC 3168 5: ECT becomes CE. RFC 1624: the header's checksum follows. */
void sim_path_mark(struct sim *sim, uint32_t stack, uint8_t *frame, uint32_t octets)
{
    uint32_t chance = sim->scenario->path[stack].mark;
    uint8_t *ip = frame + LINK_HEADER;
    if (chance == 0 || octets < LINK_HEADER + IP4_HEADER || sim_below(&sim->path_random, ALL) >= chance)
        return;
    if (word16(frame + 12) == TYPE_IP4 && (ip[1] & 3) != 0) {
        uint32_t head = (ip[0] & 0x0f) * 4U;
        ip[1] |= 3;
        put16(ip + 10, 0);
        be16 sum = checksum_finish(checksum_add(0, ip, head));
        memcpy(ip + 10, &sum, sizeof sum);
        sim->marked++;
    } else if (word16(frame + 12) == TYPE_IP6 && (ip[1] & 0x30) != 0) {
        ip[1] |= 0x30;
        sim->marked++;
    }
}

/* ---- too big ---- */
static uint32_t link_header(const uint8_t *frame, uint8_t *answer, uint32_t type)
{
    static const uint8_t router[6] = {2, 0, 0, 0, 0, 0xfe};
    memcpy(answer, frame + 6, 6);
    memcpy(answer + 6, router, sizeof router);
    put16(answer + 12, type);
    return LINK_HEADER;
}

static uint32_t too_big4(const uint8_t *frame, uint32_t mtu, uint8_t *answer)
{
    uint8_t *ip = answer + link_header(frame, answer, TYPE_IP4), *icmp = ip + IP4_HEADER;
    const uint8_t *quoted = frame + LINK_HEADER;
    uint32_t octets = IP4_HEADER + ICMP_HEADER + QUOTED_IP4;
    memset(ip, 0, octets);
    ip[0] = 0x45;
    put16(ip + 2, octets);
    ip[8] = 60;
    ip[9] = 1;
    memcpy(ip + 12, quoted + 16, 4); /* the router speaks as whom it was sent to: it need have no address of its own */
    memcpy(ip + 16, quoted + 12, 4);
    be16 sum = checksum_finish(checksum_add(0, ip, IP4_HEADER));
    memcpy(ip + 10, &sum, sizeof sum);
    icmp[0] = 3;
    icmp[1] = 4;
    put16(icmp + 6, mtu);
    memcpy(icmp + ICMP_HEADER, quoted, QUOTED_IP4);
    sum = checksum_finish(checksum_add(0, icmp, ICMP_HEADER + QUOTED_IP4));
    memcpy(icmp + 2, &sum, sizeof sum);
    return LINK_HEADER + octets;
}

static uint32_t too_big6(const uint8_t *frame, uint32_t mtu, uint8_t *answer)
{
    uint8_t *ip = answer + link_header(frame, answer, TYPE_IP6), *icmp = ip + IP6_HEADER;
    const uint8_t *quoted = frame + LINK_HEADER;
    struct ip_address from = {.family = ADDRESS_IP6}, to = {.family = ADDRESS_IP6};
    memset(ip, 0, IP6_HEADER + ICMP_HEADER);
    ip[0] = 0x60;
    put16(ip + 4, ICMP_HEADER + QUOTED_IP6);
    ip[6] = 58;
    ip[7] = 60;
    memcpy(from.octets, quoted + 24, 16);
    memcpy(to.octets, quoted + 8, 16);
    memcpy(ip + 8, from.octets, 16);
    memcpy(ip + 24, to.octets, 16);
    icmp[0] = 2;
    put16(icmp + 6, mtu);
    memcpy(icmp + ICMP_HEADER, quoted, QUOTED_IP6);
    uint64_t sum = checksum_pseudo_header(&from, &to, 58, ICMP_HEADER + QUOTED_IP6);
    be16 result = checksum_finish(checksum_add(sum, icmp, ICMP_HEADER + QUOTED_IP6));
    memcpy(icmp + 2, &result, sizeof result);
    return LINK_HEADER + IP6_HEADER + ICMP_HEADER + QUOTED_IP6;
}

/* Octets of the packet as it is on the wire: a super-frame's segments are judged, not the whole. 0: not TCP. */
static uint32_t packet_octets(const uint8_t *frame, uint32_t octets, uint32_t gso_size)
{
    const uint8_t *ip = frame + LINK_HEADER;
    uint32_t type = octets >= LINK_HEADER + IP6_HEADER ? word16(frame + 12) : 0;
    uint32_t head = type == TYPE_IP4 && ip[9] == PROTOCOL_TCP   ? (ip[0] & 0x0f) * 4U
                    : type == TYPE_IP6 && ip[6] == PROTOCOL_TCP ? IP6_HEADER
                                                                : 0;
    if (head == 0)
        return 0;
    return gso_size == 0 ? octets - LINK_HEADER : head + (ip[head + 12] >> 4) * 4U + gso_size;
}

uint32_t sim_path_too_big(struct sim *sim, uint32_t stack, const uint8_t *frame, uint32_t octets, uint32_t gso_size,
                          uint8_t answer[SIM_TOO_BIG])
{
    const struct sim_path *path = &sim->scenario->path[stack];
    if (path->mtu == 0 || sim->now_us < path->mtu_at_us || packet_octets(frame, octets, gso_size) <= path->mtu)
        return 0;
    sim->too_big++;
    return word16(frame + 12) == TYPE_IP4 ? too_big4(frame, path->mtu, answer) : too_big6(frame, path->mtu, answer);
}
