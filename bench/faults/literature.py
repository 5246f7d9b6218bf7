# SPDX-License-Identifier: BSD-2-Clause
"""What each class of faults means, and where it is from."""
SOURCES = {
    "Rio": "W. T. Ng, P. M. Chen: The systematic improvement of fault tolerance in the Rio file cache. FTCS 1999",
    "EDFI": "C. Giuffrida, A. Kuijsten, A. S. Tanenbaum: EDFI: a dependable fault injection tool for dependability benchmarking experiments. PRDC 2013",
    "struck on read": "R. Barbosa, J. Vinter, P. Folkesson, J. Karlsson: Assembly-level pre-injection analysis for improving fault injection efficiency. EDCC 2005",
    "SWIFI": "M.-C. Hsueh, T. K. Tsai, R. K. Iyer: Fault injection techniques and tools. IEEE Computer 30(4), 1997"}
CLASSES = {
    "kill": ("the domain ends at once (SIGKILL)", "SWIFI: crash"),
    "segv": ("the domain ends by SIGSEGV", "SWIFI: crash"),
    "abort": ("the domain ends by SIGABRT", "SWIFI: crash"),
    "stop": ("the process is stopped", "SWIFI: timing"),
    "loop": ("its burst does not end", "EDFI: infinite loop"),
    "block": ("it sleeps for ever", "SWIFI: timing"),
    "slow": ("each burst takes 1 to 20 ms more", "SWIFI: timing"),
    "wild-write": ("a word of what it may write has another value: one in three anywhere, the others where it reads next", "Rio: copy overrun, wild pointer"),
    "flip-heap": ("one bit of its heap, in a word that it is about to read", "Rio: heap bit flip; struck on read"),
    "flip-stack": ("one bit of a live frame, in a word that it is about to read", "Rio: stack bit flip; struck on read"),
    "flip-store": ("one bit of a committed block of its store; it is killed at once, so that its next life reads that", "Rio: heap bit flip, where it is kept"),
    "flip-pool": ("one bit of a packet buffer that it has just filled", "Rio: heap bit flip, where it is shared"),
    "flip-ring": ("one bit of a message that it has just put into a ring to a neighbour", "Rio: heap bit flip, where it is shared"),
    "flip-arena": ("one bit of what it has just written to an application's receive memory", "Rio: heap bit flip, where it is shared"),
    "flip-text": ("one bit of an instruction that runs", "Rio: text bit flip"),
    "nop": ("an instruction is gone", "Rio: delete random instruction"),
    "branch-inverted": ("a condition is the other way round", "EDFI: inverted branch"),
    "branch-dropped": ("a branch is never taken", "Rio: delete branch"),
    "operand": ("another immediate operand", "EDFI: wrong value"),
    "register-source": ("an instruction reads another register", "Rio: source register"),
    "register-destination": ("an instruction writes another register", "Rio: destination register"),
    "pointer": ("another displacement of a memory operand", "Rio: pointer corruption"),
    "loop-bound": ("a loop ends one turn early or late", "Rio: off by one; EDFI: loop fault"),
    "init-missing": ("a variable of a function is not initialised", "Rio: initialization"),
    "leak": ("buffers that come by are neither given back nor used", "EDFI: resource leak"),
    "mute": ("takes what comes, and says nothing more to a neighbour", "SWIFI: omission"),
    "flood": ("fills the ring to a neighbour with well-formed messages", "EDFI: resource exhaustion"),
    "exhaust": ("takes all of a quota", "EDFI: resource exhaustion"),
    "field": ("one field of a message has another value", "SWIFI: communication, corruption"),
    "drop": ("a message is lost", "SWIFI: communication, omission"),
    "duplicate": ("a message comes twice", "SWIFI: communication, duplication"),
    "reorder": ("two messages change places", "SWIFI: communication, order"),
    "replay": ("a message of an earlier incarnation", "SWIFI: communication, duplication"),
    "forge": ("a message names a capability that was never given", "SWIFI: communication, corruption"),
    "lost-bell": ("a message is there, and nobody is woken", "SWIFI: communication, omission")}
OUTCOMES = {
    "escaped": "somebody who is not the victim was harmed: died, was replaced, was changed, or stood still",
    "wrong data": "octets came that were not sent, or acknowledged ones did not",
    "service lost": "no service any more, and a restart by hand does not help",
    "service lost until restart": "no service until somebody restarts the server by hand",
    "connections lost": "reachable again; established connections broke",
    "hang": "reachable again; established connections do not move any more",
    "degraded": "all goes on, below 0.7 of the normal rate or after a longer pause than a restart explains",
    "transparent": "the victim was restarted or a channel of its own stopped; applications saw nothing but time",
    "no effect": "activated, and nothing was seen of it",
    "not activated": "the fault was never executed, read or sent: counts in no rate"}
CARRIES = ("whoever carries octets can forge them (DESIGN section 3): what is changed behind the last checksum is delivered as it is; checksums end to end, as TLS "
           "has them, would tell")
WRONG_DATA = {  # where the fault is: how wrong octets come of it
    "flip-arena": "the bit is in the application's own receive memory, behind the last check that the stack makes: no part of it reads that again",
    "flip-pool": "the bit is in a frame or header whose checksum has been verified, or is still to be computed over what is there then: " + CARRIES,
    "flip-store": "the next life goes on from a block in which a checksum of 64 bits did not find the damage, or without what the block said: to be looked into",
    "message": "a message can say that a checksum was verified, or name a buffer that is in use for something else: " + CARRIES,
    "resource": "among random messages are some that say that a checksum was verified, or name a buffer that has been used again: " + CARRIES,
    "private": "the server works on with a wrong position, length or pointer, or without a step, in the octets that it was handed: " + CARRIES,
    "shared": "the word is in memory that the server shares with others, among octets on their way: " + CARRIES,
    "other": "no fault of this class should bring wrong octets: to be looked into"}


def wrong_data(run):
    """How wrong data can come of this run's fault, in a sentence. It follows from class and place; the run itself is not traced."""
    name, group = run["class"], run["group"]
    if name == "wild-write":
        shared = any(f" {kind}:0x" in run.get("activation", "") for kind in ("pool", "ring", "arena"))
        return WRONG_DATA["shared" if shared else "private"]
    if name in ("flip-heap", "flip-stack") or group == "code":
        return WRONG_DATA["private"]
    return WRONG_DATA["message" if name == "flip-ring" else name if name in WRONG_DATA else group if group in WRONG_DATA else "other"]
