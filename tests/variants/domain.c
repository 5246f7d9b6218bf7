// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead-domain, but for one thing: its stores have another version, its servers do not start, or only the first of a
 * domain does. */
#include <errno.h>
#include <unistd.h>

#include "servers/domain/domain.h"

enum variant { VARIANT_VERSION, VARIANT_INIT, VARIANT_GROUP };

static const struct server *const real[SERVER_COUNT] = {
    [SERVER_NIC] = &server_nic, [SERVER_IP] = &server_ip,         [SERVER_TCP] = &server_tcp,
    [SERVER_UDP] = &server_udp, [SERVER_SOCKET] = &server_socket,
};
static struct server changed[SERVER_COUNT];

static int init(void *state, const struct server_context *context, uint64_t now_us)
{
    static unsigned started;
    if (VARIANT == VARIANT_INIT || (VARIANT == VARIANT_GROUP && started++ > 0))
        return -ENOTSUP;
    return real[context->id]->init(state, context, now_us);
}

int main(void)
{
    const struct server *table[SERVER_COUNT];
    for (unsigned id = 0; id < SERVER_COUNT; id++) {
        changed[id] = *real[id];
        changed[id].init = init;
        changed[id].store_version += VARIANT == VARIANT_VERSION;
        table[id] = &changed[id];
    }
    _exit(domain_main(DOMAIN_CONTROL_FD, table));
}
