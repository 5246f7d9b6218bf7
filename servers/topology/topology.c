// SPDX-License-Identifier: BSD-2-Clause
#include "servers/topology/topology.h"

#include "capabilities/table.h"

#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17

static const char *const names[SERVER_COUNT] = {
    [SERVER_NIC] = "nic", [SERVER_IP] = "ip", [SERVER_TCP] = "tcp", [SERVER_UDP] = "udp", [SERVER_SOCKET] = "socket",
};

const struct topology_channel topology_channel[TOPOLOGY_CHANNELS] = {
    {{SERVER_NIC, SERVER_IP}},     {{SERVER_IP, SERVER_TCP}},     {{SERVER_IP, SERVER_UDP}},
    {{SERVER_TCP, SERVER_SOCKET}}, {{SERVER_UDP, SERVER_SOCKET}},
};

const struct topology_right topology_right[TOPOLOGY_RIGHTS] = {
    {SERVER_NIC, SERVER_IP, CAPABILITY_LINK, CAPABILITY_SEND, 0},
    {SERVER_IP, SERVER_NIC, CAPABILITY_LINK, CAPABILITY_RECEIVE, 0},
    {SERVER_IP, SERVER_TCP, CAPABILITY_TRANSPORT, CAPABILITY_SEND, PROTOCOL_TCP},
    {SERVER_TCP, SERVER_IP, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE, PROTOCOL_TCP},
    {SERVER_IP, SERVER_UDP, CAPABILITY_TRANSPORT, CAPABILITY_SEND, PROTOCOL_UDP},
    {SERVER_UDP, SERVER_IP, CAPABILITY_TRANSPORT, CAPABILITY_RECEIVE, PROTOCOL_UDP},
    {SERVER_TCP, SERVER_SOCKET, CAPABILITY_SOCKET, CAPABILITY_REQUEST, PROTOCOL_TCP},
    {SERVER_SOCKET, SERVER_TCP, CAPABILITY_SOCKET, CAPABILITY_NOTIFY, PROTOCOL_TCP},
    {SERVER_UDP, SERVER_SOCKET, CAPABILITY_SOCKET, CAPABILITY_REQUEST, PROTOCOL_UDP},
    {SERVER_SOCKET, SERVER_UDP, CAPABILITY_SOCKET, CAPABILITY_NOTIFY, PROTOCOL_UDP},
};

const struct topology_pool topology_pool[TOPOLOGY_POOLS] = {
    {SERVER_NIC, SERVER_IP, SERVER_NIC}, /* received frames */
    {SERVER_NIC, SERVER_TCP, SERVER_IP}, /* ... handed up */
    {SERVER_NIC, SERVER_UDP, SERVER_IP},
    {SERVER_NIC, SERVER_IP, SERVER_UDP}, /* ... quoted when udp asks for a port unreachable */
    {SERVER_NIC, SERVER_NIC, SERVER_IP}, /* ... echoed */
    {SERVER_IP, SERVER_NIC, SERVER_IP},  /* finished headers; reassembled and sent on (echo) */
    {SERVER_IP, SERVER_TCP, SERVER_IP},  /* delivered here, reassembled */
    {SERVER_IP, SERVER_UDP, SERVER_IP},
    {SERVER_IP, SERVER_IP, SERVER_UDP},  /* ... quoted when udp asks for a port unreachable */
    {SERVER_TCP, SERVER_IP, SERVER_TCP}, /* transport headers */
    {SERVER_UDP, SERVER_IP, SERVER_UDP},
};

const struct topology_arena topology_arena[TOPOLOGY_ARENAS] = {
    {SESSION_TCP, SERVER_IP, SERVER_TCP, false},
    {SESSION_TCP, SERVER_NIC, SERVER_IP, true},
    {SESSION_TCP, SERVER_TCP, SERVER_IP, true}, /* delivered here: payload stays where the sender wrote it */
    {SESSION_UDP, SERVER_IP, SERVER_UDP, false},
    {SESSION_UDP, SERVER_NIC, SERVER_IP, true},
    {SESSION_UDP, SERVER_UDP, SERVER_IP, true},
};

const char *topology_server_name(enum server_id id)
{
    return (unsigned)id < SERVER_COUNT ? names[id] : "?";
}

bool topology_server_find(const char *name, size_t length, enum server_id *ret)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if (strlen(names[id]) == length && memcmp(names[id], name, length) == 0) {
            *ret = (enum server_id)id;
            return true;
        }
    }
    return false;
}

bool topology_channel_find(const char *name, uint32_t *ret)
{
    for (uint32_t i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const char *lower = names[topology_channel[i].end[0]], *upper = names[topology_channel[i].end[1]];
        size_t length = strlen(lower);
        if (strncmp(name, lower, length) == 0 && name[length] == '-' && strcmp(name + length + 1, upper) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

enum server_id topology_transport(enum session_transport transport)
{
    return transport == SESSION_TCP ? SERVER_TCP : SERVER_UDP;
}

uint32_t topology_neighbours(enum server_id server)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        for (unsigned side = 0; side < 2; side++) {
            if (topology_channel[i].end[side] == server)
                mask |= SERVER_BIT(topology_channel[i].end[1 - side]);
        }
    }
    return mask;
}

void topology_distances(uint32_t from, uint32_t ret_distance[SERVER_COUNT])
{
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        ret_distance[id] = (from & SERVER_BIT(id)) != 0 ? 0 : UINT32_MAX;
    for (unsigned round = 0; round < SERVER_COUNT; round++) {
        for (unsigned id = 0; id < SERVER_COUNT; id++) {
            uint32_t neighbours = topology_neighbours((enum server_id)id);
            for (unsigned n = 0; n < SERVER_COUNT; n++) {
                if ((neighbours & SERVER_BIT(n)) != 0 && ret_distance[n] != UINT32_MAX &&
                    ret_distance[n] + 1 < ret_distance[id])
                    ret_distance[id] = ret_distance[n] + 1;
            }
        }
    }
}

bool topology_maps_pool(enum server_id server, enum server_id owner)
{
    if (server == owner)
        return true;
    for (unsigned i = 0; i < TOPOLOGY_POOLS; i++) {
        if (topology_pool[i].server == server && topology_pool[i].owner == owner)
            return true;
    }
    return false;
}

uint32_t topology_concerns(enum server_id server)
{
    uint32_t mask = topology_neighbours(server);
    for (unsigned i = 0; i < TOPOLOGY_POOLS; i++) {
        mask |= topology_pool[i].server == server ? SERVER_BIT(topology_pool[i].owner) : 0;
        mask |= topology_pool[i].owner == server ? SERVER_BIT(topology_pool[i].server) : 0;
    }
    for (unsigned i = 0; i < TOPOLOGY_ARENAS; i++) {
        enum server_id lender = topology_transport(topology_arena[i].transport);
        mask |= topology_arena[i].server == server ? SERVER_BIT(lender) : 0;
        mask |= lender == server ? SERVER_BIT(topology_arena[i].server) : 0;
    }
    return mask & ~SERVER_BIT(server);
}
