// SPDX-License-Identifier: BSD-2-Clause
/* Rings of streams that grow (protocols/tcp/ring.h): the transport says in rings_wanted what the path would use, and
 * here is the memory for it. The send ring is ours to grow: a word of the slot says how it lies. The receive ring is
 * the transport's, which waits for our consent. A size that was chosen (SO_SNDBUF, SO_RCVBUF) stays, as on Linux. */
#include <sys/mman.h>

#include "servers/client/session.h"

static const struct slot_transport *words_of(const struct socket *k)
{
    const struct slot_transport *t = __atomic_load_n(&k->words, __ATOMIC_ACQUIRE);
    return t != NULL && __atomic_load_n(&t->generation, __ATOMIC_ACQUIRE) == k->slot_generation ? t : NULL;
}

struct ring_shape stream_send_shape(const struct socket *k)
{
    struct ring_shape shape = ring_make(k->send_size);
    (void)ring_of_word(__atomic_load_n(&k->send_shape, __ATOMIC_RELAXED), k->arena->send_most, &shape);
    return shape;
}

struct ring_shape stream_receive_shape(const struct socket *k)
{
    struct ring_shape shape = ring_make(k->receive_size);
    const struct slot_transport *t = words_of(k);
    uint32_t word = t != NULL ? __atomic_load_n(&t->receive_ring, __ATOMIC_ACQUIRE) : 0;
    (void)ring_of_word(word, k->arena->receive_most, &shape);
    return shape;
}

static void send_shape_store(struct socket *k, const struct ring_shape *shape)
{
    __atomic_store_n(&k->send_shape, ring_word(shape), __ATOMIC_RELAXED);
    __atomic_store_n(&k->app->send_ring, ring_word(shape), __ATOMIC_RELEASE);
}

void stream_rings_begin(struct socket *k)
{
    k->send_shape = 0;
    k->receive_granted = k->receive_size;
    k->send_fixed = k->rings.send != 0 || k->transport != SESSION_TCP;
    k->receive_fixed = k->rings.receive != 0 || k->transport != SESSION_TCP;
    __atomic_store_n(&k->app->send_ring, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&k->app->receive_granted, 0, __ATOMIC_RELAXED);
}

/* Untrusted: log2 (the transport's word). Octets; 0: nothing, or nonsense. */
static uint32_t wanted_of(uint32_t log2, uint32_t most)
{
    uint32_t octets = log2 != 0 && log2 < 31 ? 1U << log2 : 0;
    return octets < most ? octets : octets == 0 ? 0 : most;
}

/* Pages from `from` to `to` of a ring: memory for them is there from now on. */
static bool memory_take(const uint8_t *ring, uint32_t from, uint32_t to, int advice)
{
    return madvise((void *)(uintptr_t)(ring + from), to - from, advice) == 0;
}

/* Each time that something is written: a growth that is over has to be told before its turn is 2^31 octets ago. */
void stream_grow_send(struct socket *k)
{
    const struct slot_transport *t = k->send_fixed || k->arena == NULL ? NULL : words_of(k);
    if (t == NULL)
        return;
    struct ring_shape shape = stream_send_shape(k);
    if (ring_settle(&shape, __atomic_load_n(&t->send_tail, __ATOMIC_ACQUIRE)))
        send_shape_store(k, &shape);
    uint32_t wanted = wanted_of(__atomic_load_n(&t->rings_wanted, __ATOMIC_RELAXED) & 0xff, k->arena->send_most);
    uint32_t from = shape.size;
    if (!ring_grow(&shape, wanted, k->send_head))
        return;
    if (memory_take(k->send_ring, from, wanted, MADV_POPULATE_WRITE))
        send_shape_store(k, &shape);
    else
        k->send_fixed = true;
}

bool stream_grow_receive(struct socket *k)
{
    const struct slot_transport *t = k->receive_fixed ? NULL : words_of(k);
    uint32_t wanted =
        t == NULL ? 0
                  : wanted_of(__atomic_load_n(&t->rings_wanted, __ATOMIC_RELAXED) >> 8 & 0xff, k->arena->receive_most);
    if (wanted <= k->receive_granted)
        return false;
    if (!memory_take(k->receive_ring, k->receive_granted, wanted, MADV_POPULATE_READ)) {
        k->receive_fixed = true;
        return false;
    }
    k->receive_granted = wanted;
    __atomic_store_n(&k->app->receive_granted, wanted, __ATOMIC_RELEASE);
    return true;
}
