// SPDX-License-Identifier: BSD-2-Clause
#include "servers/client/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

struct arena_size {
    uint32_t slots, send_size, receive_size;
    uint32_t send_most, receive_most; /* 0: as the size */
};

/* A datagram lies in one piece in its ring and takes up to 65,552 octets there: 256 KiB hold three, so that sender and
 * stack work at the same time, and a burst of the largest that comes in while the application does something else is
 * not dropped at the second. All of an arena is faulted in when it is made, before its first socket can be, 0.4 ms for
 * each slot: most who send datagrams have a socket or two, so the first arena has 4 (2 MiB, 1.5 ms; 8 took 3.5), and
 * each further one twice the last. */
static pthread_mutex_t size_lock = PTHREAD_MUTEX_INITIALIZER;
static bool environment_read;
static struct arena_size size[SESSION_TRANSPORTS] = {
    [SESSION_TCP] = {16, 256U << 10, 256U << 10, SLOT_RING_MAX, SLOT_RING_MAX},
    [SESSION_UDP] = {4, 256U << 10, 256U << 10},
};

/* ---- sizes ---- */
static bool slots_good(uint32_t slots)
{
    return slots >= 1 && slots <= ARENA_SLOTS_MAX;
}

static bool ring_good(uint32_t octets, uint32_t most)
{
    return arena_ring_is_valid(octets, arena_ring_most(octets, most));
}

static bool size_good(const struct arena_size *e)
{
    return slots_good(e->slots) && ring_good(e->send_size, e->send_most) && ring_good(e->receive_size, e->receive_most);
}

/* BULKHEAD_ARENA="slots,send,receive[,most]"; nonsense is passed over. Without `most`, to which both rings may grow,
 * the sizes stay as they are. */
static void size_from_environment(void)
{
    struct arena_size e = {0};
    const char *text = environment_read ? NULL : getenv("BULKHEAD_ARENA");
    environment_read = true;
    int fields = text == NULL ? 0 : sscanf(text, "%u,%u,%u,%u", &e.slots, &e.send_size, &e.receive_size, &e.send_most);
    e.receive_most = e.send_most;
    if (fields >= 3 && size_good(&e))
        size[SESSION_TCP] = e;
}

static struct arena_size size_of(enum session_transport transport)
{
    pthread_mutex_lock(&size_lock);
    size_from_environment();
    struct arena_size e = size[transport];
    pthread_mutex_unlock(&size_lock);
    return e;
}

struct arena_rings arenas_default(enum session_transport transport)
{
    struct arena_size e = size_of(transport);
    return (struct arena_rings){.send = e.send_size, .receive = e.receive_size};
}

int arenas_set_option(int option, uint32_t value)
{
    bool slots = option == BH_OPTION_TCP_SLOTS || option == BH_OPTION_UDP_SLOTS;
    if (option < BH_OPTION_TCP_SLOTS || option > BH_OPTION_UDP_RECEIVE_SIZE ||
        !(slots ? slots_good(value) : ring_good(value, 0)))
        return -EINVAL;
    pthread_mutex_lock(&size_lock);
    size_from_environment(); /* what the program says wins */
    struct arena_size *e = &size[option >= BH_OPTION_UDP_SLOTS ? SESSION_UDP : SESSION_TCP];
    uint32_t *field[] = {&e->slots, &e->send_size, &e->receive_size};
    *field[(option - BH_OPTION_TCP_SLOTS) % 3] = value;
    e->send_most = field[1] == field[(option - BH_OPTION_TCP_SLOTS) % 3] ? 0 : e->send_most;
    e->receive_most = field[2] == field[(option - BH_OPTION_TCP_SLOTS) % 3] ? 0 : e->receive_most;
    pthread_mutex_unlock(&size_lock);
    return 0;
}

/* ---- making one ---- */
struct arena_side { /* words, then at `rings` as many rings of `size` octets as there are slots, one `most` apart */
    size_t rings, octets;
    uint32_t slots, size, most;
};

/* The pages that are used from the beginning. 0 or a positive errno. */
static int side_allocate(const struct arena_side *a, int fd)
{
    if (a->most == a->size)
        return posix_fallocate(fd, 0, (off_t)segment_round(a->octets));
    int error = posix_fallocate(fd, 0, (off_t)a->rings);
    for (uint32_t i = 0; i < a->slots && error == 0; i++)
        error = posix_fallocate(fd, (off_t)(a->rings + (size_t)i * a->most), a->size);
    return error;
}

static void side_populate(const struct arena_side *a, uint8_t *memory, int advice) /* faster, no more */
{
    if (a->most == a->size) {
        madvise(memory, segment_round(a->octets), advice);
        return;
    }
    madvise(memory, a->rings, advice);
    for (uint32_t i = 0; i < a->slots; i++)
        madvise(memory + a->rings + (size_t)i * a->most, a->size, advice);
}

/* The memory of one side; pages are there before anyone else can be made to fault on them. The descriptor, or a
 * negative errno. */
static int arena_memory(const char *name, const struct arena_side *a, bool writable, void **ret)
{
    int fd = segment_create(name, a->octets);
    if (fd < 0)
        return fd;
    int error = side_allocate(a, fd);
    error = error != 0 ? -error : segment_map(fd, segment_round(a->octets), writable, ret);
    if (error != 0) {
        close(fd);
        return error;
    }
    madvise(*ret, segment_round(a->octets), MADV_DONTFORK);
    side_populate(a, *ret, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    return fd;
}

static int arena_map(struct arena *a, int ret_fd[2])
{
    void *app = NULL, *words = NULL;
    const struct arena_side send = {.rings = arena_send_offset(a->slots),
                                    .octets = arena_send_octets(a->slots, a->send_most),
                                    .slots = a->slots,
                                    .size = a->send_size,
                                    .most = a->send_most};
    const struct arena_side receive = {.rings = arena_receive_offset(a->slots),
                                       .octets = arena_receive_octets(a->slots, a->receive_most),
                                       .slots = a->slots,
                                       .size = a->receive_size,
                                       .most = a->receive_most};
    ret_fd[0] = arena_memory("bh-tx", &send, true, &app);
    if (ret_fd[0] < 0)
        return ret_fd[0];
    ret_fd[1] = arena_memory("bh-rx", &receive, false, &words);
    if (ret_fd[1] < 0) {
        close(ret_fd[0]);
        segment_unmap(app, segment_round(arena_send_octets(a->slots, a->send_most)));
        return ret_fd[1];
    }
    a->app = app;
    a->words = words;
    a->send_rings = (uint8_t *)app + arena_send_offset(a->slots);
    a->receive_rings = (const uint8_t *)words + arena_receive_offset(a->slots);
    return 0;
}

static void arena_free(struct arena *a)
{
    segment_unmap(a->app, segment_round(arena_send_octets(a->slots, a->send_most)));
    segment_unmap((void *)(uintptr_t)a->words, segment_round(arena_receive_octets(a->slots, a->receive_most)));
    free(a);
}

/* Hands it to the supervisor and enters it in the table. Holds attach_lock. */
static int arena_offer(struct session *s, struct arena *a, const int fd[2])
{
    struct attach_request request = {.magic = SESSION_MAGIC,
                                     .operation = ATTACH_ARENA,
                                     .transport = a->transport,
                                     .slots = a->slots,
                                     .send_size = a->send_size,
                                     .receive_size = a->receive_size,
                                     .send_most = a->send_most,
                                     .receive_most = a->receive_most};
    struct attach_answer answer;
    int error = session_exchange(s, &request, fd, &answer);
    if (error != 0)
        return error;
    if (answer.arena >= SESSION_ARENAS || s->arenas.arena[answer.arena] != NULL)
        return -EPROTO;
    __atomic_store_n(&s->arenas.arena[answer.arena], a, __ATOMIC_RELEASE);
    return 0;
}

static bool over_quota(int error)
{
    return error == -ENOBUFS || error == -EDQUOT || error == -ENOSPC || error == -ENOMEM;
}

/* ret_quota: the supervisor refused it for its size, or because there are too many. */
static int arena_make(struct session *s, enum session_transport transport, struct arena_size e, bool *ret_quota)
{
    int fd[2];
    *ret_quota = false;
    struct arena *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->transport = transport;
    a->slots = e.slots;
    a->send_size = e.send_size;
    a->receive_size = e.receive_size;
    a->send_most = arena_ring_most(e.send_size, e.send_most);
    a->receive_most = arena_ring_most(e.receive_size, e.receive_most);
    a->fresh = true;
    pthread_mutex_init(&a->lock, NULL);
    int error = arena_map(a, fd);
    if (error != 0) {
        free(a);
        return error;
    }
    error = arena_offer(s, a, fd);
    *ret_quota = over_quota(error);
    close(fd[0]);
    close(fd[1]);
    if (error != 0)
        arena_free(a);
    return error;
}

/* ---- the table ---- */
static struct arena *arena_at(struct session *s, uint32_t index)
{
    return __atomic_load_n(&s->arenas.arena[index], __ATOMIC_ACQUIRE);
}

struct arena *arenas_find(struct session *s, enum session_transport transport, uint32_t index, uint32_t slot)
{
    struct arena *a = index < SESSION_ARENAS ? arena_at(s, index) : NULL;
    if (a == NULL &&
        index < SESSION_ARENAS) { /* another thread is adding it: the transport was faster than its answer */
        pthread_mutex_lock(&s->attach_lock);
        a = arena_at(s, index);
        pthread_mutex_unlock(&s->attach_lock);
    }
    return a != NULL && a->transport == transport && slot < a->slots ? a : NULL;
}

/* free_slots is a hint of the transport's: bounded, and 0 until it has first seen the arena. Slots are taken from the
 * first on: when that has been used 0 means none, also to who looks only after a burst has taken them all. */
static uint32_t arena_free_slots(struct arena *a)
{
    uint32_t n = __atomic_load_n(&a->words->free_slots, __ATOMIC_RELAXED);
    bool seen = n != 0 || __atomic_load_n(&a->words->slot[0].generation, __ATOMIC_RELAXED) != 0;
    if (!seen && __atomic_load_n(&a->fresh, __ATOMIC_RELAXED))
        return a->slots;
    if (seen && __atomic_load_n(&a->fresh, __ATOMIC_RELAXED))
        __atomic_store_n(&a->fresh, false, __ATOMIC_RELAXED);
    return n < a->slots ? n : a->slots;
}

struct arena_count {
    uint32_t arenas, slots, free, last_slots;
};

static bool has_rings(const struct arena *a, struct arena_rings rings)
{
    return a->send_size == rings.send && a->receive_size == rings.receive;
}

static struct arena_count arenas_count(struct session *s, enum session_transport transport, struct arena_rings rings)
{
    struct arena_count c = {0};
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        struct arena *a = arena_at(s, i);
        if (a == NULL || a->transport != transport || !has_rings(a, rings))
            continue;
        c.arenas++;
        c.slots += a->slots;
        c.free += arena_free_slots(a);
        c.last_slots = a->slots > c.last_slots ? a->slots : c.last_slots;
    }
    return c;
}

uint32_t arenas_free(struct session *s, enum session_transport transport, struct arena_rings rings)
{
    return arenas_count(s, transport, rings).free;
}

bool arenas_have_others(struct session *s, enum session_transport transport, struct arena_rings rings)
{
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        const struct arena *a = arena_at(s, i);
        if (a != NULL && a->transport == transport && !has_rings(a, rings))
            return true;
    }
    return false;
}

static uint32_t slots_of(uint64_t octets, struct arena_rings rings)
{
    uint64_t n = octets / ((uint64_t)rings.send + rings.receive);
    return n < 1 ? 1 : n > ARENA_SLOTS_MAX ? ARENA_SLOTS_MAX : (uint32_t)n;
}

static uint32_t slots_grown(enum session_transport transport, struct arena_rings rings, const struct arena_count *c,
                            uint32_t wanted)
{
    struct arena_size e = size_of(transport);
    uint64_t first = (uint64_t)e.slots * ((uint64_t)e.send_size + e.receive_size);
    uint32_t most = slots_of(ARENA_OCTETS_GROWN, rings);
    uint32_t slots = c->arenas > 0 ? c->last_slots * 2 : slots_of(first, rings);
    uint32_t missing = wanted > c->free ? wanted - c->free : 0;
    if (c->arenas == 0 && slots > most) /* so it was asked for */
        return slots;
    slots = slots > missing ? slots : missing;
    return slots < most ? slots : most;
}

static bool arenas_refused(const struct session *s, enum session_transport transport, struct arena_rings rings)
{
    uint32_t octets = __atomic_load_n(&s->arenas.refused[transport], __ATOMIC_RELAXED);
    return octets != 0 && rings.send + rings.receive >= octets;
}

/* The default rings of the first arena may grow, unless it has so many slots that they take too much place. */
static struct arena_size size_wanted(enum session_transport transport, struct arena_rings rings,
                                     const struct arena_count *c, uint32_t wanted)
{
    struct arena_size e = size_of(transport);
    e.slots = slots_grown(transport, rings, c, wanted);
    bool first = c->arenas == 0 && e.send_size == rings.send && e.receive_size == rings.receive;
    uint64_t reserved = (uint64_t)e.slots * ((uint64_t)e.send_most + e.receive_most);
    if (!first || reserved > ARENA_OCTETS_RESERVED)
        e.send_most = e.receive_most = 0;
    e.send_size = rings.send;
    e.receive_size = rings.receive;
    return e;
}

/* Holds attach_lock. */
static int arenas_add_locked(struct session *s, enum session_transport transport, struct arena_rings rings,
                             uint32_t wanted)
{
    struct arena_count c = arenas_count(s, transport, rings);
    struct arena_size e = size_wanted(transport, rings, &c, wanted);
    bool more = c.arenas > 0 || arenas_have_others(s, transport, rings);
    if (arenas_refused(s, transport, rings))
        return -ENOBUFS;
    bool quota = false;
    int error = arena_make(s, transport, e, &quota);
    if (over_quota(error) && (e.send_most != 0 || e.receive_most != 0)) { /* without place to grow */
        e.send_most = e.receive_most = 0;
        error = arena_make(s, transport, e, &quota);
    }
    while (over_quota(error) && more && e.slots > 1) { /* over the quota: what is left of it */
        e.slots /= 2;
        error = arena_make(s, transport, e, &quota);
    }
    if (quota && more) /* that lasts; memory or descriptors that this process lacks it may have again */
        __atomic_store_n(&s->arenas.refused[transport], rings.send + rings.receive, __ATOMIC_RELAXED);
    return error;
}

int arenas_add(struct session *s, enum session_transport transport, struct arena_rings rings)
{
    pthread_mutex_lock(&s->attach_lock);
    int error = arenas_add_locked(s, transport, rings, 1);
    pthread_mutex_unlock(&s->attach_lock);
    return error;
}

static bool enough(const struct arena_count *c, uint32_t wanted)
{
    return c->arenas > 0 && c->free >= wanted && c->free * 4 >= c->slots;
}

int arenas_provide(struct session *s, enum session_transport transport, struct arena_rings rings, uint32_t wanted)
{
    uint32_t most = slots_of(ARENA_OCTETS_GROWN, rings);
    struct arena_count c = arenas_count(s, transport, rings);
    wanted = wanted < most ? wanted : most;
    if (enough(&c, wanted) || (c.arenas > 0 && arenas_refused(s, transport, rings)))
        return 0;
    int error = 0;
    pthread_mutex_lock(&s->attach_lock);
    c = arenas_count(s, transport, rings);
    while (error == 0 && !enough(&c, wanted)) { /* SESSION_ARENAS at most: then the supervisor refuses */
        error = arenas_add_locked(s, transport, rings, wanted);
        c = arenas_count(s, transport, rings);
    }
    pthread_mutex_unlock(&s->attach_lock);
    if (error == -EDQUOT || error == -ENOSPC)
        error = -ENOBUFS; /* what a socket's calls say when there is no memory for it */
    return c.arenas > 0 ? 0 : error;
}

void arena_notify(struct session *s, struct arena *a, uint32_t slot)
{
    pthread_mutex_lock(&a->lock);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (E) */
    uint32_t consumer = __atomic_load_n(&a->words->notify_consumer, __ATOMIC_ACQUIRE);
    uint32_t unread = a->producer - consumer; /* a lying consumer costs itself entries, and no more than the ring */
    uint32_t age = a->producer - (a->notified[slot] - 1);
    if (a->notified[slot] == 0 || age > unread || unread > ARENA_SLOTS_MAX) {
        __atomic_store_n(&a->app->notify[a->producer % ARENA_SLOTS_MAX], slot, __ATOMIC_RELAXED);
        a->notified[slot] = a->producer + 1;
        __atomic_store_n(&a->app->notify_producer, ++a->producer, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&a->lock);
    session_ring(s, a->transport == SESSION_TCP ? TO_TCP : TO_UDP);
}

int bh_set_option(enum bh_option option, uint32_t value)
{
    return (int)bh_result(arenas_set_option((int)option, value));
}
