/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_SPACE_MAP_H
#define THINBD_METADATA_SPACE_MAP_H

/*
 * A space map: how many references each block of a device has.
 *
 * This is all that the transaction and the btrees know of one.  There are
 * two: the metadata's own (space_map_metadata.h), which is in memory and
 * needs no transaction to be changed, and the data's (space_map_disk.h),
 * which lives in metadata blocks.  That is what cuts the knot of a
 * transaction that needs a space map that needs a transaction.
 *
 * A block whose count falls to 0 is freed, but not free: see struct
 * thin_quarantine.
 *
 * All functions want the tree lock exclusively.
 */

#include "metadata/block_set.h"

struct thin_space_map;

struct thin_space_map_ops {
	int (*count)(struct thin_space_map *sm, uint64_t block, uint32_t *ret);
	int (*inc)(struct thin_space_map *sm, uint64_t block);
	int (*dec)(struct thin_space_map *sm, uint64_t block);
	int (*alloc)(struct thin_space_map *sm, uint64_t *ret);
};

struct thin_space_map {
	const struct thin_space_map_ops *ops;
};

/* -EILSEQ for a block past the end. */
THIN_MUST_CHECK static inline int thin_sm_count(struct thin_space_map *sm, uint64_t block,
						uint32_t *ret)
{
	return sm->ops->count(sm, block, ret);
}

/* One reference more to a block that has some; -EILSEQ where it has none. */
THIN_MUST_CHECK static inline int thin_sm_inc(struct thin_space_map *sm, uint64_t block)
{
	return sm->ops->inc(sm, block);
}

/* One reference less; -EILSEQ where there was none. */
THIN_MUST_CHECK static inline int thin_sm_dec(struct thin_space_map *sm, uint64_t block)
{
	return sm->ops->dec(sm, block);
}

/* A block with one reference that had none.  -ENOSPC. */
THIN_MUST_CHECK static inline int thin_sm_alloc(struct thin_space_map *sm, uint64_t *ret)
{
	return sm->ops->alloc(sm, ret);
}

/*
 * Blocks with count 0 that must not be handed out (I3).
 *
 * @freed: freed in the open transaction.  A commit takes this set along, and
 * it is released when the commit is durable and the epoch has passed.
 * @unavailable: @freed, all such sets that are under way, and (data) what is
 * reserved.  The allocator looks only here.
 */
struct thin_quarantine {
	struct thin_block_set freed;
	struct thin_block_set unavailable;
};

THIN_MUST_CHECK static inline int thin_quarantine_free(struct thin_quarantine *q,
						       uint64_t block)
{
	int r = thin_block_set_add(&q->unavailable, block);

	return r ? r : thin_block_set_add(&q->freed, block);
}

#endif
