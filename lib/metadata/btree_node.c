/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/btree_internal.h"

#include <assert.h>
#include <errno.h>

/* Editing nodes.  Slots that are not in use are kept zero. */

static uint8_t *value_at(struct thin_disk_node *n, uint32_t i)
{
	return thin_node_value_mut(n, i);
}

/* Copy @nr entries; the nodes have the same shape, or are the same one. */
static void move_entries(struct thin_disk_node *to, uint32_t ti,
			 struct thin_disk_node *from, uint32_t fi, uint32_t nr)
{
	memmove(&to->keys[ti], &from->keys[fi], nr * sizeof(struct le64));
	memmove(value_at(to, ti), value_at(from, fi),
		(size_t)nr * thin_node_value_size(from));
}

static void zero_entries(struct thin_disk_node *n, uint32_t i, uint32_t nr)
{
	memset(&n->keys[i], 0, nr * sizeof(struct le64));
	memset(value_at(n, i), 0, (size_t)nr * thin_node_value_size(n));
}

void thin_node_init_leaf(const struct thin_btree *t, struct thin_disk_node *n)
{
	struct thin_disk_header keep = {.csum = n->csum, .blocknr = n->blocknr};

	memset(n, 0, THIN_METADATA_BLOCK);
	n->blocknr = keep.blocknr;
	n->flags = le32_of(THIN_NODE_LEAF);
	n->max_entries = le32_of(thin_node_capacity(t->value_size));
	n->value_size = le32_of(t->value_size);
}

void thin_node_insert(struct thin_disk_node *n, uint32_t i, uint64_t key,
		      const void *value)
{
	uint32_t nr = thin_node_nr(n);

	assert(nr < thin_node_max(n) && i <= nr);
	move_entries(n, i + 1, n, i, nr - i);
	n->keys[i] = le64_of(key);
	memcpy(value_at(n, i), value, thin_node_value_size(n));
	thin_node_set_nr(n, nr + 1);
}

void thin_node_erase(struct thin_disk_node *n, uint32_t i, uint32_t nr)
{
	uint32_t left = thin_node_nr(n) - nr;

	assert(nr <= thin_node_nr(n) && i <= left);
	move_entries(n, i, n, i + nr, left - i);
	zero_entries(n, left, nr);
	thin_node_set_nr(n, left);
}

void thin_node_shift_left(struct thin_disk_node *left, struct thin_disk_node *right,
			  uint32_t nr)
{
	uint32_t nl = thin_node_nr(left);

	assert(nl + nr <= thin_node_max(left) && nr <= thin_node_nr(right));
	move_entries(left, nl, right, 0, nr);
	thin_node_set_nr(left, nl + nr);
	thin_node_erase(right, 0, nr);
}

void thin_node_shift_right(struct thin_disk_node *left, struct thin_disk_node *right,
			   uint32_t nr)
{
	uint32_t nl = thin_node_nr(left), nr_right = thin_node_nr(right);

	assert(nr <= nl && nr_right + nr <= thin_node_max(right));
	move_entries(right, nr, right, 0, nr_right);
	move_entries(right, 0, left, nl - nr, nr);
	thin_node_set_nr(right, nr_right + nr);
	thin_node_erase(left, nl - nr, nr);
}

int thin_nodes_match(const struct thin_disk_node *a, const struct thin_disk_node *b)
{
	bool match = thin_node_max(a) == thin_node_max(b) &&
		     thin_node_value_size(a) == thin_node_value_size(b) &&
		     thin_node_is_leaf(a) == thin_node_is_leaf(b);

	return match ? 0 : -EILSEQ;
}

/* T3 for a node: its children are nodes, or what the tree's values refer to. */
static int inc_children(void *ctx, const void *block)
{
	const struct thin_btree *t = ctx;
	const struct thin_disk_node *n = block;
	int r = 0;

	if (thin_node_is_leaf(n)) {
		if (!t->inc || !thin_node_nr(n))
			return 0;
		return t->inc(t->ctx, thin_node_value(n, 0), thin_node_nr(n));
	}
	for (uint32_t i = 0; i < thin_node_nr(n) && !r; i++)
		r = thin_sm_inc(t->tm->sm, thin_node_value64(n, i));
	return r;
}

int thin_shadow_node(const struct thin_btree *t, uint64_t block, struct thin_shadow *ret)
{
	struct thin_disk_node *n;
	uint64_t shadow;
	const void *seen;
	int r;

	/* Look before counts are changed on the strength of what it says. */
	r = thin_tm_read(t->tm, block, THIN_NODE, &seen);
	if (r)
		return r;
	if (thin_node_is_leaf(seen) && thin_node_value_size(seen) != t->value_size)
		return -EILSEQ;
	r = thin_tm_shadow(t->tm, block, THIN_NODE, inc_children, (void *)(uintptr_t)t,
			   &shadow, (void **)&n);
	if (r)
		return r;
	*ret = (struct thin_shadow){.node = n, .block = shadow};
	return 0;
}

int thin_shadow_child(const struct thin_btree *t, struct thin_shadow *parent,
		      uint32_t index, struct thin_shadow *ret)
{
	int r = thin_shadow_node(t, thin_node_value64(parent->node, index), ret);

	if (r)
		return r;
	/* A child that is one of its parents: damage. */
	if (ret->node == parent->node)
		return -EILSEQ;
	thin_node_set_child(parent->node, index, ret->block);
	parent->index = index;
	return 0;
}

int thin_btree_new(const struct thin_btree *t, uint64_t *ret_root)
{
	struct thin_disk_node *n;
	int r;

	r = thin_tm_new(t->tm, THIN_NODE, ret_root, (void **)&n);
	if (!r)
		thin_node_init_leaf(t, n);
	return r;
}
