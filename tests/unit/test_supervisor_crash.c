// SPDX-License-Identifier: BSD-2-Clause
/* Reports of deaths in the run directory: which of them stay, and what somebody may have put in their places. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/suite.h"
#include "tests/unit/supervisor_harness.h"

static void death(uint32_t incarnation)
{
    struct domain *d = &s->domain[SERVER_NIC];
    d->incarnation = incarnation;
    crash_note(s, d, "of nothing");
    crash_write(s);
}

static const char *report(uint32_t incarnation)
{
    static char name[32];
    snprintf(name, sizeof name, "crash-nic-%u.txt", incarnation);
    return name;
}

/* Written by this stack, or (false) empty, or not there at all. */
static bool is_told(uint32_t incarnation)
{
    struct stat st;
    return fstatat(s->run_dir, report(incarnation), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           st.st_size > 0;
}

static void run_dir_open(void)
{
    s->run_dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(s->run_dir, 0);
}

static void reports_remove(uint32_t most)
{
    for (uint32_t i = 1; i <= most; i++)
        unlinkat(s->run_dir, report(i), 0);
    close(s->run_dir);
}

/* An earlier stack's have the same names: who is overwritten is the latest now. */
START_TEST(the_latest_reports_stay)
{
    enum { MORE = 8 };
    run_dir_open();
    for (uint32_t i = 1; i <= CRASH_KEPT; i++)
        close(openat(s->run_dir, report(i), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    crash_open(s);
    for (uint32_t i = 1; i <= CRASH_KEPT + MORE; i++) {
        death(i);
        for (uint32_t n = i < CRASH_KEPT ? 1 : i - CRASH_KEPT + 1; n <= i; n++)
            ck_assert_msg(is_told(n), "after death %u report %u is gone", i, n);
    }
    for (uint32_t i = 1; i <= MORE; i++)
        ck_assert_int_eq(faccessat(s->run_dir, report(i), F_OK, AT_SYMLINK_NOFOLLOW), -1);
    reports_remove(CRASH_KEPT + MORE);
}
END_TEST

START_TEST(what_was_planted_is_not_followed)
{
    struct stat st;
    run_dir_open();
    close(openat(s->run_dir, "target", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ck_assert_int_eq(symlinkat("target", s->run_dir, report(1)), 0);
    ck_assert_int_eq(mkfifoat(s->run_dir, report(2), 0600), 0);
    ck_assert_int_eq(mkdirat(s->run_dir, report(3), 0700), 0);
    crash_open(s);
    for (uint32_t i = 1; i <= 4; i++)
        death(i);
    ck_assert(is_told(1) && is_told(2) && !is_told(3) && is_told(4));
    ck_assert_int_eq(fstatat(s->run_dir, "target", &st, 0), 0);
    ck_assert_int_eq(st.st_size, 0);
    unlinkat(s->run_dir, report(3), AT_REMOVEDIR);
    unlinkat(s->run_dir, "target", 0);
    reports_remove(4);
}
END_TEST

SUITE_RUN("supervisor_crash", setup, teardown, the_latest_reports_stay, what_was_planted_is_not_followed)
