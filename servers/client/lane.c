// SPDX-License-Identifier: BSD-2-Clause
#include "servers/client/lane.h"

#include <errno.h>

#define LANE_KICK_US        100000 /* an answer that has not come by then is asked for again */
#define LANE_PATIENCE_US    500000 /* an interrupted request, and a close, waits so long for its answer */
#define LANES_ABANDONED_MAX (SESSION_LANES - 1)
#define LANES_CLOSING_MAX   (SESSION_LANES / 2)

static bool lane_answered(const struct session *s, uint32_t lane, uint32_t sequence)
{
    return __atomic_load_n(&s->answer->lane[lane].sequence, __ATOMIC_ACQUIRE) == sequence;
}

static void kick(struct session *s)
{
    __atomic_fetch_add(&s->control->kick, 1, __ATOMIC_RELEASE);
    session_ring(s, TO_SOCKET);
}

static void lane_send(struct session *s, uint32_t lane, const struct control_request *request)
{
    struct control_lane_app *app = &s->control->lane[lane];
    app->request = *request;
    __atomic_store_n(&app->sequence, s->lane[lane].sequence, __ATOMIC_RELEASE);
    kick(s);
}

/* An abandoned SOCKET or ACCEPT that succeeded: the lane goes on with closing what it made. False: there is nothing to
 * close. */
static bool lane_undo(struct session *s, uint32_t lane)
{
    struct lane *l = &s->lane[lane];
    struct control_answer made = s->answer->lane[lane].answer;
    if (!l->undo || made.error != 0)
        return false;
    struct control_request q = {.operation = CONTROL_CLOSE, .socket = made.socket, .generation = made.generation};
    l->undo = false;
    l->sequence++;
    lane_send(s, lane, &q);
    return true;
}

void lane_reclaim(struct session *s)
{
    for (uint32_t i = 0; s->abandoned > 0 && i < SESSION_LANES; i++) {
        struct lane *l = &s->lane[i];
        if (!l->abandoned || !lane_answered(s, i, l->sequence) || lane_undo(s, i))
            continue;
        if (l->descriptor != LANE_NO_DESCRIPTOR)
            s->free_descriptor[s->free_descriptors++] = (uint16_t)l->descriptor;
        l->busy = l->abandoned = false;
        s->abandoned--;
        pthread_cond_signal(&s->lane_free);
    }
}

static uint32_t lane_find(struct session *s)
{
    lane_reclaim(s);
    for (uint32_t i = 0; i < SESSION_LANES; i++)
        if (!s->lane[i].busy)
            return i;
    return SESSION_LANES;
}

/* Waits for a free lane; the ones with an owner come free, and abandoned ones are never all. */
static uint32_t lane_take(struct session *s)
{
    uint32_t i = lane_find(s);
    for (; i == SESSION_LANES; i = lane_find(s))
        pthread_cond_wait(&s->lane_free, &s->lock);
    s->lane[i].busy = true;
    s->lane[i].sequence++;
    return i;
}

struct lane_wait {
    uint32_t lane, sequence;
    int64_t patience_us; /* until when; FOREVER: no signal came */
};

static bool lane_ready(struct session *s, const void *argument)
{
    const struct lane_wait *l = argument;
    return lane_answered(s, l->lane, l->sequence);
}

/* Nobody waits for the answer any more. False: it is there now, or too many lanes are given up already. */
static bool lane_abandon(struct session *s, const struct lane_wait *l, uint32_t operation, uint32_t descriptor)
{
    pthread_mutex_lock(&s->lock);
    bool given_up = !lane_ready(s, l) && s->abandoned < LANES_ABANDONED_MAX;
    if (given_up) {
        struct lane *lane = &s->lane[l->lane];
        lane->descriptor = descriptor;
        lane->undo = operation == CONTROL_SOCKET || operation == CONTROL_ACCEPT;
        lane->abandoned = true;
        s->abandoned++;
    }
    pthread_mutex_unlock(&s->lock);
    return given_up;
}

/* 0, -ENETDOWN; -EINTR: out of patience. One that is overdue sleeps where a signal reaches it also if it is not the
 * poller. */
static int lane_await(struct session *s, struct lane_wait *l)
{
    struct pollfd extra[WAIT_EXTRA];
    struct waiter w = {.ready = lane_ready, .argument = l, .deadline_us = session_now_us() + LANE_KICK_US};
    while (!lane_ready(s, l)) {
        int error = session_wait(s, &w);
        if (session_is_gone(s))
            return -ENETDOWN;
        int64_t now = session_now_us();
        if (error == -EINTR && l->patience_us == FOREVER)
            l->patience_us = now + LANE_PATIENCE_US;
        if (error != -EINTR && error != -ETIMEDOUT && error != 0)
            w.host = NULL; /* no descriptor to spare */
        if (now < w.deadline_us)
            continue;
        kick(s);
        if (now >= l->patience_us)
            return -EINTR;
        w.deadline_us = now + LANE_KICK_US;
        w.host = extra;
    }
    return 0;
}

/* A lane whose request is unanswered is never used again: that happens only once the stack is gone. */
static void lane_release(struct session *s, uint32_t lane)
{
    pthread_mutex_lock(&s->lock);
    s->lane[lane].busy = false;
    pthread_cond_signal(&s->lane_free);
    pthread_mutex_unlock(&s->lock);
}

int lane_call(struct session *s, const struct control_request *request, uint32_t descriptor, struct control_answer *ret)
{
    pthread_mutex_lock(&s->lock);
    uint32_t lane = lane_take(s);
    struct lane_wait l = {.lane = lane, .sequence = s->lane[lane].sequence, .patience_us = FOREVER};
    pthread_mutex_unlock(&s->lock);
    lane_send(s, lane, request);
    if (request->operation == CONTROL_CLOSE)
        l.patience_us = session_now_us() + LANE_PATIENCE_US;
    int error;
    while ((error = lane_await(s, &l)) == -EINTR)
        if (lane_abandon(s, &l, request->operation, descriptor))
            return -EINTR;
    if (error == 0) {
        *ret = s->answer->lane[lane].answer; /* the copy that counts */
        error = ret->error >= 0 && ret->error < 4096 && ret->error != EINTR ? -ret->error : -EPROTO;
    }
    lane_release(s, lane);
    return error;
}

bool lane_post_close(struct session *s, const struct control_request *request, uint32_t descriptor)
{
    uint32_t lane = SESSION_LANES;
    pthread_mutex_lock(&s->lock);
    lane_reclaim(s);
    if (s->abandoned < LANES_CLOSING_MAX)
        lane = lane_find(s);
    if (lane < SESSION_LANES) {
        struct lane *l = &s->lane[lane];
        l->busy = true;
        l->sequence++;
        l->descriptor = descriptor;
        l->undo = false;
        lane_send(s, lane, request);
        l->abandoned = true;
        s->abandoned++;
    }
    pthread_mutex_unlock(&s->lock);
    return lane < SESSION_LANES;
}
