/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <errno.h>

/*
 * Snapshots of one instant (I8).
 *
 *  1. The origins are pinned, so that they are neither deleted nor opened
 *     anew past us, and all that can be checked is.
 *  2. Their gates are shut: new writes are held, those in flight
 *     complete.  Nobody holds a mapping of theirs then.
 *     Those to whom room is guaranteed get it for the copies they will make.
 *  3. All snapshots are made, in one transaction: `closing` keeps the commit
 *     of another thread from ending it half-way.  Where a later one fails
 *     the earlier ones are deleted again, in the same transaction.
 *  4. The gates open.  What the snapshots hold is fixed: from here on writes
 *     find their blocks shared and go elsewhere.
 *  5. Commit.  Durability is the snapshot's own matter; a writer is held up
 *     for as long as its volume's requests in flight took, and not for a
 *     flush.  After a crash in between there is no snapshot, as if it had
 *     not been asked for; it was not acknowledged.
 *
 * Gates are shut in the order of device ids, so two groups can't wait for
 * each other.
 */

struct group {
	struct thin_pool *pool;
	const struct thin_snap_pair *pairs;
	size_t nr;
	struct thin_core **origins; /* distinct, by device id */
	size_t nr_origins;
};

static int by_device(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* The distinct origins' ids, ascending. */
static size_t sort_origins(const struct group *g, uint32_t *ids)
{
	size_t nr = 0;

	for (size_t i = 0; i < g->nr; i++)
		ids[i] = g->pairs[i].origin;
	qsort(ids, g->nr, sizeof(*ids), by_device);
	for (size_t i = 0; i < g->nr; i++)
		if (!nr || ids[nr - 1] != ids[i])
			ids[nr++] = ids[i];
	return nr;
}

static void unpin_origins(struct group *g)
{
	while (g->nr_origins)
		thin_core_unpin(g->origins[--g->nr_origins]);
}

static int pin_origins(struct group *g)
{
	_cleanup_free uint32_t *ids = calloc(g->nr, sizeof(*ids));
	size_t nr;

	if (!ids)
		return -ENOMEM;
	nr = sort_origins(g, ids);
	while (g->nr_origins < nr) {
		int r = thin_core_pin(g->pool, ids[g->nr_origins],
				      &g->origins[g->nr_origins]);
		if (r)
			return r;
		g->nr_origins++;
	}
	return 0;
}

static bool is_there(struct thin_pool *pool, uint32_t device)
{
	struct thin_device_info info;

	return !thin_metadata_next_device(pool->m, device, &info) && info.id == device;
}

/* A group that can't be made is not begun: not even its gates are shut. */
static int check_snaps(const struct group *g)
{
	for (size_t i = 0; i < g->nr; i++) {
		if (is_there(g->pool, g->pairs[i].snap))
			return -EEXIST;
		for (size_t j = 0; j < i; j++)
			if (g->pairs[j].snap == g->pairs[i].snap)
				return -EEXIST;
	}
	return 0;
}

static int make_one(struct group *g, size_t i)
{
	return thin_metadata_create_snap(g->pool->m, g->pairs[i].snap,
					 g->pairs[i].origin);
}

/* What can not be undone poisons the transaction, and is undone so. */
static void undo(struct group *g, size_t made)
{
	while (made--)
		if (thin_metadata_delete(g->pool->m, g->pairs[made].snap))
			return;
}

static int make_all_locked(struct group *g) THIN_REQUIRES(g->pool->closing)
{
	for (size_t i = 0; i < g->nr; i++) {
		int r = make_one(g, i);
		if (r) {
			undo(g, i);
			return r;
		}
	}
	return 0;
}

static int make_shared(struct group *g)
{
	int r;

	thin_mutex_lock(&g->pool->closing);
	r = make_all_locked(g);
	thin_mutex_unlock(&g->pool->closing);
	return r;
}

/* A loop over locks is more than clang's analysis can follow. */
static int make_all(struct group *g) THIN_NO_THREAD_SAFETY
{
	int r;

	for (size_t i = 0; i < g->nr_origins; i++)
		thin_gate_shut(&g->origins[i]->gate);
	r = thin_guarantees_share(g->pool, g->origins, g->nr_origins);
	if (!r) {
		r = make_shared(g);
		if (r)
			thin_guarantees_unshare(g->pool, g->origins, g->nr_origins);
	}
	for (size_t i = g->nr_origins; i-- > 0;)
		thin_gate_open(&g->origins[i]->gate);
	return r;
}

/* A commit gives back metadata blocks, and data blocks: try once more after it. */
static int make_all_patiently(struct group *g)
{
	int r = make_all(g);

	if (r != -ENOBUFS && r != -ENOSPC)
		return r;
	r = thin_space_settle(g->pool);
	return r ? r : make_all(g);
}

int thin_pool_snapshot(struct thin_pool *pool, const struct thin_snap_pair *pairs,
		       size_t nr)
{
	_cleanup_free struct thin_core **origins = calloc(nr, sizeof(struct thin_core *));
	struct group g = {.pool = pool, .pairs = pairs, .nr = nr, .origins = origins};
	int r = thin_pool_may_change(pool);

	if (r)
		return r;
	if (!nr)
		return -EINVAL;
	if (!origins)
		return -ENOMEM;
	r = pin_origins(&g);
	if (!r)
		r = check_snaps(&g);
	if (!r)
		r = make_all_patiently(&g);
	unpin_origins(&g);
	if (!r)
		r = thin_commit_change(pool);
	return r ? thin_commit_error(pool, r) : 0;
}
