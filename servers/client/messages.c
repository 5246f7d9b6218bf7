// SPDX-License-Identifier: BSD-2-Clause
/* bh_sendmsg(), bh_recvmsg() and several at once: pieces, addresses, and as control data the TTL and traffic class of a
 * datagram. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "servers/client/bulkhead.h"
#include "servers/client/session.h"

/* ---- control data ---- */
/* An int, or an octet where IPv4 has always let it be one. -EINVAL. */
static int control_number(const struct cmsghdr *c, int least, uint8_t *ret)
{
    int number;
    size_t octets = c->cmsg_len - CMSG_LEN(0);
    if (octets == sizeof number)
        memcpy(&number, CMSG_DATA(c), sizeof number);
    else if (octets == 1 && c->cmsg_level == IPPROTO_IP)
        number = CMSG_DATA(c)[0];
    else
        return -EINVAL;
    if (number < least || number > UINT8_MAX)
        return -EINVAL;
    *ret = (uint8_t)number;
    return 0;
}

static int control_take(const struct cmsghdr *c, struct datagram_about *to)
{
    bool four = c->cmsg_level == IPPROTO_IP, six = c->cmsg_level == IPPROTO_IPV6;
    if ((four && c->cmsg_type == IP_TTL) || (six && c->cmsg_type == IPV6_HOPLIMIT))
        return control_number(c, 1, &to->ttl);
    if ((four && c->cmsg_type == IP_TOS) || (six && c->cmsg_type == IPV6_TCLASS)) {
        to->flags |= DATAGRAM_TRAFFIC_CLASS;
        return control_number(c, 0, &to->traffic_class);
    }
    return -EINVAL;
}

static int control_read(const struct msghdr *m, struct datagram_about *to)
{
    int error = 0;
    if (m->msg_control == NULL || m->msg_controllen < sizeof(struct cmsghdr))
        return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL && error == 0; c = CMSG_NXTHDR((struct msghdr *)m, c)) {
        size_t room = m->msg_controllen - (size_t)((uint8_t *)c - (uint8_t *)m->msg_control);
        error = c->cmsg_len < CMSG_LEN(0) || c->cmsg_len > room ? -EINVAL : control_take(c, to);
    }
    return error;
}

struct control_room {
    uint8_t *at;
    size_t left;
    bool truncated;
};

static void control_put(struct control_room *r, int level, int type, const void *value, size_t octets)
{
    struct cmsghdr head = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(octets)};
    if (r->left < head.cmsg_len) {
        r->truncated = true;
        return;
    }
    memcpy(r->at, &head, sizeof head);
    memcpy(r->at + CMSG_LEN(0), value, octets);
    size_t taken = CMSG_SPACE(octets) < r->left ? CMSG_SPACE(octets) : r->left;
    r->at += taken;
    r->left -= taken;
}

/* What the socket's options ask for, in Linux's order and sizes: IP_TOS is one octet, the others ints. */
static void control_write(const struct socket *k, const struct datagram_about *from, struct msghdr *m)
{
    struct control_room r = {.at = m->msg_control, .left = m->msg_control != NULL ? m->msg_controllen : 0};
    int ttl = from->ttl, class = from->traffic_class;
    bool four = from->address.family == ADDRESS_IP4;
    if (four && socket_option(k, OPTION_RECEIVE_TTL) != 0)
        control_put(&r, IPPROTO_IP, IP_TTL, &ttl, sizeof ttl);
    if (four && socket_option(k, OPTION_RECEIVE_TOS) != 0)
        control_put(&r, IPPROTO_IP, IP_TOS, &from->traffic_class, 1);
    if (!four && socket_option(k, OPTION_RECEIVE_HOPS) != 0)
        control_put(&r, IPPROTO_IPV6, IPV6_HOPLIMIT, &ttl, sizeof ttl);
    if (!four && socket_option(k, OPTION_RECEIVE_CLASS) != 0)
        control_put(&r, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof class);
    m->msg_controllen = (size_t)(r.at - (uint8_t *)m->msg_control);
    m->msg_flags |= r.truncated ? MSG_CTRUNC : 0;
}

/* ---- one ---- */
static ssize_t message_send(int fd, const struct msghdr *m, int flags)
{
    struct session *s;
    struct socket *k;
    struct datagram_about to = {0};
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (flags & ~SEND_FLAGS) != 0)
        error = -EOPNOTSUPP;
    if (error == 0 && m->msg_iovlen > INT_MAX)
        error = -EMSGSIZE;
    if (error != 0)
        return error;
    if (k->transport == SESSION_TCP)
        return m->msg_name != NULL ? -EISCONN : stream_send(s, k, m->msg_iov, (int)m->msg_iovlen, flags);
    if (m->msg_name != NULL)
        error = address_read_peer(k, m->msg_name, m->msg_namelen, &to.address, &to.port);
    if (error == 0)
        error = control_read(m, &to);
    return error != 0 ? error : datagram_send(s, k, m->msg_iov, (int)m->msg_iovlen, flags, &to);
}

static ssize_t stream_message(struct session *s, struct socket *k, struct msghdr *m, int flags)
{
    if ((flags & MSG_TRUNC) != 0)
        return -EOPNOTSUPP;
    ssize_t n = stream_receive(s, k, m->msg_iov, (int)m->msg_iovlen, flags);
    if (n >= 0) {
        m->msg_namelen = 0;
        m->msg_controllen = 0;
        m->msg_flags = 0;
    }
    return n;
}

static ssize_t message_receive(int fd, struct msghdr *m, int flags)
{
    struct session *s;
    struct socket *k;
    struct datagram_about from = {0};
    int error = socket_find(fd, &s, &k);
    if (error == 0 && (flags & ~(RECEIVE_FLAGS | MSG_CMSG_CLOEXEC)) != 0)
        error = -EOPNOTSUPP;
    if (error == 0 && m->msg_iovlen > INT_MAX)
        error = -EMSGSIZE;
    if (error != 0)
        return error;
    if (k->transport == SESSION_TCP)
        return stream_message(s, k, m, flags);
    ssize_t n = datagram_receive(s, k, m->msg_iov, (int)m->msg_iovlen, flags, &from);
    if (n < 0)
        return n;
    ssize_t room = iovec_total(m->msg_iov, (int)m->msg_iovlen);
    m->msg_flags = (ssize_t)from.length > room ? MSG_TRUNC : 0;
    if (m->msg_name != NULL)
        address_write(k, &from.address, from.port, m->msg_name, &m->msg_namelen);
    control_write(k, &from, m);
    return n;
}

ssize_t bh_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return bh_result(message == NULL ? -EFAULT : message_send(fd, message, flags));
}

ssize_t bh_recvmsg(int fd, struct msghdr *message, int flags)
{
    return bh_result(message == NULL ? -EFAULT : message_receive(fd, message, flags));
}

/* ---- several ---- */
int bh_sendmmsg(int fd, struct mmsghdr *message, unsigned count, int flags)
{
    unsigned done = 0;
    for (count = count < IOV_MAX ? count : IOV_MAX; done < count; done++) {
        ssize_t n = message_send(fd, &message[done].msg_hdr, flags);
        if (n < 0)
            return done > 0 ? (int)done : (int)bh_result(n);
        message[done].msg_len = (unsigned)n;
    }
    return (int)done;
}

int bh_recvmmsg(int fd, struct mmsghdr *message, unsigned count, int flags, struct timespec *timeout)
{
    unsigned done = 0;
    int64_t end = FOREVER;
    if (timeout != NULL)
        end = session_now_us() + (int64_t)timeout->tv_sec * 1000000 + timeout->tv_nsec / 1000;
    for (count = count < IOV_MAX ? count : IOV_MAX; done < count;) {
        ssize_t n = message_receive(fd, &message[done].msg_hdr, flags & ~MSG_WAITFORONE);
        if (n < 0)
            return done > 0 ? (int)done : (int)bh_result(n);
        message[done++].msg_len = (unsigned)n;
        if ((flags & MSG_WAITFORONE) != 0)
            flags |= MSG_DONTWAIT;
        if (end != FOREVER && session_now_us() >= end)
            break;
    }
    return (int)done;
}
