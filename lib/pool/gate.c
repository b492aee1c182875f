/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>

/*
 * The gate of a volume: any number go through at once, and now and then
 * somebody shuts it and waits until it is empty.
 *
 * Those who go through count themselves on one of several counters, each
 * on a cache line of its own, by the thread they run in: so they do not meet.
 * Whoever shuts it says so first, and looks at the counters then; whoever
 * enters counts himself first, and looks then whether it is shut.  All four
 * are sequentially consistent, so one of the two sees the other.
 *
 * All who are inside when it shuts are waited for together.  (A lock for
 * each counter would drain them one after the other, and let new ones in
 * behind those that are still to be taken.)
 */

static atomic_uint *my_counter(struct thin_gate *gate)
{
	static atomic_uint next;
	static _Thread_local unsigned mine; /* 0: none yet */

	if (!mine)
		mine = 1 + atomic_fetch_add(&next, 1) % THIN_SHARDS;
	return &gate->inside[mine - 1].nr;
}

void thin_gate_init(struct thin_gate *gate)
{
	*gate = (struct thin_gate){.shut = false};
	thin_mutex_init(&gate->lock);
	thin_cond_init(&gate->changed);
}

static bool empty(struct thin_gate *gate)
{
	for (unsigned i = 0; i < THIN_SHARDS; i++)
		if (atomic_load(&gate->inside[i].nr))
			return false;
	return true;
}

void thin_gate_fini(struct thin_gate *gate)
{
	assert(!gate->shut && empty(gate));
	thin_cond_fini(&gate->changed);
	thin_mutex_fini(&gate->lock);
}

static void count_out(struct thin_gate *gate, atomic_uint *counter)
{
	atomic_fetch_sub(counter, 1);
	if (!atomic_load(&gate->shut))
		return;
	thin_mutex_lock(&gate->lock);
	thin_cond_broadcast(&gate->changed);
	thin_mutex_unlock(&gate->lock);
}

static void wait_until_open(struct thin_gate *gate)
{
	thin_mutex_lock(&gate->lock);
	while (atomic_load(&gate->shut))
		thin_cond_wait(&gate->changed, &gate->lock);
	thin_mutex_unlock(&gate->lock);
}

void thin_gate_enter(struct thin_gate *gate) THIN_NO_THREAD_SAFETY
{
	atomic_uint *counter = my_counter(gate);

	for (;;) {
		atomic_fetch_add(counter, 1);
		if (!atomic_load(&gate->shut))
			return;
		count_out(gate, counter);
		wait_until_open(gate);
	}
}

void thin_gate_leave(struct thin_gate *gate) THIN_NO_THREAD_SAFETY
{
	count_out(gate, my_counter(gate));
}

void thin_gate_shut(struct thin_gate *gate) THIN_NO_THREAD_SAFETY
{
	thin_mutex_lock(&gate->lock);
	while (atomic_load(&gate->shut))
		thin_cond_wait(&gate->changed, &gate->lock);
	atomic_store(&gate->shut, true);
	while (!empty(gate))
		thin_cond_wait(&gate->changed, &gate->lock);
	thin_mutex_unlock(&gate->lock);
}

void thin_gate_open(struct thin_gate *gate) THIN_NO_THREAD_SAFETY
{
	thin_mutex_lock(&gate->lock);
	assert(atomic_load(&gate->shut));
	atomic_store(&gate->shut, false);
	thin_cond_broadcast(&gate->changed);
	thin_mutex_unlock(&gate->lock);
}
