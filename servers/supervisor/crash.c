// SPDX-License-Identifier: BSD-2-Clause
/* Reports of deaths: RUNDIR/crash-DOMAIN-INCARNATION.txt, mode 0600, the latest CRASH_KEPT of them. A report is noted
 * when the death is, and written when the next incarnation is on its way: nobody waits for a file.
 *
 * Untrusted: the crash page. It is copied once, counts are bounded, and of what is in it only numbers are printed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "servers/supervisor/supervisor.h"

#define ENTRIES_MAX  4096 /* of the run directory */
#define EVENTS_BACK  512  /* how far back log lines are looked for */
#define LOG_LINES    8
#define DUMP_COLUMNS 16

static const char *const register_names[] = {CRASH_REGISTER_NAMES};
#define REGISTER_NAMES (sizeof register_names / sizeof register_names[0])

/* One more file; the oldest is removed where there are enough. */
static void file_keep(struct supervisor *s, const char *name)
{
    for (uint32_t i = 0; i < CRASH_KEPT; i++)
        if (strcmp(s->crash_file[i], name) == 0)
            s->crash_file[i][0] = '\0'; /* an earlier stack's, overwritten now: the latest from here on */
    char *place = s->crash_file[s->crash_files++ % CRASH_KEPT];
    if (place[0] != '\0')
        unlinkat(s->run_dir, place, 0);
    snprintf(place, CRASH_FILE, "%s", name);
}

static bool is_report(const struct supervisor *s, const char *name)
{
    struct stat st;
    size_t length = strlen(name);
    return length < CRASH_FILE && length > 10 && strncmp(name, "crash-", 6) == 0 &&
           strcmp(name + length - 4, ".txt") == 0 && fstatat(s->run_dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

void crash_open(struct supervisor *s)
{
    int fd = openat(s->run_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    for (unsigned i = 0; directory != NULL && i < ENTRIES_MAX && (entry = readdir(directory)) != NULL; i++)
        if (is_report(s, entry->d_name))
            file_keep(s, entry->d_name);
    if (directory != NULL)
        closedir(directory);
}

void crash_note(struct supervisor *s, const struct domain *d, const char *how)
{
    struct crash *c = &s->crash;
    crash_write(s); /* of an earlier death, if it is still to be written */
    snprintf(c->file, sizeof c->file, "crash-%s-%u.txt", d->name, d->incarnation);
    snprintf(c->domain, sizeof c->domain, "%s", d->name);
    snprintf(c->how, sizeof c->how, "%s", how);
    memcpy(c->last_words, d->last_words, sizeof c->last_words);
    c->servers = d->servers;
    c->incarnation = d->incarnation;
    c->pid = d->last_pid;
    bool ran = d->ready_us > d->spawned_us;
    c->uptime_us = ran ? d->noticed_us - d->ready_us : 0;
    c->bursts = ran ? __atomic_load_n(&d->status->bursts, __ATOMIC_RELAXED) - d->started_bursts : 0;
    c->told = __atomic_load_n(&d->crash->incarnation, __ATOMIC_ACQUIRE) == d->incarnation;
    if (c->told)
        memcpy(&c->page, d->crash, sizeof c->page);
}

/* ---- the text ---- */

static uint32_t least(uint32_t a, size_t b)
{
    return a < b ? a : (uint32_t)b;
}

static const char *server_name(uint32_t id)
{
    return id < SERVER_COUNT ? topology_server_name((enum server_id)id) : "none";
}

static void registers_write(FILE *out, const struct crash_page *page)
{
    uint32_t count = least(least(page->register_count, CRASH_REGISTERS), REGISTER_NAMES);
    fprintf(out, "\nregisters:\n");
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, "  %-6s %016lx%s", register_names[i], page->registers[i],
                i % 4 == 3 || i + 1 == count ? "\n" : "");
}

static void backtrace_write(FILE *out, const struct crash_page *page)
{
    char program[PATH_MAX];
    uint32_t count = least(page->frame_count, CRASH_FRAMES);
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        slash[1] = '\0';
    fprintf(out, "\nbacktrace:\n");
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, "  #%-2u 0x%lx\n", i, page->frame[i]);
    fprintf(out, "names and lines: addr2line -apfie %sbulkhead-domain", program);
    for (uint32_t i = 0; i < count; i++)
        fprintf(out, " 0x%lx", page->frame[i] - (i > 0)); /* a return address is behind its call */
    fprintf(out, "\n");
}

static void message_write(FILE *out, const struct message *m, bool fresh)
{
    static const char *const operations[] = {[MESSAGE_SEND] = "SEND",
                                             [MESSAGE_RECEIVE] = "RECEIVE",
                                             [MESSAGE_RETURN] = "RETURN",
                                             [MESSAGE_UNREACHABLE] = "UNREACHABLE"};
    const char *name = m->operation < sizeof operations / sizeof operations[0] ? operations[m->operation] : NULL;
    fprintf(out, "    %s operation %u%s%s%s, capability %u.%u, cookie %lu", fresh ? "*" : " ", m->operation,
            name != NULL ? " (" : "", name != NULL ? name : "", name != NULL ? ")" : "", m->capability, m->generation,
            m->cookie);
    if (m->operation == MESSAGE_SEND || m->operation == MESSAGE_RECEIVE) {
        for (unsigned i = 0; i < 2; i++)
            fprintf(out, ", reference %u.%u+%u..%u", m->reference[i].pool, m->reference[i].generation,
                    m->reference[i].offset, m->reference[i].length);
        fprintf(out, ", protocol %u, ports %u > %u", m->protocol, m->source_port, m->destination_port);
    } else if (m->operation >= MESSAGE_BIND) {
        fprintf(out, ", socket %u, session %u, connection %u, slot %u, error %d", m->socket.socket, m->socket.session,
                m->socket.connection, m->socket.slot, m->socket.error);
    }
    fprintf(out, "\n");
}

static void messages_write(FILE *out, const struct crash_page *page)
{
    fprintf(out, "\nlast messages of each port, the latest first (*: of the burst that died; others are a guess):\n");
    for (uint32_t p = 0; p < least(page->port_count, CRASH_PORTS); p++) {
        const struct crash_port *port = &page->port[p];
        fprintf(out, "  %s from %s:%s\n", server_name(port->server), server_name(port->peer),
                port->messages == 0 ? " none" : "");
        for (uint32_t i = 0; i < least(port->messages, CRASH_MESSAGES); i++)
            message_write(out, &port->message[i], i < port->fresh);
    }
}

static void packet_write(FILE *out, const struct crash_page *page)
{
    uint32_t octets = least(page->packet_octets, CRASH_PACKET);
    if (octets == 0)
        return;
    fprintf(out, "\nthe packet being worked on, %s from %s, its first %u octets:\n", server_name(page->packet_server),
            server_name(page->packet_peer), octets);
    for (uint32_t i = 0; i < octets; i++)
        fprintf(out, "%s%02x%s", i % DUMP_COLUMNS == 0 ? "  " : " ", page->packet[i],
                i % DUMP_COLUMNS == DUMP_COLUMNS - 1 || i + 1 == octets ? "\n" : "");
}

static bool is_of(const struct crash *c, const struct event *event)
{
    enum server_id id;
    if (event->incarnation != c->incarnation || strcmp(event->kind, "log") != 0)
        return false;
    return strcmp(event->subject, c->domain) == 0 ||
           (topology_server_find(event->subject, strlen(event->subject), &id) && (c->servers & SERVER_BIT(id)) != 0);
}

static void log_write(FILE *out, const struct supervisor *s, const struct crash *c)
{
    uint64_t oldest = s->event_count > EVENTS_BACK ? s->event_count - EVENTS_BACK : 0;
    unsigned lines = 0;
    fprintf(out, "\nlast log lines, the latest first:\n");
    for (uint64_t n = s->event_count; n > oldest && lines < LOG_LINES; n--) {
        const struct event *event = &s->event[(n - 1) % EVENTS_KEPT];
        char text[EVENT_TEXT];
        text_copy(text, sizeof text, event->text, sizeof event->text);
        if (is_of(c, event) && ++lines > 0)
            fprintf(out, "  %s\n", text);
    }
    if (lines == 0)
        fprintf(out, "  none\n");
}

static void report_write(FILE *out, const struct supervisor *s)
{
    const struct crash *c = &s->crash;
    const struct crash_page *page = &c->page;
    char when[40] = "", words[EVENT_TEXT];
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) != NULL)
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    text_copy(words, sizeof words, c->last_words, sizeof c->last_words);
    fprintf(out, "Bulkhead crash report\ntime: %s\ndomain: %s, incarnation %u, pid %d\ndied: %s\n", when, c->domain,
            c->incarnation, c->pid, c->how);
    fprintf(out, "up: %lu.%06lu s, %lu bursts\n", c->uptime_us / 1000000, c->uptime_us % 1000000, c->bursts);
    if (words[0] != '\0')
        fprintf(out, "last words: %s\n", words);
    if (c->told) {
        const char *name = sigabbrev_np((int)(page->signal & 0x7f));
        fprintf(out, "signal: %u (%s), code %d, address 0x%lx\nrunning: %s\n", page->signal, name != NULL ? name : "?",
                page->code, page->address, server_name(page->running));
        registers_write(out, page);
        backtrace_write(out, page);
        messages_write(out, page);
        packet_write(out, page);
    } else {
        fprintf(out, "no registers: it had no time to say a word of its own\n");
    }
    log_write(out, s, c);
}

void crash_write(struct supervisor *s)
{
    struct crash *c = &s->crash;
    if (c->file[0] == '\0')
        return;
    unlinkat(s->run_dir, c->file, 0);
    int fd = openat(s->run_dir, c->file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out != NULL) {
        report_write(out, s);
        fclose(out); /* a full disk costs the report only */
        file_keep(s, c->file);
    } else if (fd >= 0) {
        close(fd);
    }
    c->file[0] = '\0';
}
