// SPDX-License-Identifier: BSD-2-Clause
/* Segments that a tcp had when it died are offered to the next one, in their order (servers/lent.h): else each peer
 * that has no more than that in flight waits for its retransmission timeout, 200 ms and more, after a restart of two.
 * What was sent here goes home: its payload lies where the dead one lent it, and tcp speaks again on all its
 * connections. So do reassembled segments, which hardly exist. */
#include "servers/ip/ip.h"

void ip_lent(struct ip *ip, const struct ip_loan *loan, const struct message *up)
{
    lent_note(&ip->lent[loan->cookie], &ip->lent_turn, up);
}

static bool offer(struct ip *ip, enum server_id transport, struct lent *lent)
{
    struct port *port = ip->context.port[transport];
    return transport == SERVER_TCP && lent->offered++ < LENT_OFFERS_MAX && port_space(port) >= IP_SPACE &&
           port_push(port, &lent->message);
}

void ip_offer_again(struct ip *ip, enum server_id transport)
{
    uint32_t order[IP_COOKIES], count = 0;
    for (uint32_t i = 0; i < IP_COOKIES; i++)
        if (ip->holder[i] == transport)
            lent_order(ip->lent, order, count++, i);
    ip->held[transport] = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool taken = offer(ip, transport, &ip->lent[order[i]]);
        ip->held[transport] += taken;
        ip->counters.offered_again += taken;
        ip->counters.reclaimed += !taken;
        if (!taken)
            ip_frame_done(ip, order[i]);
    }
}
