/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include "util/checked.h"
#include "util/limits.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

/*
 * A pool's life: open, start, close.
 *
 * Four threads run from the start on: one commits at intervals, one flushes
 * the data beside commits (flush.c), one gives freed blocks back (reap.c), one
 * looks at low-water marks and origins.  They are four because each of them
 * may be kept waiting by something else: a commit, a flush, the slowest
 * request in flight, a server that is gone.
 *
 * Before the start, and in tools that never start it, nothing happens by
 * itself: commits are asked for, and whoever commits also reaps.
 */

#define NS_PER_S UINT64_C(1000000000)

/* How often origins and marks are looked at. */
#define WATCH_INTERVAL_NS NS_PER_S

static void init(struct thin_pool *pool, const struct thin_pool_params *params)
{
	uint64_t interval_ns = thin_max(params->commit_interval_s, 1) * NS_PER_S;

	*pool = (struct thin_pool){
		.params = *params,
		.low_water_data = params->low_water_data,
		.low_water_metadata = params->low_water_metadata,
	};
	thin_mutex_init(&pool->mode_lock);
	thin_mutex_init(&pool->volumes_lock);
	thin_cond_init(&pool->volumes_changed);
	thin_batcher_init(&pool->commit, pool, thin_commit_run);
	thin_batcher_init(&pool->flush, pool, thin_flush_run);
	thin_mutex_init(&pool->closing);
	thin_mutex_init(&pool->flush_data);
	thin_flusher_init(&pool->flusher, pool);
	thin_mutex_init(&pool->grow);
	thin_reaper_init(&pool->reaper);
	thin_guarantees_init(&pool->guarantees);
	thin_space_init(&pool->space, params->no_space_timeout_s * NS_PER_S);
	thin_worker_init(&pool->committer, "thin-commit", pool, thin_commit_if_dirty,
			 interval_ns);
	thin_worker_init(&pool->reaping, "thin-reap", pool, thin_reap_run, 0);
	thin_worker_init(&pool->watcher, "thin-watch", pool, thin_pool_watch,
			 WATCH_INTERVAL_NS);
}

static void fini(struct thin_pool *pool)
{
	assert(!pool->clients);
	thin_worker_fini(&pool->watcher);
	thin_worker_fini(&pool->reaping);
	thin_worker_fini(&pool->committer);
	thin_space_fini(&pool->space);
	thin_reaper_fini(&pool->reaper);
	thin_mutex_fini(&pool->grow);
	thin_flusher_fini(&pool->flusher);
	thin_mutex_fini(&pool->flush_data);
	thin_guarantees_fini(&pool->guarantees);
	thin_mutex_fini(&pool->closing);
	thin_batcher_fini(&pool->flush);
	thin_batcher_fini(&pool->commit);
	thin_cond_fini(&pool->volumes_changed);
	thin_mutex_fini(&pool->volumes_lock);
	thin_mutex_fini(&pool->mode_lock);
}

/* --- open --------------------------------------------------------------------- */

static int open_metadata(struct thin_pool *pool, struct thin_error *e)
{
	struct thin_metadata_params mp = {
		.storage = pool->params.metadata,
		.cache_bytes = pool->params.metadata_cache,
		.read_only = pool->params.read_only,
	};

	return thin_metadata_open(&mp, &pool->m, e);
}

/* A device that grew since: use it, as far as the format goes. */
static int use_more_metadata(struct thin_pool *pool, uint64_t nr_now)
{
	uint64_t bytes, nr;
	int r = thin_storage_size(pool->params.metadata, &bytes);

	nr = r ? 0 : thin_min(bytes / THIN_METADATA_BLOCK, THIN_MAX_METADATA_BLOCKS);
	return r || nr <= nr_now ? r : thin_metadata_grow_metadata(pool->m, nr);
}

static int use_more_data(struct thin_pool *pool, uint64_t nr_now, uint64_t bytes)
{
	uint64_t nr = thin_min(bytes / pool->block_size, THIN_MAX_DATA_BLOCKS);
	int r;

	if (nr <= nr_now)
		return 0;
	r = thin_metadata_grow_data(pool->m, nr);
	if (!r)
		atomic_store(&pool->nr_data_blocks, nr);
	return r;
}

/*
 * Not being able to use what was added is no reason to refuse what was
 * there; only a transaction that is broken by it is.
 */
static int use_more(struct thin_pool *pool, const struct thin_metadata_info *info,
		    uint64_t data_bytes)
{
	int r = use_more_metadata(pool, info->nr_metadata_blocks);
	struct thin_metadata_info now;

	if (!r)
		r = use_more_data(pool, info->nr_data_blocks, data_bytes);
	thin_metadata_info(pool->m, &now);
	return now.failed ? r : 0;
}

static int fit(struct thin_pool *pool, struct thin_error *e)
{
	struct thin_metadata_info info;
	uint64_t bytes, need;
	int r = thin_storage_size(pool->params.data, &bytes);

	if (r)
		return thin_error_set(e, r, "data: can not tell its size: %s",
				      thin_strerror(r));
	thin_metadata_info(pool->m, &info);
	pool->block_size = info.block_sectors * THIN_SECTOR;
	atomic_store(&pool->nr_data_blocks, info.nr_data_blocks);
	if (!thin_mul_ok(info.nr_data_blocks, pool->block_size, &need) || need > bytes)
		return thin_error_set(e, -ENOSPC,
				      "data: has %" PRIu64 " bytes, but the metadata "
				      "says %" PRIu64 " blocks of %" PRIu64,
				      bytes, info.nr_data_blocks, pool->block_size);
	if (info.read_only) {
		atomic_store(&pool->mode, THIN_MODE_READ_ONLY);
		return 0;
	}
	r = use_more(pool, &info, bytes);
	return r ? thin_error_default(e, r, "can not use what was added: %s",
				      thin_strerror(r))
		 : 0;
}

/* Whole pages, for O_DIRECT; a block of odd size just uses less of them. */
static size_t buffer_len(const struct thin_pool *pool)
{
	return thin_div_up(thin_min(pool->block_size, THIN_PIECE), 4096) * 4096;
}

int thin_pool_open(const struct thin_pool_params *params, struct thin_pool **ret,
		   struct thin_error *e)
{
	struct thin_pool *pool = malloc(sizeof(*pool));
	int r;

	if (!pool)
		return thin_error_set(e, -ENOMEM, "no memory");
	init(pool, params);
	r = open_metadata(pool, e);
	if (!r)
		r = fit(pool, e);
	if (r) {
		thin_metadata_close(pool->m);
		fini(pool);
		free(pool);
		return r;
	}
	thin_buffers_init(&pool->buffers, buffer_len(pool));
	*ret = pool;
	return 0;
}

/* --- start -------------------------------------------------------------------- */

static int start_storages(struct thin_pool *pool)
{
	int r = thin_storage_start(pool->params.metadata);

	if (!r)
		r = thin_storage_start(pool->params.data);
	return r ? r : thin_volumes_start(pool);
}

static void stop_workers(struct thin_pool *pool)
{
	thin_worker_stop(&pool->watcher);
	thin_worker_stop(&pool->committer);
	thin_worker_stop(&pool->reaping);
	atomic_store(&pool->started, false); /* from here on nobody needs the last one */
	thin_worker_stop(&pool->flusher.worker);
}

int thin_pool_start(struct thin_pool *pool)
{
	int r = start_storages(pool);

	if (r)
		return r;
	atomic_store(&pool->started, true);
	r = thin_worker_start(&pool->flusher.worker);
	if (!r)
		r = thin_worker_start(&pool->reaping);
	if (!r)
		r = thin_worker_start(&pool->committer);
	if (!r)
		r = thin_worker_start(&pool->watcher);
	if (r)
		stop_workers(pool);
	return r;
}

/* --- close -------------------------------------------------------------------- */

/* A pool that nobody changed is not written to, not even here. */
static int last_commit(struct thin_pool *pool)
{
	int r = thin_pool_may_read(pool);

	return r ? r : thin_commit_now(pool);
}

int thin_pool_close(struct thin_pool *pool)
{
	int r;

	stop_workers(pool);
	r = last_commit(pool);
	thin_reap_run(pool);
	thin_metadata_close(pool->m);
	thin_storage_close(pool->params.data);
	thin_storage_close(pool->params.metadata);
	thin_buffers_fini(&pool->buffers);
	fini(pool);
	free(pool);
	return r;
}

void thin_pool_status(struct thin_pool *pool, struct thin_pool_status *ret)
{
	*ret = (struct thin_pool_status){
		.mode = thin_pool_mode(pool),
		.block_size = pool->block_size,
		.low_water_data = atomic_load(&pool->low_water_data),
		.low_water_metadata = atomic_load(&pool->low_water_metadata),
		.queue_if_full = pool->params.queue_if_full,
		.discard = pool->params.discard,
	};
	thin_metadata_info(pool->m, &ret->metadata);
	ret->data_kept = atomic_load(&pool->guarantees.kept);
	ret->data_spare = thin_guarantees_spare(pool, &ret->metadata);
	thin_mutex_lock(&pool->volumes_lock);
	ret->clients = pool->clients;
	thin_mutex_unlock(&pool->volumes_lock);
}
