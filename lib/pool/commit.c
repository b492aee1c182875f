/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>
#include <errno.h>

/*
 * Commits and flushes, and what happens when they fail.
 *
 *  C1  A FLUSH or FUA that returns 0 joined a commit or a flush that started
 *      after it came (I7).  Where all the volume's mappings are durable, a
 *      flush of the data is enough.
 *  C2  Nobody waits for a commit who is in an epoch; nor inside a gate or a
 *      range, but where metadata is down to the reserve (space.c).  So what
 *      a commit waits for, I/O and epochs, must not wait for one of these.
 *  C3  What a commit needs of the data is flushed beside its metadata, on a
 *      thread of its own (flush.c); the superblock waits for both.
 *  C4  The first flush that fails ends it all: FAIL, nothing is tried again
 *      (I9).  Any other failure of a change or a commit goes back to the
 *      last commit, marks it for a check, and leaves the pool READ_ONLY.
 *  C5  There is one place for C4, the leader of a commit.  Whoever poisoned
 *      the transaction otherwise leaves what he holds and joins a commit.
 *  C6  `closing` is held while the transaction is closed, until the flush of
 *      the data begins: a group of snapshots that is made under it is in one
 *      transaction, and does not wait for the I/O of a commit.
 *  C7  Who goes back to the last commit takes along the changes that came
 *      after the one that failed.  A volume's next flush tells of it (its
 *      device is marked); a change that was asked for finds the pool
 *      READ_ONLY, and does not take having nothing to commit for success.
 */

struct run {
	struct thin_pool *pool;
	bool closed;  /* and the lock is open again */
	bool flushed; /* the data */
};

int thin_flush_run(struct thin_pool *pool)
{
	int r = thin_flush_data(pool);

	if (r)
		thin_space_give_up(pool);
	return r && r != -ESHUTDOWN ? -EIO : r;
}

/* C6.  The lock was taken by whoever started the commit: same thread. */
static void open_again(struct run *run) THIN_NO_THREAD_SAFETY
{
	assert(!run->closed);
	run->closed = true;
	thin_mutex_unlock(&run->pool->closing);
}

static int begin_flush(void *ctx)
{
	struct run *run = ctx;

	open_again(run);
	return thin_flush_begin(run->pool);
}

static int end_flush(void *ctx)
{
	struct run *run = ctx;
	int r = thin_flush_end(run->pool);

	run->flushed = !r;
	return r;
}

/* C4.  The client hears EIO, whatever it was inside. */
static int commit_failed(struct thin_pool *pool, int r)
{
	if (thin_pool_mode(pool) != THIN_MODE_FAIL && !thin_metadata_abort(pool->m, true))
		thin_pool_set_mode(pool, THIN_MODE_READ_ONLY);
	else
		thin_pool_set_mode(pool, THIN_MODE_FAIL);
	thin_space_give_up(pool);
	return r == -ESHUTDOWN ? r : -EIO;
}

static int commit(struct thin_pool *pool) THIN_NO_THREAD_SAFETY
{
	struct thin_freed *freed = NULL;
	struct run run = {.pool = pool};
	const struct thin_data_flush flush = {begin_flush, end_flush, &run};
	int r;

	thin_mutex_lock(&pool->closing);
	r = thin_metadata_commit(pool->m, &flush, &freed);
	if (!run.closed)
		open_again(&run);
	if (freed)
		thin_reap_put(pool, freed);
	if (r)
		return r;
	return run.flushed ? 0 : thin_flush_data(pool);
}

/* READ_ONLY: no transaction, but overwrites from before may be unflushed. */
int thin_commit_run(struct thin_pool *pool)
{
	int r = thin_pool_may_change(pool);

	if (r == -EROFS)
		return thin_flush_run(pool);
	if (!r) {
		r = commit(pool);
		if (r)
			r = commit_failed(pool, r);
		else
			thin_space_appeared(pool);
	}
	return r;
}

int thin_commit_now(struct thin_pool *pool)
{
	int r = pool->params.read_only ? 0 : thin_batch_join(&pool->commit);

	thin_reap_kick(pool);
	return r;
}

/* C7. */
int thin_commit_change(struct thin_pool *pool)
{
	int r = thin_commit_now(pool);

	return !r && thin_pool_may_change(pool) ? -EIO : r;
}

void thin_commit_if_dirty(struct thin_pool *pool)
{
	struct thin_metadata_info info;
	int r = 0;

	thin_metadata_info(pool->m, &info);
	if (info.dirty || info.failed)
		r = thin_commit_now(pool);
	(void)r; /* nobody asked; the mode tells of a failure */
}

int thin_commit_volume(struct thin_core *core)
{
	struct thin_pool *pool = core->pool;
	int r = thin_pool_may_read(pool);

	if (r || pool->params.read_only)
		return r;
	if (thin_device_changed(core->d))
		r = thin_commit_now(pool);
	else
		r = thin_batch_join(&pool->flush);
	if (!r && thin_device_aborted(core->d))
		r = -EIO;
	thin_pool_tell(pool);
	return r;
}

static bool poisoned(struct thin_pool *pool)
{
	struct thin_metadata_info info;

	thin_metadata_info(pool->m, &info);
	return info.failed;
}

int thin_commit_error(struct thin_pool *pool, int r)
{
	int commit = poisoned(pool) ? thin_commit_now(pool) : 0;

	(void)commit; /* C5: it fails, that is its purpose */
	if (r == -ESHUTDOWN && thin_pool_mode(pool) != THIN_MODE_FAIL)
		r = -EIO;
	thin_pool_tell(pool);
	return r;
}
