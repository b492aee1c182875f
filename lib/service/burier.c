/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The burier: a thread that frees, one after the other, what was too much to be
 * freed before the answer.  What it has not done when it is stopped is found
 * by the next one; see bury.c.
 */
#include "service/bury.h"

#include "service/service.h"

#include "util/checked.h"
#include "util/thread.h"

#include <errno.h>
#include <string.h>

struct thin_burier {
	struct thinbd *t;
	pthread_t thread;
	bool started; /* only who starts and who closes the pool */
	atomic_bool stop;

	struct thin_mutex lock;
	struct thin_cond changed;
	struct thin_ids queue THIN_GUARDED_BY(lock); /* devices */
};

static int go_on(void *ctx)
{
	struct thin_burier *b = ctx;

	return atomic_load(&b->stop) ? -EINTR : 0;
}

/* So many are claimed, and then forgotten, together. */
#define TOGETHER 256

static void do_queue(struct thin_burier *b, const struct thin_ids *ids)
{
	for (size_t i = 0; i < ids->nr && !atomic_load(&b->stop); i += TOGETHER) {
		struct thin_error why = {0};
		int r = thin_bury_slowly(b->t, ids->at + i,
					 thin_min(ids->nr - i, TOGETHER), go_on, b, &why);

		if (r && r != -EINTR)
			thin_bury_report(b->t, r, &why);
	}
}

static void *run(void *arg)
{
	struct thin_burier *b = arg;

	thin_mutex_lock(&b->lock);
	while (!atomic_load(&b->stop)) {
		struct thin_ids ids = b->queue;

		if (!ids.nr) {
			thin_cond_wait(&b->changed, &b->lock);
			continue;
		}
		b->queue = (struct thin_ids){0};
		thin_mutex_unlock(&b->lock);
		do_queue(b, &ids);
		free(ids.at);
		thin_mutex_lock(&b->lock);
	}
	thin_mutex_unlock(&b->lock);
	return NULL;
}

static int append(struct thin_ids *queue, const uint32_t *devices, size_t nr)
{
	void *at = reallocarray(queue->at, queue->nr + nr, sizeof(*queue->at));

	if (!at)
		return -ENOMEM;
	queue->at = at;
	memcpy(queue->at + queue->nr, devices, nr * sizeof(*devices));
	queue->nr += nr;
	return 0;
}

static int hand_over(struct thin_burier *b, const uint32_t *devices, size_t nr)
{
	thin_mutex_lock(&b->lock);
	int r = nr ? append(&b->queue, devices, nr) : 0;
	thin_cond_broadcast(&b->changed);
	thin_mutex_unlock(&b->lock);
	return r;
}

/* B1 of bury.c. */
int thin_bury_soon(struct thinbd *t, const uint32_t *devices, size_t nr,
		   struct thin_error *e)
{
	struct thin_burier *b = t->burier;
	int r = 0;

	if (!b || !b->started)
		return thin_bury(t, devices, nr, e);
	if (thin_bury_is_little(t, devices, nr))
		r = thin_bury_but_tombstones(t, devices, nr, e);
	if (!r && hand_over(b, devices, nr))
		r = thin_bury(t, devices, nr, e);
	return r;
}

/* --- its life ---------------------------------------------------------------- */

int thin_burier_new(struct thinbd *t, struct thin_burier **ret)
{
	struct thin_burier *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->t = t;
	thin_mutex_init(&b->lock);
	thin_cond_init(&b->changed);
	*ret = b;
	return 0;
}

int thin_burier_start(struct thin_burier *b)
{
	struct thin_ids left = {0};
	int r;

	if (!b)
		return 0;
	r = thin_tombstone_devices(b->t, &left);
	if (!r)
		r = hand_over(b, left.at, left.nr);
	if (!r)
		r = thin_thread_start(&b->thread, "thin-bury", run, b);
	b->started = !r;
	free(left.at);
	return r;
}

void thin_burier_stop(struct thin_burier *b)
{
	if (!b || !b->started)
		return;
	thin_mutex_lock(&b->lock);
	atomic_store(&b->stop, true);
	thin_cond_broadcast(&b->changed);
	thin_mutex_unlock(&b->lock);
	(void)pthread_join(b->thread, NULL);
	b->started = false;
}

void thin_burier_free(struct thin_burier *b) THIN_NO_THREAD_SAFETY
{
	if (!b)
		return;
	free(b->queue.at);
	thin_cond_fini(&b->changed);
	thin_mutex_fini(&b->lock);
	free(b);
}
