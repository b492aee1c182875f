/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/btree.h"

#include <errno.h>

/*
 * Descending.  What comes from disk is not believed: each node must have the
 * values of its tree and keys within the range that its parent gives it
 * (B2), and the depth is limited.  So no damage can make a walk go round
 * in circles or backwards.
 */

int thin_read_block(struct thin_reader *rd, uint64_t block, enum thin_block_kind kind,
		    const void **ret)
{
	void *p;
	int r;

	if (rd->may_load) {
		r = thin_cache_get(rd->cache, block, kind, &p);
		if (!r)
			*ret = p;
		return r;
	}
	r = thin_cache_peek(rd->cache, block, kind, ret);
	if (r == -EWOULDBLOCK) {
		rd->missing = block;
		rd->missing_kind = kind;
	}
	return r;
}

int thin_btree_lookup(struct thin_reader *rd, uint32_t value_size, uint64_t root,
		      uint64_t key, void *ret_value)
{
	for (unsigned depth = 0; depth < THIN_MAX_TREE_DEPTH; depth++) {
		const struct thin_disk_node *n;
		int i, r;

		r = thin_read_block(rd, root, THIN_NODE, (const void **)&n);
		if (r)
			return r;
		i = thin_node_search(n, key);
		if (thin_node_is_leaf(n)) {
			if (thin_node_value_size(n) != value_size)
				return -EILSEQ;
			if (i < 0 || thin_node_key(n, (uint32_t)i) != key)
				return -ENODATA;
			memcpy(ret_value, thin_node_value(n, (uint32_t)i), value_size);
			return 0;
		}
		if (i < 0)
			return -ENODATA;
		root = thin_node_value64(n, (uint32_t)i);
	}
	return -EILSEQ;
}

/* Keys of @n are all in [@lo, @end); @end == 0 is no limit. */
static bool keys_within(const struct thin_disk_node *n, uint64_t lo, uint64_t end)
{
	uint32_t nr = thin_node_nr(n);

	if (!nr)
		return true;
	return thin_node_key(n, 0) >= lo && (!end || thin_node_key(n, nr - 1) < end);
}

/* Where child @i of @n ends: where the next begins, or else where @n does. */
static uint64_t child_end(const struct thin_disk_node *n, uint32_t i, uint64_t end)
{
	return i + 1 < thin_node_nr(n) ? thin_node_key(n, i + 1) : end;
}

/* Descend to the leaf in which @key is or would be. */
static int descend(struct thin_reader *rd, uint32_t value_size, uint64_t root,
		   uint64_t key, struct thin_leaf *leaf)
{
	uint64_t lo = 0;

	leaf->end = 0;
	for (leaf->depth = 0; leaf->depth < THIN_MAX_TREE_DEPTH; leaf->depth++) {
		const struct thin_disk_node *n;
		int i, r;

		r = thin_read_block(rd, root, THIN_NODE, (const void **)&n);
		if (r)
			return r;
		if (!keys_within(n, lo, leaf->end))
			return -EILSEQ;
		leaf->path[leaf->depth] = root;
		leaf->path_end[leaf->depth] = leaf->end;
		if (thin_node_is_leaf(n)) {
			leaf->node = n;
			leaf->depth++;
			return thin_node_value_size(n) == value_size ? 0 : -EILSEQ;
		}
		i = thin_node_search(n, key);
		i = i < 0 ? 0 : i;
		lo = thin_node_key(n, (uint32_t)i);
		leaf->end = child_end(n, (uint32_t)i, leaf->end);
		root = thin_node_value64(n, (uint32_t)i);
	}
	return -EILSEQ;
}

int thin_btree_seek(struct thin_reader *rd, uint32_t value_size, uint64_t root,
		    uint64_t key, struct thin_leaf *ret)
{
	for (;;) {
		int i, r;

		r = descend(rd, value_size, root, key, ret);
		if (r)
			return r;
		i = thin_node_search(ret->node, key);
		if (i < 0 || thin_node_key(ret->node, (uint32_t)i) != key)
			i++;
		ret->index = (uint32_t)i;
		if (ret->index < thin_node_nr(ret->node))
			return 0;
		if (!ret->end)
			return -ENODATA;
		/* All of this leaf is below: the next one begins at @end. */
		key = ret->end;
	}
}
