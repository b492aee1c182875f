/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_BATCH_H
#define THINBD_AUDIT_BATCH_H

/*
 * Some metadata blocks that are read together: all of them in flight at
 * once, neighbours in one piece.
 */

#include "storage/storage.h"

#include <stddef.h>
#include <stdint.h>

struct batch_slot {
	uint64_t block;
	int status; /* of the read: 0 or a negative errno */
};

struct batch {
	size_t nr;
	size_t cap;
	struct batch_slot *slots; /* ascending once loaded */
	struct thin_segment *segments;
	uint8_t *data; /* a block for each slot */
};

/*
 * Make room for @cap blocks, @distinct (or all) of them different.
 * Returns 0 or -ENOMEM.
 */
THIN_MUST_CHECK int audit_batch_init(struct batch *b, size_t cap, uint64_t distinct);

/* A batch that is all zeros is fine, too. */
void audit_batch_fini(struct batch *b);

/* Forget all blocks. */
static inline void audit_batch_clear(struct batch *b)
{
	b->nr = 0;
}

/* Ask for @block; there must be room.  Twice the same block is read once. */
void audit_batch_add(struct batch *b, uint64_t block);

/*
 * Read what was asked for.  Where one block can not be read the others
 * still are.  Cost: one read; one for each block when that fails.
 */
void audit_batch_load(struct batch *b, struct thin_storage *s);

/*
 * The content of @block, or NULL if the batch does not have it.
 * @ret_status: of its read; what the content is if that is not 0, nobody
 * knows.
 */
const void *audit_batch_get(const struct batch *b, uint64_t block, int *ret_status);

#endif
