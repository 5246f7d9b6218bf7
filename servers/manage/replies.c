// SPDX-License-Identifier: BSD-2-Clause
#include "servers/manage/replies.h"

#include <stdlib.h>

const struct kept_reply *replies_find(const struct replies *replies, uint64_t id)
{
    for (unsigned i = 0; i < REPLIES_KEPT; i++)
        if (id != 0 && replies->reply[i].id == id)
            return &replies->reply[i];
    return NULL;
}

void replies_keep(struct replies *replies, uint64_t id, uint8_t *bytes, size_t octets)
{
    struct kept_reply *oldest = &replies->reply[replies->next];
    free(oldest->bytes);
    *oldest = (struct kept_reply){.id = id, .octets = octets, .bytes = bytes};
    replies->next = (replies->next + 1) % REPLIES_KEPT;
}
