/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_FORMAT_SPACE_MAP_LAYOUT_H
#define THINBD_FORMAT_SPACE_MAP_LAYOUT_H

/*
 * Space maps: a reference count for each block.
 *
 * A bitmap block has two bits for each of 16320 blocks; counts of three and
 * more are in a btree beside it.  The two bits are swapped: the one with
 * the lower address is the high one, so that count 1 is binary 10.
 *
 * An index entry describes a bitmap.  In the last, partial bitmap the
 * kernel counts nr_free out of 16320 and not out of the blocks that there
 * are; what is read from disk is a hint, what we write has its form.
 */

#include "format/block.h"

#include <stdbool.h>

#define THIN_COUNTS_PER_BITMAP 16320u
#define THIN_INDEX_ENTRIES     255u

/* From here on a count is in the overflow tree. */
#define THIN_COUNT_OVERFLOW 3u

struct thin_disk_bitmap {
	struct thin_disk_header header;
	uint8_t counts[THIN_COUNTS_PER_BITMAP / 4];
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_bitmap) == THIN_METADATA_BLOCK, "on-disk size");

struct thin_disk_index_entry {
	struct le64 blocknr;
	struct le32 nr_free;
	struct le32 none_free_before;
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_index_entry) == 16, "on-disk size");

struct thin_disk_index {
	struct thin_disk_header header;
	struct thin_disk_index_entry entries[THIN_INDEX_ENTRIES];
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_index) == THIN_METADATA_BLOCK, "on-disk size");

/* The two bits of entry @i: 0, 1, 2, or 3 for "look in the tree". */
static inline uint32_t thin_bitmap_get(const struct thin_disk_bitmap *b, uint32_t i)
{
	uint32_t bits = b->counts[i / 4] >> (2 * (i % 4)) & 3;

	return (bits & 1) << 1 | bits >> 1;
}

static inline void thin_bitmap_set(struct thin_disk_bitmap *b, uint32_t i, uint32_t count)
{
	uint32_t shift = 2 * (i % 4);
	uint32_t bits = (count & 1) << 1 | (count >> 1 & 1);

	b->counts[i / 4] = (uint8_t)((b->counts[i / 4] & ~(3u << shift)) | bits << shift);
}

/*
 * The first entry of @b in [@begin, @end) whose count is 0, or @end.
 * Cost: O(n), eight bytes a step over full stretches.
 */
uint32_t thin_bitmap_find_free(const struct thin_disk_bitmap *b, uint32_t begin,
			       uint32_t end);

/* How many of the first @nr entries of @b have count 0. */
uint32_t thin_bitmap_count_free(const struct thin_disk_bitmap *b, uint32_t nr);

/* How many bitmaps @nr_blocks need, and how many entries the @i-th uses. */
static inline uint64_t thin_nr_bitmaps(uint64_t nr_blocks)
{
	return nr_blocks / THIN_COUNTS_PER_BITMAP +
	       (nr_blocks % THIN_COUNTS_PER_BITMAP != 0);
}

static inline uint32_t thin_bitmap_entries(uint64_t nr_blocks, uint64_t i)
{
	uint64_t left = nr_blocks - i * THIN_COUNTS_PER_BITMAP;

	return left < THIN_COUNTS_PER_BITMAP ? (uint32_t)left : THIN_COUNTS_PER_BITMAP;
}

#endif
