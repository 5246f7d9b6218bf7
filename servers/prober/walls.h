// SPDX-License-Identifier: BSD-2-Clause
#ifndef BULKHEAD_SERVERS_PROBER_WALLS_H
#define BULKHEAD_SERVERS_PROBER_WALLS_H

/* From here on only the system calls that libbulkhead needs once it is attached; another kills the process. 0 or a
 * negative errno. */
int walls_filter(void) __attribute__((warn_unused_result));

#endif
