// SPDX-License-Identifier: BSD-2-Clause
/* Sessions: an application's memory comes, is added to, and goes. Servers that are not concerned have an Arena without
 * a session: only its TX arena as an object, mapped or not, so that SessionRemove finds it again.
 *
 * The memory is the application's. If it cannot be mapped, that costs this session its memory here and nobody their
 * life: the session is known, serves nothing, and ends like any other.
 *
 * #syscalls munmap close */
#include <errno.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/domain/state.h"

typedef void session_call(void *state, uint32_t session);

static void call_servers(struct domain *domain, size_t which, uint32_t session)
{
    for (uint32_t id = 0; id < SERVER_COUNT && domain->started; id++) {
        const struct domain_server *at = &domain->server[id];
        if (at->server == NULL)
            continue;
        session_call *const call = *(session_call *const *)((const char *)at->server + which);
        if (call != NULL)
            call(at->state, session);
    }
}

/* All of a session's own memory, or none of it. 0, or a negative errno. */
static int memory_take(struct control_message *message, struct session *s)
{
    const Bulkhead__Control__Session *m = message->what->session;
    void *control = NULL, *answer = NULL;
    int result = grant_map(message, m->control_fd, sizeof(struct session_control), false, &control);
    if (result == 0 && m->answer_fd >= 0)
        result = grant_map(message, m->answer_fd, sizeof(struct session_answer), true, &answer);
    int bell = result == 0 ? control_take(message, m->bell_fd) : -1;
    if (result == 0 && bell < 0)
        result = -EBADF;
    if (result != 0) {
        segment_unmap(control, sizeof(struct session_control));
        segment_unmap(answer, sizeof(struct session_answer));
        return result;
    }
    s->control = control;
    s->answer = answer;
    s->bell = (struct doorbell){.fd = bell, .sleep = &s->control->sleep};
    return 0;
}

/* 0 or -EINVAL. */
static int list_take(size_t count, Bulkhead__Control__Span *const *from, struct policy_list *ret)
{
    if (count > POLICY_SPANS)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        const Bulkhead__Control__Span *m = from[i];
        struct policy_span *to = &ret->span[i];
        if (m->prefix == NULL || m->prefix->prefix_length > 128 || m->protocol > UINT8_MAX ||
            m->port_first > UINT16_MAX || m->port_last > UINT16_MAX || !grant_address(m->prefix, &to->prefix))
            return -EINVAL;
        to->protocol = (uint8_t)m->protocol;
        to->prefix_length = (uint8_t)m->prefix->prefix_length;
        to->port_first = (uint16_t)m->port_first;
        to->port_last = (uint16_t)m->port_last;
        ret->count++;
    }
    return 0;
}

int session_grant(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Session *m = message->what->session;
    if (m->id >= SESSIONS_MAX || domain->session[m->id].present)
        return -EINVAL;
    struct session *s = &domain->session[m->id];
    *s = (struct session){.present = true,
                          .ending = m->ending,
                          .id = m->id,
                          .generation = m->generation,
                          .uid = m->uid,
                          .pid = m->pid,
                          .socket_quota = m->socket_quota,
                          .bell = {.fd = -1}};
    int result = list_take(m->n_bind, m->bind, &s->bind);
    if (result == 0)
        result = list_take(m->n_connect, m->connect, &s->connect);
    if (result != 0)
        return result;
    result = memory_take(message, s);
    if (result != 0)
        control_log(&domain->control, 4, DOMAIN_NOBODY, "a session goes without memory", -result);
    call_servers(domain, offsetof(struct server, session_added), m->id);
    return 0;
}

int session_arena_grant(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__Arena *m = message->what->arena;
    uint32_t send_most = arena_ring_most(m->send_size, m->send_most);
    uint32_t receive_most = arena_ring_most(m->receive_size, m->receive_most);
    if (m->session >= SESSIONS_MAX || m->arena >= SESSION_ARENAS || m->transport >= SESSION_TRANSPORTS ||
        m->slots == 0 || m->slots > ARENA_SLOTS_MAX || !arena_ring_is_valid(m->send_size, send_most) ||
        !arena_ring_is_valid(m->receive_size, receive_most) || m->index > UINT16_MAX || m->generation > UINT16_MAX ||
        arena_send_octets(m->slots, send_most) > UINT32_MAX)
        return -EINVAL;
    struct domain_object object = {
        .id = m->object, .session = m->session, .octets = (uint32_t)arena_send_octets(m->slots, send_most)};
    void *words = NULL;
    struct session *s = &domain->session[m->session];
    struct session_arena *a = &s->arena[m->arena];
    if (s->present && a->slots != 0)
        return -EEXIST;
    int result = m->app_fd >= 0 ? grant_map(message, m->app_fd, object.octets, false, &object.memory) : 0;
    int added = object_add(domain, &object); /* without its memory it is an object that names nothing */
    if (added != 0)
        return added;
    if (result == 0 && s->present && m->transport_fd >= 0)
        result = grant_map(message, m->transport_fd, arena_receive_octets(m->slots, receive_most), true, &words);
    if (result != 0)
        control_log(&domain->control, 4, DOMAIN_NOBODY, "a session goes without an arena", -result);
    if (result != 0 || !s->present)
        return 0;
    *a = (struct session_arena){.transport = m->transport,
                                .slots = m->slots,
                                .send_size = m->send_size,
                                .receive_size = m->receive_size,
                                .send_most = send_most,
                                .receive_most = receive_most,
                                .app = object_find(domain, m->object)->memory,
                                .transport_words = words,
                                .capability = (uint16_t)m->index,
                                .capability_generation = (uint16_t)m->generation};
    call_servers(domain, offsetof(struct server, session_added), m->session);
    return 0;
}

int session_end(struct domain *domain, struct control_message *message)
{
    uint32_t id = message->what->session_ended->session;
    if (id >= SESSIONS_MAX)
        return -EINVAL;
    if (!domain->session[id].present || domain->session[id].ending)
        return 0;
    domain->session[id].ending = true;
    call_servers(domain, offsetof(struct server, session_ended), id);
    return 0;
}

int session_remove(struct domain *domain, struct control_message *message)
{
    const Bulkhead__Control__SessionRemove *m = message->what->session_remove;
    if (m->session >= SESSIONS_MAX)
        return -EINVAL;
    struct session *s = &domain->session[m->session];
    /* also of one that went while we were dead, and is not here: the store may name it, and its index is another's next */
    call_servers(domain, offsetof(struct server, session_removed), m->session);
    if (s->present) {
        for (uint32_t i = 0; i < SESSION_ARENAS; i++)
            segment_unmap(s->arena[i].transport_words,
                          arena_receive_octets(s->arena[i].slots, s->arena[i].receive_most));
        segment_unmap((void *)s->control, sizeof *s->control);
        segment_unmap(s->answer, sizeof *s->answer);
        if (s->bell.fd >= 0)
            close(s->bell.fd);
        *s = (struct session){.present = false};
    }
    object_drop_session(domain, m->session);
    domain_settle(domain);
    return control_send_ack(&domain->control, m->epoch);
}
