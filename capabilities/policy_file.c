// SPDX-License-Identifier: BSD-2-Clause
/* libconfig parses; here is what the words mean. A word that is not known is an error, as is a rule that nobody can
 * reach for want of room. */
#include "capabilities/policy_file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capabilities/default_policy.h"
#include "capabilities/settings.h"

#define DEFAULT_NAME  "the default policy"
#define SESSIONS_ELSE (POLICY_SESSIONS_MOST - POLICY_SESSIONS_MOST / 4)

/* A number, or a text of digits. */
static bool number_read(const char *text, uint64_t most, uint32_t *ret)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number > most)
        return false;
    *ret = (uint32_t)number;
    return true;
}

/* ---- who ---- */
static bool user_find(const char *name, uint32_t *ret)
{
    const struct passwd *user = getpwnam(name);
    *ret = user != NULL ? user->pw_uid : 0;
    return user != NULL;
}

static bool group_find(const char *name, uint32_t *ret)
{
    const struct group *group = getgrnam(name);
    *ret = group != NULL ? group->gr_gid : 0;
    return group != NULL;
}

static int who_read(const struct settings *settings, const config_setting_t *at,
                    bool (*find)(const char *name, uint32_t *ret), uint32_t *ret)
{
    const char *text = config_setting_get_string(at);
    if (config_setting_type(at) == CONFIG_TYPE_INT && config_setting_get_int(at) >= 0) {
        *ret = (uint32_t)config_setting_get_int(at);
        return 0;
    }
    if (text == NULL)
        return settings_complain(settings, at, "%s: write a name, a number or \"any\"", config_setting_name(at));
    if (strcmp(text, "any") == 0)
        *ret = POLICY_ANY;
    else if (!number_read(text, UINT32_MAX - 1, ret) && !find(text, ret))
        return settings_complain(settings, at,
                                 "%s '%.40s' is not known on this machine: write a name, a number or \"any\"",
                                 config_setting_name(at), text);
    return 0;
}

/* ---- spans ---- */
static int protocol_read(const struct settings *settings, const config_setting_t *at, struct policy_span *span)
{
    static const struct {
        const char *name;
        uint8_t protocol;
    } known[] = {{"any", 0}, {"tcp", 6}, {"udp", 17}};
    const char *text = config_setting_get_string(at);
    for (size_t i = 0; i < sizeof known / sizeof known[0] && text != NULL; i++) {
        if (strcmp(known[i].name, text) == 0) {
            span->protocol = known[i].protocol;
            return 0;
        }
    }
    return settings_complain(settings, at, "protocol: write \"tcp\", \"udp\" or \"any\"");
}

static bool prefix_read(const char *text, struct policy_span *span)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);
    uint32_t bits;
    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, span->prefix.octets) == 1)
        span->prefix.family = ADDRESS_IP4;
    else if (inet_pton(AF_INET6, address, span->prefix.octets) == 1)
        span->prefix.family = ADDRESS_IP6;
    else
        return false;
    uint32_t most = span->prefix.family == ADDRESS_IP4 ? 32 : 128;
    if (slash == NULL)
        bits = most;
    else if (!number_read(slash + 1, most, &bits))
        return false;
    span->prefix_length = (uint8_t)bits;
    return true;
}

static int address_read(const struct settings *settings, const config_setting_t *at, struct policy_span *span)
{
    const char *text = config_setting_get_string(at);
    if (text != NULL && (strcmp(text, "any") == 0 || prefix_read(text, span)))
        return 0;
    return settings_complain(settings, at, "address: write a prefix, as \"192.0.2.0/24\" or \"fd77::/64\", or \"any\"");
}

static int ports_read(const struct settings *settings, const config_setting_t *at, struct policy_span *span)
{
    const char *text = config_setting_get_string(at), *dash;
    char number[8];
    uint32_t first, last;
    if (config_setting_type(at) == CONFIG_TYPE_INT) {
        snprintf(number, sizeof number, "%d", config_setting_get_int(at));
        text = number;
    }
    if (text != NULL && strcmp(text, "any") == 0)
        return 0;
    dash = text != NULL ? strchr(text, '-') : NULL;
    char low[8] = "";
    if (text != NULL && (dash == NULL ? strlen(text) : (size_t)(dash - text)) < sizeof low)
        memcpy(low, text, dash == NULL ? strlen(text) : (size_t)(dash - text));
    if (!number_read(low, UINT16_MAX, &first) || !number_read(dash != NULL ? dash + 1 : low, UINT16_MAX, &last) ||
        first > last)
        return settings_complain(settings, at, "ports: write \"80\", \"8000-8080\" or \"any\"");
    span->port_first = (uint16_t)first;
    span->port_last = (uint16_t)last;
    return 0;
}

static int span_read(const struct settings *settings, const config_setting_t *at, struct policy_span *ret)
{
    static const struct {
        const char *name;
        int (*read)(const struct settings *settings, const config_setting_t *at, struct policy_span *span);
    } words[] = {{"protocol", protocol_read}, {"address", address_read}, {"ports", ports_read}};
    struct policy_span span = {.port_last = UINT16_MAX};
    if (!config_setting_is_group(at))
        return settings_complain(settings, at, "write { protocol = ...; address = ...; ports = ...; } here");
    for (int i = 0; i < config_setting_length(at); i++) {
        const config_setting_t *field = config_setting_get_elem(at, (unsigned)i);
        size_t w = 0;
        while (w < sizeof words / sizeof words[0] && strcmp(words[w].name, config_setting_name(field)) != 0)
            w++;
        if (w == sizeof words / sizeof words[0])
            return settings_complain(settings, field, "'%.40s' is not known here: write protocol, address or ports",
                                     config_setting_name(field));
        int result = words[w].read(settings, field, &span);
        if (result < 0)
            return result;
    }
    *ret = span;
    return 0;
}

static int list_read(const struct settings *settings, const config_setting_t *at, struct policy_list *ret)
{
    if (!config_setting_is_list(at))
        return settings_complain(settings, at, "%s: write a list, ( { ... }, { ... } ), or () for nothing",
                                 config_setting_name(at));
    if (config_setting_length(at) > POLICY_SPANS)
        return settings_complain(settings, at, "%s: at most %d of them", config_setting_name(at), POLICY_SPANS);
    for (int i = 0; i < config_setting_length(at); i++) {
        int result = span_read(settings, config_setting_get_elem(at, (unsigned)i), &ret->span[ret->count]);
        if (result < 0)
            return result;
        ret->count++;
    }
    return 0;
}

/* ---- rules ---- */
static int limit_read(const struct settings *settings, const config_setting_t *at, int most, uint32_t *ret)
{
    int value = config_setting_get_int(at);
    if (config_setting_type(at) != CONFIG_TYPE_INT || value < 1 || value > most)
        return settings_complain(settings, at, "%s: write a number from 1 to %d", config_setting_name(at), most);
    *ret = (uint32_t)value;
    return 0;
}

static int field_read(const struct settings *settings, const config_setting_t *at, struct policy_rule *rule)
{
    const char *name = config_setting_name(at);
    uint32_t memory = 0;
    int result;
    if (strcmp(name, "uid") == 0)
        return who_read(settings, at, user_find, &rule->uid);
    if (strcmp(name, "gid") == 0)
        return who_read(settings, at, group_find, &rule->gid);
    if (strcmp(name, "sessions") == 0)
        return limit_read(settings, at, POLICY_SESSIONS_MOST, &rule->limits.sessions);
    if (strcmp(name, "sockets") == 0)
        return limit_read(settings, at, POLICY_SOCKETS_MOST, &rule->limits.sockets);
    if (strcmp(name, "bind") == 0)
        return list_read(settings, at, &rule->bind);
    if (strcmp(name, "connect") == 0)
        return list_read(settings, at, &rule->connect);
    if (strcmp(name, "memory") == 0) {
        result = limit_read(settings, at, POLICY_MEMORY_MOST, &memory);
        rule->limits.memory_octets = result == 0 ? (uint64_t)memory << 20 : rule->limits.memory_octets;
        return result;
    }
    if (strcmp(name, "attach") != 0)
        return settings_complain(
            settings, at,
            "'%.40s' is not known here: write uid, gid, attach, sessions, memory, sockets, bind or connect", name);
    if (config_setting_type(at) != CONFIG_TYPE_BOOL)
        return settings_complain(settings, at, "attach: write true or false");
    rule->attach = config_setting_get_bool(at) != 0;
    return 0;
}

static int rule_read(const struct settings *settings, const config_setting_t *at, struct policy_rule *rule)
{
    *rule = (struct policy_rule){.gid = POLICY_ANY,
                                 .attach = true,
                                 .limits = {.sessions = SESSIONS_ELSE,
                                            .sockets = POLICY_SOCKETS_MOST,
                                            .memory_octets = (uint64_t)POLICY_MEMORY_MOST << 20}};
    if (!config_setting_is_group(at))
        return settings_complain(settings, at, "a rule: write { uid = ...; ... }");
    if (config_setting_get_member(at, "uid") == NULL)
        return settings_complain(settings, at, "a rule says whom it is for: write uid = \"any\"; or a name or number");
    for (int i = 0; i < config_setting_length(at); i++) {
        int result = field_read(settings, config_setting_get_elem(at, (unsigned)i), rule);
        if (result < 0)
            return result;
    }
    return 0;
}

static int policy_read(const struct settings *settings, struct policy *ret)
{
    const config_setting_t *root = config_root_setting(&settings->config),
                           *rules = config_setting_get_member(root, "rules");
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *at = config_setting_get_elem(root, (unsigned)i);
        if (at != rules)
            return settings_complain(settings, at, "'%.40s' is not known here: a policy is rules = ( { ... } );",
                                     config_setting_name(at));
    }
    if (rules == NULL || !config_setting_is_list(rules) || config_setting_length(rules) == 0)
        return settings_complain(settings, rules != NULL ? rules : root,
                                 "a policy has rules: write rules = ( { uid = ...; } );");
    if (config_setting_length(rules) > POLICY_RULES)
        return settings_complain(settings, rules, "at most %d rules", POLICY_RULES);
    for (int i = 0; i < config_setting_length(rules); i++) {
        int result = rule_read(settings, config_setting_get_elem(rules, (unsigned)i), &ret->rule[ret->count]);
        if (result < 0)
            return result;
        ret->count++;
    }
    return 0;
}

int policy_file_read(const char *path, struct policy *ret, char *ret_error, size_t error_size)
{
    struct policy policy = {.count = 0};
    struct settings settings;
    int result = settings_init(&settings, path != NULL ? path : "the default policy",
                               path != NULL ? NULL : default_policy, ret_error, error_size);
    if (result == 0)
        result = policy_read(&settings, &policy);
    settings_fini(&settings);
    if (result == 0)
        *ret = policy;
    return result;
}
