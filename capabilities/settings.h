// SPDX-License-Identifier: BSD-2-Clause
/* Files that people write (policy, configuration), read with libconfig: bounded, and every error is one line that names
 * file and line. */
#ifndef BULKHEAD_CAPABILITIES_SETTINGS_H
#define BULKHEAD_CAPABILITIES_SETTINGS_H

#include <libconfig.h>
#include <stddef.h>

#define SETTINGS_OCTETS_MAX 65536

struct settings {
    config_t config;
    const char *name; /* of the file, in errors */
    char *error;
    size_t error_size;
};

/* `text` NULL: reads the file `name`. 0 or a negative errno, with a line in ret_error. settings_fini() in either case.
 */
int settings_init(struct settings *settings, const char *name, const char *text, char *ret_error, size_t error_size)
    __attribute__((warn_unused_result));
void settings_fini(struct settings *settings);
/* "FILE:LINE: ..." of this setting into the error. -EINVAL. */
int settings_complain(const struct settings *settings, const config_setting_t *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
