// SPDX-License-Identifier: BSD-2-Clause
/* Sessions: memory that applications pay for, granted on to the servers that serve them, and again to each later
 * incarnation. ACTIVE until the application's connection closes; ENDING until the socket server says that nothing of it
 * is open, at most for SESSION_ENDING_US, or until its place is wanted: what is not sent by then is reset; REMOVING
 * until every domain that was granted any of it has unmapped it, and every one that was not running, but has a store of
 * its earlier lives, has been without it for a burst; then its indices and descriptors are free.
 *
 * Limits: the policy's rule for whoever attaches; SESSIONS_MAX, and what the descriptors are enough for, of which one
 * user may have three quarters; events of
 * sessions have a budget, so that nobody pushes out all others. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/segment.h"
#include "servers/supervisor/supervisor.h"

_Static_assert(POLICY_SESSIONS_MOST == SESSIONS_MAX && POLICY_SOCKETS_MOST == SESSION_DESCRIPTORS,
               "a policy can say what there is");

void sessions_init(struct supervisor *s)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        *session = (struct session_memory){.id = id, .control = -1, .answer = -1, .bell_read = -1, .bell_write = -1};
    }
    s->sessions_most = SESSIONS_MAX;
    s->session_events_left = SESSION_EVENTS_BURST;
}

/* Half of them: what waits to be sent to a domain is held twice. */
uint32_t sessions_affordable(uint64_t descriptors)
{
    uint64_t most = descriptors > OTHER_FDS ? (descriptors - OTHER_FDS) / (2 * (uint64_t)SESSION_FDS) : 0;
    return most < 1 ? 1 : most < SESSIONS_MAX ? (uint32_t)most : SESSIONS_MAX;
}

/* ---- events ---- */
/* One from the budget. */
static bool event_affordable(struct supervisor *s)
{
    if (s->session_events_left == 0) {
        s->session_events_more++;
        return false;
    }
    s->session_events_left--;
    return true;
}

static void session_event(struct supervisor *s, const char *kind, uint32_t id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void session_event(struct supervisor *s, const char *kind, uint32_t id, const char *format, ...)
{
    char subject[24], text[EVENT_TEXT];
    if (!event_affordable(s))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    snprintf(subject, sizeof subject, "session %u", id);
    event_add(s, kind, subject, 0, NULL, 0, "%s", text);
}

void sessions_tick(struct supervisor *s)
{
    if (s->session_events_more > 0)
        event_add(s, "session", "sessions", 0, NULL, 0, "%u more came or went", s->session_events_more);
    else if (s->session_events_left < SESSION_EVENTS_BURST)
        s->session_events_left++;
    s->session_events_more = 0;
}

/* ---- memory ---- */
static bool same_file(const struct file_identity *a, const struct file_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

/* No page is shared by two sessions, nor by two parts of one. */
static bool memory_is_new(const struct supervisor *s, const struct file_identity *file)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        const struct session_memory *session = &s->session[id];
        if (session->state == SESSION_FREE)
            continue;
        if (same_file(&session->file[0], file) || same_file(&session->file[1], file))
            return false;
        for (uint32_t i = 0; i < session->arenas; i++) {
            if (same_file(&session->arena[i].file[0], file) || same_file(&session->arena[i].file[1], file))
                return false;
        }
    }
    return true;
}

/* Untrusted: fd[0] (read by servers), fd[1] (written by one: mapped anew by each incarnation, so no seal may come later
 * that forbids it). 0 or an errno value. */
static int memory_check(const struct supervisor *s, const int fd[2], size_t read_octets, size_t written_octets,
                        struct file_identity ret_file[2])
{
    struct stat st[2];
    int result = segment_seal(fd[1]);
    if (result == 0)
        result = segment_check(fd[0], segment_round(read_octets));
    if (result == 0)
        result = segment_check(fd[1], segment_round(written_octets));
    if (result < 0)
        return -result;
    if ((fcntl(fd[1], F_GETFL) & O_ACCMODE) != O_RDWR || fstat(fd[0], &st[0]) < 0 || fstat(fd[1], &st[1]) < 0)
        return EINVAL;
    const struct file_identity file[2] = {{st[0].st_dev, st[0].st_ino}, {st[1].st_dev, st[1].st_ino}};
    if (same_file(&file[0], &file[1]) || !memory_is_new(s, &file[0]) || !memory_is_new(s, &file[1]))
        return EINVAL;
    memcpy(ret_file, file, sizeof file);
    return 0;
}

static int descriptor_keep(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* errno value of a failed one. What servers only read is opened read-only now and kept so: later its owner could have
 * changed its mode. Who holds a lease on it is refused: nobody makes the supervisor wait. */
static int refused(int fd)
{
    return fd == -EACCES || fd == -EPERM || fd == -EWOULDBLOCK ? EACCES : EMFILE;
}

static void descriptor_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void session_free(struct supervisor *s, struct session_memory *session)
{
    rights_end(s, &session->node);
    descriptor_drop(&session->control);
    descriptor_drop(&session->answer);
    descriptor_drop(&session->bell_read);
    descriptor_drop(&session->bell_write);
    for (uint32_t i = 0; i < session->arenas; i++) {
        descriptor_drop(&session->arena[i].app);
        descriptor_drop(&session->arena[i].words);
    }
    *session =
        (struct session_memory){.id = session->id, .control = -1, .answer = -1, .bell_read = -1, .bell_write = -1};
}

static void for_domains(struct supervisor *s, const to_domain *message, uint32_t mask)
{
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i]) && (mask & 1U << i) != 0)
            control_send(s, &s->domain[i], message, NULL, 0, 0);
    }
}

/* ---- fences ---- */
static void fence_next(struct supervisor *s, struct session_memory *session);

/* Waits for all domains in `mask`: a PeerAttached of nobody is acknowledged when what was sent before it is in force.
 */
static void fence_set(struct supervisor *s, struct session_memory *session, enum session_fence fence, uint32_t mask)
{
    Bulkhead__Control__PeerAttached what = BULKHEAD__CONTROL__PEER_ATTACHED__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_PEER_ATTACHED;
    message.peer_attached = &what;
    session->fence = fence;
    session->epoch = what.epoch = ++s->epoch;
    session->deadline_us = now_us() + ACKNOWLEDGE_US;
    session->waiting = mask;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if ((mask & (1U << i)) != 0)
            control_send(s, &s->domain[i], &message, NULL, 0, 0);
    }
    fence_next(s, session);
}

/* Grants the last arena to the domain of its transport (`owner`), or to all the others. Returns the mask of those. */
static uint32_t arena_to(struct supervisor *s, const struct session_memory *session, bool owner)
{
    uint32_t mask = 0, arena = session->arenas - 1;
    const struct domain *own = s->server[topology_transport(session->arena[arena].transport)].domain;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        struct domain *d = &s->domain[i];
        if (!domain_lives(d) || (d == own) != owner)
            continue;
        if (!owner ||
            session->arena[arena].owner_incarnation != d->incarnation + 1) /* else with all that its start brought */
            grant_arena(s, d, session, arena);
        mask |= 1U << i;
    }
    return mask;
}

static void fence_next(struct supervisor *s, struct session_memory *session)
{
    enum session_fence fence = session->fence;
    if (fence == FENCE_NONE || session->waiting != 0)
        return;
    session->fence = FENCE_NONE;
    if (session->state != SESSION_ACTIVE)
        return;
    if (fence == FENCE_PASSED)
        fence_set(s, session, FENCE_ARENA, arena_to(s, session, true));
    else
        attach_answer(s, session->id, fence == FENCE_HELLO);
}

/* A free place for one more session of this user. 0 or an errno value. */
static int place_find(const struct supervisor *s, uint32_t uid, uint32_t sessions, uint32_t *ret_id)
{
    uint32_t all = 0, own = 0, id = SESSIONS_MAX;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        bool used = s->session[i].state != SESSION_FREE && !s->session[i].prober;
        all += used;
        own += used && s->session[i].uid == uid;
        if (s->session[i].state == SESSION_FREE && id == SESSIONS_MAX)
            id = i;
    }
    if (id == SESSIONS_MAX || all >= s->sessions_most)
        return ENOSPC;
    if (own >= sessions || own >= SESSIONS_OF_UID(s->sessions_most))
        return EDQUOT;
    *ret_id = id;
    return 0;
}

/* The prober's is the last one that is free, and counts against nobody. */
static int prober_place_find(const struct supervisor *s, uint32_t *ret_id)
{
    for (uint32_t id = SESSIONS_MAX; id-- > 0;) {
        if (s->session[id].state == SESSION_FREE) {
            *ret_id = id;
            return 0;
        }
    }
    return EAGAIN; /* nobody's end is hastened for it */
}

/* Descriptors of its own for a session. 0 or an errno value. */
static int session_keep(struct supervisor *s, struct session_memory *session, const int fd[2])
{
    int bell[2];
    if (pipe2(bell, O_CLOEXEC | O_NONBLOCK) < 0)
        return errno;
    session->bell_read = bell[0];
    session->bell_write = bell[1];
    session->control = segment_read_only(fd[0]);
    session->answer = descriptor_keep(fd[1]);
    if (session->control >= 0 && session->answer >= 0)
        return 0;
    int error = refused(session->control);
    session_free(s, session);
    return error;
}

/* The rule for whoever attaches. 0 or an errno value. */
static int rule_find(struct supervisor *s, const struct ucred *who, const struct policy_rule **ret)
{
    const struct policy_rule *rule = policy_match(&s->policy, who->uid, who->gid);
    if (rule != NULL && rule->attach) {
        *ret = rule;
        return 0;
    }
    s->policy_refusals++;
    if (event_affordable(s))
        event_add(s, "refused", "attach", 0, NULL, 0, "uid %u, gid %u, pid %d: %s", who->uid, who->gid, who->pid,
                  rule != NULL ? "the policy says so" : "no rule of the policy is for them");
    return EACCES;
}

int session_new(struct supervisor *s, const int fd[2], const struct ucred *who, uint32_t *ret_id)
{
    uint32_t id = 0, mask = 0;
    struct file_identity file[2];
    const struct policy_rule *rule = NULL;
    struct policy_rule own;
    bool prober = prober_is(s, (uint32_t)who->pid);
    int error = prober ? prober_place_find(s, &id) : rule_find(s, who, &rule);
    if (error == 0 && prober) {
        prober_rule(&own);
        rule = &own;
    } else if (error == 0) {
        error = place_find(s, who->uid, rule->limits.sessions, &id);
    }
    if (error == 0)
        error = memory_check(s, fd, sizeof(struct session_control), sizeof(struct session_answer), file);
    struct session_memory *session = &s->session[id];
    if (error == 0)
        error = session_keep(s, session, fd);
    if (error == 0 && !rights_session(s, session)) {
        session_free(s, session);
        error = ENOSPC;
    }
    if (error != 0)
        return error;
    session->state = SESSION_ACTIVE;
    session->generation = ++s->sessions_made;
    session->uid = who->uid;
    session->pid = (uint32_t)who->pid;
    session->rule = *rule;
    session->prober = prober;
    memcpy(session->file, file, sizeof file);
    session->octets = sizeof(struct session_control) + sizeof(struct session_answer);
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (domain_lives(&s->domain[i])) {
            grant_session(s, &s->domain[i], session);
            mask |= 1U << i;
        }
    }
    session_event(s, "session", id, "attached: pid %u, uid %u%s", session->pid, session->uid,
                  prober ? ", the prober" : "");
    *ret_id = id;
    session->fence = FENCE_HELLO;
    session->waiting = mask;
    return 0;
}

void session_fence(struct supervisor *s, uint32_t id)
{
    struct session_memory *session = &s->session[id];
    fence_set(s, session, session->fence, session->waiting);
}

/* Octets of an arena that its rings may grow into, and do not have yet. */
static size_t place_of(const struct arena_memory *a)
{
    return (size_t)a->slots * (a->send_most - a->send_size) + (size_t)a->slots * (a->receive_most - a->receive_size);
}

/* Place to grow takes no more than half of what there is: the other half is for more sockets, and other sockets. */
static bool within_quota(const struct session_memory *session, const struct arena_memory *arena, size_t octets)
{
    uint64_t most = session->rule.limits.memory_octets;
    size_t place = place_of(arena);
    for (uint32_t i = 0; i < session->arenas; i++)
        place += place_of(&session->arena[i]);
    return session->arenas < SESSION_ARENAS && session->octets + octets <= most &&
           (place_of(arena) == 0 || place <= most / 2);
}

/* Untrusted: request, fd (application). What is reserved counts, whether it is used or not: nobody else sees that. */
int session_add_arena(struct supervisor *s, uint32_t id, const struct attach_request *request, const int fd[2])
{
    struct session_memory *session = &s->session[id];
    if (session->state != SESSION_ACTIVE || session->fence != FENCE_NONE || request->transport >= SESSION_TRANSPORTS ||
        request->slots == 0 || request->slots > ARENA_SLOTS_MAX)
        return EINVAL;
    struct arena_memory arena = {.transport = request->transport,
                                 .slots = request->slots,
                                 .send_size = request->send_size,
                                 .receive_size = request->receive_size,
                                 .send_most = arena_ring_most(request->send_size, request->send_most),
                                 .receive_most = arena_ring_most(request->receive_size, request->receive_most)};
    if (!arena_ring_is_valid(arena.send_size, arena.send_most) ||
        !arena_ring_is_valid(arena.receive_size, arena.receive_most))
        return EINVAL;
    size_t send = arena_send_octets(arena.slots, arena.send_most);
    size_t receive = arena_receive_octets(arena.slots, arena.receive_most);
    if (!within_quota(session, &arena, send + receive))
        return EDQUOT;
    int error = memory_check(s, fd, send, receive, arena.file);
    if (error != 0)
        return error;
    if (!registry_index_take(&s->registry, CAPABILITY_INDEX_ARENA, &arena.index, &arena.generation))
        return ENOSPC;
    arena.app = segment_read_only(fd[0]);
    arena.words = descriptor_keep(fd[1]);
    arena.object = s->next_object++;
    if (arena.app < 0 || arena.words < 0 || !rights_arena(s, session, &arena)) {
        error = refused(arena.app);
        descriptor_drop(&arena.app);
        descriptor_drop(&arena.words);
        if (arena.app_node == REGISTRY_NONE)
            registry_index_free(&s->registry, arena.index);
        rights_end(s, &arena.app_node);
        return error;
    }
    session->octets += send + receive;
    session->arena[session->arenas] = arena;
    session->arenas++;
    fence_set(s, session, FENCE_PASSED, arena_to(s, session, false));
    return 0;
}

void session_ended(struct supervisor *s, uint32_t id)
{
    Bulkhead__Control__SessionEnded what = BULKHEAD__CONTROL__SESSION_ENDED__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    if (s->session[id].state != SESSION_ACTIVE)
        return;
    s->session[id].state = SESSION_ENDING;
    s->session[id].ended_us = now_us();
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_ENDED;
    message.session_ended = &what;
    what.session = id;
    for_domains(s, &message, UINT32_MAX);
}

static void session_let_go(struct supervisor *s, struct session_memory *session)
{
    if (session->state != SESSION_REMOVING || session->waiting != 0 || session->unseen != 0)
        return;
    session_event(s, "session-end", session->id, "every domain let its memory go");
    session_free(s, session);
    s->place_freed = true;
}

static bool keeps_store(const struct supervisor *s, const struct domain *domain)
{
    for (uint32_t id = 0; id < SERVER_COUNT; id++) {
        if ((domain->servers & SERVER_BIT(id)) != 0 && s->server[id].store >= 0)
            return true;
    }
    return false;
}

/* What is in the store of one that is not running may be of this session, and shall not be taken for the next one's of
 * the same index. */
static uint32_t remembering(const struct supervisor *s)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < s->domain_count; i++) {
        if (s->domain[i].state != DOMAIN_RUNNING && keeps_store(s, &s->domain[i]))
            mask |= 1U << i;
    }
    return mask;
}

/* Asks them all to unmap it, or to say that they have nothing. */
static void remove_send(struct supervisor *s, struct session_memory *session, uint32_t mask)
{
    Bulkhead__Control__SessionRemove what = BULKHEAD__CONTROL__SESSION_REMOVE__INIT;
    to_domain message = BULKHEAD__CONTROL__TO_DOMAIN__INIT;
    message.what_case = BULKHEAD__CONTROL__TO_DOMAIN__WHAT_SESSION_REMOVE;
    message.session_remove = &what;
    what.session = session->id;
    what.epoch = session->epoch;
    session->deadline_us = now_us() + ACKNOWLEDGE_US;
    for_domains(s, &message, mask);
}

/* Untrusted: id is in range; the socket server says so. While the application is there, nobody else ends its session.
 */
void session_done(struct supervisor *s, uint32_t id)
{
    struct session_memory *session = &s->session[id];
    if (session->state != SESSION_ENDING)
        return;
    session->state = SESSION_REMOVING;
    session->fence = FENCE_NONE;
    session->epoch = ++s->epoch;
    session->waiting = 0;
    session->unseen = remembering(s);
    rights_session_end(s, session);
    remove_send(s, session, session->waiting);
    session_let_go(s, session);
}

/* The transports take SessionRemove as the end of what they still had to send for it. */
static void session_force(struct supervisor *s, uint32_t id, const char *why)
{
    session_event(s, "session-end", id, "%s: what it had not sent is lost", why);
    session_done(s, id);
}

bool session_make_room(struct supervisor *s, uint32_t uid, int refused)
{
    uint32_t oldest = SESSIONS_MAX;
    bool removing = false;
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        const struct session_memory *session = &s->session[id];
        if (refused == EDQUOT && session->uid != uid)
            continue;
        removing |= session->state == SESSION_REMOVING;
        if (session->state == SESSION_ENDING &&
            (oldest == SESSIONS_MAX || session->ended_us < s->session[oldest].ended_us))
            oldest = id;
    }
    if (oldest != SESSIONS_MAX)
        session_force(s, oldest, "its place is wanted");
    return removing || oldest != SESSIONS_MAX;
}

void session_acknowledged(struct supervisor *s, struct domain *domain, uint64_t epoch)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        if (session->epoch != epoch || (session->state != SESSION_REMOVING && session->fence == FENCE_NONE))
            continue;
        session->waiting &= ~(1U << domain->index);
        fence_next(s, session);
        session_let_go(s, session);
    }
}

/* The dead map nothing; their next incarnation is granted all there is, and finds in its store what is not. */
void session_forget_domain(struct supervisor *s, const struct domain *domain)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        session->waiting &= ~(1U << domain->index);
        if (session->state == SESSION_REMOVING && keeps_store(s, domain))
            session->unseen |= 1U << domain->index;
        fence_next(s, session);
        session_let_go(s, session);
    }
}

/* It answers after its first burst, in which it has done with all that is nobody's any more. */
void session_domain_ready(struct supervisor *s, const struct domain *domain)
{
    uint32_t bit = 1U << domain->index;
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        if (session->state != SESSION_REMOVING || (session->unseen & bit) == 0)
            continue;
        session->unseen &= ~bit;
        session->waiting |= bit;
        remove_send(s, session, bit);
    }
}

void sessions_relaid(struct supervisor *s)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        session->waiting = 0;
        session->unseen = session->state == SESSION_REMOVING ? remembering(s) : 0;
    }
}

void sessions_deadlines(struct supervisor *s, uint64_t now)
{
    for (uint32_t id = 0; id < SESSIONS_MAX; id++) {
        struct session_memory *session = &s->session[id];
        if (session->state == SESSION_ENDING && now >= session->ended_us + SESSION_ENDING_US)
            session_force(s, id, "ending for too long");
        if ((session->state != SESSION_REMOVING && session->fence == FENCE_NONE) || now < session->deadline_us)
            continue;
        session->deadline_us = now + ACKNOWLEDGE_US;
        for (uint32_t i = 0; i < s->domain_count; i++) {
            struct domain *d = &s->domain[i];
            if ((session->waiting & (1U << i)) != 0)
                control_receive(s, d); /* perhaps it is the supervisor who is late */
            if ((session->waiting & (1U << i)) != 0)
                domain_is_late(s, d);
        }
    }
}
