// SPDX-License-Identifier: BSD-2-Clause
/* Segments: what the holder of a read-only descriptor cannot do, and which memfds of an application are refused. */
#include "ipc/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/suite.h"

START_TEST(test_read_only_is_read_only)
{
    int rw = segment_create("test", 10000), ro = segment_read_only(rw);
    ck_assert_int_ge(rw, 0);
    ck_assert_int_ge(ro, 0);
    void *w, *r;
    ck_assert_int_eq(segment_map(rw, 10000, true, &w), 0);
    ck_assert_int_eq(segment_map(ro, 10000, false, &r), 0);
    *(char *)w = 'x';
    ck_assert_int_eq(*(char *)r, 'x');
    void *no;
    ck_assert_int_lt(segment_map(ro, 10000, true, &no), 0);
    ck_assert_int_lt(mprotect(r, 4096, PROT_READ | PROT_WRITE), 0);
    ck_assert_int_lt(pwrite(ro, "y", 1, 0), 0);
    ck_assert_int_lt(fallocate(ro, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
    ck_assert_int_lt(ftruncate(rw, 4096), 0);
    ck_assert_int_lt(ftruncate(rw, 1 << 20), 0);
    ck_assert_int_lt(segment_map(rw, 1 << 20, true, &no), 0);
    segment_unmap(w, 10000);
    segment_unmap(r, 10000);
    close(rw);
    close(ro);
}
END_TEST

static int application_memfd(unsigned flags, int seals, off_t size)
{
    int fd = memfd_create("app", flags);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, size), 0);
    if (seals)
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

START_TEST(test_what_an_application_may_pass)
{
    const int good = F_SEAL_SHRINK | F_SEAL_GROW;
    const struct {
        unsigned flags;
        int seals;
        off_t size;
        int result;
    } rows[] = {
        {MFD_ALLOW_SEALING, good, 8192, 0},
        {MFD_ALLOW_SEALING, 0, 8192, -EINVAL},
        {MFD_ALLOW_SEALING, F_SEAL_SHRINK, 8192, -EINVAL},
        {MFD_ALLOW_SEALING, F_SEAL_GROW, 8192, -EINVAL},
        {MFD_ALLOW_SEALING, good | F_SEAL_WRITE, 8192, -EINVAL},
        {MFD_ALLOW_SEALING, good | F_SEAL_FUTURE_WRITE, 8192, -EINVAL},
        {0, 0, 8192, -EINVAL},
        {MFD_ALLOW_SEALING, good, 4096, -EINVAL},
        {MFD_ALLOW_SEALING, good, 12288, -EINVAL},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int fd = application_memfd(rows[i].flags, rows[i].seals, rows[i].size);
        ck_assert_msg(segment_check(fd, 8192) == rows[i].result, "row %u", i);
        close(fd);
    }
}
END_TEST

START_TEST(test_other_files_are_refused)
{
    int p[2];
    ck_assert_int_eq(pipe(p), 0);
    ck_assert_int_lt(segment_check(p[0], 8192), 0);
    int null = open("/dev/null", O_RDWR), exe = open("/proc/self/exe", O_RDONLY);
    ck_assert_int_lt(segment_check(null, 8192), 0);
    ck_assert_int_lt(segment_check(exe, 8192), 0);
    ck_assert_int_lt(segment_check(-1, 8192), 0);
    close(p[0]);
    close(p[1]);
    close(null);
    close(exe);
}
END_TEST

START_TEST(test_a_sealed_segment_stays_as_it_is)
{
    int fd = application_memfd(MFD_ALLOW_SEALING, F_SEAL_SHRINK | F_SEAL_GROW, 8192), p[2];
    void *memory;
    ck_assert_int_eq(segment_seal(fd), 0);
    ck_assert_int_lt(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    ck_assert_int_eq(segment_check(fd, 8192), 0);
    ck_assert_int_eq(segment_map(fd, 8192, true, &memory), 0);
    segment_unmap(memory, 8192);
    ck_assert_int_eq(segment_seal(fd), 0); /* its owner may have done so */
    close(fd);
    fd = application_memfd(MFD_ALLOW_SEALING, 0, 8192);
    int read_only = segment_read_only(fd);
    ck_assert_int_eq(segment_seal(read_only), -EINVAL);
    ck_assert_int_eq(pipe(p), 0);
    ck_assert_int_eq(segment_seal(p[0]), -EINVAL);
    ck_assert_int_eq(segment_seal(-1), -EINVAL);
    close(fd);
    close(read_only);
    close(p[0]);
    close(p[1]);
}
END_TEST

START_TEST(test_a_lease_makes_nobody_wait)
{
    char path[32];
    int fd = application_memfd(MFD_ALLOW_SEALING, 0, 8192);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int holder = open(path, O_RDWR | O_CLOEXEC);
    signal(SIGIO, SIG_IGN); /* how the holder hears that someone wants it */
    ck_assert_int_eq(fcntl(holder, F_SETLEASE, F_WRLCK), 0);
    ck_assert_int_eq(segment_read_only(fd), -EWOULDBLOCK);
    close(fd);
    close(holder);
}
END_TEST

SUITE_RUN("segment", NULL, NULL, test_read_only_is_read_only, test_what_an_application_may_pass,
          test_other_files_are_refused, test_a_sealed_segment_stays_as_it_is, test_a_lease_makes_nobody_wait)
