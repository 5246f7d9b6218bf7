// SPDX-License-Identifier: BSD-2-Clause
/* A law: at so many looks in a row there was some of `of`, and at none of them, nor between them, any of `to`; the last
 * is this one, and the first at least that long ago. What stopped for STALE_US tells nothing any more. The first server
 * of the law has a new life; if that was in vain the second one; then nobody for a while, ever longer, since the reason
 * may be one that is not known here. A life costs its domain no state, so a wrong guess costs milliseconds. */
#include "servers/supervisor/conservation.h"

#include <stdbool.h>

#define LEAST    4 /* looks: fewer may be an accident */
#define STALE_US 3000000

#define ASKED (POINT(POINT_ASKED_TCP) | POINT(POINT_ASKED_UDP))
#define TOLD  POINT(POINT_TOLD)
static const struct law {
    uint32_t of, to;
    uint32_t least_us;
    uint32_t servers;
    enum server_id server[2];
    const char *why;
} laws[] = {
    {ASKED, POINT(POINT_SAID_SENT) | TOLD, 2500000, 1, {SERVER_IP}, "sends nothing of what it is asked for"},
    /* longer than a neighbour is asked for (RFC 4861 10: three times, a second each), after which ip says so */
    {ASKED, POINT(POINT_SAID_PACKET) | TOLD, 4500000, 1, {SERVER_IP}, "sends nothing of what it is asked for"},
    {POINT(POINT_MISASKED_TCP), POINT(POINT_SAYS_TCP), 1000000, 1, {SERVER_TCP}, "asks only for what cannot be sent"},
    {POINT(POINT_MISASKED_UDP), POINT(POINT_SAYS_UDP), 1000000, 1, {SERVER_UDP}, "asks only for what cannot be sent"},
    {POINT(POINT_MISSENT), POINT(POINT_SENT), 600000, 1, {SERVER_IP}, "sends only what is no frame"},
    {POINT(POINT_UNWRITTEN), POINT(POINT_WRITTEN), 1000000, 1, {SERVER_NIC}, "does not write what it is sent"},
    {POINT(POINT_KEPT), POINT(POINT_READ), 1000000, 1, {SERVER_NIC}, "does not hand up what it reads"},
    {POINT(POINT_MISUP), POINT(POINT_UP), 1000000, 1, {SERVER_NIC}, "hands up only what is no frame"},
    {POINT(POINT_DAMAGED), POINT(POINT_WHOLE), 1000000, 1, {SERVER_NIC}, "hands up only what fails its checksum"},
    {POINT(POINT_MISQUOTED), POINT(POINT_QUOTED), 1000000, 1, {SERVER_IP}, "says of checksums what nic did not"},
    {POINT(POINT_DUE_TCP), POINT(POINT_HANDED_TCP), 1000000, 2, {SERVER_IP, SERVER_NIC}, "tcp gets nothing that comes"},
    {POINT(POINT_DUE_UDP), POINT(POINT_HANDED_UDP), 1000000, 2, {SERVER_IP, SERVER_NIC}, "udp gets nothing that comes"},
};
_Static_assert(sizeof laws / sizeof laws[0] == CONSERVATION_LAWS, "one count each");

void conservation_forget(struct conservation *c)
{
    for (unsigned i = 0; i < CONSERVATION_LAWS; i++)
        c->law[i].count = 0;
}

static uint32_t sum(uint32_t points, const uint32_t count[POINTS])
{
    uint32_t all = 0;
    for (; points != 0; points &= points - 1)
        all += count[__builtin_ctz(points)];
    return all;
}

/* True: the law is broken. */
static bool weigh(struct conservation *c, unsigned i, uint32_t known, const uint32_t count[POINTS], uint64_t now)
{
    const struct law *law = &laws[i];
    bool lost = sum(law->of & known, count) > 0;
    bool holds = (law->of & known) == 0 || (law->to & ~known) != 0 || sum(law->to, count) > 0;
    if (holds || (c->law[i].count > 0 && now - c->law[i].last_us >= STALE_US))
        c->law[i].count = 0;
    if (holds || !lost)
        return false;
    if (c->law[i].count++ == 0)
        c->law[i].since_us = now;
    c->law[i].last_us = now;
    return c->law[i].count >= LEAST && now - c->law[i].since_us >= law->least_us;
}

static void rest(struct conservation *c, uint64_t now)
{
    uint64_t us = c->pause_us == 0 ? CONSERVATION_PAUSE_US : 2 * c->pause_us;
    c->pause_us = us < CONSERVATION_MOST_US ? us : CONSERVATION_MOST_US;
    c->quiet_until_us = now + c->pause_us;
    for (unsigned i = 0; i < CONSERVATION_LAWS; i++)
        c->law[i].turn = 0;
}

static enum server_id blame(struct conservation *c, unsigned i, uint64_t now, const char **ret_why)
{
    enum server_id id = laws[i].server[c->law[i].turn];
    *ret_why = laws[i].why;
    conservation_forget(c);
    c->quiet_until_us = now + CONSERVATION_NEXT_US;
    if (++c->law[i].turn == laws[i].servers)
        rest(c, now);
    return id;
}

enum server_id conservation_look(struct conservation *c, uint32_t known, const uint32_t count[POINTS], uint64_t now,
                                 const char **ret_why)
{
    if (now >= c->quiet_until_us && now - c->quiet_until_us >= CONSERVATION_CALM_US) {
        c->pause_us = 0;
        for (unsigned i = 0; i < CONSERVATION_LAWS; i++)
            c->law[i].turn = 0;
    }
    for (unsigned i = 0; i < CONSERVATION_LAWS; i++)
        if (weigh(c, i, known, count, now) && now >= c->quiet_until_us)
            return blame(c, i, now, ret_why);
    return SERVER_COUNT;
}
