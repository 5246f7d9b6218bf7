// SPDX-License-Identifier: BSD-2-Clause
/* Conditional and range requests: RFC 9110 sections 13 and 14. One range at a time: a request for several is answered
 * with all of it, which 14.2 allows (MAY ignore). Our entity tags are strong, and a modification time is one when it
 * lies a second back (8.8.2.2). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "bench/apps/httpd.h"

/* ---- dates ---- */
void http_date(time_t t, char ret[HTTP_DATE_OCTETS])
{
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || strftime(ret, HTTP_DATE_OCTETS, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
        ret[0] = '\0';
}

/* RFC 9110 5.6.7: a recipient MUST accept all three formats. False: it is none of them. */
static bool date_read(const char *text, time_t *ret)
{
    static const char *const formats[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                          "%a %b %e %H:%M:%S %Y"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, formats[i], &tm);
        if (end == NULL || *end != '\0')
            continue;
        *ret = timegm(&tm);
        return true;
    }
    return false;
}

/* ---- validators ---- */
/* Whether a list of entity tags, or "*", has ours. Weak comparison takes W/"x" as "x", strong does not (8.8.3.2). */
static bool tag_listed(const char *list, const char *tag, bool weak)
{
    size_t length = strlen(tag);
    if (strcmp(list, "*") == 0)
        return true;
    for (const char *at = list; *at != '\0';) {
        at += strspn(at, " \t,");
        bool is_weak = strncmp(at, "W/", 2) == 0;
        at += is_weak ? 2 : 0;
        const char *close = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (close == NULL)
            return false;
        if ((weak || !is_weak) && (size_t)(close + 1 - at) == length && memcmp(at, tag, length) == 0)
            return true;
        at = close + 1;
    }
    return false;
}

/* RFC 9110 13.2.2, in its order. 0: go on. */
static unsigned precondition(const struct connection *c)
{
    const struct version *v = &c->version;
    time_t date;
    if (c->header[HEADER_IF_MATCH][0] != '\0') {
        if (!tag_listed(c->header[HEADER_IF_MATCH], v->tag, false))
            return 412;
    } else if (date_read(c->header[HEADER_IF_UNMODIFIED_SINCE], &date) && v->modified > date) {
        return 412;
    }
    if (c->header[HEADER_IF_NONE_MATCH][0] != '\0') /* 13.1.3: MUST ignore If-Modified-Since then */
        return tag_listed(c->header[HEADER_IF_NONE_MATCH], v->tag, true) ? 304 : 0;
    return date_read(c->header[HEADER_IF_MODIFIED_SINCE], &date) && v->modified <= date ? 304 : 0;
}

/* 13.1.5: the range holds only for the version that the client has a part of. */
static bool if_range_holds(const struct connection *c)
{
    const char *text = c->header[HEADER_IF_RANGE];
    time_t date;
    if (text[0] == '\0')
        return true;
    if (text[0] == '"')
        return strcmp(text, c->version.tag) == 0;
    return date_read(text, &date) && date == c->version.modified && date < time(NULL) - 1;
}

/* ---- the range ---- */
/* Digits only. Saturates. False: there are none. */
static bool position_read(const char **at, uint64_t *ret)
{
    const char *start = *at;
    uint64_t n = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        n = n > (UINT64_MAX - 9) / 10 ? UINT64_MAX : n * 10 + (uint64_t)(**at - '0');
    *ret = n;
    return *at != start;
}

/* "bytes=FIRST-LAST", "bytes=FIRST-", "bytes=-LENGTH". 206; 416: none of it is there; 200: not a range that we serve.
 */
static unsigned range_read(const char *text, off_t size, off_t *ret_offset, off_t *ret_end)
{
    uint64_t first, last, octets = (uint64_t)size;
    if (strncasecmp(text, "bytes=", 6) != 0)
        return 200; /* 14.2: MUST ignore a range unit that it does not understand */
    text += 6;
    bool has_first = position_read(&text, &first);
    if (*text++ != '-')
        return 200;
    bool has_last = position_read(&text, &last);
    if (*text != '\0' || (!has_first && !has_last) || (has_first && has_last && last < first))
        return 200; /* several ranges, or nonsense (14.1.1: invalid) */
    if (!has_first) {
        first = last < octets ? octets - last : 0;
        if (last == 0)
            return 416;
        last = UINT64_MAX;
    } else if (!has_last) {
        last = UINT64_MAX;
    }
    if (first >= octets)
        return 416;
    *ret_offset = (off_t)first;
    *ret_end = last >= octets ? size : (off_t)last + 1;
    return 206;
}

unsigned conditions_apply(const struct connection *c, off_t *ret_offset, off_t *ret_end)
{
    unsigned status = precondition(c);
    if (status != 0)
        return status;
    if (c->parser.method != HTTP_GET || c->header[HEADER_RANGE][0] == '\0' || !if_range_holds(c))
        return 200; /* 14.2: MUST ignore Range with a method other than GET */
    return range_read(c->header[HEADER_RANGE], c->version.size, ret_offset, ret_end);
}
