/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_METADATA_GROUND_H
#define THINBD_TESTS_METADATA_GROUND_H

/*
 * Ground for tests below the face of the metadata: a cache, its space map,
 * and a transaction, over freshly formatted memory.
 */

#include "unit.h"

#include "format/superblock.h"
#include "metadata/metadata.h"
#include "metadata/space_map_metadata.h"
#include "metadata/transaction.h"

struct ground {
	struct thin_storage *storage;
	struct thin_cache *cache;
	struct thin_sm_metadata *sm;
	struct thin_transaction tm;
	struct thin_disk_superblock sb;
};

static inline void ground_open(struct ground *g, size_t cache_blocks)
{
	uint64_t nr;

	assert_int_equal(thin_storage_read_at(g->storage, 0, &g->sb, sizeof(g->sb)), 0);
	nr = le64_get(g->sb.metadata_space_map.nr_blocks);
	assert_int_equal(thin_cache_create(g->storage, cache_blocks, nr, &g->cache), 0);
	thin_cache_begin_op(g->cache);
	assert_int_equal(
		thin_sm_metadata_open(g->cache, &g->sb.metadata_space_map, &g->sm), 0);
	g->tm = (struct thin_transaction){
		.cache = g->cache,
		.sm = thin_sm_metadata_interface(g->sm),
	};
}

static inline void ground_close(struct ground *g)
{
	thin_block_set_clear(&g->tm.fresh);
	thin_sm_metadata_destroy(g->sm);
	thin_cache_destroy(g->cache);
}

static inline struct ground *ground_new(uint64_t blocks, size_t cache_blocks)
{
	struct ground *g = calloc(1, sizeof(*g));

	assert_non_null(g);
	assert_int_equal(thin_storage_open_memory(blocks * 4096, &g->storage), 0);
	assert_int_equal(thin_metadata_format(g->storage, 128, 0, NULL), 0);
	ground_open(g, cache_blocks);
	return g;
}

static inline void ground_free(struct ground *g)
{
	ground_close(g);
	thin_storage_close(g->storage);
	free(g);
}

/* Release what is quarantined, as after a durable commit. */
static inline void ground_release(struct ground *g)
{
	struct thin_quarantine *q = thin_sm_metadata_quarantine(g->sm);

	thin_block_set_clear(&q->freed);
	thin_block_set_clear(&q->unavailable);
}

static inline void write_superblock(struct ground *g)
{
	uint8_t block[4096] = {0};

	memcpy(block, &g->sb, sizeof(g->sb));
	thin_block_seal(THIN_SUPERBLOCK, block, 0);
	assert_int_equal(thin_storage_write_at(g->storage, 0, block, sizeof(block)), 0);
}

/* A commit without its flushes: settle, write out, begin anew. */
static inline void ground_commit(struct ground *g)
{
	assert_int_equal(
		thin_sm_metadata_commit(g->sm, &g->tm, &g->sb.metadata_space_map), 0);
	assert_int_equal(thin_cache_collect(g->cache), 0);
	assert_int_equal(thin_cache_write_out(g->cache), 0);
	ground_release(g);
	thin_block_set_clear(&g->tm.fresh);
	write_superblock(g);
}

#endif
