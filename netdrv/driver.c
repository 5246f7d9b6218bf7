// SPDX-License-Identifier: BSD-2-Clause
#include "netdrv/driver.h"

#include <stddef.h>

bool netdrv_init(struct netdrv *driver, const struct netdrv_grant *grant, int device)
{
    static const struct netdrv_operations *const operations[NETDRV_KINDS] = {
        [NETDRV_TAP] = &netdrv_tap, [NETDRV_WIRE] = &netdrv_wire};
    if (grant->kind >= NETDRV_KINDS || device < 0)
        return false;
    driver->operations = operations[grant->kind];
    driver->device = device;
    driver->can = grant->can;
    if (driver->operations->changed != NULL)
        driver->operations->changed(driver, grant);
    return true;
}
