// SPDX-License-Identifier: BSD-2-Clause
/* Capturing what crosses a channel: a wrapper around a port, with its two operations, and the segment to which it
 * copies. The segment has one writer, the domain of the port, which waits for nobody: what the reader has not fetched
 * in time is overwritten, and numbers in the records tell how much that was.
 *
 * Barriers, letters in capture.c: (F) the writer moves `claim`, release fence, writes, moves `head` with release; the
 * reader (f) loads `head` with acquire, copies, acquire fence, loads `claim`: it did not reach what was copied. */
#ifndef BULKHEAD_IPC_CAPTURE_H
#define BULKHEAD_IPC_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/port.h"

#define CAPTURE_OCTETS   (4U << 20) /* of records in the segment; a power of two */
#define CAPTURE_SNAP_MAX (128U << 10)
#define CAPTURE_PARTS    3
#define CAPTURE_INBOUND  1U /* from the wire, upwards */
#define CAPTURE_OUTBOUND 2U

/* As in the registry of link types of pcap and pcapng. */
enum capture_link { CAPTURE_ETHERNET = 1, CAPTURE_RAW_IP = 101, CAPTURE_MESSAGES = 147 };

struct capture_record { /* and `length` octets, padded to 8 */
    uint64_t sequence;
    uint64_t time_ns; /* CLOCK_REALTIME */
    uint32_t length;  /* captured */
    uint32_t original;
    uint32_t direction;
    uint32_t reserved;
};
_Static_assert(sizeof(struct capture_record) == 32, "layout");

struct capture_ring {            /* a segment: written by the domain that captures, read by the command */
    _Alignas(64) uint64_t claim; /* free-running octet counts: up to where records may be in the making */
    uint64_t head;               /* up to where they are whole */
    uint64_t sequence;           /* of the next record */
    uint32_t incarnation;        /* of the writer, 0: none has begun */
    uint32_t reserved;
    _Alignas(4096) uint8_t octets[CAPTURE_OCTETS];
};

struct capture_part {
    const void *octets;
    uint32_t length;
};

struct capture_writer { /* private */
    struct capture_ring *ring;
    uint64_t head, sequence;
    uint32_t snap;
};
/* Goes on where an earlier incarnation of the domain ended. */
void capture_writer_init(struct capture_writer *writer, struct capture_ring *ring, uint32_t snap, uint32_t incarnation);
void capture_write(struct capture_writer *writer, uint64_t time_ns, uint32_t direction, const struct capture_part *part,
                   unsigned count);

struct capture_reader { /* private */
    const struct capture_ring *ring;
    uint64_t tail, next; /* next: sequence */
    uint64_t lost;
};
/* From now on. */
void capture_reader_init(struct capture_reader *reader, const struct capture_ring *ring);
/* Untrusted: the ring. The next record and its octets (`buffer`: CAPTURE_SNAP_MAX). False: none. */
bool capture_read(struct capture_reader *reader, struct capture_record *ret, uint8_t *buffer);
/* What was lost in all, also of what is not read yet. */
uint64_t capture_lost(const struct capture_reader *reader);

/* ---- the wrapper ---- */
struct capture_port {
    const struct port_operations *inner;
    void *inner_wrapper;
    /* NULL: passes through. Called with every message that was pushed or pulled. */
    void (*record)(struct capture_port *capture, const struct message *message, bool pushed);
};
void capture_wrap(struct port *port, struct capture_port *capture);
/* True: the port is as it was before. False: another wrapper lies on top, so this one stays and passes through. */
bool capture_unwrap(struct port *port, struct capture_port *capture);

/* ---- asking for one: over RUNDIR/capture, SOCK_SEQPACKET ---- */
#define CAPTURE_MAGIC   0x42484b43U /* "BHKC" */
#define CAPTURE_CHANNEL 24

struct capture_request {
    uint32_t magic;
    uint32_t snap;                 /* 1..CAPTURE_SNAP_MAX */
    char channel[CAPTURE_CHANNEL]; /* "nic-ip" */
};
struct capture_answer { /* with a read-only descriptor of the segment, if error is 0 */
    uint32_t magic;
    int32_t error; /* errno value: EINVAL no such channel, EBUSY it is being captured, EPERM not the owner */
    uint32_t link; /* enum capture_link */
    uint32_t reserved;
};

#endif
