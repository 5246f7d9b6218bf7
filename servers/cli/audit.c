// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead audit`: what the kernel says of every domain against what it was granted; exit status 1 if they differ.
 * What is being granted or taken back at the very moment is no finding: with findings it asks again, and only what is
 * still there counts. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "servers/cli/client.h"
#include "servers/cli/json.h"

#define TRIES   6
#define WAIT_MS 60

static const char *or_dash(char *text)
{
    return text[0] != '\0' ? cli_printable(text) : "-";
}

static void segment_print(const Bulkhead__Manage__AuditSegment *segment)
{
    printf("%-24s %9" PRIu64 "  %-20s %-36s %s%s%s\n", cli_printable(segment->name), segment->octets,
           or_dash(segment->writers), or_dash(segment->readers), or_dash(segment->descriptors),
           segment->note[0] != '\0' ? "  # " : "", cli_printable(segment->note));
}

static void domain_print(const Bulkhead__Manage__AuditDomain *domain)
{
    printf("%-24s %8u %11u %-8s %-12s %-28s %-22s %5u %5u  %s\n", cli_printable(domain->name), domain->pid, domain->uid,
           or_dash(domain->seccomp), or_dash(domain->capabilities), or_dash(domain->namespaces), or_dash(domain->root),
           domain->mappings, domain->descriptors, cli_printable(domain->verdict));
}

static void report_print(const Bulkhead__Manage__AuditReport *report)
{
    printf("%-24s %9s  %-20s %-36s %s\n", "SEGMENT", "OCTETS", "WRITER", "READERS",
           "DESCRIPTORS (w: open for writing)");
    for (size_t i = 0; i < report->n_segment; i++)
        segment_print(report->segment[i]);
    printf("\n%-24s %8s %11s %-8s %-12s %-28s %-22s %5s %5s  %s\n", "DOMAIN", "PID", "UID", "SECCOMP", "CAPABILITIES",
           "OWN NAMESPACES", "ROOT", "MAPS", "FDS", "WALLS");
    for (size_t i = 0; i < report->n_domain; i++)
        domain_print(report->domain[i]);
    printf("\ntrust: %s\n", cli_printable(report->walls));
    if (report->unseen > 0)
        printf("%u other processes could not be looked into: the supervisor may not\n", report->unseen);
    for (size_t i = 0; i < report->n_finding; i++)
        printf("FINDING: %s\n", cli_printable(report->finding[i]));
    printf("%zu finding%s\n", report->n_finding, report->n_finding == 1 ? "" : "s");
}

/* CLI_OK with a report, or the exit status after a message. */
static int report_ask(const struct cli_arguments *arguments, Bulkhead__Manage__Reply **ret_reply)
{
    Bulkhead__Manage__Audit audit = BULKHEAD__MANAGE__AUDIT__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_AUDIT;
    request.audit = &audit;
    int status = client_ask(arguments, true, &request, ret_reply);
    if (status != CLI_OK || (*ret_reply)->audit != NULL)
        return status;
    bulkhead__manage__reply__free_unpacked(*ret_reply, NULL);
    return cli_failed(arguments->command, "the stack sent no report; start it anew");
}

int cli_audit(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Reply *reply = NULL;
    for (int i = 0; i < TRIES; i++) {
        if (reply != NULL) {
            bulkhead__manage__reply__free_unpacked(reply, NULL);
            nanosleep(&(struct timespec){.tv_nsec = WAIT_MS * 1000000L}, NULL);
        }
        int status = report_ask(arguments, &reply);
        if (status != CLI_OK)
            return status;
        if (reply->audit->n_finding == 0 && !reply->audit->unsettled)
            break;
    }
    const Bulkhead__Manage__AuditReport *report = reply->audit;
    int status = CLI_OK;
    if (arguments->json)
        status = json_print(arguments->command, json_of_message(&report->base), JSON_INDENT(2));
    else
        report_print(report);
    if (status == CLI_OK && report->n_finding > 0)
        status = cli_failed(arguments->command, "%zu finding%s: what the kernel says is not what was granted",
                            report->n_finding, report->n_finding == 1 ? "" : "s");
    else if (status == CLI_OK && report->unsettled)
        status = cli_failed(arguments->command, "domains come and go: ask again when the stack runs");
    bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}
