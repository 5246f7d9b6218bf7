// SPDX-License-Identifier: BSD-2-Clause
/* The device of both nics and the link between them. What one sends is finished (checksums that nic left to the
 * device), looked at (a frame that is no good is a fault of the stack that sent it), and arrives at the other when
 * netdrv/impair.h says, perhaps twice, later than the next, with a bit turned, or never. The device outlives nic: what
 * has arrived waits. */
#include <stdlib.h>
#include <string.h>

#include "netdrv/driver.h"
#include "protocols/base/checksum.h"
#include "tests/sim/sim.h"

#define LINK_HEADER       14U
#define TYPE_IP4          0x0800U
#define TYPE_IP6          0x86ddU
#define PROTOCOL_TCP      6U
#define PROTOCOL_UDP      17U
#define PROTOCOL_ICMP6    58U
#define PROTOCOL_HOP      0U
#define PROTOCOL_ROUTING  43U
#define PROTOCOL_FRAGMENT 44U
#define PROTOCOL_OPTIONS  60U
#define IP6_HEADER        40U
#define MTU               SIM_MTU
#define DEVICE_QUEUE      512U /* frames under way to one side; more are lost */

struct frame {
    uint32_t octets;
    struct netdrv_offload offload;
    uint8_t bytes[];
};

struct sim_link {
    struct sim *sim;
    struct impair impair[SIM_STACKS]; /* by who receives */
    struct impair_entry under_way[SIM_STACKS][IMPAIR_QUEUE_MAX];
    struct frame *frame[SIM_STACKS][IMPAIR_QUEUE_MAX];
};

static struct sim_link *the_link; /* a driver has nothing but a device number */

struct sim_link *sim_link_new(struct sim *sim, const struct sim_scenario *scenario)
{
    struct sim_link *link = calloc(1, sizeof *link);
    link->sim = sim;
    sim->path_random = sim->random ^ 0x70617468U;
    for (uint32_t i = 0; i < SIM_STACKS; i++) {
        struct impair_config config = scenario->wide ? scenario->path[i].quality : scenario->quality;
        if (config.queue == 0)
            config.queue = DEVICE_QUEUE;
        config.seed = sim->random ^ (0x6c696e6bU + i);
        impair_init(&link->impair[i], &config, link->under_way[i], IMPAIR_QUEUE_MAX);
    }
    the_link = link;
    return link;
}

void sim_link_free(struct sim_link *link)
{
    for (uint32_t i = 0; i < SIM_STACKS; i++)
        for (uint32_t handle = 0; handle < IMPAIR_QUEUE_MAX; handle++)
            free(link->frame[i][handle]);
    free(link);
}

uint64_t sim_link_deadline(const struct sim_link *link, uint32_t stack)
{
    return impair_deadline_us(&link->impair[stack]);
}

/* ---- what a frame must be ---- */
static uint32_t word16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static bool transport_good(const uint8_t *at, uint32_t octets, uint32_t protocol, const struct ip_address *source,
                           const struct ip_address *destination)
{
    if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && protocol != PROTOCOL_ICMP6)
        return true;
    if (octets < (protocol == PROTOCOL_TCP ? 20U : 8U))
        return false;
    if (protocol == PROTOCOL_UDP && word16(at + 6) == 0)
        return source->family == ADDRESS_IP4; /* RFC 8200 8.1: never over IPv6 */
    uint64_t sum = checksum_pseudo_header(source, destination, (uint8_t)protocol, octets);
    be16 result = checksum_finish(checksum_add(sum, at, octets));
    return be16_get(result) == 0;
}

static const char *fragment_fault(uint32_t more, uint32_t offset, uint32_t octets)
{
    if (octets == 0 || offset + octets > 65535)
        return "an empty fragment, or one behind the end of any packet";
    return more != 0 && octets % 8 != 0 ? "a fragment before the last that is no multiple of 8 octets" : NULL;
}

static const char *ip4_fault(const struct frame *f)
{
    const uint8_t *ip = f->bytes + LINK_HEADER;
    uint32_t octets = f->octets - LINK_HEADER;
    if (octets < 20 || (ip[0] & 0x0f) * 4U < 20 || (ip[0] & 0x0f) * 4U > octets || word16(ip + 2) > octets)
        return "an IPv4 header or length that cannot be";
    uint32_t head = (ip[0] & 0x0f) * 4U, total = word16(ip + 2);
    if (be16_get(checksum_finish(checksum_add(0, ip, head))) != 0)
        return "a wrong IPv4 header checksum";
    if (f->offload.gso_type != MESSAGE_GSO_NONE)
        return NULL; /* its checksum is the receiver's */
    if (total > MTU)
        return "more octets than the link takes";
    if ((word16(ip + 6) & 0x3fff) != 0)
        return fragment_fault(word16(ip + 6) & 0x2000, 8 * (word16(ip + 6) & 0x1fff), total - head);
    struct ip_address source = ip_address_from_ip4(ip + 12), destination = ip_address_from_ip4(ip + 16);
    return transport_good(ip + head, total - head, ip[9], &source, &destination) ? NULL : "a wrong transport checksum";
}

static struct ip_address ip6_address(const uint8_t *octets)
{
    struct ip_address address = {.family = ADDRESS_IP6};
    memcpy(address.octets, octets, sizeof address.octets);
    return address;
}

static const char *ip6_fault(const struct frame *f)
{
    const uint8_t *ip = f->bytes + LINK_HEADER;
    uint32_t octets = f->octets - LINK_HEADER, at = IP6_HEADER, next = octets >= IP6_HEADER ? ip[6] : 0;
    if (octets < IP6_HEADER || ip[0] >> 4 != 6 ||
        (f->offload.gso_type == MESSAGE_GSO_NONE && word16(ip + 4) + at > octets))
        return "an IPv6 header or length that cannot be";
    if (ip[8] == 0xff)
        return "a group as its source";
    if (f->offload.gso_type != MESSAGE_GSO_NONE)
        return NULL;
    octets = at + word16(ip + 4);
    if (octets > MTU)
        return "more octets than the link takes";
    while (next == PROTOCOL_HOP || next == PROTOCOL_ROUTING || next == PROTOCOL_OPTIONS) {
        if (at + 8 > octets || at + 8 * (1U + ip[at + 1]) > octets)
            return "an extension header that ends behind the packet";
        next = ip[at];
        at += 8 * (1U + ip[at + 1]);
    }
    if (next == PROTOCOL_FRAGMENT)
        return at + 8 > octets ? "a fragment header that ends behind the packet"
                               : fragment_fault(ip[at + 3] & 1U, word16(ip + at + 2) & 0xfff8, octets - at - 8);
    struct ip_address source = ip6_address(ip + 8), destination = ip6_address(ip + 24);
    return transport_good(ip + at, octets - at, next, &source, &destination) ? NULL : "a wrong transport checksum";
}

static void finish_checksum(struct frame *f)
{
    const struct netdrv_offload *o = &f->offload;
    be16 sum = checksum_finish(checksum_add(0, f->bytes + o->checksum_start, f->octets - o->checksum_start));
    if (be16_get(sum) == 0)
        sum = be16_make(0xffff); /* as Linux does: to UDP 0 is none, to all else it is the same */
    memcpy(f->bytes + o->checksum_start + o->checksum_offset, &sum, sizeof sum);
    f->offload.checksum_state = MESSAGE_CHECKSUM_NONE;
    f->offload.checksum_start = f->offload.checksum_offset = 0;
}

/* ---- the way across ---- */
static struct frame *copy_of(const struct frame *f)
{
    struct frame *copy = malloc(sizeof *copy + f->octets);
    memcpy(copy, f, sizeof *copy + f->octets);
    return copy;
}

/* Whether a checksum covers this frame: else nobody could tell that a bit of it was turned. */
static bool covered(const struct frame *f)
{
    const uint8_t *ip = f->bytes + LINK_HEADER;
    uint32_t type = word16(f->bytes + 12);
    if (f->offload.checksum_state != MESSAGE_CHECKSUM_NONE || f->offload.gso_type != MESSAGE_GSO_NONE)
        return false;
    if (type == TYPE_IP4)
        return f->octets > LINK_HEADER + 28 &&
               (ip[9] == PROTOCOL_TCP || (word16(ip + 6) & 0x1fff) != 0 || word16(ip + 26) != 0);
    return type == TYPE_IP6;
}

static void arrive(struct sim_link *link, uint32_t stack, struct frame *f)
{
    struct impair_fate fate;
    impair_frame(&link->impair[stack], link->sim->now_us, f->octets, LINK_HEADER, &fate);
    if (fate.corrupt_bit != IMPAIR_NO_BIT && covered(f))
        f->bytes[fate.corrupt_bit / 8] |=
            (uint8_t)(1U << fate.corrupt_bit % 8); /* two of a datagram never cancel out */
    for (uint32_t i = 0; i < fate.copies; i++)
        link->frame[stack][fate.handle[i]] = copy_of(f);
    free(f);
}

static struct frame *frame_of(const uint8_t *bytes, uint32_t octets)
{
    struct frame *f = calloc(1, sizeof *f + octets);
    f->octets = octets;
    memcpy(f->bytes, bytes, octets);
    return f;
}

void sim_link_say(struct sim_link *link, uint32_t stack, const uint8_t *bytes, uint32_t octets)
{
    arrive(link, stack, frame_of(bytes, octets));
}

static void cross(struct sim_link *link, uint32_t stack, struct frame *f)
{
    if (sim_peer_frame(link->sim, 1U - stack, f->bytes, f->octets)) {
        free(f);
        return;
    }
    uint8_t answer[SIM_TOO_BIG];
    uint32_t octets = sim_path_too_big(link->sim, stack, f->bytes, f->octets, f->offload.gso_size, answer);
    if (octets > 0)
        arrive(link, 1U - stack, frame_of(answer, octets));
    if (octets > 0 || sim_path_loses(link->sim, stack)) {
        free(f);
        return;
    }
    sim_path_mark(link->sim, stack, f->bytes, f->octets);
    arrive(link, stack, f);
}

/* ---- the driver ---- */
static int device_receive(struct netdrv *driver, uint8_t *buffer, uint32_t *ret_octets,
                          struct netdrv_offload *ret_offload)
{
    struct sim_link *link = the_link;
    uint32_t handle;
    if (impair_deadline_us(&link->impair[driver->device]) > link->sim->now_us)
        return NETDRV_NOTHING;
    sim_point(link->sim->running);
    if (!impair_due(&link->impair[driver->device], link->sim->now_us, &handle))
        return NETDRV_NOTHING;
    struct frame *f = link->frame[driver->device][handle];
    link->frame[driver->device][handle] = NULL;
    link->sim->account[driver->device].taken++;
    memcpy(buffer, f->bytes, f->octets);
    *ret_octets = f->octets;
    *ret_offload = f->offload;
    free(f);
    sim_point(link->sim->running);
    return NETDRV_OK;
}

static int device_send(struct netdrv *driver, const struct netdrv_offload *offload, const struct iovec *part,
                       unsigned count)
{
    struct sim_link *link = the_link;
    uint32_t octets = 0;
    for (unsigned i = 0; i < count; i++)
        octets += (uint32_t)part[i].iov_len;
    sim_point(link->sim->running);
    struct frame *f = calloc(1, sizeof *f + octets);
    f->offload = *offload;
    for (unsigned i = 0; i < count; i++) {
        memcpy(f->bytes + f->octets, part[i].iov_base, part[i].iov_len);
        f->octets += (uint32_t)part[i].iov_len;
    }
    if (offload->checksum_state == MESSAGE_CHECKSUM_PARTIAL && offload->gso_type == MESSAGE_GSO_NONE)
        finish_checksum(f);
    f->offload.header_octets = 0; /* for sending only */
    sim_hash(link->sim, f->bytes, f->octets);
    const char *fault = octets < LINK_HEADER                ? "no link header"
                        : word16(f->bytes + 12) == TYPE_IP4 ? ip4_fault(f)
                        : word16(f->bytes + 12) == TYPE_IP6 ? ip6_fault(f)
                                                            : NULL;
    if (fault != NULL)
        sim_fail(link->sim, "%c sent a frame of %u octets with %s", 'A' + driver->device, octets, fault);
    link->sim->account[driver->device].given++;
    sim_tcp_watch_frame(link->sim, (uint32_t)driver->device, f->bytes, f->octets);
    cross(link, 1U - (uint32_t)driver->device, f);
    sim_point(link->sim->running);
    return NETDRV_OK;
}

/* In the place of the TAP driver, which the linker has no need to take from its library then. */
const struct netdrv_operations netdrv_tap = {.plain = true, .receive = device_receive, .send = device_send};
