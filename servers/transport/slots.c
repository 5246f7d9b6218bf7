// SPDX-License-Identifier: BSD-2-Clause
/* Arenas and their slots, and the words in them that the application and we tell each other. Which slots are used is
 * derived from the endpoints, never read from shared memory. Of what an application writes each word is read once. */
#include <string.h>

#include "servers/transport/transport.h"
#include "servers/work.h"

/* ---- arenas ---- */

static const struct session_arena *arena_at(const struct transport *t, uint32_t session, uint32_t arena)
{
    const struct session *s = &t->context->session[session];
    if (!s->present || arena >= SESSION_ARENAS)
        return NULL;
    const struct session_arena *a = &s->arena[arena];
    bool ours =
        a->slots != 0 && a->slots <= ARENA_SLOTS_MAX && a->transport == (uint32_t)t->operations->session_transport;
    return ours && a->app != NULL && a->transport_words != NULL ? a : NULL;
}

static void list_active(struct transport *t)
{
    t->active_count = 0;
    for (uint64_t left = t->seen; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(left);
        for (uint32_t a = 0; a < SESSION_ARENAS; a++)
            if (t->session[s].arena[a].slots != 0)
                t->active[t->active_count++] = (uint16_t)(s * SESSION_ARENAS + a);
    }
}

static void take_place(struct arena_slots *slots, uint32_t slot, uint32_t endpoint)
{
    slots->used[slot / 64] |= (uint64_t)1 << (slot % 64);
    slots->holder[slot] = (uint16_t)(endpoint + 1);
    slots->free--;
    slots->dirty = true;
}

static void notify_resynchronise(struct arena_slots *slots, const struct session_arena *a)
{
    slots->notify_consumer = __atomic_load_n(&a->app->notify_producer, __ATOMIC_ACQUIRE);
    slots->rescan = true;
}

static void arena_added(struct transport *t, uint32_t session, uint32_t arena, const struct session_arena *a)
{
    struct arena_slots *slots = &t->session[session].arena[arena];
    *slots = (struct arena_slots){
        .slots = a->slots, .free = a->slots, .ready_producer = ready_start(t->context->incarnation), .dirty = true};
    t->seen |= (uint64_t)1 << session;
    t->bells |= (uint64_t)1 << session; /* whoever waits is to look at everything once */
    notify_resynchronise(slots, a);
    for (uint32_t i = 0; i < t->endpoint_high; i++) { /* restored before the arena was granted */
        struct endpoint *e = &t->endpoint[i];
        if (!(e->flags & ENDPOINT_USED) || e->session != session || e->arena != arena)
            continue;
        if (e->slot < a->slots && slots->holder[e->slot] == 0)
            take_place(slots, e->slot, i);
        endpoint_dirty(t, i, true);
    }
}

/* Nothing is known of it yet: whatever was asked about its index was about another. */
static void session_begins(struct transport *t, uint32_t session)
{
    struct session_slots *s = &t->session[session];
    for (uint32_t i = 0; i < SESSION_ARENAS; i++)
        if (s->arena[i].slots != 0)
            return;
    if (t->context->session[session].ending)
        return;
    s->ended = s->end_asked = s->end_early = false;
    t->end_asked &= ~((uint64_t)1 << session);
}

bool transport_session_same(const struct transport *t, uint32_t session, uint32_t generation)
{
    const struct session *now = &t->context->session[session];
    return !now->present || now->generation == generation;
}

/* Put back before this session was granted, and of an earlier one that had its index. */
static void forget_stale(struct transport *t, uint32_t session)
{
    for (uint32_t i = 0; i < t->endpoint_high && t->session[session].endpoints > 0; i++) {
        const struct endpoint *e = &t->endpoint[i];
        if (!(e->flags & ENDPOINT_USED) || e->session != session ||
            transport_session_same(t, session, e->session_generation))
            continue;
        t->counters.drop_block_stale++;
        t->endpoint[i].arena = TRANSPORT_NONE; /* never taken here */
        endpoint_close(t, t->now_us, i);
        endpoint_release(t, i);
    }
}

void transport_session_added(struct transport *t, uint32_t session)
{
    if (session >= SESSIONS_MAX || !t->context->session[session].present)
        return;
    forget_stale(t, session);
    session_begins(t, session);
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        const struct session_arena *a = arena_at(t, session, i);
        if (a != NULL && t->session[session].arena[i].slots == 0)
            arena_added(t, session, i, a);
    }
    list_active(t);
}

void transport_session_removed(struct transport *t, uint64_t now_us, uint32_t session)
{
    if (session >= SESSIONS_MAX)
        return;
    struct session_slots *s = &t->session[session];
    for (uint32_t i = 0; i < t->endpoint_high && s->endpoints > 0; i++) {
        if (!(t->endpoint[i].flags & ENDPOINT_USED) || t->endpoint[i].session != session)
            continue;
        endpoint_close(t, now_us, i);
        endpoint_release(t, i);
    }
    t->end_asked &= ~((uint64_t)1 << session);
    t->bells &= ~((uint64_t)1 << session);
    *s = (struct session_slots){0};
    list_active(t);
}

void transport_forget_absent(struct transport *t)
{
    for (uint64_t left = t->seen; left != 0; left &= left - 1) {
        uint32_t id = (uint32_t)__builtin_ctzll(left);
        if (t->session[id].endpoints > 0 && !t->context->session[id].present)
            transport_session_removed(t, t->now_us, id);
    }
}

bool transport_session_open(const struct transport *t, uint32_t session)
{
    return session < SESSIONS_MAX && t->context->session[session].present && !t->context->session[session].ending &&
           !t->session[session].ended;
}

/* Whether an arena has the ring sizes that are wanted. 0: any. */
static bool sizes_fit(const struct session_arena *a, const struct session_arena *wanted)
{
    return (wanted->send_size == 0 || a->send_size == wanted->send_size) &&
           (wanted->receive_size == 0 || a->receive_size == wanted->receive_size);
}

const struct session_arena *transport_first_arena(const struct transport *t, uint32_t session,
                                                  const struct session_arena *like)
{
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        const struct session_arena *a = t->session[session].arena[i].slots != 0 ? arena_at(t, session, i) : NULL;
        if (a != NULL && sizes_fit(a, like))
            return a;
    }
    return NULL;
}

/* ---- slots ---- */

static uint32_t lowest_free(const struct arena_slots *slots)
{
    for (uint32_t i = 0; i * 64 < slots->slots; i++)
        if (~slots->used[i] != 0)
            return i * 64 + (uint32_t)__builtin_ctzll(~slots->used[i]);
    return TRANSPORT_NONE;
}

static uint32_t next_generation(struct transport *t)
{
    if (++t->uses == 0)
        t->uses = 1;
    return (t->context->incarnation & 0xffff) << 16 | t->uses;
}

bool slot_take(struct transport *t, uint32_t endpoint, const struct session_arena *like)
{
    struct endpoint *e = &t->endpoint[endpoint];
    for (uint32_t i = 0; i < SESSION_ARENAS; i++) {
        struct arena_slots *slots = &t->session[e->session].arena[i];
        const struct session_arena *a = arena_at(t, e->session, i);
        if (a == NULL || slots->free == 0 || (like != NULL && !sizes_fit(a, like)))
            continue;
        uint32_t slot = lowest_free(slots);
        if (slot >= slots->slots)
            continue;
        take_place(slots, slot, endpoint);
        e->arena = i;
        e->slot = slot;
        e->generation = next_generation(t);
        e->flags |= ENDPOINT_FRESH;
        t->counters.slots_given++;
        endpoint_dirty(t, endpoint, false);
        return true;
    }
    return false;
}

bool slot_restore(struct transport *t, uint32_t endpoint)
{
    const struct endpoint *e = &t->endpoint[endpoint];
    if (e->arena >= SESSION_ARENAS || e->slot >= ARENA_SLOTS_MAX || e->generation == 0)
        return false;
    struct arena_slots *slots = &t->session[e->session].arena[e->arena];
    if (slots->slots == 0)
        return true; /* taken when the arena is granted */
    if (e->slot >= slots->slots || slots->holder[e->slot] != 0)
        return false;
    take_place(slots, e->slot, endpoint);
    return true;
}

void slot_put(struct transport *t, uint32_t endpoint)
{
    struct endpoint *e = &t->endpoint[endpoint];
    if (e->arena >= SESSION_ARENAS)
        return;
    struct arena_slots *slots = &t->session[e->session].arena[e->arena];
    if (e->slot < slots->slots && slots->holder[e->slot] == endpoint + 1) {
        slots->used[e->slot / 64] &= ~((uint64_t)1 << (e->slot % 64));
        slots->holder[e->slot] = 0;
        slots->free++;
        slots->dirty = true;
        t->counters.slots_back++;
    }
    e->arena = TRANSPORT_NONE;
}

const struct session_arena *slot_arena(const struct transport *t, const struct endpoint *e)
{
    const struct session_arena *a = arena_at(t, e->session, e->arena);
    return a != NULL && e->slot < a->slots ? a : NULL;
}

uint8_t *slot_receive_ring(const struct session_arena *arena, uint32_t slot)
{
    return (uint8_t *)arena->transport_words + arena_receive_offset(arena->slots) + (size_t)slot * arena->receive_most;
}

const uint8_t *slot_send_ring(const struct session_arena *arena, uint32_t slot)
{
    return (const uint8_t *)arena->app + arena_send_offset(arena->slots) + (size_t)slot * arena->send_most;
}

/* ---- what the application says ---- */

/* Flags before send_head: a head read after SHUTDOWN was seen is at least the one that it goes with. */
bool slot_read(const struct transport *t, const struct endpoint *e, struct slot_app *ret)
{
    const struct session_arena *a = slot_arena(t, e);
    if (a == NULL)
        return false;
    const struct slot_app *words = &a->app->slot[e->slot];
    struct slot_app copy = {.generation = __atomic_load_n(&words->generation, __ATOMIC_ACQUIRE)};
    if (copy.generation != e->generation)
        return false;
    copy.flags = __atomic_load_n(&words->flags, __ATOMIC_ACQUIRE);
    copy.send_head = __atomic_load_n(&words->send_head, __ATOMIC_ACQUIRE);
    copy.receive_tail = __atomic_load_n(&words->receive_tail, __ATOMIC_ACQUIRE);
    copy.send_ring = __atomic_load_n(&words->send_ring, __ATOMIC_ACQUIRE); /* after the head that it goes with */
    copy.receive_granted = __atomic_load_n(&words->receive_granted, __ATOMIC_ACQUIRE);
    *ret = copy;
    return true;
}

static void look_at_slot(struct transport *t, uint64_t now_us, const struct arena_slots *slots, uint32_t slot)
{
    if (slot >= slots->slots) {
        t->counters.drop_notify_slot++;
        return;
    }
    uint32_t holder = slots->holder[slot];
    if (holder == 0 || (t->endpoint[holder - 1].flags & ENDPOINT_CLOSED)) {
        t->counters.notify_stale++;
        return;
    }
    struct slot_app words;
    const struct endpoint *e = &t->endpoint[holder - 1];
    uint64_t place = (uint64_t)e->session << 40 | (uint64_t)e->arena << 32 | e->slot;
    bool works = server_works_on(t->context, work_key_numbers(t->context, WORK_NOTICE, place, e->generation));
    if (!works && e->connection != TRANSPORT_NONE) {
        t->counters.reset_poison++;
        endpoint_orphan(t, now_us, holder - 1);
    }
    t->counters.drop_poison += !works;
    if (works && slot_read(t, e, &words))
        t->operations->notified(t, now_us, holder - 1, &words);
    else
        t->counters.notify_stale++;
}

static void rescan(struct transport *t, uint64_t now_us, struct arena_slots *slots)
{
    slots->rescan = false;
    for (uint32_t slot = 0; slot < slots->slots; slot++)
        if (slots->holder[slot] != 0)
            look_at_slot(t, now_us, slots, slot);
}

/* Untrusted: the notify ring (from the application). */
static bool notify_arena(struct transport *t, uint64_t now_us, struct arena_slots *slots, const struct session_arena *a)
{
    uint32_t producer = __atomic_load_n(&a->app->notify_producer, __ATOMIC_ACQUIRE);
    uint32_t count = producer - slots->notify_consumer;
    if (count == 0 && !slots->rescan)
        return false;
    if (count > ARENA_SLOTS_MAX) {
        t->counters.notify_resync++;
        slots->rescan = true;
        count = 0;
    }
    for (uint32_t i = 0; i < count; i++)
        t->notify[i] = (uint16_t)__atomic_load_n(&a->app->notify[(slots->notify_consumer + i) % ARENA_SLOTS_MAX],
                                                 __ATOMIC_RELAXED);
    slots->notify_consumer = producer;
    __atomic_store_n(&a->transport_words->notify_consumer, producer, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (e): pairs with (E) of the application */
    t->counters.notify_taken += count;
    for (uint32_t i = 0; i < count; i++)
        look_at_slot(t, now_us, slots, t->notify[i]);
    if (slots->rescan)
        rescan(t, now_us, slots);
    return true;
}

bool transport_notify(struct transport *t, uint64_t now_us)
{
    bool did = false;
    for (uint32_t i = 0; i < t->active_count; i++) {
        uint32_t session = t->active[i] / SESSION_ARENAS, arena = t->active[i] % SESSION_ARENAS;
        const struct session_arena *a = arena_at(t, session, arena);
        if (a != NULL && notify_arena(t, now_us, &t->session[session].arena[arena], a))
            did = true;
    }
    return did;
}

bool transport_notify_pending(const struct transport *t)
{
    for (uint32_t i = 0; i < t->active_count; i++) {
        uint32_t session = t->active[i] / SESSION_ARENAS, arena = t->active[i] % SESSION_ARENAS;
        const struct session_arena *a = arena_at(t, session, arena);
        const struct arena_slots *slots = &t->session[session].arena[arena];
        if (a != NULL &&
            (slots->rescan || slots->notify_consumer != __atomic_load_n(&a->app->notify_producer, __ATOMIC_ACQUIRE)))
            return true;
    }
    return false;
}

/* ---- what we say ---- */

static void put_word(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Whether an application that waits for room to write should look now: not for every octet that is acknowledged. */
static bool room_is_news(const struct endpoint *e, uint32_t tail, uint32_t size)
{
    return tail != e->published.send_tail && (e->send_end - tail <= size - size / 4 || tail == e->send_end);
}

/* They are of no use to anybody but a reader of figures, and wake nobody. */
static void publish_figures(struct transport *t, const struct endpoint *e, struct slot_transport *words)
{
    struct slot_figures now = {0};
    t->operations->figures(t, e, &now);
    put_word(&words->tcp_kind, now.tcp_kind);
    put_word(&words->srtt_us, now.srtt_us);
    put_word(&words->rttvar_us, now.rttvar_us);
    put_word(&words->rto_us, now.rto_us);
    put_word(&words->cwnd, now.cwnd);
    put_word(&words->ssthresh, now.ssthresh);
    put_word(&words->retransmitted, now.retransmitted);
    put_word(&words->mss, now.mss);
}

/* After the slot's words: who reads the entry finds them. */
static void publish_ready(struct arena_slots *slots, const struct session_arena *a, uint32_t slot)
{
    struct arena_transport *words = a->transport_words;
    put_word(&words->ready[slots->ready_producer % ARENA_SLOTS_MAX],
             slot); /* a reader of this one sees the producer before it */
    put_word(&words->ready_producer, ++slots->ready_producer);
}

/* Whether whoever waits for this socket should look now. How a receive ring lies, and what would be used, is no news:
 * it is read together with the octets. */
static bool is_news(const struct transport *t, const struct endpoint *e, const struct slot_words *now,
                    uint32_t send_size)
{
    bool tells_errors = t->operations->session_transport == SESSION_UDP;
    return (e->flags & ENDPOINT_WAKE) || now->receive_head != e->published.receive_head ||
           now->state != e->published.state || now->error != e->published.error ||
           (tells_errors && now->error_count != e->published.error_count) || room_is_news(e, now->send_tail, send_size);
}

static void publish_endpoint(struct transport *t, struct endpoint *e, const struct session_arena *a)
{
    struct slot_transport *words = &a->transport_words->slot[e->slot];
    struct slot_words now = e->words;
    now.send_tail = endpoint_send_tail(t, e);
    bool wake = is_news(t, e, &now, e->send_size != 0 ? e->send_size : a->send_size);
    if (e->flags & ENDPOINT_FRESH)
        put_word(&words->generation, 0);
    if (t->operations->figures != NULL)
        publish_figures(t, e, words);
    put_word(&words->path_mtu, now.path_mtu);
    put_word(&words->receive_drops, now.receive_drops);
    put_word(&words->error, now.error);
    put_word(&words->error_count, now.error_count); /* after the error that it counts */
    put_word(&words->send_tail, now.send_tail);
    put_word(&words->receive_head, now.receive_head);
    put_word(&words->state, now.state); /* after receive_head: FIN and CLOSED say that nothing follows it */
    put_word(&words->generation, e->generation);
    e->flags &= (uint16_t) ~(ENDPOINT_FRESH | ENDPOINT_WAKE);
    e->published = now;
    if (!wake)
        return;
    publish_ready(&t->session[e->session].arena[e->arena], a, e->slot);
    t->bells |= (uint64_t)1 << e->session;
}

static void publish_free(struct transport *t)
{
    for (uint32_t i = 0; i < t->active_count; i++) {
        uint32_t session = t->active[i] / SESSION_ARENAS, arena = t->active[i] % SESSION_ARENAS;
        struct arena_slots *slots = &t->session[session].arena[arena];
        const struct session_arena *a = arena_at(t, session, arena);
        if (!slots->dirty || a == NULL)
            continue;
        slots->dirty = false;
        put_word(&a->transport_words->free_slots, slots->free);
        put_word(&a->transport_words->ready_producer, slots->ready_producer);
        put_word(&a->transport_words->notify_consumer, slots->notify_consumer);
    }
}

void transport_publish_slots(struct transport *t)
{
    for (uint32_t i = 0; i < t->dirty_count; i++) {
        struct endpoint *e = &t->endpoint[t->dirty[i]];
        e->flags &= (uint16_t)~ENDPOINT_DIRTY;
        const struct session_arena *a = e->flags & ENDPOINT_USED ? slot_arena(t, e) : NULL;
        if (a != NULL)
            publish_endpoint(t, e, a);
    }
    t->dirty_count = 0;
    publish_free(t);
    while (t->bells != 0) {
        uint32_t session = (uint32_t)__builtin_ctzll(t->bells);
        t->bells &= t->bells - 1;
        struct session *s = &t->context->session[session];
        if (s->present && s->bell.sleep != NULL)
            doorbell_ring(&s->bell);
    }
}
