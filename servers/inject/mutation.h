// SPDX-License-Identifier: BSD-2-Clause
/* What a fault in the code makes of one instruction. Pure: bytes in, bytes out. */
#ifndef BULKHEAD_SERVERS_INJECT_MUTATION_H
#define BULKHEAD_SERVERS_INJECT_MUTATION_H

#include <capstone/capstone.h>
#include <stdbool.h>
#include <stdint.h>

#define INSTRUCTION_OCTETS 16 /* x86: 15 at most */

enum mutation {
    MUTATION_FLIP_TEXT,            /* one bit, whatever it does */
    MUTATION_NOP,                  /* the instruction is gone */
    MUTATION_BRANCH_INVERTED,      /* of a conditional branch */
    MUTATION_BRANCH_DROPPED,       /* a conditional branch is never taken */
    MUTATION_OPERAND,              /* another immediate value */
    MUTATION_REGISTER_SOURCE,      /* reads another register */
    MUTATION_REGISTER_DESTINATION, /* writes another register */
    MUTATION_POINTER,              /* another displacement of a memory operand */
    MUTATION_LOOP_BOUND,           /* a branch backwards, or the comparison before it, is off by one */
    MUTATION_INIT_MISSING,         /* a store to the stack frame at a function's start is gone */
    MUTATIONS
};

/* By the name of the fault; false: there is none. */
bool mutation_find(const char *name, enum mutation *ret);
/* Of the `at`th of the `count` instructions of a function, decoded with details by `decoder`: as many octets as it has.
 * Which of all that the class allows follows from `random`. False: the class has nothing for this instruction. */
bool mutation_make(csh decoder, enum mutation mutation, const cs_insn *code, size_t count, size_t at, uint64_t random,
                   uint8_t ret[INSTRUCTION_OCTETS]) __attribute__((warn_unused_result));

/* Control does not go on to the next instruction for certain. */
bool instruction_transfers(const cs_insn *instruction);

/* The next number of a sequence (splitmix64: Steele, Lea, Flood, OOPSLA 2014). */
uint64_t random_next(uint64_t *state);

#endif
