// SPDX-License-Identifier: BSD-2-Clause
/* What the files of bulkhead-inject share: the request, and what is said of it. */
#ifndef BULKHEAD_SERVERS_INJECT_INJECT_H
#define BULKHEAD_SERVERS_INJECT_INJECT_H

#include <stdint.h>
#include <sys/types.h>

#include "servers/inject/image.h"
#include "servers/inject/mutation.h"

struct injection {
    pid_t pid;
    const char *fault, *server, *place;
    uint64_t random; /* the sequence that follows from the seed */
    uint64_t timeout_us;
    uint64_t canary; /* address in the process; 0: none */
};

enum report {
    REPORT_PLACED = 'R',  /* it is in place */
    REPORT_DONE = 'D',    /* and that is all */
    REPORT_REFUSED = 'X', /* why not */
    REPORT_EVENT = 'E',
};
/* One line to the supervisor. */
void report(enum report what, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Each does all of one request, and says so. */
void inject_code(struct injection *injection, enum mutation mutation); /* code.c */
void inject_coverage(struct injection *injection);                     /* coverage.c */
void inject_memory(struct injection *injection);                       /* memory.c */
void inject_verify(struct injection *injection);                       /* verify.c */
void inject_plant(struct injection *injection);                        /* plant.c */

/* Decoder with details; it and the image last until the end. `own`: as image_open() has it. False: said why not. */
bool code_open(const struct injection *injection, bool own, struct image *image, csh *ret_decoder);
/* Instructions of a function, to be freed by cs_free(); 0: it cannot be decoded. */
size_t code_decode(csh decoder, const struct image *image, const struct image_function *function, cs_insn **ret);

#endif
