/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_TRANSACTION_H
#define THINBD_METADATA_TRANSACTION_H

/*
 * The transaction: the only place that gives out blocks to write to.
 *
 *  T1  A block that the last commit can reach is never changed: it is
 *      shadowed, that is copied to a block allocated in this transaction (I1).
 *  T2  A block that was allocated in this transaction, and has one
 *      reference, is changed in place.
 *  T3  When a block that others refer to as well is shadowed, the copy's
 *      children get one reference more each: two parents name them now.
 *
 * Wants the tree lock exclusively.  Pointers are good for the operation
 * (C2 of block_cache.h).
 */

#include "metadata/block_cache.h"
#include "metadata/space_map.h"

struct thin_transaction {
	struct thin_cache *cache;
	struct thin_space_map *sm;   /* of the metadata blocks */
	struct thin_block_set fresh; /* allocated in this transaction */
};

/* Adds a reference to each child of @block. */
typedef int thin_inc_children_fn(void *ctx, const void *block);

/* A new block of zeros, with one reference. */
THIN_MUST_CHECK int thin_tm_new(struct thin_transaction *tm, enum thin_block_kind kind,
				uint64_t *ret_block, void **ret);

/*
 * A block with the content of @block that may be changed: itself (T2), or a
 * copy, and then @block has lost the caller's reference.
 * @inc_children: NULL for blocks that name no others.
 * Returns 0; -EILSEQ (nobody refers to @block: the counts are wrong);
 * -ENOSPC; -EIO; -ENOMEM.
 */
THIN_MUST_CHECK int thin_tm_shadow(struct thin_transaction *tm, uint64_t block,
				   enum thin_block_kind kind,
				   thin_inc_children_fn *inc_children, void *ctx,
				   uint64_t *ret_block, void **ret);

/* To look at only. */
THIN_MUST_CHECK int thin_tm_read(struct thin_transaction *tm, uint64_t block,
				 enum thin_block_kind kind, const void **ret);

#endif
