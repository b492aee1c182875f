/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_BTREE_H
#define THINBD_METADATA_BTREE_H

/*
 * The copy-on-write btree that all of the metadata is made of.
 *
 * A root is a block number; whoever changes a tree gets a new root and puts
 * it where the old one was.  Keys are 64 bits; values have the tree's size.
 *
 *  B1  All leaves have the same depth; a node that is not the root is at
 *      least a third full.
 *  B2  A parent's key is at most the lowest key of its child, and higher
 *      than all keys of the child before.
 *  B3  Nodes are shadowed from the root down, so that a node's count says
 *      whether the part of the tree from there on is shared.
 */

#include "format/btree_node.h"
#include "metadata/transaction.h"

/* A kind of tree. */
struct thin_btree {
	struct thin_transaction *tm;
	uint32_t value_size;

	/*
	 * References that leaf values hold: one more, or less, for each of
	 * the @nr values.  NULL where values are plain numbers.
	 */
	int (*inc)(void *ctx, const void *values, uint32_t nr);
	int (*dec)(void *ctx, const void *values, uint32_t nr);
	void *ctx;
};

/*
 * How blocks are had for looking: from the cache alone, under the shared
 * lock (and @missing says which block to fetch when it was -EWOULDBLOCK), or
 * from disk if need be, under the exclusive one.
 */
struct thin_reader {
	struct thin_cache *cache;
	bool may_load;
	uint64_t missing;
	enum thin_block_kind missing_kind;
};

THIN_MUST_CHECK int thin_read_block(struct thin_reader *rd, uint64_t block,
				    enum thin_block_kind kind, const void **ret);

/* --- looking (shared or exclusive, as the reader says) ------------------ */

/*
 * The value of @key, copied to @ret_value.
 * Returns 0; -ENODATA (no such key); -EWOULDBLOCK; -EILSEQ and the like.
 */
THIN_MUST_CHECK int thin_btree_lookup(struct thin_reader *rd, uint32_t value_size,
				      uint64_t root, uint64_t key, void *ret_value);

/* A place in a leaf. */
struct thin_leaf {
	const struct thin_disk_node *node;
	uint32_t index; /* of the entry that was sought */
	uint64_t end;	/* all keys of this leaf are below this one; 0: no limit */
	/* Blocks from the root to the leaf, to see which are shared. */
	uint64_t path[THIN_MAX_TREE_DEPTH];
	uint64_t path_end[THIN_MAX_TREE_DEPTH]; /* as @end, for each of them */
	uint32_t depth;
};

/*
 * The leaf that holds the first entry whose key is at least @key.
 * Returns 0; -ENODATA (none); -EWOULDBLOCK; -EILSEQ and the like.
 */
THIN_MUST_CHECK int thin_btree_seek(struct thin_reader *rd, uint32_t value_size,
				    uint64_t root, uint64_t key, struct thin_leaf *ret);

/* --- changing (exclusive) ----------------------------------------------- */

/* An empty tree: a leaf without entries. */
THIN_MUST_CHECK int thin_btree_new(const struct thin_btree *t, uint64_t *ret_root);

/*
 * Set the value of @key.  A value that was there before goes without dec():
 * the caller, who knows it, sees to that.
 */
THIN_MUST_CHECK int thin_btree_insert(const struct thin_btree *t, uint64_t root,
				      uint64_t key, const void *value,
				      uint64_t *ret_root);

/*
 * Remove, of the entries with keys in [@begin, @end), those of one leaf: the
 * first that has any; or, where others share the leaf's parent and all of it
 * goes, those of that parent.  What goes as a whole is not copied first.
 * Where the tree has dec() this begins operations of its own: the caller
 * holds no pointers.
 * @ret_next: the key from which to go on; @end when there is no more.
 * @ret_removed: how many went.
 */
THIN_MUST_CHECK int thin_btree_remove(const struct thin_btree *t, uint64_t root,
				      uint64_t begin, uint64_t end, uint64_t *ret_root,
				      uint64_t *ret_next, uint32_t *ret_removed);

/*
 * Drop one reference to the tree at @root, and all that nobody else refers
 * to any more with it.  Begins operations of its own: the caller holds no
 * pointers.
 * Cost: O(what goes).
 */
THIN_MUST_CHECK int thin_btree_delete(const struct thin_btree *t, uint64_t root);

#endif
