// SPDX-License-Identifier: BSD-2-Clause
/* Counters explain everything: what a server took is what it passed on and what it dropped, by reason. One equation a
 * row, for each stack, at the end of a run without deaths (a death takes with it what was under way, and its counters
 * begin anew). Names are those of `bulkhead stat`; "@..." was counted here, outside of the servers. A name that ends in
 * "*" is the sum of all that begin so. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

#define TERMS 12U

struct sum {
    enum server_id server;
    const char *name[TERMS];
};

static const struct equation {
    const char *what;
    struct sum left, right, also; /* also: part of the right side */
} equation[] = {
    {"frames that nic took from the device",
     {SERVER_NIC, {"@taken"}},
     {SERVER_NIC, {"frames_in", "coalesced_in", "drop_in_short", "drop_in_no_loan", "drop_in_offload"}}},
    {"frames that nic gave to the device", {SERVER_NIC, {"@given"}}, {SERVER_NIC, {"frames_out"}}},
    {"frames from nic to ip", {SERVER_NIC, {"frames_in"}}, {SERVER_IP, {"received"}}},
    {"frames that ip received",
     {SERVER_IP, {"received"}},
     {SERVER_IP, {"ether_frames_in", "drop_barrier", "drop_reference"}}},
    {"packets that ip found in frames",
     /* these two are found out only after the packet was counted as one */
     {SERVER_IP, {"ether_frames_in", "ip4_drop_protocol", "ip6_drop_protocol"}},
     {SERVER_IP,
      {"ether_drop_*", "drop_ether_type", "arp_requests_in", "arp_replies_in", "arp_drop_*", "ip4_packets_in",
       "ip6_packets_in", "ip4_drop_*", "ip6_drop_*"}}},
    {"what ip handed up, from frames or from here",
     {SERVER_IP, {"delivered_tcp", "delivered_udp", "delivered_here"}},
     {SERVER_TCP, {"received", "drop_checksum", "drop_length", "drop_protocol", "drop_not_local"}},
     {SERVER_UDP, {"received", "drop_checksum", "drop_length", "drop_protocol", "drop_not_local"}}},
    {"segments that tcp received", {SERVER_TCP, {"received"}}, {SERVER_TCP, {"tcp_segments_in", "drop_no_slot"}}},
    {"segments that tcp made", {SERVER_TCP, {"tcp_segments_out"}}, {SERVER_TCP, {"sent"}}},
    {"loans of tcp to ip", {SERVER_TCP, {"loans_out"}}, {SERVER_TCP, {"loans_home"}}},
    {"loans of udp to ip", {SERVER_UDP, {"loans_out"}}, {SERVER_UDP, {"loans_home"}}},
};

static uint64_t counter(const struct sim *sim, uint32_t stack, enum server_id id, const char *name)
{
    const struct status_counter *at = sim->stack[stack].memory[id].domain->counter[id];
    size_t length = strlen(name);
    bool all = name[length - 1] == '*';
    uint64_t sum = 0;
    if (name[0] == '@')
        return strcmp(name, "@taken") == 0 ? sim->account[stack].taken : sim->account[stack].given;
    for (uint32_t i = 0; i < STATUS_COUNTERS && at[i].name[0] != '\0'; i++)
        if (all ? strncmp(at[i].name, name, length - 1) == 0 : strcmp(at[i].name, name) == 0)
            sum += at[i].value;
    return sum;
}

static uint64_t sum_of(const struct sim *sim, uint32_t stack, const struct sum *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < TERMS && s->name[i] != NULL; i++)
        sum += counter(sim, stack, s->server, s->name[i]);
    return sum;
}

void sim_account_check(const struct sim *sim)
{
    /* wide runs have no fragments (a datagram that was put together is counted as a packet once more) */
    if (!sim->scenario->wide || sim->deaths + sim->hangs + sim->forced > 0)
        return;
    for (uint32_t k = 0; k < SIM_STACKS; k++) {
        for (uint32_t i = 0; i < sizeof equation / sizeof *equation; i++) {
            const struct equation *e = &equation[i];
            uint64_t left = sum_of(sim, k, &e->left), right = sum_of(sim, k, &e->right) + sum_of(sim, k, &e->also);
            if (left != right)
                sim_fail(sim, "%c: %s: %lu of %s, and %lu are accounted for", 'A' + k, e->what, left, e->left.name[0],
                         right);
        }
    }
}
