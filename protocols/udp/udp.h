// SPDX-License-Identifier: BSD-2-Clause
/* UDP, sans-I/O (RFC 768, RFC 1122 4.1): parse and build of the header, and the table of bound ports. A
 * datagram goes out in the call that sends it and nothing waits, so there is no poll and no deadline. */
#ifndef BULKHEAD_PROTOCOLS_UDP_UDP_H
#define BULKHEAD_PROTOCOLS_UDP_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocols/base/address.h"

#define UDP_NONE          UINT32_MAX /* "no socket" */
#define UDP_HEADER_LENGTH 8U
#define UDP_EPHEMERAL_MIN 32768U /* as Linux; RFC 6056 3.2 would have 1024 */
#define UDP_EPHEMERAL_MAX 60999U

/* One name for result, counter and test. `no_port` is for the caller that found nobody. */
#define UDP_DROPS(X)                                                                               \
    X(short)    /* fewer than 8 octets */                                                          \
    X(length)   /* below 8, or more than are there */                                              \
    X(port)     /* destination port zero */                                                        \
    X(checksum) /* RFC 1122 4.1.3.4: MUST silently discard */                                      \
    X(no_port)

enum udp_result {
    UDP_OK = 0,
#define X(name) UDP_DROP_##name,
    UDP_DROPS(X)
#undef X
    UDP_RESULTS
};

#define UDP_COUNTERS(X)                                                                            \
    X(datagrams_in) X(datagrams_out) X(without_checksum) X(drop_short) X(drop_length) X(drop_port) \
    X(drop_checksum) X(drop_no_port)

struct udp_counters {
#define X(name) uint64_t name;
    UDP_COUNTERS(X)
#undef X
};

/* ---- header ---- */
struct udp_header {
    uint16_t source_port; /* host order; 0: the sender wants no answer */
    uint16_t destination_port;
    uint16_t payload_length;
    bool has_checksum;
};

/* Untrusted: bytes (wire; a private copy of the header of a datagram of which `available` octets are there).
 * Octets behind the UDP length are ignored. UDP_OK, UDP_DROP_short, _length, _port; counted. *ret only with
 * UDP_OK. The checksum is udp_verify()'s. */
enum udp_result udp_parse(struct udp_counters *counters, const uint8_t *bytes, size_t captured,
                          size_t available, struct udp_header *ret) __attribute__((warn_unused_result));

/* Untrusted: bytes (the same copy), payload_sum (checksum_add() over the payload_length octets of payload).
 * RFC 768: a checksum of zero means none; IPv4 only (RFC 8200 8.1). UDP_OK, UDP_DROP_checksum; counted. */
enum udp_result udp_verify(struct udp_counters *counters, const struct ip_address *source,
                           const struct ip_address *destination, const uint8_t *bytes,
                           uint64_t payload_sum) __attribute__((warn_unused_result));

/* Both write 8 octets; payload_length at most 65527. `payload_sum` as above. The second leaves the folded
 * pseudo-header in the checksum field, for whoever finishes the sum below (start 0, offset 6). */
void udp_build(const struct ip_address *source, const struct ip_address *destination,
               const struct udp_header *header, uint64_t payload_sum, uint8_t *ret_bytes);
void udp_build_partial(const struct ip_address *source, const struct ip_address *destination,
                       const struct udp_header *header, uint8_t *ret_bytes);
/* RFC 768: no checksum; IPv4 only. */
void udp_build_unchecked(const struct udp_header *header, uint8_t *ret_bytes);

/* ---- the table of bound ports ---- */
struct udp_binding {
    struct ip_address bound; /* any: of its family; ADDRESS_NONE: any of both */
    struct ip_address local; /* the same, but while connected the address that is spoken from */
    struct ip_address remote; /* ADDRESS_NONE: not connected */
    uint16_t local_port; /* host order; 0: this place in the table is free */
    uint16_t remote_port;
    uint32_t owner; /* opaque */
    bool shared;    /* SO_REUSEADDR: may overlap others that are shared too; the last bound hears */
    uint64_t order; /* of binding: later ones are larger; never 0 */
    uint32_t next;  /* the engine's own: hash chain */
};

struct udp_config {
    uint32_t bindings; /* table size, 1 to 1 << 20 */
    uint8_t secret[16]; /* for ephemeral ports: the same for every incarnation */
};

struct udp; /* the engine */

enum udp_call_result {
    UDP_CALL_OK = 0,
    UDP_CALL_TABLE_FULL = 1,
    UDP_CALL_IN_USE = 2,
    UDP_CALL_NO_PORT = 3,  /* no ephemeral port is free */
    UDP_CALL_BAD_STATE = 4, /* no such binding, or a remote without address, port, or family in common */
};

size_t udp_size(const struct udp_config *config); /* octets of memory that udp_init() wants, aligned to 64 */
struct udp *udp_init(void *memory, const struct udp_config *config, uint64_t now_us);
struct udp_counters *udp_counters(struct udp *t);

/* local_port 0: an ephemeral one (RFC 6056 algorithm 1 with a keyed hash), read back with udp_binding_at().
 * OK, TABLE_FULL, IN_USE, NO_PORT. */
enum udp_call_result udp_bind(struct udp *t, const struct ip_address *local, uint16_t local_port,
                              bool shared, uint32_t owner, uint32_t *ret_index);
/* What `was` says, as it was in an earlier life: its owner, names, peer and order are kept, and nobody is asked whether the
 * port is free: who was bound may have been connected since, and has let others in. OK, TABLE_FULL, BAD_STATE. */
enum udp_call_result udp_restore(struct udp *t, const struct udp_binding *was, uint32_t *ret_index);
/* From here on only datagrams from `remote` are heard. `local` stands for an any-address that was bound to, as long as
 * it is connected; it and `remote` are of a family that was bound to. ADDRESS_NONE as remote takes the connection off
 * again. OK, BAD_STATE. */
enum udp_call_result udp_connect(struct udp *t, uint32_t index, const struct ip_address *local,
                                 const struct ip_address *remote, uint16_t remote_port);
/* OK, BAD_STATE. */
enum udp_call_result udp_unbind(struct udp *t, uint32_t index);
/* NULL: nothing is bound there. */
const struct udp_binding *udp_binding_at(const struct udp *t, uint32_t index);

/* The most specific binding that a datagram fits: connected before not, a local address before any, any of one family
 * before any of both, then the last bound. UDP_NONE: nobody (the caller counts drop_no_port). */
uint32_t udp_lookup(const struct udp *t, const struct ip_address *source, uint16_t source_port,
                    const struct ip_address *destination, uint16_t destination_port);
/* For a broadcast (RFC 1122 4.1.3: every socket that it fits): the next one after `previous`, UDP_NONE for the first. */
uint32_t udp_next(const struct udp *t, uint32_t previous, const struct ip_address *source, uint16_t source_port,
                  const struct ip_address *destination, uint16_t destination_port);

#endif
