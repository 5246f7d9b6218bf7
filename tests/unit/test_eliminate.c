// SPDX-License-Identifier: BSD-2-Clause
/* Who is blamed when a probe fails, in which order, and how rarely by a prober that lies. */
#include "servers/supervisor/eliminate.h"

#include "tests/unit/suite.h"

#define TCP    SERVER_BIT(SERVER_TCP)
#define UDP    SERVER_BIT(SERVER_UDP)
#define IP     SERVER_BIT(SERVER_IP)
#define SOCKET SERVER_BIT(SERVER_SOCKET)
#define ALL    (SERVER_BIT(SERVER_COUNT) - 1)
#define STEP   100000 /* from probe to probe, us */

static struct elimination e;
static uint32_t together[SERVER_COUNT];
static uint64_t now;
static uint32_t hint;
static bool exhausted;

static void setup(void)
{
    e = (struct elimination){0};
    now = 1000000;
    hint = 0;
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        together[id] = SERVER_BIT(id);
}

static uint32_t say(enum symptom symptom)
{
    now += STEP;
    return eliminate(&e, symptom, hint, together, now, &exhausted);
}

/* The next one to be blamed; 0: nobody, the series is over. */
static uint32_t next_blamed(enum symptom symptom)
{
    uint32_t blamed = 0;
    exhausted = false;
    bool first = e.tried == 0;
    uint64_t start = now;
    for (unsigned i = 0; i < ELIMINATE_FAILURES || (blamed == 0 && !exhausted && i < 100); i++) {
        ck_assert_uint_eq(blamed, 0);
        blamed = say(symptom);
    }
    ck_assert(!first || hint != 0 || now - start > ELIMINATE_GUESS_US);
    ck_assert_int_eq(blamed == 0, exhausted);
    return blamed;
}

static const struct {
    const char *name;
    uint8_t request, tcp, udp;
    enum symptom symptom;
} reports[] = {
    {"well", PROBE_SERVED, PROBE_SERVED, PROBE_SERVED, SYMPTOM_NONE},
    {"no answer", PROBE_FAILED, PROBE_UNKNOWN, PROBE_SERVED, SYMPTOM_REQUEST},
    {"no answer, no datagram", PROBE_FAILED, PROBE_UNKNOWN, PROBE_FAILED, SYMPTOM_REQUEST},
    {"no connection", PROBE_SERVED, PROBE_FAILED, PROBE_SERVED, SYMPTOM_TCP},
    {"no connection, datagrams unknown", PROBE_SERVED, PROBE_FAILED, PROBE_UNKNOWN, SYMPTOM_TCP},
    {"no datagram", PROBE_SERVED, PROBE_SERVED, PROBE_FAILED, SYMPTOM_UDP},
    {"neither", PROBE_SERVED, PROBE_FAILED, PROBE_FAILED, SYMPTOM_BOTH},
    {"a lost listener", PROBE_SERVED, PROBE_UNKNOWN, PROBE_SERVED, SYMPTOM_UNKNOWN},
    {"no room", PROBE_UNKNOWN, PROBE_UNKNOWN, PROBE_SERVED, SYMPTOM_UNKNOWN},
};

START_TEST(a_report_has_one_symptom)
{
    for (unsigned i = 0; i < sizeof reports / sizeof reports[0]; i++) {
        struct probe_report r = {
            .magic = PROBE_MAGIC, .request = reports[i].request, .tcp = reports[i].tcp, .udp = reports[i].udp};
        ck_assert(eliminate_report_ok(&r));
        ck_assert_msg(eliminate_symptom(&r) == reports[i].symptom, "%s", reports[i].name);
    }
}
END_TEST

START_TEST(a_report_of_nonsense_is_none)
{
    const struct probe_report good = {.magic = PROBE_MAGIC};
    struct probe_report r = good;
    r.magic ^= 1;
    ck_assert(!eliminate_report_ok(&r));
    uint8_t *const field[] = {&r.request, &r.tcp, &r.udp};
    for (unsigned i = 0; i < 3; i++) {
        r = good;
        *field[i] = PROBE_OUTCOMES;
        ck_assert(!eliminate_report_ok(&r));
    }
    r = good;
    r.handed = PROBE_END_BIT(PROBE_END_CONNECTED) | PROBE_END_BIT(PROBE_END_ACCEPTED);
    ck_assert(eliminate_report_ok(&r));
    r.handed = PROBE_END_BIT(PROBE_ENDS);
    ck_assert(!eliminate_report_ok(&r));
}
END_TEST

static const struct {
    const char *name;
    enum symptom symptom;
    uint32_t blamed[4];
} orders[] = {
    {"request", SYMPTOM_REQUEST, {SOCKET, 0}},
    {"tcp", SYMPTOM_TCP, {TCP, SOCKET, IP, 0}},
    {"udp", SYMPTOM_UDP, {UDP, SOCKET, IP, 0}},
    {"both", SYMPTOM_BOTH, {IP, SOCKET, TCP | UDP, 0}},
};

START_TEST(the_likeliest_comes_first)
{
    for (unsigned i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        setup();
        for (unsigned n = 0; n == 0 || orders[i].blamed[n - 1] != 0; n++)
            ck_assert_msg(next_blamed(orders[i].symptom) == orders[i].blamed[n], "%s, %u", orders[i].name, n);
    }
}
END_TEST

START_TEST(one_failure_blames_nobody)
{
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_eq(say(SYMPTOM_TCP), 0);
        ck_assert_uint_eq(say(SYMPTOM_NONE), 0);
    }
    for (unsigned i = 0; i < 10; i++) { /* nor do two of two kinds */
        ck_assert_uint_eq(say(SYMPTOM_TCP), 0);
        ck_assert_uint_eq(say(SYMPTOM_UDP), 0);
    }
}
END_TEST

START_TEST(what_shares_a_domain_has_one_life)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        together[id] = ALL;
    ck_assert_uint_eq(next_blamed(SYMPTOM_BOTH), IP);
    ck_assert_uint_eq(next_blamed(SYMPTOM_BOTH), 0);
}
END_TEST

/* ip is at fault, and its next life leaves tcp with another: those who had one are not blamed again. */
START_TEST(nobody_is_blamed_twice_in_a_series)
{
    ck_assert_uint_eq(next_blamed(SYMPTOM_BOTH), IP);
    ck_assert_uint_eq(next_blamed(SYMPTOM_TCP), TCP);
    ck_assert_uint_eq(next_blamed(SYMPTOM_BOTH), SOCKET);
    ck_assert_uint_eq(next_blamed(SYMPTOM_BOTH), UDP);
    ck_assert_uint_eq(next_blamed(SYMPTOM_TCP), 0);
}
END_TEST

/* It says whatever costs most lives, for an hour. */
static const struct {
    const char *name;
    enum symptom symptom;
    uint32_t still, hint;
    enum probe_stage stage;
    bool told, kept, misled, undelivered;
} hints[] = {
    {"request", SYMPTOM_REQUEST, 0, SOCKET},
    {"all moves, tcp", SYMPTOM_TCP, 0, 0},
    {"all moves, udp", SYMPTOM_UDP, 0, 0},
    {"all moves, both", SYMPTOM_BOTH, 0, 0},
    {"socket asks nobody", SYMPTOM_TCP, FLOW_BIT(FLOW_SOCKET_TCP) | FLOW_BIT(FLOW_TCP_IP) | FLOW_BIT(FLOW_IP_TCP),
     SOCKET},
    {"tcp sends nothing", SYMPTOM_TCP, FLOW_BIT(FLOW_TCP_IP) | FLOW_BIT(FLOW_IP_TCP),
     0}, /* it may have been asked for nonsense */
    {"ip keeps segments", SYMPTOM_TCP, FLOW_BIT(FLOW_IP_TCP), IP},
    {"udp sends nothing", SYMPTOM_UDP, FLOW_BIT(FLOW_UDP_IP) | FLOW_BIT(FLOW_IP_UDP), UDP},
    {"ip keeps datagrams", SYMPTOM_UDP, FLOW_BIT(FLOW_IP_UDP), IP},
    {"ip keeps all", SYMPTOM_BOTH, FLOW_BIT(FLOW_IP_UDP) | FLOW_BIT(FLOW_IP_TCP), IP},
    {"all is still", SYMPTOM_BOTH, FLOW_BIT(FLOWS) - 1, 0},
    {"not connected", SYMPTOM_TCP, 0, 0, PROBE_STAGE_CONNECT, true},
    {"socket hears no answer", SYMPTOM_TCP, 0, SOCKET, PROBE_STAGE_CALL, true},
    {"tcp answers nothing", SYMPTOM_TCP, 0, 0, PROBE_STAGE_CALL, false},
    {"socket accepts nothing", SYMPTOM_TCP, 0, SOCKET, PROBE_STAGE_ACCEPT, true},
    {"tcp offers nothing", SYMPTOM_TCP, 0, 0, PROBE_STAGE_ACCEPT, false}, /* nor had ip brought it anything, perhaps */
    {"ip keeps what was to be accepted", SYMPTOM_TCP, FLOW_BIT(FLOW_IP_TCP), IP, PROBE_STAGE_ACCEPT, true},
    {"no octets", SYMPTOM_TCP, 0, TCP, PROBE_STAGE_OCTETS, true},
    {"no datagrams", SYMPTOM_UDP, 0, 0, PROBE_STAGE_OCTETS, true},
    {"udp's buffers are kept", SYMPTOM_UDP, 0, IP, .kept = true},
    {"udp has none left to send", SYMPTOM_UDP, FLOW_BIT(FLOW_UDP_IP) | FLOW_BIT(FLOW_IP_UDP), IP, .kept = true},
    {"tcp's are kept", SYMPTOM_TCP, 0, IP, PROBE_STAGE_OCTETS, .kept = true},
    {"somebody's are kept", SYMPTOM_BOTH, 0, IP, .kept = true},
    {"another slot to connect with", SYMPTOM_TCP, 0, SOCKET, PROBE_STAGE_CONNECT, .misled = true},
    {"another slot was accepted", SYMPTOM_TCP, 0, SOCKET, PROBE_STAGE_OCTETS, .misled = true},
    {"another slot, and ip keeps", SYMPTOM_TCP, FLOW_BIT(FLOW_IP_TCP), SOCKET, .kept = true, .misled = true},
    {"another slot, and no datagrams either", SYMPTOM_BOTH, 0, SOCKET, .kept = true, .misled = true},
    {"another slot, of TCP", SYMPTOM_UDP, 0, 0, .misled = true},
    {"segments come to nobody", SYMPTOM_TCP, 0, IP, .undelivered = true},
    {"segments come to nobody, nor are they asked for", SYMPTOM_TCP, FLOW_BIT(FLOW_SOCKET_TCP), SOCKET, .undelivered = true},
    {"datagrams come to nobody", SYMPTOM_UDP, 0, IP, .undelivered = true},
    {"those of one come to nobody", SYMPTOM_BOTH, 0, IP, .undelivered = true},
};

START_TEST(the_rings_tell)
{
    for (unsigned i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        uint32_t all = FLOW_BIT(FLOWS) - 1;
        const struct probe_evidence evidence = {.stage = hints[i].stage,
                                                .told = hints[i].told,
                                                .misled = hints[i].misled,
                                                .kept = hints[i].kept,
                                                .undelivered = hints[i].undelivered,
                                                .seen = all,
                                                .moved = all & ~hints[i].still};
        ck_assert_msg(eliminate_hint(hints[i].symptom, &evidence) == hints[i].hint, "%s", hints[i].name);
        const struct probe_evidence nothing = {0};
        bool own = hints[i].symptom == SYMPTOM_REQUEST; /* without rings nothing else is known */
        ck_assert_uint_eq(eliminate_hint(hints[i].symptom, &nothing), own ? SOCKET : 0);
    }
    hint = IP;
    ck_assert_uint_eq(say(SYMPTOM_TCP), 0);
    ck_assert_uint_eq(say(SYMPTOM_TCP), IP); /* at once */
    ck_assert_uint_eq(next_blamed(SYMPTOM_TCP), TCP);
    ck_assert_uint_eq(next_blamed(SYMPTOM_TCP), SOCKET);
    ck_assert_uint_eq(next_blamed(SYMPTOM_TCP), 0);
}
END_TEST

START_TEST(a_liar_costs_few_lives)
{
    unsigned lives = 0;
    for (uint64_t end = now + 3600000000ULL; now < end;)
        lives += say(SYMPTOM_TCP) != 0;
    ck_assert_uint_ge(lives, 3);
    ck_assert_uint_le(lives, 3 * 12); /* pauses of 5 s to 640 s */
    setup();
    hint = TCP;
    for (lives = 0; now < 3600000000ULL;) { /* and now and then that all is well */
        uint32_t blamed = say(SYMPTOM_TCP);
        lives += blamed != 0;
        if (blamed != 0)
            (void)say(SYMPTOM_NONE);
    }
    ck_assert_uint_le(lives, 14);
}
END_TEST

START_TEST(a_long_calm_forgives)
{
    ck_assert_uint_eq(next_blamed(SYMPTOM_UDP), UDP);
    (void)say(SYMPTOM_NONE);
    hint = UDP;
    ck_assert_uint_eq(say(SYMPTOM_UDP), 0); /* the pause holds */
    ck_assert_uint_eq(say(SYMPTOM_UDP), 0);
    now += ELIMINATE_PAUSE_US;
    ck_assert_uint_eq(say(SYMPTOM_UDP), UDP);
    (void)say(SYMPTOM_NONE);
    ck_assert_uint_eq(e.pause_us, 2 * ELIMINATE_PAUSE_US);
    now += 2 * ELIMINATE_PAUSE_US + ELIMINATE_CALM_US;
    (void)say(SYMPTOM_NONE);
    ck_assert_uint_eq(e.pause_us, 0);
}
END_TEST

SUITE_RUN("eliminate", setup, NULL, a_report_has_one_symptom, a_report_of_nonsense_is_none, the_likeliest_comes_first,
          one_failure_blames_nobody, what_shares_a_domain_has_one_life, nobody_is_blamed_twice_in_a_series,
          the_rings_tell, a_liar_costs_few_lives, a_long_calm_forgives)
