// SPDX-License-Identifier: BSD-2-Clause
/* What the tests of libbulkhead against a stack in a thread have in common: included by each once. */
#ifndef BULKHEAD_TESTS_UNIT_CLIENT_BENCH_H
#define BULKHEAD_TESTS_UNIT_CLIENT_BENCH_H

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>

#include "servers/client/bulkhead.h"
#include "tests/unit/fake_stack.h"
#include "tests/unit/suite.h"

#define PORT 80

static struct fake_stack *fake;

static inline void setup(void)
{
    fake = fake_stack_start();
}

static inline void teardown(void)
{
    fake_stack_stop(fake);
}

static inline struct sockaddr_in at(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int connect_to(int fd, uint16_t port)
{
    struct sockaddr_in a = at(port);
    return bh_connect(fd, (struct sockaddr *)&a, sizeof a);
}

static inline int bind_to(int fd, uint16_t port)
{
    struct sockaddr_in a = at(port);
    return bh_bind(fd, (struct sockaddr *)&a, sizeof a);
}

static inline int listener(void)
{
    int fd = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, BH_DESCRIPTOR_BASE);
    ck_assert_int_eq(bind_to(fd, PORT), 0);
    ck_assert_int_eq(bh_listen(fd, 4), 0);
    return fd;
}

static inline void pair_of(int lfd, int ret[2])
{
    ret[0] = bh_socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect_to(ret[0], PORT), 0);
    ret[1] = bh_accept(lfd, NULL, NULL);
    ck_assert_int_ge(ret[1], 0);
}

#endif
