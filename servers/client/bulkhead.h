// SPDX-License-Identifier: BSD-2-Clause
/* libbulkhead: sockets of the Bulkhead stack for an application. The calls are POSIX's with bh_ before their names: the same
 * arguments, results and errno, -1 on failure; what differs is said here. All are safe to call from several threads.
 *
 * The first call attaches the process to the stack (bh_attach). A descriptor of this library is not one of the kernel's: it
 * is at least BH_DESCRIPTOR_BASE, read(2) and close(2) do not know it, and bh_poll() takes both kinds. It is not inherited: the child of a
 * fork() attaches anew with its first call and has no sockets; exec keeps nothing.
 *
 * Addresses are struct sockaddr_in on a socket of AF_INET and sockaddr_in6 on one of AF_INET6, where IPv4 is ::ffff:a.b.c.d unless
 * IPV6_V6ONLY is set. There is one link: sin6_scope_id is 0 or, for a link-local address, anything; else EINVAL. The any-address as a
 * destination is this host. SIGPIPE is never raised.
 *
 * A connection that ended badly, by the peer's reset or because the TCP server was restarted, says so once (ECONNRESET, or
 * ETIMEDOUT and the like), after what had been received was read; from then on reads give end of file, writes EPIPE. When
 * the stack itself is gone every call says ENETDOWN: who waits learns it at once, who does not within 10 ms of its next call
 * that finds nothing to do. The first ones may still succeed and what they sent is lost, as with any connection that ends.
 *
 * A datagram that is lost is nobody's error. What ICMP says for good of one that a connected datagram socket sent (ECONNREFUSED,
 * EACCES, EMSGSIZE ...) the next call on it that sends, receives or asks for SO_ERROR says once; until then it has POLLERR.
 *
 * A server that cannot start from what it knew starts knowing nothing (an event of the stack: cold). Its sockets from before are
 * gone then (those of the socket server are all there are; listeners go on when it is the TCP server): who waits on one, or uses it next, hears ECONNRESET once. From then on a stream says what it says after any
 * connection's end; a datagram socket and a listener, and what was neither connected nor bound, say EBADF, and the former two
 * have POLLERR and POLLHUP for good. The peers of streams are told by a reset. Close such descriptors and make new ones.
 *
 * A signal handler that runs in a thread ends its wait for data, room, a connection or readiness with EINTR, with SA_RESTART, too.
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

/* domain AF_INET or AF_INET6; type SOCK_STREAM or SOCK_DGRAM, with SOCK_NONBLOCK and SOCK_CLOEXEC (which is always so); protocol 0 or
 * the matching IPPROTO_*. */
BH_API int bh_socket(int domain, int type, int protocol);
BH_API int bh_bind(int fd, const struct sockaddr *address, socklen_t length);
/* Of one that listens already: its new backlog. At most 4,096. */
BH_API int bh_listen(int fd, int backlog);
BH_API int bh_accept(int fd, struct sockaddr *ret_address, socklen_t *length);
BH_API int bh_accept4(int fd, struct sockaddr *ret_address, socklen_t *length, int flags);
/* Of a datagram socket: may be called again; with AF_UNSPEC it has no peer any more. */
BH_API int bh_connect(int fd, const struct sockaddr *address, socklen_t length);
/* Returns at once (but see SO_LINGER), also for data not sent yet: that goes on. If received data was not read the peer sees a reset. What holds a
 * port by its name (not a connection) is waited for, so that the port is free; half a second at most, while a server is being
 * restarted. A thread that waits in another call for this descriptor is woken: that call says EBADF, a bh_poll() POLLNVAL. */
BH_API int bh_close(int fd);
/* SHUT_RD affects this side only: reads give end of file, also those that wait already. Of a listener: bh_accept(), also one that
 * waits, says EINVAL until bh_listen() is called again, and connections that wait for it are reset; its port stays taken until bh_close(), and
 * who connects meanwhile is reset at once (on Linux: refused). */
BH_API int bh_shutdown(int fd, int how);
BH_API int bh_getsockname(int fd, struct sockaddr *ret_address, socklen_t *length);
BH_API int bh_getpeername(int fd, struct sockaddr *ret_address, socklen_t *length);
/* SOL_SOCKET: SO_REUSEADDR, SO_RCVTIMEO, SO_SNDTIMEO, SO_KEEPALIVE, SO_RCVBUF, SO_SNDBUF, SO_LINGER, SO_OOBINLINE (1, whatever is set:
 *   urgent data is always in line); get also SO_ERROR, SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ACCEPTCONN. Datagrams: SO_BROADCAST,
 *   SO_NO_CHECK (IPv4 only). An accepted connection begins with all that was set on its listener. SO_ERROR of an attempt to
 *   connect that failed: the next bh_connect() makes another one (on Linux it first says ECONNABORTED).
 *   SO_REUSEADDR: as Linux among names that bind() gave; unlike there the connections of a listener that was closed, and
 *   ports that connect() chose, keep nobody from the name.
 *   SO_RCVBUF, SO_SNDBUF: the octets of the ring, the next power of two from 4 KiB to 4 MiB that holds as many; what is read back is
 *   that (Linux says twice what was set). To be set before a stream connects or listens (then it is for its connections) or
 *   a datagram socket gets a port: later it is accepted and changes nothing. Without: bh_set_option()'s. Memory comes in
 *   arenas for one pair of sizes each (16 in all), so a program does well to use few.
 *   SO_LINGER with 0 s: bh_close(), and the application's end, resets the connection, and what was not sent is lost. With more:
 *   bh_close() waits for so long at most, also on a non-blocking socket, until the peer has acknowledged all of it.
 * IPPROTO_TCP: TCP_NODELAY, TCP_CORK, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT, TCP_MAXSEG (88 to 32767, 0 none; get: once
 *   connected what is sent), TCP_QUICKACK (kept, and of no effect: RFC 9293 3.8.6.3 decides), TCP_CONGESTION ("cubic" or "reno", by default what the stack was
 *   started with; any other: ENOENT; also while connected);
 *   get also TCP_INFO (linux/tcp.h's, as much as there is room for; what the stack does not tell is 0; unacked is a bound).
 * IPPROTO_IP: IP_TTL and IP_TOS. Datagrams: IP_MTU_DISCOVER (IP_PMTUDISC_DONT, _WANT, _DO), IP_RECVTTL, IP_RECVTOS; get also IP_MTU
 *   of a connected one (ENOTCONN as long as it is not known).
 * IPPROTO_IPV6, of AF_INET6 sockets: IPV6_V6ONLY (before the socket has a name), IPV6_UNICAST_HOPS (1 to 255; -1 the default) and
 *   IPV6_TCLASS, each the same as its IPv4 namesake. Datagrams: IPV6_MTU_DISCOVER, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, and IPV6_MTU.
 * Any other: ENOPROTOOPT, such as SO_REUSEPORT (a port has one listener), SO_PRIORITY (there is one queue), TCP_DEFER_ACCEPT, TCP_SYNCNT,
 *   TCP_LINGER2, TCP_WINDOW_CLAMP. */
BH_API int bh_setsockopt(int fd, int level, int name, const void *value, socklen_t length);
BH_API int bh_getsockopt(int fd, int level, int name, void *ret_value, socklen_t *length);
BH_API int bh_set_nonblocking(int fd, bool on);
/* request, with a pointer to an int: FIONBIO (as bh_set_nonblocking()); FIONREAD (also SIOCINQ): octets to be read, of datagrams
 * those of the next one; SIOCOUTQ (TIOCOUTQ): octets in the send ring, sent or not, that are not acknowledged. The latter two
 * of a listener: EINVAL. Any other: ENOTTY. */
BH_API int bh_ioctl(int fd, unsigned long request, ...);

/* ---- data ---- */

/* flags: MSG_DONTWAIT, MSG_NOSIGNAL (always so); receiving also MSG_PEEK, MSG_WAITALL (streams; with MSG_PEEK a quarter of the
 * receive ring at most is waited for) and MSG_TRUNC
 * (datagrams: the whole length is told; streams: octets are counted, and gone without MSG_PEEK, but not given, as tcp(7) says).
 * Any other: EOPNOTSUPP. A datagram has up to 65,507 octets and, with its head of 32, fits into a send ring; else, or if it
 * would have to be fragmented and IP_MTU_DISCOVER is IP_PMTUDISC_DO, EMSGSIZE. One for which there is no room at the receiver is
 * lost. To 255.255.255.255 without SO_BROADCAST: EACCES; to a subnet's broadcast address the next call says so. */
BH_API ssize_t bh_send(int fd, const void *data, size_t length, int flags);
BH_API ssize_t bh_recv(int fd, void *ret_data, size_t length, int flags);
BH_API ssize_t bh_sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address,
                         socklen_t address_length);
BH_API ssize_t bh_recvfrom(int fd, void *ret_data, size_t length, int flags, struct sockaddr *ret_address,
                           socklen_t *address_length);
BH_API ssize_t bh_writev(int fd, const struct iovec *piece, int count);
BH_API ssize_t bh_readv(int fd, const struct iovec *piece, int count);

/* Control data, of datagrams only: IP_TTL, IP_TOS, IPV6_HOPLIMIT, IPV6_TCLASS. Received, if the options above ask for them and by the
 * family that the datagram came in; to be sent, for the one datagram, EINVAL for any other. */
BH_API ssize_t bh_sendmsg(int fd, const struct msghdr *message, int flags);
BH_API ssize_t bh_recvmsg(int fd, struct msghdr *message, int flags);
/* struct mmsghdr: with _GNU_SOURCE. The timeout is looked at between datagrams, as with recvmmsg(2). flags also MSG_WAITFORONE. */
struct mmsghdr;
struct timespec;
BH_API int bh_sendmmsg(int fd, struct mmsghdr *message, unsigned count, int flags);
BH_API int bh_recvmmsg(int fd, struct mmsghdr *message, unsigned count, int flags, struct timespec *timeout);

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

/* Datagrams without a copy: in the memory that the stack sends from and receives to; one thread at a time for each direction.
 *
 * bh_datagram_reserve() gives room for a payload of `length` octets, waiting for it as bh_send() does: where to write it, or
 * NULL and bh_sendto()'s errno. bh_datagram_commit() sends its first `length` octets; address NULL: to the peer. EINVAL if
 * nothing is reserved, or less: a commit that succeeds, the next reserve and every other call that sends on this socket end a
 * reservation, and what was written is not sent. Nothing is to be written there after the commit: it may or may not be what is
 * sent.
 *
 * bh_datagram_peek() waits for a datagram as bh_recv() does and says where the oldest one lies and who sent it (address and
 * length may be NULL). 0, or -1; ESHUTDOWN after bh_shutdown(). It is not to be written to, and stays until bh_datagram_consume()
 * gives it back; that says EINVAL if there was no peek, or another call that receives on this socket since. Both survive the
 * restart of any server. */
BH_API void *bh_datagram_reserve(int fd, size_t length, int flags);
BH_API int bh_datagram_commit(int fd, size_t length, const struct sockaddr *address, socklen_t address_length);
BH_API int bh_datagram_peek(int fd, struct iovec *ret_piece, int flags, struct sockaddr *ret_address, socklen_t *address_length);
BH_API int bh_datagram_consume(int fd);

/* ---- waiting ---- */

/* poll(2), of this library's descriptors and the kernel's in one set. POLLIN, POLLOUT, POLLRDHUP and, unasked, POLLERR, POLLHUP,
 * POLLNVAL. POLLOUT means that a quarter of a stream's send ring is free; of a datagram socket's half, or room for the largest, and
 * room for the one that the last call had none for. Makes no system call when one of the library's is ready and the set has none
 * of the kernel's. */
BH_API int bh_poll(struct pollfd *set, nfds_t count, int timeout_ms);

/* epoll(7), of this library's descriptors and the kernel's in one set: level- and edge-triggered (EPOLLET), EPOLLONESHOT;
 * EPOLLEXCLUSIVE is accepted and wakes all. The cost of waiting follows the sockets where something is new, not the size of the set. The instance is a
 * descriptor of this library: bh_close() ends it, and a bh_epoll_wait() that waits says EBADF. One epoll is not put into another (EINVAL),
 * nor into bh_poll() (POLLNVAL). An edge may be told again where nothing has changed since, never too seldom. A descriptor that is closed leaves every set. */
struct epoll_event;
BH_API int bh_epoll_create1(int flags); /* EPOLL_CLOEXEC (which is always so) */
BH_API int bh_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
BH_API int bh_epoll_wait(int epoll, struct epoll_event *ret_events, int most, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
