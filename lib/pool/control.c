/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include "util/checked.h"
#include "util/limits.h"

#include <errno.h>

/*
 * What is asked for from outside the I/O: devices, dm-thin's messages,
 * growing.  Each change ends in a commit, and is durable when it returns 0.
 */

/* After a change that returned @r. */
static int end_change(struct thin_pool *pool, int r)
{
	if (!r)
		r = thin_commit_change(pool);
	return r ? thin_commit_error(pool, r) : 0;
}

int thin_pool_commit(struct thin_pool *pool)
{
	int r = thin_pool_may_read(pool);

	if (!r)
		r = thin_commit_now(pool);
	return r ? thin_commit_error(pool, r) : 0;
}

/* `closing` keeps the commit of another thread from ending it half-way. */
static int create_all(struct thin_pool *pool, const uint32_t *devices, size_t nr)
{
	size_t made = 0;
	int r = 0;

	thin_mutex_lock(&pool->closing);
	for (; made < nr && !r; made += !r)
		r = thin_metadata_create_thin(pool->m, devices[made]);
	/* What can not be undone poisons the transaction, and is undone so. */
	for (size_t i = made; r && i-- > 0;)
		if (thin_metadata_delete(pool->m, devices[i]))
			break;
	thin_mutex_unlock(&pool->closing);
	return r;
}

int thin_pool_create_thins(struct thin_pool *pool, const uint32_t *devices, size_t nr)
{
	int r = thin_pool_may_change(pool);

	if (r)
		return r;
	r = create_all(pool, devices, nr);
	if (r == -ENOBUFS) { /* a commit gives back metadata blocks */
		r = thin_commit_now(pool);
		if (!r)
			r = create_all(pool, devices, nr);
	}
	return end_change(pool, r);
}

int thin_pool_create_thin(struct thin_pool *pool, uint32_t device)
{
	return thin_pool_create_thins(pool, &device, 1);
}

int thin_pool_set_transaction_id(struct thin_pool *pool, uint64_t old, uint64_t new)
{
	int r = thin_pool_may_change(pool);

	return r ? r
		 : end_change(pool, thin_metadata_set_transaction_id(pool->m, old, new));
}

int thin_pool_hold(struct thin_pool *pool)
{
	int r = thin_pool_may_change(pool);

	return r ? r : end_change(pool, thin_metadata_hold(pool->m));
}

int thin_pool_unhold(struct thin_pool *pool)
{
	int r = thin_pool_may_change(pool);

	return r ? r : end_change(pool, thin_metadata_unhold(pool->m));
}

int thin_pool_next_device(struct thin_pool *pool, uint32_t from,
			  struct thin_device_info *ret)
{
	int r = thin_pool_may_read(pool);

	return r ? r : thin_metadata_next_device(pool->m, from, ret);
}

int thin_pool_usage(struct thin_pool *pool, uint32_t device,
		    struct thin_device_info *ret_info, uint64_t *ret_exclusive)
{
	int r = thin_pool_may_read(pool);

	return r ? r : thin_metadata_usage(pool->m, device, ret_info, ret_exclusive);
}

struct thin_storage *thin_pool_metadata_storage(struct thin_pool *pool)
{
	return pool->params.metadata;
}

/* --- growing ------------------------------------------------------------------ */

/* Make @s at least @bytes long; a device that is as long already will do. */
static int resize_storage(struct thin_storage *s, uint64_t bytes)
{
	uint64_t now;
	int r = thin_storage_size(s, &now);

	if (r || bytes <= now)
		return r;
	return thin_storage_resize(s, bytes);
}

/* What is asked for, in blocks; 0: it stays as it is. */
struct growth {
	uint64_t data, metadata;
};

/* What the format can't address stays unused. */
static int plan_growth(struct thin_pool *pool, uint64_t data_bytes,
		       uint64_t metadata_bytes, struct growth *ret)
{
	struct growth g = {
		.data = data_bytes / pool->block_size,
		.metadata = thin_min(metadata_bytes / THIN_METADATA_BLOCK,
				     THIN_MAX_METADATA_BLOCKS),
	};
	struct thin_metadata_info now;

	thin_metadata_info(pool->m, &now);
	if (metadata_bytes && g.metadata < now.nr_metadata_blocks)
		return -EINVAL;
	if (data_bytes && g.data < now.nr_data_blocks)
		return -EINVAL;
	if (g.data > THIN_MAX_DATA_BLOCKS)
		return -ERANGE;
	*ret = g;
	return 0;
}

/* The data first, which are a device more often: where that fails nothing was done. */
static int grow_storages(struct thin_pool *pool, uint64_t data_bytes,
			 uint64_t metadata_bytes)
{
	int r = data_bytes ? resize_storage(pool->params.data, data_bytes) : 0;

	if (!r && metadata_bytes)
		r = resize_storage(pool->params.metadata, metadata_bytes);
	return r;
}

/* In one transaction, and the metadata first: growing the data needs some. */
static int use_growth(struct thin_pool *pool, const struct growth *g)
{
	int r = 0;

	thin_mutex_lock(&pool->closing);
	if (g->metadata)
		r = thin_metadata_grow_metadata(pool->m, g->metadata);
	if (!r && g->data)
		r = thin_metadata_grow_data(pool->m, g->data);
	if (!r && g->data)
		atomic_store(&pool->nr_data_blocks, g->data);
	thin_mutex_unlock(&pool->closing);
	return r;
}

static int grow(struct thin_pool *pool, uint64_t data_bytes, uint64_t metadata_bytes)
{
	struct growth g;
	int r = plan_growth(pool, data_bytes, metadata_bytes, &g);

	if (!r)
		r = grow_storages(pool, data_bytes, metadata_bytes);
	return r ? r : use_growth(pool, &g);
}

int thin_pool_grow(struct thin_pool *pool, uint64_t data_bytes, uint64_t metadata_bytes)
{
	int r = thin_pool_may_change(pool);

	if (r)
		return r;
	thin_mutex_lock(&pool->grow);
	r = grow(pool, data_bytes, metadata_bytes);
	thin_mutex_unlock(&pool->grow);
	return end_change(pool, r);
}
