// SPDX-License-Identifier: BSD-2-Clause
/* Who is blamed for packets that come to nothing, when, and how rarely by rings that lie. */
#include "servers/supervisor/conservation.h"

#include <string.h>

#include "tests/unit/suite.h"

#define LOOK 200000U
#define ALL  (POINT(POINTS) - 1)

static struct conservation c;
static uint32_t count[POINTS], known;
static uint64_t now;
static const char *why;

static void setup(void)
{
    memset(&c, 0, sizeof c);
    memset(count, 0, sizeof count);
    known = ALL;
    now = 1000000000;
}

static enum server_id look(void)
{
    now += LOOK;
    return conservation_look(&c, known, count, now, &why);
}

/* Whom looks like this one blame in the end, and after how long; SERVER_COUNT: nobody within `looks`. */
static enum server_id looks(unsigned most, uint64_t *ret_us)
{
    uint64_t start = now;
    for (unsigned i = 0; i < most; i++) {
        enum server_id id = look();
        *ret_us = now - start;
        if (id != SERVER_COUNT)
            return id;
    }
    return SERVER_COUNT;
}

static const struct {
    const char *name;
    enum flow_point of, to;
    enum server_id server;
    uint64_t least_us;
} laws[] = {
    {"ip sends nothing of tcp", POINT_ASKED_TCP, POINT_SAID_SENT, SERVER_IP, 2500000},
    {"ip sends nothing of udp, and says nothing", POINT_ASKED_UDP, POINT_TOLD, SERVER_IP, 2500000},
    {"ip only asks for neighbours", POINT_ASKED_TCP, POINT_SAID_PACKET, SERVER_IP, 4500000},
    {"tcp asks for nonsense", POINT_MISASKED_TCP, POINT_SAYS_TCP, SERVER_TCP, 1000000},
    {"udp asks for nonsense", POINT_MISASKED_UDP, POINT_SAYS_UDP, SERVER_UDP, 1000000},
    {"ip sends nonsense", POINT_MISSENT, POINT_SENT, SERVER_IP, 600000},
    {"nic does not write", POINT_UNWRITTEN, POINT_WRITTEN, SERVER_NIC, 1000000},
    {"nic does not hand up", POINT_KEPT, POINT_READ, SERVER_NIC, 1000000},
    {"nic hands up nonsense", POINT_MISUP, POINT_UP, SERVER_NIC, 1000000},
    {"nic damages", POINT_DAMAGED, POINT_WHOLE, SERVER_NIC, 1000000},
    {"ip misquotes", POINT_MISQUOTED, POINT_QUOTED, SERVER_IP, 1000000},
    {"ip keeps tcp's", POINT_DUE_TCP, POINT_HANDED_TCP, SERVER_IP, 1000000},
    {"ip keeps udp's", POINT_DUE_UDP, POINT_HANDED_UDP, SERVER_IP, 1000000},
};

#define EACH_LAW(i) for (unsigned i = 0; i < sizeof laws / sizeof laws[0]; i++)

/* Every look one packet comes to nothing. */
START_TEST(who_lets_nothing_out_is_blamed)
{
    uint64_t us;
    EACH_LAW(i)
    {
        setup();
        count[laws[i].of] = 1;
        count[POINT_SAID_SENT] = laws[i].to == POINT_SAID_PACKET;
        ck_assert_msg(looks(100, &us) == laws[i].server, "%s", laws[i].name);
        ck_assert_uint_ge(us, laws[i].least_us);
        ck_assert_uint_le(us, laws[i].least_us + 2 * LOOK);
    }
}
END_TEST

START_TEST(who_lets_some_out_is_not)
{
    uint64_t us;
    EACH_LAW(i)
    {
        setup();
        count[laws[i].of] = 50;
        count[POINT_SAID_SENT] = laws[i].to == POINT_SAID_PACKET;
        count[POINT_SAID_PACKET] = count[POINT_SAID_SENT];
        for (unsigned n = 0; n < 100; n++) { /* one in between, ever again */
            count[laws[i].to] = n % 3 == 0;
            if (laws[i].to == POINT_SAID_SENT)
                count[POINT_SAID_PACKET] = n % 3 == 0;
            ck_assert_msg(look() == SERVER_COUNT, "%s", laws[i].name);
        }
        count[laws[i].to] = 0;
        if (laws[i].to == POINT_SAID_SENT)
            count[POINT_SAID_PACKET] = 0;
        count[POINT_SAID_SENT] |= laws[i].to == POINT_SAID_PACKET;
        ck_assert_int_eq(looks(100, &us), laws[i].server);
    }
}
END_TEST

START_TEST(what_is_not_known_counts_for_nothing)
{
    uint64_t us;
    EACH_LAW(i)
    {
        setup();
        count[laws[i].of] = 9;
        count[POINT_SAID_SENT] = laws[i].to == POINT_SAID_PACKET;
        known = ALL & ~POINT(laws[i].to) & ~(laws[i].to == POINT_SAID_SENT ? POINT(POINT_SAID_PACKET) : 0);
        ck_assert_msg(looks(100, &us) == SERVER_COUNT, "%s", laws[i].name);
        known = ALL & ~POINT(laws[i].of);
        ck_assert_msg(looks(100, &us) == SERVER_COUNT, "%s", laws[i].name);
    }
}
END_TEST

START_TEST(silence_blames_nobody)
{
    uint64_t us;
    ck_assert_int_eq(looks(1000, &us), SERVER_COUNT);
    count[POINT_READ] = 1;
    count[POINT_UP] = 7; /* strangers' */
    count[POINT_ASKED_TCP] = count[POINT_SAID_SENT] = count[POINT_SAID_PACKET] = count[POINT_SENT] = 1;
    count[POINT_WRITTEN] = 1;
    ck_assert_int_eq(looks(1000, &us), SERVER_COUNT);
}
END_TEST

/* Much at once, and few looks; then silence, or one now and then. */
START_TEST(an_accident_blames_nobody)
{
    uint64_t us;
    EACH_LAW(i)
    {
        setup();
        count[POINT_SAID_SENT] = laws[i].to == POINT_SAID_PACKET;
        for (unsigned n = 0; n < 20; n++) {
            count[laws[i].of] = n % 2 == 0 ? 1000 : 0;
            if (n % 2 == 0)
                for (unsigned twice = 0; twice < 3; twice++)
                    ck_assert_msg(look() == SERVER_COUNT, "%s", laws[i].name);
            else
                ck_assert_msg(looks(100, &us) == SERVER_COUNT, "%s", laws[i].name);
        }
    }
}
END_TEST

/* ip, then nic, then nobody for 5 s, 10 s, ... 640 s; from the beginning when all was well for long. */
START_TEST(a_reason_that_is_not_known_costs_few_lives)
{
    uint64_t us, pause = CONSERVATION_PAUSE_US;
    count[POINT_DUE_TCP] = 10;
    for (unsigned i = 0; i < 12; i++) {
        ck_assert_int_eq(looks(10000, &us), SERVER_IP);
        ck_assert(i == 0 || (us >= pause && us <= pause + 10 * LOOK));
        pause = i == 0 ? pause : 2 * pause < CONSERVATION_MOST_US ? 2 * pause : CONSERVATION_MOST_US;
        ck_assert_int_eq(looks(10000, &us), SERVER_NIC);
        ck_assert_uint_le(us, 3000000);
    }
    ck_assert_uint_eq(c.pause_us, CONSERVATION_MOST_US);
    count[POINT_DUE_TCP] = 0;
    ck_assert_int_eq(looks((CONSERVATION_MOST_US + CONSERVATION_CALM_US) / LOOK + 1, &us), SERVER_COUNT);
    count[POINT_DUE_TCP] = 10;
    ck_assert_int_eq(looks(100, &us), SERVER_IP);
    ck_assert_int_eq(looks(100, &us), SERVER_NIC);
    ck_assert_uint_eq(c.pause_us, CONSERVATION_PAUSE_US);
}
END_TEST

SUITE_RUN("conservation", setup, NULL, who_lets_nothing_out_is_blamed, who_lets_some_out_is_not,
          what_is_not_known_counts_for_nothing, silence_blames_nobody, an_accident_blames_nobody,
          a_reason_that_is_not_known_costs_few_lives)
