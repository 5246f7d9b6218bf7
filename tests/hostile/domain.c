// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-domain with one server that turns against the others: see hostile.h. The test puts it in the place of the
 * real one. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "servers/domain/domain.h"
#include "servers/topology/topology.h"
#include "tests/hostile/hostile.h"

#define QUIET_US   20000  /* a life as any other, before the attack */
#define WAIT_US    400000 /* after_revocation: for the death of a neighbour */
#define LINGER_US  30000  /* for the neighbours to read the lies */
#define EXIT_DONE  42

static const struct server *const real[SERVER_COUNT] = {
    [SERVER_NIC] = &server_nic, [SERVER_IP] = &server_ip,         [SERVER_TCP] = &server_tcp,
    [SERVER_UDP] = &server_udp, [SERVER_SOCKET] = &server_socket,
};
static struct server_context context;
static struct port_operations spy;
static uint64_t started_us, attacked_us;
static bool announced, lost, done;

static const struct attack *attack_of(uint32_t life)
{
    uint32_t i = life - 1;
    if (i < calls_count)
        return &calls[i];
    i -= calls_count;
    if (i < memory_count)
        return &memory[i];
    i -= memory_count;
    return i < messages_count ? &messages[i] : NULL;
}

static bool spy_pull(struct port *port, struct message *ret)
{
    if (!port_ring_operations.pull(port, ret))
        return false;
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (context.port[i] == port && (ret->operation == MESSAGE_RECEIVE || ret->operation == MESSAGE_SEND) &&
            ret->reference[0].length > 0)
            hostile_seen[i] = *ret;
    return true;
}

static int hostile_init(void *state, const struct server_context *given, uint64_t now_us)
{
    context = *given;
    started_us = now_us;
    spy = port_ring_operations;
    spy.pull = spy_pull;
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (context.port[i] != NULL)
            context.port[i]->operations = &spy;
    srand(given->incarnation);
    return real[HOSTILE_SERVER]->init(state, given, now_us);
}

static void tell(const char *name, const char *what)
{
    char line[128];
    snprintf(line, sizeof line, "%s %s", name, what);
    context.notice(context.domain, context.id, line);
}

static void attack(uint64_t now_us)
{
    const struct attack *a = attack_of(context.incarnation);
    if (a == NULL || now_us < started_us + QUIET_US)
        return;
    if (!announced) {
        tell("attack", a->name);
        announced = true;
    }
    if (a->make == messages[messages_count - 2].make && !lost && now_us < started_us + WAIT_US)
        return;
    const char *result = a->make(&context);
    tell(a->name, result);
    done = true;
    attacked_us = now_us;
}

static bool hostile_burst(void *state, uint64_t now_us)
{
    bool did = real[HOSTILE_SERVER]->burst(state, now_us);
    if (!done)
        attack(now_us);
    else if (now_us > attacked_us + LINGER_US)
        _exit(EXIT_DONE);
    return did || now_us < started_us + 5000;
}

static uint64_t hostile_deadline_us(const void *state)
{
    uint64_t real_us = real[HOSTILE_SERVER]->deadline_us != NULL ? real[HOSTILE_SERVER]->deadline_us(state) : UINT64_MAX;
    if (attack_of(context.incarnation) == NULL)
        return real_us;
    uint64_t own_us = done ? attacked_us + LINGER_US + 1 : started_us + QUIET_US + (announced ? WAIT_US : 0);
    return real_us < own_us ? real_us : own_us;
}

static void hostile_peer_lost(void *state, enum server_id peer)
{
    lost = true;
    real[HOSTILE_SERVER]->peer_lost(state, peer);
}

int main(void)
{
    const struct server *table[SERVER_COUNT];
    static struct server hostile;
    hostile = *real[HOSTILE_SERVER];
    hostile.init = hostile_init;
    hostile.burst = hostile_burst;
    hostile.deadline_us = hostile_deadline_us;
    hostile.peer_lost = hostile_peer_lost;
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        table[i] = i == HOSTILE_SERVER ? &hostile : real[i];
    _exit(domain_main(DOMAIN_CONTROL_FD, table));
}
