// SPDX-License-Identifier: BSD-2-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>

#include "servers/cli/lab.h"

#define HOST_ADDRESS  "10.77.0.1"
#define HOST_NETMASK  "255.255.255.0"
#define HOST_ADDRESS6 "fd77::1"
#define HOST_PREFIX6  64
#define DEVICE_QUEUE                                                                                                   \
    2000U /* frames that wait for the stack: a TAP's 500 are fewer than a thousand peers send at once */

static void ifreq_name(struct ifreq *request, const char *device)
{
    memset(request, 0, sizeof(*request));
    snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", device);
}

static int interface_up(int fd, const char *device)
{
    struct ifreq request;
    ifreq_name(&request, device);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return -errno;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* The supervisor attaches to what is made here: the owner may, without any capability. */
static int tap_make(const char *device, uid_t owner)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct ifreq request;
    ifreq_name(&request, device);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    int result = 0;
    if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETOWNER, (unsigned long)owner) < 0 ||
        ioctl(fd, TUNSETPERSIST, 1UL) < 0)
        result = -errno;
    close(fd);
    return result;
}

static int ip4_set(int fd, const char *device, unsigned long operation, const char *text)
{
    struct ifreq request;
    struct sockaddr_in address = {.sin_family = AF_INET};
    ifreq_name(&request, device);
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        return -EINVAL;
    memcpy(&request.ifr_addr, &address, sizeof(address));
    return ioctl(fd, operation, &request) < 0 ? -errno : 0;
}

static int mtu_set(int fd, const char *device, int mtu)
{
    struct ifreq request;
    ifreq_name(&request, device);
    request.ifr_mtu = mtu;
    return ioctl(fd, SIOCSIFMTU, &request) < 0 ? -errno : 0;
}

/* By rtnetlink (man 7): the ioctl for it is for the first user namespace's root alone. */
static int queue_set(const char *device, uint32_t frames)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg link;
        struct rtattr attribute;
        uint32_t frames;
    } request = {
        .head = {.nlmsg_len = sizeof(request), .nlmsg_type = RTM_SETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .link = {.ifi_index = (int)if_nametoindex(device)},
        .attribute = {.rta_len = RTA_LENGTH(sizeof(request.frames)), .rta_type = IFLA_TXQLEN},
        .frames = frames};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr what;
    } answer = {0};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    int result = 0;
    if (send(fd, &request, sizeof(request), 0) < 0 || recv(fd, &answer, sizeof(answer), MSG_TRUNC) < 0)
        result = -errno;
    else if (answer.head.nlmsg_type != NLMSG_ERROR || answer.what.error != 0)
        result = answer.what.error < 0 ? answer.what.error : -EPROTO;
    close(fd);
    return result;
}

/* Without duplicate address detection the address is there at once. 0 too where the kernel has no IPv6. */
static int ip6_set(const char *device)
{
    char path[96];
    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_dad", device);
    int knob = open(path, O_WRONLY | O_CLOEXEC);
    if (knob < 0)
        return errno == ENOENT ? 0 : -errno;
    int result = write(knob, "0", 1) < 0 ? -errno : 0;
    close(knob);
    if (result < 0)
        return result;
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct in6_ifreq request = {.ifr6_prefixlen = HOST_PREFIX6, .ifr6_ifindex = (int)if_nametoindex(device)};
    if (inet_pton(AF_INET6, HOST_ADDRESS6, &request.ifr6_addr) != 1 || ioctl(fd, SIOCSIFADDR, &request) < 0)
        result = -errno;
    close(fd);
    return result;
}

static int failed(char ret_error[LAB_ERROR], const char *what, int result)
{
    snprintf(ret_error, LAB_ERROR, "%s: %s", what, strerror(-result));
    return result;
}

int lab_net_configure(const char *device, int mtu, uid_t owner, char ret_error[LAB_ERROR])
{
    int result = tap_make(device, owner);
    if (result < 0)
        return failed(ret_error, "cannot make the TAP device", result);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return failed(ret_error, "no IPv4 socket", -errno);
    result = interface_up(fd, "lo");
    if (result == 0)
        result = ip4_set(fd, device, SIOCSIFADDR, HOST_ADDRESS);
    if (result == 0)
        result = ip4_set(fd, device, SIOCSIFNETMASK, HOST_NETMASK);
    if (result == 0)
        result = queue_set(device, DEVICE_QUEUE);
    if (result == 0 && mtu != 0)
        result = mtu_set(fd, device, mtu);
    if (result == 0 && (mtu == 0 || mtu >= IPV6_MIN_MTU))
        result = ip6_set(device); /* before the link is up: nothing waits for detection */
    if (result == 0)
        result = interface_up(fd, device);
    close(fd);
    return result < 0 ? failed(ret_error, "cannot configure the lab's interfaces", result) : 0;
}
