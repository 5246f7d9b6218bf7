// SPDX-License-Identifier: BSD-2-Clause
/* bulkhead caps: who holds what, and by whose right. The tree comes in pages; one that changed between two of them is
 * asked for again. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "servers/cli/client.h"
#include "servers/cli/json.h"

#define TRIES    20
#define CAPS_MAX 32768

typedef Bulkhead__Manage__Cap cap;

static int page_ask(const struct cli_arguments *arguments, uint32_t skip, Bulkhead__Manage__Reply **ret)
{
    Bulkhead__Manage__Caps what = BULKHEAD__MANAGE__CAPS__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_CAPS;
    request.caps = &what;
    what.skip = skip;
    int status = client_ask(arguments, false, &request, ret);
    if (status == CLI_OK && (*ret)->caps == NULL) {
        bulkhead__manage__reply__free_unpacked(*ret, NULL);
        return cli_failed(arguments->command, "the stack answered without its grants; try again");
    }
    return status;
}

/* Moves what a page has to the end of the list. False: no memory, or far too many. */
static bool page_take(Bulkhead__Manage__CapList *all, Bulkhead__Manage__CapList *page)
{
    cap **grown = realloc(all->cap, (all->n_cap + page->n_cap) * sizeof *grown);
    if (grown == NULL || all->n_cap + page->n_cap > CAPS_MAX)
        return false;
    all->cap = grown;
    memcpy(all->cap + all->n_cap, page->cap, page->n_cap * sizeof *grown);
    all->n_cap += page->n_cap;
    all->version = page->version;
    all->total = page->total;
    page->n_cap = 0; /* the list's now */
    return true;
}

static void caps_forget(Bulkhead__Manage__CapList *all)
{
    for (size_t i = 0; i < all->n_cap; i++)
        bulkhead__manage__cap__free_unpacked(all->cap[i], NULL);
    free(all->cap);
    bulkhead__manage__cap_list__init(all);
}

/* All pages of one version of the tree. */
static int caps_ask(const struct cli_arguments *arguments, Bulkhead__Manage__CapList *all)
{
    bulkhead__manage__cap_list__init(all);
    for (unsigned tries = 0; tries < TRIES;) {
        Bulkhead__Manage__Reply *reply = NULL;
        int status = page_ask(arguments, (uint32_t)all->n_cap, &reply);
        if (status != CLI_OK)
            return status;
        size_t got = reply->caps->n_cap;
        bool same = all->n_cap == 0 || all->version == reply->caps->version;
        bool taken = !same || got == 0 || page_take(all, reply->caps);
        bulkhead__manage__reply__free_unpacked(reply, NULL);
        if (!taken)
            return cli_failed(arguments->command, "more grants than fit; something is wrong with this stack");
        if (!same) {
            caps_forget(all);
            tries++;
        } else if (got == 0 || all->n_cap >= all->total) {
            return CLI_OK;
        }
    }
    return cli_failed(arguments->command, "the grants change all the time; try again when fewer sessions come and go");
}

/* ---- as a table ---- */
static void cap_print(const cap *c)
{
    char holder[96], place[24] = "", octets[24] = "";
    snprintf(holder, sizeof holder, "%*s%s%s%s%s", (int)(2 * (c->depth < 16 ? c->depth : 16)), "", c->holder,
             c->table[0] != '\0' ? " (" : "", c->table, c->table[0] != '\0' ? ")" : "");
    if (c->index != 0)
        snprintf(place, sizeof place, "%u:%u", c->index, c->generation);
    if (c->octets != 0)
        snprintf(octets, sizeof octets, "%" PRIu64, c->octets);
    printf("%-36s %-18s %-10s %-16s %-9s %10s %9u%s%s%s\n", holder, c->object, c->form, c->rights, place, octets, c->id,
           c->protocol == 6    ? "  tcp"
           : c->protocol == 17 ? "  udp"
                               : "",
           strcmp(c->state, "held") != 0 ? "  " : "", strcmp(c->state, "held") != 0 ? c->state : "");
}

static int table_print(const Bulkhead__Manage__CapList *all)
{
    printf("%-36s %-18s %-10s %-16s %-9s %10s %9s\n", "HOLDER (TABLE)", "OBJECT", "FORM", "RIGHTS", "INDEX:GEN",
           "OCTETS", "ID");
    for (size_t i = 0; i < all->n_cap; i++)
        cap_print(all->cap[i]);
    return CLI_OK;
}

/* ---- as a picture ---- */
struct picture {
    size_t count;
    cap *const *cap;
    const char **giver; /* of each: from whom it came; NULL: from nobody else */
};

static const char *giver_find(const Bulkhead__Manage__CapList *all, size_t at)
{
    const cap *c = all->cap[at];
    for (size_t i = at; i-- > 0;) {
        if (all->cap[i]->id == c->parent)
            return strcmp(all->cap[i]->holder, c->holder) != 0 ? all->cap[i]->holder : NULL;
    }
    return NULL;
}

static void label_print(const cap *c)
{
    printf("%s: %s", c->object, c->rights);
    if (c->protocol != 0)
        printf(" %s", c->protocol == 6 ? "tcp" : "udp");
    if (c->table[0] != '\0')
        printf(" [%s %u:%u]", c->table, c->index, c->generation);
    printf("\\l");
}

static bool same_arrow(const struct picture *p, size_t one, size_t other)
{
    return p->giver[one] != NULL && p->giver[other] != NULL && strcmp(p->giver[one], p->giver[other]) == 0 &&
           strcmp(p->cap[one]->holder, p->cap[other]->holder) == 0;
}

/* One arrow for each pair of holders, with all that went from one to the other. */
static void arrow_print(const struct picture *p, size_t first)
{
    for (size_t i = 0; i < first; i++) {
        if (same_arrow(p, i, first))
            return;
    }
    printf("  \"%s\" -> \"%s\" [label=\"", p->giver[first], p->cap[first]->holder);
    for (size_t i = first; i < p->count; i++) {
        if (same_arrow(p, i, first))
            label_print(p->cap[i]);
    }
    printf("\"];\n");
}

/* A holder, and what is its own. */
static void box_print(const struct picture *p, size_t first)
{
    const char *holder = p->cap[first]->holder;
    for (size_t i = 0; i < first; i++) {
        if (strcmp(p->cap[i]->holder, holder) == 0)
            return;
    }
    printf("  \"%s\" [label=\"%s\\n", holder, holder);
    for (size_t i = first; i < p->count && strcmp(holder, "supervisor") != 0; i++) {
        if (p->cap[i]->parent == 0 && strcmp(p->cap[i]->holder, holder) == 0)
            printf("%s\\n", p->cap[i]->object);
    }
    printf("\"];\n");
}

static int dot_print(const struct cli_arguments *arguments, const Bulkhead__Manage__CapList *all)
{
    struct picture p = {.count = all->n_cap, .cap = all->cap, .giver = calloc(all->n_cap + 1, sizeof *p.giver)};
    if (p.giver == NULL)
        return cli_failed(arguments->command, "no memory");
    for (size_t i = 0; i < p.count; i++)
        p.giver[i] = giver_find(all, i);
    printf("digraph bulkhead {\n  rankdir=LR; nodesep=0.4; ranksep=1.5;\n"
           "  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n"
           "  edge [fontsize=8, fontname=\"monospace\", color=gray40];\n");
    for (size_t i = 0; i < p.count; i++)
        box_print(&p, i);
    for (size_t i = 0; i < p.count; i++) {
        if (p.giver[i] != NULL)
            arrow_print(&p, i);
    }
    printf("}\n");
    free(p.giver);
    return CLI_OK;
}

static int revoke(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__Revoke what = BULKHEAD__MANAGE__REVOKE__INIT;
    Bulkhead__Manage__Request request = BULKHEAD__MANAGE__REQUEST__INIT;
    Bulkhead__Manage__Reply *reply = NULL;
    request.what_case = BULKHEAD__MANAGE__REQUEST__WHAT_REVOKE;
    request.revoke = &what;
    what.id = arguments->revoke;
    int status = client_ask(arguments, true, &request, &reply);
    if (status == CLI_OK)
        bulkhead__manage__reply__free_unpacked(reply, NULL);
    return status;
}

int cli_caps(const struct cli_arguments *arguments)
{
    Bulkhead__Manage__CapList all;
    if (arguments->json && arguments->dot)
        return cli_wrong(arguments->command, "choose one of --json and --dot");
    if (arguments->revoke != 0)
        return revoke(arguments);
    int status = caps_ask(arguments, &all);
    for (size_t i = 0; i < all.n_cap; i++) {
        char *const texts[] = {all.cap[i]->holder, all.cap[i]->object, all.cap[i]->form,
                               all.cap[i]->rights, all.cap[i]->table,  all.cap[i]->state};
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++)
            cli_printable(texts[t]);
    }
    if (status == CLI_OK && arguments->json)
        status = json_print(arguments->command, json_of_message(&all.base), JSON_INDENT(2));
    else if (status == CLI_OK)
        status = arguments->dot ? dot_print(arguments, &all) : table_print(&all);
    caps_forget(&all);
    return status;
}
