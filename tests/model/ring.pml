// SPDX-License-Identifier: BSD-2-Clause
/* One ring with its doorbell, as in ipc/ring.c, ipc/doorbell.c and servers/domain/loop.c: a producer, a consumer that sleeps,
 * either of them killed at any step and begun anew by the supervisor, or a producer that writes what it likes.
 *
 * Memory is that of a machine with store buffers (TSO): a process's stores go through a first-in-first-out queue and reach memory
 * some time later, a fence waits until its queue is empty. So the fences (c) and (C) of doorbell.h are needed here as there.
 *
 * Shown: nothing that was published while both live stays unread (a lost wake-up is an end state in which the consumer sleeps:
 * `assert` in monitor); a message is read as it was written, once, in order, and never by the wrong incarnation; the consumer never
 * believes more than a ring full, whatever the producer writes.
 *
 * Left out: messages of more than one slot, the producer's own sleep when the ring is full (it looks again on a timer), weaker
 * memory than TSO (slots and index are ordered by release and acquire, (A) and (B)).
 *
 * Each mutant, by -D, must fail: NO_FENCE_RINGER, NO_FENCE_SLEEPER, NO_SECOND_LOOK, RING_ONCE, WORD_RESET, OLD_HALVES, and with LIAR
 * NO_BOUND. */
#define SLOTS    2
#define MESSAGES 3 /* of each life of the producer */
#ifndef DEATHS
#define DEATHS 1
#endif

mtype = { SLOT0, SLOT1, PRODUCED, CONSUMED, SLEEP };

/* shared memory */
byte slot0, slot1, produced, consumed, sleep;
bool bell; /* the pipe is not empty */

/* the supervisor's control sockets: what has happened to the other side */
byte epoch = 1;
bool producer_told, consumer_told, attached = true;
bool kill_producer, kill_consumer, producer_gone, consumer_gone;

/* for the properties only */
bool producer_done;
byte published, taken;
bool channel_broken, consumer_sleeps;

chan from_producer = [4] of { mtype, byte };
chan from_consumer = [3] of { mtype, byte };

#define LOADED(x) (x)
#define FENCE(queue) empty(queue)

active proctype producer_buffer()
{
    byte value;
end:
    do
    :: atomic { from_producer ? SLOT0, value -> slot0 = value }
    :: atomic { from_producer ? SLOT1, value -> slot1 = value }
    :: atomic { from_producer ? PRODUCED, value -> produced = value }
    od
}

active proctype consumer_buffer()
{
    byte value;
end:
    do
    :: atomic { from_consumer ? CONSUMED, value -> consumed = value }
    :: atomic { from_consumer ? SLEEP, value -> sleep = value }
    od
}

proctype producer()
{
    byte head, word, rung_for;
    {
again:
        do
        :: atomic { producer_told -> producer_told = false; }
            (attached && !producer_told); /* the barrier is over: fresh halves */
            d_step { head = 0; published = 0; }
        :: atomic { !producer_told && attached && published < MESSAGES }
            if
            :: head - consumed >= SLOTS -> (head - consumed < SLOTS || producer_told || !attached) /* full: looks again later */
            :: head - consumed < SLOTS ->
                if
                :: head % SLOTS == 0 -> from_producer ! SLOT0, epoch * 8 + head
                :: else -> from_producer ! SLOT1, epoch * 8 + head
                fi;
                head++;
                atomic { from_producer ! PRODUCED, head; published++ }
#ifndef NO_FENCE_RINGER
                FENCE(from_producer); /* (c) */
#endif
                word = LOADED(sleep);
                if
#ifdef RING_ONCE /* as if there were one sleep only */
                :: (word & 1) && rung_for == 0 ->
#else
                :: (word & 1) && word != rung_for ->
#endif
                    rung_for = word;
                    bell = true
                :: else
                fi
            fi
        :: !producer_told && attached && published == MESSAGES -> producer_done = true; (producer_told || kill_producer)
        od
    } unless { kill_producer }
    /* what it had stored still reaches memory */
    FENCE(from_producer);
    producer_gone = true
}

proctype consumer()
{
    byte tail, word, seen, value;
    word = sleep;
    from_consumer ! SLEEP, (word | 1) + 1; /* doorbell_wake */
    {
        do
        :: consumer_told -> /* drains, lets go, waits for the new channel */
            atomic { consumer_told = false; tail = 0; taken = 0; }
            attached
        :: !consumer_told && attached ->
            seen = produced;
            if
            :: channel_broken -> (consumer_told || kill_consumer)
            :: !channel_broken && seen != tail ->
#ifndef NO_BOUND
                if
                :: (255 & (seen - tail)) > SLOTS -> channel_broken = true; goto next
                :: else
                fi;
#endif
                assert((255 & (seen - tail)) <= SLOTS);
                if
                :: tail % SLOTS == 0 -> value = slot0
                :: else -> value = slot1
                fi;
#ifndef LIAR
                assert(value == epoch * 8 + tail);
#endif
                tail++;
                atomic { from_consumer ! CONSUMED, tail; taken++ }
            :: !channel_broken && seen == tail ->
                word = sleep | 1;
                from_consumer ! SLEEP, word;
#ifndef NO_FENCE_SLEEPER
                FENCE(from_consumer); /* (C) */
#endif
#ifndef NO_SECOND_LOOK
                if
                :: produced != tail -> goto awake
                :: else
                fi;
#endif
                consumer_sleeps = true;
                (bell || consumer_told);
                consumer_sleeps = false;
                bell = false;
awake:
                word = (word | 1) + 1;
                FENCE(from_consumer); /* one word of its own: it reads back what it stored */
                from_consumer ! SLEEP, word;
                FENCE(from_consumer)
            fi;
next:
            skip
        od
    } unless { kill_consumer }
    FENCE(from_consumer);
    consumer_sleeps = false;
    consumer_gone = true
}

#ifdef LIAR
/* In the producer's place: any index, any octets, rings or not. */
proctype liar()
{
    byte n;
    do
    :: n < 4 ->
        n++;
        if
        :: produced = 0 :: produced = 1 :: produced = 2 :: produced = 3 :: produced = 7 :: produced = 128 :: produced = 254 :: produced = 255
        fi;
        if
        :: slot0 = 99 :: slot1 = 0 :: bell = true :: skip
        fi
    :: n >= 4 -> break
    od
}
#endif

/* A death: everybody lets go, both halves are fresh, the sleep word of the dead is cleared, the next life begins. */
inline renew(dead_is_consumer)
{
    attached = false;
    if
    :: dead_is_consumer -> producer_told = true; !producer_told
    :: else -> consumer_told = true; !consumer_told
    fi;
    FENCE(from_producer);
    FENCE(from_consumer);
    d_step {
        if
        :: dead_is_consumer && (sleep & 1) -> sleep = sleep + 1
        :: else
        fi;
#ifdef WORD_RESET
        if
        :: dead_is_consumer -> sleep = 0
        :: else
        fi;
#endif
#ifndef OLD_HALVES
        produced = 0; consumed = 0; slot0 = 0; slot1 = 0;
#endif
        published = 0; taken = 0; producer_done = false;
        epoch++;
        attached = true
    }
}

active proctype supervisor()
{
    byte deaths;
#ifdef LIAR
    run liar();
#else
    run producer();
#endif
    run consumer();
end:
    do
    :: deaths < DEATHS ->
        deaths++;
        if
        :: kill_consumer = true;
            consumer_gone;
            renew(true);
            d_step { kill_consumer = false; consumer_gone = false };
            run consumer()
#ifndef LIAR
        :: kill_producer = true;
            producer_gone;
            renew(false);
            d_step { kill_producer = false; producer_gone = false };
            run producer()
#endif
        fi
    od
}

#ifndef LIAR
/* When nothing can move any more, nothing is unread. */
active proctype monitor()
{
end:
    timeout -> assert(producer_done && taken == MESSAGES)
}
#endif
