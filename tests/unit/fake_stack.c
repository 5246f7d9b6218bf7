// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/fake_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ipc/doorbell.h"
#include "ipc/segment.h"
#include "ipc/session.h"

/* ---- the loop ---- */
/* Of words that tell of rings any is nonsense, so now and then one that is not. */
static void lie_of_rings(struct slot_transport *words, unsigned *seed)
{
    unsigned chance = (unsigned)rand_r(seed);
    if ((chance & 1) != 0)
        __atomic_store_n(&words->receive_ring,
                         (chance & 0xfffff000) | (12 + chance / 2 % 12) << 5 | (12 + chance / 32 % 12),
                         __ATOMIC_RELEASE);
    if ((chance & 2) != 0)
        __atomic_store_n(&words->rings_wanted, chance & 0x1f1f, __ATOMIC_RELEASE);
}

static void lie(struct fake_stack *f)
{
    unsigned seed = f->lie;
    for (uint32_t i = 0; i < f->arenas; i++) {
        struct fake_arena *a = &f->arena[i];
        for (uint32_t s = 0; s < a->slots; s++) {
            uint32_t *word = (uint32_t *)(void *)&a->words->slot[s];
            for (uint32_t w = 1; w < sizeof a->words->slot[s] / sizeof *word;
                 w++) /* the generation stays, or nothing would be believed */
                __atomic_store_n(&word[w], (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
            lie_of_rings(&a->words->slot[s], &seed);
        }
        __atomic_store_n(&a->words->notify_consumer, (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        for (uint32_t n = 0; n < ARENA_SLOTS_MAX; n++)
            __atomic_store_n(&a->words->ready[n], (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        __atomic_store_n(&a->words->ready_producer, (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
    }
    for (uint32_t n = 0; f->answer != NULL && n < SESSION_DESCRIPTORS; n++) {
        __atomic_store_n(&f->answer->ready[n], (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
        __atomic_store_n(&f->answer->ready_producer, (uint32_t)rand_r(&seed) * 2654435761U, __ATOMIC_RELEASE);
    }
    f->lie = seed | 1;
    f->news = true;
}

static bool pass(struct fake_stack *f)
{
    bool did = false;
    f->news = false;
    for (uint32_t i = 0; f->control != NULL && i < SESSION_LANES; i++)
        did |= fake_lane(f, i);
    for (uint32_t i = 0; !f->stalled && i < f->arenas; i++) {
        struct fake_arena *a = &f->arena[i];
        uint32_t producer = __atomic_load_n(&a->app->notify_producer, __ATOMIC_ACQUIRE);
        fake_must(f->lie != 0 || producer - a->consumer <= a->slots, "more notices than slots");
        uint32_t from = a->consumer;
        a->consumer = producer;
        if (f->lie == 0)
            __atomic_store_n(&a->words->notify_consumer, producer, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (e) */
        for (; from != producer && producer - from <= ARENA_SLOTS_MAX; from++) {
            uint32_t slot = a->app->notify[from % ARENA_SLOTS_MAX];
            struct fake_socket *k = slot < a->slots && a->holder[slot] != 0 ? &f->socket[a->holder[slot] - 1] : NULL;
            did = true;
            if (k == NULL || !k->used || k->reset)
                continue;
            if (k->transport == SESSION_TCP)
                f->app_flags = a->app->slot[slot].flags;
            while (k->transport == SESSION_TCP ? fake_stream_move(f, k) : fake_datagram_move(f, k))
                ;
            if (k->peer != NOBODY && k->transport == SESSION_TCP)
                while (fake_stream_move(f, &f->socket[k->peer])) /* it may have read: room for the other */
                    ;
        }
    }
    if (f->lie != 0)
        lie(f);
    if (f->news && f->control != NULL)
        doorbell_ring(&f->to_session);
    return did;
}

static void *fake_run(void *argument)
{
    struct fake_stack *f = argument;
    for (;;) {
        struct pollfd set[BELLS + 3] = {{.fd = f->listener, .events = POLLIN},
                                        {.fd = f->connection, .events = POLLIN},
                                        {.fd = f->control_pipe[0], .events = POLLIN}};
        for (int i = 0; i < BELLS; i++)
            set[3 + i] = (struct pollfd){.fd = f->bell_read[i], .events = POLLIN};
        pthread_mutex_lock(&f->lock);
        doorbell_sleep(&f->status->sleep); /* (C) */
        bool busy = pass(f);
        bool stop = f->stop;
        int timeout_ms = busy ? 0 : f->lie != 0 ? 1 : -1;
        if (f->mute)
            set[1].fd = -1;
        pthread_mutex_unlock(&f->lock);
        if (stop)
            return NULL;
        poll(set, BELLS + 3, timeout_ms);
        doorbell_wake(&f->status->sleep);
        for (int i = 0; i < BELLS; i++)
            if (set[3 + i].revents != 0)
                doorbell_drain(f->bell_read[i]);
        if (set[2].revents != 0)
            doorbell_drain(f->control_pipe[0]);
        pthread_mutex_lock(&f->lock);
        if (set[0].revents != 0 && f->connection < 0)
            f->connection = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        if (f->hang_up && f->connection >= 0) {
            close(f->connection);
            f->connection = -1;
        } else if (f->connection >= 0 && !f->mute) {
            fake_attach_message(f);
        }
        pthread_mutex_unlock(&f->lock);
    }
}

/* ---- from the test ---- */
struct fake_stack *fake_stack_start(void)
{
    struct fake_stack *f = calloc(1, sizeof *f);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    fake_must(f != NULL, "memory");
    f->connection = -1;
    f->next_port = 40000;
    strcpy(f->folder, "/tmp/bh-fake-XXXXXX");
    fake_must(mkdtemp(f->folder) != NULL, "mkdtemp");
    snprintf(f->path, sizeof f->path, "%s/attach", f->folder);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    fake_must(bind(f->listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(f->listener, 4) == 0,
              "listen");
    for (int i = 0; i < BELLS; i++) {
        int fd[2];
        fake_must(pipe2(fd, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
        f->bell_read[i] = fd[0];
        f->bell_write[i] = fd[1];
    }
    fake_must(pipe2(f->control_pipe, O_NONBLOCK | O_CLOEXEC) == 0, "pipe");
    f->status_fd = segment_create("status", sizeof *f->status);
    void *status;
    fake_must(segment_map(f->status_fd, sizeof *f->status, true, &status) == 0, "status page");
    f->status = status;
    pthread_mutex_init(&f->lock, NULL);
    setenv("BULKHEAD_RUN_DIR", f->folder, 1);
    fake_must(pthread_create(&f->thread, NULL, fake_run, f) == 0, "thread");
    return f;
}

static void poke(struct fake_stack *f)
{
    fake_must(write(f->control_pipe[1], "", 1) == 1, "poke");
}

static void end(struct fake_stack *f)
{
    if (f->ended)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_mutex_unlock(&f->lock);
    poke(f);
    pthread_join(f->thread, NULL);
    f->ended = true;
}

void fake_stack_die(struct fake_stack *f)
{
    end(f);
    for (int i = 0; i < BELLS; i++)
        close(f->bell_read[i]);
}

void fake_stack_mute(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->mute = on;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_stall(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->stalled = on;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_refuse(struct fake_stack *f, int error, uint32_t slots)
{
    pthread_mutex_lock(&f->lock);
    f->refuse = error;
    f->refuse_above = slots;
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_stop(struct fake_stack *f)
{
    end(f);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
}

void fake_stack_lie(struct fake_stack *f, uint32_t seed)
{
    pthread_mutex_lock(&f->lock);
    f->lie = seed;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_reset_all(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        struct fake_socket *k = &f->socket[i];
        if (!k->used || k->transport != SESSION_TCP || k->arena == NOBODY)
            continue;
        k->state |= SLOT_ERROR | SLOT_CLOSED;
        k->error = ECONNRESET;
        k->reset = true;
        fake_publish(f, k);
    }
    doorbell_ring(&f->to_session);
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_forget(struct fake_stack *f, bool slots)
{
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < SESSION_DESCRIPTORS; i++)
        __atomic_store_n(&f->answer->word[i].error, ECONNRESET, __ATOMIC_RELEASE);
    __atomic_store_n(&f->answer->ready_producer, f->answer->ready_producer + SESSION_DESCRIPTORS, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        struct fake_socket *k = &f->socket[i];
        if (k->used && k->arena != NOBODY && slots) {
            k->state |= SLOT_ERROR | SLOT_CLOSED;
            k->error = ECONNRESET;
            k->error_count++;
            fake_publish(f, k);
        }
        k->generation += 100; /* what is asked about it is about no socket */
        k->reset = k->reset || k->transport == SESSION_TCP;
    }
    doorbell_ring(&f->to_session);
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_hang_up(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    f->hang_up = true;
    pthread_mutex_unlock(&f->lock);
    poke(f);
}

void fake_stack_lose_answers(struct fake_stack *f, int count)
{
    pthread_mutex_lock(&f->lock);
    f->lose = count;
    pthread_mutex_unlock(&f->lock);
}

uint32_t fake_stack_arenas(const struct fake_stack *f)
{
    return f->arenas;
}

uint32_t fake_stack_option(struct fake_stack *f, uint32_t option)
{
    pthread_mutex_lock(&f->lock);
    uint32_t value = f->option[option];
    pthread_mutex_unlock(&f->lock);
    return value;
}

uint32_t fake_stack_app_flags(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    uint32_t flags = f->app_flags;
    pthread_mutex_unlock(&f->lock);
    return flags;
}

uint32_t fake_stack_backlog(struct fake_stack *f)
{
    pthread_mutex_lock(&f->lock);
    uint32_t backlog = f->backlog;
    pthread_mutex_unlock(&f->lock);
    return backlog;
}

void fake_stack_pend(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->pend = on;
    pthread_mutex_unlock(&f->lock);
}

void fake_stack_drain(struct fake_stack *f, bool on)
{
    pthread_mutex_lock(&f->lock);
    f->undrained = !on;
    for (uint32_t i = 0; i < SOCKETS; i++)
        if (f->socket[i].used && f->socket[i].transport == SESSION_TCP && f->socket[i].arena != NOBODY)
            fake_publish(f, &f->socket[i]);
    doorbell_ring(&f->to_session);
    pthread_mutex_unlock(&f->lock);
}

uint32_t fake_stack_sockets(struct fake_stack *f)
{
    uint32_t open = 0;
    pthread_mutex_lock(&f->lock);
    for (uint32_t i = 0; i < SOCKETS; i++)
        open += f->socket[i].used;
    pthread_mutex_unlock(&f->lock);
    return open;
}
