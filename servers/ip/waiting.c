// SPDX-License-Identifier: BSD-2-Clause
/* Segments that tcp cannot take at once: it holds its share of nic's buffers, its ring is full, or its next incarnation
 * is not there yet. A thousand peers that write at once are no reason to have each of them wait for a retransmission
 * timeout. The segments wait here, on nic's account, in order; nic stops reading its device once its pool is out, so
 * that the next of the burst wait in the device's queue. What else nic says (loans that come home) is read meanwhile:
 * tcp may wait for just that.
 *
 * All this while others' frames wait too, in that queue. So there is patience for it: time in which something waits
 * uses it up, and time brings a part of it back, but only to a tcp that gives loans back. A tcp that hangs costs the
 * others IP_PATIENCE_US once; one that is flooded for long, a part of their time; beyond that, its segments are dropped
 * and counted. Nothing waits for udp: who sends datagrams counts on losses, and should not slow down tcp's. */
#include "servers/ip/ip.h"

static bool has_room(struct ip *ip, enum server_id to, const struct ip_loan *loan)
{
    return port_space(ip->context.port[to]) >= IP_SPACE &&
           (loan->origin == IP_ORIGIN_SLOT || ip->held[to] < IP_LOANS_MAX);
}

/* There is room. Notes who has it now; false: it holds its share of reassembled datagrams. */
static bool push(struct ip *ip, enum server_id to, const struct ip_loan *loan, const struct message *up)
{
    if (loan->origin == IP_ORIGIN_SLOT) {
        if (!ip_slot_lend(ip, loan->cookie, to))
            return false;
    } else {
        ip->holder[loan->cookie] = (uint8_t)to;
        ip->held[to]++;
        if (to == SERVER_TCP)
            ip_lent(ip, loan, up);
    }
    (void)port_push(ip->context.port[to], up);
    if (to == SERVER_TCP)
        ip->counters.delivered_tcp++;
    else
        ip->counters.delivered_udp++;
    return true;
}

static bool wait(struct ip *ip, uint64_t now_us, const struct ip_loan *loan, const struct message *up)
{
    struct ip_waiting *w = &ip->waiting;
    if (w->patience_us < (w->count == 0 ? IP_RETRY_US : 1) || w->count == IP_WAITING_MAX)
        return false; /* what begins to wait does so until the next look */
    if (w->count == 0)
        w->looked_us = now_us;
    uint32_t at = (w->first + w->count++) % IP_WAITING_MAX;
    w->loan[at] = *loan;
    w->message[at] = *up;
    ip->counters.waited++;
    ip->retry_us = now_us + IP_RETRY_US;
    return true;
}

bool ip_hand_up(struct ip *ip, uint64_t now_us, enum server_id to, const struct ip_loan *loan, const struct message *up)
{
    bool can_wait = to == SERVER_TCP && loan->origin == SERVER_NIC;
    if (!(can_wait && ip->waiting.count > 0) && has_room(ip, to, loan))
        return push(ip, to, loan, up);
    if (can_wait && wait(ip, now_us, loan, up))
        return true;
    ip->counters.drop_no_transport++;
    return false;
}

/* Of a clock that was not looked at for long, because we did not run, only a little counts. */
static void use_patience(struct ip_waiting *w, uint64_t now_us)
{
    uint64_t used_us = now_us - w->looked_us;
    if (used_us > IP_PATIENCE_LOOK_US)
        used_us = IP_PATIENCE_LOOK_US;
    w->patience_us -= used_us < w->patience_us ? (uint32_t)used_us : w->patience_us;
    w->looked_us = now_us;
}

void ip_patience_earned(struct ip *ip, uint64_t now_us)
{
    struct ip_waiting *w = &ip->waiting;
    uint64_t earned_us = (now_us - w->earned_us) / IP_PATIENCE_PART;
    if (earned_us == 0)
        return;
    w->patience_us =
        earned_us < IP_PATIENCE_US - w->patience_us ? w->patience_us + (uint32_t)earned_us : IP_PATIENCE_US;
    w->earned_us = now_us;
}

static void first_gone(struct ip_waiting *w)
{
    w->first = (w->first + 1) % IP_WAITING_MAX;
    w->count--;
}

bool ip_waiting_poll(struct ip *ip, uint64_t now_us)
{
    struct ip_waiting *w = &ip->waiting;
    uint32_t before = w->count;
    if (before == 0)
        return false;
    use_patience(w, now_us);
    while (w->count > 0 && has_room(ip, SERVER_TCP, &w->loan[w->first])) {
        (void)push(ip, SERVER_TCP, &w->loan[w->first], &w->message[w->first]);
        first_gone(w);
    }
    while (w->count > 0 && w->patience_us == 0) {
        ip_loan_done(ip, &w->loan[w->first]);
        ip->counters.drop_no_transport++;
        first_gone(w);
    }
    if (w->count > 0)
        ip->retry_us = now_us + IP_RETRY_US;
    return w->count != before;
}

/* A tcp in another domain takes all of its ring before it lets go of that nic's buffers, of which it can have its fill
 * now; one in ours lets go with us. */
void ip_waiting_forget(struct ip *ip)
{
    struct ip_waiting *w = &ip->waiting;
    struct port *tcp = ip->context.port[SERVER_TCP];
    for (; w->count > 0 && tcp->bell != NULL && port_space(tcp) >= IP_SPACE; first_gone(w))
        (void)push(ip, SERVER_TCP, &w->loan[w->first], &w->message[w->first]);
    ip->counters.drop_no_transport += w->count;
    ip->waiting.first = ip->waiting.count = 0;
}
