/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include "format/space_map_layout.h"
#include "util/checked.h"
#include "util/epoch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/*
 * Opening and closing, the facts, growing, and how to look without waiting.
 *
 * The reserve.  A commit, and the changes that give room back, need blocks
 * themselves before the old ones are free.  So what takes room is refused
 * when the free metadata is down to the reserve: a tenth, at most 4096 blocks
 * as the kernel has it, and at least 16.
 */

#define RESERVE_MAX UINT64_C(4096)

uint64_t thin_metadata_reserve_size(const struct thin_metadata *m)
{
	uint64_t tenth = thin_sm_metadata_nr_blocks(m->sm_metadata) / 10;

	return thin_max(THIN_RESERVE_MIN, thin_min(tenth, RESERVE_MAX));
}

/* --- what may be done ---------------------------------------------------- */

int thin_may_change(struct thin_metadata *m)
{
	if (m->dead)
		return -ESHUTDOWN;
	if (m->failed)
		return m->failed;
	if (m->read_only)
		return -EROFS;
	thin_cache_begin_op(m->cache);
	return 0;
}

int thin_may_grow(struct thin_metadata *m, uint64_t extra)
{
	int r = thin_may_change(m);

	if (r)
		return r;
	if (thin_sm_metadata_nr_free(m->sm_metadata) <=
	    thin_metadata_reserve_size(m) + extra)
		return -ENOBUFS;
	return 0;
}

int thin_changed(struct thin_metadata *m, int r)
{
	m->dirty = true;
	if (r)
		m->failed = r;
	return r;
}

/* --- looking --------------------------------------------------------------- */

int thin_fetch_missing(struct thin_metadata *m, const struct thin_reader *rd,
		       uint64_t generation)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t buf[THIN_METADATA_BLOCK];
	int r = thin_cache_fetch(m->cache, rd->missing, rd->missing_kind, buf);

	thin_sharded_write(&m->tree_lock);
	if (!r) {
		thin_cache_begin_op(m->cache);
		r = thin_cache_install(m->cache, rd->missing, rd->missing_kind, buf,
				       generation);
	} else if (thin_cache_generation(m->cache) != generation) {
		r = 0; /* it was rewritten while it was read */
	}
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/* Each miss costs a round; a path has two trees of so many levels. */
#define LOOK_ROUNDS (4 * THIN_MAX_TREE_DEPTH)

static int look_exclusively(struct thin_metadata *m, thin_look_fn *fn, void *ctx)
{
	struct thin_reader rd = {.cache = m->cache, .may_load = true};
	int r;

	thin_sharded_write(&m->tree_lock);
	thin_cache_begin_op(m->cache);
	r = m->dead || m->failed ? -ESHUTDOWN : fn(m, &rd, ctx);
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

int thin_look(struct thin_metadata *m, thin_look_fn *fn, void *ctx)
{
	/* What is fetched below must not be given to others meanwhile (I3). */
	THIN_EPOCH_SCOPE;

	for (unsigned round = 0; round < LOOK_ROUNDS; round++) {
		struct thin_reader rd = {.cache = m->cache};
		uint64_t generation;
		int r;

		thin_sharded_read(&m->tree_lock);
		r = m->dead || m->failed ? -ESHUTDOWN : fn(m, &rd, ctx);
		generation = thin_cache_generation(m->cache);
		thin_sharded_read_end(&m->tree_lock);
		if (r != -EWOULDBLOCK)
			return r;
		r = thin_fetch_missing(m, &rd, generation);
		if (r)
			return r;
	}
	return look_exclusively(m, fn, ctx);
}

/* --- opening ------------------------------------------------------------------ */

int thin_load_state(struct thin_metadata *m)
{
	int r;

	m->top_root = le64_get(m->sb.data_mapping_root);
	m->details_root = le64_get(m->sb.device_details_root);
	m->held_root = le64_get(m->sb.held_root);
	m->transaction_id = le64_get(m->sb.trans_id);
	m->time = le32_get(m->sb.time);
	m->dirty = false;
	r = thin_sm_metadata_open(m->cache, &m->sb.metadata_space_map, &m->sm_metadata);
	if (r)
		return r;
	m->tm = (struct thin_transaction){
		.cache = m->cache,
		.sm = thin_sm_metadata_interface(m->sm_metadata),
	};
	return thin_sm_disk_open(&m->tm, le64_get(m->sb.metadata_space_map.nr_blocks),
				 &m->sb.data_space_map, &m->sm_data);
}

void thin_drop_state(struct thin_metadata *m)
{
	thin_usage_forget(m);
	thin_block_set_clear(&m->tm.fresh);
	thin_sm_disk_destroy(m->sm_data);
	thin_sm_metadata_destroy(m->sm_metadata);
	m->sm_data = NULL;
	m->sm_metadata = NULL;
	if (m->cache)
		thin_cache_drop(m->cache);
}

static int read_superblock(struct thin_storage *storage, struct thin_disk_superblock *ret,
			   struct thin_error *e)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t block[THIN_METADATA_BLOCK];
	uint64_t bytes, nr_blocks;
	int r;

	r = thin_storage_size(storage, &bytes);
	if (r)
		return thin_error_set(e, r, "metadata: %s", thin_strerror(r));
	if (bytes < THIN_METADATA_BLOCK)
		return thin_error_set(
			e, -EMEDIUMTYPE,
			"metadata: %" PRIu64 " bytes are not even one block", bytes);
	r = thin_storage_read_at(storage, 0, block, sizeof(block));
	if (r)
		return thin_error_set(e, r, "metadata superblock: %s", thin_strerror(r));
	r = thin_superblock_check(block, 0, e);
	if (r)
		return r;
	memcpy(ret, block, sizeof(*ret));
	nr_blocks = le64_get(ret->metadata_space_map.nr_blocks);
	if (nr_blocks > bytes / THIN_METADATA_BLOCK)
		return thin_error_set(e, -ENOSPC,
				      "metadata: it says it has %" PRIu64
				      " blocks, but there are only %" PRIu64,
				      nr_blocks, bytes / THIN_METADATA_BLOCK);
	return 0;
}

/*
 * What is read may be the last words of a process that was killed: in the
 * system's cache, and not on the disk.  There the superblock before it may
 * still be, and what that one refers to is not ours to overwrite (I1).
 */
static int settle_storage(const struct thin_metadata_params *params, struct thin_error *e)
{
	int r = params->read_only ? 0 : thin_storage_flush(params->storage);

	return r ? thin_error_set(e, r, "metadata: can not flush it: %s",
				  thin_strerror(r))
		 : 0;
}

static size_t cache_blocks(uint64_t bytes)
{
	return (size_t)(thin_max(bytes, THIN_MIN_METADATA_CACHE) / THIN_METADATA_BLOCK);
}

static void free_metadata(struct thin_metadata *m)
{
	thin_block_set_clear(&m->set_aside);
	thin_sharded_write(&m->tree_lock);
	thin_drop_state(m);
	thin_sharded_write_end(&m->tree_lock);
	thin_cache_destroy(m->cache);
	thin_sharded_fini(&m->tree_lock);
	thin_mutex_fini(&m->commit_lock);
	free(m);
}

static int load_first(struct thin_metadata *m, struct thin_error *e)
{
	struct thin_error detail = {""};
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_load_state(m);
	thin_sharded_write_end(&m->tree_lock);
	if (!r)
		return 0;
	thin_cache_last_error(m->cache, &detail);
	return thin_error_set(e, r, "%s",
			      detail.text[0] ? detail.text : thin_strerror(r));
}

int thin_metadata_open(const struct thin_metadata_params *params,
		       struct thin_metadata **ret, struct thin_error *e)
{
	struct thin_disk_superblock sb;
	struct thin_metadata *m;
	int r;

	r = settle_storage(params, e);
	if (!r)
		r = read_superblock(params->storage, &sb, e);
	if (r)
		return r;
	m = calloc(1, sizeof(*m));
	if (!m)
		return thin_error_set(e, -ENOMEM, "metadata: out of memory");
	m->storage = params->storage;
	m->sb = sb;
	m->transaction = m->stamp = m->sharing = 1;
	m->needs_check = le32_get(sb.flags) & THIN_NEEDS_CHECK;
	m->want_read_only = params->read_only;
	m->read_only = params->read_only || m->needs_check;
	thin_mutex_init(&m->commit_lock);
	thin_sharded_init(&m->tree_lock);
	r = thin_cache_create(m->storage, cache_blocks(params->cache_bytes),
			      le64_get(sb.metadata_space_map.nr_blocks), &m->cache);
	if (r)
		thin_error_set(e, r, "metadata: out of memory");
	else
		r = load_first(m, e);
	if (r) {
		free_metadata(m);
		return r;
	}
	*ret = m;
	return 0;
}

void thin_metadata_close(struct thin_metadata *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < THIN_DEVICE_BUCKETS; i++) {
		struct thin_device *d = m->devices[i];

		while (d) {
			struct thin_device *next = d->next;

			assert(!d->opens);
			free(d);
			d = next;
		}
	}
	while (m->under_way) {
		struct thin_freed *next = m->under_way->next;

		thin_block_set_clear(&m->under_way->data);
		thin_block_set_clear(&m->under_way->metadata);
		free(m->under_way);
		m->under_way = next;
	}
	free_metadata(m);
}

/* --- facts ---------------------------------------------------------------------- */

static uint64_t above(uint64_t n, uint64_t floor)
{
	return n > floor ? n - floor : 0;
}

void thin_metadata_info(struct thin_metadata *m, struct thin_metadata_info *ret)
{
	*ret = (struct thin_metadata_info){0};
	thin_sharded_read(&m->tree_lock);
	ret->block_sectors = le32_get(m->sb.data_block_size);
	ret->time = m->time;
	ret->transaction_id = m->transaction_id;
	ret->held_root = m->held_root;
	ret->commits = m->commits;
	ret->read_only = m->read_only;
	ret->needs_check = m->needs_check;
	ret->dirty = m->dirty;
	ret->failed = m->dead ? -ESHUTDOWN : m->failed;
	if (m->sm_data) {
		ret->nr_data_blocks = thin_sm_disk_nr_blocks(m->sm_data);
		ret->data_allocated = thin_sm_disk_nr_allocated(m->sm_data);
		ret->data_free = thin_sm_disk_nr_free(m->sm_data);
		ret->nr_metadata_blocks = thin_sm_metadata_nr_blocks(m->sm_metadata);
		ret->metadata_allocated = thin_sm_metadata_nr_allocated(m->sm_metadata);
		ret->metadata_reserve = thin_metadata_reserve_size(m);
		ret->metadata_free = above(thin_sm_metadata_nr_free(m->sm_metadata),
					   ret->metadata_reserve);
	}
	thin_sharded_read_end(&m->tree_lock);
}

void thin_metadata_last_error(struct thin_metadata *m, struct thin_error *ret)
{
	thin_cache_last_error(m->cache, ret);
	if (!ret->text[0])
		thin_error_set(ret, 0, "metadata: no error is known");
}

int thin_metadata_set_transaction_id(struct thin_metadata *m, uint64_t old, uint64_t new)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_change(m);
	if (!r && m->transaction_id != old)
		r = -EINVAL;
	if (!r) {
		m->transaction_id = new;
		r = thin_changed(m, 0);
	}
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/* --- growing ---------------------------------------------------------------------- */

/* Each bitmap is a block, and so is some 56th part of a leaf of their index. */
static int grow_data(struct thin_metadata *m, uint64_t nr_blocks)
	THIN_REQUIRES(m->tree_lock)
{
	uint64_t old = thin_sm_disk_nr_blocks(m->sm_data);
	uint64_t bitmaps = thin_nr_bitmaps(nr_blocks) - thin_nr_bitmaps(old);
	int r;

	if (nr_blocks < old || nr_blocks > THIN_MAX_DATA_BLOCKS)
		return -EINVAL;
	if (nr_blocks == old)
		return 0;
	r = thin_may_grow(m, bitmaps + bitmaps / 56);
	return r ? r : thin_changed(m, thin_sm_disk_grow(m->sm_data, nr_blocks));
}

int thin_metadata_grow_data(struct thin_metadata *m, uint64_t nr_blocks)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_change(m);
	if (!r)
		r = grow_data(m, nr_blocks);
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

static int grow_metadata(struct thin_metadata *m, uint64_t nr_blocks)
	THIN_REQUIRES(m->tree_lock)
{
	uint64_t old = thin_sm_metadata_nr_blocks(m->sm_metadata);

	nr_blocks = thin_min(nr_blocks, THIN_MAX_METADATA_BLOCKS);
	if (nr_blocks < old)
		return -EINVAL;
	if (nr_blocks == old)
		return 0;
	thin_cache_set_nr_blocks(m->cache, nr_blocks);
	return thin_changed(m, thin_sm_metadata_grow(m->sm_metadata, nr_blocks));
}

int thin_metadata_grow_metadata(struct thin_metadata *m, uint64_t nr_blocks)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_change(m);
	if (!r)
		r = grow_metadata(m, nr_blocks);
	thin_sharded_write_end(&m->tree_lock);
	return r;
}
