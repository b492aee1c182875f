/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>

/*
 * What happens to the blocks that a commit freed (I3): whoever may still
 * hold their addresses is waited for, they are punched out of the data
 * storage, and then the allocator may have them.  In this order: a punch
 * that comes after the release would hit the next owner's data.
 *
 * None of that is part of being durable, so those who wait for the commit
 * do not wait for it: the reaping thread does it, and before there is one
 * whoever committed, after the commit.  There are a few slots; when they are
 * full the next commit waits, so what is freed is never far ahead of what
 * can be used.
 *
 *  R1  What is put is released in the order it came, by one thread at a time.
 *  R2  thin_reap_settle() returns when all that was put before it has been
 *      released: then an allocation sees it.
 */

void thin_reaper_init(struct thin_reaper *rp)
{
	*rp = (struct thin_reaper){0};
	thin_mutex_init(&rp->lock);
	thin_cond_init(&rp->changed);
}

void thin_reaper_fini(struct thin_reaper *rp)
{
	assert(rp->done == rp->put && !rp->busy);
	thin_cond_fini(&rp->changed);
	thin_mutex_fini(&rp->lock);
}

void thin_reap_put(struct thin_pool *pool, struct thin_freed *freed)
{
	struct thin_reaper *rp = &pool->reaper;

	thin_mutex_lock(&rp->lock);
	while (rp->put - rp->done == THIN_REAP_SLOTS)
		thin_cond_wait(&rp->changed, &rp->lock);
	rp->slot[rp->put++ % THIN_REAP_SLOTS] = freed;
	thin_mutex_unlock(&rp->lock);
}

/* A file system keeps writers off the file for as long as one punch takes. */
#define PUNCH_AT_ONCE (UINT64_C(16) << 20)

/* A hint to the storage: a failure costs space there, and nothing else. */
static int punch(void *ctx, uint64_t dblock, uint64_t nr)
{
	struct thin_pool *pool = ctx;
	uint64_t at = dblock * pool->block_size, end = at + nr * pool->block_size;
	int r = 0;

	while (at < end && r != -ENOTSUP) {
		uint64_t len = thin_min(end - at, PUNCH_AT_ONCE);

		r = thin_storage_punch(pool->params.data, at, len);
		at += len;
	}
	pool->reaper.no_punch = r == -ENOTSUP;
	return pool->reaper.no_punch;
}

static bool may_punch(struct thin_pool *pool)
{
	return pool->params.discard == THIN_DISCARD_PASSDOWN && !pool->reaper.no_punch &&
	       thin_pool_mode(pool) != THIN_MODE_FAIL;
}

static void reap(struct thin_pool *pool, struct thin_freed *freed)
{
	if (may_punch(pool))
		(void)thin_freed_for_each(freed, punch, pool); /* a hint, see above */
	thin_metadata_release(pool->m, freed);
	thin_space_appeared(pool);
}

/* One epoch is enough for all that are there. */
static void reap_all(struct thin_pool *pool, struct thin_reaper *rp)
	THIN_REQUIRES(rp->lock)
{
	uint64_t end = rp->put;

	thin_mutex_unlock(&rp->lock);
	thin_epoch_synchronize();
	thin_mutex_lock(&rp->lock);
	while (rp->done < end) {
		struct thin_freed *freed = rp->slot[rp->done % THIN_REAP_SLOTS];

		thin_mutex_unlock(&rp->lock);
		reap(pool, freed);
		thin_mutex_lock(&rp->lock);
		rp->done++;
		thin_cond_broadcast(&rp->changed);
	}
}

void thin_reap_run(struct thin_pool *pool)
{
	struct thin_reaper *rp = &pool->reaper;

	thin_mutex_lock(&rp->lock);
	if (!rp->busy) {
		rp->busy = true;
		while (rp->done < rp->put)
			reap_all(pool, rp);
		rp->busy = false;
	}
	thin_mutex_unlock(&rp->lock);
}

void thin_reap_kick(struct thin_pool *pool)
{
	if (atomic_load(&pool->started))
		thin_worker_kick(&pool->reaping);
	else
		thin_reap_run(pool);
	thin_pool_tell(pool);
}

void thin_reap_settle(struct thin_pool *pool)
{
	struct thin_reaper *rp = &pool->reaper;
	uint64_t end;

	thin_mutex_lock(&rp->lock);
	end = rp->put;
	while (rp->done < end)
		thin_cond_wait(&rp->changed, &rp->lock);
	thin_mutex_unlock(&rp->lock);
}
