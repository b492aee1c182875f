/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_BLOCK_SET_H
#define THINBD_METADATA_BLOCK_SET_H

/*
 * A set of block numbers, sparse: memory goes with the stretches of 16384
 * blocks that have a member, not with the size of the device.  Used for
 * what is reserved, freed or fresh in a transaction.
 */

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thin_block_chunk;

/* All zeros is the empty set. */
struct thin_block_set {
	struct thin_block_chunk **table; /* open addressing, by chunk number */
	size_t nr_slots, nr_chunks;
	uint64_t nr; /* members */
};

/* Empty @s and free its memory. */
void thin_block_set_clear(struct thin_block_set *s);

/* Adding what is there, removing what is not: no-ops.  -ENOMEM. */
THIN_MUST_CHECK int thin_block_set_add(struct thin_block_set *s, uint64_t block);
void thin_block_set_remove(struct thin_block_set *s, uint64_t block);
bool thin_block_set_has(const struct thin_block_set *s, uint64_t block);

/* Add all members of @from to @to.  On -ENOMEM some of them are. */
THIN_MUST_CHECK int thin_block_set_union(struct thin_block_set *to,
					 const struct thin_block_set *from);

/* Remove all members of @from from @s.  Cost: 64 of them at a time. */
void thin_block_set_subtract(struct thin_block_set *s, const struct thin_block_set *from);

/*
 * Call @fn for each run of consecutive members, ascending, until it returns
 * other than 0, which is returned.
 */
int thin_block_set_for_each_run(const struct thin_block_set *s,
				int (*fn)(void *ctx, uint64_t block, uint64_t nr),
				void *ctx);

#endif
