/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * A btree from its leaves up.
 *
 *  [B1] Every node but a root is at least a third full: entries wait until
 *       there are enough of them, and where too few are left the leaf
 *       beside them is opened again.
 *  [B2] A leaf of the old tree goes in as it is, where that agrees with B1.
 */

void builder_init(struct builder *b, struct repair *r, uint32_t value_size, bool mappings)
{
	*b = (struct builder){.r = r, .value_size = value_size, .mappings = mappings};
}

static int write_one(struct builder *b, struct thin_disk_node *n, uint64_t *ret)
{
	return b->mappings ? write_mapping_node(b->r, n, ret) : write_node(b->r, n, ret);
}

void builder_fini(struct builder *b)
{
	free(b->pending);
	free(b->children);
	*b = (struct builder){0};
}

static int add_child(struct builder *b, uint64_t key, uint64_t block)
{
	int err = repair_room(&b->children, b->nr_children, &b->room_children,
			      sizeof(*b->children));

	if (!err)
		b->children[b->nr_children++] = (struct child){key, block};
	return err;
}

static void start_node(struct thin_disk_node *n, uint32_t flags, uint32_t value_size,
		       uint32_t nr)
{
	memset(n, 0, THIN_METADATA_BLOCK);
	n->flags = le32_of(flags);
	n->nr_entries = le32_of(nr);
	n->max_entries = le32_of(thin_node_capacity(value_size));
	n->value_size = le32_of(value_size);
}

/* The first @nr that are pending become a leaf. */
static int write_leaf(struct builder *b, size_t nr)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	struct thin_disk_node *n = (struct thin_disk_node *)buf;
	uint64_t key = nr ? b->pending[0].key : 0, block;
	int err;

	start_node(n, THIN_NODE_LEAF, b->value_size, (uint32_t)nr);
	for (uint32_t i = 0; i < nr; i++) {
		n->keys[i] = le64_of(b->pending[i].key);
		memcpy(thin_node_value_mut(n, i), b->pending[i].value, b->value_size);
	}
	err = write_one(b, n, &block);
	if (err)
		return err;
	b->nr_pending -= nr;
	if (b->nr_pending)
		memmove(b->pending, b->pending + nr, b->nr_pending * sizeof(*b->pending));
	return add_child(b, key, block);
}

/* All that is pending, in leaves of one size. */
static int flush(struct builder *b)
{
	size_t max = thin_node_capacity(b->value_size);
	size_t leaves = (b->nr_pending + max - 1) / max;
	int err = 0;

	for (; leaves && !err; leaves--)
		err = write_leaf(b, b->nr_pending / leaves);
	return err;
}

static bool enough(const struct builder *b)
{
	return b->nr_pending >= thin_node_min(thin_node_capacity(b->value_size));
}

int builder_add(struct builder *b, uint64_t key, const void *value)
{
	size_t max = thin_node_capacity(b->value_size);
	int err = 0;

	if (b->nr_pending >= 2 * max)
		err = write_leaf(b, max);
	if (!err)
		err = repair_room(&b->pending, b->nr_pending, &b->room_pending,
				  sizeof(*b->pending));
	if (err)
		return err;
	b->pending[b->nr_pending].key = key;
	memcpy(b->pending[b->nr_pending++].value, value, b->value_size);
	return 0;
}

static int add_entries(struct builder *b, const struct thin_disk_node *n)
{
	int err = 0;

	for (uint32_t i = 0; i < thin_node_nr(n) && !err; i++)
		err = builder_add(b, thin_node_key(n, i), thin_node_value(n, i));
	return err;
}

static int add_leaf(void *ctx, const struct thin_disk_node *n)
{
	struct builder *b = ctx;
	uint32_t max = thin_node_max(n);
	int err;

	/* B1, B2 */
	if ((b->nr_pending && !enough(b)) || thin_node_nr(n) < thin_node_min(max) ||
	    max != thin_node_capacity(b->value_size))
		return add_entries(b, n);
	err = flush(b);
	return err ? err : add_child(b, thin_node_key(n, 0), le64_get(n->blocknr));
}

static int add_entry(void *ctx, uint64_t key, const void *value)
{
	return builder_add(ctx, key, value);
}

struct taker builder_taker(struct builder *b)
{
	return (struct taker){add_leaf, add_entry, b};
}

/* B1: the leaf before what is left is opened again. */
static int open_last_leaf(struct builder *b)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	struct thin_disk_node *n = (struct thin_disk_node *)buf;
	struct entry *rest = b->pending;
	size_t nr = b->nr_pending;
	uint64_t leaf = b->children[--b->nr_children].block;
	int err = read_new(b->r, leaf, buf);

	b->pending = NULL;
	b->nr_pending = b->room_pending = 0;
	if (!b->mappings)
		b->r->taken[leaf] = TAKEN_NOT;
	if (!err)
		err = add_entries(b, n);
	for (size_t i = 0; i < nr && !err; i++)
		err = builder_add(b, rest[i].key, rest[i].value);
	free(rest);
	return err;
}

/* --- the levels above ------------------------------------------------------ */

static int write_internal(struct builder *b, const struct child *children, uint32_t nr,
			  struct child *ret)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	struct thin_disk_node *n = (struct thin_disk_node *)buf;

	start_node(n, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK, nr);
	for (uint32_t i = 0; i < nr; i++) {
		struct le64 block = le64_of(children[i].block);

		n->keys[i] = le64_of(children[i].key);
		memcpy(thin_node_value_mut(n, i), &block, sizeof(block));
	}
	ret->key = children[0].key;
	return write_one(b, n, &ret->block);
}

/* One level less: each node takes the place of its first child. */
static int add_level(struct builder *b)
{
	size_t max = thin_node_capacity(THIN_VALUE_BLOCK);
	size_t nodes = (b->nr_children + max - 1) / max, from = 0;
	int err = 0;

	for (size_t i = 0; i < nodes && !err; i++) {
		size_t nr = (b->nr_children - from) / (nodes - i);

		err = write_internal(b, b->children + from, (uint32_t)nr,
				     &b->children[i]);
		from += nr;
	}
	b->nr_children = nodes;
	return err;
}

int builder_finish(struct builder *b, uint64_t *ret_root)
{
	int err = 0;

	if (b->nr_pending && b->nr_children && !enough(b))
		err = open_last_leaf(b);
	if (!err)
		err = flush(b);
	if (!err && !b->nr_children)
		err = write_leaf(b, 0);
	while (!err && b->nr_children > 1)
		err = add_level(b);
	if (!err)
		*ret_root = b->children[0].block;
	return err;
}
