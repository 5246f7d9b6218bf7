// SPDX-License-Identifier: BSD-2-Clause
/* The supervisor's own state and the interfaces between its files. Single-threaded: one epoll loop, one event at a
 * time.
 *
 *   main.c options.c   command line          loop.c      epoll, signals, deadlines, start and orderly end
 *   rundir.c device.c wire.c  what it opens  spawn.c     a process in namespaces of its own
 *   layout.c           which domain hosts what   change.c repartition.c  planned restarts, another partition
 *   standby.c          a started spare of each domain
 *   domain.c           a domain's lives      control.c   messages to and from a domain
 *   grant.c memory.c   what a domain gets    barrier.c   deaths: who must let go before the next incarnation starts
 *   rights.c caps.c    the derivation tree of all that was granted
 *   attach.c session.c applications          manage_link.c status.c event.c   the management plane
 *   eliminate.c prober_link.c  is anybody served?   conservation.c traffic.c  does what goes in come out?
 *   capture.c crash.c  what crosses a channel; reports of deaths
 *   audit*.c           what the kernel says against what was granted */
#ifndef BULKHEAD_SERVERS_SUPERVISOR_SUPERVISOR_H
#define BULKHEAD_SERVERS_SUPERVISOR_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "capabilities/policy.h"
#include "capabilities/registry.h"
#include "capabilities/table.h"
#include "ipc/capture.h"
#include "ipc/control.pb-c.h"
#include "ipc/crash.h"
#include "ipc/doorbell.h"
#include "ipc/manage.pb-c.h"
#include "ipc/session.h"
#include "servers/server.h"
#include "servers/supervisor/eliminate.h"
#include "servers/supervisor/health.h"
#include "servers/supervisor/judge.h"
#include "servers/supervisor/liveness.h"
#include "servers/supervisor/options.h"
#include "servers/supervisor/prober_link.h"
#include "servers/supervisor/traffic.h"
#include "servers/topology/topology.h"

#define HOLD_US              20000   /* that events and reports wait for an incarnation to run, at most */
#define HOLD_ON_US           2000    /* ... and when it runs */
#define TICK_US              200000  /* how often this and that is looked at */
#define HANG_US              1000000 /* silence after which a domain hangs, unless --hang says otherwise */
#define ACKNOWLEDGE_US       HANG_US /* a survivor that has not let go of the dead by then is hung */
#define SURVIVED_US          5000000 /* after a signal that was asked for */
#define LATE_MAX             5       /* deadlines in a row that a domain may miss when it was not let */
#define START_US             5000000 /* from spawn to Standby, from grants to Ready */
#define STOP_US              500000  /* orderly end of everything; then killed */
#define RESTART_US           200000  /* orderly end of one domain */
#define HEALTHY_US           10000   /* a life that ran for this long ... */
#define HEALTHY_BURSTS       2       /* ... and did this much was no failed start */
#define UNHEALTHY_COLD       3       /* failed starts in a row after which the next one is cold: from an empty store */
#define UNHEALTHY_STACK      6       /* and after which all domains are replaced, with empty stores */
#define UNHEALTHY_FREE       5       /* failed starts in a row without a pause */
#define CHURN_DEATHS         20       /* deaths of its own in ... */
#define CHURN_US             10000000 /* ... this time without a pause, however healthy; and a life that ends the pauses */
#define BACKOFF_FIRST_US     10000
#define BACKOFF_LAST_US      1000000
#define POOL_OCTETS_MAX      (128U << 20)
#define ACCUSATIONS_FREE     3        /* broken channels that a domain may report in ... */
#define ACCUSATIONS_US       10000000 /* ... this time before it is not believed */
#define STORE_OCTETS_MAX     (256U << 20)
#define QUEUE_MAX            16384 /* messages that wait for one domain */
#define CONTROL_OCTETS_MAX   2048  /* of a message in either direction */
#define CONTROL_FDS_MAX      64    /* with one datagram */
#define CORK_OCTETS          8192  /* of messages that are sent as one */
#define CORK_MESSAGES        64
#define FROM_DOMAIN_BURST    32
#define LOGS_A_TICK          32
#define CONNECTIONS_WAITING  16 /* attached to, no hello yet */
#define CONNECTIONS_ATTACHED (SESSIONS_MAX + CONNECTIONS_WAITING)
#define SESSIONS_OF_UID(n)   ((n) - (n) / 4) /* of n; the rest is for other users */
#define SESSION_ENDING_US    60000000 /* patience with what a session that has ended still sends */
#define SESSION_EVENTS_BURST 64 /* sessions may come and go without a pause; then one event a tick, with a count */
#define SESSION_FDS          (4 + 1 + 2 * SESSION_ARENAS) /* what a session costs, with its connection */
#define OTHER_FDS            320 /* everything else */
#define RIGHTS_NODES         16384 /* there is always one for what a server needs: rights.c adds them up */
#define CHANGES_KEPT         32
#define EVENTS_KEPT          4096
#define EVENT_KIND           16
#define EVENT_SUBJECT        40
#define EVENT_TEXT           200
#define EVENT_SPANS          4
#define CAPTURES_MAX         8
#define CRASH_KEPT           32 /* reports in the run directory */
#define CRASH_FILE           (PARTITION_TEXT + 32)

typedef Bulkhead__Control__ToDomain to_domain; /* generated; the short name is for line length only */

struct file_identity {
    dev_t device;
    ino_t inode;
};

/* ---- processes ---- */
/* The namespaces of a process whose end waits for all CPUs (RCU) or keeps one of them busy: of mounts, net and IPC. */
#define NAMESPACES_HELD 3
struct namespaces {
    int held[NAMESPACES_HELD]; /* descriptors, each plus 1; 0: not held */
};
/* The dead, and their namespaces. What the kernel keeps of a process is long to take down: that is no business of who
 * waits for the next incarnation. So all is held back until the next process is spawned. */
#define BURIED_MAX 16
struct buried {
    uint32_t count;
    struct namespaces namespaces[BURIED_MAX];
    int pidfd[BURIED_MAX];
};
/* Likewise rings and pools of a former life, until the next one runs. */
struct leftovers {
    uint32_t halves, fds;
    const void *half[2 * TOPOLOGY_CHANNELS];
    int fd[2 * TOPOLOGY_CHANNELS + SERVER_COUNT];
};
struct spawn_request {
    struct buried *buried; /* NULL: none. It is empty afterwards */
    const char *program;  /* beside the supervisor's own executable, or an absolute path */
    const char *argument; /* argv[1], NULL none */
    int control;          /* becomes descriptor 3 */
    uint32_t uid;         /* outside; inside it is 0 */
    int cpu;              /* -1: anywhere */
    bool settles;         /* it is put there later, by process_place(), if we are allowed to do that */
};
struct process {
    pid_t pid; /* 0: none */
    int pidfd; /* -1: none */
    bool user_namespace; /* has one of its own */
    struct namespaces namespaces;
};
int spawn_process(const struct spawn_request *request, struct process *ret) __attribute__((warn_unused_result));
/* A trusted program beside the supervisor's own, in its namespaces and with its uid; argument[0] names it. */
int spawn_beside(const char *const *argument, int control, struct process *ret) __attribute__((warn_unused_result));
void process_signal(const struct process *process, int signo);
void process_place(const struct process *process, int cpu);
/* Of one that spawn_process() made and that has come to its program, by when it has all its namespaces: holds them. */
void process_hold(struct process *process);
/* As process_reap(), with most of its end left for later: it is dead all the same. */
int process_bury(struct process *process, struct buried *buried, char *ret_text, size_t size);
/* Collects a process whose pidfd is readable; *ret_text says how it ended. The signal that it died of; 0: none. */
int process_reap(struct process *process, char *ret_text, size_t size);
/* Whoever asks for a short slice runs before those who have longer ones, and not for long (EEVDF, Linux 6.12; takes no
 * privilege, and is inherited). 0: as everybody. A refusal costs speed only. */
void spawn_slice(uint64_t ns);
/* uid that domain `index` gets, and whether it has one of its own. */
bool spawn_uid(uint32_t index, uint32_t *ret);
/* The `n`th CPU for this placement, -1 for none. */
int spawn_cpu(enum placement placement, uint32_t n);

/* ---- domains ---- */
enum domain_state {
    DOMAIN_DOWN,    /* no process: waits for retry_us */
    DOMAIN_SPAWNED, /* has been told what to become */
    DOMAIN_STANDBY, /* sandboxed, has nothing */
    DOMAIN_GRANTED, /* has its grants, is starting */
    DOMAIN_RUNNING,
};
enum domain_fault {
    FAULT_NONE,
    FAULT_PLANNED,
    FAULT_KILL,
    FAULT_LOOP, /* hangs, and burns its CPU */
    FAULT_HUNG, /* hangs, and does nothing, or does not answer */
    FAULT_START,
    FAULT_PROTOCOL,
    FAULT_ACCUSED, /* a neighbour says that it lies */
    FAULT_UNSERVED, /* the prober or the traffic says that it serves nobody */
    FAULT_GRANT,
    FAULT_STACK /* no fault of its own: everything starts anew */
};

struct outgoing;

#define SERVES_SESSIONS (SERVER_BIT(SERVER_SOCKET) | SERVER_BIT(SERVER_TCP) | SERVER_BIT(SERVER_UDP))
struct slot { /* layout.c: by which a server is woken, for good; nobody waits for it where its domain has another for it */
    int status_fd, bell_read, bell_write;
    uint32_t bell_node, status_node;
    const struct status_page *status;
};

struct server_needs { /* as Standby says it of a server */
    uint32_t pool_octets, store_version;
    uint64_t store_octets;
};
struct spare { /* standby.c: a started, sandboxed process that waits for its grants */
    struct process process; /* pid 0: none */
    int control;            /* -1: none */
    struct file_identity control_file;
    bool ready;             /* it has said Standby */
    bool lied;
    uint64_t make_us;       /* when to start one; 0: not wanted now */
    uint64_t since_us;      /* started, then: ready since */
    uint32_t failures;      /* that ended unasked, in a row */
    struct server_needs needs[SERVER_COUNT];
};
#define SUSPECTS_KEPT SUSPECTS_MAX
#define SUSPECTS_TOLD (SERVER_COUNT * SUSPECTS_KEPT) /* to one domain */
#define HEALTH_COUNTERS(X)                                                                                             \
    X(restarts_resume) X(restarts_listeners) X(restarts_none) /* by what the next incarnation was to go on from */      \
    X(restarts_cold)  /* failed starts: with empty stores of its own */                                                \
    X(restarts_stack) /* and then everybody's */                                                                       \
    X(restarts_waited) /* back-off */                                                                                  \
    X(hangs_loop) X(hangs_stop) X(hangs_start) X(lies) X(unserved) X(suspects) X(poisons)
struct health_counters {
#define X(name) uint64_t name;
    HEALTH_COUNTERS(X)
#undef X
};
struct server_health { /* health.c: of one server, over its incarnations (DESIGN section 6, poison) */
    struct server_suspect suspect[SUSPECTS_KEPT]; /* oldest first; so does its next incarnation number them */
    uint64_t since_us[SUSPECTS_KEPT];
    uint32_t suspects;
};

/* What is to be sent to a domain in one datagram. */
struct cork {
    bool on;
    uint32_t messages, octets, fds;
    uint32_t length[CORK_MESSAGES], count[CORK_MESSAGES]; /* of each: octets, descriptors */
    int fd[CONTROL_FDS_MAX];
    uint64_t owned; /* a mask of them */
    uint8_t packed[CORK_OCTETS];
};
_Static_assert(CONTROL_FDS_MAX <= 64, "a mask");

struct domain {
    uint32_t index;
    const char *name;
    uint32_t servers; /* mask */
    uint32_t uid;
    int cpu;       /* that it is put on when it has run for a moment: until then anywhere, beside who lets it in. -1: none */
    bool unplaced; /* it is to be put there */
    enum domain_state state;
    enum domain_fault fault; /* why it was asked to end, if it was */
    uint32_t incarnation;
    struct process process;
    pid_t last_pid; /* of this incarnation, when it is dead too */
    int control;
    struct file_identity control_file; /* of its end */
    struct outgoing *queue, **queue_end;
    uint32_t queued;
    struct cork cork;
    enum server_id primary; /* whose slot it is woken by: bell and status are that one's */
    /* persist across incarnations */
    int filter_fd, status_fd, counter_fd, crash_fd, bell_read, bell_write;
    uint32_t bell_node, status_node, counter_node, crash_node;
    const struct status_page *status;
    const struct counter_page *counters;
    const struct crash_page *crash;
    uint32_t known;  /* servers of other domains that this incarnation was told of and has not let go */
    uint32_t losing; /* servers whose loss it is to acknowledge */
    uint64_t ack_epoch, ack_deadline_us; /* 0: nothing awaited */
    uint64_t revoke_epoch, revoke_deadline_us; /* of the last Revoke; deadline 0: acknowledged */
    uint64_t attach_epoch, attach_deadline_us; /* PeerAttached that others wait for before they start; 0 none */
    bool start_waits;      /* has its grants, but not everyone knows of it yet */
    uint64_t deadline_us;                /* SPAWNED, GRANTED, or told to stop; 0 none */
    uint64_t retry_us;                   /* DOWN */
    uint32_t accusations;                /* channels that it reported broken since ... */
    uint64_t accused_since_us;
    uint32_t unhealthy;                  /* failed starts in a row */
    uint32_t churn;                      /* pauses in a row for dying again and again; 0: it does not */
    uint32_t churn_deaths;               /* since ... */
    uint64_t churn_since_us;
    bool cold;                           /* its next life has empty stores */
    uint64_t silent_us;                  /* of one that hangs: for how long; 0: it moves, but does not answer */
    const char *recovery;                /* what its present life goes on from, in a word */
    struct liveness liveness;
    uint32_t late;                       /* deadlines that it missed, and was excused for */
    uint64_t started_bursts;
    uint64_t kill_us; /* when this incarnation was killed or told to stop; 0 not */
    uint64_t died_kill_us, noticed_us, spawned_us, standby_us, granted_us, ready_us; /* of the latest death and life */
    uint32_t logs_left;                                                              /* until the next tick */
    char last_words[EVENT_TEXT];
    struct spare spare;
    char program[OPTIONS_PATH]; /* file that its next incarnations run; empty: the one beside the supervisor */
};

/* ---- memory that the supervisor keeps ---- */
struct server_memory {
    struct domain *domain;
    uint32_t pool_octets, pool_object;
    int pool;
    int pool_next; /* made beforehand, for its next incarnation; -1: none */
    uint32_t pool_next_octets;
    uint16_t pool_index, pool_generation;
    uint32_t pool_node, store_node;
    uint64_t store_octets;
    uint32_t store_version; /* of what is in the store */
    int store;
    struct server_health health;
};
struct channel_memory {
    int half[2]; /* written by end[0], end[1]; -1 none, or both ends in one domain */
    int next[2]; /* made beforehand; -1: none */
    uint32_t node[2];
    const struct ring_half *seen[2]; /* NULL: not yet */
    struct channel_books books[2];
};

/* ---- rights: what the registry's numbers mean ---- */
enum object_type {
    OBJECT_POOL = 1,      /* part: server */
    OBJECT_RING,          /* part: server that writes, server that reads */
    OBJECT_BELL,          /* part: server */
    OBJECT_STATUS,        /* part: server */
    OBJECT_COUNTERS,      /* part: domain */
    OBJECT_CRASH,         /* part: domain */
    OBJECT_CAPTURE,       /* part: server that writes, server at the other end */
    OBJECT_STORE,         /* part: server */
    OBJECT_DEVICE,
    OBJECT_LINK,
    OBJECT_TRANSPORT,
    OBJECT_SOCKET,
    OBJECT_SESSION,       /* part: session, as those that follow */
    OBJECT_CONTROL,
    OBJECT_ANSWER,
    OBJECT_SESSION_BELL,
    OBJECT_SEND_ARENA,    /* part: session, arena */
    OBJECT_RECEIVE_ARENA,
    OBJECT_TYPES
};
enum rights_root { RIGHTS_LINK, RIGHTS_TRANSPORT, RIGHTS_SOCKET, RIGHTS_DEVICE, RIGHTS_ROOTS };
#define HOLDER_SUPERVISOR  0x100U /* below: domains, by index */
#define HOLDER_SESSION(id) ((uint16_t)(0x200U + (id)))

/* ---- sessions ---- */
enum session_state { SESSION_FREE, SESSION_ACTIVE, SESSION_ENDING, SESSION_REMOVING };
/* What the application waits for: its answer comes when the grants are in force, not when they are on their way. */
enum session_fence {
    FENCE_NONE,
    FENCE_HELLO,  /* whoever serves it has the session */
    FENCE_PASSED, /* whoever passes on references to the last arena knows it: now its transport may have it */
    FENCE_ARENA,  /* and has it */
};
struct arena_memory {
    uint32_t transport, slots, send_size, receive_size; /* slots 0: none */
    uint32_t send_most, receive_most;
    int app, words;                                     /* TX arena, read-only; RX arena */
    struct file_identity file[2];                       /* theirs */
    uint32_t object;
    uint16_t index, generation;
    uint32_t app_node, words_node;
    uint32_t owner_incarnation; /* 1 + that of its transport's domain which was granted it; 0 none yet */
};
struct session_memory {
    enum session_state state;
    uint32_t id;
    uint32_t generation;
    uint32_t uid, pid;
    bool prober;
    struct policy_rule rule; /* that held when it attached */
    uint32_t node, control_node, answer_node, bell_node;
    int control, answer, bell_read, bell_write; /* control read-only */
    struct file_identity file[2];               /* of control and answer */
    uint64_t octets;
    uint32_t arenas;
    struct arena_memory arena[SESSION_ARENAS];
    enum session_fence fence;
    uint32_t waiting; /* fence, or REMOVING: mask of domains that have not acknowledged */
    uint32_t unseen;  /* REMOVING: mask of those whose store may have some of it, and who do not run */
    uint64_t epoch, deadline_us;
    uint64_t ended_us; /* ENDING since */
};
struct connection {
    int fd;          /* -1: free */
    int32_t session; /* -1: no hello yet */
    uint64_t since_us;
    bool held;       /* its hello waits for a place that is being made */
    int hello_fd[2]; /* which came with it */
};

/* ---- the wire to another stack ---- */
struct wire_link {
    int listener;              /* PATH is ours; -1: not */
    int socket;                /* to the other supervisor; -1 none */
    uint64_t since_us;         /* of the connection */
    int bell_read, bell_write; /* our doorbell, for good */
    int mine, peer, peer_bell; /* of the link: our half, theirs (read-only), their doorbell; peer -1: no hello yet */
};

struct change { /* change.c: a restart of one domain that somebody waits for */
    uint64_t id;            /* of the request; 0: none */
    uint64_t deadline_us;
    uint32_t incarnation;   /* which is to run; 0: the candidate is not ready yet */
    struct spare candidate; /* a process of another program */
    char program[OPTIONS_PATH], former[OPTIONS_PATH]; /* empty: the same one */
    char said[EVENT_TEXT];
};
enum repartition_phase {
    REPARTITION_NONE,
    REPARTITION_ENDING,
    REPARTITION_STARTING,
    REPARTITION_BACK_ENDING,
    REPARTITION_BACK_STARTING,
};
struct repartition { /* repartition.c */
    enum repartition_phase phase;
    uint64_t id, since_us, ended_us, deadline_us;
    struct partition from, to;
    char why[EVENT_TEXT]; /* it went back */
};

struct event {
    uint64_t number, time_us;
    char kind[EVENT_KIND], subject[EVENT_SUBJECT], text[EVENT_TEXT];
    uint32_t incarnation;
    uint32_t spans;
    uint64_t span_us[EVENT_SPANS];
};

struct capture_memory {
    int fd;      /* of the connection; -1: free */
    int segment; /* -1: asked for nothing yet */
    uint32_t node;
    uint32_t channel, snap;
    pid_t pid;
};

struct crash { /* a death whose report is to be written */
    char file[CRASH_FILE]; /* empty: none */
    char domain[PARTITION_TEXT], how[EVENT_TEXT], last_words[EVENT_TEXT];
    uint32_t servers, incarnation;
    pid_t pid;
    uint64_t uptime_us, bursts; /* 0: did not get ready */
    bool told;                  /* what the domain itself says: */
    struct crash_page page;
};

#define INJECTORS_MAX SERVER_COUNT
#define INJECT_TEXT   600
struct injector {
    struct domain *domain; /* NULL: free */
    uint32_t incarnation;
    struct process process;
    int reports; /* -1: it has no more to say, and is ending */
    uint64_t id; /* of the request; 0: answered */
    bool golden; /* a golden run */
    char last_words[INJECT_TEXT]; /* first octet: of which kind */
};

struct prober_link { /* prober_link.c */
    struct process process;
    int socket; /* -1: none */
    bool silent, was_well;
    uint64_t at_us; /* when to start it, or to ask next */
    uint64_t retry_us, since_us, asked_us; /* asked_us 0: it has answered */
    uint64_t reports, failures, excused, refused;
    uint32_t said[FLOWS], seen; /* when it was asked: what each had said; a mask */
    struct elimination elimination;
};

struct supervisor {
    struct options options;
    struct policy policy;
    int run_dir, lock, signals, listener, device;
    int epoll, attach_epoll; /* the second, with listener and connections, is one descriptor of the first */
    bool listener_off;       /* out of descriptors: until the next tick */
    bool run_dir_made, started, stopping, failed;
    uint64_t start_us, tick_us, stop_us;
    struct wire_link wire;
    uint32_t device_can; /* enum netdrv_can */
    struct mac_address mac;
    uint32_t mtu;
    uint8_t secret[16];
    bool own_uids;
    uint32_t domain_count;
    struct domain domain[SERVER_COUNT];
    struct slot slot[SERVER_COUNT];
    struct change change[SERVER_COUNT]; /* of each domain */
    struct repartition repartition;
    struct server_memory server[SERVER_COUNT];
    struct channel_memory channel[TOPOLOGY_CHANNELS];
    struct judge_device judge_device;
    struct prober_link prober;
    struct traffic traffic;
    struct registry registry;
    struct registry_node node[RIGHTS_NODES];
    uint32_t right_node[RIGHTS_ROOTS];
    uint32_t next_object;
    uint64_t epoch;
    struct session_memory session[SESSIONS_MAX];
    uint32_t sessions_made; /* ever: the generation of the latest */
    uint32_t sessions_most; /* that the limit of descriptors allows */
    uint32_t session_events_left, session_events_more;
    struct connection connection[CONNECTIONS_ATTACHED];
    bool place_freed; /* of a session: whose hello is held may have it */
    struct process manage, audit;
    struct buried buried;
    struct leftovers left;
    struct injector injector[INJECTORS_MAX];
    char inject_error[EVENT_TEXT]; /* of the latest refusal */
    int manage_link;
    uint64_t manage_retry_us, manage_since_us;
    struct { /* requests that changed something, or were to */
        uint64_t id;
        char error[EVENT_TEXT]; /* empty: done, or not answered yet */
    } changes[CHANGES_KEPT];
    uint64_t change_count;
    uint64_t manage_dropped, refused_attaches, policy_refusals, deaths, spares_taken;
    struct health_counters health;
    uint64_t watch_us; /* last look at liveness */
    uint64_t turn_us, longest_turn_us; /* when the present turn of the loop began; how long one took at most */
    int capture_listener;
    struct capture_memory capture[CAPTURES_MAX];
    struct crash crash;
    uint32_t crash_files;
    char crash_file[CRASH_KEPT][CRASH_FILE]; /* a ring */
    uint64_t event_count, events_pushed;
    struct event event[EVENTS_KEPT];
};

/* ---- loop.c ---- */
enum watch {
    WATCH_SIGNALS,
    WATCH_PROCESS,
    WATCH_CONTROL,
    WATCH_MANAGE_PROCESS,
    WATCH_MANAGE,
    WATCH_AUDIT,
    WATCH_SPARE,         /* a spare's pidfd */
    WATCH_SPARE_CONTROL,
    WATCH_INJECTOR,
    WATCH_CANDIDATE,     /* change.c, as the spare's two */
    WATCH_CANDIDATE_CONTROL,
    WATCH_CAPTURE_LISTENER,
    WATCH_CAPTURE,
    WATCH_WIRE,
    WATCH_WIRE_LISTENER,
    WATCH_PROBER_PROCESS,
    WATCH_PROBER,
    WATCH_ATTACH, /* one of the two that follow */
    WATCH_LISTENER,
    WATCH_CONNECTION
};
uint64_t now_us(void);
int loop_watch(struct supervisor *s, int fd, enum watch what, uint32_t index);
void loop_watch_output(struct supervisor *s, int fd, enum watch what, uint32_t index, bool output);
void loop_unwatch(struct supervisor *s, int fd);
int supervisor_start(struct supervisor *s, char ret_error[OPTIONS_ERROR]) __attribute__((warn_unused_result));
int supervisor_run(struct supervisor *s); /* exit status */
void supervisor_stop(struct supervisor *s);
/* An incarnation is on its way, since a moment ago: what nobody waits for (events, reports) is for later. */
bool supervisor_holds(const struct supervisor *s);

/* ---- rundir.c, device.c ---- */
int rundir_open(struct supervisor *s, char ret_error[OPTIONS_ERROR]) __attribute__((warn_unused_result));
void rundir_close(struct supervisor *s); /* removes what is in it */
int device_open(struct supervisor *s, char ret_error[OPTIONS_ERROR]) __attribute__((warn_unused_result));

/* ---- wire.c ---- */
void wire_init(struct supervisor *s);
/* 0, with or without somebody at the other end; or a negative errno with one line in ret_error. */
int wire_open(struct supervisor *s, char ret_error[OPTIONS_ERROR]) __attribute__((warn_unused_result));
void wire_close(struct supervisor *s);
void wire_accept(struct supervisor *s);
void wire_receive(struct supervisor *s);
void wire_tick(struct supervisor *s);

/* ---- layout.c ---- */
int memory_watch(int fd, size_t size, void **ret); /* read-only, for good */
int domains_init(struct supervisor *s) __attribute__((warn_unused_result));
/* Of a domain of these servers: the one that it is woken by, and all that it waits for, as a mask of servers. */
enum server_id layout_primary(uint32_t servers);
uint32_t layout_slots(uint32_t servers);
/* All are dead: other domains, with no life yet. 0, and a negative errno: nothing has changed. -ENOSPC: they lack rights. */
int layout_change(struct supervisor *s, const struct partition *to) __attribute__((warn_unused_result));

/* ---- domain.c ---- */
void domain_spawn(struct supervisor *s, struct domain *domain);
/* Starts a process for it, watched as `process` and `control`, and tells it what to become: into *ret, also in part when it
 * fails. 0, or a negative errno. */
int domain_process_start(struct supervisor *s, const struct domain *domain, enum watch process, enum watch control,
                         struct spare *ret) __attribute__((warn_unused_result));
/* What its next incarnation needs. A store of another layout is forgotten. */
void domain_needs(struct supervisor *s, const struct domain *domain, const struct server_needs needs[SERVER_COUNT]);
/* It is its process from now on: what *from was waits for its grants. */
void domain_process_take(struct supervisor *s, struct domain *domain, struct spare *from);
void domain_kill(struct domain *domain, enum domain_fault fault);
void domain_restart(struct supervisor *s, struct domain *domain); /* orderly */
uint64_t domain_backoff_us(const struct domain *domain); /* that its next start waits; 0 none */
void domain_died(struct supervisor *s, struct domain *domain);    /* its pidfd is readable */
void domain_standby(struct supervisor *s, struct domain *domain);
void domain_ready(struct supervisor *s, struct domain *domain);
void domain_acknowledged(struct supervisor *s, struct domain *domain, uint64_t epoch);
void domain_settle(struct domain *domain); /* on its CPU */
void domain_tick(struct supervisor *s, struct domain *domain); /* every TICK_US */
void domain_watch(struct supervisor *s, struct domain *domain); /* every health_tick_us() */
void domain_deadlines(struct supervisor *s, struct domain *domain, uint64_t now);
/* It has not said in time what it was to say, and it has been listened to: killed, unless it was not let. */
void domain_is_late(struct supervisor *s, struct domain *domain);
static inline bool domain_lives(const struct domain *domain) /* has grants */
{
    return domain->state == DOMAIN_GRANTED || domain->state == DOMAIN_RUNNING;
}

/* ---- standby.c ---- */
/* The spare becomes the domain's process, in STANDBY. False: there is none that is ready. */
bool standby_take(struct supervisor *s, struct domain *domain);
void standby_make(struct supervisor *s, struct domain *domain); /* soon, unless it is turned off */
void standby_end(struct supervisor *s, struct domain *domain);  /* there is to be none (of this program) */
void standby_event(struct supervisor *s, struct domain *domain, enum watch what); /* its pidfd or socket */
/* There is a spare that is ready, and it can go on from what is in the stores. */
bool standby_fits(const struct supervisor *s, const struct domain *domain);
uint64_t standby_deadline(struct supervisor *s); /* 0: none */
void standby_deadlines(struct supervisor *s, uint64_t now);

/* ---- health.c ---- */
/* Whether it is being killed for a lie: nothing that it says counts any more. */
static inline bool health_lied(const struct domain *domain)
{
    return domain->fault == FAULT_PROTOCOL || domain->fault == FAULT_ACCUSED;
}

/* ---- inject.c ---- */
/* NULL, and the reply with this id comes later; or why not. */
const char *inject_start(struct supervisor *s, uint64_t id, const Bulkhead__Manage__Inject *request);
bool inject_is_on(const struct supervisor *s, uint64_t id); /* its answer comes */
bool inject_slows(const struct supervisor *s, const struct domain *domain); /* a golden run stops it again and again */
void inject_ended(struct supervisor *s, uint32_t index); /* an injector says something, or has ended */
void inject_struck(struct supervisor *s, struct domain *domain, const Bulkhead__Control__Faulted *what); /* untrusted: what */

/* ---- change.c ---- */
void change_init(struct supervisor *s);
/* As inject_start(). `program`: empty, or what its next incarnations run. Untrusted: program. */
const char *change_start(struct supervisor *s, struct domain *domain, uint64_t id, const char *program);
void change_reply(struct supervisor *s, uint64_t id, const char *error); /* NULL: done */
bool change_is_on(const struct supervisor *s, uint64_t id); /* 0: any */
/* The candidate becomes the domain's process, in STANDBY. False: there is none that is ready. */
bool change_take(struct supervisor *s, struct domain *domain);
void change_event(struct supervisor *s, uint32_t index, enum watch what);
void change_ready(struct supervisor *s, const struct domain *domain);
void change_died(struct supervisor *s, struct domain *domain, const char *how);
void change_deadlines(struct supervisor *s, uint64_t now);
uint64_t change_deadline(const struct supervisor *s); /* 0: none */
bool change_stop(struct supervisor *s);               /* true: there are candidates, which are ending */

/* ---- repartition.c ---- */
const char *repartition_start(struct supervisor *s, uint64_t id, const char *partition); /* as inject_start() */
void repartition_advance(struct supervisor *s);
bool repartition_is_on(const struct supervisor *s);
bool repartition_ends_all(const struct supervisor *s); /* no domain is started now */
/* True: what follows from this death is done. */
bool repartition_died(struct supervisor *s, struct domain *domain, const char *how);
void repartition_ready(struct supervisor *s);
void repartition_deadlines(struct supervisor *s, uint64_t now);
uint64_t repartition_deadline(const struct supervisor *s); /* 0: none */

/* ---- control.c ---- */
/* Sends or queues; `fd` are duplicated, those marked in `owned` (a mask) are closed in any case. A negative descriptor
 * that the message needs kills the domain: it cannot be given what it must have. */
void control_send(struct supervisor *s, struct domain *domain, const to_domain *message, const int *fd, uint32_t count,
                  uint32_t owned);
/* What is sent to it from now on goes out together, when control_uncork() says so, or as much as is full. */
void control_cork(struct domain *domain);
void control_uncork(struct supervisor *s, struct domain *domain);
void control_receive(struct supervisor *s, struct domain *domain); /* untrusted: all of it */
/* The first message to a process, on its fresh socket. 0, or a negative errno. */
int control_send_first(int socket, const to_domain *message, int fd) __attribute__((warn_unused_result));
/* Untrusted: message (domain). What each of its servers needs, bounded. False: nonsense. */
bool control_standby_read(const struct domain *domain, const Bulkhead__Control__Standby *message,
                          struct server_needs ret[SERVER_COUNT]);
void control_flush(struct supervisor *s, struct domain *domain);
void control_close(struct supervisor *s, struct domain *domain);

/* ---- memory.c ---- */
int pipe_reopen(int fd, bool writable); /* an open file of its own on a pipe's end, non-blocking */
void memory_init(struct supervisor *s);
/* Our own pages are there, and ours to write: after a fork each of them is a fault when it is written next, and that would be
 * when somebody has died. */
void memory_populate(struct supervisor *s);
void memory_let_go(struct supervisor *s); /* of what memory_renew() replaced */
/* Fresh pools and channel halves for the servers in `fresh`, whose domains are about to get them. */
int memory_renew(struct supervisor *s, uint32_t fresh) __attribute__((warn_unused_result));
/* What memory_renew() will have to make for the next incarnations of these servers is made now, when nobody waits. */
void memory_prepare(struct supervisor *s, uint32_t servers);
/* The next incarnations of these servers start from nothing. True: there was something. */
bool memory_forget_stores(struct supervisor *s, uint32_t servers);

/* ---- rights.c ---- */
/* Untrusted: index to length. Whether `server` has an entry for that in its table for `peer`, as far as was granted. */
bool rights_name(const struct supervisor *s, enum server_id server, enum server_id peer, uint16_t index,
                 uint16_t generation, uint64_t offset, uint64_t length);
void rights_init(struct supervisor *s);
bool rights_begin(struct supervisor *s) __attribute__((warn_unused_result)); /* roots that are there from the start */
bool rights_domain(struct supervisor *s, struct domain *d) __attribute__((warn_unused_result)); /* those of its pages */
void rights_domain_end(struct supervisor *s, struct domain *d);
/* A new object, whose number is made if `from` has none. False: no room. */
bool rights_mint(struct supervisor *s, uint32_t under, const struct registry_grant *from, uint32_t *ret_node)
    __attribute__((warn_unused_result));
void rights_end(struct supervisor *s, uint32_t *node); /* nobody has anything of this object any more */
/* The node by which a holder has something: there already, or derived now. NULL: it may not have it. */
const struct registry_node *rights_have(struct supervisor *s, uint32_t root, uint32_t holder, uint32_t rights);
const struct registry_node *rights_pool(struct supervisor *s, const struct domain *d, enum server_id owner);
const struct registry_node *rights_pool_entry(struct supervisor *s, const struct topology_pool *row);
const struct registry_node *rights_entry(struct supervisor *s, const struct topology_right *row, uint32_t addresses);
const struct registry_node *rights_arena_entry(struct supervisor *s, const struct arena_memory *arena,
                                               const struct topology_arena *row);
void rights_died(struct supervisor *s, const struct domain *d);
/* Marks all that `d` has of the dead `lost` as asked for with this epoch; the pools among it, at most `most`. */
uint32_t rights_ask_lost(struct supervisor *s, const struct domain *d, uint32_t lost, uint64_t epoch, uint32_t *objects,
                         uint32_t most);
bool rights_session(struct supervisor *s, struct session_memory *session) __attribute__((warn_unused_result));
bool rights_arena(struct supervisor *s, const struct session_memory *session, struct arena_memory *arena)
    __attribute__((warn_unused_result));
/* Revokes all of it; `waiting` becomes the mask of domains that hold any, asked for with the session's epoch. */
void rights_session_end(struct supervisor *s, struct session_memory *session);
/* Takes one entry back from a living domain. NULL, or one line that says why not. */
const char *rights_revoke(struct supervisor *s, uint32_t id);
void rights_acknowledged(struct supervisor *s, struct domain *d, uint64_t epoch);

/* ---- grant.c ---- */
/* Everything to the domains in STANDBY; what is new of them to those that live. */
void grant_standby(struct supervisor *s);
void grant_device(struct supervisor *s, struct domain *domain, bool again); /* again: the link has changed */
void grant_session(struct supervisor *s, struct domain *domain, const struct session_memory *session);
void grant_arena(struct supervisor *s, struct domain *domain, const struct session_memory *session, uint32_t arena);

/* ---- barrier.c ---- */
/* Goes on with whatever deaths, acknowledgements and new processes allow. */
void barrier_advance(struct supervisor *s);
/* Sends Start to those in GRANTED once all who must know of them before do. */
void barrier_start(struct supervisor *s);
void barrier_acknowledged(struct supervisor *s, struct domain *domain, uint64_t epoch);

/* ---- attach.c, session.c ---- */
int attach_listen(struct supervisor *s) __attribute__((warn_unused_result));
void attach_accept(struct supervisor *s);
void attach_tick(struct supervisor *s);
void attach_receive(struct supervisor *s, uint32_t connection);
void attach_close(struct supervisor *s, uint32_t connection);
void attach_waiting(struct supervisor *s); /* hellos that are held, once a place was freed */
void attach_answer(struct supervisor *s, uint32_t session, bool hello); /* the fence is down */
/* 0 or an errno value. The answer follows from session_fence(), at once or when all domains have acknowledged. */
int session_new(struct supervisor *s, const int fd[2], const struct ucred *who, uint32_t *ret_id);
void session_fence(struct supervisor *s, uint32_t id);
/* 0, and the answer comes when the grants are in force; or an errno value. */
int session_add_arena(struct supervisor *s, uint32_t id, const struct attach_request *request, const int fd[2]);
void session_ended(struct supervisor *s, uint32_t id); /* the application is gone */
void session_done(struct supervisor *s, uint32_t id);
/* For one more session of this user, which was refused (EDQUOT, ENOSPC): the one that has been ending for longest is ended by
 * force. True: a place is being freed. */
bool session_make_room(struct supervisor *s, uint32_t uid, int refused);
void session_acknowledged(struct supervisor *s, struct domain *domain, uint64_t epoch);
void sessions_init(struct supervisor *s);
uint32_t sessions_affordable(uint64_t descriptors); /* sessions that this many are enough for */
void sessions_tick(struct supervisor *s);
void sessions_deadlines(struct supervisor *s, uint64_t now);
void session_forget_domain(struct supervisor *s, const struct domain *domain);
void session_domain_ready(struct supervisor *s, const struct domain *domain);
void sessions_relaid(struct supervisor *s); /* all domains are dead, and others now */

/* ---- manage_link.c, status.c, event.c ---- */
void manage_start(struct supervisor *s);
void manage_died(struct supervisor *s);
void manage_receive(struct supervisor *s);
void manage_close(struct supervisor *s);
void manage_send_event(struct supervisor *s, const struct event *event);
void manage_reply(struct supervisor *s, Bulkhead__Manage__Reply *reply);
struct domain *domain_find(struct supervisor *s, const char *name); /* by its own, or one of its servers'; or NULL */
char *serve_kill(struct supervisor *s, const Bulkhead__Manage__Kill *request); /* NULL, or why not (to be freed) */
const char *status_walls(const struct supervisor *s); /* which trust model holds */
void status_ps(struct supervisor *s, Bulkhead__Manage__Reply *reply);
void status_caps(struct supervisor *s, uint32_t skip, Bulkhead__Manage__Reply *reply); /* caps.c: a page of the tree */
void status_stat(struct supervisor *s, Bulkhead__Manage__Reply *reply);
void status_events(struct supervisor *s, uint64_t since, uint32_t limit, Bulkhead__Manage__Reply *reply);
void events_init(struct supervisor *s);
void events_push(struct supervisor *s); /* what was held */
void event_add(struct supervisor *s, const char *kind, const char *subject, uint32_t incarnation,
               const uint64_t *span_us, uint32_t spans, const char *format, ...) __attribute__((format(printf, 7, 8)));
/* ---- capture.c ---- */
int capture_listen(struct supervisor *s) __attribute__((warn_unused_result));
void capture_accept(struct supervisor *s);
void capture_receive(struct supervisor *s, uint32_t index);
void capture_close(struct supervisor *s, uint32_t index);
void capture_grant(struct supervisor *s, const struct domain *domain); /* to its next incarnation */

/* ---- crash.c ---- */
void crash_open(struct supervisor *s); /* takes over the reports of earlier stacks in this run directory */
/* Takes down what there is to say of a domain that has died, its page too; `how` it ended, in words. */
void crash_note(struct supervisor *s, const struct domain *domain, const char *how);
void crash_write(struct supervisor *s); /* what was noted, into its file; later, when nobody waits for it */

/* ---- audit.c ---- */
/* NULL, and the reply with this id comes later; or why not. */
const char *audit_start(struct supervisor *s, uint64_t id);
void audit_ended(struct supervisor *s); /* its pidfd is readable */

/* Copies text that someone else wrote: printable ASCII, cut to size. */
void text_copy(char *to, size_t size, const char *from, size_t length);

#endif
