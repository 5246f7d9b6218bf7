// SPDX-License-Identifier: BSD-2-Clause
/* One server hosted alone, with everything around it in the hands of the input: the other ends of its channels, the
 * pools that are lent to it, its sessions' memory, its device, time, and the deaths of its neighbours. FUZZ_SERVER says
 * which.
 *
 * All of it lies in one region (server_region.c), which is put back as it was before each input. */
#ifndef BULKHEAD_TESTS_FUZZ_SERVER_WORLD_H
#define BULKHEAD_TESTS_FUZZ_SERVER_WORLD_H

#include "servers/topology/topology.h"
#include "tests/fuzz/fuzz.h"

#define WORLD_SESSIONS 2
#define WORLD_POOL     16384U /* octets of a foreign pool */
#define WORLD_LOANS    32
#define WORLD_RESTARTS 2

struct world_loans { /* what was lent to a neighbour: cookies not returned yet, the oldest overwritten */
    uint32_t cookie[WORLD_LOANS];
    uint32_t count;
};

struct world_end { /* a channel, and what its other end has seen */
    struct port here, there;
    struct ring_half half[2];
    struct capability here_table[CAPABILITY_TABLE_MAX], there_table[CAPABILITY_TABLE_MAX];
    struct world_loans loans;
    struct message seen; /* the last that was no RETURN */
    uint64_t lies;       /* messages with a capability that they have not, pulled there */
};

struct world_session {
    struct session_control *control;
    struct session_answer *answer;
    struct arena_app *app[2]; /* tcp, udp */
    struct arena_transport *words[2];
};

struct world_tcp { /* of the last segment that the server sent: so that an answer can be made up */
    uint16_t source_port, destination_port;
    uint32_t sequence, acknowledgement;
    uint32_t length; /* payload, SYN and FIN */
};

struct world {
    uint64_t now_us;
    uint32_t sleep; /* of all bells */
    struct doorbell bell;
    struct stack_config config;
    struct server_context context;
    struct pool pool;
    struct session session[SESSIONS_MAX];
    struct status_counter counter[STATUS_COUNTERS];
    struct world_end end[SERVER_COUNT];
    struct world_session memory[WORLD_SESSIONS];
    uint8_t *foreign[SERVER_COUNT]; /* pools of the others */
    uint16_t generation[SERVER_COUNT];
    void *state, *store;
    size_t state_octets;
    uint32_t restarts;
    bool damaged;  /* its store */
    uint32_t dead; /* mask of servers between peer_lost and peer_attached */
    struct world_tcp tcp;
};

extern const struct server *const world_server;

struct world *world_make(void);    /* once */
void world_reset(struct world *w); /* to how world_make() left it */
int world_device(void);            /* other end of nic's device; -1 none */

/* Rounds of the domain's loop; what the server says is checked, and taken if `listen`. */
void world_turn(struct world *w, unsigned rounds, bool listen);
void world_settle(struct world *w); /* until nothing moves */
void world_lose(struct world *w, enum server_id peer);
void world_attach(struct world *w, enum server_id peer);
void world_restart(struct world *w);
void world_session_add(struct world *w, uint32_t id);
void world_session_end(struct world *w, uint32_t id);
void world_session_remove(struct world *w, uint32_t id);
void world_finish(struct world *w); /* everybody dies, everything ends: nothing may be left */

uint16_t world_pool_index(enum server_id owner);
uint16_t world_arena_index(uint32_t session, uint32_t arena);
uint32_t world_pool_octets(enum server_id owner);

/* server_region.c: memory that the server's start leaves in some way, and each input finds so. */
void region_make(void);
void *region_place(size_t octets); /* zeros; ASan knows their end */
void *region_place_pages(size_t octets);
void region_zero(void *at, size_t octets); /* of region_place_pages() */
void region_freeze(void);                  /* as it is now it is to be: once */
void region_reset(void);

/* server_packet.c: a packet of some kind, its fields from the input, at `at` (`room` octets of it). *ret_octets is its
 * length; returns what lies before its transport header. */
struct packet {
    uint32_t octets, transport_at;
    bool ip6;
    uint8_t protocol;
};
void packet_make(struct input *in, const struct world *w, bool frame, uint8_t *at, uint32_t room, struct packet *ret);

#endif
