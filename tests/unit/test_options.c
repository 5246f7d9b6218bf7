// SPDX-License-Identifier: BSD-2-Clause
/* What a wrong command line is answered, and what a file may say. */
#include "protocols/tcp/tcp.h"
#include "servers/supervisor/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/suite.h"

START_TEST(a_wrong_option_is_told_in_one_line)
{
    static char *const wrong[][2] = {{"--driver", "tap:a\nb"},       {"--driver", "tap:a b"},
                                     {"--driver", "tap:a%d"},        {"--driver", "tap:abcdefghijklmnop"},
                                     {"--driver", "wire:"},          {"--driver", "wire:x"},
                                     {"--driver", "wire:/"},         {"--driver", "wire:/a\nb,x"},
                                     {"--driver", "wire:/w,loss=2"}, {"--gateway", "1\n2"},
                                     {"--nonsense\nx", "y"},         {"--partition", "ti\np"},
                                     {"--run-dir", "x\ny"},          {"--mtu", "575"},
                                     {"--mtu", "9001"},              {"--mtu", "x"},
                                     {"--mtu", "-1500"},             {"--mtu", "99999999999999999999"},
                                     {"--mtu", "1500 "},             {"--mtu", ""},
                                     {"--congestion", "bbr"},        {"--congestion", ""},
                                     {"--probe", "99"},              {"--probe", "x"},
                                     {"--probe", "600001"},          {"--probe", ""}};
    struct options options;
    char error[OPTIONS_ERROR];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char *argv[] = {(char *)"x", wrong[i][0], wrong[i][1], NULL};
        int rest;
        ck_assert_int_lt(options_parse(&options, 3, argv, &rest, error), 0);
        ck_assert_msg(error[0] != '\0' && strchr(error, '\n') == NULL, "%s", error);
    }
}
END_TEST

START_TEST(a_driver_is_read)
{
    struct options options;
    char error[OPTIONS_ERROR];
    int rest;
    char *wire[] = {(char *)"x", (char *)"--driver", (char *)"wire:/tmp/w,loss=1%,queue=7", NULL};
    ck_assert_int_eq(options_parse(&options, 3, wire, &rest, error), 0);
    ck_assert_int_eq(options.driver, NETDRV_WIRE);
    ck_assert_str_eq(options.wire_path, "/tmp/w");
    ck_assert_uint_eq(options.impair.loss, IMPAIR_ALL / 100);
    ck_assert_uint_eq(options.impair.queue, 7);
    char *none[] = {(char *)"x", NULL};
    ck_assert_int_eq(options_parse(&options, 1, none, &rest, error), 0);
    ck_assert_int_eq(options.driver, NETDRV_TAP);
    ck_assert_str_eq(options.device, "bh0");
}
END_TEST

/* Parses up to four words. */
static int with_words(char *const words[4], struct options *options, char *error)
{
    char *argv[6] = {(char *)"x"};
    int argc = 1, rest;
    while (argc <= 4 && words[argc - 1] != NULL) {
        argv[argc] = words[argc - 1];
        argc++;
    }
    return options_parse(options, argc, argv, &rest, error);
}

START_TEST(an_mtu_has_room_for_the_addresses_and_fits_the_device)
{
    static char *const taken[][4] = {{"--mtu", "2030", "--driver", "wire:/tmp/w"}, {"--mtu", "1279"}, {"--mtu", "1280"}};
    static char *const refused[][4] = {{"--mtu", "2031", "--driver", "wire:/tmp/w"},
                                       {"--mtu", "1279", "--address", "fd77::9/64"}};
    static const uint32_t addresses[] = {2, 1, 2};
    struct options o;
    char error[OPTIONS_ERROR];
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        ck_assert_int_eq(with_words(taken[i], &o, error), 0);
        ck_assert_int_eq((int)o.mtu, atoi(taken[i][1]));
        ck_assert_uint_eq(o.address_count, addresses[i]);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ck_assert_int_lt(with_words(refused[i], &o, error), 0);
        ck_assert_ptr_nonnull(strstr(error, refused[i][1]));
    }
}
END_TEST

static char path[] = "/tmp/test_options-XXXXXX";

/* Parses `arguments` (up to three) with --config of a file with this text. */
static int with_file(const char *text, char *const arguments[3], struct options *options, char *error)
{
    char name[sizeof path];
    memcpy(name, path, sizeof path);
    int fd = mkstemp(name), rest;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    char *argv[7] = {(char *)"x", (char *)"--config", name};
    int argc = 3;
    for (unsigned i = 0; i < 3 && arguments[i] != NULL; i++)
        argv[argc++] = arguments[i];
    int result = options_parse(options, argc, argv, &rest, error);
    unlink(name);
    return result;
}

START_TEST(the_file_speaks_where_the_command_line_does_not)
{
    static const char text[] =
        "partition = \"monolithic\"; driver = \"tap:other\"; dad = \"off\"; congestion = \"reno\"; placement = \"spread\";"
        "address = [\"192.0.2.1/25\", \"fd00::1/48\"]; gateway = \"192.0.2.2\";"
        "route = (\"198.51.100.0/24,192.0.2.3\"); run-dir = \"/there\"; ecn = \"on\"; policy = \"/p\";";
    struct options o;
    char error[OPTIONS_ERROR];
    ck_assert_msg(with_file(text, (char *const[3]){NULL}, &o, error) == 0, "%s", error);
    ck_assert_uint_eq(o.partition.count, 1);
    ck_assert_str_eq(o.device, "other");
    ck_assert_int_eq(o.dad, STACK_DAD_OFF);
    ck_assert_int_eq(o.ecn, STACK_ECN_ON);
    ck_assert_int_eq(o.placement, PLACEMENT_SPREAD);
    ck_assert_uint_eq(o.congestion, TCP_CONGESTION_RENO);
    ck_assert_uint_eq(o.address_count, 2);
    ck_assert_uint_eq(o.prefix_length[1], 48);
    ck_assert_uint_eq(o.gateway[0].octets[3], 2);
    ck_assert_uint_eq(o.route_count, 1);
    ck_assert_str_eq(o.run_dir, "/there");
    ck_assert_str_eq(o.policy, "/p");
    char *const over[][3] = {
        {(char *)"--address", (char *)"10.0.0.1/8"}, {(char *)"--gateway=fd00::2"}, {(char *)"--dad=on"},
        {(char *)"--congestion=cubic"}};
    ck_assert_int_eq(with_file(text, over[0], &o, error), 0);
    ck_assert_uint_eq(o.address_count, 1); /* instead of the file's, not beside them */
    ck_assert_uint_eq(o.address[0].octets[0], 10);
    ck_assert_uint_eq(o.route_count, 1);
    ck_assert_int_eq(with_file(text, over[1], &o, error), 0);
    ck_assert_uint_eq(o.gateway[0].family, ADDRESS_NONE);
    ck_assert_uint_eq(o.gateway[1].family, ADDRESS_IP6);
    ck_assert_int_eq(with_file(text, over[2], &o, error), 0);
    ck_assert_int_eq(o.dad, STACK_DAD_ON);
    ck_assert_int_eq(with_file(text, over[3], &o, error), 0);
    ck_assert_uint_eq(o.congestion, TCP_CONGESTION_CUBIC);
    ck_assert_int_eq(with_file("", (char *const[3]){NULL}, &o, error), 0);
    ck_assert_uint_eq(o.partition.count, SERVER_COUNT); /* the defaults */
    ck_assert_int_eq(o.ecn, STACK_ECN_PASSIVE);
    ck_assert_uint_eq(o.address_count, 2);
}
END_TEST

START_TEST(a_wrong_file_is_no_wrong_usage)
{
    struct options o;
    char error[OPTIONS_ERROR];
    ck_assert_int_eq(with_file("dad = 3;", (char *const[3]){NULL}, &o, error), -EBADMSG);
    ck_assert_int_eq(with_file("", (char *const[3]){(char *)"--dad=3"}, &o, error), -EINVAL);
    ck_assert_int_eq(with_file("", (char *const[3]){(char *)"--ecn=maybe"}, &o, error), -EINVAL);
    ck_assert_int_eq(options_set(&o, "ready-fd", "1", error), -ENOENT);
}
END_TEST

SUITE_RUN("options", NULL, NULL, a_driver_is_read, the_file_speaks_where_the_command_line_does_not, a_wrong_file_is_no_wrong_usage,
          a_wrong_option_is_told_in_one_line, an_mtu_has_room_for_the_addresses_and_fits_the_device)
