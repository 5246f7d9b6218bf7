// SPDX-License-Identifier: BSD-2-Clause
#include "ipc/doorbell.h"

#include <unistd.h>

void doorbell_ring(struct doorbell *bell)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (c) */
    uint32_t word = __atomic_load_n(bell->sleep, __ATOMIC_RELAXED);
    if ((word & 1) == 0 || word == bell->rung_for || bell->fd < 0)
        return;
    bell->rung_for = word;
    /* EAGAIN: the pipe is full of rings that nobody has read yet, so it is rung already. EPIPE: nobody is there. */
    ssize_t n = write(bell->fd, "", 1);
    (void)n;
}

void doorbell_sleep(uint32_t *sleep)
{
    uint32_t word = __atomic_load_n(sleep, __ATOMIC_RELAXED);
    __atomic_store_n(sleep, word | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* (C) */
}

void doorbell_wake(uint32_t *sleep)
{
    uint32_t word = __atomic_load_n(sleep, __ATOMIC_RELAXED);
    __atomic_store_n(sleep, (word | 1) + 1, __ATOMIC_RELAXED);
}

void doorbell_drain(int read_fd)
{
    char rings[256];
    /* A pipe holds 64 KiB: a neighbour that fills it costs a bounded number of reads here. */
    for (int i = 0; i < 4 && read(read_fd, rings, sizeof rings) == (ssize_t)sizeof rings; i++)
        ;
}
