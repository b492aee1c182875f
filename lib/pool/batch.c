/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>

/*
 * Group commit.  Many threads want something done that is dear and that
 * serves all of them at once: a commit, a flush.  One of them does it, the
 * others wait.
 *
 *  B1  A caller gets the result of a run that started after he came; never
 *      that of one which was going on already, since that may have begun
 *      before what he wants covered.
 *  B2  Runs exclude each other.
 *
 * Whoever finds no run going on becomes the leader: he takes the list of
 * those who wait, himself among them, runs, and hands the result to each.
 * Those who come meanwhile make the next list.  Each caller has a place of
 * his own for the result, so a later run's can not be mistaken for it.
 */

struct thin_batch_wait {
	struct thin_batch_wait *next;
	int result;
	bool done;
};

void thin_batcher_init(struct thin_batcher *b, struct thin_pool *pool,
		       int (*run)(struct thin_pool *pool))
{
	*b = (struct thin_batcher){.run = run, .pool = pool};
	thin_mutex_init(&b->lock);
	thin_cond_init(&b->changed);
}

void thin_batcher_fini(struct thin_batcher *b)
{
	assert(!b->waiting && !b->running);
	thin_cond_fini(&b->changed);
	thin_mutex_fini(&b->lock);
}

/* Gives the lock away meanwhile. */
static void lead(struct thin_batcher *b) THIN_REQUIRES(b->lock)
{
	struct thin_batch_wait *batch = b->waiting, *next;
	int r;

	assert(batch && !b->running);
	b->running = true;
	b->waiting = NULL;
	thin_mutex_unlock(&b->lock);
	r = b->run(b->pool);
	thin_mutex_lock(&b->lock);
	for (; batch; batch = next) {
		next = batch->next; /* it is gone once it is done */
		batch->result = r;
		batch->done = true;
	}
	b->running = false;
	thin_cond_broadcast(&b->changed);
}

int thin_batch_join(struct thin_batcher *b)
{
	struct thin_batch_wait me = {0};

	thin_mutex_lock(&b->lock);
	me.next = b->waiting;
	b->waiting = &me;
	while (!me.done) {
		if (b->running)
			thin_cond_wait(&b->changed, &b->lock);
		else
			lead(b);
	}
	thin_mutex_unlock(&b->lock);
	return me.result;
}

/* Takes the leader's place without doing his work. */
void thin_batch_begin(struct thin_batcher *b)
{
	thin_mutex_lock(&b->lock);
	while (b->running)
		thin_cond_wait(&b->changed, &b->lock);
	b->running = true;
	thin_mutex_unlock(&b->lock);
}

void thin_batch_end(struct thin_batcher *b)
{
	thin_mutex_lock(&b->lock);
	b->running = false;
	thin_cond_broadcast(&b->changed);
	thin_mutex_unlock(&b->lock);
}
