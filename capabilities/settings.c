// SPDX-License-Identifier: BSD-2-Clause
#include "capabilities/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int settings_complain(const struct settings *s, const config_setting_t *at, const char *format, ...)
{
    va_list values;
    int used = snprintf(s->error, s->error_size, "%.80s:%u: ", s->name, config_setting_source_line(at));
    va_start(values, format);
    if (used >= 0 && (size_t)used < s->error_size)
        vsnprintf(s->error + used, s->error_size - (size_t)used, format, values);
    va_end(values);
    return -EINVAL;
}

static int unreadable(struct settings *s, const char *why)
{
    snprintf(s->error, s->error_size, "%.80s: cannot be read: %s", s->name, why);
    return -EINVAL;
}

/* All of a file. libconfig is given a text and not the file: its scanner ends the process where a read fails. */
static int file_read(struct settings *s, char **ret)
{
    int fd = open(s->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *text = fd >= 0 ? malloc(SETTINGS_OCTETS_MAX + 1) : NULL;
    size_t length = 0;
    ssize_t n = text != NULL ? 1 : -1;
    while (n > 0 && length <= SETTINGS_OCTETS_MAX) {
        n = read(fd, text + length, SETTINGS_OCTETS_MAX + 1 - length);
        length += n > 0 ? (size_t)n : 0;
    }
    int result = n < 0 ? unreadable(s, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    if (result == 0 && length > SETTINGS_OCTETS_MAX)
        result = unreadable(s, "it is too long: at most 64 KiB");
    if (result == 0 && memchr(text, '\0', length) != NULL)
        result = unreadable(s, "it is no text");
    if (result < 0) {
        free(text);
        return result;
    }
    text[length] = '\0';
    *ret = text;
    return 0;
}

int settings_init(struct settings *s, const char *name, const char *text, char *ret_error, size_t error_size)
{
    char *own = NULL;
    *s = (struct settings){.name = name, .error = ret_error, .error_size = error_size};
    config_init(&s->config);
    int result = text == NULL ? file_read(s, &own) : 0;
    if (result < 0)
        return result;
    if (own != NULL && strstr(own, "@include") != NULL) {
        result = unreadable(s, "write everything in one file, without @include");
    } else if (config_read_string(&s->config, own != NULL ? own : text) != CONFIG_TRUE) {
        snprintf(ret_error, error_size, "%.80s:%d: %s: write name = value; and close what is open", name,
                 config_error_line(&s->config), config_error_text(&s->config));
        result = -EINVAL;
    }
    free(own);
    return result;
}

void settings_fini(struct settings *s)
{
    config_destroy(&s->config);
}
