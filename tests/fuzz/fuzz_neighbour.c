// SPDX-License-Identifier: BSD-2-Clause
/* ARP and neighbour discovery as state machines: messages of a few stations, most of them well-formed, lookups of many
 * addresses, and time, in any order. The tables stay in bounds and reachable (each entry is found by its key, no time
 * of one is before that of the table), who is asked for is found, being asked for or failed, a station that is found is
 * one that could be; once nothing more is to be sent the deadline lies ahead, and what is sent is bounded. */
#include "protocols/arp/arp.h"
#include "protocols/arp/arp_wire.h"
#include "protocols/ndp/ndp.h"
#include "tests/fuzz/fuzz.h"

#define STEPS 512
#define BURST 1024 /* more than any table has entries, and queues */

static struct arp arp;
static struct ndp ndp;
static uint64_t now_us;

static struct ip_address address4(uint8_t last)
{
    return (struct ip_address){.family = ADDRESS_IP4, .octets = {10, 77, 0, last}};
}

static struct ip_address address6(uint8_t last)
{
    return (struct ip_address){.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = last}};
}

static void check_table(struct neighbour_table *t)
{
    for (uint32_t i = 0; i < NEIGHBOURS_MAX; i++) {
        const struct neighbour *n = &t->entry[i];
        check(n->state <= NEIGHBOUR_FAILED && n->next <= NEIGHBOURS_MAX && t->bucket[i] <= NEIGHBOURS_MAX);
        if (n->state == NEIGHBOUR_FREE)
            continue;
        check(neighbour_find(t, n->key) == n && n->at_us >= t->deadline_us);
        check(!neighbour_is_known(n) || (n->mac.octets[0] & 1) == 0);
    }
}

static void begin(struct input *in)
{
    uint8_t how = input_8(in);
    struct arp_config a = {.mac = {{2, 0, 0, 0, 0, 2}}, .own_count = 2, .dad = how % 3U, .restarted = (how & 64) != 0};
    struct ndp_config n = {.mac = a.mac, .own_count = 2, .dad = how / 4 % 3U, .restarted = (how & 64) != 0};
    a.own[0] = (struct ip_own_address){.address = address4(2), .prefix_length = 24};
    a.own[1] = (struct ip_own_address){.address = address4(3), .prefix_length = 24};
    n.own[0] = (struct ip_own_address){.address = address6(2), .prefix_length = 64};
    n.own[1] = (struct ip_own_address){.address = {.family = ADDRESS_IP6, .octets = {0xfe, 0x80, [15] = 2}},
                                       .prefix_length = 64};
    now_us = 1000000;
    arp_init(&arp, &a, now_us);
    ndp_init(&ndp, &n, now_us);
}

static void hear_arp(struct input *in)
{
    uint8_t bytes[ARP_PACKET_LENGTH + 8] = {0, 1, 8, 0, 6, 4, 0, 1, 2, [14] = 10, 77, [24] = 10, 77};
    struct ip_address resolved;
    uint8_t how = input_8(in);
    bytes[7] = 1 + (how & 1);
    bytes[13] = input_8(in); /* station */
    bytes[17] = input_8(in);
    bytes[27] = input_8(in) % 8;
    if ((how & 2) != 0)
        memset(bytes + 14, 0, 4); /* a probe */
    if ((how & 4) != 0)
        bytes[input_8(in) % sizeof bytes] ^= input_8(in);
    size_t length = how & 8 ? input_8(in) % sizeof bytes : sizeof bytes;
    uint8_t *copy = malloc(length + (length == 0));
    memcpy(copy, bytes, length);
    enum arp_input_result result = arp_input(&arp, now_us, copy, length, &resolved);
    check(result < ARP_INPUT_RESULTS);
    if (result == ARP_INPUT_RESOLVED) {
        struct mac_address mac;
        check(arp_lookup(&arp, now_us, &resolved, &mac) != ARP_LOOKUP_RESOLVING);
    }
    free(copy);
}

static void hear_ndp(struct input *in)
{
    static const uint8_t types[] = {135, 136, 133, 134, 137, 130};
    uint8_t message[40] = {0}, how = input_8(in);
    struct ip6_header ip6 = {.hop_limit = how & 1 ? input_8(in) : 255, .protocol = IP_PROTOCOL_ICMP6};
    struct mac_address station = {{2, 0, 0, 0, 0, input_8(in)}};
    struct ip_address resolved, target = address6(input_8(in));
    ip6.source = how & 2 ? (struct ip_address){.family = ADDRESS_IP6} : address6(input_8(in));
    ip6.destination = how & 4
                          ? address6(2)
                          : (struct ip_address){.family = ADDRESS_IP6, .octets = {0xff, 2, [11] = 1, 0xff, [15] = 2}};
    message[0] = types[input_8(in) % sizeof types];
    message[4] = input_8(in) & 0xe0;
    memcpy(message + 8, target.octets, sizeof target.octets);
    message[24] = message[0] == 136 ? 2 : 1;
    message[25] = 1;
    memcpy(message + 26, station.octets, sizeof station.octets);
    if ((how & 8) != 0)
        message[input_8(in) % sizeof message] ^= input_8(in);
    size_t length = how & 16 ? input_8(in) % (sizeof message + 1) : 32;
    ip6.payload_length = (uint16_t)length;
    uint8_t *copy = malloc(length + (length == 0));
    memcpy(copy, message, length);
    enum ndp_input_result result = ndp_input(&ndp, now_us, &ip6, &station, copy, length, &resolved);
    check(result < NDP_INPUT_RESULTS);
    if (result == NDP_INPUT_RESOLVED) {
        struct mac_address mac;
        check(ndp_lookup(&ndp, now_us, &resolved, &mac) != NDP_LOOKUP_RESOLVING);
    }
    free(copy);
}

static void look_up(struct input *in)
{
    struct mac_address mac = {{0xff}};
    struct ip_address a = address4(input_8(in)), b = address6(input_8(in));
    b.octets[14] = input_8(in) % 8; /* more than the table holds */
    a.octets[2] = b.octets[14];
    if (arp_lookup(&arp, now_us, &a, &mac) == ARP_LOOKUP_FOUND)
        check((mac.octets[0] & 1) == 0);
    if (ndp_lookup(&ndp, now_us, &b, &mac) == NDP_LOOKUP_FOUND)
        check((mac.octets[0] & 1) == 0);
}

static void tell(struct input *in)
{
    struct ip_address known = address6(input_8(in));
    uint8_t how = input_8(in);
    if ((how & 1) != 0)
        ndp_confirm(&ndp, now_us, &known);
    if ((how & 2) != 0)
        arp_announce(&arp);
    if ((how & 4) != 0)
        ndp_announce(&ndp);
}

static void drain(void)
{
    struct arp_output a;
    struct ndp_output n;
    struct own_event event;
    for (unsigned i = 0; arp_poll(&arp, now_us, &a); i++)
        check(i < BURST);
    for (unsigned i = 0; ndp_poll(&ndp, now_us, &n); i++)
        check(i < BURST && n.length <= NDP_OUTPUT_MAX && n.ip6.payload_length >= n.length);
    check(arp_deadline_us(&arp) > now_us && ndp_deadline_us(&ndp) > now_us);
    for (unsigned i = 0; arp_event(&arp, &event) || ndp_event(&ndp, &event); i++)
        check(i < 4 * IP_OWN_MAX);
}

static void pass_time(struct input *in)
{
    static const uint64_t unit[] = {1000, 100000, 1000000, 30000000};
    uint8_t which = input_8(in);
    uint64_t deadline = arp_deadline_us(&arp) < ndp_deadline_us(&ndp) ? arp_deadline_us(&arp) : ndp_deadline_us(&ndp);
    if ((which & 1) != 0 && deadline > now_us && deadline != UINT64_MAX)
        now_us = deadline;
    else
        now_us += unit[which / 2 % 4] * (1U + which / 8);
    drain();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(struct input * in) = {hear_arp, hear_ndp, look_up,  pass_time,
                                                       tell,     hear_arp, hear_ndp, look_up};
    struct input in = {data, size};
    begin(&in);
    for (unsigned n = 0; in.left > 0 && n < STEPS; n++)
        steps[input_8(&in) % (sizeof steps / sizeof steps[0])](&in);
    drain();
    check_table(&arp.neighbours);
    check_table(&ndp.neighbours);
    return 0;
}
