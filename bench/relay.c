// SPDX-License-Identifier: BSD-2-Clause
/* A bad network between two TAPs, in real time: what is read from one goes through an engine of netdrv/impair.h and is
 * written to the other when its time has come. So one and the same path lies between any two hosts, whatever their
 * stack.
 *
 *     relay LEFT RIGHT          makes (or takes) the TAPs LEFT and RIGHT of this network namespace, without any
 * offload: the kernel cuts super-segments before they come here. Who joins hosts to them sets them up
 *
 * It is led by lines on its standard input: "TO-RIGHT TO-LEFT", each the impairments of that direction as for
 * --driver wire:PATH,..., or "-" for none. What was under way is gone then, and what happened since the line before is
 * told on standard output as one line of JSON, as also at the end of the input, which ends it: it does not outlive its
 * parent.
 *
 * The path is exact as far as a process can be: it runs in a real-time class if it may, and says how late it was.
 * Frames of ARP pass unimpaired: neighbours are no part of what is measured. Frames larger than an MTU of 1,500 allows
 * are dropped and counted (`oversize`): there are none, or the path is not what it is said to be. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "netdrv/impair.h"
#include "protocols/ether/ether_wire.h"

#define FRAME_MAX  1514U
#define FRAME_ROOM 2048U  /* of a frame in memory */
#define FRAMES     16384U /* under way in one direction: 1.6 s of 1,514 octets at 100 Mbit/s */
#define BURST      64     /* frames of one direction before the other has its turn */
#define LATE_US    1000U

struct counters {
    uint64_t frames, octets, delivered, refused, oversize, arp;
    uint64_t late, late_sum_us, late_max_us;
    uint64_t backlog_sum, backlog_max;
};

struct way { /* one direction */
    const char *name;
    int from, to;
    struct impair impair;
    struct counters counters;
    uint16_t octets[FRAMES];
    struct impair_entry entries[FRAMES];
    uint8_t frame[FRAMES][FRAME_ROOM]; /* touched as deep as it is needed */
};

enum { TO_RIGHT, TO_LEFT, WAYS };
static struct way ways[WAYS] = {{.name = "to_right"}, {.name = "to_left"}};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

/* ---- frames ---- */

static void write_frame(struct way *way, const uint8_t *frame, size_t octets)
{
    if (write(way->to, frame, octets) == (ssize_t)octets)
        way->counters.delivered++;
    else
        way->counters.refused++;
}

static void deliver_due(struct way *way)
{
    uint32_t handle;
    for (uint64_t now = now_us(); impair_deadline_us(&way->impair) <= now; now = now_us()) {
        uint64_t late_us = now - impair_deadline_us(&way->impair);
        struct counters *c = &way->counters;
        c->late_sum_us += late_us;
        c->late_max_us = late_us > c->late_max_us ? late_us : c->late_max_us;
        c->late += late_us > LATE_US;
        if (impair_due(&way->impair, now, &handle))
            write_frame(way, way->frame[handle], way->octets[handle]);
    }
}

/* Untrusted: frame (wire). */
static void impair_one(struct way *way, const uint8_t *frame, uint32_t octets)
{
    struct impair_fate fate;
    struct counters *c = &way->counters;
    uint64_t now = now_us(), backlog = impair_backlog_octets(&way->impair, now);
    c->backlog_sum += backlog;
    c->backlog_max = backlog > c->backlog_max ? backlog : c->backlog_max;
    impair_frame(&way->impair, now, octets, sizeof(struct ether_wire), &fate);
    for (uint32_t i = 0; i < fate.copies; i++) {
        uint8_t *copy = way->frame[fate.handle[i]];
        memcpy(copy, frame, octets);
        way->octets[fate.handle[i]] = (uint16_t)octets;
        if (fate.corrupt_bit != IMPAIR_NO_BIT)
            copy[fate.corrupt_bit / 8] ^= (uint8_t)(1U << fate.corrupt_bit % 8);
    }
}

/* Untrusted: frame (wire). */
static void frame_in(struct way *way, const uint8_t *frame, size_t octets)
{
    struct counters *c = &way->counters;
    const struct ether_wire *ether = (const void *)frame; /* of octets: no alignment */
    c->frames++;
    c->octets += octets;
    if (octets > FRAME_MAX || octets < sizeof *ether) {
        c->oversize++;
    } else if (be16_get(ether->type) == ETHER_TYPE_ARP) {
        c->arp++;
        write_frame(way, frame, octets);
    } else {
        impair_one(way, frame, (uint32_t)octets);
    }
}

/* False: the TAP is broken. */
static bool take(struct way *way)
{
    static uint8_t frame[65536];
    for (unsigned i = 0; i < BURST; i++) {
        ssize_t n = read(way->from, frame, sizeof frame);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR || errno == EIO; /* EIO: the interface is down */
        frame_in(way, frame, (size_t)n);
    }
    return true;
}

/* ---- what leads it ---- */

static void report_way(const struct way *way, const char *before)
{
    const struct counters *c = &way->counters;
    const struct impair_counters *i = &way->impair.counters;
#define N(x) (unsigned long long)(x)
    printf(
        "%s\"%s\": {\"frames\": %llu, \"octets\": %llu, \"delivered\": %llu, \"lost\": %llu, \"full\": %llu, "
        "\"reordered\": %llu, \"duplicated\": %llu, \"corrupted\": %llu, \"refused\": %llu, \"oversize\": %llu, "
        "\"arp\": %llu, \"backlog_mean\": %llu, \"backlog_max\": %llu, \"late_mean_us\": %llu, \"late_max_us\": %llu, "
        "\"late_1ms\": %llu}",
        before, way->name, N(c->frames), N(c->octets), N(c->delivered), N(i->lost), N(i->full), N(i->reordered),
        N(i->duplicated), N(i->corrupted), N(c->refused), N(c->oversize), N(c->arp),
        N(c->backlog_sum / (c->frames + (c->frames == 0))), N(c->backlog_max),
        N(c->late_sum_us / (c->delivered + (c->delivered == 0))), N(c->late_max_us), N(c->late));
#undef N
}

static void report(void)
{
    report_way(&ways[TO_RIGHT], "{");
    report_way(&ways[TO_LEFT], ", ");
    printf("}\n");
    fflush(stdout);
}

static void way_set(struct way *way, const char *text)
{
    struct impair_config config;
    char why[256];
    if (!impair_parse(strcmp(text, "-") == 0 ? "" : text, &config, why, sizeof why)) {
        fprintf(stderr, "relay: %s\n", why);
        exit(1);
    }
    if (config.queue == 0)
        config.queue = FRAMES;
    impair_init(&way->impair, &config, way->entries, FRAMES);
    way->counters = (struct counters){0};
}

/* A whole line is there, or the end. False: the end. Exits when the line cannot be. */
static bool led(void)
{
    char line[600], to_right[256], to_left[256], rest;
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    report();
    if (sscanf(line, "%255s %255s %c", to_right, to_left, &rest) != 2) {
        fprintf(stderr, "relay: write the impairments to the right and to the left, each '-' for none\n");
        exit(1);
    }
    way_set(&ways[TO_RIGHT], to_right);
    way_set(&ways[TO_LEFT], to_left);
    return true;
}

/* ---- the loop ---- */

static struct timespec until_due(void)
{
    uint64_t a = impair_deadline_us(&ways[TO_RIGHT].impair), b = impair_deadline_us(&ways[TO_LEFT].impair);
    uint64_t now = now_us(), at = a < b ? a : b, wait_us = at > now ? at - now : 0;
    if (wait_us > 1000000)
        wait_us = 1000000; /* at == UINT64_MAX, too */
    return (struct timespec){.tv_sec = (time_t)(wait_us / 1000000), .tv_nsec = (long)(wait_us % 1000000 * 1000)};
}

/* False: an end in order. Exits when a TAP is broken. */
static bool turn(void)
{
    struct pollfd set[] = {{.fd = ways[TO_RIGHT].from, .events = POLLIN},
                           {.fd = ways[TO_LEFT].from, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    struct timespec wait = until_due();
    if (ppoll(set, 3, &wait, NULL) < 0 && errno != EINTR)
        return false;
    for (unsigned i = 0; i < WAYS; i++) {
        deliver_due(&ways[i]);
        if (set[i].revents != 0 && !take(&ways[i])) {
            fprintf(stderr, "relay: cannot read a TAP: %s\n", strerror(errno));
            exit(1);
        }
        deliver_due(&ways[i]);
    }
    return set[2].revents == 0 || led();
}

/* ---- setting up ---- */

static int tap_open(const char *name)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    size_t length = strlen(name);
    int fd =
        length > 0 && length < sizeof request.ifr_name ? open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd >= 0) {
        memcpy(request.ifr_name, name, length);
        if (ioctl(fd, TUNSETIFF, &request) == 0 && ioctl(fd, TUNSETOFFLOAD, 0UL) == 0)
            return fd;
    }
    fprintf(stderr, "relay: cannot open the TAP '%.15s': %s\n", name,
            fd < 0 && errno == 0 ? "no such name" : strerror(errno));
    exit(1);
}

int main(int argc, char **argv)
{
    struct sched_param first = {.sched_priority = 2};
    if (argc != 3) {
        fprintf(stderr, "relay: usage: relay LEFT-TAP RIGHT-TAP\n");
        return 2;
    }
    ways[TO_RIGHT].from = ways[TO_LEFT].to = tap_open(argv[1]);
    ways[TO_LEFT].from = ways[TO_RIGHT].to = tap_open(argv[2]);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* timers of nobody else's company */
    bool real_time = sched_setscheduler(0, SCHED_FIFO, &first) == 0;
    setvbuf(stdin, NULL, _IONBF, 0);
    way_set(&ways[TO_RIGHT], "-");
    way_set(&ways[TO_LEFT], "-");
    printf("{\"ready\": true, \"real_time\": %s}\n", real_time ? "true" : "false");
    fflush(stdout);
    while (turn())
        continue;
    report();
    return 0;
}
