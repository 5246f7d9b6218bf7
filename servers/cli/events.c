// SPDX-License-Identifier: BSD-2-Clause
/* Theory of operation: the history is asked for in pages of the status socket. --follow subscribes before it asks, so
 * that nothing falls between. A published event is only the sign that there is something new: what is printed is always
 * asked for by number, and so there are no gaps, whatever PUB drops, and no event comes twice. Without a sign it asks
 * every RESEND_MS anyway, and so sees the end of the stack. */
#include <errno.h>
#include <inttypes.h>
#include <nanomsg/nn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "servers/cli/client.h"
#include "servers/cli/json.h"

#define PAGE_EVENTS 256

static void event_print(const Bulkhead__Manage__Event *event)
{
    char when[32];
    struct tm local;
    time_t seconds = (time_t)(event->time_us / 1000000);
    if (localtime_r(&seconds, &local) == NULL || strftime(when, sizeof(when), "%H:%M:%S", &local) == 0)
        when[0] = '\0';
    printf("%5" PRIu64 "  %s.%06u  %-12s %-16s", event->number, when, (unsigned)(event->time_us % 1000000),
           cli_printable(event->kind), cli_printable(event->subject));
    if (event->incarnation != 0)
        printf(" #%u", event->incarnation);
    printf("  %s", cli_printable(event->text));
    if (strcmp(event->kind, "died") == 0 && event->n_span_us > 0)
        printf("  noticed after %.3f ms", (double)event->span_us[0] / 1e3);
    putchar('\n');
}

static int list_print(const struct cli_arguments *arguments, const Bulkhead__Manage__EventList *list, json_t *document)
{
    for (size_t i = 0; i < list->n_event; i++) {
        if (!arguments->json) {
            event_print(list->event[i]);
            continue;
        }
        json_t *event = json_of_message(&list->event[i]->base);
        if (!arguments->follow)
            json_array_append_new(json_object_get(document, "events"), event);
        else if (json_print(arguments->command, event, JSON_COMPACT) != CLI_OK)
            return CLI_FAILED;
    }
    if (!arguments->follow)
        return CLI_OK;
    return fflush(stdout) == 0 ? CLI_OK : cli_failed(arguments->command, "cannot write the output");
}

/* Prints what is newer than *since, or puts it into `document`, and moves *since. */
static int history_print(const struct cli_arguments *arguments, uint64_t *since, json_t *document)
{
    for (;;) {
        Bulkhead__Manage__EventsSince events = BULKHEAD__MANAGE__EVENTS_SINCE__INIT;
        Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
        Bulkhead__Manage__Reply *reply = NULL;
        events.number = *since;
        events.limit = PAGE_EVENTS;
        request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_EVENTS;
        request.events = &events;
        int status = client_ask(arguments, false, &request, &reply);
        if (status != CLI_OK)
            return status;
        const Bulkhead__Manage__EventList *list = reply->events;
        uint64_t last = *since;
        if (list != NULL && list->n_event > 0) {
            status = list_print(arguments, list, document);
            last = list->event[list->n_event - 1]->number;
        }
        bulkhead__manage__reply__free_unpacked(reply, NULL);
        if (status != CLI_OK || last <= *since) /* an empty page is the end */
            return status;
        *since = last;
    }
}

static int follow(const struct cli_arguments *arguments, uint64_t since)
{
    int fd = client_subscribe(arguments);
    if (fd < 0)
        return CLI_FAILED;
    int status = CLI_OK;
    while (status == CLI_OK) {
        status = history_print(arguments, &since, NULL);
        void *sign = NULL;
        if (status == CLI_OK && nn_recv(fd, &sign, NN_MSG, 0) >= 0)
            nn_freemsg(sign);
        if (status == CLI_OK && client_probe(arguments->run_dir, "status") == -ENOENT)
            break; /* the stack ended in order */
    }
    nn_close(fd);
    return status;
}

int cli_events(const struct cli_arguments *arguments)
{
    uint64_t since = arguments->since;
    if (arguments->follow)
        return follow(arguments, since);
    json_t *document = json_pack("{s:[]}", "events");
    int status = history_print(arguments, &since, document);
    if (status == CLI_OK && arguments->json)
        return json_print(arguments->command, document, JSON_INDENT(2));
    json_decref(document);
    return status;
}
