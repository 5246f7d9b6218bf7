// SPDX-License-Identifier: BSD-2-Clause
/* What a wrong command line is answered. */
#include "servers/supervisor/options.h"

#include "tests/unit/suite.h"

START_TEST(a_wrong_option_is_told_in_one_line)
{
    static char *const wrong[][2] = {{"--driver", "tap:a\nb"}, {"--driver", "tap:a b"},
                                     {"--driver", "tap:a%d"},  {"--driver", "tap:abcdefghijklmnop"},
                                     {"--gateway", "1\n2"},    {"--nonsense\nx", "y"},
                                     {"--partition", "ti\np"}, {"--run-dir", "x\ny"}};
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

SUITE_RUN("options", NULL, NULL, a_wrong_option_is_told_in_one_line)
