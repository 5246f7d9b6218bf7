// SPDX-License-Identifier: BSD-2-Clause
/* Faults that a domain does to itself when the supervisor says so (ToDomain.fault): those that are about what a server does, not
 * about its memory or its code, which a tracer changes from outside (servers/inject). For evaluation only; without that
 * message nothing of it runs. Classes after the literature: fail-stop, hang, resource and message faults as in EDFI
 * (Giuffrida et al., PRDC 2013) and in the fault models of Rio (Ng and Chen, FTCS 1999). The values are in control.proto. */
#ifndef BULKHEAD_IPC_INJECT_H
#define BULKHEAD_IPC_INJECT_H

enum inject_kind {
    INJECT_NONE = 0,
    /* hang */
    INJECT_LOOP = 1,       /* its burst does not end */
    INJECT_BLOCK = 2,      /* it sleeps for ever */
    INJECT_SLOW = 3,       /* each burst takes 1 to 20 ms more */
    /* resource */
    INJECT_LEAK = 8,       /* loans and buffers that come by are neither given back nor used */
    INJECT_MUTE = 9,       /* takes what comes, and says nothing more to the peer */
    INJECT_FLOOD = 10,     /* fills the ring to the peer with well-formed messages */
    INJECT_EXHAUST = 11,   /* takes all of a quota: buffers of its pool, slots, table entries */
    /* messages, of what it pushes to the peer */
    INJECT_FIELD = 16,     /* one field of a message has another value */
    INJECT_DROP = 17,
    INJECT_DUPLICATE = 18,
    INJECT_REORDER = 19,
    INJECT_REPLAY = 20,    /* a message of an earlier incarnation: old generations, old cookies */
    INJECT_FORGE = 21,     /* a capability that it was never given */
    INJECT_LOST_BELL = 22, /* published, and nobody is woken */
    INJECT_KINDS = 32
};

#endif
