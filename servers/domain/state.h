// SPDX-License-Identifier: BSD-2-Clause
/* All of a domain: one struct, in memory of its own. See README.md for the order of things. */
#ifndef BULKHEAD_SERVERS_DOMAIN_STATE_H
#define BULKHEAD_SERVERS_DOMAIN_STATE_H

#include "servers/domain/control.h"
#include "servers/domain/domain.h"

#define DOMAIN_BELLS    16 /* other domains */
#define DOMAIN_SLOTS    (SERVER_COUNT - 1) /* own ones beside the first */
#define DOMAIN_PORTS    (SERVER_COUNT * (SERVER_COUNT - 1))
#define DOMAIN_OBJECTS  (SESSIONS_MAX * SESSION_ARENAS + 4 * SERVER_COUNT)
#define DOMAIN_NOBODY   UINT32_MAX
#define DOMAIN_COUNTERS 7 /* the counter page's row for the domain itself: its ports */

struct domain_bell { /* of another domain */
    bool present;
    struct doorbell bell;
    void *status; /* its page, mapped read-only */
};

struct domain_slot { /* one more way to be woken: applications ring each server that they use by a bell of its own */
    int doorbell;
    struct status_page *status; /* its word alone is used */
};

struct domain_channel { /* the two halves, as mapped here */
    struct ring_half *mine;
    struct ring_half *peer; /* read-only unless local */
    uint32_t bell;          /* index of the bell to ring; DOMAIN_NOBODY: local */
};

struct domain_watch { /* of a neighbour, over one life of the channel: watch.c */
    uint32_t attachments;
    bool revoked;                             /* entries of its were: it may name them without a lie */
    uint32_t silent, kept, lies;              /* ticks */
    uint64_t liveness, heard, returned, refused; /* at the last tick that counted */
    uint64_t refused_before, strays_before;      /* this life */
};

struct domain_port {
    struct port port;
    enum server_id server, peer;
    struct domain_channel channel; /* attached */
    struct domain_channel staged;  /* granted, to be attached by PeerAttached */
    bool broken;                   /* told */
    struct domain_watch watch;
};

struct domain_object { /* a pool or TX arena that table entries may name */
    uint32_t id;
    uint32_t session; /* arenas: gone with it; else DOMAIN_NOBODY */
    uint32_t octets;
    bool used;
    bool writable;
    void *memory; /* NULL: only passed on */
};

struct domain_server {
    const struct server *server; /* NULL: not here */
    void *state;
    size_t state_octets; /* of it, made before the configuration was known */
    struct domain_port *port[SERVER_COUNT];
    struct pool pool;
    struct server_work work;
    uint32_t bare; /* ticks without a buffer */
    struct server_context context;
};

struct domain {
    struct control control;
    const struct server *const *table;
    uint32_t servers; /* mask */
    bool configured, started;
    struct stack_config config;
    uint32_t incarnation;
    struct status_page *status;
    struct counter_page *counters;
    struct crash_page *crash; /* NULL: none was granted */
    uint32_t running;         /* id of the server whose turn it is, SERVER_COUNT: none's */
    int doorbell;             /* own, read end */
    uint32_t slot_count;      /* 0 in most domains */
    struct domain_slot slot[DOMAIN_SLOTS];
    int timer;         /* timerfd: a sleep that ends by a bell leaves it armed, so that most sleeps set no timer */
    uint64_t armed_us; /* what it is set to; 0: it has gone off */
    bool device_gone;
    uint64_t now_us;     /* of the round */
    uint64_t looked_us;  /* last look at the control socket */
    uint64_t watched_us; /* last look at the neighbours */
    uint64_t counted_us; /* the ports' counters, the last time */
    uint64_t poison_until_us; /* 0: there is none */
    uint64_t stuck_us;   /* how long to wait for room */
    uint32_t port_count;
    uint32_t ports_named; /* in the counter page */
    struct domain_server server[SERVER_COUNT];
    struct domain_capture *capture; /* of each port; NULL: there was never one */
    struct domain_fault *fault;     /* NULL: never told to do one */
    uint8_t *canary;                /* CRASH_CANARY octets that nobody writes */
    struct domain_bell bell[DOMAIN_BELLS];
    struct domain_port *port[DOMAIN_PORTS];
    struct session *session; /* SESSIONS_MAX */
    uint32_t object_count;   /* highest used + 1 */
    struct domain_object object[DOMAIN_OBJECTS];
};

/* What the handlers of messages answer: 0, or a negative errno, after which the domain ends. */
typedef int domain_handler(struct domain *domain, struct control_message *message);

/* ---- domain.c ---- */
void *domain_memory(size_t octets); /* zeroed, whole pages, costs nothing until touched; NULL: none */
struct domain_server *domain_server_at(struct domain *domain, uint32_t id); /* NULL: not hosted */
uint64_t domain_clock_us(void);
int domain_dispatch(struct domain *domain, struct control_message *message);

/* ---- grants.c ---- */
domain_handler grant_configure, grant_slot, grant_bell, grant_channel, grant_capability, grant_capabilities, grant_pool,
    grant_store, grant_device, grant_revoke;
bool grant_address(const Bulkhead__Control__Address *from, struct ip_address *ret); /* false: malformed */
/* Maps the descriptor at `index` of the message and closes it. 0, or a negative errno. */
int grant_map(struct control_message *message, int32_t index, size_t octets, bool writable, void **ret)
    __attribute__((warn_unused_result));
void channel_unmap(struct domain_channel *channel);
void port_take_staged(struct domain *domain, struct domain_port *port);

/* ---- objects.c ---- */
/* A known object's mapping changes for the better only: NULL to something, read-only to writable. The memory is the
 * table's afterwards, in success and failure. */
int object_add(struct domain *domain, const struct domain_object *object);
const struct domain_object *object_find(const struct domain *domain, uint32_t id);
/* Revokes every table entry that names it, unmaps it. */
void object_drop(struct domain *domain, uint32_t id);
void object_drop_session(struct domain *domain, uint32_t session);

/* ---- sessions.c ---- */
domain_handler session_grant, session_arena_grant, session_end, session_remove;

/* ---- barrier.c ---- */
domain_handler barrier_peer_lost, barrier_peer_attached;

/* ---- capture.c ---- */
domain_handler capture_set;

/* ---- fault.c ---- */
domain_handler fault_set;
/* What a fault does in the servers' stead, before their bursts. True: something moved. With domain->fault only. */
bool fault_round(struct domain *domain);

/* ---- watch.c ---- */
#define WATCH_TICK_US 180000 /* every other idle round */
/* Says a beat to each neighbour and looks at what they do. 0, or a negative errno: a pool is lost to its own server. */
int watch_tick(struct domain *domain);

/* ---- counters.c ---- */
void counters_of_ports(struct domain *domain);

/* ---- loop.c ---- */
/* A peer that lies loses its channel to this server, and only that; the supervisor hears of it. */
void domain_accuse(struct domain *domain, struct domain_port *port, const char *why);
/* One round of all servers. True: something moved. */
bool domain_round(struct domain *domain);
/* What servers changed outside a round is committed, published and flushed. */
void domain_settle(struct domain *domain);
/* Until told to end: an enum domain_exit. */
int domain_loop(struct domain *domain);

#endif
