// SPDX-License-Identifier: BSD-2-Clause
/* TAP with IFF_VNET_HDR: each frame has a struct virtio_net_hdr before it that carries checksum and
 * segmentation offload, so that one read or write moves up to 64 KB. The kernel is the only one at
 * the other side of the descriptor; its header is checked all the same, since lengths are computed
 * from it. UDP segmentation (USO) is there since Linux 6.2, both families or neither: tried first.
 *
 * System calls once it is open: readv, writev. */
#include "netdrv/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static const struct {
    unsigned long flags;
    uint32_t can;
} offloads[] = {
    {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6, NETDRV_CAN_ALL},
    {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, NETDRV_CAN_CHECKSUM | NETDRV_CAN_TSO4 | NETDRV_CAN_TSO6},
};

static const uint8_t virtio_gso[] = {
    [MESSAGE_GSO_NONE] = VIRTIO_NET_HDR_GSO_NONE,
    [MESSAGE_GSO_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
    [MESSAGE_GSO_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
    [MESSAGE_GSO_UDP] = VIRTIO_NET_HDR_GSO_UDP_L4,
};
#define GSO_TYPES (sizeof virtio_gso / sizeof virtio_gso[0])

/* The best that this kernel has. 0, or a negative errno. */
static int offloads_set(int fd, uint32_t *ret_can)
{
    for (unsigned i = 0; i < sizeof offloads / sizeof offloads[0]; i++) {
        if (ioctl(fd, TUNSETOFFLOAD, offloads[i].flags) == 0) {
            *ret_can = offloads[i].can;
            return 0;
        }
    }
    return -errno;
}

int netdrv_tap_open(const char *name, uint32_t *ret_can)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof request.ifr_name)
        return -EINVAL;
    memcpy(request.ifr_name, name, length);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int header_octets = sizeof(struct virtio_net_hdr), result = 0;
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_octets) < 0)
        result = -errno;
    if (result == 0)
        result = offloads_set(fd, ret_can);
    if (result == 0)
        return fd;
    close(fd);
    return result;
}

static int gso_from_virtio(const struct virtio_net_hdr *h, struct netdrv_offload *ret)
{
    uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
    for (uint8_t i = 0; i < GSO_TYPES; i++) {
        if (virtio_gso[i] != type)
            continue;
        ret->gso_type = i;
        ret->gso_size = i == MESSAGE_GSO_NONE ? 0 : h->gso_size;
        return i != MESSAGE_GSO_NONE && h->gso_size == 0 ? NETDRV_MALFORMED : NETDRV_OK;
    }
    return NETDRV_MALFORMED;
}

/* Untrusted: h (device). */
static int offload_from_virtio(const struct virtio_net_hdr *h, uint32_t octets, struct netdrv_offload *ret)
{
    if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) {
        if ((uint32_t)h->csum_start + h->csum_offset + 2 > octets)
            return NETDRV_MALFORMED;
        ret->checksum_state = MESSAGE_CHECKSUM_PARTIAL;
        ret->checksum_start = h->csum_start;
        ret->checksum_offset = h->csum_offset;
    } else if ((h->flags & VIRTIO_NET_HDR_F_DATA_VALID) != 0) {
        ret->checksum_state = MESSAGE_CHECKSUM_VALID;
    }
    return gso_from_virtio(h, ret);
}

static int tap_receive(struct netdrv *driver, uint8_t *buffer, uint32_t *ret_octets, struct netdrv_offload *ret_offload)
{
    struct virtio_net_hdr h;
    struct iovec part[] = {{&h, sizeof h}, {buffer, NETDRV_FRAME_MAX}};
    ssize_t n = readv(driver->device, part, 2);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? NETDRV_NOTHING : -errno;
    if ((size_t)n <= sizeof h)
        return n == 0 ? -EIO : NETDRV_MALFORMED;
    struct netdrv_offload offload = {0};
    uint32_t octets = (uint32_t)n - (uint32_t)sizeof h;
    int result = offload_from_virtio(&h, octets, &offload);
    if (result != NETDRV_OK)
        return result;
    *ret_octets = octets;
    *ret_offload = offload;
    return NETDRV_OK;
}

static int tap_send(struct netdrv *driver, const struct netdrv_offload *offload, const struct iovec *part,
                    unsigned count)
{
    struct virtio_net_hdr h = {0};
    struct iovec gather[1 + NETDRV_PARTS_MAX] = {{&h, sizeof h}};
    if (offload->gso_type >= GSO_TYPES || count > NETDRV_PARTS_MAX)
        return NETDRV_MALFORMED;
    if (offload->checksum_state == MESSAGE_CHECKSUM_PARTIAL) {
        h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        h.csum_start = offload->checksum_start;
        h.csum_offset = offload->checksum_offset;
    }
    if (offload->gso_type != MESSAGE_GSO_NONE) {
        h.gso_type = virtio_gso[offload->gso_type];
        h.gso_size = offload->gso_size;
        h.hdr_len = offload->header_octets;
    }
    memcpy(gather + 1, part, count * sizeof *part);
    ssize_t n = writev(driver->device, gather, (int)count + 1);
    if (n >= 0)
        return NETDRV_OK;
    switch (errno) {
    case EAGAIN:
    case EINTR:
    case ENOBUFS:
    case ENOMEM:
        return NETDRV_FULL;
    case EIO: /* the interface is down */
        return NETDRV_DOWN;
    case EINVAL:
    case EFAULT:
    case EMSGSIZE:
        return NETDRV_MALFORMED;
    default:
        return -errno;
    }
}

const struct netdrv_operations netdrv_tap = {.receive = tap_receive, .send = tap_send};
