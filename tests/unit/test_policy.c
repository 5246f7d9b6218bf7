// SPDX-License-Identifier: BSD-2-Clause
/* Policies: what the rules permit, and what is said of files that are wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capabilities/policy_file.h"
#include "capabilities/settings.h"
#include "tests/unit/suite.h"

static struct policy policy;
static char error[192];

/* Reads `text` from a file. */
static int read_text(const char *text, size_t length)
{
    char path[] = "/tmp/test_policy-XXXXXX", *at;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, length), (ssize_t)length);
    close(fd);
    int result = policy_file_read(path, &policy, error, sizeof error);
    unlink(path);
    if (result < 0 && (at = strstr(error, path)) == error) /* what follows the name */
        memmove(error, error + strlen(path), strlen(error + strlen(path)) + 1);
    return result;
}

static struct ip_address ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return ip_address_from_ip4((const uint8_t[]){a, b, c, d});
}

static const struct ip_address ip6 = {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [15] = 2}};

START_TEST(the_default_policy_is_what_it_says)
{
    ck_assert_int_eq(policy_file_read(NULL, &policy, error, sizeof error), 0);
    const struct policy_rule *rule = policy_match(&policy, 1000, 1000);
    ck_assert_ptr_nonnull(rule);
    ck_assert(rule->attach);
    ck_assert_uint_eq(rule->limits.sessions, 48);
    ck_assert_uint_eq(rule->limits.sockets, 4096);
    ck_assert_uint_eq(rule->limits.memory_octets, 384U << 20);
    struct ip_address any = {.family = ADDRESS_IP6}, one = ip4(192, 0, 2, 1);
    ck_assert(policy_permits(&rule->bind, 6, &any, 0));
    ck_assert(policy_permits(&rule->bind, 17, &one, 80));
    ck_assert(policy_permits(&rule->connect, 17, &ip6, 65535));
    ck_assert_ptr_eq(policy_match(&policy, 0, 0), rule);
}
END_TEST

START_TEST(the_first_match_holds)
{
    static const char text[] =
        "rules = ({uid = 7; gid = \"9\"; sockets = 1;}, {uid = \"7\"; attach = false;},\n"
        "{uid = \"root\"; gid = \"root\"; sockets = 3;}, {uid = \"any\"; gid = 5; sockets = 4;});";
    ck_assert_msg(read_text(text, sizeof text - 1) == 0, "%s", error);
    ck_assert_uint_eq(policy.count, 4);
    ck_assert_ptr_eq(policy_match(&policy, 7, 9), &policy.rule[0]);
    ck_assert_ptr_eq(policy_match(&policy, 7, 5), &policy.rule[1]); /* the later one for gid 5 is too late */
    ck_assert(!policy_match(&policy, 7, 5)->attach);
    ck_assert_ptr_eq(policy_match(&policy, 0, 0), &policy.rule[2]);
    ck_assert_ptr_eq(policy_match(&policy, 8, 5), &policy.rule[3]);
    ck_assert_ptr_null(policy_match(&policy, 8, 9));
    ck_assert_uint_eq(policy.rule[3].bind.count, 0); /* what is not named is refused */
    struct ip_address one = ip4(10, 0, 0, 1);
    ck_assert(!policy_permits(&policy.rule[3].bind, 6, &one, 80));
}
END_TEST

START_TEST(spans_have_edges)
{
    static const char text[] =
        "rules = ({uid = \"any\"; connect = ({protocol = \"tcp\"; address = \"10.1.128.0/17\"; ports = \"80-90\";},\n"
        "{protocol = \"udp\"; address = \"fd77::/63\"; ports = 53;}, {address = \"192.0.2.7\"; ports = \"0\";});});";
    const struct {
        uint8_t protocol;
        struct ip_address address;
        uint16_t port;
        bool permitted;
    } rows[] = {
        {6, ip4(10, 1, 128, 0), 80, true},
        {6, ip4(10, 1, 255, 255), 90, true},
        {6, ip4(10, 1, 127, 255), 80, false},
        {6, ip4(10, 2, 128, 0), 80, false},
        {6, ip4(10, 1, 128, 0), 79, false},
        {6, ip4(10, 1, 128, 0), 91, false},
        {17, ip4(10, 1, 128, 0), 80, false},
        {17, ip6, 53, true},
        {6, ip6, 53, false},
        {17, ip6, 54, false},
        {6, ip4(192, 0, 2, 7), 0, true},
        {17, ip4(192, 0, 2, 7), 0, true},
        {6, ip4(192, 0, 2, 6), 0, false},
        {6, ip4(192, 0, 2, 7), 1, false},
        {17, {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [7] = 1}}, 53, true},
        {17, {.family = ADDRESS_IP6, .octets = {0xfd, 0x77, [7] = 2}}, 53, false},
        {17, {.family = ADDRESS_IP6}, 53, false}, /* every address is more than a prefix */
        {6, {.family = ADDRESS_IP4}, 80, false},
        {17, {.family = ADDRESS_NONE}, 53, false},
    };
    ck_assert_msg(read_text(text, sizeof text - 1) == 0, "%s", error);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(policy_permits(&policy.rule[0].connect, rows[i].protocol, &rows[i].address, rows[i].port) ==
                          rows[i].permitted,
                      "row %zu", i);
}
END_TEST

static const struct {
    const char *text, *error; /* what the error begins with, after the file's name */
} wrong[] = {
    {"", ":0: a policy has rules"},
    {"\nrules = ();", ":2: a policy has rules"},
    {"rules = 3;", ":1: a policy has rules"},
    {"rules = (\n{ uid = \"any\"\n};\n", ":3: syntax error"},
    {"rules = ({uid = \"any\";});\nrule = 3;", ":2: 'rule' is not known here"},
    {"rules = (\n3);", ":2: a rule: write {"},
    {"rules = (\n{ attach = true; });", ":2: a rule says whom it is for"},
    {"rules = ({\nuid = \"nobody of this name\";});", ":2: uid 'nobody of this name' is not known on this machine"},
    {"rules = ({uid = \"any\";\ngid = \"nobody of this name\";});", ":2: gid 'nobody of this name' is not known"},
    {"rules = ({\nuid = -1;});", ":2: uid: write a name"},
    {"rules = ({\nuid = \"4294967295\";});", ":2: uid '4294967295' is not known"},
    {"rules = ({\nuid = true;});", ":2: uid: write a name"},
    {"rules = ({uid = \"any\";\nattach = \"no\";});", ":2: attach: write true or false"},
    {"rules = ({uid = \"any\";\nports = \"80\";});", ":2: 'ports' is not known here"},
    {"rules = ({uid = \"any\";\nsessions = 0;});", ":2: sessions: write a number from 1 to 64"},
    {"rules = ({uid = \"any\";\nsessions = 65;});", ":2: sessions: write a number from 1 to 64"},
    {"rules = ({uid = \"any\";\nmemory = 385;});", ":2: memory: write a number from 1 to 384"},
    {"rules = ({uid = \"any\";\nmemory = \"1\";});", ":2: memory: write a number from 1 to 384"},
    {"rules = ({uid = \"any\";\nsockets = 4097;});", ":2: sockets: write a number from 1 to 4096"},
    {"rules = ({uid = \"any\";\nbind = \"any\";});", ":2: bind: write a list"},
    {"rules = ({uid = \"any\"; bind = (\n3);});", ":2: write { protocol = ...;"},
    {"rules = ({uid = \"any\"; bind = ({\nport = 3;});});", ":2: 'port' is not known here"},
    {"rules = ({uid = \"any\"; bind = ({\nprotocol = \"icmp\";});});", ":2: protocol: write"},
    {"rules = ({uid = \"any\"; bind = ({\nprotocol = 6;});});", ":2: protocol: write"},
    {"rules = ({uid = \"any\"; bind = ({\naddress = \"10.0.0.0/33\";});});", ":2: address: write a prefix"},
    {"rules = ({uid = \"any\"; bind = ({\naddress = \"10.0.0/8\";});});", ":2: address: write a prefix"},
    {"rules = ({uid = \"any\"; bind = ({\naddress = \"fd77::/129\";});});", ":2: address: write a prefix"},
    {"rules = ({uid = \"any\"; bind = ({\naddress = \"10.0.0.0/\";});});", ":2: address: write a prefix"},
    {"rules = ({uid = \"any\"; bind = ({\nports = \"90-80\";});});", ":2: ports: write"},
    {"rules = ({uid = \"any\"; bind = ({\nports = \"80-\";});});", ":2: ports: write"},
    {"rules = ({uid = \"any\"; bind = ({\nports = \"-80\";});});", ":2: ports: write"},
    {"rules = ({uid = \"any\"; bind = ({\nports = 65536;});});", ":2: ports: write"},
    {"rules = ({uid = \"any\"; bind = ({\nports = -1;});});", ":2: ports: write"},
    {"rules = ({uid = \"any\"; bind = ({\nports = \"00000000000000080\";});});", ":2: ports: write"},
    {"@include \"/etc/passwd\"\n", ": cannot be read: write everything in one file"},
};

START_TEST(what_is_wrong_is_named)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memset(&policy, 0x55, sizeof policy);
        ck_assert_msg(read_text(wrong[i].text, strlen(wrong[i].text)) < 0, "%s", wrong[i].text);
        ck_assert_msg(strncmp(error, wrong[i].error, strlen(wrong[i].error)) == 0, "%s\nexpected %s\nhave     %s",
                      wrong[i].text, wrong[i].error, error);
        ck_assert_ptr_null(strchr(error, '\n'));
        ck_assert_uint_eq(policy.count, 0x55555555); /* untouched */
    }
}
END_TEST

START_TEST(too_much_is_refused)
{
    static char text[SETTINGS_OCTETS_MAX + 100];
    int length = snprintf(text, sizeof text, "rules = ({uid = 1;}");
    for (unsigned i = 1; i < POLICY_RULES; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, ",{uid = 1;}");
    int rules = length;
    length += snprintf(text + length, sizeof text - (size_t)length, ");");
    ck_assert_int_eq(read_text(text, (size_t)length), 0);
    ck_assert_uint_eq(policy.count, POLICY_RULES);
    length = rules + snprintf(text + rules, sizeof text - (size_t)rules, ",{uid = 1;});");
    ck_assert_int_lt(read_text(text, (size_t)length), 0);
    length = snprintf(text, sizeof text, "rules = ({uid = 1; bind = ({}");
    for (unsigned i = 0; i < POLICY_SPANS; i++)
        length += snprintf(text + length, sizeof text - (size_t)length, ",{}");
    length += snprintf(text + length, sizeof text - (size_t)length, ");});");
    ck_assert_int_lt(read_text(text, (size_t)length), 0);
    memset(text, ' ', sizeof text);
    ck_assert_int_lt(read_text(text, sizeof text), 0);
    ck_assert_int_lt(read_text("rules\0", 6), 0);
    ck_assert_int_lt(policy_file_read("/nowhere", &policy, error, sizeof error), 0);
    ck_assert_str_eq(error, "/nowhere: cannot be read: No such file or directory");
    ck_assert_int_lt(policy_file_read("/tmp", &policy, error, sizeof error), 0);
    ck_assert_str_eq(error, "/tmp: cannot be read: Is a directory");
}
END_TEST

SUITE_RUN("policy", NULL, NULL, the_default_policy_is_what_it_says, the_first_match_holds, spans_have_edges,
          what_is_wrong_is_named, too_much_is_refused)
