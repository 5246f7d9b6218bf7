// SPDX-License-Identifier: BSD-2-Clause
/* The file of --config: the options of `up` by their names, a text each, or a list of texts where an option may be
 * repeated:
 *
 *     partition = "nic+ip|tcp|udp|socket";
 *     address = ["10.77.0.2/24", "fd77::2/64"]; */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "capabilities/settings.h"
#include "servers/supervisor/options.h"

static bool repeatable(const char *name)
{
    return strcmp(name, "address") == 0 || strcmp(name, "gateway") == 0 || strcmp(name, "route") == 0;
}

static int value_take(const struct settings *settings, const config_setting_t *at, const char *name,
                      struct options *options)
{
    char error[OPTIONS_ERROR] = "";
    const char *value = config_setting_get_string(at);
    if (value == NULL)
        return settings_complain(settings, at, "%s: write a text, as in %s = \"...\";", name, name);
    int result = options_set(options, name, value, error);
    if (result == -ENOENT)
        return settings_complain(settings, at, "'%.40s' is no setting: `bulkhead up --help` lists them", name);
    if (result < 0)
        return settings_complain(settings, at, "%s", strncmp(error, "--", 2) == 0 ? error + 2 : error);
    return 0;
}

static int setting_take(const struct settings *settings, const config_setting_t *at, struct options *options)
{
    const char *name = config_setting_name(at);
    int result = 0;
    if (!config_setting_is_array(at) && !config_setting_is_list(at))
        return value_take(settings, at, name, options);
    if (!repeatable(name))
        return settings_complain(settings, at, "'%.40s' takes no list: address, gateway and route do", name);
    for (int i = 0; i < config_setting_length(at) && result == 0; i++)
        result = value_take(settings, config_setting_get_elem(at, (unsigned)i), name, options);
    return result;
}

int options_read_file(const char *path, struct options *options, char ret_error[OPTIONS_ERROR])
{
    struct settings settings;
    int result = settings_init(&settings, path, NULL, ret_error, OPTIONS_ERROR);
    const config_setting_t *root = result == 0 ? config_root_setting(&settings.config) : NULL;
    for (int i = 0; result == 0 && i < config_setting_length(root); i++)
        result = setting_take(&settings, config_setting_get_elem(root, (unsigned)i), options);
    settings_fini(&settings);
    return result;
}
