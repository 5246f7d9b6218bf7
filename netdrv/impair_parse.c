// SPDX-License-Identifier: BSD-2-Clause
/* Impairments as a person writes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netdrv/impair.h"

struct unit {
    const char *name;
    double factor;
};
static const struct unit chances[] = {{"%", IMPAIR_ALL / 100.0}, {NULL, 0}};
static const struct unit times[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {NULL, 0}};
static const struct unit rates[] = {{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {NULL, 0}};
static const struct unit plain[] = {{"", 1}, {NULL, 0}};

static const struct key {
    const char *name;
    const struct unit *units;
    double least, most;
    size_t offset, octets;
    const char *advice;
} keys[] = {
#define KEY(text, member, units, least, most, advice)                                                                  \
    {                                                                                                                  \
        text, units, least, most, offsetof(struct impair_config, member), sizeof((struct impair_config){0}.member),    \
            advice                                                                                                     \
    }
    KEY("loss", loss, chances, 0, IMPAIR_ALL, "write 0% to 100%, as in loss=1%"),
    KEY("reorder", reorder, chances, 0, IMPAIR_ALL, "write 0% to 100%, as in reorder=2%"),
    KEY("duplicate", duplicate, chances, 0, IMPAIR_ALL, "write 0% to 100%, as in duplicate=1%"),
    KEY("corrupt", corrupt, chances, 0, IMPAIR_ALL, "write 0% to 100%, as in corrupt=0.1%"),
    KEY("delay", delay_us, times, 0, IMPAIR_DELAY_MAX_US, "write us, ms or s, at most 10s, as in delay=5ms"),
    KEY("jitter", jitter_us, times, 0, IMPAIR_DELAY_MAX_US, "write us, ms or s, at most 10s, as in jitter=1ms"),
    KEY("rate", rate, rates, IMPAIR_RATE_LEAST, (double)IMPAIR_RATE_MAX, "write 8kbit to 100gbit, as in rate=100mbit"),
    KEY("seed", seed, plain, 0, 9007199254740992.0, "write a whole number up to 2^53, as in seed=42"),
    KEY("queue", queue, plain, 1, IMPAIR_QUEUE_MAX, "write 1 to 1024 frames, as in queue=256"),
    KEY("backlog", backlog, plain, 1, IMPAIR_OCTETS_MAX, "write 1 to 1000000000 octets, as in backlog=125000"),
    KEY("burst", burst, plain, 1, IMPAIR_OCTETS_MAX, "write 1 to 1000000000 octets, as in burst=1514"),
};
#define KEYS (sizeof keys / sizeof keys[0])
_Static_assert(IMPAIR_QUEUE_MAX == 1024 && IMPAIR_DELAY_MAX_US == 10000000, "the advice says so");

/* digits [. digits] unit */
static bool value_read(const char *text, const struct unit *units, double *ret)
{
    size_t whole = strspn(text, "0123456789"),
           rest = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") + 1 : 0;
    if (whole == 0 || whole > 16 || rest == 1 || rest > 10)
        return false;
    const char *unit = text + whole + rest;
    for (; units->name != NULL; units++) {
        if (strcmp(unit, units->name) != 0 || (units->factor == 1 && rest > 0))
            continue;
        *ret = strtod(text, NULL) * units->factor;
        return true;
    }
    return false;
}

static void value_store(const struct key *key, double value, struct impair_config *ret)
{
    char *at = (char *)ret + key->offset;
    uint64_t wide = (uint64_t)(value + 0.5);
    uint32_t narrow = (uint32_t)wide;
    if (key->octets == sizeof wide)
        memcpy(at, &wide, sizeof wide);
    else
        memcpy(at, &narrow, sizeof narrow);
}

static bool item_read(char *item, uint32_t *seen, struct impair_config *ret, char *ret_error, size_t error_size)
{
    char *equals = strchr(item, '=');
    size_t length = equals != NULL ? (size_t)(equals - item) : strlen(item);
    for (size_t i = 0; i < KEYS; i++) {
        double value = 0;
        if (strlen(keys[i].name) != length || memcmp(keys[i].name, item, length) != 0)
            continue;
        if ((*seen & 1U << i) != 0) {
            snprintf(ret_error, error_size, "'%.40s': it is there twice", item);
            return false;
        }
        *seen |= 1U << i;
        if (equals == NULL || !value_read(equals + 1, keys[i].units, &value) || value < keys[i].least ||
            value > keys[i].most) {
            snprintf(ret_error, error_size, "'%.40s': %s", item, keys[i].advice);
            return false;
        }
        value_store(&keys[i], value, ret);
        return true;
    }
    snprintf(
        ret_error, error_size,
        "'%.40s': write loss, delay, jitter, reorder, duplicate, corrupt, rate, seed, queue, backlog or burst, as in "
        "loss=1%%",
        item);
    return false;
}

bool impair_parse(const char *text, struct impair_config *ret, char *ret_error, size_t error_size)
{
    char copy[256];
    struct impair_config config = {0};
    uint32_t seen = 0;
    if (strlen(text) >= sizeof copy) {
        snprintf(ret_error, error_size, "too long: at most 255 octets");
        return false;
    }
    strcpy(copy, text);
    for (char *item = copy; *text != '\0' && item != NULL;) {
        char *comma = strchr(item, ',');
        if (comma != NULL)
            *comma = '\0';
        if (!item_read(item, &seen, &config, ret_error, error_size))
            return false;
        item = comma != NULL ? comma + 1 : NULL;
    }
    *ret = config;
    return true;
}
