// SPDX-License-Identifier: BSD-2-Clause
/* The device is opened here and kept: nic is granted the descriptor and nothing else, so it can reach no other
 * interface, and frames that arrive while it is being restarted wait in the device. */
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
#define MTU_LEAST   576

static uint32_t device_mtu(const char *name)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int mtu = fd >= 0 && ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : MTU_DEFAULT;
    if (fd >= 0)
        close(fd);
    return mtu < MTU_LEAST ? MTU_LEAST : (uint32_t)mtu;
}

/* Locally administered, the same each time for one address, so that neighbours' caches stay true; never the kernel's
 * own at the other end of the TAP, which is random. */
static struct mac_address stack_mac(const struct ip_address *address)
{
    const uint8_t *o = address->octets;
    return (struct mac_address){{0x02, 0x42, 0x48, o[1], o[2], o[3]}};
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

int device_open(struct supervisor *s, char ret_error[OPTIONS_ERROR])
{
    s->device = netdrv_tap_open(s->options.device);
    if (s->device < 0) {
        snprintf(ret_error, OPTIONS_ERROR, "device tap:%s: %s", s->options.device, advice(-s->device));
        return s->device;
    }
    s->mtu = device_mtu(s->options.device);
    s->mac = stack_mac(&s->options.address[0]);
    return 0;
}
