// SPDX-License-Identifier: BSD-2-Clause
/* Whatever a person may write: a policy, a configuration file, impairments, a partition, the value of an option. The
 * first octet says which. It is refused with one line that says something, and nothing is changed; or what was read
 * keeps the limits on which the rest of the program rests. */
#include <sys/mman.h>
#include <unistd.h>

#include "capabilities/policy_file.h"
#include "netdrv/impair.h"
#include "servers/supervisor/options.h"
#include "tests/fuzz/fuzz.h"

static char error[OPTIONS_ERROR];

/* An error is a text that ends, and not nothing. */
static void check_refused(void)
{
    check(error[0] != '\0' && memchr(error, '\0', sizeof error) != NULL);
    options_one_line(error);
    for (const char *c = error; *c != '\0'; c++)
        check(*c >= ' ' && *c <= '~');
}

static bool path_of(const char *text, size_t length, int *ret_fd, char ret_path[40])
{
    *ret_fd = memfd_create("text", MFD_CLOEXEC);
    check(*ret_fd >= 0);
    snprintf(ret_path, 40, "/proc/self/fd/%d", *ret_fd);
    return write(*ret_fd, text, length) == (ssize_t)length;
}

static void check_list(const struct policy_list *list)
{
    check(list->count <= POLICY_SPANS);
    for (uint32_t i = 0; i < list->count; i++) {
        const struct policy_span *span = &list->span[i];
        check(span->port_first <= span->port_last);
        check(span->prefix_length <= (span->prefix.family == ADDRESS_IP4 ? 32 : 128));
    }
}

static void policy(const char *text, size_t length)
{
    struct policy read = {.count = UINT32_MAX};
    char path[40];
    int fd;
    check(path_of(text, length, &fd, path));
    if (policy_file_read(path, &read, error, sizeof error) < 0) {
        check(read.count == UINT32_MAX);
        check_refused();
    } else {
        check(read.count >= 1 && read.count <= POLICY_RULES);
        for (uint32_t i = 0; i < read.count; i++) {
            check(read.rule[i].limits.sessions <= POLICY_SESSIONS_MOST && read.rule[i].limits.sessions > 0);
            check(read.rule[i].limits.sockets <= POLICY_SOCKETS_MOST && read.rule[i].limits.sockets > 0);
            check_list(&read.rule[i].bind);
            check_list(&read.rule[i].connect);
        }
    }
    close(fd);
}

static void check_options(const struct options *o)
{
    check(o->address_count <= OPTIONS_ADDRESSES_MAX && o->route_count <= STACK_ROUTES_MAX);
    check(o->mtu == 0 || (o->mtu >= OPTIONS_MTU_LEAST && o->mtu <= OPTIONS_MTU_MOST));
    check(o->partition.count <= SERVER_COUNT);
    check(memchr(o->device, '\0', sizeof o->device) != NULL && memchr(o->run_dir, '\0', sizeof o->run_dir) != NULL);
    check(memchr(o->wire_path, '\0', sizeof o->wire_path) != NULL && memchr(o->policy, '\0', sizeof o->policy) != NULL);
    for (uint32_t i = 0; i < o->address_count; i++)
        check(o->prefix_length[i] <= (o->address[i].family == ADDRESS_IP4 ? 32 : 128));
}

static void configuration(const char *text, size_t length)
{
    static struct options options;
    char path[40];
    int fd;
    memset(&options, 0, sizeof options);
    check(path_of(text, length, &fd, path));
    if (options_read_file(path, &options, error) < 0)
        check_refused();
    check_options(&options);
    close(fd);
}

static void option(const char *text)
{
    static const char *const names[] = {"partition", "driver", "address", "mtu",       "gateway",
                                        "route",     "dad",    "policy",  "placement", "run-dir"};
    static struct options options;
    memset(&options, 0, sizeof options);
    for (unsigned i = 0; i < 12 && text != NULL && *text != '\0'; i++) { /* "LETTERvalue", one a line */
        char value[300];
        size_t length = strcspn(text + 1, "\n");
        snprintf(value, sizeof value, "%.*s", (int)(length < 299 ? length : 299), text + 1);
        int result = options_set(&options, names[(uint8_t)*text % (sizeof names / sizeof names[0])], value, error);
        if (result < 0)
            check_refused();
        text = text[1 + length] == '\n' ? text + length + 2 : NULL;
    }
    check_options(&options);
}

static void impairments(const char *text)
{
    struct impair_config c = {.seed = 77};
    if (!impair_parse(text, &c, error, sizeof error)) {
        check(c.seed == 77);
        check_refused();
        return;
    }
    check(c.loss <= IMPAIR_ALL && c.reorder <= IMPAIR_ALL && c.duplicate <= IMPAIR_ALL && c.corrupt <= IMPAIR_ALL);
    check(c.delay_us <= IMPAIR_DELAY_MAX_US && c.jitter_us <= IMPAIR_DELAY_MAX_US && c.queue <= IMPAIR_QUEUE_MAX);
    check(c.rate == 0 || (c.rate >= IMPAIR_RATE_LEAST && c.rate <= IMPAIR_RATE_MAX));
}

static void partition(const char *text)
{
    struct partition p = {.count = 77}, again;
    uint32_t servers = 0, channel;
    if (topology_channel_find(text, &channel))
        check(channel < TOPOLOGY_CHANNELS);
    if (partition_parse(text, &p, error, sizeof error) < 0) {
        check(p.count == 77);
        check_refused();
        return;
    }
    check(p.count >= 1 && p.count <= SERVER_COUNT);
    for (uint32_t i = 0; i < p.count; i++) {
        check(p.domain[i].servers != 0 && (servers & p.domain[i].servers) == 0);
        servers |= p.domain[i].servers;
    }
    check(servers == SERVERS_ALL);
    check(partition_parse(p.text, &again, error, sizeof error) == 0 && memcmp(&p, &again, sizeof p) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *text = malloc(size); /* what is behind data[0], and the end */
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    memset(error, 0, sizeof error);
    switch (data[0] % 5) {
    case 0:
        policy(text, size - 1);
        break;
    case 1:
        configuration(text, size - 1);
        break;
    case 2:
        option(text);
        break;
    case 3:
        impairments(text);
        break;
    default:
        partition(text);
    }
    free(text);
    return 0;
}
