// SPDX-License-Identifier: BSD-2-Clause
/* Any fragments in any order through reassembly, with time, and with buffers that come home late or never. What each
 * piece carries follows from the datagram's name and the place in it: a whole one must carry just that, so that a hole,
 * an octet of another datagram, or a buffer written while it is lent is seen. Eight octets are one step. Octets are
 * what costs: an input has only so many, then its pieces are short. */
#include "protocols/ip/reassembly.h"
#include "tests/fuzz/fuzz.h"

#define STEP   8U
#define STEPS  512U
#define MANY   (128U << 10) /* octets of an input */
#define SHORT  256U         /* of a piece, after those */
#define LARGE  70000U
#define LOOKED 8U /* steps after which the accounts are looked at */

struct step { /* as it lies in the input */
    uint8_t what, name, offset[2], length[2], flags, rest;
};
_Static_assert(sizeof(struct step) == STEP, "layout");

static struct reassembly engine;
static uint8_t *buffers;
static bool lent[REASSEMBLY_DATAGRAMS];
static struct reassembly_output held[REASSEMBLY_DATAGRAMS];
static uint64_t now;
static uint32_t octets; /* of this input's pieces */
static uint8_t pattern[3 * LARGE];

/* Without a period that a place or a name could hide in. */
static void pattern_make(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof pattern; i++) {
        x = x * 1664525 + 1013904223;
        pattern[i] = (uint8_t)(x >> 24);
    }
}

/* What such a datagram carries, from its octet 0 on. */
static const uint8_t *octets_of(uint8_t source, uint32_t identification)
{
    return pattern + source * 101U + identification * 1877U;
}

static void check_whole(const struct reassembly_output *whole, uint32_t identification)
{
    const uint8_t *at = buffers + (size_t)whole->buffer * REASSEMBLY_BUFFER_OCTETS;
    check(memcmp(at, octets_of(whole->source.octets[3], identification), whole->length) == 0);
}

static void release(uint32_t buffer)
{
    if (buffer >= REASSEMBLY_DATAGRAMS || !lent[buffer])
        return;
    check_whole(&held[buffer], held[buffer].packet[1]); /* still what it was */
    lent[buffer] = false;
    memset(buffers + (size_t)buffer * REASSEMBLY_BUFFER_OCTETS, 0xee, held[buffer].length);
    reassembly_release(&engine, buffer);
}

static struct reassembly_fragment fragment_of(const struct step *s)
{
    uint8_t family = (s->name & 1) != 0 ? ADDRESS_IP6 : ADDRESS_IP4;
    uint32_t scale = (s->flags & 2) != 0 ? 1 : 8; /* as parsed, as a rule */
    uint32_t length = (uint32_t)(s->length[0] << 8 | s->length[1]) * scale % LARGE;
    return (struct reassembly_fragment){
        .source = {.family = family, .octets = {[3] = (uint8_t)(s->name >> 4)}},
        .destination = {.family = family, .octets = {[3] = 1}},
        .identification = (uint32_t)(s->name >> 1 & 7),
        .offset = (uint32_t)(s->offset[0] << 8 | s->offset[1]) * scale % LARGE,
        .length = octets > MANY ? length % SHORT : length,
        .header_octets = s->rest & 0x3cU,
        .more = (s->flags & 1) != 0,
        .protocol = (s->flags & 4) != 0 ? 6 : 17,
        .traffic_class = (uint8_t)(s->flags >> 4 & 3),
    };
}

static void fragment(const struct step *s)
{
    struct reassembly_fragment f = fragment_of(s);
    static uint8_t last[LARGE];
    struct reassembly_output whole;
    uint8_t packet[20] = {0x45, (uint8_t)f.identification};
    uint8_t *payload = last + sizeof last - f.length; /* at the end: ASan sees a read behind it */
    memcpy(payload, octets_of(f.source.octets[3], f.identification) + f.offset, f.length);
    octets += f.length;
    enum reassembly_result result = reassembly_input(&engine, now, &f, payload, packet, sizeof packet, &whole);
    check(result < REASSEMBLY_RESULTS);
    if (result != REASSEMBLY_COMPLETE)
        return;
    check(whole.buffer < REASSEMBLY_DATAGRAMS && !lent[whole.buffer] && whole.length > 0 && whole.length <= 65535);
    check(whole.packet_octets == sizeof packet && whole.packet[1] == f.identification);
    lent[whole.buffer] = true;
    held[whole.buffer] = whole;
    check_whole(&whole, f.identification);
    if ((s->flags & 8) == 0)
        release(whole.buffer);
}

static void pass(uint64_t us)
{
    struct reassembly_expired expired;
    now += us;
    for (unsigned n = 0; reassembly_poll(&engine, now, &expired); n++)
        check(n < REASSEMBLY_DATAGRAMS && expired.quote_octets == 20);
    check(reassembly_deadline_us(&engine) > now);
}

/* What is kept beside the datagrams says what they say; no source has more than its share. */
static void check_accounts(void)
{
    uint32_t open = 0, of_source[2][16] = {0};
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++) {
        const struct reassembly_datagram *d = &engine.datagram[i];
        check((d->state == REASSEMBLY_LENT) == lent[i]);
        if (d->state != REASSEMBLY_COLLECTING && d->state != REASSEMBLY_DISCARDING)
            continue;
        open++;
        check(reassembly_deadline_us(&engine) <= d->expires_us && d->pieces <= REASSEMBLY_FRAGMENTS_MAX);
        uint32_t of = ++of_source[d->name.source.family == ADDRESS_IP6][d->name.source.octets[3]];
        check(of <= REASSEMBLY_SOURCE_MAX);
    }
    check(open == engine.open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (buffers == NULL) {
        buffers = malloc((size_t)REASSEMBLY_DATAGRAMS * REASSEMBLY_BUFFER_OCTETS);
        pattern_make();
    }
    reassembly_init(&engine, buffers);
    memset(lent, 0, sizeof lent);
    now = 1;
    octets = 0;
    for (size_t at = 0; at + STEP <= size && at < STEPS * STEP; at += STEP) {
        struct step s;
        memcpy(&s, data + at, sizeof s);
        if (s.what % 8 == 0)
            release(s.name);
        else if (s.what % 8 == 1)
            pass((uint64_t)s.offset[0] * 1000000);
        else
            fragment(&s);
        if (at / STEP % LOOKED == 0)
            check_accounts();
    }
    check_accounts();
    pass(REASSEMBLY_IP6_US);
    for (uint32_t i = 0; i < REASSEMBLY_DATAGRAMS; i++)
        release(i);
    check(engine.open == 0 && reassembly_deadline_us(&engine) == UINT64_MAX);
    return 0;
}
