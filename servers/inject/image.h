// SPDX-License-Identifier: BSD-2-Clause
/* The program that a process runs: its file against its memory, its functions, which of them are our own. */
#ifndef BULKHEAD_SERVERS_INJECT_IMAGE_H
#define BULKHEAD_SERVERS_INJECT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define IMAGE_SEGMENTS 8
#define IMAGE_ERROR    160

struct image_function {
    uint64_t address, octets; /* in the file's address space */
    const char *name;         /* the file's */
    bool own;                 /* compiled with debug information: ours, and no library's */
};

struct image_segment { /* loaded and never written: text, read-only data */
    uint64_t address, octets;
    const uint8_t *bytes;
    bool executable;
};

struct image {
    const uint8_t *file;
    size_t file_octets;
    uint64_t bias; /* address in the process less address in the file */
    struct image_segment segment[IMAGE_SEGMENTS];
    uint32_t segments;
    struct image_function *function; /* by address, no two at one */
    uint32_t functions;
    uint64_t own_octets;            /* of all own functions */
    uint64_t unwind, unwind_octets; /* section .eh_frame; 0: none */
};

/* Of a living process; `own`: also which functions are our own. 0, or a negative errno with one line in ret_error.
 * Everything lasts until the process ends. */
int image_open(pid_t pid, bool own, struct image *ret, char ret_error[IMAGE_ERROR]) __attribute__((warn_unused_result));
/* The octets of the file that are loaded at this address, if there are so many; or NULL. */
const uint8_t *image_bytes(const struct image *image, uint64_t address, uint64_t octets);
/* The function that has this address, or NULL. */
const struct image_function *image_function(const struct image *image, uint64_t address);
/* "tcp_input+0x31", or "?". */
void image_name(const struct image *image, uint64_t address, char *ret, size_t size);

#endif
