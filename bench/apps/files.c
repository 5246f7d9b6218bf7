// SPDX-License-Identifier: BSD-2-Clause
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/apps/httpd.h"

/* RESOLVE_BENEATH: "..", absolute links and links out of the directory are refused by the kernel (EXDEV). */
static int open_beneath(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

static unsigned status_of_errno(int error)
{
    static const struct {
        int error;
        unsigned status;
    } rows[] = {
        {ENOENT, 404}, {ENOTDIR, 404}, {ENAMETOOLONG, 414}, {EACCES, 403}, {EPERM, 403},  {EXDEV, 403},
        {ELOOP, 403},  {EROFS, 403},   {EISDIR, 403},       {ENOSPC, 507}, {EDQUOT, 507},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].error == error)
            return rows[i].status;
    return 500;
}

unsigned file_open(const struct httpd *h, const char *path, int *ret_file, struct version *ret_version)
{
    char index[HTTPD_PATH_MAX + 16];
    struct stat st;
    size_t n = strlen(path);
    if (n == 0 || path[n - 1] == '/') {
        snprintf(index, sizeof index, "%sindex.html", path);
        path = index;
    }
    int fd = open_beneath(h->root, path, O_RDONLY | O_NONBLOCK); /* not to wait for the writer of a FIFO */
    if (fd < 0)
        return status_of_errno(errno);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return 403;
    }
    *ret_file = fd;
    ret_version->size = st.st_size;
    ret_version->modified = st.st_mtim.tv_sec;
    snprintf(ret_version->tag, sizeof ret_version->tag, "\"%llx-%llx-%llx.%lx\"", (unsigned long long)st.st_ino,
             (unsigned long long)st.st_size, (unsigned long long)st.st_mtim.tv_sec, (unsigned long)st.st_mtim.tv_nsec);
    return 0;
}

unsigned upload_open(struct httpd *h, const char *path, struct upload *ret)
{
    char folder[HTTPD_PATH_MAX + 2] = ".";
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    if (h->read_only)
        return 403;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 403;
    if (strlen(name) >= sizeof ret->name)
        return 414;
    if (slash != NULL && slash != path)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    struct upload u = {.parent = open_beneath(h->root, folder, O_RDONLY | O_DIRECTORY), .file = -1};
    if (u.parent < 0)
        return status_of_errno(errno);
    snprintf(u.name, sizeof u.name, "%s", name);
    snprintf(u.temporary, sizeof u.temporary, ".bh-put-%ld-%llu", (long)getpid(), (unsigned long long)h->puts++);
    u.file = openat(u.parent, u.temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (u.file < 0) {
        unsigned status = status_of_errno(errno);
        close(u.parent);
        return status;
    }
    *ret = u;
    return 0;
}

unsigned upload_write(struct upload *u, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(u->file, data, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return status_of_errno(errno);
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

unsigned upload_finish(struct upload *u)
{
    struct stat st;
    unsigned status = fstatat(u->parent, u->name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? 204 : 201;
    if (close(u->file) < 0 || renameat(u->parent, u->temporary, u->parent, u->name) < 0) {
        status = status_of_errno(errno);
        unlinkat(u->parent, u->temporary, 0);
    }
    close(u->parent);
    u->parent = u->file = -1;
    return status;
}

void upload_abandon(struct upload *u)
{
    if (u->file < 0)
        return;
    close(u->file);
    unlinkat(u->parent, u->temporary, 0);
    close(u->parent);
    u->parent = u->file = -1;
}
