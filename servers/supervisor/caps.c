// SPDX-License-Identifier: BSD-2-Clause
/* The derivation tree, told to who asks: `bulkhead caps`. Trees in the order of their slots, each grant before what was
 * derived from it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "servers/supervisor/supervisor.h"

#define CAPS_IN_A_REPLY 200
#define NAME            64

static char *text_new(const char *text)
{
    char *copy = strdup(text);
    return copy != NULL ? copy : (char *)protobuf_c_empty_string;
}

static void holder_name(const struct supervisor *s, uint32_t holder, char ret[NAME])
{
    if (holder < s->domain_count)
        snprintf(ret, NAME, "%s", s->domain[holder].name);
    else if (holder == HOLDER_SUPERVISOR)
        snprintf(ret, NAME, "supervisor");
    else
        snprintf(ret, NAME, "session %u", holder - HOLDER_SESSION(0));
}

/* What its parts name. */
enum naming { PLAIN, SERVER, SERVERS, DOMAIN, SESSION, ARENA };

static void object_name(const struct supervisor *s, const struct registry_grant *g, char ret[NAME])
{
    static const struct {
        const char *name;
        enum naming naming;
    } types[OBJECT_TYPES] = {
        [OBJECT_POOL] = {"pool", SERVER},          [OBJECT_RING] = {"ring", SERVERS},
        [OBJECT_BELL] = {"bell", SERVER},          [OBJECT_STATUS] = {"status", SERVER},
        [OBJECT_COUNTERS] = {"counters", DOMAIN},  [OBJECT_STORE] = {"store", SERVER},
        [OBJECT_CRASH] = {"crash", DOMAIN},        [OBJECT_CAPTURE] = {"capture", SERVERS},
        [OBJECT_DEVICE] = {"device", PLAIN},       [OBJECT_LINK] = {"link", PLAIN},
        [OBJECT_TRANSPORT] = {"transport", PLAIN}, [OBJECT_SOCKET] = {"sockets", PLAIN},
        [OBJECT_SESSION] = {"session", SESSION},   [OBJECT_CONTROL] = {"control", SESSION},
        [OBJECT_ANSWER] = {"answer", SESSION},     [OBJECT_SESSION_BELL] = {"bell", SESSION},
        [OBJECT_SEND_ARENA] = {"tx-arena", ARENA}, [OBJECT_RECEIVE_ARENA] = {"rx-arena", ARENA},
    };
    const char *name = g->type < OBJECT_TYPES && types[g->type].name != NULL ? types[g->type].name : "?";
    const char *one = topology_server_name((enum server_id)g->part[0]);
    switch (g->type < OBJECT_TYPES ? types[g->type].naming : PLAIN) {
    case SERVER:
        snprintf(ret, NAME, "%s %s", name, one);
        break;
    case SERVERS:
        snprintf(ret, NAME, "%s %s>%s", name, one, topology_server_name((enum server_id)g->part[1]));
        break;
    case DOMAIN:
        snprintf(ret, NAME, "%s %.50s", name, g->part[0] < s->domain_count ? s->domain[g->part[0]].name : "?");
        break;
    case SESSION:
        snprintf(ret, NAME, "%s of %u", name, g->part[0]);
        break;
    case ARENA:
        snprintf(ret, NAME, "%s %u of %u", name, g->part[1], g->part[0]);
        break;
    default:
        snprintf(ret, NAME, "%s", name);
    }
}

static void rights_text(uint32_t rights, char ret[NAME])
{
    static const struct {
        uint32_t right;
        const char *name;
    } names[] = {{CAPABILITY_READ, "read"},       {CAPABILITY_WRITE, "write"},     {CAPABILITY_SEND, "send"},
                 {CAPABILITY_RECEIVE, "receive"}, {CAPABILITY_REQUEST, "request"}, {CAPABILITY_NOTIFY, "notify"}};
    size_t used = 0;
    ret[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0] && used < NAME; i++) {
        if ((rights & names[i].right) != 0)
            used += (size_t)snprintf(ret + used, NAME - used, "%s%s", used > 0 ? " " : "", names[i].name);
    }
}

static Bulkhead__Manage__Cap *cap_new(const struct supervisor *s, const struct registry_node *top,
                                      const struct registry_node *n)
{
    static const char *const forms[] = {
        [REGISTRY_AUTHORITY] = "authority", [REGISTRY_DESCRIPTOR] = "descriptor", [REGISTRY_ENTRY] = "entry"};
    const struct registry_grant *g = &n->grant;
    const struct registry_node *parent = registry_parent(&s->registry, n);
    Bulkhead__Manage__Cap *m = malloc(sizeof *m);
    char text[NAME];
    if (m == NULL)
        return NULL;
    bulkhead__manage__cap__init(m);
    m->id = n->id;
    m->parent = parent != NULL ? parent->id : 0;
    m->depth = registry_depth(&s->registry, top, n);
    holder_name(s, g->holder, text);
    m->holder = text_new(text);
    object_name(s, g, text);
    m->object = text_new(text);
    m->form = text_new(forms[g->form]);
    rights_text(g->rights, text);
    m->rights = text_new(text);
    if (g->form == REGISTRY_ENTRY) {
        snprintf(text, sizeof text, "%s from %s", topology_server_name((enum server_id)(g->table / SERVER_COUNT)),
                 topology_server_name((enum server_id)(g->table % SERVER_COUNT)));
        m->table = text_new(text);
    }
    m->index = g->index;
    m->generation = g->generation;
    m->octets = g->length;
    m->protocol = g->protocol;
    m->state = text_new(n->revoked ? "revoked" : "held");
    return m;
}

void status_caps(struct supervisor *s, uint32_t skip, Bulkhead__Manage__Reply *reply)
{
    Bulkhead__Manage__CapList *list = malloc(sizeof *list);
    const struct registry *r = &s->registry;
    if (list == NULL)
        return;
    bulkhead__manage__cap_list__init(list);
    reply->caps = list;
    list->total = r->count;
    list->version = r->changes;
    list->cap = calloc(CAPS_IN_A_REPLY, sizeof(Bulkhead__Manage__Cap *));
    uint32_t position = 0, place = 0;
    for (const struct registry_node *top; list->cap != NULL && (top = registry_next(r, &position)) != NULL;) {
        if (registry_parent(r, top) != NULL)
            continue;
        for (const struct registry_node *n = NULL; (n = registry_walk(r, top, n)) != NULL; place++) {
            if (place < skip || list->n_cap == CAPS_IN_A_REPLY)
                continue;
            Bulkhead__Manage__Cap *m = cap_new(s, top, n);
            if (m != NULL)
                list->cap[list->n_cap++] = m;
        }
    }
}
