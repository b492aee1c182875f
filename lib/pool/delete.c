/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"
#include "util/limits.h"

#include <errno.h>

/*
 * Deleting devices.
 *
 * All of them are claimed before any is touched: so they exist, nobody has
 * them open, and nobody will.  Then each is emptied in steps, each of which
 * holds the metadata for a moment only, and deleted when it is empty.
 *
 * A commit now and then keeps the transaction, and what it needs of the
 * metadata, small; and gives the first blocks back while the last ones are
 * still being unmapped.  A crash in between leaves smaller devices; who
 * asked for the deletion asks again (the registry's intent, I12).
 */

/* Steps between commits: a few tens of milliseconds of work. */
#define STEPS_PER_COMMIT 64

static int commit_between(struct thin_pool *pool, unsigned step)
{
	if (step % STEPS_PER_COMMIT && !thin_space_scarce(pool))
		return 0;
	return thin_commit_now(pool);
}

static int empty(struct thin_core *core, uint64_t next)
{
	int r = 0;

	for (unsigned step = 1; next < UINT64_MAX && !r; step++) {
		r = thin_metadata_remove_range(core->d, next, UINT64_MAX, THIN_UNMAP_STEP,
					       &next, NULL);
		if (!r)
			r = commit_between(core->pool, step);
	}
	return r;
}

static int delete_one(struct thin_core *core)
{
	int r = thin_pool_may_change(core->pool);

	if (!r)
		r = empty(core, 0);
	if (r)
		return r;
	thin_device_close(thin_steal(core->d));
	return thin_metadata_delete(core->pool->m, core->device);
}

static int claim_all(struct thin_pool *pool, const uint32_t *devices, size_t nr,
		     struct thin_core **cores)
{
	for (size_t i = 0; i < nr; i++) {
		int r = thin_core_claim(pool, devices[i], &cores[i]);
		if (r)
			return r;
	}
	return 0;
}

static int delete_all(struct thin_core **cores, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		int r = delete_one(cores[i]);
		if (r)
			return r;
	}
	return 0;
}

int thin_pool_delete(struct thin_pool *pool, const uint32_t *devices, size_t nr)
{
	_cleanup_free struct thin_core **cores = calloc(nr, sizeof(struct thin_core *));
	int r = thin_pool_may_change(pool);

	if (r || !nr)
		return r;
	if (!cores)
		return -ENOMEM;
	r = claim_all(pool, devices, nr, cores);
	if (!r)
		r = delete_all(cores, nr);
	for (size_t i = 0; i < nr; i++)
		thin_core_unpin(cores[i]);
	if (!r)
		r = thin_commit_change(pool);
	return r ? thin_commit_error(pool, r) : 0;
}

int thin_pool_truncate(struct thin_pool *pool, uint32_t device, uint64_t bytes)
{
	struct thin_core *core;
	int r = thin_pool_may_change(pool);

	if (!r)
		r = thin_core_claim(pool, device, &core);
	if (r)
		return r;
	r = empty(core, thin_div_up(bytes, pool->block_size));
	thin_core_unpin(core);
	if (!r)
		r = thin_commit_change(pool);
	return r ? thin_commit_error(pool, r) : 0;
}
