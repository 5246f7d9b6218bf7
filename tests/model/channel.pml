// SPDX-License-Identifier: BSD-2-Clause
/* One ring and its doorbell, between a sender and a receiver that may die and come back at any step (ipc/ring.c,
 * ipc/doorbell.c, servers/domain/loop.c, the supervisor's barrier). Each end writes memory through a store buffer that
 * drains when it likes, one for each place, so that only fences and release stores order anything; the letters are those
 * of the sources. A deadline wakes nobody here: a lost wake-up is for ever, and found.
 *
 * Proved: all that was published is pulled, in order, while both live (nobody sleeps on it, nothing is stuck); what a
 * receiver pulls was sent in this channel's life; no index leaves its bounds; no honest end takes the other for a liar.
 *
 * The macros make mutants; run.sh shows that each of them fails. */
#ifndef DEATHS
#define DEATHS 2
#endif
#ifndef MESSAGES
#define MESSAGES 3 /* of a sender in one life of the channel */
#endif
#define SLOTS    2
#define CHANNELS (DEATHS + 1) /* lives of the channel, at most */
#define NOTHING  255

/* ---- shared memory: one channel for each life ---- */
typedef channel_memory { byte slot[SLOTS]; byte producer; byte consumer };
channel_memory memory[CHANNELS];
byte sleep_word; /* of the receiver's status page: odd while it sleeps. Outlives it */
bool bell;       /* the pipe: rung or not */

/* ---- store buffers: what was stored and nobody else sees yet ---- */
bool slot_waits, producer_waits; /* the sender's */
byte slot_place, slot_value, producer_value, sender_channel;
bool consumer_waits, sleep_waits; /* the receiver's */
byte consumer_value, sleep_value, receiver_channel;

/* ---- lives ---- */
byte life;                        /* of the channel: index of its memory */
byte deaths;
bool sender_lives, receiver_lives;
bool sender_ends, receiver_ends;  /* killed */
bool sender_over, receiver_over;  /* dead for certain */
bool tell_sender_lost, tell_receiver_lost, tell_sender_attached, tell_receiver_attached; /* the supervisor's messages */
bool sender_attached, receiver_attached;
byte published, pulled;           /* in this life of the channel, for the properties only */

#define MESSAGE(number) (life_of * 16 + (number))

inline drain_sender() {
    d_step {
        if :: slot_waits -> memory[sender_channel].slot[slot_place] = slot_value; slot_waits = false :: else fi;
        if :: producer_waits -> memory[sender_channel].producer = producer_value; producer_waits = false :: else fi
    }
}
inline drain_receiver() {
    d_step {
        if :: consumer_waits -> memory[receiver_channel].consumer = consumer_value; consumer_waits = false :: else fi;
        if :: sleep_waits -> sleep_word = sleep_value; sleep_waits = false :: else fi
    }
}

active proctype store_buffers() {
end:
    do
    :: d_step { slot_waits -> memory[sender_channel].slot[slot_place] = slot_value; slot_waits = false; slot_place = 0; slot_value = 0 }
    :: d_step { producer_waits -> memory[sender_channel].producer = producer_value; producer_waits = false; producer_value = 0 }
    :: d_step { consumer_waits -> memory[receiver_channel].consumer = consumer_value; consumer_waits = false; consumer_value = 0 }
    :: d_step { sleep_waits -> sleep_word = sleep_value; sleep_waits = false; sleep_value = 0 }
    od
}

/* ---- the sender: ring_put(), ring_flush(), doorbell_ring() ---- */
proctype sender() {
    byte head, ring_published, peer_consumed, life_of, word, rung_for = NOTHING, fresh;
    {
        sender_attached = false;
end_idle:
        do
        :: tell_sender_lost -> atomic { !slot_waits && !producer_waits ->
            head = 0; ring_published = 0; peer_consumed = 0;
            sender_attached = false; tell_sender_lost = false }
        :: tell_sender_attached -> atomic { !slot_waits && !producer_waits ->
            tell_sender_attached = false;
            life_of = life; sender_channel = life;
            head = 0; ring_published = 0; peer_consumed = 0;
            sender_attached = true }
        :: sender_attached && head < MESSAGES && head - peer_consumed < SLOTS -> /* ring_put(): slots first */
            atomic { !slot_waits -> slot_place = head % SLOTS; slot_value = MESSAGE(head); slot_waits = true; head++ }
        :: sender_attached && head < MESSAGES && head - peer_consumed == SLOTS && memory[life_of].consumer != peer_consumed ->
            atomic { /* (b), and what it says is checked */
                fresh = memory[life_of].consumer;
                assert(fresh - peer_consumed <= ring_published - peer_consumed);
                peer_consumed = fresh }
        :: sender_attached && ring_published != head ->
#ifndef NO_RELEASE
            !slot_waits; /* (A): release */
#endif
            atomic { !producer_waits -> producer_value = head; producer_waits = true; ring_published = head; published = head };
#ifndef NO_FENCE_RINGER
            !slot_waits && !producer_waits; /* (c) */
#endif
            word = sleep_word;
            if
#ifdef RING_ONCE
            :: (word & 1) != 0 && rung_for == NOTHING ->
#else
            :: (word & 1) != 0 && word != rung_for ->
#endif
                rung_for = word;
                bell = true
            :: else
            fi;
            word = 0
        od
    } unless { sender_ends };
    atomic { drain_sender(); sender_attached = false; sender_over = true }
}

/* ---- the receiver: a domain's loop with one port ---- */
inline look_at_index() { /* ring_available() */
    if
    :: receiver_attached && peer_produced == tail ->
        d_step {
            fresh = memory[life_of].producer; /* (a), and what it says is checked */
            assert(fresh - released <= SLOTS && fresh - released >= tail - released);
            peer_produced = fresh;
            fresh = 0
        }
    :: else
    fi
}

inline round() { /* a burst and the flush after it; `moved` says whether there was anything */
    moved = false;
    look_at_index();
    do
    :: receiver_attached && peer_produced != tail ->
#ifdef RELEASE_EARLY
        atomic { !consumer_waits -> consumer_value = tail + 1; consumer_waits = true };
#endif
        d_step {
            fresh = memory[life_of].slot[tail % SLOTS];
            assert(fresh / 16 == life_of); /* none of the old ones is taken as new */
            assert(fresh % 16 == tail);    /* in order, none lost, none twice */
            fresh = 0;
            tail++;
            pulled = tail;
            moved = true
        };
        look_at_index()
    :: else -> break
    od;
    if
    :: receiver_attached && released != tail ->
        atomic { !consumer_waits -> consumer_value = tail; consumer_waits = true; released = tail } /* (B) */
    :: else
    fi
}

inline sleep_word_set(value) {
    atomic { !sleep_waits -> sleep_value = value; sleep_waits = true; word = value }
}

proctype receiver() {
    byte tail, released, peer_produced, life_of, fresh, word;
    bool moved;
    {
        receiver_attached = false;
        /* grant_configure(): the word goes on from where it was */
#ifdef WORD_RESET
        word = 0;
#else
        word = (sleep_word | 1) + 1;
#endif
        sleep_word_set(word);
        do
        :: tell_receiver_lost -> /* all that the dead one had published, then it lets go */
            do
            :: round(); if :: moved :: else -> break fi
            od;
            atomic { !consumer_waits ->
                tail = 0; released = 0; peer_produced = 0; moved = false;
                receiver_attached = false; tell_receiver_lost = false }
        :: tell_receiver_attached -> atomic { !consumer_waits ->
            tell_receiver_attached = false;
            life_of = life; receiver_channel = life;
            tail = 0; released = 0; peer_produced = 0; pulled = 0;
            receiver_attached = true }
        :: !tell_receiver_lost && !tell_receiver_attached ->
            round();
            if
            :: moved
            :: else -> /* idle() */
                sleep_word_set(word | 1);
#ifndef NO_FENCE_SLEEPER
                !sleep_waits && !consumer_waits; /* (C) */
#endif
#ifndef NO_SECOND_LOOK
                look_at_index();
#endif
                if
                :: receiver_attached && peer_produced != tail
                :: else ->
end_asleep:
                    bell || tell_receiver_lost || tell_receiver_attached; /* ppoll */
                    bell = false
                fi;
#ifdef WORD_BOOLEAN
                sleep_word_set(0);
#else
                sleep_word_set((word | 1) + 1);
#endif
            fi
        od
    } unless { receiver_ends };
    atomic { drain_receiver(); receiver_attached = false; receiver_over = true }
}

/* ---- the supervisor: deaths, the barrier, a fresh channel ---- */
#define waits_for_acknowledgement (sender_lives && tell_sender_lost || receiver_lives && tell_receiver_lost)

active proctype supervisor() {
    sender_lives = true; receiver_lives = true;
    tell_sender_attached = true; tell_receiver_attached = true;
    run sender(); run receiver();
end_watching:
    do
    :: deaths < DEATHS && sender_lives ->
        sender_ends = true;
        sender_over;
        atomic {
            sender_lives = false; sender_over = false; sender_ends = false;
            tell_sender_lost = false; tell_sender_attached = false;
            deaths++;
            tell_receiver_lost = receiver_lives }
    :: deaths < DEATHS && receiver_lives ->
        receiver_ends = true;
        receiver_over;
        atomic {
            receiver_lives = false; receiver_over = false; receiver_ends = false;
            tell_receiver_lost = false; tell_receiver_attached = false;
            deaths++;
            tell_sender_lost = sender_lives;
            if /* status_clear(): nobody is to believe that it sleeps */
            :: (sleep_word & 1) != 0 -> sleep_word++
            :: else
            fi }
    :: atomic { (!sender_lives || !receiver_lives) && !waits_for_acknowledgement && !tell_sender_attached && !tell_receiver_attached ->
#ifndef OLD_CHANNEL
            life++;
#endif
            published = 0; pulled = 0;
            tell_sender_attached = true; tell_receiver_attached = true;
            if :: !sender_lives -> run sender() :: else fi;
            if :: !receiver_lives -> run receiver() :: else fi;
            sender_lives = true; receiver_lives = true }
    od
}

/* Nobody can do anything any more: then all was sent, and all of it has arrived. */
active proctype quiescence() {
    timeout ->
    assert(sender_lives && receiver_lives && sender_attached && receiver_attached);
    assert(published == MESSAGES);
    assert(pulled == MESSAGES)
}
