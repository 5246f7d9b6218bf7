// SPDX-License-Identifier: BSD-2-Clause
/* What each class of code fault makes of given instructions: only what its name says, and never longer. */
#include <string.h>

#include "servers/inject/mutation.h"
#include "tests/unit/suite.h"

#define ADDRESS 0x1000U
#define SEEDS   64

static csh decoder;

static void setup(void)
{
    ck_assert_int_eq(cs_open(CS_ARCH_X86, CS_MODE_64, &decoder), CS_ERR_OK);
    ck_assert_int_eq(cs_option(decoder, CS_OPT_DETAIL, CS_OPT_ON), CS_ERR_OK);
}

static void teardown(void)
{
    cs_close(&decoder);
}

struct code {
    uint8_t octets[64];
    size_t count;
};
#define CODE(...)                                                                                                      \
    (struct code)                                                                                                      \
    {                                                                                                                  \
        {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})                                                                \
    }

/* Of the `at`th instruction; what is made of it is decoded to *ret_text. */
static bool make(enum mutation mutation, struct code code, size_t at, uint64_t random, uint8_t *ret, char *ret_text)
{
    cs_insn *from = NULL, *to = NULL;
    size_t count = cs_disasm(decoder, code.octets, code.count, ADDRESS, 0, &from);
    ck_assert_uint_gt(count, at);
    uint8_t octets[INSTRUCTION_OCTETS];
    memset(octets, 0xee, sizeof octets);
    bool made = mutation_make(decoder, mutation, from, count, at, random, octets);
    for (size_t i = from[at].size; i < sizeof octets; i++)
        ck_assert_uint_eq(octets[i], 0xee); /* no longer than it was */
    memcpy(ret, octets, from[at].size);
    ret_text[0] = '\0';
    size_t decoded = made ? cs_disasm(decoder, octets, from[at].size, from[at].address, 1, &to) : 0;
    if (decoded > 0) {
        ck_assert(mutation == MUTATION_FLIP_TEXT || to->size <= from[at].size);
        snprintf(ret_text, 100, "%.20s %.70s", to->mnemonic, to->op_str);
        cs_free(to, decoded);
    }
    cs_free(from, count);
    return made;
}

static const struct exact_row {
    const char *name;
    enum mutation mutation;
    struct code code;
    size_t at;
    const char *becomes; /* NULL: nothing for this class */
} exact[] = {
    {"je short", MUTATION_BRANCH_INVERTED, {{0x74, 0x10}, 2}, 0, "jne 0x1012"},
    {"jae near", MUTATION_BRANCH_INVERTED, {{0x0f, 0x83, 0x10, 0, 0, 0}, 6}, 0, "jb 0x1016"},
    {"jmp is not conditional", MUTATION_BRANCH_INVERTED, {{0xeb, 0x10}, 2}, 0, NULL},
    {"dropped", MUTATION_BRANCH_DROPPED, {{0x0f, 0x85, 0x10, 0, 0, 0}, 6}, 0, "nop "},
    {"call is not dropped", MUTATION_BRANCH_DROPPED, {{0xe8, 0, 0, 0, 0}, 5}, 0, NULL},
    {"mov gone", MUTATION_NOP, {{0x48, 0x89, 0xc3}, 3}, 0, "nop "},
    {"a nop stays", MUTATION_NOP, {{0x0f, 0x1f, 0x40, 0x00}, 4}, 0, NULL},
    {"store to the frame", MUTATION_INIT_MISSING, {{0x48, 0x89, 0x45, 0x98}, 4}, 0, "nop "},
    {"load from the frame", MUTATION_INIT_MISSING, {{0x48, 0x8b, 0x45, 0x98}, 4}, 0, NULL},
    {"store elsewhere", MUTATION_INIT_MISSING, {{0x48, 0x89, 0x47, 0x98}, 4}, 0, NULL},
    {"jl back", MUTATION_LOOP_BOUND, {{0x7c, 0xfe}, 2}, 0, "jle 0x1000"},
    {"ja back", MUTATION_LOOP_BOUND, {{0x77, 0xfe}, 2}, 0, "jae 0x1000"},
    {"jne back has no bound", MUTATION_LOOP_BOUND, {{0x75, 0xfe}, 2}, 0, NULL},
    {"jl forward is no loop", MUTATION_LOOP_BOUND, {{0x7c, 0x10}, 2}, 0, NULL},
    {"cmp before no loop", MUTATION_LOOP_BOUND, {{0x83, 0xf8, 0x10, 0x75, 0x10}, 5}, 0, NULL},
    {"no immediate", MUTATION_OPERAND, {{0x48, 0x89, 0xc3}, 3}, 0, NULL},
    {"a branch's target is no operand", MUTATION_OPERAND, {{0x74, 0x10}, 2}, 0, NULL},
    {"no pointer", MUTATION_POINTER, {{0x48, 0x89, 0xc3}, 3}, 0, NULL},
    {"no source register", MUTATION_REGISTER_SOURCE, {{0xb8, 1, 0, 0, 0}, 5}, 0, NULL},
    {"no destination register", MUTATION_REGISTER_DESTINATION, {{0x39, 0xc3}, 2}, 0, NULL},
};

START_TEST(test_exact)
{
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        const struct exact_row *row = &exact[i];
        uint8_t octets[INSTRUCTION_OCTETS];
        char text[100];
        bool made = make(row->mutation, row->code, row->at, 1, octets, text);
        ck_assert_msg(made == (row->becomes != NULL), "%s: %d", row->name, made);
        if (made)
            ck_assert_msg(strcmp(text, row->becomes) == 0, "%s: %s", row->name, text);
    }
}
END_TEST

/* The text of a mutation over many seeds: begins and ends so, is never the original, and is not always the same. */
static void expect_all(enum mutation mutation, struct code code, const char *original, const char *begins,
                       const char *ends)
{
    char first[100] = "", text[100];
    unsigned others = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint8_t octets[INSTRUCTION_OCTETS], again[INSTRUCTION_OCTETS];
        char same[100];
        ck_assert_msg(make(mutation, code, 0, seed * 7919, octets, text), "%s", original);
        ck_assert_str_ne(text, original);
        ck_assert_msg(strncmp(text, begins, strlen(begins)) == 0, "%s", text);
        ck_assert_msg(strlen(text) >= strlen(ends) && strcmp(text + strlen(text) - strlen(ends), ends) == 0, "%s",
                      text);
        ck_assert(make(mutation, code, 0, seed * 7919, again, same));
        ck_assert_str_eq(text, same); /* the seed says it all */
        if (seed == 0)
            strcpy(first, text);
        others += strcmp(first, text) != 0;
    }
    ck_assert_uint_gt(others, 0);
}

START_TEST(test_register)
{
    expect_all(MUTATION_REGISTER_SOURCE, CODE(0x48, 0x89, 0xc3), "mov rbx, rax", "mov rbx, r", "");
    expect_all(MUTATION_REGISTER_DESTINATION, CODE(0x48, 0x89, 0xc3), "mov rbx, rax", "mov r", ", rax");
    expect_all(MUTATION_REGISTER_DESTINATION, CODE(0x8b, 0x47, 0x08), "mov eax, dword ptr [rdi + 8]", "mov ",
               ", dword ptr [rdi + 8]");
}
END_TEST

START_TEST(test_operand)
{
    expect_all(MUTATION_OPERAND, CODE(0x83, 0xc1, 0x01), "add ecx, 1", "add ecx, ", "");
    expect_all(MUTATION_OPERAND, CODE(0xc7, 0x45, 0xf8, 5, 0, 0, 0), "mov dword ptr [rbp - 8], 5",
               "mov dword ptr [rbp - 8], ", "");
}
END_TEST

START_TEST(test_pointer)
{
    expect_all(MUTATION_POINTER, CODE(0x8b, 0x45, 0x98), "mov eax, dword ptr [rbp - 0x68]", "mov eax, dword ptr [rbp",
               "]");
}
END_TEST

START_TEST(test_loop_bound_compares)
{
    struct code code = CODE(0x83, 0xf8, 0x10, 0x75, 0xfb); /* cmp eax, 0x10; jne 0x1000 */
    unsigned more = 0, less = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint8_t octets[INSTRUCTION_OCTETS];
        char text[100];
        ck_assert(make(MUTATION_LOOP_BOUND, code, 0, seed, octets, text));
        more += strcmp(text, "cmp eax, 0x11") == 0;
        less += strcmp(text, "cmp eax, 0xf") == 0;
    }
    ck_assert_uint_eq(more + less, SEEDS);
    ck_assert(more > 0 && less > 0);
}
END_TEST

START_TEST(test_flip)
{
    struct code code = CODE(0x48, 0x89, 0xc3);
    for (uint64_t bit = 0; bit < 24; bit++) {
        uint8_t octets[INSTRUCTION_OCTETS] = {0};
        char text[100];
        ck_assert(make(MUTATION_FLIP_TEXT, code, 0, bit, octets, text));
        for (unsigned i = 0; i < 3; i++)
            ck_assert_uint_eq(octets[i] ^ code.octets[i], i == bit / 8 ? 1U << bit % 8 : 0);
    }
}
END_TEST

START_TEST(test_init_only_at_the_start)
{
    uint8_t octets[INSTRUCTION_OCTETS];
    uint8_t many[64 * 4 + 4];
    cs_insn *from = NULL;
    for (size_t i = 0; i < sizeof many; i += 4)
        memcpy(many + i, (uint8_t[]){0x48, 0x89, 0x45, 0x98}, 4);
    size_t count = cs_disasm(decoder, many, sizeof many, ADDRESS, 0, &from);
    ck_assert_uint_eq(count, 65);
    ck_assert(mutation_make(decoder, MUTATION_INIT_MISSING, from, count, 63, 0, octets));
    ck_assert(!mutation_make(decoder, MUTATION_INIT_MISSING, from, count, 64, 0, octets));
    cs_free(from, count);
}
END_TEST

START_TEST(test_transfers)
{
    struct {
        struct code code;
        bool transfers;
    } rows[] = {{CODE(0x74, 0x10), true}, {CODE(0xe8, 0, 0, 0, 0), true},  {CODE(0xc3), true}, {CODE(0xff, 0xe0), true},
                {CODE(0x0f, 0x0b), true}, {CODE(0x48, 0x89, 0xc3), false}, {CODE(0x90), false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cs_insn *from = NULL;
        size_t count = cs_disasm(decoder, rows[i].code.octets, rows[i].code.count, ADDRESS, 1, &from);
        ck_assert_uint_eq(count, 1);
        ck_assert_msg(instruction_transfers(from) == rows[i].transfers, "%s", from->mnemonic);
        cs_free(from, count);
    }
}
END_TEST

START_TEST(test_names)
{
    enum mutation mutation = MUTATIONS;
    ck_assert(mutation_find("loop-bound", &mutation));
    ck_assert_int_eq(mutation, MUTATION_LOOP_BOUND);
    ck_assert(!mutation_find("loop", &mutation));
}
END_TEST

SUITE_RUN("mutation", setup, teardown, test_exact, test_register, test_operand, test_pointer, test_loop_bound_compares,
          test_flip, test_init_only_at_the_start, test_transfers, test_names)
