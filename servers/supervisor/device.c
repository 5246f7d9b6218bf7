// SPDX-License-Identifier: BSD-2-Clause
/* The device is opened here (a wire: in wire.c) and kept: nic is granted the descriptor and nothing else, so it can
 * reach no other interface, and frames that arrive while it is being restarted wait in the device. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netdrv/driver.h"
#include "servers/supervisor/supervisor.h"

#define MTU_DEFAULT 1500

/* Gives the device the MTU that is wanted (0: any), if it has another. 0, with what it has now, or a negative errno. */
static int device_mtu(const char *name, uint32_t wanted, uint32_t *ret_mtu)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = 0;
    int mtu = fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : MTU_DEFAULT;
    if (wanted != 0 && mtu != (int)wanted) {
        request.ifr_mtu = mtu = (int)wanted;
        result = fd < 0 || ioctl(fd, SIOCSIFMTU, &request) < 0 ? -errno : 0;
    }
    if (fd >= 0)
        close(fd);
    if (result == 0)
        *ret_mtu = mtu < OPTIONS_MTU_LEAST ? OPTIONS_MTU_LEAST : (uint32_t)mtu;
    return result;
}

/* Locally administered, the same each time for one address, so that neighbours' caches stay true; never the kernel's
 * own at the other end of the TAP, which is random. */
static struct mac_address stack_mac(const struct ip_address *address)
{
    const uint8_t *o = address->octets + (address->family == ADDRESS_IP6 ? 12 : 0);
    return (struct mac_address){{0x02, 0x42, 0x48, o[1], o[2], o[3]}};
}

/* RFC 4291 2.1: all interfaces have a link-local address; its identifier is that of RFC 2464 4. */
static void link_local_add(struct options *o, const struct mac_address *mac)
{
    bool ip6 = false;
    for (uint32_t i = 0; i < o->address_count; i++) {
        const struct ip_address *a = &o->address[i];
        if (a->family == ADDRESS_IP6 && a->octets[0] == 0xfe && (a->octets[1] & 0xc0) == 0x80)
            return;
        ip6 = ip6 || a->family == ADDRESS_IP6;
    }
    if (!ip6)
        return;
    const uint8_t *m = mac->octets;
    o->address[o->address_count] =
        (struct ip_address){.family = ADDRESS_IP6,
                            .octets = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
    o->prefix_length[o->address_count++] = 64;
}

static const char *advice(int error)
{
    switch (error) {
    case ENOENT:
    case ENODEV:
        return "no /dev/net/tun here: load the tun module";
    case EPERM:
    case EACCES:
        return "not allowed: use `bulkhead lab`, run as root, or make it with `ip tuntap add mode tap user ...`";
    case EBUSY:
        return "in use by another program: give --driver tap:NAME";
    default:
        return strerror(error);
    }
}

static int tap_open(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    /* Who makes the interface knows that nobody else is on it yet. */
    if (!s->options.dad_given)
        s->options.dad = if_nametoindex(s->options.device) != 0 ? STACK_DAD_ON : STACK_DAD_OPTIMISTIC;
    s->device = netdrv_tap_open(s->options.device, &s->device_can);
    if (s->device < 0) {
        snprintf(ret_error, OPTIONS_ERROR, "device tap:%s: %s", s->options.device, advice(-s->device));
        return s->device;
    }
    int result = device_mtu(s->options.device, s->options.mtu, &s->mtu);
    if (result < 0)
        snprintf(ret_error, OPTIONS_ERROR, "--mtu %u: %s: set it with `ip link set %s mtu %u`", s->options.mtu,
                 strerror(-result), s->options.device, s->options.mtu);
    return result;
}

int device_open(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    if (s->options.driver == NETDRV_WIRE && !s->options.dad_given)
        s->options.dad = STACK_DAD_OPTIMISTIC; /* nobody but the other stack can be on it */
    s->mtu = s->options.mtu != 0 ? s->options.mtu : MTU_DEFAULT;
    int result = s->options.driver == NETDRV_WIRE ? wire_open(s, ret_error) : tap_open(s, ret_error);
    if (result < 0)
        return result;
    s->mac = stack_mac(&s->options.address[0]);
    link_local_add(&s->options, &s->mac);
    return 0;
}
