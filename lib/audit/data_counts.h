/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_DATA_COUNTS_H
#define THINBD_AUDIT_DATA_COUNTS_H

/*
 * How often each data block is mapped.
 *
 * A byte for each block, in pages that have the extent of a bitmap and are
 * made when the first mapping falls into one; larger counts are in a hash
 * table beside them.  Only blocks whose bitmap is sound are counted: for
 * others there is nothing to compare with, and garbage can not make us
 * take memory for them.
 *
 * A claim is that some device would write the block in place.
 */

#include "format/space_map_layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct audit;
struct bitmap;
struct space_map;

/* A count in a page that is in the table instead. */
#define DATA_COUNT_LARGE 255u

struct data_page {
	uint32_t nr;
	uint64_t claimed[THIN_COUNTS_PER_BITMAP / 64];
	uint8_t counts[]; /* nr, and zeros up to a multiple of eight */
};

_Static_assert(THIN_COUNTS_PER_BITMAP % 64 == 0, "claims fill their words");

struct large_count {
	uint64_t block; /* plus one; 0 is an empty slot */
	uint64_t count;
};

struct data_counts {
	struct bitmap *last;	   /* the one that was asked for last */
	struct large_count *large; /* a hash table, open addressing */
	size_t nr_large;
	size_t cap_large; /* a power of two, or 0 */
	uint64_t used;	  /* blocks that are mapped */
	uint64_t shared;  /* blocks that are mapped more than once */
};

/* The bitmap with the count of data block @block, or NULL.  O(1) mostly. */
struct bitmap *audit_data_bitmap(struct audit *a, uint64_t block);

/* Count one mapping to @block, which is below the number of data blocks. */
void audit_data_ref(struct audit *a, uint64_t block, bool claim);

/* How often entry @i of @b, whose page may be missing, is mapped. */
uint64_t audit_data_count(const struct audit *a, const struct bitmap *b, uint32_t i);

/* Report what is claimed and mapped more than once. */
void audit_check_claims(struct audit *a);

void audit_free_data_counts(struct audit *a);

#endif
