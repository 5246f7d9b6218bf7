// SPDX-License-Identifier: BSD-2-Clause
/* Spares. Each domain that runs has one more process: started, sandboxed, it has said what its servers need and waits
 * for its grants. At a death it becomes the domain's process, so that recovery takes neither the making of a process
 * nor that of a sandbox; a while after the new life runs the next one is made, one at a time, so that it is in nobody's
 * way.
 *
 * A spare has nothing: no memory, no right, no channel. One that ends, is not ready in time or says what a spare has no
 * reason to say costs nobody anything: it is replaced, later each time. A domain that is not running gets none, and a
 * stack that ends has none. Untrusted: all that a spare says. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define AFTER_US         20000 /* from the new life's first burst, or the last spare's end, to the next spare */
#define AFTER_MAX_US     10000000
#define SPARE_HEALTHY_US 1000000 /* one that has waited for so long was none that cannot start */

typedef Bulkhead__Control__FromDomain from_domain;

static bool wanted(const struct supervisor *s)
{
    return !s->options.no_standby && !s->stopping && !repartition_ends_all(s);
}

static bool is_there(const struct spare *spare)
{
    return spare->process.pidfd >= 0;
}

static void control_end(struct supervisor *s, struct spare *spare)
{
    if (spare->control < 0)
        return;
    loop_unwatch(s, spare->control);
    close(spare->control);
    spare->control = -1;
}

static uint64_t pause_us(uint32_t failures)
{
    uint64_t us = failures < 16 ? (uint64_t)AFTER_US << failures : AFTER_MAX_US;
    return us < AFTER_MAX_US ? us : AFTER_MAX_US;
}

static void later(struct supervisor *s, struct domain *d, const char *why)
{
    struct spare *spare = &d->spare;
    uint64_t now = now_us(), wait;
    spare->failures = spare->ready && now - spare->since_us >= SPARE_HEALTHY_US ? 1 : spare->failures + 1;
    spare->ready = false;
    wait = pause_us(spare->failures);
    spare->make_us = wanted(s) ? now + wait : 0;
    if (wanted(s))
        event_add(s, "spare", d->name, d->incarnation, &wait, 1, "%s; the next one in %lu ms", why, wait / 1000);
}

static void make(struct supervisor *s, struct domain *d)
{
    struct spare *spare = &d->spare;
    spare->make_us = 0;
    spare->ready = false;
    spare->since_us = now_us();
    int result = domain_process_start(s, d, WATCH_SPARE, WATCH_SPARE_CONTROL, spare);
    if (result == 0)
        return;
    char text[64];
    snprintf(text, sizeof text, "cannot be started: %s", strerror(-result));
    control_end(s, spare);
    if (is_there(spare)) {
        char how[32];
        process_signal(&spare->process, SIGKILL);
        process_reap(&spare->process, how, sizeof how);
    }
    later(s, d, text);
}

void standby_make(struct supervisor *s, struct domain *d)
{
    if (wanted(s) && !is_there(&d->spare) && d->spare.make_us == 0)
        d->spare.make_us = now_us() + AFTER_US;
}

void standby_end(struct supervisor *s, struct domain *d)
{
    d->spare.make_us = 0;
    d->spare.failures = 0;
    d->spare.ready = false;
    control_end(s, &d->spare);
    process_signal(&d->spare.process, SIGKILL); /* its pidfd tells */
}

bool standby_fits(const struct supervisor *s, const struct domain *d)
{
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        const struct server_memory *m = &s->server[id];
        if ((d->servers & SERVER_BIT(id)) != 0 && m->store >= 0 &&
            (d->spare.needs[id].store_version != m->store_version || d->spare.needs[id].store_octets > m->store_octets))
            return false;
    }
    return d->spare.ready;
}

bool standby_take(struct supervisor *s, struct domain *d)
{
    struct spare *spare = &d->spare;
    struct pollfd end = {.fd = spare->process.pidfd, .events = POLLIN};
    if (!spare->ready || spare->control < 0 || s->stopping || poll(&end, 1, 0) != 0) /* readable: it has ended */
        return false;
    domain_process_take(s, d, spare);
    spare->failures = 0;
    s->spares_taken++;
    return true;
}

/* ---- what spares do ---- */

static void ended(struct supervisor *s, struct domain *d)
{
    char how[48], text[72];
    struct spare *spare = &d->spare;
    bool asked = spare->control < 0 && !spare->lied; /* standby_end() */
    loop_unwatch(s, spare->process.pidfd);
    process_bury(&spare->process, &s->buried, how, sizeof how);
    control_end(s, spare);
    snprintf(text, sizeof text, "%s%s", how, spare->lied ? ": killed for a lie" : "");
    spare->lied = false;
    if (!asked)
        later(s, d, text);
    else if (d->state == DOMAIN_RUNNING)
        standby_make(s, d); /* of another program, perhaps */
}

static void kill_liar(struct supervisor *s, struct spare *spare)
{
    spare->lied = true;
    control_end(s, spare);
    process_signal(&spare->process, SIGKILL);
}

/* Its first message says what it needs; after that it has nothing to say. */
static void said(struct supervisor *s, struct domain *d)
{
    uint8_t octets[CONTROL_OCTETS_MAX];
    struct spare *spare = &d->spare;
    ssize_t n = recv(spare->control, octets, sizeof octets, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) { /* it is dying: its pidfd tells */
        loop_unwatch(s, spare->control);
        process_signal(&spare->process, SIGKILL);
        return;
    }
    from_domain *m =
        (size_t)n <= sizeof octets ? bulkhead__control__from_domain__unpack(NULL, (size_t)n, octets) : NULL;
    if (m != NULL && m->what_case == BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_STANDBY && !spare->ready &&
        control_standby_read(d, m->standby, spare->needs)) {
        spare->ready = true;
        spare->since_us = now_us();
        process_hold(&spare->process);
        memory_prepare(s, d->servers);
    } else if (m == NULL || m->what_case != BULKHEAD__CONTROL__FROM_DOMAIN__WHAT_LOG || spare->ready) {
        kill_liar(s, spare); /* a line for the log comes from one that cannot enter its sandbox, and ends */
    }
    if (m != NULL)
        bulkhead__control__from_domain__free_unpacked(m, NULL);
}

void standby_event(struct supervisor *s, struct domain *d, enum watch what)
{
    if (what == WATCH_SPARE)
        ended(s, d);
    else if (d->spare.control >= 0)
        said(s, d);
}

/* The one that is on its way to be ready. */
static struct domain *in_the_making(struct supervisor *s)
{
    for (uint32_t i = 0; i < s->domain_count; i++)
        if (is_there(&s->domain[i].spare) && !s->domain[i].spare.ready)
            return &s->domain[i];
    return NULL;
}

static bool is_due(const struct supervisor *s, const struct domain *d)
{
    return d->spare.make_us != 0 && !is_there(&d->spare) && s->started && wanted(s) && d->state == DOMAIN_RUNNING;
}

uint64_t standby_deadline(struct supervisor *s)
{
    const struct domain *making = in_the_making(s);
    uint64_t least = making != NULL ? making->spare.since_us + START_US : 0;
    for (uint32_t i = 0; i < s->domain_count && making == NULL; i++)
        if (is_due(s, &s->domain[i]) && (least == 0 || s->domain[i].spare.make_us < least))
            least = s->domain[i].spare.make_us;
    return least;
}

/* True: one is being made; a late one is given up. */
static bool making_goes_on(struct supervisor *s, uint64_t now)
{
    struct domain *making = in_the_making(s);
    if (making == NULL)
        return false;
    if (now >= making->spare.since_us + START_US) {
        making->spare.since_us = now;
        process_signal(&making->spare.process, SIGKILL);
    }
    return true;
}

void standby_deadlines(struct supervisor *s, uint64_t now)
{
    bool making = making_goes_on(s, now);
    for (uint32_t i = 0; i < s->domain_count && !making; i++) {
        making = is_due(s, &s->domain[i]) && now >= s->domain[i].spare.make_us;
        if (making)
            make(s, &s->domain[i]);
    }
}
