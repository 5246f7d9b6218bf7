// SPDX-License-Identifier: BSD-2-Clause
/* Any bytes in the peer's half of a channel, changed between any two operations: nothing outside our own half is
 * written, nothing outside the peer's half is read (ASan), and every call ends. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/port.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ring_half mine, peer;
    static struct capability entries[CAPABILITY_TABLE_MAX];
    struct port port;
    memset(&mine, 0, sizeof mine);
    memset(&peer, 0, sizeof peer);
    port_init(&port, entries);
    port_attach(&port, &mine, &peer, NULL);
    for (size_t at = 0; at + 9 <= size; at += 9) {
        const uint8_t *d = data + at;
        uint32_t word;
        struct message m = {.operation = d[1], .count = d[2], .cookie = d[3]};
        memcpy(&word, d + 5, sizeof word);
        switch (d[0] % 8) {
        case 0:
            peer.producer = d[1] & 1 ? word : port.ring.tail + d[2];
            break;
        case 1:
            peer.consumer = d[1] & 1 ? word : port.ring.peer_consumed + d[2];
            break;
        case 2:
            peer.slot[word % RING_SLOTS].octets[d[4] % MESSAGE_SLOT_OCTETS] = d[1];
            break;
        case 3:
            for (int n = d[1]; n > 0 && port_pull(&port, &m); n--)
                if (m.slot_count == 0 || m.slot_count > MESSAGE_SLOTS_MAX || m.count > MESSAGE_RETURNS_MAX)
                    abort();
            break;
        case 4:
            for (int n = d[4]; n > 0 && port_push(&port, &m); n--)
                ;
            break;
        case 5:
            port_flush(&port);
            break;
        case 6:
            if (port_space(&port) > RING_SLOTS)
                abort();
            break;
        default: /* a plausible message, so that deep checks are reached */
            memset(peer.slot[word % RING_SLOTS].octets, 0, MESSAGE_SLOT_OCTETS);
            peer.slot[word % RING_SLOTS].octets[0] = d[1] % 40;
            peer.slot[word % RING_SLOTS].octets[2] = d[2] % 4;
            peer.slot[word % RING_SLOTS].octets[3] = d[3] % 16;
        }
    }
    return 0;
}
