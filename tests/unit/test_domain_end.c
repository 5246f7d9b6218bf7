// SPDX-License-Identifier: BSD-2-Clause
/* How a domain ends, and what it has to say of it. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/crash.h"
#include "ipc/segment.h"
#include "servers/domain/domain.h"
#include "tests/unit/domain_harness.h"

START_TEST(it_ends_as_told)
{
    static const struct {
        uint32_t signal; /* 0: Stop */
        bool start;
        int status;
    } ends[] = {{0, true, DOMAIN_EXIT_STOP},
                {0, false, DOMAIN_EXIT_STOP},
                {SIGTERM, true, 128 + SIGTERM},
                {SIGABRT, true, 128 + SIGABRT}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (i > 0)
            setup();
        if (ends[i].start)
            started();
        if (ends[i].signal == 0)
            SAY_(stop, STOP, Stop, inner.base = inner.base);
        else
            SAY_(raise, RAISE, Raise, inner.signal = ends[i].signal);
        int status = status_of_end();
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), ends[i].status);
    }
}
END_TEST

START_TEST(a_raised_fault_is_a_fault)
{
    started();
    SAY_(raise, RAISE, Raise, inner.signal = SIGILL);
    int status = status_of_end();
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGILL);
    ck_assert_uint_eq(f.crash->signal, SIGILL);
    ck_assert_uint_eq(f.crash->incarnation, 5);
    ck_assert_uint_eq(f.crash->running, SERVER_COUNT); /* no server's turn */
    ck_assert_uint_ge(f.crash->frame_count, 3);
}
END_TEST

/* A fault in the middle of a burst: whose, where, with which messages, and the packet it was at. */
START_TEST(a_fault_is_told)
{
    started();
    for (uint64_t i = 0; i < 3; i++) {
        send_to_ip(i, 100, 50);
        comes_back(i);
    }
    send_to_ip(DEADLY, 100, 50);
    int status = status_of_end();
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 128 + SIGSEGV);
    const struct crash_page *page = f.crash;
    ck_assert_uint_eq(page->signal, SIGSEGV);
    ck_assert_uint_eq(page->address, DEADLY_ADDRESS);
    ck_assert_uint_eq(page->running, SERVER_IP);
    ck_assert_uint_ge(page->frame_count, 3);
    ck_assert_uint_eq(page->packet_octets, 50);
    ck_assert_uint_eq(page->packet_server, SERVER_IP);
    ck_assert_uint_eq(page->packet_peer, SERVER_NIC);
    ck_assert_uint_eq(page->packet[0], 0x42);
    bool found = false;
    for (uint32_t p = 0; p < page->port_count; p++) {
        const struct crash_port *port = &page->port[p];
        if (port->server != SERVER_IP || port->peer != SERVER_NIC)
            continue;
        ck_assert_uint_eq(port->messages, 4);
        ck_assert_uint_eq(port->fresh, 1);
        ck_assert_uint_eq(port->message[0].cookie, DEADLY);
        ck_assert_uint_eq(port->message[1].cookie, 2);
        found = true;
    }
    ck_assert(found);
}
END_TEST

START_TEST(a_closed_socket_ends_it)
{
    started();
    close(f.control);
    f.control = -1;
    ck_assert_int_eq(WEXITSTATUS(status_of_end()), DOMAIN_EXIT_CONTROL);
}
END_TEST

SUITE_RUN("domain_end", setup, teardown, it_ends_as_told, a_raised_fault_is_a_fault, a_fault_is_told,
          a_closed_socket_ends_it)
