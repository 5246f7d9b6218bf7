// SPDX-License-Identifier: BSD-2-Clause
/* Control lanes: requests out of the session's memory, answers into it. A request is copied once. It is done when its
 * sequence is neither that of the last answer nor of what a transport is working on; so one that is seen twice, by this
 * incarnation or the next, is done once. */
#include <errno.h>
#include <string.h>

#include "servers/socket/socket_internal.h"
#include "servers/work.h"

static void lane_set(struct session_state *state, struct lane *lane, uint32_t sequence,
                     const struct control_answer *answer)
{
    lane->done = sequence;
    lane->answer = *answer;
    lane->busy = false;
    lane->changed = lane->publish = true;
    state->lanes_changed = state->publish = state->ring = true;
}

void lane_answer(struct socket_server *server, uint32_t session, uint8_t index, uint32_t sequence, int error,
                 const struct socket_entry *entry)
{
    if (session >= SESSIONS_MAX || index >= SESSION_LANES)
        return;
    struct session_state *state = &server->session[session];
    struct lane *lane = &state->lane[index];
    if (!state->known || state->ending || !lane->busy || lane->busy_sequence != sequence)
        return;
    struct control_answer answer = {.error = error, .arena = INDEX_NONE};
    if (entry != NULL && (error == 0 || error == EINPROGRESS)) {
        const struct socket_block *block = &entry->block;
        answer.socket = block->id;
        answer.generation = block->id >> 16;
        answer.arena = block->arena;
        answer.slot = block->slot;
        answer.slot_generation = block->slot_generation;
        answer.local = block->local;
        answer.remote = block->remote;
        answer.local_port = block->local_port;
        answer.remote_port = block->remote_port;
        answer.congestion = server->context->config->congestion;
    } else if (error != 0) {
        server->counters.refused++;
    }
    lane_set(state, lane, sequence, &answer);
}

/* Untrusted: control (the application's). True: there was a request. */
static bool lane_scan(struct socket_server *server, uint32_t session, uint8_t index)
{
    const struct control_lane_app *theirs = &server->context->session[session].control->lane[index];
    struct lane *lane = &server->session[session].lane[index];
    struct call call = {.session = session, .lane = index};
    call.sequence = __atomic_load_n(&theirs->sequence, __ATOMIC_ACQUIRE);
    if (call.sequence == lane->done || lane->busy)
        return false;
    memcpy(&call.request, &theirs->request, sizeof call.request);
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the copy is made here and not again */
    server->counters.requests++;
    lane->busy = true;
    lane->busy_sequence = call.sequence;
    uint64_t key = work_key_numbers(server->context, WORK_REQUEST, (uint64_t)session << 32 | index, call.sequence);
    bool works = server_works_on(server->context, key);
    server->counters.drop_poison += !works;
    int error = works ? call_run(server, &call) : EIO;
    if (error != CALL_WAITS)
        lane_answer(server, session, index, call.sequence, error, call.socket);
    return true;
}

static bool usable(const struct socket_server *server, uint32_t session)
{
    const struct session_state *state = &server->session[session];
    return state->known && !state->ending && server->context->session[session].control != NULL;
}

static bool kicked(const struct socket_server *server, uint32_t session, uint32_t *ret_kick)
{
    uint32_t kick = __atomic_load_n(&server->context->session[session].control->kick, __ATOMIC_ACQUIRE);
    if (kick == server->session[session].last_kick && !server->session[session].look)
        return false;
    *ret_kick = kick;
    return true;
}

bool lanes_burst(struct socket_server *server)
{
    bool did = false;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        uint32_t kick;
        if (!usable(server, i) || !kicked(server, i, &kick))
            continue;
        server->session[i].last_kick = kick;
        server->session[i].look = false;
        did = true;
        for (uint8_t lane = 0; lane < SESSION_LANES; lane++)
            lane_scan(server, i, lane);
    }
    server_works_alone(server->context);
    return did;
}

bool lanes_pending(const struct socket_server *server)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        uint32_t kick;
        if (usable(server, i) && kicked(server, i, &kick))
            return true;
    }
    return false;
}

/* ---- publish ---- */
static void answers_publish(struct socket_server *server, uint32_t session)
{
    struct session_state *state = &server->session[session];
    struct session_answer *answers = server->context->session[session].answer;
    for (uint32_t i = 0; i < SESSION_LANES && answers != NULL; i++) {
        if (!state->lane[i].publish)
            continue;
        state->lane[i].publish = false;
        answers->lane[i].answer = state->lane[i].answer;
        __atomic_store_n(&answers->lane[i].sequence, state->lane[i].done, __ATOMIC_RELEASE);
    }
    state->publish = false;
}

/* After the word. */
static void word_ready(struct session_state *state, struct session_answer *answers, uint32_t descriptor)
{
    __atomic_store_n(&answers->ready[state->ready_producer % SESSION_DESCRIPTORS], descriptor, __ATOMIC_RELEASE);
    __atomic_store_n(&answers->ready_producer, ++state->ready_producer, __ATOMIC_RELEASE);
    state->ring = true;
}

static void words_publish(struct socket_server *server)
{
    while (server->words.count > 0) { /* at most the sockets there are */
        uint32_t index = server->words.head;
        struct socket_entry *entry = &server->entry[index];
        const struct socket_block *block = &entry->block;
        list_remove(&server->words, socket_links(server, LINK_WORD), index);
        if (block->state == SOCKET_CLOSING || !usable(server, block->session))
            continue;
        struct session_answer *answers = server->context->session[block->session].answer;
        if (answers == NULL)
            continue;
        struct socket_word *word = &answers->word[block->descriptor];
        __atomic_store_n(&word->error, (uint32_t)block->error, __ATOMIC_RELEASE);
        __atomic_store_n(&word->accept_ready, entry->queue.count, __ATOMIC_RELEASE);
        word_ready(&server->session[block->session], answers, block->descriptor);
    }
}

/* After a cold start, once: whoever waits for a socket of an earlier life waits for nothing. */
static void words_cold(struct socket_server *server)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session_answer *answers = usable(server, i) ? server->context->session[i].answer : NULL;
        for (uint32_t d = 0; d < SESSION_DESCRIPTORS && answers != NULL; d++) {
            __atomic_store_n(&answers->word[d].error, ECONNRESET, __ATOMIC_RELEASE);
            __atomic_store_n(&answers->word[d].accept_ready, 0, __ATOMIC_RELEASE);
            word_ready(&server->session[i], answers, d);
        }
        server->session[i].ring = true;
    }
    server->cold = COLD_TOLD;
    server->global_changed = server->work = true;
}

void lanes_publish(struct socket_server *server)
{
    if (server->cold == COLD_UNTOLD && server->started)
        words_cold(server);
    words_publish(server); /* before answers: a new socket's word is clear when its application hears of it */
    for (uint32_t i = 0; i < SESSIONS_MAX; i++) {
        struct session_state *state = &server->session[i];
        if (state->publish && usable(server, i))
            answers_publish(server, i);
        if (state->ring && usable(server, i) && server->context->session[i].bell.sleep != NULL)
            doorbell_ring(&server->context->session[i].bell);
        state->ring = false;
    }
}
