// SPDX-License-Identifier: BSD-2-Clause
/* libbulkhead: sockets of the Bulkhead stack for an application. The calls are POSIX's with bh_ before their names: the same
 * arguments, results and errno, -1 on failure; what differs is said here. All are safe to call from several threads.
 *
 * The first call attaches the process to the stack (bh_attach). A descriptor of this library is not one of the kernel's: it
 * is at least BH_DESCRIPTOR_BASE, read(2) and close(2) do not know it, and bh_poll() takes both kinds. It is not inherited: the child of a
 * fork() attaches anew with its first call and has no sockets; exec keeps nothing.
 *
 * Addresses are struct sockaddr_in; sockaddr_in6 is refused with EAFNOSUPPORT for now. SIGPIPE is never raised.
 *
 * A connection that ended badly, by the peer's reset or because the TCP server was restarted, says so once (ECONNRESET, or
 * ETIMEDOUT and the like), after what had been received was read; from then on reads give end of file, writes EPIPE. When
 * the stack itself is gone every call says ENETDOWN: who waits learns it at once, who does not within 10 ms of its next call
 * that finds nothing to do. The first ones may still succeed and what they sent is lost, as with any connection that ends.
 *
 * While a server of the stack is being restarted, the calls that need it wait. A signal handler that runs meanwhile ends bh_socket(),
 * bh_bind(), bh_listen(), bh_accept(), bh_connect() and bh_setsockopt() with EINTR, half a second later if they are not done
 * by then (with SA_RESTART, too): a socket or connection that they would have made is closed, and what became of a
 * socket's name or option is not known: close it. */
#ifndef BULKHEAD_H
#define BULKHEAD_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BH_API __attribute__((visibility("default")))
#define BH_DESCRIPTOR_BASE (1 << 30)

static inline bool bh_is_descriptor(int fd)
{
    return fd >= BH_DESCRIPTOR_BASE;
}

/* ---- attachment ---- */

/* Attaches this process to the stack whose run directory this is; NULL: $BULKHEAD_RUN_DIR, else $XDG_RUNTIME_DIR/bulkhead,
 * else /run/bulkhead. 0 also if it is attached already (there is one attachment, to the first). -1: errno of connect(2) when no stack
 * answers there (ENOENT, ECONNREFUSED, EACCES), EPROTO when what answers is something else, or the stack's refusal. */
BH_API int bh_attach(const char *run_dir);

/* Sizes of what a socket may hold in flight: the slots of an arena and the octets of each slot's send and receive ring
 * (powers of two, 4 KiB to 4 MiB). They hold for arenas made from then on: set them before the first socket. The environment
 * variable BULKHEAD_ARENA="slots,send,receive" sets those of TCP. 0, or EINVAL. */
enum bh_option {
    BH_OPTION_TCP_SLOTS = 1,
    BH_OPTION_TCP_SEND_SIZE = 2,
    BH_OPTION_TCP_RECEIVE_SIZE = 3,
    BH_OPTION_UDP_SLOTS = 4,
    BH_OPTION_UDP_SEND_SIZE = 5,
    BH_OPTION_UDP_RECEIVE_SIZE = 6,
};
BH_API int bh_set_option(enum bh_option option, uint32_t value);

/* ---- sockets ---- */

/* domain AF_INET; type SOCK_STREAM or SOCK_DGRAM, with SOCK_NONBLOCK and SOCK_CLOEXEC (which is always so); protocol 0 or
 * the matching IPPROTO_*. */
BH_API int bh_socket(int domain, int type, int protocol);
BH_API int bh_bind(int fd, const struct sockaddr *address, socklen_t length);
BH_API int bh_listen(int fd, int backlog);
BH_API int bh_accept(int fd, struct sockaddr *ret_address, socklen_t *length);
BH_API int bh_accept4(int fd, struct sockaddr *ret_address, socklen_t *length, int flags);
BH_API int bh_connect(int fd, const struct sockaddr *address, socklen_t length);
/* Returns at once, also for data not sent yet: that goes on. If received data was not read the peer sees a reset. What holds a
 * port by its name (not a connection) is waited for, so that the port is free; half a second at most, while a server is being
 * restarted. A thread that waits in another call for this descriptor is woken: that call says EBADF, a bh_poll() POLLNVAL. */
BH_API int bh_close(int fd);
/* SHUT_RD affects this side only: reads give end of file, also those that wait already. Of a listener: bh_accept(), also one that
 * waits, says EINVAL until bh_listen() is called again; its port stays taken until bh_close(). */
BH_API int bh_shutdown(int fd, int how);
BH_API int bh_getsockname(int fd, struct sockaddr *ret_address, socklen_t *length);
BH_API int bh_getpeername(int fd, struct sockaddr *ret_address, socklen_t *length);
/* SOL_SOCKET: SO_REUSEADDR, SO_RCVTIMEO, SO_SNDTIMEO; get also SO_ERROR, SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN,
 * SO_SNDBUF, SO_RCVBUF. IPPROTO_TCP: TCP_NODELAY. Any other: ENOPROTOOPT. */
BH_API int bh_setsockopt(int fd, int level, int name, const void *value, socklen_t length);
BH_API int bh_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *length);
BH_API int bh_set_nonblocking(int fd, bool on);

/* ---- data ---- */

/* flags: MSG_DONTWAIT, MSG_NOSIGNAL (always so); receiving also MSG_PEEK, MSG_WAITALL (streams) and MSG_TRUNC (datagrams).
 * Any other: EOPNOTSUPP. A datagram of more than 1472 octets is refused with EMSGSIZE: nothing is fragmented yet. */
BH_API ssize_t bh_send(int fd, const void *data, size_t length, int flags);
BH_API ssize_t bh_recv(int fd, void *ret_data, size_t length, int flags);
BH_API ssize_t bh_sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address,
                         socklen_t address_length);
BH_API ssize_t bh_recvfrom(int fd, void *ret_data, size_t length, int flags, struct sockaddr *ret_address,
                           socklen_t *address_length);
BH_API ssize_t bh_writev(int fd, const struct iovec *piece, int count);
BH_API ssize_t bh_readv(int fd, const struct iovec *piece, int count);

/* Streams without a copy: the pieces point into the memory that the stack sends from and receives to. They are the
 * caller's until its next call for that direction of the socket; one thread at a time.
 *
 * bh_send_reserve() waits for room as bh_send() does and gives all there is: its total, in one or two pieces (ret_piece[1] may be
 * empty). bh_send_commit() sends the first `length` octets of it; EINVAL if that is more than was reserved.
 * bh_receive_peek() waits for data as bh_recv() does: the total, 0 at the end of file. bh_receive_consume() gives
 * `length` octets of it back; EINVAL if that is more than there is. */
BH_API ssize_t bh_send_reserve(int fd, struct iovec ret_piece[2], int flags);
BH_API int bh_send_commit(int fd, size_t length);
BH_API ssize_t bh_receive_peek(int fd, struct iovec ret_piece[2], int flags);
BH_API int bh_receive_consume(int fd, size_t length);

/* ---- waiting ---- */

/* poll(2), of this library's descriptors and the kernel's in one set. POLLIN, POLLOUT, POLLRDHUP and, unasked, POLLERR, POLLHUP,
 * POLLNVAL; POLLOUT means that a quarter of the send ring is free. Makes no system call when one of the library's is ready and the set has
 * none of the kernel's. */
BH_API int bh_poll(struct pollfd *set, nfds_t count, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
