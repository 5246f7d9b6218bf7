// SPDX-License-Identifier: BSD-2-Clause
/* Reads a policy as a person wrote it (libconfig; default.policy tells the words). */
#ifndef BULKHEAD_CAPABILITIES_POLICY_FILE_H
#define BULKHEAD_CAPABILITIES_POLICY_FILE_H

#include <stddef.h>

#include "capabilities/policy.h"

/* `path` NULL: the default policy, which is part of the program. 0, or a negative errno with "FILE:LINE: what is wrong
 * and what to write" (FILE alone if it cannot be read) in ret_error. */
int policy_file_read(const char *path, struct policy *ret, char *ret_error, size_t error_size)
    __attribute__((warn_unused_result));

#endif
