/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_BLOCK_CACHE_H
#define THINBD_METADATA_BLOCK_CACHE_H

/*
 * The cache of metadata blocks: nothing is read but through it, and nothing
 * comes out of it that was not verified.
 *
 * It has no lock of its own; it lives under the metadata's tree lock, and
 * says in which mode each function wants it:
 *
 *  shared     thin_cache_peek(): a hit changes nothing but a hint, so any
 *             number of readers go through at once.
 *  exclusive  everything that makes, loads, dirties or evicts a block.
 *  none       thin_cache_fetch(), the I/O of a miss: into a buffer of the
 *             caller's, to be installed under the exclusive lock; and
 *             thin_cache_write_out(), the I/O of a commit.
 *
 * Invariants:
 *  C1  A resident block was verified when it came in, or was made here.
 *  C2  A pointer is good until the lock is released, and, under the
 *      exclusive lock, until the next thin_cache_begin_op(): what was touched
 *      in this operation is not evicted.
 *  C3  A block that is being written out is not changed, nor evicted.  The
 *      transaction keeps the first half: after a commit has begun, its blocks
 *      are not fresh any more, and a change makes a copy.
 *  C4  A dirty block may be evicted: it is written first.  Nobody can reach
 *      it from the last superblock (I1), so that is safe at any time.
 */

#include "format/block.h"
#include "storage/storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thin_cache;

/*
 * @max_blocks: how many blocks it keeps.  More are held only while one
 * operation, or one commit, needs them.
 * @nr_blocks: the metadata's size; numbers from there on are -EILSEQ.
 */
THIN_MUST_CHECK int thin_cache_create(struct thin_storage *storage, size_t max_blocks,
				      uint64_t nr_blocks, struct thin_cache **ret);
void thin_cache_destroy(struct thin_cache *c); /* NULL is a no-op; drops all */

/* Exclusive. */
void thin_cache_set_nr_blocks(struct thin_cache *c, uint64_t nr_blocks);

/*
 * Shared.  The block if it is resident.
 * Returns 0; -EWOULDBLOCK (not resident); -EILSEQ (resident as another
 * kind, or no such block).
 */
THIN_MUST_CHECK int thin_cache_peek(struct thin_cache *c, uint64_t block,
				    enum thin_block_kind kind, const void **ret);

/* What has to be the same before and after a fetch for its result to count. */
uint64_t thin_cache_generation(const struct thin_cache *c);

/* No lock.  Read and verify @block into @buf (4096 bytes). */
THIN_MUST_CHECK int thin_cache_fetch(struct thin_cache *c, uint64_t block,
				     enum thin_block_kind kind, void *buf);

/*
 * Exclusive.  Make resident what was fetched, unless the block has become
 * resident meanwhile, or the generation is not @generation any more.
 * Returns 0 also when it did nothing: the caller looks again; -ENOMEM, -EIO.
 */
THIN_MUST_CHECK int thin_cache_install(struct thin_cache *c, uint64_t block,
				       enum thin_block_kind kind, const void *buf,
				       uint64_t generation);

/* Exclusive.  A new operation begins: pointers from before are gone (C2). */
void thin_cache_begin_op(struct thin_cache *c);

/* Exclusive.  The block, read if need be. */
THIN_MUST_CHECK int thin_cache_get(struct thin_cache *c, uint64_t block,
				   enum thin_block_kind kind, void **ret);

/*
 * Exclusive.  A new block of zeros in place of whatever @block was; dirty.
 * Returns 0; -EILSEQ when this very operation uses the block already (only
 * damaged space maps can bring that about); -ENOMEM; -EIO.
 */
THIN_MUST_CHECK int thin_cache_new(struct thin_cache *c, uint64_t block,
				   enum thin_block_kind kind, void **ret);

/* Exclusive.  @block, which is resident, is going to be changed. */
void thin_cache_mark_dirty(struct thin_cache *c, uint64_t block);

/* Exclusive.  Take all dirty blocks aside for writing; they become clean. */
THIN_MUST_CHECK int thin_cache_collect(struct thin_cache *c);

/* None.  Write what was collected.  Once, whatever comes out. */
THIN_MUST_CHECK int thin_cache_write_out(struct thin_cache *c);

/* Exclusive.  Forget everything, dirty blocks too. */
void thin_cache_drop(struct thin_cache *c);

/* The last error in words: which block, what was wrong. */
void thin_cache_last_error(struct thin_cache *c, struct thin_error *ret);

#endif
