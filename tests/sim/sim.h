// SPDX-License-Identifier: BSD-2-Clause
/* Two stacks, a link between them and applications on both, in one thread on simulated time. See README.md.
 *
 *   memory.c      segments: shared memory with one writer; the writes of a victim counted one instruction at a time
 *   point.c       kill points: every message, every step of a round; the plan of deaths; ports and pools that watch
 *   bell.c        what a doorbell's pipe is
 *   link.c        the device of both nics, and what happens to frames between them
 *   domain.c      what a domain does: grants, rounds, sleep (the counterpart of servers/domain)
 *   barrier.c     ... and when a peer dies
 *   supervisor.c  deaths, barriers, grants, sessions (the counterpart of servers/supervisor)
 *   app.c stream.c datagram.c   applications that speak the session protocol
 *   mortal.c      applications that die, are ended by force, and are followed by others
 *   account.c     what the counters must add up to
 *   peer.c        a third host, whose TCP behaves badly, as it may or not
 *   watch.c       what must hold of every segment of TCP
 *   scoreboard.c  what a sender knows of what is in flight
 *   path.c        bursts of loss, blackouts, marks, a path that takes less than the link
 *   wide.c seeds.c  random scenarios of every kind, many of them
 *   world.c       the scheduler, quiescence, what must hold
 *   main.c        command line, sweep */
#ifndef BULKHEAD_TESTS_SIM_SIM_H
#define BULKHEAD_TESTS_SIM_SIM_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netdrv/impair.h"
#include "servers/server.h"
#include "servers/topology/topology.h"

#define SIM_STACKS    2
#define SIM_SEGMENTS  512
#define SIM_TOLD      64 /* messages of the supervisor that wait at a domain */
#define SIM_SESSIONS  4  /* of one stack */
#define SIM_ARENAS    2  /* of a session: tcp, udp */
#define SIM_KILLS     16
#define SIM_STILLBORN 16
#define SIM_APPS      (2 * SIM_STACKS) /* those that serve, and those that die or come after one that died */
#define SIM_TASKS     64 /* of one application */
#define SIM_MTU       1500U
#define SIM_NEVER     UINT64_MAX
#define SIM_ANY       UINT64_MAX /* sim_kill.write: at the point itself */
#define SIM_HANG_US   (15ULL * 60 * 1000000)
#define SIM_STEPS_MAX 20000000ULL

struct sim;
struct sim_stack;
struct sim_domain;

/* ---- random numbers and the trace ---- */
uint64_t sim_random(uint64_t *state);
static inline uint32_t sim_below(uint64_t *state, uint32_t limit)
{
    return limit == 0 ? 0 : (uint32_t)((sim_random(state) >> 32) * limit >> 32);
}
static inline bool sim_chance(uint64_t *state, uint32_t of_1000)
{
    return sim_below(state, 1000) < of_1000;
}

/* ---- memory.c ---- */
struct sim_segment {
    uint8_t *base; /* NULL: free */
    size_t octets;
    const struct sim_domain *writer; /* whose writes are counted; NULL nobody's */
};
void *sim_segment_new(struct sim *sim, size_t octets, const struct sim_domain *writer);
void sim_segment_free(struct sim *sim, const void *base); /* NULL: nothing. Who still looks at it, dies of it */
/* Counts each write of `victim` to its segments from here on; after `limit` of them it dies. */
void sim_watch(struct sim *sim, const struct sim_domain *victim, uint64_t limit);
uint64_t sim_watch_end(struct sim *sim); /* how many there were */
void sim_watch_install(void);

/* ---- point.c ---- */
struct sim_kill {
    uint32_t stack;
    enum server_id server;
    uint64_t point; /* of its domain, from 1, over all incarnations */
    uint64_t write; /* and this many writes to shared memory after it; SIM_ANY: there */
    uint64_t after; /* not 0: `point` is not given; so many after the point at which the one before this is done */
    bool hang;      /* it stops running there instead, and is killed when that is noticed */
    bool done;
};
/* The domain that runs may die here. */
void sim_point(struct sim_domain *d);
void sim_port_watch(struct sim_domain *d, struct port *port);
_Noreturn void sim_die(struct sim *sim); /* the domain that runs dies now */

/* ---- bell.c ---- */
int sim_bell_new(struct sim *sim);
void sim_bell_free(struct sim *sim, int bell);
bool sim_bell_rung(const struct sim *sim, int bell);

/* ---- link.c ---- */
struct sim_link;
struct sim_scenario;
struct sim_link *sim_link_new(struct sim *sim, const struct sim_scenario *scenario);
void sim_link_free(struct sim_link *link);
uint64_t sim_link_deadline(const struct sim_link *link,
                           uint32_t stack); /* of the next frame to this stack; SIM_NEVER */

/* ---- path.c ---- */
struct sim_path { /* to one stack */
    struct impair_config quality;
    uint32_t burst_begin, burst_end; /* chances of a million at each frame; while it lasts all is lost. 0: none */
    uint64_t blackout_us, blackout_every_us;
    uint32_t mtu; /* of the link behind a router; 0: as ours */
    uint64_t mtu_at_us;
    uint32_t mark; /* of a million of those that may be: CE */
};
struct sim_path_state {
    bool in_burst;
    uint64_t burst_until_us;
};
#define SIM_TOO_BIG 512U /* octets of a frame that says so */
bool sim_path_loses(struct sim *sim, uint32_t stack); /* a frame to this stack */
void sim_path_mark(struct sim *sim, uint32_t stack, uint8_t *frame, uint32_t octets);
/* Octets of the answer, a frame to who sent it; 0: it fits. */
uint32_t sim_path_too_big(struct sim *sim, uint32_t stack, const uint8_t *frame, uint32_t octets, uint32_t gso_size,
                          uint8_t answer[SIM_TOO_BIG]);

/* ---- account.c ---- */
struct sim_account { /* of a stack's device */
    uint64_t taken, given; /* frames that nic took from it, gave to it */
};
void sim_account_check(const struct sim *sim); /* at the end */

/* ---- domains ---- */
enum sim_state { SIM_DOWN, SIM_SPAWNED, SIM_STANDBY, SIM_GRANTED, SIM_RUNNING };

enum sim_tell {
    TELL_GRANTS,
    TELL_START,
    TELL_NEWS,
    TELL_ATTACHED,
    TELL_LOST,
    TELL_SESSION,
    TELL_ARENA,
    TELL_ENDED,
    TELL_REMOVE
};

struct sim_told {
    enum sim_tell what;
    uint32_t servers; /* mask: LOST, NEWS, ATTACHED */
    uint32_t alive;   /* mask, when it was said: GRANTS, NEWS */
    uint32_t object[SERVER_COUNT];
    uint32_t objects;
    uint32_t session, arena;
    uint8_t granted[SIM_SESSIONS]; /* GRANTS: 0 no session, else 1 + its arenas, GRANTED_ENDING */
    uint64_t epoch;                /* to be acknowledged; 0 not */
};
#define GRANTED_ENDING 0x80U

struct sim_port {
    struct port port;
    struct sim_domain *domain;
    enum server_id server, peer;
    struct ring_half *staged[2]; /* mine, peer's */
    struct doorbell *staged_bell;
};

struct sim_server {
    const struct server *server; /* NULL: not here */
    void *state;
    struct sim_port *port[SERVER_COUNT];
    struct pool pool;
    struct server_context context;
};

struct sim_life { /* private memory of one incarnation */
    struct sim_server server[SERVER_COUNT];
    struct doorbell bell[SERVER_COUNT]; /* of the other domains */
    struct sim_port *port[SERVER_COUNT * SERVER_COUNT];
    uint32_t port_count;
    struct session session[SESSIONS_MAX];
    uint64_t stuck_us;
    bool started;
};

enum sim_phase { PHASE_AWAKE, PHASE_SLEEPY, PHASE_ASLEEP }; /* SLEEPY: has said so, has not looked again */

struct sim_domain {
    struct sim *sim;
    struct sim_stack *stack;
    uint32_t index;
    char name[PARTITION_TEXT];
    uint32_t servers; /* mask */
    enum sim_state state;
    uint32_t incarnation;
    uint64_t points;        /* passed, over all incarnations */
    uint64_t spawned_at_us; /* SPAWNED: standby then */
    uint32_t known, losing; /* as in the supervisor */
    uint64_t ack_epoch, attach_epoch;
    bool start_waits;
    struct status_page *status; /* persists */
    struct status_counter *counter[SERVER_COUNT];
    int bell; /* bell.c */
    struct sim_told told[SIM_TOLD];
    uint32_t told_first, told_count;
    enum sim_phase phase;
    uint64_t wake_us;     /* ASLEEP until then */
    bool stillborn;       /* SPAWNED: it dies instead */
    uint64_t ready_us;    /* since when it runs */
    uint32_t unhealthy;   /* failed starts in a row */
    uint64_t hung_us;     /* not 0: it hangs, and is killed then */
    bool stuck;           /* ... for room, not until a deadline */
    uint8_t *life_memory; /* what `life` and all else private lies in */
    size_t life_used;
    struct sim_life *life; /* NULL: nobody lives */
};

void *sim_private(struct sim_domain *d, size_t octets); /* zeroed, gone with the life */
void sim_domain_clear(struct sim_domain *d);            /* the life is over */
/* What it does next: a message of the supervisor, a round, falling asleep. May die within. */
void sim_domain_step(struct sim_domain *d);
bool sim_domain_can_step(struct sim_domain *d); /* now */
uint64_t sim_domain_deadline(const struct sim_domain *d);
bool sim_domain_round(struct sim_domain *d);
void sim_domain_settle(struct sim_domain *d);
/* barrier.c, grants */
void sim_entries(struct sim_domain *d, uint32_t fresh, uint32_t alive); /* table entries for what is new */
void sim_stage_channels(struct sim_domain *d, uint32_t fresh, uint32_t alive);
void sim_take_staged(struct sim_port *port);
void sim_told_lost(struct sim_domain *d, const struct sim_told *told);
void sim_told_attached(struct sim_domain *d, const struct sim_told *told);
void sim_told_session(struct sim_domain *d, uint32_t id, bool ending);
void sim_told_ended(struct sim_domain *d, uint32_t id);
void sim_told_arena(struct sim_domain *d, uint32_t id, uint32_t arena);
void sim_told_remove(struct sim_domain *d, uint32_t id);
static inline bool sim_hosts(const struct sim_domain *d, enum server_id id)
{
    return (d->servers & SERVER_BIT(id)) != 0;
}

/* ---- supervisor ---- */
enum sim_session_state { SESSION_FREE, SESSION_ATTACHING, SESSION_ACTIVE, SESSION_ENDING, SESSION_REMOVING };

struct sim_arena {
    enum session_transport transport;
    uint32_t slots, send_size, receive_size, object;
    uint32_t send_most, receive_most;
    uint16_t index, generation;
    struct arena_app *app;
    struct arena_transport *words;
};

struct sim_session {
    enum sim_session_state state;
    uint32_t id;
    uint32_t generation; /* never another's */
    struct session_control *control;
    struct session_answer *answer;
    int bell;
    uint32_t arenas; /* granted or being granted */
    struct sim_arena arena[SIM_ARENAS];
    uint32_t unseen;  /* REMOVING: mask of domains that do not run and have a store */
    uint32_t stage;   /* ATTACHING: how many grants were acknowledged by all */
    uint32_t waiting; /* mask of domains */
    uint64_t epoch;
};

struct sim_memory { /* of a server */
    uint8_t *pool;
    uint32_t pool_octets, object;
    uint16_t index, generation;
    void *store;
    size_t store_octets;
    struct sim_domain *domain;
};

struct sim_stack {
    struct sim *sim;
    uint32_t index;
    struct partition partition;
    struct stack_config config;
    uint32_t domain_count;
    struct sim_domain domain[SERVER_COUNT];
    struct sim_memory memory[SERVER_COUNT];
    struct ring_half *half[TOPOLOGY_CHANNELS][2]; /* NULL: both ends in one domain */
    struct sim_session session[SIM_SESSIONS];
    uint32_t sessions_made;
    bool index_used[CAPABILITY_TABLE_MAX];
    uint16_t index_high;
    uint16_t index_generation[CAPABILITY_TABLE_MAX];
    uint32_t next_object;
    uint64_t epoch;
    bool started;                  /* all domains ran at one time */
    uint32_t deaths[SERVER_COUNT]; /* of the domains that host them */
    uint32_t cold[SERVER_COUNT];   /* times that their stores were forgotten */
};

void sim_stack_start(struct sim_stack *k);
void sim_stack_free(struct sim_stack *k);
void sim_supervisor_died(struct sim_domain *d);
void sim_supervisor_standby(struct sim_domain *d);
void sim_supervisor_ready(struct sim_domain *d);
void sim_supervisor_advance(struct sim_stack *k);
void sim_supervisor_acknowledged(struct sim_domain *d, uint64_t epoch);
struct sim_session *sim_session_attach(struct sim_stack *k); /* ACTIVE when all have let it in */
void sim_session_end(struct sim_stack *k, struct sim_session *s);
void sim_session_force(struct sim_stack *k, struct sim_session *s); /* what it still sends is lost */
void sim_session_done(void *domain, uint32_t session);
void sim_notice(void *domain, enum server_id server, const char *text);
bool sim_lives(const struct sim_domain *d);
/* In every other run a session's index is had again at once, though the dead may have some of the last one in their
 * stores, and ends by force when somebody is dead: its generation alone has to tell them apart. */
bool sim_is_hasty(const struct sim *sim);

/* ---- app.c ---- */
struct sim_app;
struct sim_app *sim_app_new(struct sim_stack *k, uint64_t seed);
void sim_app_free(struct sim_app *a);
void sim_app_serve(struct sim_app *a, uint16_t port); /* streams and datagrams */
enum sim_stream_how {
    STREAM_SERVER_FIRST = 1, /* the server ends its side first; without it or the next one the client does */
    STREAM_AT_ONCE = 2,      /* each ends its side when it has sent all */
    STREAM_MORTAL = 4,       /* its client may die */
    STREAM_ODD = 8,          /* with a peer (peer.c) that may let it fail */
};
void sim_app_stream(struct sim_app *a, const struct ip_address *to, uint16_t port, uint32_t up, uint32_t down,
                    uint32_t how);
void sim_app_datagrams(struct sim_app *a, const struct ip_address *to, uint16_t port, uint32_t count, uint32_t most);
/* Connected to a port that nobody has: it asks until it is told so. */
void sim_app_refused(struct sim_app *a, const struct ip_address *to, uint16_t port);
bool sim_app_attached(const struct sim_app *a);
void sim_app_force(struct sim_app *a); /* its session's end, once it has died */
void sim_app_die(struct sim_app *a); /* with all that it has open */
void sim_app_leave(struct sim_app *a); /* servers close; it ends when all is closed */
bool sim_app_clients_done(const struct sim_app *a);
bool sim_app_serving(const struct sim_app *a); /* listens, is bound */
bool sim_app_left(const struct sim_app *a); /* nothing of it is open */
bool sim_app_gone(const struct sim_app *a); /* nor is its session */
void sim_app_step(struct sim_app *a);
bool sim_app_can_step(struct sim_app *a);
uint64_t sim_app_deadline(const struct sim_app *a);
void sim_app_show(const struct sim_app *a);

/* ---- mortal.c ---- */
void sim_mortals_begin(struct sim *sim);
void sim_mortals_step(struct sim *sim);
bool sim_mortals_done(const struct sim *sim);

/* ---- world.c ---- */
struct ip_address sim_target(struct sim *sim, uint32_t from, uint32_t number); /* where a client of a stack goes */
#define SIM_PORT 7U /* of those who serve */
struct sim_manners {                     /* of a stack's applications */
    uint32_t slow_readers, slow_writers; /* of 1000 sockets */
    uint32_t cork;                       /* ... that are corked at times */
    uint32_t stall_us;                   /* most that a socket is not read, once; 0: none */
    uint32_t send_size, receive_size;    /* of a stream's rings; 0: the usual */
};

struct sim_engine { /* of a stack's tcp */
    bool no_sack, no_pacing, no_timestamps, no_mtu_probing;
    uint8_t congestion; /* enum tcp_congestion; 0: its own choice */
    enum stack_ecn ecn;
};

struct sim_scenario {
    uint64_t seed;
    bool wide, crashes; /* wide.c made it */
    struct sim_path path[SIM_STACKS]; /* with `wide`, in the place of quality */
    struct sim_manners manners[SIM_STACKS];
    struct sim_engine engine[SIM_STACKS];
    char partition[SIM_STACKS][PARTITION_TEXT];
    struct impair_config quality;
    uint32_t streams, datagram_clients, datagrams; /* each way if `both` */
    uint32_t octets;                               /* most, of a stream each way */
    uint32_t datagram_most;
    uint32_t mortal_us; /* applications die within this time, and others come after them; 0: none */
    uint32_t refused;   /* clients of a port that is closed */
    uint32_t peers, peer_octets; /* streams with the scripted peer, each way and stack; octets at most */
    bool both;
    bool local;    /* clients talk to their own stack as well */
    bool conflict; /* both stacks have one address of each family that is the same */
    enum stack_dad dad;
    uint32_t stillborn; /* of 1000 starts of a stack that has run once; at most SIM_STILLBORN */
    uint32_t can;       /* enum netdrv_can, of both devices */
    struct sim_kill kill[SIM_KILLS];
    uint32_t kills;
    bool trace;
    bool count_writes; /* of kill[0]'s domain, at every point */
};

struct sim_mortal { /* mortal.c */
    enum { MORTAL_NONE, MORTAL_LIVES, MORTAL_DEAD, MORTAL_FOLLOWED } phase;
    uint64_t dies_us, forced_us;
};

struct sim {
    const struct sim_scenario *scenario;
    uint64_t random; /* of the scheduler */
    uint64_t now_us;
    uint64_t steps;
    uint64_t hash;
    uint64_t progress_us; /* when an application last got something */
    struct sim_stack stack[SIM_STACKS];
    struct sim_link *link;
    struct sim_path_state path[SIM_STACKS]; /* to each */
    struct sim_account account[SIM_STACKS];
    struct sim_peer *peer; /* NULL: none */
    bool peer_over;        /* its connections that never end are forgotten */
    uint64_t path_random;
    uint64_t too_big, marked, lost_in_bursts, lost_in_blackouts; /* frames */
    uint64_t acks_judged; /* on the link, against the store */
    uint64_t octets; /* that applications read from streams */
    struct status_counter counter[SERVER_COUNT][STATUS_COUNTERS]; /* of both stacks and the lives that are over */
    struct sim_app *app[SIM_APPS];
    struct sim_mortal mortal[SIM_STACKS];
    uint32_t died;   /* applications */
    uint32_t forced; /* of their sessions: what names their memory may still be under way */
    struct sim_segment segment[SIM_SEGMENTS];
    uint32_t segments;
    struct sim_kill kill[SIM_KILLS];
    uint32_t kills;
    struct sim_domain *running; /* whose code runs: dying goes to `death` */
    jmp_buf death;
    uint32_t deaths, hangs;
    uint32_t stillborn;   /* so many were */
    uint32_t cold;        /* stores that were forgotten, so that a server starts */
    uint32_t untold;      /* sockets that gave up after a cold start, perhaps of their peer's stack */
    bool hanging;         /* who dies now, hangs */
    uint32_t conflicts;   /* of addresses, that were told of */
    uint64_t watch_point; /* the plan's point that the watched writes come after */
    void (*counted)(struct sim *sim, uint64_t point, uint64_t writes);
};

struct sim_result {
    uint64_t hash, now_us, steps;
    uint32_t deaths, connections_lost, cold, untold;
    uint32_t hangs, server_deaths[SERVER_COUNT];
    uint64_t octets, too_big, marked, lost_in_bursts, lost_in_blackouts, acks_judged;
    struct status_counter counter[SERVER_COUNT][STATUS_COUNTERS];
    uint64_t points[SIM_STACKS][SERVER_COUNT]; /* of the domain that hosts the server */
};
void sim_run(const struct sim_scenario *scenario, void (*counted)(struct sim *, uint64_t, uint64_t),
             struct sim_result *ret);
/* ---- peer.c ---- */
struct sim_peer;
struct ip_address sim_peer_address(void);
void sim_peer_begin(struct sim *sim);
/* True: it was for the peer. */
bool sim_peer_frame(struct sim *sim, uint32_t stack, const uint8_t *frame, uint32_t octets);
uint64_t sim_peer_deadline(const struct sim *sim);
void sim_peer_step(struct sim *sim); /* all that is due */
bool sim_peer_done(const struct sim *sim);
void sim_peer_end(struct sim *sim); /* it says nothing more by itself */
void sim_link_say(struct sim_link *link, uint32_t stack, const uint8_t *bytes, uint32_t octets); /* link.c: to a stack */

/* ---- watch.c ---- */
void sim_tcp_watch_begin(struct sim *sim);
void sim_tcp_watch_frame(struct sim *sim, uint32_t stack, const uint8_t *frame, uint32_t octets); /* it leaves */
bool sim_tcp_drained(const struct sim_stack *k); /* its tcp has no connection, reply or timer left */
bool sim_tcp_sent_cookies(const struct sim *sim);

/* ---- wide.c, seeds.c ---- */
void sim_wide_scenario(struct sim_scenario *s); /* all that follows from its seed and `crashes` */
struct sim_seeds {
    uint64_t first, count;
    bool crashes, trace;
    uint32_t seconds, jobs, shard, shards;
};
int sim_seeds(const struct sim_seeds *s); /* exit status */
void sim_counters_add(struct sim *sim, struct sim_domain *d); /* a life is over */
/* Ends the program: says what is wrong, where, and how to see it again. */
_Noreturn void sim_fail(const struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_note(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3))); /* --trace */
void sim_hash(struct sim *sim, const void *octets, size_t count);
static inline void sim_hash_word(struct sim *sim, uint64_t word)
{
    sim->hash = (sim->hash ^ word) * 0x9e3779b97f4a7c15ULL;
    sim->hash ^= sim->hash >> 29;
}
/* Whether packets may have gone lost, other than with what died. */
bool sim_loses(const struct sim *sim);
extern uint32_t sim_connections_lost;

#endif
