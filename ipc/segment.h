// SPDX-License-Identifier: BSD-2-Clause
/* Segments: memfds sealed against resizing, with exactly one writing domain. The supervisor makes them and hands
 * out read-only descriptors to everyone else; a domain maps what it was granted. */
#ifndef BULKHEAD_IPC_SEGMENT_H
#define BULKHEAD_IPC_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>

/* A new zeroed segment, sealed against shrinking and growing, mode 0600, close-on-exec. Size is rounded up to pages.
 * Returns a read-write descriptor or a negative errno. */
int segment_create(const char *name, size_t size) __attribute__((warn_unused_result));
/* A second, read-only open file of the same segment (needs /proc: the supervisor only). Never waits: an application's
 * segment under a lease is -EWOULDBLOCK. Negative errno on failure. */
int segment_read_only(int fd) __attribute__((warn_unused_result));
/* Untrusted: fd (from an application). 0 if it is a memfd on tmpfs (not hugetlbfs), of exactly `size` octets, sealed
 * against shrinking and growing and not against writing; -EINVAL otherwise, or a negative errno. */
int segment_check(int fd, size_t size) __attribute__((warn_unused_result));
/* Untrusted: fd (from an application). Its seals are final from now on: what segment_check() says after this is said for
 * good, and who may map it writable today may tomorrow. 0, or -EINVAL: no segment, or not open for writing. */
int segment_seal(int fd) __attribute__((warn_unused_result));
/* Maps the first `size` octets shared. 0, or a negative errno: -EINVAL if it is smaller than `size`. */
int segment_map(int fd, size_t size, bool writable, void **ret) __attribute__((warn_unused_result));
void segment_unmap(void *memory, size_t size);
size_t segment_round(size_t size); /* up to whole pages */

#endif
