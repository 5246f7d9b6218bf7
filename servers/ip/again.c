// SPDX-License-Identifier: BSD-2-Clause
/* Segments that a tcp had when it died are offered to the next one, in their order: else each peer that has no more
 * than that in flight waits for its retransmission timeout, 200 ms and more, after a restart of two.
 *
 * What was on loan is what counts: of some of it the dead one may have committed what it did and died before the loan
 * was out; that comes a second time then, which is what TCP is made for. Not so UDP, of which a datagram lost is worth
 * more than one that comes twice: its loans go home. So do those of what was sent here, whose payload lies where
 * the dead one lent it (tcp speaks again on all its connections), and reassembled segments, which hardly exist.
 *
 * A packet of death is among them. It is offered so often that tcp sees it once more when it knows it for poison (two
 * deaths, servers/tcp/poison.c), and resets its connection; a whole train of them brings no more deaths in a row than
 * that, and so no cold start (UNHEALTHY_COLD, servers/supervisor). */
#include "servers/ip/ip.h"

void ip_lent(struct ip *ip, const struct ip_loan *loan, const struct message *up)
{
    struct ip_lent *lent = &ip->lent[loan->cookie];
    lent->message = *up;
    lent->turn = ip->lent_turn++;
    lent->offered = 0;
}

static bool before(const struct ip *ip, uint32_t one, uint32_t other)
{
    return (int32_t)(ip->lent[one].turn - ip->lent[other].turn) < 0;
}

/* Those that `transport` holds, oldest first: few, and nearly in order as buffers are reused last first. */
static uint32_t on_loan(const struct ip *ip, enum server_id transport, uint32_t *ret_cookie)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < IP_COOKIES; i++) {
        if (ip->holder[i] != transport)
            continue;
        uint32_t at = count++;
        for (; at > 0 && before(ip, i, ret_cookie[at - 1]); at--)
            ret_cookie[at] = ret_cookie[at - 1];
        ret_cookie[at] = i;
    }
    return count;
}

void ip_offer_again(struct ip *ip, enum server_id transport)
{
    uint32_t cookie[IP_COOKIES], count = on_loan(ip, transport, cookie);
    ip->held[transport] = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct ip_lent *lent = &ip->lent[cookie[i]];
        bool offer = transport == SERVER_TCP && lent->offered < IP_OFFERS_MAX &&
                     port_space(ip->context.port[transport]) >= IP_SPACE &&
                     port_push(ip->context.port[transport], &lent->message);
        ip->held[transport] += offer;
        ip->counters.offered_again += offer;
        ip->counters.reclaimed += !offer;
        lent->offered++;
        if (!offer)
            ip_frame_done(ip, cookie[i]);
    }
}
