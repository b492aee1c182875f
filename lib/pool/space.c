/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>
#include <errno.h>

/*
 * When there is no free block.
 *
 * A request that can not reserve all the blocks it needs has done nothing
 * yet and holds nothing: neither blocks, nor its gate, nor its range.  So
 * snapshots, trims, deletes and other writers go on while it waits, and it
 * starts over from its beginning afterwards.
 *
 *  1. It commits once: what this transaction freed can be had then.
 *  2. Still nothing: OUT_OF_DATA.  With when_full = error that is all.
 *  3. With queue it waits for room to appear.  The first one whose patience
 *     ends sends everybody away with -ENOSPC, and whoever comes later, until
 *     there was room again: as in dm-thin, a pool that stays full turns to
 *     errors, and one that was grown queues again.
 *
 * `room` counts how often some appeared.  A request notes it before it
 * looks for blocks; so no wake-up is lost, and the mode is not changed on
 * account of a shortage that is over already.
 *
 * Who is promised the blocks (guarantee.c) does not count as one who is short
 * of room: what he lacks is on its way, and he waits for it, be it with
 * when_full = error.
 *
 * Metadata at the reserve is not waited for: a commit may help, and if it
 * does not, only growing does.  Who finds that out half-way (unmapping takes
 * metadata too) commits where he is, inside his gate: a snapshot then waits
 * for that commit as well, but does not see half of a request (I8).
 */

#define A_MOMENT_NS UINT64_C(5000000)

void thin_space_init(struct thin_space *s, uint64_t timeout_ns)
{
	*s = (struct thin_space){.timeout_ns = timeout_ns};
	thin_mutex_init(&s->lock);
	thin_cond_init(&s->changed);
}

void thin_space_fini(struct thin_space *s)
{
	assert(!s->waiters);
	thin_cond_fini(&s->changed);
	thin_mutex_fini(&s->lock);
}

void thin_space_look(struct thin_pool *pool, struct thin_patience *p)
{
	p->room = atomic_load(&pool->space.room);
}

int thin_space_settle(struct thin_pool *pool)
{
	struct thin_metadata_info info;
	int r = 0;

	thin_metadata_info(pool->m, &info);
	if (info.dirty)
		r = thin_commit_now(pool);
	thin_reap_settle(pool);
	return r;
}

bool thin_space_scarce(struct thin_pool *pool)
{
	struct thin_metadata_info info;

	thin_metadata_info(pool->m, &info);
	return !info.metadata_free;
}

/* Of several the first one's patience counts for all. */
static void wait_locked(struct thin_space *s, struct thin_patience *p)
	THIN_REQUIRES(s->lock)
{
	s->waiters++;
	if (!p->deadline_ns) {
		thin_cond_wait(&s->changed, &s->lock);
	} else if (!thin_cond_wait_until(&s->changed, &s->lock, p->deadline_ns)) {
		s->expired = s->room == p->room;
		thin_cond_broadcast(&s->changed);
	}
	s->waiters--;
}

/* The pool is full for as long as it is for the most modest of those it failed. */
static void note_shortage(struct thin_pool *pool, struct thin_space *s, uint64_t need)
	THIN_REQUIRES(s->lock)
{
	if (thin_pool_mode(pool) != THIN_MODE_OUT_OF_DATA || need < s->wanted)
		s->wanted = need;
	thin_pool_set_mode(pool, THIN_MODE_OUT_OF_DATA);
	thin_worker_kick(&pool->watcher); /* which tells of it */
}

static bool may_wait(struct thin_pool *pool)
{
	/* Before the start there is nobody who could make room meanwhile. */
	return pool->params.queue_if_full && atomic_load(&pool->started);
}

static int wait_for_room(struct thin_pool *pool, struct thin_patience *p)
{
	struct thin_space *s = &pool->space;
	int r = 0;

	if (s->timeout_ns && !p->deadline_ns)
		p->deadline_ns = thin_now_ns() + s->timeout_ns;
	thin_mutex_lock(&s->lock);
	if (s->room == p->room)
		note_shortage(pool, s, p->need);
	while (s->room == p->room && !r) {
		r = thin_pool_may_change(pool);
		if (!r && (s->expired || !may_wait(pool)))
			r = -ENOSPC;
		if (!r)
			wait_locked(s, p);
	}
	thin_mutex_unlock(&s->lock);
	return r;
}

/* Free blocks that nobody can have: freed, or reserved by somebody. */
static bool some_are_on_the_way(struct thin_pool *pool)
{
	struct thin_metadata_info info;

	thin_metadata_info(pool->m, &info);
	return info.nr_data_blocks - info.data_allocated > info.data_free;
}

/* Let them come: by a commit, or by those who reserved more than they need. */
static int wait_for_those(struct thin_pool *pool, const struct thin_patience *p)
{
	struct thin_space *s = &pool->space;
	int r = thin_space_settle(pool);

	thin_mutex_lock(&s->lock);
	if (!r && s->room == p->room)
		(void)thin_cond_wait_until(&s->changed, &s->lock,
					   thin_now_ns() + A_MOMENT_NS);
	thin_mutex_unlock(&s->lock);
	return r;
}

int thin_space_wait(struct thin_pool *pool, struct thin_patience *p, int what)
{
	int r;

	if (p->promised && what == -ENOSPC && some_are_on_the_way(pool))
		return wait_for_those(pool, p);
	if (!p->settled) {
		p->settled = true;
		return thin_space_settle(pool);
	}
	if (what == -ENOBUFS) {
		thin_pool_set_mode(pool, THIN_MODE_OUT_OF_METADATA);
		thin_pool_tell(pool);
		return -ENOSPC;
	}
	assert(what == -ENOSPC);
	r = wait_for_room(pool, p);
	thin_pool_tell(pool);
	return r;
}

static void wake_locked(struct thin_space *s) THIN_REQUIRES(s->lock)
{
	atomic_fetch_add(&s->room, 1);
	thin_cond_broadcast(&s->changed);
}

/* A little room is soon gone again: do not go back and forth over a block. */
static bool metadata_eased(const struct thin_metadata_info *info)
{
	return info->metadata_free > info->metadata_reserve / 8;
}

void thin_space_appeared(struct thin_pool *pool)
{
	enum thin_pool_mode mode = thin_pool_mode(pool);
	struct thin_space *s = &pool->space;
	struct thin_metadata_info info;
	uint64_t spare;
	bool enough;

	thin_metadata_info(pool->m, &info);
	thin_mutex_lock(&s->lock);
	spare = thin_guarantees_spare(pool, &info);
	enough = spare >= s->wanted;
	if (mode == THIN_MODE_OUT_OF_METADATA ? metadata_eased(&info) : enough)
		thin_pool_set_mode(pool, THIN_MODE_WRITE);
	if (enough)
		s->expired = false;
	if (info.data_free)
		wake_locked(s);
	thin_mutex_unlock(&s->lock);
}

void thin_space_returned(struct thin_pool *pool)
{
	struct thin_space *s = &pool->space;

	thin_mutex_lock(&s->lock);
	wake_locked(s);
	thin_mutex_unlock(&s->lock);
}

void thin_space_give_up(struct thin_pool *pool)
{
	struct thin_space *s = &pool->space;

	thin_mutex_lock(&s->lock);
	thin_cond_broadcast(&s->changed);
	thin_mutex_unlock(&s->lock);
}

void thin_space_unmapped(struct thin_pool *pool)
{
	struct thin_space *s = &pool->space;
	bool wanted;

	thin_mutex_lock(&s->lock);
	wanted = s->waiters;
	thin_mutex_unlock(&s->lock);
	if (wanted)
		thin_worker_kick(&pool->committer);
}
