// SPDX-License-Identifier: BSD-2-Clause
/* The domain's loop, without its sandbox, in a child: the test is its supervisor and its neighbour nic. It hosts two
 * small servers in the places of ip and tcp: what nic sends goes nic -> ip -> tcp -> ip -> nic, over a channel between
 * processes and a local one. */
#ifndef BULKHEAD_TESTS_UNIT_DOMAIN_HARNESS_H
#define BULKHEAD_TESTS_UNIT_DOMAIN_HARNESS_H

#include <stdlib.h>

#include "ipc/control.pb-c.h"
#include "ipc/crash.h"
#include "servers/domain/domain.h"
#include "tests/unit/suite.h"

#define NIC_DOMAIN     1
#define NIC_POOL       77 /* object ids */
#define TCP_POOL       78
#define ARENA_OBJECT   79
#define POOL_OCTETS    8192U
#define WAIT_MS        10000
#define DEADLY         0xdeadULL /* cookie of a message that kills */
#define DEADLY_ADDRESS 0x18UL
#define STORE_SPACE    4096

/* A sanitizer's runtime makes calls of its own, which the filter refuses. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum { SAW_MESSAGE, SAW_REFUSED, SAW_LOST, SAW_ATTACHED, SAW_SESSION, SAW_ENDED, SAW_REMOVED, SAW_INIT, SAWS };

typedef Bulkhead__Control__ToDomain to_domain;
#define SAY(f, field, CASE, TYPE, type, ...)                                                                           \
    do {                                                                                                               \
        type inner = TYPE;                                                                                             \
        to_domain m = BULKHEAD__CONTROL__TO_DOMAIN__INIT;                                                              \
        (void)inner;                                                                                                   \
        __VA_ARGS__;                                                                                                   \
        m.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_##CASE;                                                       \
        m.field = &inner;                                                                                              \
        say(f, &m);                                                                                                    \
    } while (0)
#define SAY_(field, CASE, Type, ...)                                                                                   \
    SAY(&f, field, CASE, BULKHEAD__CONTROL__##CASE##__INIT, Bulkhead__Control__##Type, __VA_ARGS__)
#define EXPECT(CASE) expect(BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_##CASE)

struct fixture {
    int control;
    pid_t child;
    int give[8]; /* to go with the next message */
    uint32_t gives;
    int bell[2], own_bell[2], session_bell[2];
    struct status_page *status, *nic_status;
    struct counter_page *counters;
    struct crash_page *crash;
    int status_fd, counter_fd, crash_fd, nic_status_fd;
    struct port nic;            /* our end */
    struct message nic_message; /* pulled by nic_has_message() */
    bool nic_has;
    struct capability entries[CAPABILITY_TABLE_MAX];
    struct doorbell ring;
    uint64_t *store;
    uint8_t *nic_pool;
};
extern struct fixture f;

void say(struct fixture *fixture, const to_domain *message);
int give(int fd);
Bulkhead__Control__FromDomain *hear(void);
uint64_t expect(uint32_t what);
void *shared(size_t octets, int *ret_fd);
void configure(uint32_t mtu);
void bell(void);
void channel_to_nic(void);
void pool_entry(uint32_t server, uint32_t peer, uint32_t object, uint32_t index, bool mapped);
void pool(uint32_t object, uint32_t owner, bool writable, uint8_t **ret);
void store(void);
void start(void);
void grant_all(void);
uint64_t value_of(uint32_t server, uint32_t what);
void until(bool (*is)(uint64_t), uint64_t argument);
void send_to_ip(uint64_t cookie, uint32_t offset, uint32_t length);
bool nic_has_message(uint64_t argument); /* anything but a beat; nic_pull() takes it */
bool nic_pull(struct message *ret);
void comes_back(uint64_t cookie);
void started(void);
void fence(void);
void setup(void);
void setup_child(bool sandboxed);
int status_of_end(void);
void teardown(void);
bool liveness_beyond(uint64_t seen);
bool ip_refused(uint64_t count);
bool tcp_saw_session(uint64_t count);
void grant_session(void);
void grant_arena(void);

#endif
