// SPDX-License-Identifier: BSD-2-Clause
/* RECEIVER or SENDER is honest; the other end is not.
 * The same ring with a peer that writes whatever it likes, whenever it likes, into all that is its own: index, slots,
 * sleep word. Indices run modulo WORDS, as they do modulo 2^32 in ipc/ring.c.
 *
 * Proved, of an honest receiver: it takes no more than a ring full beyond what it has given back, reads no slot twice
 * within that, and no message reaches beyond what the checked index says; of an honest sender: it never has more than a
 * ring full unconsumed. Both go on, or stop this channel for good. */
#define SLOTS 4
#define WORDS 16 /* a power of two, more than SLOTS */
#define MOD(x) ((x) & (WORDS - 1))
#define MOST  3 /* slots that a message may claim */

byte producer;    /* the liar's words */
byte slot_count;  /* what it writes into the first slot of the next message, at any time */
byte consumer;

active proctype liar() {
end:
    do
#ifdef RECEIVER
    :: d_step { producer = MOD(producer + 1) }
    :: d_step { slot_count = (slot_count + 1) % (MOST + 3) }
#else
    :: d_step { consumer = MOD(consumer + 1) }
#endif
    od
}

#ifdef RECEIVER
active proctype receiver() {
    byte tail, released, peer_produced, count, available;
    bool broken;
end:
    do
    :: !broken -> /* ring_available() */
        if
        :: peer_produced == tail ->
            available = producer; /* read once */
#ifdef NO_CHECK_PRODUCER
            if :: false :: else -> peer_produced = available fi
#else
            if
            :: MOD(available - released) > SLOTS || MOD(available - released) < MOD(tail - released) -> broken = true
            :: else -> peer_produced = available
            fi
#endif
        :: else
        fi;
#ifdef READ_AGAIN
        if :: !broken -> peer_produced = producer :: else fi;
#endif
        available = MOD(peer_produced - tail);
        if
        :: !broken && available > 0 -> /* ring_take(): the first slot is copied, its count checked and used */
            count = slot_count;
#ifndef NO_CHECK_COUNT
            if :: count == 0 || count > MOST || count > available -> broken = true :: else fi;
#endif
            if
            :: !broken ->
                assert(count >= 1 && count <= MOST);
                assert(count <= available);
                tail = MOD(tail + count);
                assert(MOD(tail - released) <= SLOTS) /* nothing twice, nothing that was not there */
            :: else
            fi
        :: else
        fi;
        count = 0; available = 0
    :: !broken && released != tail -> released = tail /* ring_release() */
    od
}

#endif

#ifdef SENDER
active proctype sender() {
    byte head, published, peer_consumed, fresh;
    bool broken;
end:
    do
    :: !broken && MOD(head - peer_consumed) == SLOTS -> /* ring_space() */
        fresh = consumer;
#ifdef NO_CHECK_CONSUMER
        if :: false :: else -> peer_consumed = fresh fi;
#else
        if
        :: MOD(fresh - peer_consumed) > MOD(published - peer_consumed) -> broken = true
        :: else -> peer_consumed = fresh
        fi;
#endif
        assert(MOD(head - peer_consumed) <= SLOTS);
        fresh = 0
    :: !broken && MOD(head - peer_consumed) < SLOTS -> /* ring_put() */
        head = MOD(head + 1);
        assert(MOD(head - peer_consumed) <= SLOTS)
    :: !broken && published != head -> published = head /* ring_flush() */
    od
}
#endif
