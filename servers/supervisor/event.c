// SPDX-License-Identifier: BSD-2-Clause
/* Everything that happens is an event: numbered, kept in a ring, pushed to the manage server as it comes; while
 * an incarnation is on its way, a moment later (supervisor_holds()). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "servers/supervisor/supervisor.h"

void text_copy(char *to, size_t size, const char *from, size_t length)
{
    size_t n = 0;
    for (; n + 1 < size && n < length && from[n] != '\0'; n++)
        to[n] = from[n] >= ' ' && from[n] <= '~' ? from[n] : '?';
    to[n] = '\0';
}

static uint64_t realtime_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* The ring's pages are there from the start: what the supervisor takes does not depend on how much has happened. */
void events_init(struct supervisor *s)
{
    volatile uint8_t *ring = (volatile uint8_t *)s->event;
    for (size_t i = 0; i < sizeof s->event; i += 1024)
        ring[i] = 0;
}

void event_add(struct supervisor *s, const char *kind, const char *subject, uint32_t incarnation,
               const uint64_t *span_us, uint32_t spans, const char *format, ...)
{
    struct event *event = &s->event[s->event_count % EVENTS_KEPT];
    *event = (struct event){.number = ++s->event_count, .time_us = realtime_us(), .incarnation = incarnation};
    text_copy(event->kind, sizeof event->kind, kind, strlen(kind));
    text_copy(event->subject, sizeof event->subject, subject, strlen(subject));
    for (uint32_t i = 0; i < spans && i < EVENT_SPANS; i++)
        event->span_us[event->spans++] = span_us[i];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(event->text, sizeof event->text, format, arguments);
    va_end(arguments);
    if (!supervisor_holds(s))
        events_push(s);
}

void events_push(struct supervisor *s)
{
    if (s->event_count - s->events_pushed > EVENTS_KEPT)
        s->events_pushed = s->event_count - EVENTS_KEPT; /* `events --since` shows the gap */
    for (; s->events_pushed < s->event_count; s->events_pushed++)
        manage_send_event(s, &s->event[s->events_pushed % EVENTS_KEPT]);
}
