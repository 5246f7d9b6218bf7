// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-inject: what the supervisor starts for one fault in one domain (servers/supervisor/inject.c); it speaks to
 * it over descriptor 3. Not for the command line. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "servers/inject/inject.h"
#include "servers/inject/maps.h"

#define REPORTS       3
#define REPORT_OCTETS 590 /* less than INJECT_TEXT of the supervisor */

void report(enum report what, const char *format, ...)
{
    char line[REPORT_OCTETS];
    va_list values;
    line[0] = (char)what;
    va_start(values, format);
    vsnprintf(line + 1, sizeof line - 1, format, values);
    va_end(values);
    ssize_t n = send(REPORTS, line, strlen(line), MSG_NOSIGNAL);
    (void)n; /* a supervisor that is gone has ended the domain too */
}

static uint64_t seed_of(const char *seed, const char *fault)
{
    uint64_t state = strtoull(seed, NULL, 10);
    for (const char *c = fault; *c != '\0'; c++)
        state = random_next(&state) ^ (uint8_t)*c;
    return state;
}

static void serve(struct injection *injection)
{
    enum mutation mutation;
    if (mutation_find(injection->fault, &mutation))
        inject_code(injection, mutation);
    else if (strcmp(injection->fault, "coverage") == 0)
        inject_coverage(injection);
    else if (strcmp(injection->fault, "verify") == 0)
        inject_verify(injection);
    else if (strncmp(injection->fault, "plant-", 6) == 0)
        inject_plant(injection);
    else if (strncmp(injection->fault, "flip-", 5) == 0 || strcmp(injection->fault, "wild-write") == 0)
        inject_memory(injection);
    else
        report(REPORT_REFUSED, "no fault named '%.40s': see `bulkhead inject --help`", injection->fault);
}

int main(int argc, char **argv)
{
    int type;
    socklen_t length = sizeof type;
    if (argc != 8 || getsockopt(REPORTS, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET) {
        fputs("bulkhead-inject: started by hand; use 'bulkhead inject'\n", stderr);
        return 2;
    }
    struct injection injection = {
        .pid = atoi(argv[1]),
        .fault = argv[2],
        .random = seed_of(argv[3], argv[2]),
        .server = argv[4],
        .timeout_us = strtoull(argv[5], NULL, 10) * 1000,
        .canary = strtoull(argv[6], NULL, 10),
        .place = argv[7],
    };
    serve(&injection);
    return 0;
}
