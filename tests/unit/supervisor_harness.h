// SPDX-License-Identifier: BSD-2-Clause
/* The supervisor without processes: domains are the other ends of socketpairs, applications connect for real. What the
 * tests of its parts share. */
#ifndef BULKHEAD_TESTS_UNIT_SUPERVISOR_HARNESS_H
#define BULKHEAD_TESTS_UNIT_SUPERVISOR_HARNESS_H

#include <check.h>

#include "servers/supervisor/supervisor.h"

#define POOL_OCTETS 65536

extern struct supervisor *s;
extern int end[SERVER_COUNT]; /* the domains' ends of their control sockets */
extern char directory[];
extern const struct attach_request arena_request;

int descriptors(void);
void setup(void); /* all five domains in STANDBY */
void teardown(void);
to_domain *hear(uint32_t domain);
unsigned hear_all(uint32_t domain, int what_case);
void hear_nothing(uint32_t domain);
void start_all(void);
struct ring_half *half_of(enum server_id from, enum server_id to); /* mapped for the caller; NULL: there is none */
void die(uint32_t domain);
void lets_go(uint32_t domain, uint32_t servers, unsigned objects);
pid_t victim(struct domain *d);
int application(void);
void fences_down(void);
void request_send(int fd, const void *octets, size_t length, const int *passed, uint32_t count);
void ask(int fd, const void *octets, size_t length, const int *passed, uint32_t count);
int answered(int fd, unsigned *ret_descriptors);
void pair_make(int fd[2], size_t one, size_t other);
void pair_close(const int fd[2]);
int hello(int fd);
void arena_pair(int fd[2], const struct attach_request *r);
void hang_up(int fd);
void remove_all(uint32_t session);

#endif
