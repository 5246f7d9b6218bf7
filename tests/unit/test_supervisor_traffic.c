// SPDX-License-Identifier: BSD-2-Clause
/* What crosses the rings, and whom it speaks against: packets that a sound server would have let through, and none
 * else. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/ring.h"
#include "ipc/segment.h"
#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

#define LOOKS 40
#define FRAME 54U /* Ethernet, IPv4, TCP */

static pid_t victims[SERVER_COUNT];
static struct ring_half *half[SERVER_COUNT][SERVER_COUNT]; /* of who speaks, to whom */
static uint64_t now;

static const struct mac_address mac = {{2, 0x42, 0x48, 77, 0, 2}};
static const struct ip_address own = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 2}},
                               peer = {.family = ADDRESS_IP4, .octets = {10, 77, 0, 1}};

static void rings_setup(void)
{
    setup();
    start_all();
    s->started = true;
    s->options.driver = NETDRV_WIRE; /* no counters of a device */
    s->options.address[0] = own;
    s->options.address[1] = (struct ip_address){.family = ADDRESS_IP4, .octets = {10, 77, 0, 3}};
    s->options.prefix_length[0] = s->options.prefix_length[1] = 24;
    s->options.address_count = 2;
    s->mac = mac;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        victims[id] = victim(&s->domain[id]);
    for (unsigned i = 0; i < TOPOLOGY_CHANNELS; i++) {
        const enum server_id *e = topology_channel[i].end;
        half[e[0]][e[1]] = half_of(e[0], e[1]);
        half[e[1]][e[0]] = half_of(e[1], e[0]);
    }
    now = now_us();
}

static void rings_teardown(void)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        kill(victims[id], SIGKILL);
        waitpid(victims[id], NULL, 0);
        for (unsigned to = 0; to < SERVER_COUNT; to++)
            if (half[id][to] != NULL)
                segment_unmap(half[id][to], sizeof(struct ring_half));
    }
    teardown();
}

static void sum_write(uint8_t *header)
{
    uint32_t sum = 0;
    header[10] = header[11] = 0;
    for (unsigned i = 0; i < 20; i += 2)
        sum += (uint32_t)header[i] << 8 | header[i + 1];
    sum = ~((sum & 0xffff) + (sum >> 16));
    header[10] = (uint8_t)(sum >> 8);
    header[11] = (uint8_t)sum;
}

/* Of TCP, with its pseudo-header. */
static void segment_sum_write(uint8_t frame[FRAME])
{
    uint32_t sum = 6 + 20;
    frame[50] = frame[51] = 0;
    for (unsigned i = 26; i < FRAME; i += 2)
        sum += (uint32_t)frame[i] << 8 | frame[i + 1];
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[50] = (uint8_t)(sum >> 8);
    frame[51] = (uint8_t)sum;
}

/* A segment without text. */
static void frame_make(uint8_t frame[FRAME], bool up)
{
    memset(frame, 0, FRAME);
    memcpy(frame + (up ? 0 : 6), mac.octets, 6);
    frame[up ? 6 : 0] = 2;
    frame[12] = 8;
    frame[14] = 0x45;
    frame[17] = FRAME - 14;
    frame[22] = 64;
    frame[23] = 6;
    memcpy(frame + 26, (up ? &peer : &own)->octets, 4);
    memcpy(frame + 30, (up ? &own : &peer)->octets, 4);
    frame[35] = 80;
    sum_write(frame + 14);
    segment_sum_write(frame);
}

/* `by` says it to `to`, who takes it; the octets lie in its pool. */
static void say(enum server_id by, enum server_id to, struct message m, const void *octets, uint32_t length)
{
    struct ring_half *h = half[by][to];
    const struct server_memory *memory = &s->server[by];
    m.slot_count = 2;
    if (m.capability == 0)
        m.capability = CAPABILITY_INDEX_PEER;
    m.generation = 1;
    if (m.reference[0].length == 0)
        m.reference[0] = (struct message_reference){memory->pool_index, memory->pool_generation, 4096, length};
    ck_assert_int_eq(pwrite(memory->pool, octets, length, 4096), (ssize_t)length);
    for (unsigned i = 0; i < 2; i++)
        memcpy(h->slot[h->producer++ % RING_SLOTS].octets, (const uint8_t *)&m + i * MESSAGE_SLOT_OCTETS,
               MESSAGE_SLOT_OCTETS);
    half[to][by]->consumer = h->producer;
}

static void look(void)
{
    now += TICK_US;
    judge_tick(s, now);
    traffic_tick(s, now);
}

static unsigned blamed(void)
{
    unsigned mask = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        mask |= s->domain[id].fault == FAULT_UNSERVED ? SERVER_BIT(id) : 0;
    return mask;
}

/* ---- from the wire ---- */
enum frame_change {
    AS_IT_IS,
    SUM,
    OTHER_STATION,
    OTHER_ADDRESS,
    NOT_YET,
    BROADCAST,
    NO_STATION,
    FROM_OWN,
    MARTIAN,
    FRAGMENT,
    OPTIONS,
    LONGER,
    SHORT,
    BRIDGE,
    NAME,
    POOL,
    FIELDS,
    TOO_SHORT,
    DAMAGED,
    DAMAGED_VALID,
    UNFINISHED,
    UNFINISHED_ELSEWHERE,
};
static const struct {
    const char *name;
    enum frame_change change;
    unsigned blamed;
} ups[] = {
    {"ip lets nothing through", AS_IT_IS, SERVER_BIT(SERVER_IP)},
    {"a wrong sum", SUM, 0},
    {"another station's", OTHER_STATION, 0},
    {"another host's", OTHER_ADDRESS, 0},
    {"of ours, but not in use", NOT_YET, 0},
    {"from a whole network", BROADCAST, 0},
    {"from no station", NO_STATION, 0},
    {"from ourselves", FROM_OWN, 0},
    {"from nowhere", MARTIAN, 0},
    {"a fragment", FRAGMENT, 0},
    {"with options", OPTIONS, 0},
    {"longer than it is", LONGER, 0},
    {"no transport header", SHORT, 0},
    {"a bridge's", BRIDGE, 0},
    {"nic names no right", NAME, SERVER_BIT(SERVER_NIC)},
    {"nic names another pool", POOL, SERVER_BIT(SERVER_NIC)},
    {"nic says what no device says", FIELDS, SERVER_BIT(SERVER_NIC)},
    {"nic hands up no frame", TOO_SHORT, SERVER_BIT(SERVER_NIC)},
    {"nic hands up what is damaged", DAMAGED, SERVER_BIT(SERVER_NIC)},
    {"the device says that it is whole", DAMAGED_VALID, SERVER_BIT(SERVER_IP)},
    {"the checksum is still to be finished", UNFINISHED, SERVER_BIT(SERVER_IP)},
    {"nic says that of another place", UNFINISHED_ELSEWHERE, SERVER_BIT(SERVER_NIC)},
};

static void change_up(enum frame_change change, uint8_t *frame, struct message *m, uint32_t *length)
{
    switch (change) {
    case SUM:
        frame[24] ^= 1;
        return;
    case OTHER_STATION:
        frame[5] ^= 1;
        break;
    case OTHER_ADDRESS:
        frame[33] ^= 8;
        break;
    case NOT_YET:
        frame[33] = 3;
        break;
    case BROADCAST:
        frame[29] = 255;
        break;
    case NO_STATION:
        memset(frame + 6, 0, 6);
        break;
    case FROM_OWN:
        memcpy(frame + 26, own.octets, 4);
        break;
    case MARTIAN:
        frame[26] = 127;
        break;
    case FRAGMENT:
        frame[20] = 0x20;
        break;
    case OPTIONS:
        frame[14] = 0x46;
        break;
    case LONGER:
        frame[17]++;
        break;
    case SHORT:
        frame[17] = 20 + 7;
        break;
    case BRIDGE:
        memcpy(frame, (const uint8_t[]){1, 0x80, 0xc2, 0, 0, 0}, 6);
        frame[12] = 0;
        frame[13] = FRAME - 14;
        break;
    case NAME:
        m->capability = 999;
        break;
    case POOL:
        m->reference[0] = (struct message_reference){s->server[SERVER_IP].pool_index, 1, 0, *length};
        break;
    case FIELDS:
        m->checksum_state = MESSAGE_CHECKSUM_VALID + 1;
        break;
    case TOO_SHORT:
        *length = 13;
        break;
    case DAMAGED:
    case DAMAGED_VALID:
    case UNFINISHED:
    case UNFINISHED_ELSEWHERE:
        frame[38] ^= 1;
        m->checksum_state = change == DAMAGED         ? MESSAGE_CHECKSUM_NONE
                            : change == DAMAGED_VALID ? MESSAGE_CHECKSUM_VALID
                                                      : MESSAGE_CHECKSUM_PARTIAL;
        m->checksum_start = change == UNFINISHED ? 34 : 33;
        m->checksum_offset = 16;
        break;
    default:
        break;
    }
    sum_write(frame + 14);
}

/* Something came for the first of our addresses, once. */
static void is_used(void)
{
    look();
    say(SERVER_IP, SERVER_TCP, (struct message){.operation = MESSAGE_RECEIVE, .destination = own}, "", 1);
    look();
}

static void hand_up(enum frame_change change)
{
    uint8_t frame[FRAME];
    struct message m = {.operation = MESSAGE_RECEIVE};
    uint32_t length = FRAME;
    frame_make(frame, true);
    change_up(change, frame, &m, &length);
    say(SERVER_NIC, SERVER_IP, m, frame, length);
}

START_TEST(what_comes_is_due)
{
    is_used();
    for (unsigned n = 0; n < LOOKS && blamed() == 0; n++) {
        look();
        hand_up(ups[_i].change);
    }
    ck_assert_msg(blamed() == ups[_i].blamed, "%s: %x", ups[_i].name, blamed());
}
END_TEST

/* One that is handed on in a second is enough; what ip turned round is none. */
START_TEST(what_is_handed_on_speaks_for_ip)
{
    const struct message m = {.operation = MESSAGE_RECEIVE, .cookie = _i == 0 ? 5 : MESSAGE_COOKIE_OWN};
    is_used();
    for (unsigned n = 0; n < LOOKS; n++) {
        look();
        hand_up(AS_IT_IS);
        if (n % 4 == 0)
            say(SERVER_IP, SERVER_TCP, m, "", 1);
    }
    ck_assert_uint_eq(blamed(), _i == 0 ? 0 : SERVER_BIT(SERVER_IP));
}
END_TEST

/* What nic says of the checksum, and what ip says to tcp of the same packet, or of another. */
static const struct {
    const char *name;
    uint8_t state[2];
    uint16_t start, offset;
    uint32_t at; /* in the frame */
    unsigned blamed;
} quotes[] = {
    {"as it is", {MESSAGE_CHECKSUM_NONE, MESSAGE_CHECKSUM_NONE}, .at = 34},
    {"valid", {MESSAGE_CHECKSUM_VALID, MESSAGE_CHECKSUM_VALID}, .at = 34},
    {"to be finished", {MESSAGE_CHECKSUM_PARTIAL, MESSAGE_CHECKSUM_PARTIAL}, 34, 16, .at = 34},
    {"to be finished elsewhere", {MESSAGE_CHECKSUM_PARTIAL, MESSAGE_CHECKSUM_NONE}, 30, 16, .at = 34},
    {"the word is lost", {MESSAGE_CHECKSUM_PARTIAL, MESSAGE_CHECKSUM_NONE}, 34, 16, .at = 34, SERVER_BIT(SERVER_IP)},
    {"the place is lost", {MESSAGE_CHECKSUM_PARTIAL, MESSAGE_CHECKSUM_PARTIAL}, 34, 0, .at = 34, SERVER_BIT(SERVER_IP)},
    {"a word of its own", {MESSAGE_CHECKSUM_NONE, MESSAGE_CHECKSUM_VALID}, .at = 34, .blamed = SERVER_BIT(SERVER_IP)},
    {"of another packet", {MESSAGE_CHECKSUM_NONE, MESSAGE_CHECKSUM_VALID}, .at = 36},
};

START_TEST(ip_says_of_checksums_what_nic_said)
{
    const struct server_memory *nic = &s->server[SERVER_NIC];
    const struct message_reference r = {nic->pool_index, nic->pool_generation, 4096 + quotes[_i].at, FRAME - 34};
    const struct message m = {.operation = MESSAGE_RECEIVE,
                              .cookie = 5,
                              .reference = {r},
                              .checksum_state = quotes[_i].state[1],
                              .checksum_offset = quotes[_i].offset};
    is_used();
    for (unsigned n = 0; n < LOOKS && blamed() == 0; n++) {
        uint8_t frame[FRAME];
        look();
        frame_make(frame, true);
        say(SERVER_NIC, SERVER_IP,
            (struct message){.operation = MESSAGE_RECEIVE,
                             .checksum_state = quotes[_i].state[0],
                             .checksum_start = quotes[_i].start,
                             .checksum_offset = 16},
            frame, FRAME);
        say(SERVER_IP, SERVER_TCP, m, "", 1);
    }
    ck_assert_msg(blamed() == quotes[_i].blamed, "%s: %x", quotes[_i].name, blamed());
}
END_TEST

/* What comes home rings no bell, so it may wait long to be taken: the packet before it is the last one all the same. */
START_TEST(what_comes_home_is_no_packet)
{
    const struct message more = {
        .operation = _i == 0 ? MESSAGE_RETURN : MESSAGE_RECEIVE, .slot_count = 1, .count = 1};
    struct ring_half *of_nic = half[SERVER_NIC][SERVER_IP];
    is_used();
    for (unsigned n = 0; n < LOOKS && blamed() == 0; n++) {
        look();
        hand_up(AS_IT_IS);
        memcpy(of_nic->slot[of_nic->producer++ % RING_SLOTS].octets, &more, MESSAGE_SLOT_OCTETS);
    }
    ck_assert_uint_eq(blamed(), _i == 0 ? SERVER_BIT(SERVER_IP) : 0);
}
END_TEST

/* Nobody is blamed who could not. */
enum { FULL, STARTS, POISON, SWITCHED_OFF, UNREAD, EXCUSES };

START_TEST(what_has_another_reason_blames_nobody)
{
    is_used();
    uint32_t said = half[SERVER_IP][SERVER_TCP]->producer;
    for (unsigned n = 0; n < LOOKS; n++) {
        half[SERVER_IP][SERVER_TCP]->producer = said + (_i == FULL ? RING_SLOTS / 2 : 0);
        s->domain[SERVER_UDP].ready_us = _i == STARTS ? now : 0;
        s->server[SERVER_IP].health.suspects = _i == POISON;
        s->options.no_probe = _i == SWITCHED_OFF;
        look();
        hand_up(AS_IT_IS);
        if (_i == UNREAD)
            half[SERVER_IP][SERVER_NIC]->consumer = 0;
    }
    ck_assert_uint_eq(blamed(), 0);
}
END_TEST

/* ---- to the wire ---- */
static const struct {
    const char *name;
    unsigned octet, value; /* of the frame; 0: none changed */
    struct message m;
    bool sound;
} downs[] = {
    {"as it is", 0, 0, {.checksum_state = MESSAGE_CHECKSUM_PARTIAL, .checksum_start = 34, .checksum_offset = 16}, true},
    {"complete", 0, 0, {.checksum_state = MESSAGE_CHECKSUM_NONE}, true},
    {"a question for a station", 13, 6, {.checksum_state = 0}, true},
    {"another's station", 6, 3, {.checksum_state = 0}, false},
    {"no type", 12, 0, {.checksum_state = 0}, false},
    {"no version", 14, 0x55, {.checksum_state = 0}, false},
    {"a wrong sum", 24, 0x77, {.checksum_state = 0}, false},
    {"no right", 0, 0, {.capability = 999}, false},
    {"a checksum elsewhere", 0, 0, {.checksum_state = 1, .checksum_start = 33, .checksum_offset = 16}, false},
    {"segments of no size",
     0,
     0,
     {.checksum_state = 1, .checksum_start = 34, .checksum_offset = 16, .gso_type = 1},
     false},
    {"text that is not there any more", 0, 0, {.capability = 999, .reference = {{0}, {.length = 5}}}, true},
};

START_TEST(ip_sends_frames)
{
    uint8_t frame[FRAME];
    struct message m = downs[_i].m;
    frame_make(frame, false);
    if (downs[_i].octet != 0)
        frame[downs[_i].octet] = (uint8_t)downs[_i].value;
    m.operation = MESSAGE_SEND;
    for (unsigned n = 0; n < LOOKS && blamed() == 0; n++) {
        look();
        say(SERVER_IP, SERVER_NIC, m, frame, FRAME);
    }
    ck_assert_msg(blamed() == (downs[_i].sound ? 0 : SERVER_BIT(SERVER_IP)), "%s: %x", downs[_i].name, blamed());
}
END_TEST

/* ---- what transports ask for ---- */
static struct message request_of(void)
{
    return (struct message){.operation = MESSAGE_SEND,
                            .source = own,
                            .destination = peer,
                            .source_port = 0x1234,
                            .destination_port = 0x5678,
                            .protocol = 6};
}

enum {
    SENDS_NOTHING,
    ASKS_FOR_A_NEIGHBOUR,
    SENDS_IT,
    SAYS_WHY_NOT,
    LOOPBACK,
    GROUP,
    WRONG_PORT,
    NO_RIGHT,
    FOREIGN,
    OTHER_PROTOCOL,
    WISH,
    GONE,
    IN_USE,
    REQUESTS
};
static const unsigned requests_blame[REQUESTS] = {
    [SENDS_NOTHING] = SERVER_BIT(SERVER_IP), [ASKS_FOR_A_NEIGHBOUR] = SERVER_BIT(SERVER_IP),
    [WRONG_PORT] = SERVER_BIT(SERVER_TCP),   [NO_RIGHT] = SERVER_BIT(SERVER_TCP),
    [FOREIGN] = SERVER_BIT(SERVER_TCP),      [OTHER_PROTOCOL] = SERVER_BIT(SERVER_TCP),
    [WISH] = SERVER_BIT(SERVER_TCP),
};

static void asks_for(unsigned how)
{
    uint8_t header[20] = {0x12, 0x34, 0x56, 0x78};
    struct message m = request_of();
    header[1] ^= how == WRONG_PORT;
    m.capability = how == NO_RIGHT ? 999 : 0;
    if (how == LOOPBACK)
        m.destination = own;
    if (how == GROUP)
        m.destination.octets[0] = 224;
    if (how == FOREIGN)
        m.destination.family = ADDRESS_IP6;
    if (how == OTHER_PROTOCOL)
        m.protocol = 17;
    if (how == WISH)
        m.gso_type = MESSAGE_GSO_TCP4; /* and no sum to be finished */
    if (how == GONE)
        m.reference[1] = (struct message_reference){999, 1, 0, 5};
    say(SERVER_TCP, SERVER_IP, m, header, sizeof header);
    if (how == IN_USE) { /* the buffer has come back, and holds the next one, which is not taken yet */
        uint32_t taken = half[SERVER_IP][SERVER_TCP]->consumer;
        header[0] = 0x77;
        say(SERVER_TCP, SERVER_IP, m, header, sizeof header);
        half[SERVER_IP][SERVER_TCP]->consumer = taken;
    }
}

static void answers(unsigned how)
{
    uint8_t frame[FRAME];
    struct message m = {.operation = MESSAGE_SEND, .protocol = how == SENDS_IT ? 6 : 0};
    frame_make(frame, false);
    frame[13] = how == ASKS_FOR_A_NEIGHBOUR ? 6 : 0;
    if (how == ASKS_FOR_A_NEIGHBOUR || how == SENDS_IT)
        say(SERVER_IP, SERVER_NIC, m, frame, FRAME);
    if (how == SAYS_WHY_NOT)
        say(SERVER_IP, SERVER_TCP, (struct message){.operation = MESSAGE_UNREACHABLE}, "", 1);
}

START_TEST(what_is_asked_for_is_sent)
{
    for (unsigned n = 0; n < LOOKS && blamed() == 0; n++) {
        look();
        asks_for((unsigned)_i);
        answers((unsigned)_i);
    }
    ck_assert_uint_eq(blamed(), requests_blame[_i]);
}
END_TEST

/* ---- the device ---- */
static FILE *interfaces;

static void interfaces_write(uint64_t written, uint64_t read)
{
    rewind(interfaces);
    fprintf(interfaces, "Inter-| Receive | Transmit\n xlo: 1 2 3 4 5 6 7 8 9 10 11 12\n");
    fprintf(interfaces, "   lo: 100 %lu 0 0 0 0 0 0 200 %lu 0 0 0 0 0 0\n", (unsigned long)written,
            (unsigned long)read);
    fflush(interfaces);
}

/* An interface that is there, and up, with the counters that the test says. */
static void device_setup(void)
{
    s->options.driver = NETDRV_TAP;
    snprintf(s->options.device, sizeof s->options.device, "lo");
    ck_assert_ptr_nonnull(interfaces = tmpfile());
    s->traffic.counters = fileno(interfaces);
    interfaces_write(0, 0);
}

enum {
    WRITES_NONE,
    WRITES_HALF,
    WRITES_ALL,
    WRITES_BEFORE,
    KEEPS_ALL,
    KEEPS_HALF,
    HANDS_UP_ALL,
    HANDS_UP_LATE,
    LATE_BURSTS,
    ONE_BURST,
    NIC_CASES
};
static const bool nic_is_blamed[NIC_CASES] = {
    [WRITES_NONE] = true, [WRITES_HALF] = true, [KEEPS_ALL] = true, [KEEPS_HALF] = true};

/* Two frames a look each way. */
START_TEST(nic_is_asked_for_every_frame)
{
    uint64_t written = 10, read = 10;
    uint8_t frame[FRAME];
    const struct message m = {.operation = MESSAGE_SEND};
    unsigned i = (unsigned)_i;
    bool down = i <= WRITES_BEFORE;
    frame_make(frame, false);
    device_setup();
    for (unsigned n = 0; n < LOOKS && blamed() == 0; n++) {
        for (unsigned k = 0; k < 2 && down; k++)
            say(SERVER_IP, SERVER_NIC, m, frame, FRAME);
        written += i == WRITES_HALF ? 1 : i == WRITES_ALL ? 2 : i == WRITES_BEFORE && n % 2 == 0 ? 4 : 0;
        read += i == ONE_BURST ? (n == 5 ? 50 : 0) : i == LATE_BURSTS ? (n % 5 == 0 ? 2 : 0) : down ? 0 : 2;
        for (unsigned k = 0; k < 2 && !down; k++)
            if (i == HANDS_UP_ALL || (i == KEEPS_HALF && k == 0) || (i == HANDS_UP_LATE && n > 0) ||
                (i == LATE_BURSTS && n % 5 == 1))
                hand_up(OTHER_ADDRESS);
        interfaces_write(written, read);
        look();
    }
    ck_assert_uint_eq(blamed(), nic_is_blamed[_i] ? SERVER_BIT(SERVER_NIC) : 0);
    fclose(interfaces);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("supervisor_traffic");
    TCase *tc = tcase_create("supervisor_traffic");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, rings_setup, rings_teardown);
    tcase_add_loop_test(tc, what_comes_is_due, 0, sizeof ups / sizeof ups[0]);
    tcase_add_loop_test(tc, what_is_handed_on_speaks_for_ip, 0, 2);
    tcase_add_loop_test(tc, ip_says_of_checksums_what_nic_said, 0, sizeof quotes / sizeof quotes[0]);
    tcase_add_loop_test(tc, what_comes_home_is_no_packet, 0, 2);
    tcase_add_loop_test(tc, what_has_another_reason_blames_nobody, 0, EXCUSES);
    tcase_add_loop_test(tc, ip_sends_frames, 0, sizeof downs / sizeof downs[0]);
    tcase_add_loop_test(tc, what_is_asked_for_is_sent, 0, REQUESTS);
    tcase_add_loop_test(tc, nic_is_asked_for_every_frame, 0, NIC_CASES);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
