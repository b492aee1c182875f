/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_WALK_TREE_H
#define THINBD_AUDIT_WALK_TREE_H

/* The leaves of a tree in order, for a walk that stops at the first damage. */

#include "audit/batch.h"
#include "audit/node.h"
#include "util/limits.h"

/* A walk: what is walked, and who is told. */
struct walker {
	struct thin_storage *storage;
	const struct thin_walk_fns *fns;
	void *ctx;
	struct thin_error *e;
	uint64_t nr_blocks;
	uint64_t nr_data; /* mappings end here */
	struct batch level[THIN_MAX_TREE_DEPTH];
};

/* Called with each leaf; a return value other than 0 ends the walk. */
typedef int walk_leaf_fn(void *ctx, const struct thin_disk_node *n);

/* One tree: what its leaves hold, and who wants them. */
struct walk_tree {
	struct walker *w;
	const char *name; /* for messages */
	uint32_t value_size;
	walk_leaf_fn *leaf;
	void *ctx;
};

/*
 * Go through the tree with @root.
 * Returns 0; what the leaf function returned; -EILSEQ, -ENOTBLK, -EIO
 * (@t->w->e names the block); -ENOMEM.
 */
THIN_MUST_CHECK int audit_walk_tree(const struct walk_tree *t, uint64_t root);

/* Say what is wrong with @block, and return -EILSEQ. */
THIN_MUST_CHECK int audit_walk_damaged(struct walker *w, const char *tree, uint64_t block,
				       const char *problem);

#endif
