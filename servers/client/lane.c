// SPDX-License-Identifier: BSD-2-Clause
#include "servers/client/lane.h"

#include <errno.h>

#define LANE_KICK_US        100000 /* an answer that has not come by then is asked for again */
#define LANES_ABANDONED_MAX (SESSION_LANES / 2)

static bool lane_answered(const struct session *s, uint32_t lane, uint32_t sequence)
{
    return __atomic_load_n(&s->answer->lane[lane].sequence, __ATOMIC_ACQUIRE) == sequence;
}

static void kick(struct session *s)
{
    __atomic_fetch_add(&s->control->kick, 1, __ATOMIC_RELEASE);
    session_ring(s, TO_SOCKET);
}

void lane_reclaim(struct session *s)
{
    for (uint32_t i = 0; s->abandoned > 0 && i < SESSION_LANES; i++) {
        struct lane *l = &s->lane[i];
        if (!l->abandoned || !lane_answered(s, i, l->sequence))
            continue;
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

static void lane_send(struct session *s, uint32_t lane, const struct control_request *request)
{
    struct control_lane_app *app = &s->control->lane[lane];
    app->request = *request;
    __atomic_store_n(&app->sequence, s->lane[lane].sequence, __ATOMIC_RELEASE);
    kick(s);
}

struct lane_wait {
    uint32_t lane, sequence;
};

static bool lane_ready(struct session *s, const void *argument)
{
    const struct lane_wait *l = argument;
    return lane_answered(s, l->lane, l->sequence);
}

static int lane_await(struct session *s, const struct lane_wait *l)
{
    while (!lane_ready(s, l)) {
        struct waiter w = {.ready = lane_ready, .argument = l, .deadline_us = session_now_us() + LANE_KICK_US};
        int error = session_wait(s, &w);
        if (session_is_gone(s))
            return -ENETDOWN;
        if (error == -ETIMEDOUT)
            kick(s);
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

int lane_call(struct session *s, const struct control_request *request, struct control_answer *ret)
{
    pthread_mutex_lock(&s->lock);
    uint32_t lane = lane_take(s);
    struct lane_wait l = {.lane = lane, .sequence = s->lane[lane].sequence};
    pthread_mutex_unlock(&s->lock);
    lane_send(s, lane, request);
    int error = lane_await(s, &l);
    if (error == 0) {
        *ret = s->answer->lane[lane].answer; /* the copy that counts */
        error = ret->error >= 0 && ret->error < 4096 ? -ret->error : -EPROTO;
    }
    lane_release(s, lane);
    return error;
}

bool lane_post_close(struct session *s, const struct control_request *request, uint32_t descriptor)
{
    uint32_t lane = SESSION_LANES;
    pthread_mutex_lock(&s->lock);
    lane_reclaim(s);
    if (s->abandoned < LANES_ABANDONED_MAX)
        lane = lane_find(s);
    if (lane < SESSION_LANES) {
        struct lane *l = &s->lane[lane];
        l->busy = true;
        l->sequence++;
        l->descriptor = descriptor;
        lane_send(s, lane, request);
        l->abandoned = true;
        s->abandoned++;
    }
    pthread_mutex_unlock(&s->lock);
    return lane < SESSION_LANES;
}
