// SPDX-License-Identifier: BSD-2-Clause
/* What the targets share: a check that tells where it failed, and a reader that takes the input apart. Behind its end
 * the input is zeros, so that every prefix of an input is one too. */
#ifndef BULKHEAD_TESTS_FUZZ_FUZZ_H
#define BULKHEAD_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define check(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct input {
    const uint8_t *at;
    size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void input_octets(struct input *in, void *ret, size_t count)
{
    size_t there = count < in->left ? count : in->left;
    memset(ret, 0, count);
    if (there > 0)
        memcpy(ret, in->at, there);
    in->at += there;
    in->left -= there;
}

static inline uint8_t input_8(struct input *in)
{
    uint8_t value;
    input_octets(in, &value, sizeof value);
    return value;
}

static inline uint16_t input_16(struct input *in)
{
    uint16_t value;
    input_octets(in, &value, sizeof value);
    return value;
}

static inline uint32_t input_32(struct input *in)
{
    uint32_t value;
    input_octets(in, &value, sizeof value);
    return value;
}

#endif
