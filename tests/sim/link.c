// SPDX-License-Identifier: BSD-2-Clause
/* The device of both nics and the link between them. What one sends is finished (checksums that nic left to the
 * device), looked at (a frame that is no good is a fault of the stack that sent it), and arrives at the other after
 * some time, perhaps twice, later than the next, with a bit turned, or never. The device outlives nic: what has arrived
 * waits. */
#include <stdlib.h>
#include <string.h>

#include "netdrv/driver.h"
#include "protocols/base/checksum.h"
#include "tests/sim/sim.h"

#define LINK_HEADER  14U
#define TYPE_IP4     0x0800U
#define TYPE_IP6     0x86ddU
#define PROTOCOL_TCP 6U
#define PROTOCOL_UDP 17U
#define DEVICE_QUEUE 512U /* frames under way to one side; more are lost */

struct frame {
    struct frame *next;
    uint64_t at_us;
    uint32_t octets;
    struct netdrv_offload offload;
    uint8_t bytes[];
};

struct sim_link {
    struct sim *sim;
    struct sim_link_quality quality;
    uint64_t random;
    struct frame *to[SIM_STACKS]; /* in the order of arrival */
    uint32_t count[SIM_STACKS];
};

static struct sim_link *the_link; /* a driver has nothing but a device number */

struct sim_link *sim_link_new(struct sim *sim, const struct sim_link_quality *quality)
{
    struct sim_link *link = calloc(1, sizeof *link);
    *link = (struct sim_link){.sim = sim, .quality = *quality, .random = sim->random ^ 0x6c696e6bU};
    the_link = link;
    return link;
}

void sim_link_free(struct sim_link *link)
{
    for (uint32_t i = 0; i < SIM_STACKS; i++) {
        while (link->to[i] != NULL) {
            struct frame *f = link->to[i];
            link->to[i] = f->next;
            free(f);
        }
    }
    free(link);
}

uint64_t sim_link_deadline(const struct sim_link *link, uint32_t stack)
{
    return link->to[stack] != NULL ? link->to[stack]->at_us : SIM_NEVER;
}

/* ---- what a frame must be ---- */
static uint32_t word16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static bool transport_good(const uint8_t *at, uint32_t octets, uint32_t protocol, const struct ip_address *source,
                           const struct ip_address *destination)
{
    if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP)
        return true;
    if (octets < (protocol == PROTOCOL_TCP ? 20U : 8U))
        return false;
    if (protocol == PROTOCOL_UDP && word16(at + 6) == 0)
        return true;
    uint64_t sum = checksum_pseudo_header(source, destination, (uint8_t)protocol, octets);
    be16 result = checksum_finish(checksum_add(sum, at, octets));
    return be16_get(result) == 0;
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
    if ((word16(ip + 6) & 0x3fff) != 0 || f->offload.gso_type != MESSAGE_GSO_NONE)
        return NULL; /* a fragment, or its checksum is the receiver's */
    struct ip_address source = ip_address_from_ip4(ip + 12), destination = ip_address_from_ip4(ip + 16);
    return transport_good(ip + head, total - head, ip[9], &source, &destination) ? NULL : "a wrong transport checksum";
}

static void finish_checksum(struct frame *f)
{
    const struct netdrv_offload *o = &f->offload;
    be16 sum = checksum_finish(checksum_add(0, f->bytes + o->checksum_start, f->octets - o->checksum_start));
    memcpy(f->bytes + o->checksum_start + o->checksum_offset, &sum, sizeof sum);
    f->offload.checksum_state = MESSAGE_CHECKSUM_NONE;
    f->offload.checksum_start = f->offload.checksum_offset = 0;
}

/* ---- the way across ---- */
static void arrive(struct sim_link *link, uint32_t stack, struct frame *f)
{
    struct frame **at = &link->to[stack];
    while (*at != NULL && (*at)->at_us <= f->at_us)
        at = &(*at)->next;
    f->next = *at;
    *at = f;
    link->count[stack]++;
}

static struct frame *copy_of(const struct frame *f)
{
    struct frame *copy = malloc(sizeof *copy + f->octets);
    memcpy(copy, f, sizeof *copy + f->octets);
    return copy;
}

static void turn_a_bit(struct sim_link *link, struct frame *f)
{
    bool covered = f->octets > LINK_HEADER + 20 && word16(f->bytes + 12) == TYPE_IP4 &&
                   f->offload.checksum_state == MESSAGE_CHECKSUM_NONE;
    if (!covered || (f->bytes[LINK_HEADER + 9] != PROTOCOL_TCP && word16(f->bytes + LINK_HEADER + 26) == 0))
        return; /* nobody could tell */
    uint32_t total = word16(f->bytes + LINK_HEADER + 2);
    uint32_t bit = sim_below(&link->random, total * 8);
    f->bytes[LINK_HEADER + bit / 8] ^= (uint8_t)(1U << bit % 8);
}

static void cross(struct sim_link *link, uint32_t stack, struct frame *f)
{
    const struct sim_link_quality *q = &link->quality;
    if (sim_chance(&link->random, q->loss) || link->count[stack] >= DEVICE_QUEUE) {
        free(f);
        return;
    }
    f->at_us = link->sim->now_us + q->delay_us + sim_below(&link->random, q->jitter_us);
    if (sim_chance(&link->random, q->reorder))
        f->at_us += 4 * (uint64_t)(q->delay_us + q->jitter_us);
    if (sim_chance(&link->random, q->duplicate)) {
        struct frame *again = copy_of(f);
        again->at_us += sim_below(&link->random, 4 * (q->delay_us + q->jitter_us));
        arrive(link, stack, again);
    }
    if (sim_chance(&link->random, q->corrupt))
        turn_a_bit(link, f);
    arrive(link, stack, f);
}

/* ---- the driver ---- */
static int device_receive(struct netdrv *driver, uint8_t *buffer, uint32_t *ret_octets,
                          struct netdrv_offload *ret_offload)
{
    struct sim_link *link = the_link;
    struct frame *f = link->to[driver->device];
    if (f == NULL || f->at_us > link->sim->now_us)
        return NETDRV_NOTHING;
    sim_point(link->sim->running);
    link->to[driver->device] = f->next;
    link->count[driver->device]--;
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
                                                            : NULL;
    if (fault != NULL)
        sim_fail(link->sim, "%c sent a frame of %u octets with %s", 'A' + driver->device, octets, fault);
    cross(link, 1U - (uint32_t)driver->device, f);
    sim_point(link->sim->running);
    return NETDRV_OK;
}

/* In the place of the TAP driver, which the linker has no need to take from its library then. */
const struct netdrv_operations netdrv_tap = {.receive = device_receive, .send = device_send};
