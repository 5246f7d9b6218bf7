// SPDX-License-Identifier: BSD-2-Clause
/* `bulkhead capture`: asks the supervisor for what crosses a channel and writes it as pcapng until there is enough,
 * time is up, somebody interrupts it, or the stack ends. It looks every POLL_MS: the domain that captures waits for
 * nobody and rings no bell. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ipc/capture.h"
#include "ipc/segment.h"
#include "servers/cli/cli.h"
#include "servers/cli/pcapng.h"
#include "servers/topology/topology.h"

#define POLL_MS   2
#define BEGIN_MS  5000 /* until the domain captures; one that has just died is back by then */
#define ANSWER_MS 5000

struct capturing {
    const struct cli_arguments *arguments;
    int connection, signals;
    FILE *file;
    struct capture_reader reader;
    uint64_t written, end_us;
    uint8_t buffer[CAPTURE_SNAP_MAX];
};

static uint64_t clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- asking ---- */

static int connect_to(const struct cli_arguments *arguments)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = ANSWER_MS / 1000};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/capture", arguments->run_dir);
    if (fd >= 0 && length < (int)sizeof address.sun_path &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    bool forbidden = errno == EACCES || errno == EPERM;
    if (fd >= 0)
        close(fd);
    cli_failed(arguments->command,
               forbidden ? "not permitted to use %s/capture; run this as who started the stack"
                         : "no stack runs in %s; start one with `bulkhead up`, or name another with --run-dir",
               arguments->run_dir);
    return -1;
}

/* The segment's descriptor, or -1. Untrusted: nothing, it is the supervisor; still what is odd is refused. */
static int answer_receive(int fd, struct capture_answer *ret)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } ancillary;
    struct iovec part = {ret, sizeof *ret};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary.space, .msg_controllen = sizeof ancillary.space};
    int segment = -1;
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof *ret || ret->magic != CAPTURE_MAGIC) {
        ret->error = EPROTO;
        return -1;
    }
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&segment, CMSG_DATA(header), sizeof segment);
    return segment;
}

/* CLI_OK with a mapped ring, or the exit status after a message. */
static int capture_ask(struct capturing *c, const struct capture_ring **ret_ring, enum capture_link *ret_link)
{
    const struct cli_arguments *arguments = c->arguments;
    struct capture_request request = {.magic = CAPTURE_MAGIC, .snap = arguments->snap};
    struct capture_answer answer = {.error = 0};
    void *ring = NULL;
    snprintf(request.channel, sizeof request.channel, "%s", arguments->channel);
    c->connection = connect_to(arguments);
    if (c->connection < 0)
        return CLI_FAILED;
    int segment =
        send(c->connection, &request, sizeof request, MSG_NOSIGNAL) < 0 ? -1 : answer_receive(c->connection, &answer);
    if (answer.error == EBUSY)
        return cli_failed(arguments->command, "%s is being captured already; end the other one", arguments->channel);
    if (segment < 0 || answer.error != 0)
        return cli_failed(arguments->command, "the stack in %s refuses: %s", arguments->run_dir,
                          answer.error != 0 ? strerror(answer.error) : "not its owner, or too many captures");
    int result = segment_map(segment, sizeof(struct capture_ring), false, &ring);
    close(segment);
    if (result < 0)
        return cli_failed(arguments->command, "cannot map what is captured: %s", strerror(-result));
    *ret_ring = ring;
    *ret_link = (enum capture_link)answer.link;
    return CLI_OK;
}

/* ---- writing ---- */

static bool enough(const struct capturing *c)
{
    return c->arguments->count != 0 && c->written >= c->arguments->count;
}

/* One ring full at most: the domain at its other end may write for ever. False: the file does not take it. */
static bool drain(struct capturing *c)
{
    struct capture_record record;
    uint64_t start = c->reader.tail;
    bool any = false;
    while (!enough(c) && c->reader.tail - start < CAPTURE_OCTETS && capture_read(&c->reader, &record, c->buffer)) {
        struct pcapng_packet packet = {.time_ns = record.time_ns,
                                       .captured = record.length,
                                       .original = record.original,
                                       .direction = record.direction == CAPTURE_INBOUND    ? PCAPNG_INBOUND
                                                    : record.direction == CAPTURE_OUTBOUND ? PCAPNG_OUTBOUND
                                                                                           : PCAPNG_UNKNOWN,
                                       .octets = c->buffer};
        if (!pcapng_packet(c->file, &packet))
            return false;
        c->written++;
        any = true;
    }
    return !any || fflush(c->file) == 0; /* who follows the file sees whole packets */
}

/* False: it is over. `wait_ms` at most. */
static bool goes_on(const struct capturing *c, int wait_ms)
{
    struct pollfd inputs[] = {{.fd = c->signals, .events = POLLIN}, {.fd = c->connection, .events = POLLIN}};
    if (poll(inputs, 2, wait_ms) > 0)
        return false; /* a signal, or the supervisor has gone: it says nothing more while it lives */
    return c->end_us == 0 || clock_us() < c->end_us;
}

static int finish(struct capturing *c, bool written)
{
    const struct cli_arguments *arguments = c->arguments;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    uint64_t lost = enough(c) ? c->reader.lost : capture_lost(&c->reader);
    if (!written || !pcapng_end(c->file, time_ns, c->written + lost, lost))
        return cli_failed(arguments->command, "cannot write %s: %s", arguments->file, strerror(errno));
    fprintf(stderr, "%lu captured, %lu lost\n", c->written, lost);
    return CLI_OK;
}

static int capture_run(struct capturing *c, const struct capture_ring *ring, enum capture_link link)
{
    const struct cli_arguments *arguments = c->arguments;
    uint64_t begin_us = clock_us() + BEGIN_MS * 1000;
    while (__atomic_load_n(&ring->incarnation, __ATOMIC_ACQUIRE) == 0)
        if (!goes_on(c, POLL_MS) || clock_us() > begin_us)
            return cli_failed(arguments->command,
                              "the domain that is to capture %s does not run: look at `bulkhead ps`",
                              arguments->channel);
    capture_reader_init(&c->reader, ring);
    if (arguments->seconds > 0)
        c->end_us = clock_us() + arguments->seconds * 1000000;
    bool written = pcapng_begin(c->file, arguments->channel, (uint16_t)link, arguments->snap) && fflush(c->file) == 0;
    fprintf(stderr, "capturing %s\n", arguments->channel);
    do
        written = written && drain(c);
    while (written && !enough(c) && goes_on(c, POLL_MS));
    written = written && drain(c);
    return finish(c, written);
}

static int signals_open(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    signal(SIGPIPE, SIG_IGN);
    return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -1 : signalfd(-1, &set, SFD_CLOEXEC);
}

int cli_capture(const struct cli_arguments *arguments)
{
    uint32_t channel;
    if (!topology_channel_find(arguments->channel, &channel))
        return cli_wrong(arguments->command,
                         "no channel %s; name one of nic-ip, ip-tcp, ip-udp, tcp-socket, udp-socket",
                         arguments->channel);
    if (arguments->file == NULL)
        return cli_wrong(arguments->command, "say where to: -w FILE, or -w - for standard output");
    const struct capture_ring *ring = NULL;
    enum capture_link link = CAPTURE_ETHERNET;
    struct capturing *c = calloc(1, sizeof *c);
    if (c == NULL)
        return cli_failed(arguments->command, "no memory");
    c->arguments = arguments;
    c->signals = signals_open();
    int status = capture_ask(c, &ring, &link);
    bool to_stdout = strcmp(arguments->file, "-") == 0;
    if (status == CLI_OK) {
        c->file = to_stdout ? stdout : fopen(arguments->file, "we");
        status = c->file == NULL
                     ? cli_failed(arguments->command, "cannot write %s: %s", arguments->file, strerror(errno))
                     : capture_run(c, ring, link);
    }
    if (c->file != NULL && !to_stdout)
        fclose(c->file);
    free(c);
    return status;
}
