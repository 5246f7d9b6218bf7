// SPDX-License-Identifier: BSD-2-Clause
/* Round-trip time and retransmission timeout (RFC 6298): one segment at a time is timed, never one that was
 * retransmitted (Karn). */
#include "protocols/tcp/tcp_internal.h"

static uint32_t rto_from_estimate(const struct tcp *t, const struct tcp_conn *c)
{
    uint64_t rto = (uint64_t)c->srtt_us + 4 * (uint64_t)c->rttvar_us; /* 2.2, 2.3 */
    if (rto < t->config.rto_min_us) /* Deviates: 2.4 says SHOULD be 1 s; 200 ms as Linux */
        return t->config.rto_min_us;
    return rto > t->config.rto_max_us ? t->config.rto_max_us : (uint32_t)rto;
}

void rtt_start(struct tcp_conn *c, uint64_t now_us, uint32_t end)
{
    if (c->rtt_start_us != 0)
        return;
    c->rtt_start_us = now_us > 0 ? now_us : 1; /* 0: nothing is timed */
    c->rtt_seq = end;
}

/* snd_una has moved. */
void rtt_acked(const struct tcp *t, struct tcp_conn *c, uint64_t now_us)
{
    if (c->rtt_start_us == 0 || seq_before(c->snd_una, c->rtt_seq)) {
        /* Deviates: RFC 6298 5.7 keeps the backed-off value until the next sample; as Linux and BSD it
         * goes back to the estimate, if there is one, when new data is acknowledged. */
        if (c->retransmits > 0 && c->srtt_us > 0)
            c->rto_us = rto_from_estimate(t, c);
        return;
    }
    uint64_t gone = now_us > c->rtt_start_us ? now_us - c->rtt_start_us : 1;
    uint32_t r = gone > t->config.rto_max_us ? t->config.rto_max_us : (uint32_t)gone;
    c->rtt_start_us = 0;
    if (c->srtt_us == 0) {
        c->srtt_us = r;
        c->rttvar_us = r / 2;
    } else {
        uint32_t difference = c->srtt_us > r ? c->srtt_us - r : r - c->srtt_us;
        c->rttvar_us = c->rttvar_us - c->rttvar_us / 4 + difference / 4;
        c->srtt_us = u32_max(1, c->srtt_us - c->srtt_us / 8 + r / 8);
    }
    c->rto_us = rto_from_estimate(t, c);
}

/* RFC 6298 5.5: "back off the timer". */
void rtt_backed_off(const struct tcp *t, struct tcp_conn *c)
{
    c->rtt_start_us = 0;
    c->rto_us = c->rto_us > t->config.rto_max_us / 2 ? t->config.rto_max_us : c->rto_us * 2;
}
