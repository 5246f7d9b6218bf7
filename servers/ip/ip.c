// SPDX-License-Identifier: BSD-2-Clause
/* The ip server. Theory of operation.
 *
 * Between nic and the transports: Ethernet, ARP, NDP, IPv4, IPv6, ICMP (the engines under protocols/), routing,
 * fragments. Payload stays where it lies; each hop is one message.
 *
 *   nic --RECEIVE--> headers copied, checked --RECEIVE--> tcp, udp              the loan comes back tcp -> ip -> nic
 *                      --(fragment)--> copied to the reassembly area            nic's loan goes home at once
 *                                      whole --RECEIVE--> tcp, udp              the loan is ours: tcp -> ip
 *   tcp, udp --SEND--> header copied, checked against the right
 *                      --(to ourselves)--> in a buffer of ours --RECEIVE--> tcp, udp
 *                      behind our headers in buffers of ours --(ARP, NDP)--> SEND --> nic
 *                                                                               the loan comes back nic -> ip -> tcp
 *
 * Accounts: holder[] says for each of nic's buffers who has it (nobody, we, a transport), slot_holder[] the same for
 * each reassembly buffer, the pool itself for each of our buffers; only the holder can give it back. out[] says for
 * each of our buffers what goes home to whom when it comes home; the fragments of one packet share that in a group,
 * which counts them. An echo reply names nic's own buffer, or a reassembly buffer, as payload, which therefore goes
 * home after it. What goes home waits in owed[] for room in the ring, so that nothing is ever lost for want of room.
 *
 * Backpressure: a SEND for which nic's ring or our buffers for the wire have no room now is kept, and its transport not
 * read, until there is: there will be, since nic returns what it was sent, and what waits for a neighbour waits for
 * seconds at most. A packet in many fragments waits for all its buffers at once; others leave what a kept one needs to
 * it, and who is read first changes with every burst, so that no transport takes every buffer that comes home. Echo
 * replies, which strangers ask for, have a limit of their own. Buffers of local delivery are a share apart, so they
 * neither wait nor are waited for (but for a kept packet before them); what is sent here and does not fit is dropped,
 * because the reader of that ring is its writer. nic is always read; what udp has no room for is dropped and
 * counted, what tcp has no room for waits a little (waiting.c).
 *
 * Restarts: nothing is kept; neighbours are learned again, addresses are not probed again. When nic dies, its buffers'
 * accounts are void; returns of old buffers may still lie in the transports' rings, so what the next nic sends is
 * dropped until each of these rings has been seen empty once, or a ring full was read (`barrier`): an old return can
 * never free a new buffer. What transports send to the wire meanwhile waits in their rings for IP_NIC_PATIENCE_US, and
 * what they send here behind it. When a transport dies, what it held (nic's buffers, reassembled datagrams, our
 * buffers) goes home after the barrier, but for segments, which its next incarnation gets (again.c), and what it had
 * sent goes out without anybody to return to.
 *
 * Limits: IP_* in ip.h, REASSEMBLY_* and PMTU_* in the engines. Left out: multicast beyond what NDP needs, redirects,
 * router discovery. Read RFC 1122 3 and RFC 8200 first. */
#include "servers/ip/ip.h"

#include <errno.h>

#include "protocols/base/siphash.h"
#include "protocols/icmp/icmp6_wire.h"
#include "protocols/icmp/icmp_wire.h"

static const enum server_id transports[] = {SERVER_TCP, SERVER_UDP};
#define TRANSPORTS (sizeof transports / sizeof transports[0])

static size_t ip_state_size(const struct stack_config *config)
{
    (void)config;
    return (sizeof(struct ip) + 63) & ~(size_t)63;
}

/* ---- start ---- */

static bool own_add(struct ip_own_address *own, uint32_t *count, const struct stack_config *config, uint32_t at,
                    bool tentative)
{
    const struct ip_address *a = &config->address[at];
    if (*count == IP_OWN_MAX || config->prefix_length[at] > route_prefix_most(a->family))
        return false;
    own[(*count)++] =
        (struct ip_own_address){.address = *a, .prefix_length = config->prefix_length[at], .tentative = tentative};
    return true;
}

static bool take_addresses(struct ip *ip)
{
    const struct stack_config *config = ip->context.config;
    bool tentative = config->dad == STACK_DAD_ON && ip->context.incarnation <= 1, ok = config->address_count > 0;
    for (uint32_t i = 0; ok && i < config->address_count; i++) {
        if (config->address[i].family == ADDRESS_IP4)
            ok = own_add(ip->ip4_config.own, &ip->ip4_config.own_count, config, i, tentative);
        else
            ok = own_add(ip->ip6_config.own, &ip->ip6_config.own_count, config, i, tentative);
    }
    return ok;
}

static bool route_take(struct ip *ip, const struct ip_address *prefix, uint8_t length, const struct ip_address *gateway)
{
    struct route route = {.prefix = *prefix, .prefix_length = length, .gateway = *gateway};
    enum route_result result = route_add(&ip->routes, &route);
    return result == ROUTE_OK || result == ROUTE_EXISTS; /* two addresses on one link */
}

static bool take_routes(struct ip *ip)
{
    static const struct ip_address none = {.family = ADDRESS_NONE};
    const struct stack_config *config = ip->context.config;
    bool ok = true;
    route_table_init(&ip->routes);
    for (uint32_t i = 0; ok && i < config->address_count; i++) {
        struct ip_address link = route_prefix(&config->address[i], config->prefix_length[i]);
        ok = route_take(ip, &link, config->prefix_length[i], &none);
    }
    for (uint32_t i = 0; ok && i < config->route_count; i++)
        ok = route_take(ip, &config->route[i].prefix, config->route[i].prefix_length, &config->route[i].gateway);
    for (uint32_t i = 0; ok && i < sizeof config->gateway / sizeof config->gateway[0]; i++) {
        struct ip_address all = {.family = config->gateway[i].family};
        if (all.family != ADDRESS_NONE)
            ok = route_take(ip, &all, 0, &config->gateway[i]);
    }
    return ok;
}
_Static_assert(ROUTES_MAX >= STACK_ADDRESSES_MAX + STACK_ROUTES_MAX + 2, "all that can be configured");

static int init_engines(struct ip *ip, uint64_t now_us)
{
    const struct stack_config *config = ip->context.config;
    struct icmp_config icmp = {.ip4 = &ip->ip4_config};
    struct icmp6_config icmp6 = {.ip6 = &ip->ip6_config};
    struct pmtu_config pmtu = {.link_mtu = config->mtu};
    memcpy(pmtu.key, config->secret, sizeof pmtu.key);
    if (config->mtu < PMTU_IP4_MIN || !take_addresses(ip) || !take_routes(ip))
        return -EINVAL;
    icmp_init(&ip->icmp, &icmp, now_us);
    icmp6_init(&ip->icmp6, &icmp6, now_us);
    pmtu_init(&ip->pmtu, &pmtu);
    reassembly_init(&ip->reassembly, pool_buffer(ip->pool, IP_BUFFERS));
    ip_neighbours_init(ip, now_us);
    return 0;
}

static int ip_init(void *state, const struct server_context *context, uint64_t now_us)
{
    struct ip *ip = state;
    if (context->pool == NULL || context->pool->count != IP_BUFFERS ||
        context->pool->buffer_octets != IP_BUFFER_OCTETS || context->port[SERVER_NIC] == NULL)
        return -EINVAL;
    ip->context = *context;
    ip->nic = context->port[SERVER_NIC];
    ip->pool = context->pool;
    ip->retry_us = UINT64_MAX;
    ip->nic_lost_us = now_us;
    ip->waiting.earned_us = now_us;
    ip->waiting.patience_us = IP_PATIENCE_US;
    memset(ip->holder, IP_HOLDER_NONE, sizeof ip->holder);
    memset(ip->slot_holder, IP_HOLDER_NONE, sizeof ip->slot_holder);
    for (unsigned i = 0; i < IP_BUFFERS; i++)
        ip->out[i] = (struct ip_loan){.origin = SERVER_IP};
    /* another start in each life: an earlier one's fragments may still be on their way */
    for (uint64_t i = 0; i < IP_FRAGMENT_COUNTS; i++) {
        uint64_t start[2] = {now_us, i};
        ip->fragment_count[i] = (uint32_t)siphash(context->config->secret, start, sizeof start);
    }
    ip_counters_place(context->counter);
    ip->moved = true;
    return init_engines(ip, now_us);
}

/* ---- addresses ---- */

static enum ip_class classify4(const struct ip *ip, const struct ip_address *address)
{
    for (uint32_t i = 0; i < ip->ip4_config.own_count; i++)
        if (ip_address_equal(&ip->ip4_config.own[i].address, address))
            return ip->ip4_config.own[i].tentative ? IP_CLASS_TENTATIVE : IP_CLASS_OURS;
    switch (ip4_classify(&ip->ip4_config, address)) {
    case IP4_CLASS_UNICAST:
        return IP_CLASS_UNICAST;
    case IP4_CLASS_LOOPBACK:
        return IP_CLASS_LOOPBACK;
    case IP4_CLASS_BROADCAST:
        return IP_CLASS_BROADCAST;
    default:
        return IP_CLASS_OTHER;
    }
}

static enum ip_class classify6(const struct ip *ip, const struct ip_address *address)
{
    switch (ip6_classify(&ip->ip6_config, address)) {
    case IP6_CLASS_UNICAST:
        return IP_CLASS_UNICAST;
    case IP6_CLASS_OURS:
        return IP_CLASS_OURS;
    case IP6_CLASS_TENTATIVE:
        return IP_CLASS_TENTATIVE;
    case IP6_CLASS_LOOPBACK:
        return IP_CLASS_LOOPBACK;
    default:
        return IP_CLASS_OTHER;
    }
}

enum ip_class ip_classify(const struct ip *ip, const struct ip_address *address)
{
    if (address->family == ADDRESS_IP4)
        return classify4(ip, address);
    return address->family == ADDRESS_IP6 ? classify6(ip, address) : IP_CLASS_OTHER;
}

/* ---- telling transports ---- */

struct port *ip_transport_port(struct ip *ip, uint8_t protocol, enum server_id *ret)
{
    if (protocol != IP_PROTOCOL_TCP && protocol != IP_PROTOCOL_UDP)
        return NULL;
    *ret = protocol == IP_PROTOCOL_TCP ? SERVER_TCP : SERVER_UDP;
    return ip->context.port[*ret];
}

void ip_tell(struct ip *ip, const struct message *m, uint32_t sequence, uint8_t type, uint8_t code, uint32_t mtu)
{
    enum server_id to;
    struct port *port = ip_transport_port(ip, m->protocol, &to);
    struct message up = {
        .operation = MESSAGE_UNREACHABLE,
        .capability = CAPABILITY_INDEX_PEER,
        .generation = 1,
        .cookie = sequence,
        .source = m->source,
        .destination = m->destination,
        .source_port = m->source_port,
        .destination_port = m->destination_port,
        .protocol = m->protocol,
        .ttl = code,
        .traffic_class = type,
        .gso_size = (uint16_t)(mtu < UINT16_MAX ? mtu : UINT16_MAX),
    };
    if (port == NULL || port_space(port) < IP_SPACE || !port_push(port, &up))
        ip->counters.drop_no_transport++;
}

void ip_tell_reason(struct ip *ip, const struct message *m, uint32_t sequence, enum ip_reason reason, uint32_t mtu)
{
    static const uint8_t errors[][2][2] = {
        /* IPv4, IPv6: type, code */
        [IP_REASON_ROUTE] = {{ICMP_TYPE_UNREACHABLE, ICMP_CODE_NET_UNREACHABLE},
                             {ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_NO_ROUTE}},
        [IP_REASON_HOST] = {{ICMP_TYPE_UNREACHABLE, ICMP_CODE_HOST_UNREACHABLE},
                            {ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_ADDRESS_UNREACHABLE}},
        [IP_REASON_PORT] = {{ICMP_TYPE_UNREACHABLE, ICMP_CODE_PORT_UNREACHABLE},
                            {ICMP6_TYPE_UNREACHABLE, ICMP6_CODE_PORT_UNREACHABLE}},
        [IP_REASON_TOO_BIG] = {{ICMP_TYPE_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED}, {ICMP6_TYPE_PACKET_TOO_BIG, 0}},
    };
    const uint8_t *e = errors[reason][m->source.family == ADDRESS_IP6];
    ip_tell(ip, m, sequence, e[0], e[1], mtu);
}

/* ---- burst ---- */

static bool take_from_nic(struct ip *ip, uint64_t now_us)
{
    struct message m;
    bool moved = false;
    for (unsigned i = 0; i < SERVER_BURST && port_pull(ip->nic, &m); i++) {
        moved = true;
        if (m.operation == MESSAGE_RECEIVE) {
            ip_receive(ip, now_us, &m);
        } else if (m.operation == MESSAGE_RETURN) {
            ip_returned_by_nic(ip, &m);
        } else {
            ip->counters.drop_operation++;
            port_foreign(ip->nic);
        }
    }
    return moved;
}

/* True: nothing is kept any more. */
static bool kept_send(struct ip *ip, uint64_t now_us, enum server_id from)
{
    struct ip_kept *kept = &ip->kept[from];
    if (!kept->present)
        return true;
    struct message m = kept->message;
    kept->present = false;
    return ip_send(ip, now_us, from, &m);
}

static void take_message(struct ip *ip, uint64_t now_us, enum server_id from, const struct message *m)
{
    if (m->operation == MESSAGE_SEND) {
        (void)ip_send(ip, now_us, from, m); /* what is kept is seen by the caller */
    } else if (m->operation == MESSAGE_RETURN) {
        ip_returned_by_transport(ip, now_us, from, m);
    } else if (m->operation == MESSAGE_UNREACHABLE) {
        ip_send_unreachable(ip, now_us, from, m);
    } else {
        ip->counters.drop_operation++;
        port_foreign(ip->context.port[from]);
    }
}

/* Once there is a new nic, everyone has let go of the old one's buffers: what says so is in the ring already. */
static void barrier_step(struct ip *ip, enum server_id from, bool pulled)
{
    if (!ip->nic->attached || (ip->barrier & 1U << from) == 0)
        return;
    if (!pulled || --ip->barrier_left[from] == 0)
        ip->barrier &= (uint8_t) ~(1U << from);
}

static bool take_from_transport(struct ip *ip, uint64_t now_us, enum server_id from)
{
    struct port *port = ip->context.port[from];
    struct message m;
    bool moved = false;
    if (port == NULL)
        return false;
    if (ip->kept[from].present)
        moved = kept_send(ip, now_us, from);
    for (unsigned i = 0; i < SERVER_BURST; i++) {
        if (ip->kept[from].present || ip->owed[from].count == IP_COOKIES) {
            ip->retry_us = now_us + IP_RETRY_US;
            return moved;
        }
        bool pulled = port_pull(port, &m);
        barrier_step(ip, from, pulled);
        if (!pulled)
            return moved;
        moved = true;
        take_message(ip, now_us, from, &m);
    }
    return moved;
}

static bool ip_burst(void *state, uint64_t now_us)
{
    struct ip *ip = state;
    ip->retry_us = UINT64_MAX;
    bool moved = false;
    if (!ip->nic->attached && ip->nic_lost_us == UINT64_MAX)
        ip->nic_lost_us = now_us;
    for (unsigned i = 0; i < TRANSPORTS; i++)
        moved |= take_from_transport(ip, now_us, transports[(ip->turn + i) % TRANSPORTS]);
    ip->turn++;
    server_works_alone(&ip->context);
    moved |= ip_waiting_poll(ip, now_us);
    moved |= take_from_nic(ip, now_us);
    server_works_alone(&ip->context);
    moved |= ip_fragments_poll(ip, now_us);
    moved |= ip_neighbours_poll(ip, now_us);
    for (unsigned i = 0; i < SERVER_COUNT; i++)
        if (!ip_owed_flush(ip, (enum server_id)i))
            ip->retry_us = now_us + IP_RETRY_US;
    ip->moved |= moved;
    return moved;
}

static uint64_t ip_deadline_us(const void *state)
{
    const struct ip *ip = state;
    uint64_t deadline_us = ip->retry_us, reassembly_us = reassembly_deadline_us(&ip->reassembly);
    uint64_t neighbours_us = ip_neighbours_deadline_us(ip);
    if (neighbours_us < deadline_us)
        deadline_us = neighbours_us;
    return reassembly_us < deadline_us ? reassembly_us : deadline_us;
}

/* ---- restarts of others ---- */

static void ip_peer_lost(void *state, enum server_id peer)
{
    struct ip *ip = state;
    if (peer == SERVER_NIC)
        ip_nic_lost(ip);
    else if (peer == SERVER_TCP || peer == SERVER_UDP)
        ip_transport_lost(ip, peer);
    ip->moved = true;
}

static void ip_peer_attached(void *state, enum server_id peer, uint64_t now_us)
{
    struct ip *ip = state;
    (void)now_us;
    if (peer == SERVER_NIC) {
        ip_nic_attached(ip);
        ip_neighbours_announce(ip);
    } else if (peer == SERVER_TCP || peer == SERVER_UDP) {
        ip_transport_attached(ip, peer);
    }
    ip->moved = true;
}

const struct server server_ip = {
    .name = "ip",
    .pool_buffers = IP_BUFFERS,
    .pool_buffer_octets = IP_BUFFER_OCTETS,
    .pool_extra_octets = REASSEMBLY_DATAGRAMS * REASSEMBLY_BUFFER_OCTETS + IP_QUOTES * IP_QUOTE_OCTETS,
    .state_size = ip_state_size,
    .init = ip_init,
    .burst = ip_burst,
    .publish = ip_publish,
    .deadline_us = ip_deadline_us,
    .peer_lost = ip_peer_lost,
    .peer_attached = ip_peer_attached,
};
