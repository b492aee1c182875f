/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_FORMAT_SUPERBLOCK_H
#define THINBD_FORMAT_SUPERBLOCK_H

/*
 * The superblock: metadata block 0, and the copy of it that a held
 * metadata snapshot keeps.  It uses 364 bytes, less than a sector, so
 * that its write is atomic on any disk that writes whole sectors.
 */

#include "format/block.h"

#include <stdbool.h>
#include <stddef.h>

#define THIN_MAGIC	 UINT64_C(27022010)
#define THIN_VERSION	 2
#define THIN_NEEDS_CHECK 1u

/* The root of a space map: 32 bytes at the start of a field of 128. */
struct thin_disk_space_map {
	struct le64 nr_blocks;
	struct le64 nr_allocated;
	struct le64 bitmap_root;
	struct le64 ref_count_root;
	uint8_t unused[96];
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_space_map) == 128, "on-disk size");

struct thin_disk_superblock {
	struct le32 csum;
	struct le32 flags;
	struct le64 blocknr;
	uint8_t uuid[16];
	struct le64 magic;
	struct le32 version;
	struct le32 time;
	struct le64 trans_id;
	struct le64 held_root;
	struct thin_disk_space_map data_space_map;
	struct thin_disk_space_map metadata_space_map;
	struct le64 data_mapping_root;
	struct le64 device_details_root;
	struct le32 data_block_size;	 /* sectors */
	struct le32 metadata_block_size; /* sectors */
	struct le64 metadata_nr_blocks;	 /* at format; never updated */
	struct le32 compat_flags;
	struct le32 compat_ro_flags;
	struct le32 incompat_flags;
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_superblock) == 364, "on-disk size");
_Static_assert(sizeof(struct thin_disk_superblock) <= THIN_SECTOR, "one sector");
_Static_assert(offsetof(struct thin_disk_superblock, data_space_map) == 64,
	       "on-disk offset");
_Static_assert(offsetof(struct thin_disk_superblock, data_block_size) == 336,
	       "on-disk offset");

/*
 * Is @block (4096 bytes, read from block @blocknr) a superblock that we can
 * serve?  Checks all that can be told from the block alone: checksum, place,
 * magic, version 1 or 2, no unknown incompatible features, block sizes,
 * counts within their limits, roots within the metadata.
 * @e: which field, what was found (may be NULL).
 * Returns 0; -EMEDIUMTYPE (no such magic); -EILSEQ; -ENOTBLK; -ENOTSUP (a
 * feature of another version).
 */
THIN_MUST_CHECK int thin_superblock_check(const void *block, uint64_t blocknr,
					  struct thin_error *e);

/* Is @block (4096 bytes) all zeros, which is "not formatted yet"? */
bool thin_superblock_blank(const void *block);

#endif
