/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>

/*
 * Flushes of the data, and the thread that makes them beside a commit: while
 * it flushes the data, the committing thread writes and flushes the metadata,
 * so that a commit waits for two flushes one after the other and not for three.
 *
 *  F1  One flush at a time, and none after one that failed.  The kernel tells
 *      of a lost write once: of two flushes at a time one would get the error,
 *      and the other, on which a superblock waits, success.
 *  F2  Where the thread does not run, begin() has made the flush when it
 *      returns: tools and tests have their I/O in a fixed order.
 *  F3  begin() and end() come in pairs, one pair at a time: commits exclude
 *      each other.
 */

int thin_flush_data(struct thin_pool *pool)
{
	int r;

	thin_mutex_lock(&pool->flush_data);
	r = thin_pool_may_read(pool);
	if (!r) {
		r = thin_storage_flush(pool->params.data);
		if (r)
			thin_pool_set_mode(pool, THIN_MODE_FAIL);
	}
	thin_mutex_unlock(&pool->flush_data);
	return r;
}

/* The thread's turn. */
static void flush_beside(struct thin_pool *pool)
{
	struct thin_flusher *f = &pool->flusher;
	int r = thin_flush_data(pool);

	thin_mutex_lock(&f->lock);
	f->result = r;
	f->under_way = false;
	thin_cond_broadcast(&f->done);
	thin_mutex_unlock(&f->lock);
}

void thin_flusher_init(struct thin_flusher *f, struct thin_pool *pool)
{
	thin_worker_init(&f->worker, "thin-flush", pool, flush_beside, 0);
	thin_mutex_init(&f->lock);
	thin_cond_init(&f->done);
	f->under_way = false;
}

void thin_flusher_fini(struct thin_flusher *f)
{
	assert(!f->under_way);
	thin_worker_fini(&f->worker);
	thin_cond_fini(&f->done);
	thin_mutex_fini(&f->lock);
}

/* Waking a thread for nothing costs more than finding that out. */
static bool is_worth_a_thread(struct thin_pool *pool)
{
	return atomic_load(&pool->started) && thin_storage_unflushed(pool->params.data);
}

int thin_flush_begin(struct thin_pool *pool)
{
	struct thin_flusher *f = &pool->flusher;

	f->result = 0;
	if (!is_worth_a_thread(pool))
		return thin_flush_data(pool);
	thin_mutex_lock(&f->lock);
	assert(!f->under_way);
	f->under_way = true;
	thin_mutex_unlock(&f->lock);
	thin_worker_kick(&f->worker);
	return 0;
}

int thin_flush_end(struct thin_pool *pool)
{
	struct thin_flusher *f = &pool->flusher;
	int r;

	thin_mutex_lock(&f->lock);
	while (f->under_way)
		thin_cond_wait(&f->done, &f->lock);
	r = f->result;
	thin_mutex_unlock(&f->lock);
	return r;
}
