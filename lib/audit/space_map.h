/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_SPACE_MAP_H
#define THINBD_AUDIT_SPACE_MAP_H

/*
 * A space map as it is on disk: which bitmaps there are, what the index
 * says of each, and the exact counts beside them.  The counts in bitmaps
 * are not kept; each bitmap is read once to see whether it can be, and once
 * more when it is compared with what was counted.
 */

#include "format/space_map_layout.h"
#include "format/superblock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct audit;
struct data_page;

struct bitmap {
	uint64_t number; /* holds the counts from number * 16320 on */
	uint64_t block;
	uint32_t nr_free; /* as the index says */
	uint32_t none_free_before;
	bool sound;		/* can be read */
	uint16_t free;		/* what the bitmap says */
	uint16_t first_free;	/* entry; the number of entries if there is none */
	uint16_t second_free;	/* likewise, the one after that */
	struct data_page *page; /* data_counts.c */
};

/* Packed, as there may be millions. */
struct overflow {
	uint64_t block;
	uint32_t count;
} __attribute__((packed));

struct space_map {
	bool data; /* the data's, not the metadata's */
	bool index_complete;
	bool overflow_complete;
	uint64_t nr_blocks;
	uint64_t nr_allocated;	/* as its root says */
	struct bitmap *bitmaps; /* ascending by number */
	size_t nr_bitmaps;
	size_t cap_bitmaps;
	struct overflow *overflow; /* ascending by block */
	size_t nr_overflow;
	size_t cap_overflow;
};

/* Read the indexes, the exact counts, and whether the bitmaps are sound. */
void audit_load_metadata_map(struct audit *a);
void audit_load_data_map(struct audit *a);

/*
 * Compare @map, when all references have been counted, with the counts, and
 * its own accounts with its bitmaps.
 */
void audit_check_map(struct audit *a, struct space_map *map);

void audit_free_map(struct audit *a, struct space_map *map);

#endif
