// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGE             4096U
#define POPULATED_OCTETS (96U << 10) /* rings, pages of words and counters */

size_t segment_round(size_t size)
{
    return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

int segment_create(const char *name, size_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)segment_round(size)) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int segment_read_only(int fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int copy = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return copy < 0 ? -errno : copy;
}

int segment_check(int fd, size_t size)
{
    struct stat st;
    struct statfs fs;
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return -errno;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC || st.st_size < 0 || (size_t)st.st_size != size)
        return -EINVAL;
    int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int unwanted = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    if ((seals & wanted) != wanted || (seals & unwanted) != 0)
        return -EINVAL;
    return 0;
}

int segment_seal(int fd)
{
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL); /* EPERM: its owner has done so */
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SEAL) != 0 ? 0 : -EINVAL;
}

int segment_map(int fd, size_t size, bool writable, void **ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (size == 0 || st.st_size < 0 || (size_t)st.st_size < size)
        return -EINVAL;
    int now = size <= POPULATED_OCTETS ? MAP_POPULATE : 0; /* one call is cheaper than a fault for each page */
    void *memory = mmap(NULL, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | now, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *ret = memory;
    return 0;
}

void segment_unmap(void *memory, size_t size)
{
    if (memory != NULL)
        munmap(memory, size);
}
