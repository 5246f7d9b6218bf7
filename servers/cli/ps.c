// SPDX-License-Identifier: BSD-2-Clause
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "servers/cli/client.h"
#include "servers/cli/json.h"

static void servers_join(const Bulkhead__Manage__Domain *domain, char *ret_text, size_t size)
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < domain->n_servers && used < size; i++)
        used += (size_t)snprintf(ret_text + used, size - used, "%s%s", i == 0 ? "" : ",",
                                 cli_printable(domain->servers[i]));
}

static void uptime_format(uint64_t us, char *ret_text, size_t size)
{
    uint64_t seconds = us / 1000000;
    if (seconds < 60)
        snprintf(ret_text, size, "%" PRIu64 ".%01" PRIu64 "s", seconds, us / 100000 % 10);
    else if (seconds < 3600)
        snprintf(ret_text, size, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60, seconds % 60);
    else
        snprintf(ret_text, size, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600, seconds / 60 % 60);
}

static void domain_print(const Bulkhead__Manage__Domain *domain)
{
    char servers[128], uptime[32], private[32] = "-";
    servers_join(domain, servers, sizeof(servers));
    uptime_format(domain->uptime_us, uptime, sizeof(uptime));
    if (domain->private_kib != 0)
        snprintf(private, sizeof(private), "%" PRIu64 " KiB", domain->private_kib);
    char spare[16] = "-";
    if (domain->spare_pid != 0)
        snprintf(spare, sizeof(spare), "%u", domain->spare_pid);
    printf("%-24s %-24s %8u %8s %11u %-10s %8s %10s %9.3fs%s%s\n", cli_printable(domain->name), servers, domain->pid,
           spare, domain->incarnation, cli_printable(domain->state), uptime, private, (double)domain->cpu_us / 1e6,
           domain->program[0] != '\0' ? "  " : "", cli_printable(domain->program));
    if (domain->unhealthy == 0)
        return;
    printf("  %u failed start%s in a row", domain->unhealthy, domain->unhealthy == 1 ? "" : "s");
    if (domain->backoff_us != 0)
        printf(", the next one in %" PRIu64 " ms", domain->backoff_us / 1000);
    printf("\n");
}

static void list_print(const Bulkhead__Manage__DomainList *list)
{
    char uptime[32];
    printf("%-24s %-24s %8s %8s %11s %-10s %8s %10s %10s\n", "DOMAIN", "SERVERS", "PID", "SPARE", "INCARNATION",
           "STATE", "UPTIME", "PRIVATE", "CPU");
    for (size_t i = 0; i < list->n_domain; i++)
        domain_print(list->domain[i]);
    uptime_format(list->uptime_us, uptime, sizeof(uptime));
    printf("partition %s, up %s, %u session%s, supervisor %u\nwalls: %s\n", cli_printable(list->partition), uptime,
           list->sessions, list->sessions == 1 ? "" : "s", list->supervisor_pid, cli_printable(list->walls));
    if (list->prober_pid != 0)
        printf("prober %u: has a session of its own\n", list->prober_pid);
}

int cli_ps(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Ps ps = BULKHEAD__MANAGE__PS__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Reply *reply = NULL;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_PS;
    request.ps = &ps;
    int status = client_ask(arguments, false, &request, &reply);
    if (status != CLI_OK)
        return status;
    if (reply->ps == NULL)
        status = cli_failed(arguments->command, "the stack sent no list of domains; start it anew");
    else if (arguments->json)
        status = json_print(arguments->command, json_of_message(&reply->ps->base), JSON_INDENT(2));
    else
        list_print(reply->ps);
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}
