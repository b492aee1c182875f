/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/btree_internal.h"

#include <errno.h>

/*
 * Insertion, in one pass from the root down.
 *
 * A full node is given room before it is gone into, so that a parent always
 * has a free slot for what a split of its child hands up:
 *
 *  - a full root: its entries move to a new child, the root keeps its block
 *    and becomes that child's parent.  From there on the child is a node
 *    like any other; in particular the parent's key is lowered like any
 *    other, when the new key is the lowest of all.
 *  - another full node: entries move to its left neighbour, if that one has
 *    room and nobody shares it; otherwise it is split in two.
 *
 * Shared neighbours are left alone, to keep the sharing.  Where keys come
 * in ascending order, the left node is kept as full as can be, so that a
 * disk that is written from end to end has full leaves.
 */

/* Fewer free slots than these are not worth the copy of a neighbour. */
#define WORTH_SHIFTING 8

static bool is_append(const struct thin_disk_node *n, uint64_t key)
{
	return key > thin_node_key(n, thin_node_nr(n) - 1);
}

/* How many entries of @n go left when @room are free there; one stays free. */
static uint32_t shift_amount(const struct thin_disk_node *n, uint32_t room, uint64_t key)
{
	uint32_t most = thin_node_nr(n) - thin_node_min(thin_node_max(n));
	uint32_t amount = is_append(n, key) ? room - 1 : room / 2;

	return amount < most ? amount : most;
}

/*
 * Try to make room in @n, child @parent->index, by moving entries left.
 * @ret_done: false where the neighbour is shared or full.
 */
static int shift_to_left(const struct thin_btree *t, struct thin_shadow *parent,
			 struct thin_shadow *n, uint64_t key, bool *ret_done)
{
	uint32_t index = parent->index, count, room;
	const struct thin_disk_node *seen;
	struct thin_shadow left;
	uint64_t block;
	int r;

	*ret_done = false;
	if (index == 0)
		return 0;
	block = thin_node_value64(parent->node, index - 1);
	r = thin_sm_count(t->tm->sm, block, &count);
	if (r || count > 1)
		return r;
	r = thin_tm_read(t->tm, block, THIN_NODE, (const void **)&seen);
	if (r)
		return r;
	r = thin_nodes_match(seen, n->node);
	if (r)
		return r;
	room = thin_node_max(seen) - thin_node_nr(seen);
	if (room < WORTH_SHIFTING)
		return 0;

	r = thin_shadow_child(t, parent, index - 1, &left);
	if (r)
		return r;
	thin_node_shift_left(left.node, n->node, shift_amount(n->node, room, key));
	parent->node->keys[index] = n->node->keys[0];
	if (key < thin_node_key(n->node, 0))
		*n = left;
	else
		parent->index = index;
	*ret_done = true;
	return 0;
}

/* Split @n, child @parent->index; @n becomes the half that @key belongs to. */
static int split(const struct thin_btree *t, struct thin_shadow *parent,
		 struct thin_shadow *n, uint64_t key)
{
	uint32_t nr = thin_node_nr(n->node), max = thin_node_max(n->node);
	uint32_t move = is_append(n->node, key) ? thin_node_min(max) : nr / 2;
	struct thin_shadow right = {0};
	struct le64 value;
	int r;

	r = thin_tm_new(t->tm, THIN_NODE, &right.block, (void **)&right.node);
	if (r)
		return r;
	right.node->flags = n->node->flags;
	right.node->max_entries = n->node->max_entries;
	right.node->value_size = n->node->value_size;
	thin_node_shift_right(n->node, right.node, move);
	value = le64_of(right.block);
	thin_node_insert(parent->node, parent->index + 1, thin_node_key(right.node, 0),
			 &value);
	if (key >= thin_node_key(right.node, 0)) {
		parent->index++;
		*n = right;
	}
	return 0;
}

static int make_room(const struct thin_btree *t, struct thin_shadow *parent,
		     struct thin_shadow *n, uint64_t key)
{
	bool done;
	int r;

	r = shift_to_left(t, parent, n, key, &done);
	if (r || done)
		return r;
	return split(t, parent, n, key);
}

/* The root's entries move to a new child; the root becomes its parent. */
static int push_down(const struct thin_btree *t, struct thin_shadow *root)
{
	struct thin_disk_node *child;
	uint64_t block, first = thin_node_key(root->node, 0);
	struct le64 value;
	int r;

	r = thin_tm_new(t->tm, THIN_NODE, &block, (void **)&child);
	if (r)
		return r;
	memcpy(child, root->node, THIN_METADATA_BLOCK);
	memset(root->node->keys, 0, THIN_METADATA_BLOCK - sizeof(*root->node));
	root->node->flags = le32_of(THIN_NODE_INTERNAL);
	root->node->max_entries = le32_of(thin_node_capacity(THIN_VALUE_BLOCK));
	root->node->value_size = le32_of(THIN_VALUE_BLOCK);
	thin_node_set_nr(root->node, 0);
	value = le64_of(block);
	thin_node_insert(root->node, 0, first, &value);
	return 0;
}

/* Would inserting @key need a slot that @n does not have? */
static bool needs_room(const struct thin_disk_node *n, uint64_t key)
{
	int i;

	if (thin_node_nr(n) < thin_node_max(n))
		return false;
	if (!thin_node_is_leaf(n))
		return true;
	i = thin_node_search(n, key);
	return i < 0 || thin_node_key(n, (uint32_t)i) != key;
}

/* Which child of @n @key goes to; B2 is kept where it is the lowest of all. */
static uint32_t choose_child(struct thin_disk_node *n, uint64_t key)
{
	int i = thin_node_search(n, key);

	if (i >= 0)
		return (uint32_t)i;
	n->keys[0] = le64_of(key);
	return 0;
}

static void put(struct thin_disk_node *leaf, uint64_t key, const void *value)
{
	int i = thin_node_search(leaf, key);

	if (i >= 0 && thin_node_key(leaf, (uint32_t)i) == key)
		memcpy(thin_node_value_mut(leaf, (uint32_t)i), value,
		       thin_node_value_size(leaf));
	else
		thin_node_insert(leaf, (uint32_t)(i + 1), key, value);
}

int thin_btree_insert(const struct thin_btree *t, uint64_t root, uint64_t key,
		      const void *value, uint64_t *ret_root)
{
	struct thin_shadow parent, n;
	int r;

	r = thin_shadow_node(t, root, &n);
	if (r)
		return r;
	root = n.block;
	if (needs_room(n.node, key)) {
		r = push_down(t, &n);
		if (r)
			return r;
	}
	for (unsigned depth = 0; !thin_node_is_leaf(n.node); depth++) {
		if (depth == THIN_MAX_TREE_DEPTH)
			return -EILSEQ;
		parent = n;
		r = thin_shadow_child(t, &parent, choose_child(parent.node, key), &n);
		if (r)
			return r;
		if (needs_room(n.node, key)) {
			r = make_room(t, &parent, &n, key);
			if (r)
				return r;
		}
	}
	put(n.node, key, value);
	*ret_root = root;
	return 0;
}
