// SPDX-License-Identifier: BSD-2-Clause
/* What a server is to the domain that hosts it. A server's whole state hangs on one pointer, in memory that it was handed;
 * it makes no system call but through what its context grants (the device of nic, doorbells of sessions). The loop of
 * a domain, for all its servers together:
 *
 *     burst()    pull from ports, session memory, device; run the engine; push (held back); touch the store's spare copies
 *     commit()   store_commit(): the burst is now the state (rule 4)
 *     publish()  session words, session doorbells, writes to the device: anything outside the ports
 *     then the loop flushes the ports and rings each doorbell at most once
 *
 * and sleeps when no burst() did anything and no pending() says there is more. */
#ifndef BULKHEAD_SERVERS_SERVER_H
#define BULKHEAD_SERVERS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capabilities/policy.h"
#include "ipc/crash.h"
#include "ipc/doorbell.h"
#include "ipc/pool.h"
#include "ipc/port.h"
#include "ipc/session.h"
#include "netdrv/driver.h"
#include "protocols/base/address.h"

enum server_id { SERVER_NIC = 0, SERVER_IP = 1, SERVER_TCP = 2, SERVER_UDP = 3, SERVER_SOCKET = 4, SERVER_COUNT = 5 };

#define RECEIVE_BUFFERS 192  /* of nic: three bursts; each transport may hold nearly half of them */
#define SERVER_BURST    64   /* messages taken from one port in one burst */
#define SESSIONS_MAX    64
#define SOCKETS_MAX     16384 /* of the socket server, all sessions together */
#define CONNECTIONS_MAX 16384 /* of tcp */
#define DATAGRAM_SOCKETS_MAX 1024 /* of udp */
#define STACK_ADDRESSES_MAX  8 /* link-local ones included */
#define STACK_ROUTES_MAX     16

/* Indices of capabilities, the same in every table: the supervisor's choice, not the servers'. Pools and arenas have
 * dynamic indices from CAPABILITY_INDEX_DYNAMIC on, also the same in every table that has them, so that a reference
 * may be passed on unchanged once it was checked. */
#define CAPABILITY_INDEX_PEER    1 /* LINK (ip's at nic, nic's at ip), TRANSPORT (tcp's, udp's at ip; ip's at tcp, udp), SOCKET */
#define CAPABILITY_INDEX_DYNAMIC 16
#define CAPABILITY_INDEX_ARENA   (CAPABILITY_INDEX_DYNAMIC + 2 * SERVER_COUNT) /* those before are for pools only */

enum stack_dad { /* address conflict detection (RFC 5227, RFC 4862, RFC 4429) */
    STACK_DAD_ON = 0,         /* probe before use */
    STACK_DAD_OPTIMISTIC = 1, /* use at once, announce and defend */
    STACK_DAD_OFF = 2,        /* neither */
};

enum stack_ecn { /* enum tcp_ecn */
    STACK_ECN_PASSIVE = 0, /* who asks for it gets it */
    STACK_ECN_OFF = 1,
    STACK_ECN_ON = 2, /* and it is asked for */
};

enum stack_recovery { /* what a new incarnation goes on from */
    STACK_RECOVERY_RESUME = 0,    /* all that is in the store */
    STACK_RECOVERY_LISTENERS = 1, /* listeners, but no connection: both ends are told */
    STACK_RECOVERY_NONE = 2,      /* nothing: an empty store */
};

struct stack_route { /* beside those of the link, which follow from the addresses, and the gateways */
    struct ip_address prefix;
    uint8_t prefix_length;
    struct ip_address gateway;
};

struct stack_config { /* the same for every server and incarnation */
    struct ip_address address[STACK_ADDRESSES_MAX];
    uint8_t prefix_length[STACK_ADDRESSES_MAX];
    uint32_t address_count;
    struct ip_address gateway[2]; /* IPv4, IPv6; ADDRESS_NONE: none */
    struct stack_route route[STACK_ROUTES_MAX];
    uint32_t route_count;
    enum stack_dad dad;        /* of the first incarnation; later ones never probe */
    enum stack_ecn ecn;
    struct mac_address mac;
    uint32_t mtu;              /* IP octets of a frame */
    uint8_t congestion;        /* enum tcp_congestion; 0: the engine's choice */
    enum stack_recovery recovery;
    bool no_commit;            /* measurements only: stores are neither written nor committed */
    uint8_t secret[16];        /* ISNs, ports, cookies */
};

struct session_arena {
    uint32_t transport; /* enum session_transport */
    uint32_t slots;     /* 0: no such arena */
    uint32_t send_size, receive_size;
    uint32_t send_most, receive_most; /* what they may grow to: the place that each has */
    const struct arena_app *app;       /* TX arena, read-only */
    struct arena_transport *transport_words; /* RX arena; NULL where not granted */
    uint16_t capability;               /* of the TX arena, for references to ip and nic */
    uint16_t capability_generation;
};

struct session { /* a granted session, as a domain sees it; made and unmade by the domain loop */
    bool present;
    bool ending;             /* the application is gone */
    uint32_t id;             /* index in the table, reused only after every domain let it go */
    uint32_t generation;     /* never another session's in the life of a stack: what a store has of a session says it */
    uint32_t uid, pid;       /* of who attached (kernel's word) */
    uint32_t socket_quota;
    struct policy_list bind, connect; /* the policy's rule: nothing else is permitted */
    const struct session_control *control;
    struct session_answer *answer; /* only in the domain of the socket server */
    struct doorbell bell;          /* to the application */
    struct session_arena arena[SESSION_ARENAS];
};

#define POISON_US    600000000 /* then it is forgotten: it may be tried again */
#define SUSPECTS_MAX 8 /* keys that a server is told of */
struct server_suspect { /* what it was working on when it died of a fault of its own */
    uint64_t key;
    bool poison;        /* in two deaths in a row with nothing of it committed in between: not again */
};

struct server_work { /* of one server: what it works on now (DESIGN section 6, poison). Private to the domain but `page` */
    struct crash_work *page; /* NULL: none */
    uint32_t suspects;
    struct server_suspect suspect[SUSPECTS_MAX];
    uint64_t touched;   /* bit of each suspect that was worked on in this burst: cleared by its commit */
};

struct server_context {
    enum server_id id;
    const struct stack_config *config;
    struct server_work *work;          /* see server_works_on() */
    uint32_t incarnation;              /* of this domain, from 1 */
    struct port *port[SERVER_COUNT];   /* NULL: no such channel in the topology */
    struct pool *pool;                 /* own buffers: nic receive, ip/tcp/udp headers; NULL none. Fresh every incarnation */
    uint16_t pool_capability;          /* names it in messages */
    uint16_t pool_generation;
    void *store;                       /* NULL none; kept across incarnations */
    size_t store_octets;
    int device;                        /* nic: descriptor to wait for, else -1 */
    struct netdrv_grant driver;        /* nic: and what its driver works on */
    struct session *session;           /* SESSIONS_MAX; the same array for all servers of the domain */
    struct status_counter *counter;    /* STATUS_COUNTERS, shared memory: write only */
    /* asks the supervisor to take a session's memory back from everyone: the socket server, once nothing of it is open */
    void (*session_done)(void *domain, uint32_t session);
    /* an event for whoever watches the stack, one line: an address conflict and the like. Bounded: may be lost in a storm */
    void (*notice)(void *domain, enum server_id server, const char *text);
    void *domain;
};

/* Before a server looks at what may kill it: `key` names the connection, datagram source or frame (not 0; the same for the
 * same thing in every incarnation). False: it is poison, and is to be dropped, or its connection reset. */
static inline bool server_works_on(const struct server_context *context, uint64_t key)
{
    struct server_work *work = context->work;
    if (work == NULL || work->page == NULL)
        return true;
    __atomic_store_n(&work->page->key, key, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < work->suspects; i++) {
        if (work->suspect[i].key != key)
            continue;
        if (work->suspect[i].poison)
            return false;
        work->touched |= (uint64_t)1 << i;
    }
    return true;
}

/* From here on nobody in particular is to blame: the server's own affairs. What tcp's engine does in its timers it says itself. */
static inline void server_works_alone(const struct server_context *context)
{
    struct server_work *work = context->work;
    if (work != NULL && work->page != NULL)
        __atomic_store_n(&work->page->key, CRASH_WORK_OWN, __ATOMIC_RELAXED);
}

/* Without working on it. */
static inline bool server_is_poison(const struct server_context *context, uint64_t key)
{
    const struct server_work *work = context->work;
    for (uint32_t i = 0; work != NULL && i < work->suspects; i++)
        if (work->suspect[i].poison && work->suspect[i].key == key)
            return true;
    return false;
}

struct server {
    const char *name;
    uint32_t pool_buffers, pool_buffer_octets; /* 0: no pool */
    uint32_t pool_extra_octets; /* behind the buffers, in the same segment and under the same capability; the server's to manage */
    size_t (*store_size)(void);                /* NULL: no store */
    uint32_t store_version;                    /* of its layout, with store_size */
    size_t (*state_size)(const struct stack_config *config); /* zeroed, aligned to 64 */
    /* NULL, or: writes to the pages of a state that init() is going to write, while nobody waits, and leaves it so that init()
     * can have it: all that is not zero is written by init() too. Knows no configuration; `octets` is what there is. */
    void (*warm)(void *state, size_t octets);
    /* 0 or a negative errno (the domain then ends). The store may be an earlier incarnation's. */
    int (*init)(void *state, const struct server_context *context, uint64_t now_us);
    bool (*burst)(void *state, uint64_t now_us); /* true: did something */
    void (*commit)(void *state);                 /* NULL: no store */
    void (*publish)(void *state, uint64_t now_us);   /* NULL */
    uint64_t (*deadline_us)(const void *state);      /* UINT64_MAX never */
    bool (*pending)(void *state);       /* NULL: ports only. Input that no port shows: session memory */
    bool (*wants_device)(const void *state);         /* NULL: no device; false: no buffer free, do not wait for it */
    void (*device_changed)(void *state, const struct netdrv_grant *grant); /* NULL: no device. The old grant is unmapped next */
    /* Barrier, first half: this server (any, not only a neighbour) is dead. Drop what came from it and is held, and what
     * names its buffers; the loop has already let burst() run until its ports were empty. */
    void (*peer_lost)(void *state, enum server_id peer);
    /* Second half: everyone acknowledged. Loans that it held are free; if it is a neighbour, the channel is new. */
    void (*peer_attached)(void *state, enum server_id peer, uint64_t now_us);
    void (*session_added)(void *state, uint32_t session);  /* NULL. Also for arenas added to a known session */
    void (*session_ended)(void *state, uint32_t session);  /* the application is gone; memory is still there */
    void (*session_removed)(void *state, uint32_t session); /* after this the memory is unmapped */
};

extern const struct server server_nic, server_ip, server_tcp, server_udp, server_socket;

#endif
