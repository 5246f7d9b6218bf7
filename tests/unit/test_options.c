// SPDX-License-Identifier: BSD-2-Clause
/* What a wrong command line is answered. */
#include "servers/supervisor/options.h"

#include "tests/unit/suite.h"

START_TEST(a_wrong_option_is_told_in_one_line)
{
    static char *const wrong[][2] = {{"--driver", "tap:a\nb"},       {"--driver", "tap:a b"},
                                     {"--driver", "tap:a%d"},        {"--driver", "tap:abcdefghijklmnop"},
                                     {"--driver", "wire:"},          {"--driver", "wire:x"},
                                     {"--driver", "wire:/"},         {"--driver", "wire:/a\nb,x"},
                                     {"--driver", "wire:/w,loss=2"}, {"--gateway", "1\n2"},
                                     {"--nonsense\nx", "y"},         {"--partition", "ti\np"},
                                     {"--run-dir", "x\ny"}};
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

SUITE_RUN("options", NULL, NULL, a_wrong_option_is_told_in_one_line, a_driver_is_read)
