/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

/* Looking at a pool from outside: at its mappings, and at what is committed. */

int thin_pool_lookup(struct thin_pool *pool, uint32_t device, uint64_t begin,
		     uint64_t end, struct thin_run *ret_runs, size_t max, size_t *ret_nr)
{
	struct thin_core *core;
	int r = thin_core_pin(pool, device, &core);

	if (r)
		return r;
	r = thin_metadata_lookup(core->d, begin, end, ret_runs, max, ret_nr);
	thin_core_unpin(core);
	return r;
}

int thin_pool_pin(struct thin_pool *pool, void *ret_superblock)
{
	return thin_metadata_pin(pool->m, ret_superblock);
}

bool thin_pool_unpin(struct thin_pool *pool)
{
	return thin_metadata_unpin(pool->m);
}

void thin_pool_freeze(struct thin_pool *pool)
{
	thin_batch_begin(&pool->commit);
}

void thin_pool_thaw(struct thin_pool *pool)
{
	thin_batch_end(&pool->commit);
}
