// SPDX-License-Identifier: BSD-2-Clause
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "capabilities/table.h"
#include "servers/topology/topology.h"

static const struct {
    const char *text;
    unsigned domains;
    const char *first, *last;
} good[] = {
    {"factored", 5, "nic", "socket"},
    {"monolithic", 1, "nic+ip+tcp+udp+socket", "nic+ip+tcp+udp+socket"},
    {"nic|ip|tcp|udp|socket", 5, "nic", "socket"},
    {"nic+ip|tcp|udp+socket", 3, "nic+ip", "udp+socket"},
    {"socket|udp|tcp|ip|nic", 5, "socket", "nic"},
    {"socket+nic|udp+ip+tcp", 2, "socket+nic", "udp+ip+tcp"},
};

START_TEST(partition_is_accepted)
{
    struct partition p;
    char error[160] = "";
    ck_assert_int_eq(partition_parse(good[_i].text, &p, error, sizeof error), 0);
    ck_assert_str_eq(error, "");
    ck_assert_uint_eq(p.count, good[_i].domains);
    ck_assert_str_eq(p.domain[0].name, good[_i].first);
    ck_assert_str_eq(p.domain[p.count - 1].name, good[_i].last);
}
END_TEST

static const char *const bad[] = {
    "",
    "|",
    "+",
    "nic",
    "nic|ip|tcp|udp",
    "nic|ip|tcp|udp|socket|",
    "|nic|ip|tcp|udp|socket",
    "nic|ip|tcp|udp|socket|nic",
    "nic+nic|ip|tcp|udp|socket",
    "nic+|ip|tcp|udp|socket",
    "nic++ip|tcp|udp|socket",
    "nic|ip|tcp|udp|sockets",
    "NIC|ip|tcp|udp|socket",
    "nic ip tcp udp socket",
    "nic|ip|tcp|udp|socket ",
    "nic,ip,tcp,udp,socket",
    "factored|nic",
    "nic|ip|tcp|udp|soc",
    ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "a"
     "aaaaaaaaaaaa"),
};

START_TEST(partition_is_refused_in_one_line)
{
    struct partition p = {.count = 77};
    char error[160] = "";
    ck_assert_int_eq(partition_parse(bad[_i], &p, error, sizeof error), -EINVAL);
    ck_assert_uint_gt(strlen(error), 0);
    ck_assert_ptr_null(strchr(error, '\n'));
    ck_assert_uint_eq(p.count, 77); /* untouched on failure */
}
END_TEST

/* Every way to group five servers, each way written in every order of its restricted growth string: the 52 set
 * partitions. */
START_TEST(every_grouping_is_accepted)
{
    unsigned seen = 0;
    for (unsigned code = 0; code < 5 * 5 * 5 * 5 * 5; code++) {
        unsigned group[SERVER_COUNT], highest = 0, rest = code;
        bool canonical = true;
        for (unsigned id = 0; id < SERVER_COUNT; id++, rest /= 5) {
            group[id] = rest % 5;
            canonical = canonical && group[id] <= (id == 0 ? 0 : highest + 1);
            if (group[id] > highest)
                highest = group[id];
        }
        if (!canonical)
            continue;
        char text[PARTITION_TEXT] = "", error[160];
        for (unsigned g = 0; g <= highest; g++) {
            bool first = true;
            for (unsigned id = 0; id < SERVER_COUNT; id++) {
                if (group[id] != g)
                    continue;
                if (!first)
                    strcat(text, "+");
                else if (g > 0)
                    strcat(text, "|");
                first = false;
                strcat(text, topology_server_name((enum server_id)id));
            }
        }
        struct partition p;
        ck_assert_msg(partition_parse(text, &p, error, sizeof error) == 0, "%s: %s", text, error);
        ck_assert_uint_eq(p.count, highest + 1);
        for (unsigned id = 0; id < SERVER_COUNT; id++)
            ck_assert_uint_ne(p.domain[group[id]].servers & SERVER_BIT(id), 0);
        seen++;
    }
    ck_assert_uint_eq(seen, 52);
}
END_TEST

START_TEST(distances_are_hops)
{
    uint32_t d[SERVER_COUNT];
    topology_distances(SERVER_BIT(SERVER_NIC), d);
    ck_assert_uint_eq(d[SERVER_NIC], 0);
    ck_assert_uint_eq(d[SERVER_IP], 1);
    ck_assert_uint_eq(d[SERVER_TCP], 2);
    ck_assert_uint_eq(d[SERVER_UDP], 2);
    ck_assert_uint_eq(d[SERVER_SOCKET], 3);
    topology_distances(SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_NIC), d);
    ck_assert_uint_eq(d[SERVER_IP], 1);
    ck_assert_uint_eq(d[SERVER_SOCKET], 1);
    ck_assert_uint_eq(d[SERVER_UDP], 2);
    topology_distances(0, d);
    ck_assert_uint_eq(d[SERVER_IP], UINT32_MAX);
}
END_TEST

/* Each end of each channel has one right, and every row lies on a channel. */
START_TEST(rights_cover_the_channels)
{
    unsigned rows = 0;
    for (unsigned i = 0; i < TOPOLOGY_RIGHTS; i++) {
        const struct topology_right *r = &topology_right[i];
        ck_assert_uint_ne(topology_neighbours(r->server) & SERVER_BIT(r->peer), 0);
        ck_assert_int_eq(r->type == CAPABILITY_TRANSPORT || r->type == CAPABILITY_SOCKET, r->protocol != 0);
        for (unsigned j = 0; j < i; j++)
            ck_assert(topology_right[j].server != r->server || topology_right[j].peer != r->peer);
        rows++;
    }
    ck_assert_uint_eq(rows, 2 * TOPOLOGY_CHANNELS);
    for (unsigned i = 0; i < TOPOLOGY_POOLS; i++)
        ck_assert_uint_ne(topology_neighbours(topology_pool[i].server) & SERVER_BIT(topology_pool[i].peer), 0);
}
END_TEST

/* Least authority: who sees whose memory is this, and no more. */
START_TEST(pools_are_mapped_where_needed_only)
{
    static const uint32_t readers[SERVER_COUNT] = {
        [SERVER_NIC] = SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_IP) | SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP),
        [SERVER_IP] = SERVER_BIT(SERVER_IP) | SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP),
        [SERVER_TCP] = SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_IP),
        [SERVER_UDP] = SERVER_BIT(SERVER_UDP) | SERVER_BIT(SERVER_IP),
        [SERVER_SOCKET] = SERVER_BIT(SERVER_SOCKET),
    };
    for (unsigned owner = 0; owner < SERVER_COUNT; owner++) {
        for (unsigned id = 0; id < SERVER_COUNT; id++)
            ck_assert_int_eq(topology_maps_pool((enum server_id)id, (enum server_id)owner),
                             (readers[owner] & SERVER_BIT(id)) != 0);
    }
}
END_TEST

/* Whose death is whose business: both or neither. */
START_TEST(who_is_concerned_by_whom)
{
    static const uint32_t concerns[SERVER_COUNT] = {
        [SERVER_NIC] = SERVER_BIT(SERVER_IP) | SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP),
        [SERVER_IP] = SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP),
        [SERVER_TCP] = SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_IP) | SERVER_BIT(SERVER_SOCKET),
        [SERVER_UDP] = SERVER_BIT(SERVER_NIC) | SERVER_BIT(SERVER_IP) | SERVER_BIT(SERVER_SOCKET),
        [SERVER_SOCKET] = SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP),
    };
    for (unsigned id = 0; id < SERVER_COUNT; id++)
        ck_assert_uint_eq(topology_concerns((enum server_id)id), concerns[id]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topology");
    TCase *tests = tcase_create("topology");
    tcase_add_loop_test(tests, partition_is_accepted, 0, sizeof good / sizeof good[0]);
    tcase_add_loop_test(tests, partition_is_refused_in_one_line, 0, sizeof bad / sizeof bad[0]);
    tcase_add_test(tests, every_grouping_is_accepted);
    tcase_add_test(tests, distances_are_hops);
    tcase_add_test(tests, rights_cover_the_channels);
    tcase_add_test(tests, pools_are_mapped_where_needed_only);
    tcase_add_test(tests, who_is_concerned_by_whom);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
