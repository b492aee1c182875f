/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_SPACE_MAP_DISK_H
#define THINBD_METADATA_SPACE_MAP_DISK_H

/*
 * The data's space map.  Its bitmaps are metadata blocks like any other and
 * come through the cache; in memory is only what is said about each bitmap
 * (24 bytes for 16320 data blocks), and which blocks are spoken for.
 *
 * A data block goes: free, reserved (nobody counts it), inserted (count 1),
 * shared, freed (count 0, quarantined), free.
 */

#include "format/superblock.h"
#include "metadata/btree.h"

struct thin_sm_disk;

THIN_MUST_CHECK int thin_sm_disk_open(struct thin_transaction *tm,
				      uint64_t nr_metadata_blocks,
				      const struct thin_disk_space_map *root,
				      struct thin_sm_disk **ret);
void thin_sm_disk_destroy(struct thin_sm_disk *sm); /* NULL is a no-op */

struct thin_space_map *thin_sm_disk_interface(struct thin_sm_disk *sm);
struct thin_quarantine *thin_sm_disk_quarantine(struct thin_sm_disk *sm);

uint64_t thin_sm_disk_nr_blocks(const struct thin_sm_disk *sm);
uint64_t thin_sm_disk_nr_allocated(const struct thin_sm_disk *sm);
uint64_t thin_sm_disk_nr_free(const struct thin_sm_disk *sm);

/*
 * Find up to @want consecutive free blocks and reserve them.
 * Returns 0 and at least one; -ENOSPC; -EILSEQ and the like.
 * Cost: O(1) amortised; the search goes on where the last one ended.
 */
THIN_MUST_CHECK int thin_sm_disk_reserve(struct thin_sm_disk *sm, uint64_t want,
					 uint64_t *ret_block, uint64_t *ret_nr);

/* Reserved blocks are free again. */
void thin_sm_disk_unreserve(struct thin_sm_disk *sm, uint64_t block, uint64_t nr);

/* Keep reserved what is reserved in @from, which is about to be thrown away. */
THIN_MUST_CHECK int thin_sm_disk_adopt_reserved(struct thin_sm_disk *sm,
						const struct thin_sm_disk *from);

/* Give a reserved block its first reference. */
THIN_MUST_CHECK int thin_sm_disk_insert(struct thin_sm_disk *sm, uint64_t block);

/* The bitmap that was looked at last.  Zero it; good for as long as its block is. */
struct thin_bitmap_view {
	const struct thin_disk_bitmap *bitmap;
	uint64_t index;
};

/* Does exactly one reference to @block exist?  May run shared (-EWOULDBLOCK). */
THIN_MUST_CHECK int thin_sm_disk_is_single(struct thin_sm_disk *sm,
					   struct thin_reader *rd,
					   struct thin_bitmap_view *view, uint64_t block,
					   bool *ret);

THIN_MUST_CHECK int thin_sm_disk_grow(struct thin_sm_disk *sm, uint64_t nr_blocks);

/* Write what is said about changed bitmaps, and describe the whole. */
THIN_MUST_CHECK int thin_sm_disk_commit(struct thin_sm_disk *sm,
					struct thin_disk_space_map *ret_root);

#endif
