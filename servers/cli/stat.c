// SPDX-License-Identifier: BSD-2-Clause
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "servers/cli/client.h"
#include "servers/cli/json.h"

static void table_print(const Bulkhead__Manage__CounterList *list, bool all)
{
    const char *last = "";
    for (size_t i = 0; i < list->n_counter; i++) {
        const Bulkhead__Manage__Counter *counter = list->counter[i];
        if (counter->value == 0 && !all)
            continue;
        if (strcmp(last, cli_printable(counter->server)) != 0)
            printf("%s\n", counter->server);
        last = counter->server;
        printf("  %-40s %20" PRIu64 "\n", cli_printable(counter->name), counter->value);
    }
}

/* OpenMetrics 1.0: a metric's name has letters, digits and '_' only. */
static void metric_name(char *name)
{
    for (char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c))
            *c = '_';
}

static bool named_before(const Bulkhead__Manage__CounterList *list, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(list->counter[i]->name, list->counter[index]->name) == 0)
            return true;
    return false;
}

/* One family a name, its samples (one a server) together, as the format wants. Some values can fall (connections that
 * are open), and the answer does not say which: the type is "unknown". */
static void openmetrics_print(const Bulkhead__Manage__CounterList *list)
{
    for (size_t i = 0; i < list->n_counter; i++) {
        metric_name(list->counter[i]->name);
        metric_name(list->counter[i]->server);
    }
    for (size_t i = 0; i < list->n_counter; i++) {
        const char *name = list->counter[i]->name;
        if (named_before(list, i))
            continue;
        printf("# TYPE bulkhead_%s unknown\n", name);
        for (size_t j = i; j < list->n_counter; j++)
            if (strcmp(name, list->counter[j]->name) == 0)
                printf("bulkhead_%s{server=\"%s\"} %" PRIu64 "\n", name, list->counter[j]->server,
                       list->counter[j]->value);
    }
    printf("# EOF\n");
}

int cli_stat(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Stat stat = BULKHEAD__MANAGE__STAT__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Reply *reply = NULL;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_STAT;
    request.stat = &stat;
    int status = client_ask(arguments, false, &request, &reply);
    if (status != CLI_OK)
        return status;
    if (reply->stat == NULL)
        status = cli_failed(arguments->command, "the stack sent no counters; start it anew");
    else if (arguments->json)
        status = json_print(arguments->command, json_of_message(&reply->stat->base), JSON_INDENT(2));
    else if (arguments->openmetrics)
        openmetrics_print(reply->stat);
    else
        table_print(reply->stat, arguments->all);
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}
