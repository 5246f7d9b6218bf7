// SPDX-License-Identifier: BSD-2-Clause
/* The claim to an own address: what ARP and neighbour discovery do alike when somebody contests it. */
#include "protocols/base/own.h"

void own_claim_enter(struct own_claim *c, enum own_state state)
{
    c->state = (uint8_t)state;
    c->event = true;
}

bool own_claim_event(struct own_claim *c, struct own_event *ret)
{
    if (!c->event)
        return false;
    *ret = (struct own_event){.address = c->address, .state = c->state, .conflict = c->conflict, .station = c->station};
    c->event = c->conflict = false;
    return true;
}

enum own_contest own_claim_contest(struct own_claim *c, uint64_t now_us, uint64_t defend_us,
                                   const struct mac_address *station)
{
    bool probing = c->state == OWN_TENTATIVE || c->state == OWN_OPTIMISTIC;
    bool defends = c->state == OWN_PREFERRED && (c->defended_us == 0 || now_us - c->defended_us >= defend_us);
    if (!probing && !defends)
        return OWN_CONTEST_AGAIN;
    c->station = *station;
    c->conflict = c->event = true;
    if (probing) {
        c->state = OWN_DUPLICATE;
        return OWN_CONTEST_LOST;
    }
    c->defended_us = now_us != 0 ? now_us : 1;
    return OWN_CONTEST_DEFEND;
}
