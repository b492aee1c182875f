/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include "util/thread.h"

/*
 * A thread that calls one function at intervals, and when kicked.  A kick
 * during a turn means another turn after it: what the kicker did may have
 * come too late for this one.
 */

void thin_worker_init(struct thin_worker *w, const char *name, struct thin_pool *pool,
		      void (*fn)(struct thin_pool *pool), uint64_t interval_ns)
{
	*w = (struct thin_worker){
		.name = name,
		.fn = fn,
		.pool = pool,
		.interval_ns = interval_ns,
	};
	thin_mutex_init(&w->lock);
	thin_cond_init(&w->changed);
}

void thin_worker_fini(struct thin_worker *w)
{
	thin_worker_stop(w);
	thin_cond_fini(&w->changed);
	thin_mutex_fini(&w->lock);
}

/* Returns false when it is time to stop. */
static bool wait_for_turn(struct thin_worker *w)
{
	uint64_t deadline = thin_now_ns() + w->interval_ns;
	bool go;

	thin_mutex_lock(&w->lock);
	while (!w->stop && !w->kicked) {
		if (!w->interval_ns)
			thin_cond_wait(&w->changed, &w->lock);
		else if (!thin_cond_wait_until(&w->changed, &w->lock, deadline))
			break;
	}
	w->kicked = false;
	go = !w->stop;
	thin_mutex_unlock(&w->lock);
	return go;
}

static void *work(void *arg)
{
	struct thin_worker *w = arg;

	while (wait_for_turn(w))
		w->fn(w->pool);
	return NULL;
}

int thin_worker_start(struct thin_worker *w)
{
	int r;

	thin_mutex_lock(&w->lock);
	r = thin_thread_start(&w->thread, w->name, work, w);
	w->running = !r;
	thin_mutex_unlock(&w->lock);
	return r;
}

void thin_worker_kick(struct thin_worker *w)
{
	thin_mutex_lock(&w->lock);
	w->kicked = true;
	thin_cond_broadcast(&w->changed);
	thin_mutex_unlock(&w->lock);
}

void thin_worker_stop(struct thin_worker *w)
{
	bool running;

	thin_mutex_lock(&w->lock);
	running = w->running;
	w->running = false;
	w->stop = true;
	thin_cond_broadcast(&w->changed);
	thin_mutex_unlock(&w->lock);
	if (running)
		(void)pthread_join(w->thread, NULL); /* fails only for a stranger */
}
