// SPDX-License-Identifier: BSD-2-Clause
/* Applications that die with all that they have open. Their session ends by itself, or by force: after a minute, or at
 * once because its place is wanted. Then another application has its index, and what that one does must not suffer. */
#include "tests/sim/sim.h"

#define STREAMS   2U
#define OCTETS    20000U
#define ENDING_US 60000000U /* as servers/supervisor/supervisor.h: SESSION_ENDING_US */

static void streams(struct sim *sim, uint32_t k, uint32_t how)
{
    for (uint32_t i = 0; i < STREAMS; i++) {
        struct ip_address to = sim_target(sim, k, i);
        uint32_t up = sim_below(&sim->random, OCTETS);
        uint32_t down = sim_below(&sim->random, OCTETS);
        sim_app_stream(sim->app[SIM_STACKS + k], &to, SIM_PORT, up, down, sim_below(&sim->random, 4) | how);
    }
}

void sim_mortals_begin(struct sim *sim)
{
    if (sim->scenario->mortal_us == 0)
        return;
    for (uint32_t k = 0; k < (sim->scenario->both ? SIM_STACKS : 1); k++) {
        struct sim_mortal *m = &sim->mortal[k];
        sim->app[SIM_STACKS + k] = sim_app_new(&sim->stack[k], sim_random(&sim->random));
        streams(sim, k, STREAM_MORTAL);
        m->phase = MORTAL_LIVES;
        m->dies_us = sim->now_us + sim_below(&sim->random, sim->scenario->mortal_us);
    }
}

bool sim_is_hasty(const struct sim *sim)
{
    return (sim->scenario->seed & 1) != 0;
}

static bool is_wanted_now(const struct sim *sim, uint32_t k)
{
    const struct sim_stack *stack = &sim->stack[k];
    for (uint32_t i = 0; sim_is_hasty(sim) && i < stack->domain_count; i++)
        if (!sim_lives(&stack->domain[i]))
            return true;
    return sim->now_us >= sim->mortal[k].forced_us;
}

static void step(struct sim *sim, uint32_t k)
{
    struct sim_mortal *m = &sim->mortal[k];
    struct sim_app **app = &sim->app[SIM_STACKS + k];
    if (m->phase == MORTAL_LIVES && sim->now_us >= m->dies_us && sim_app_attached(*app)) {
        sim_app_die(*app);
        bool wanted = sim_chance(&sim->random, 500);
        m->forced_us = sim->now_us + (wanted ? sim_below(&sim->random, sim->scenario->mortal_us) : ENDING_US);
        m->phase = MORTAL_DEAD;
    }
    if (m->phase != MORTAL_DEAD)
        return;
    if (is_wanted_now(sim, k))
        sim_app_force(*app);
    if (!sim_app_gone(*app))
        return;
    sim_app_free(*app);
    *app = sim_app_new(&sim->stack[k], sim_random(&sim->random));
    streams(sim, k, 0);
    m->phase = MORTAL_FOLLOWED;
}

void sim_mortals_step(struct sim *sim)
{
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        step(sim, k);
}

bool sim_mortals_done(const struct sim *sim)
{
    for (uint32_t k = 0; k < SIM_STACKS; k++)
        if (sim->mortal[k].phase == MORTAL_LIVES || sim->mortal[k].phase == MORTAL_DEAD)
            return false;
    return true;
}
