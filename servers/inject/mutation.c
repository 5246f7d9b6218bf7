// SPDX-License-Identifier: BSD-2-Clause
/* Most classes are found, not encoded: every change of one octet of the instruction is decoded, and those are taken
 * that differ from the original in just what the class says (one register that is written, one immediate value, ...),
 * with the same length and the same operation. So it is the decoder's word that a mutation is of its class. The few
 * that are a matter of one bit or of no-ops are written down. */
#include "servers/inject/mutation.h"

#include <string.h>

#define NOP            0x90
#define FRAME_MAKING   64 /* instructions at a function's start among which stores to its frame are initialisations */
#define CANDIDATES_MAX (INSTRUCTION_OCTETS * 255)

static const char *const names[MUTATIONS] = {
    [MUTATION_FLIP_TEXT] = "flip-text",
    [MUTATION_NOP] = "nop",
    [MUTATION_BRANCH_INVERTED] = "branch-inverted",
    [MUTATION_BRANCH_DROPPED] = "branch-dropped",
    [MUTATION_OPERAND] = "operand",
    [MUTATION_REGISTER_SOURCE] = "register-source",
    [MUTATION_REGISTER_DESTINATION] = "register-destination",
    [MUTATION_POINTER] = "pointer",
    [MUTATION_LOOP_BOUND] = "loop-bound",
    [MUTATION_INIT_MISSING] = "init-missing",
};

bool mutation_find(const char *name, enum mutation *ret)
{
    for (unsigned i = 0; i < MUTATIONS; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret = (enum mutation)i;
            return true;
        }
    }
    return false;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

/* ---- what an instruction is ---- */

static bool in_group(const cs_insn *instruction, unsigned group)
{
    for (uint8_t i = 0; i < instruction->detail->groups_count; i++)
        if (instruction->detail->groups[i] == group)
            return true;
    return false;
}

bool instruction_transfers(const cs_insn *instruction)
{
    static const unsigned groups[] = {CS_GRP_JUMP, CS_GRP_CALL, CS_GRP_RET, CS_GRP_INT, CS_GRP_IRET};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (in_group(instruction, groups[i]))
            return true;
    return instruction->id == X86_INS_HLT || instruction->id == X86_INS_UD2 || instruction->id == X86_INS_SYSCALL;
}

static bool is_nop(const cs_insn *instruction)
{
    return instruction->id == X86_INS_NOP || instruction->id == X86_INS_ENDBR64;
}

/* Where the octet with the condition is: 7x, or 0f 8x; -1: no conditional branch. */
static int condition_at(const cs_insn *instruction)
{
    const uint8_t *b = instruction->bytes;
    if ((b[0] & 0xf0) == 0x70)
        return 0;
    return b[0] == 0x0f && (b[1] & 0xf0) == 0x80 ? 1 : -1;
}

static bool leads_back(const cs_insn *instruction)
{
    return condition_at(instruction) >= 0 && instruction->detail->x86.op_count == 1 &&
           instruction->detail->x86.operands[0].type == X86_OP_IMM &&
           (uint64_t)instruction->detail->x86.operands[0].imm <= instruction->address;
}

static bool stores_to_frame(const cs_insn *instruction)
{
    const cs_x86_op *to = &instruction->detail->x86.operands[0];
    static const unsigned moves[] = {X86_INS_MOV,    X86_INS_MOVAPS, X86_INS_MOVUPS, X86_INS_MOVDQA,
                                     X86_INS_MOVDQU, X86_INS_MOVQ,   X86_INS_MOVHPS, X86_INS_MOVLPS};
    if (instruction->detail->x86.op_count != 2 || to->type != X86_OP_MEM ||
        (to->mem.base != X86_REG_RSP && to->mem.base != X86_REG_RBP))
        return false;
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++)
        if (instruction->id == moves[i])
            return true;
    return false;
}

/* ---- what two instructions differ in ---- */

static bool operand_equal(const cs_x86_op *a, const cs_x86_op *b)
{
    if (a->type != b->type || a->size != b->size || a->access != b->access)
        return false;
    switch (a->type) {
    case X86_OP_REG:
        return a->reg == b->reg;
    case X86_OP_IMM:
        return a->imm == b->imm;
    case X86_OP_MEM:
        return memcmp(&a->mem, &b->mem, sizeof a->mem) == 0;
    default:
        return true;
    }
}

/* The one operand that is another; -1: none, more, or another operation. */
static int operand_changed(const cs_insn *from, const cs_insn *to)
{
    const cs_x86 *a = &from->detail->x86, *b = &to->detail->x86;
    int changed = -1;
    if (from->id != to->id || from->size != to->size || a->op_count != b->op_count ||
        memcmp(a->prefix, b->prefix, sizeof a->prefix) != 0)
        return -1;
    for (uint8_t i = 0; i < a->op_count; i++) {
        if (operand_equal(&a->operands[i], &b->operands[i]))
            continue;
        if (changed >= 0)
            return -1;
        changed = i;
    }
    return changed;
}

static bool is_class(enum mutation mutation, const cs_insn *from, const cs_insn *to)
{
    int at = operand_changed(from, to);
    if (at < 0)
        return false;
    const cs_x86_op *a = &from->detail->x86.operands[at], *b = &to->detail->x86.operands[at];
    if (a->type != b->type || a->size != b->size)
        return false;
    switch (mutation) {
    case MUTATION_OPERAND:
        return a->type == X86_OP_IMM;
    case MUTATION_LOOP_BOUND:
        return a->type == X86_OP_IMM && (b->imm - a->imm == 1 || a->imm - b->imm == 1);
    case MUTATION_REGISTER_SOURCE:
        return a->type == X86_OP_REG && a->access == CS_AC_READ;
    case MUTATION_REGISTER_DESTINATION:
        return a->type == X86_OP_REG && (a->access & CS_AC_WRITE) != 0;
    case MUTATION_POINTER:
        return a->type == X86_OP_MEM && a->mem.base == b->mem.base && a->mem.index == b->mem.index &&
               a->mem.scale == b->mem.scale && a->mem.segment == b->mem.segment;
    default:
        return false;
    }
}

/* Whether to look at all: it costs thousands of decodings. */
static bool may_be_class(enum mutation mutation, const cs_insn *instruction)
{
    if (is_nop(instruction) || (mutation == MUTATION_OPERAND && instruction_transfers(instruction)))
        return false;
    for (uint8_t i = 0; i < instruction->detail->x86.op_count; i++) {
        const cs_x86_op *op = &instruction->detail->x86.operands[i];
        if (mutation == MUTATION_POINTER                                      ? op->type == X86_OP_MEM
            : mutation == MUTATION_OPERAND || mutation == MUTATION_LOOP_BOUND ? op->type == X86_OP_IMM
                                                                              : op->type == X86_OP_REG)
            return true;
    }
    return false;
}

/* ---- making it ---- */

static bool change_octet(csh decoder, enum mutation mutation, const cs_insn *from, uint64_t random, uint8_t *ret)
{
    uint16_t candidate[CANDIDATES_MAX];
    uint32_t count = 0;
    cs_insn *to = cs_malloc(decoder);
    if (to == NULL)
        return false;
    for (uint16_t at = 0; at < from->size; at++) {
        for (unsigned value = 1; value < 256; value++) {
            uint8_t octets[INSTRUCTION_OCTETS];
            const uint8_t *code = octets;
            size_t size = from->size;
            uint64_t address = from->address;
            memcpy(octets, from->bytes, from->size);
            octets[at] ^= (uint8_t)value;
            if (cs_disasm_iter(decoder, &code, &size, &address, to) && is_class(mutation, from, to))
                candidate[count++] = (uint16_t)(at << 8 | octets[at]);
        }
    }
    cs_free(to, 1);
    if (count == 0)
        return false;
    uint16_t chosen = candidate[random % count];
    ret[chosen >> 8] = (uint8_t)chosen;
    return true;
}

/* Less and less-or-equal, below and not-above: the loop runs once more, or once less. */
static bool bound_moved(const cs_insn *branch, uint8_t *ret)
{
    static const uint8_t pairs[][2] = {{0x2, 0x6}, {0x3, 0x7}, {0xc, 0xe}, {0xd, 0xf}};
    int at = condition_at(branch);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0] && at >= 0; i++) {
        for (unsigned side = 0; side < 2; side++) {
            if ((ret[at] & 0xf) != pairs[i][side])
                continue;
            ret[at] = (uint8_t)((ret[at] & 0xf0) | pairs[i][1 - side]);
            return true;
        }
    }
    return false;
}

static bool loop_bound(csh decoder, const cs_insn *code, size_t count, size_t at, uint64_t random, uint8_t *ret)
{
    if (leads_back(&code[at]))
        return bound_moved(&code[at], ret);
    return at + 1 < count && code[at].id == X86_INS_CMP && leads_back(&code[at + 1]) &&
           may_be_class(MUTATION_LOOP_BOUND, &code[at]) &&
           change_octet(decoder, MUTATION_LOOP_BOUND, &code[at], random, ret);
}

bool mutation_make(csh decoder, enum mutation mutation, const cs_insn *code, size_t count, size_t at, uint64_t random,
                   uint8_t ret[INSTRUCTION_OCTETS])
{
    const cs_insn *from = &code[at];
    int condition = condition_at(from);
    memcpy(ret, from->bytes, from->size);
    switch (mutation) {
    case MUTATION_FLIP_TEXT: {
        unsigned bit = (unsigned)(random % (from->size * 8U));
        ret[bit / 8] ^= (uint8_t)(1U << bit % 8);
        return true;
    }
    case MUTATION_NOP:
        memset(ret, NOP, from->size);
        return !is_nop(from);
    case MUTATION_BRANCH_INVERTED:
        if (condition >= 0)
            ret[condition] ^= 1;
        return condition >= 0;
    case MUTATION_BRANCH_DROPPED:
        memset(ret, NOP, from->size);
        return condition >= 0;
    case MUTATION_INIT_MISSING:
        memset(ret, NOP, from->size);
        return at < FRAME_MAKING && stores_to_frame(from);
    case MUTATION_LOOP_BOUND:
        return loop_bound(decoder, code, count, at, random, ret);
    default:
        return may_be_class(mutation, from) && change_octet(decoder, mutation, from, random, ret);
    }
}
