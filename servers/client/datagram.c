// SPDX-License-Identifier: BSD-2-Clause
/* Datagrams: records in the rings of the socket's slot. A record lies in one piece at a multiple of DATAGRAM_STEP; one
 * of length DATAGRAM_WRAP stands for the rest of the ring. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

#define HEAD ((uint32_t)sizeof(struct datagram_record))

static uint32_t record_octets(uint32_t payload)
{
    return HEAD + ((payload + DATAGRAM_STEP - 1) & ~(DATAGRAM_STEP - 1));
}

/* ---- sending ---- */
/* Octets of the ring that a record takes from here, the wrap before it included. */
static uint32_t room_for(const struct socket *k, uint32_t record)
{
    uint32_t left = k->send_size - (k->send_head & (k->send_size - 1));
    return record <= left ? record : left + record;
}

static int datagram_room(struct session *s, struct socket *k, uint32_t record, int flags, int64_t deadline_us)
{
    for (;;) {
        if (socket_phase(k) != SOCKET_DATAGRAM || k->shut_write)
            return -EPIPE;
        int error = socket_take_error(k);
        if (error != 0)
            return -error;
        if (socket_view(k).space >= room_for(k, record))
            return 0;
        pthread_mutex_unlock(&k->send_lock);
        error = socket_wait(s, k, POLLOUT, flags, deadline_us);
        pthread_mutex_lock(&k->send_lock);
        if (error != 0)
            return error;
    }
}

static void datagram_write(struct session *s, struct socket *k, const struct datagram_record *record,
                           const struct iovec *piece, int count)
{
    static const uint32_t wrap = DATAGRAM_WRAP;
    uint32_t head = k->send_head;
    uint32_t place = head & (k->send_size - 1);
    if (record_octets(record->length) > k->send_size - place) {
        memcpy(k->send_ring + place, &wrap, sizeof wrap);
        head += k->send_size - place;
        place = 0;
    }
    memcpy(k->send_ring + place, record, HEAD);
    iovec_copy_in(k->send_ring, k->send_size, place + HEAD, record->length, piece, count, 0);
    socket_publish_send(s, k, head + record_octets(record->length));
}

ssize_t datagram_send(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags,
                      const struct ip_address *to, uint16_t to_port)
{
    int64_t deadline = socket_deadline_us(k->send_timeout_us);
    ssize_t total = iovec_total(piece, count);
    if (total < 0)
        return total;
    if (total > (ssize_t)DATAGRAM_PAYLOAD_MAX)
        return -EMSGSIZE;
    if (to == NULL && !k->connected)
        return -EDESTADDRREQ;
    struct datagram_record record = {.length = (uint32_t)total};
    if (to != NULL) {
        record.port = to_port;
        record.family = to->family;
        memcpy(record.octets, to->octets, sizeof record.octets);
    }
    int error = socket_bind_any(s, k);
    if (error != 0)
        return error;
    pthread_mutex_lock(&k->send_lock);
    error = datagram_room(s, k, record_octets(record.length), flags, deadline);
    if (error == 0)
        datagram_write(s, k, &record, piece, count);
    pthread_mutex_unlock(&k->send_lock);
    return error != 0 ? error : total;
}

/* ---- receiving ---- */
/* The next record, copied, with its place in the ring. False: there is none. Untrusted: the ring (from udp); one that
 * makes no sense is passed over with all that follows. */
static bool datagram_next(struct session *s, struct socket *k, struct datagram_record *ret, uint32_t *ret_place)
{
    for (int wraps = 0; wraps < 2; wraps++) {
        uint32_t available = socket_view(k).available;
        uint32_t place = k->receive_tail & (k->receive_size - 1);
        uint32_t left = k->receive_size - place;
        struct datagram_record r = {0};
        if (available == 0)
            return false;
        memcpy(&r, k->receive_ring + place, left < HEAD ? left : HEAD);
        if (r.length == DATAGRAM_WRAP && left <= available) {
            socket_publish_receive(s, k, k->receive_tail + left);
            continue;
        }
        if (r.length <= UINT16_MAX && record_octets(r.length) <= left && record_octets(r.length) <= available) {
            *ret = r;
            *ret_place = place;
            return true;
        }
        socket_publish_receive(s, k, k->receive_tail + available);
    }
    return false;
}

static int datagram_await(struct session *s, struct socket *k, struct datagram_record *ret, uint32_t *ret_place,
                          int flags, int64_t deadline_us)
{
    while (!datagram_next(s, k, ret, ret_place)) {
        int error = socket_take_error(k);
        if (error != 0)
            return -error;
        if (socket_phase(k) != SOCKET_DATAGRAM || __atomic_load_n(&k->shut_read, __ATOMIC_RELAXED))
            return -ESHUTDOWN;
        pthread_mutex_unlock(&k->receive_lock);
        error = socket_wait(s, k, POLLIN, flags, deadline_us);
        pthread_mutex_lock(&k->receive_lock);
        if (error != 0)
            return error;
    }
    return 0;
}

ssize_t datagram_receive(struct session *s, struct socket *k, const struct iovec *piece, int count, int flags,
                         struct ip_address *ret_from, uint16_t *ret_port)
{
    int64_t deadline = socket_deadline_us(k->receive_timeout_us);
    ssize_t total = iovec_total(piece, count);
    struct datagram_record r;
    uint32_t place;
    int error = total < 0 ? (int)total : socket_bind_any(s, k);
    if (error != 0)
        return error;
    pthread_mutex_lock(&k->receive_lock);
    error = datagram_await(s, k, &r, &place, flags, deadline);
    uint32_t copied = 0;
    if (error == 0) {
        copied = iovec_copy_out(k->receive_ring, k->receive_size, place + HEAD, r.length, piece, count, 0);
        *ret_from = (struct ip_address){.family = r.family};
        memcpy(ret_from->octets, r.octets, sizeof ret_from->octets);
        *ret_port = r.port;
        if ((flags & MSG_PEEK) == 0)
            socket_publish_receive(s, k, k->receive_tail + record_octets(r.length));
    }
    pthread_mutex_unlock(&k->receive_lock);
    if (error == -ESHUTDOWN)
        return 0;
    return error != 0 ? error : (flags & MSG_TRUNC) != 0 ? (ssize_t)r.length : (ssize_t)copied;
}
