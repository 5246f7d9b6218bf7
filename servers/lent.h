// SPDX-License-Identifier: BSD-2-Clause
/* What a lender remembers of a buffer on loan, to offer it to the borrower's next incarnation if that one dies with it:
 * nic's frames with ip, and the segments in them with tcp. Only TCP comes again: of some of what is on loan the dead
 * one may have done all that it does, and died before the loan was out. A segment that comes twice is what TCP is made
 * for; of datagrams one that is lost is worth more than one that comes twice.
 *
 * A packet of death is among them. It is offered so often that the borrower sees it once more when it knows it for
 * poison (two deaths, servers/work.h); a whole train of them brings no more deaths in a row than that, and so no cold
 * start (UNHEALTHY_COLD, servers/supervisor). */
#ifndef BULKHEAD_SERVERS_LENT_H
#define BULKHEAD_SERVERS_LENT_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/message.h"

#define LENT_OFFERS_MAX 2U

struct lent {
    uint32_t turn;
    uint32_t offered; /* again */
    struct message message;
};

static inline void lent_note(struct lent *lent, uint32_t *turn, const struct message *m)
{
    lent->message = *m;
    lent->turn = (*turn)++;
    lent->offered = 0;
}

/* Buffer `index` joins the `count` of `order`, oldest loan first. Few, and nearly in order: buffers are used last
 * first. */
static inline void lent_order(const struct lent *lent, uint32_t *order, uint32_t count, uint32_t index)
{
    uint32_t at = count;
    for (; at > 0 && (int32_t)(lent[index].turn - lent[order[at - 1]].turn) < 0; at--)
        order[at] = order[at - 1];
    order[at] = index;
}

#endif
