// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "servers/topology/topology.h"

#define FACTORED   "nic|ip|tcp|udp|socket"
#define MONOLITHIC "nic+ip+tcp+udp+socket"

static int refuse(char *ret_error, size_t error_size, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int refuse(char *ret_error, size_t error_size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_error, error_size, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int domain_parse(struct partition_domain *domain, const char *text, size_t length, uint32_t *seen,
                        char *ret_error, size_t error_size)
{
    size_t at = 0;
    while (at <= length) {
        size_t end = at;
        while (end < length && text[end] != '+')
            end++;
        enum server_id id;
        if (end == at)
            return refuse(ret_error, error_size, "partition: a name is missing: write servers as " FACTORED);
        if (!topology_server_find(text + at, end - at, &id))
            return refuse(ret_error, error_size, "partition: no server named '%.*s' (nic, ip, tcp, udp, socket)",
                          (int)(end - at > 32 ? 32 : end - at), text + at);
        if ((*seen & SERVER_BIT(id)) != 0)
            return refuse(ret_error, error_size, "partition: '%s' is there twice", topology_server_name(id));
        *seen |= SERVER_BIT(id);
        domain->servers |= SERVER_BIT(id);
        at = end + 1;
    }
    memcpy(domain->name, text, length); /* fits: every name at most once */
    domain->name[length] = '\0';
    return 0;
}

int partition_parse(const char *text, struct partition *ret, char *ret_error, size_t error_size)
{
    struct partition partition = {0};
    uint32_t seen = 0;
    if (strcmp(text, "factored") == 0)
        text = FACTORED;
    else if (strcmp(text, "monolithic") == 0)
        text = MONOLITHIC;
    for (const char *at = text; at != NULL;) {
        const char *bar = strchr(at, '|');
        size_t length = bar != NULL ? (size_t)(bar - at) : strlen(at);
        if (partition.count == SERVER_COUNT)
            return refuse(ret_error, error_size, "partition: more than %d domains", SERVER_COUNT);
        int error = domain_parse(&partition.domain[partition.count], at, length, &seen, ret_error, error_size);
        if (error < 0)
            return error;
        partition.count++;
        at = bar != NULL ? bar + 1 : NULL;
    }
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        if ((seen & SERVER_BIT(id)) == 0)
            return refuse(ret_error, error_size, "partition: '%s' is missing: every server once, as in " FACTORED,
                          topology_server_name((enum server_id)id));
    }
    snprintf(partition.text, sizeof partition.text, "%s", text);
    *ret = partition;
    return 0;
}
