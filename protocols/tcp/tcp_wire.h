// SPDX-License-Identifier: BSD-2-Clause
/* TCP on the wire (RFC 9293 3.1, options 3.2 and RFC 7323). */
#ifndef BULKHEAD_PROTOCOLS_TCP_TCP_WIRE_H
#define BULKHEAD_PROTOCOLS_TCP_TCP_WIRE_H

#include "protocols/base/wire.h"

struct tcp_header {
    be16 source_port;
    be16 destination_port;
    be32 sequence;
    be32 acknowledgement;
    uint8_t data_offset; /* in the upper four bits, 32-bit words */
    uint8_t flags;       /* TCP_FLAG_* */
    be16 window;
    be16 checksum;
    be16 urgent;
};
_Static_assert(sizeof(struct tcp_header) == 20, "RFC 9293 3.1");

enum tcp_flag {
    TCP_FLAG_FIN = 0x01,
    TCP_FLAG_SYN = 0x02,
    TCP_FLAG_RST = 0x04,
    TCP_FLAG_PSH = 0x08,
    TCP_FLAG_ACK = 0x10,
    TCP_FLAG_URG = 0x20,
    TCP_FLAG_ECE = 0x40,
    TCP_FLAG_CWR = 0x80,
};

enum tcp_option { /* kind */
    TCP_OPTION_END = 0,
    TCP_OPTION_NOP = 1,
    TCP_OPTION_MSS = 2,
    TCP_OPTION_WINDOW_SCALE = 3,
    TCP_OPTION_SACK_PERMITTED = 4, /* RFC 2018 2 */
    TCP_OPTION_SACK = 5,           /* RFC 2018 3 */
    TCP_OPTION_TIMESTAMPS = 8,
};

enum { /* length of an option, kind and length octets included */
    TCP_OPTION_MSS_LENGTH = 4,
    TCP_OPTION_WINDOW_SCALE_LENGTH = 3,
    TCP_OPTION_TIMESTAMPS_LENGTH = 10,
    TCP_OPTION_SACK_PERMITTED_LENGTH = 2,
    TCP_OPTION_SACK_LENGTH = 2, /* and 8 a block */
};

#define TCP_WINDOW_SCALE_MAX 14 /* RFC 7323 2.3 */

#endif
