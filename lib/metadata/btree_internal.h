/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_BTREE_INTERNAL_H
#define THINBD_METADATA_BTREE_INTERNAL_H

/* What insert and remove share: shadowing, and moving entries about. */

#include "metadata/btree.h"

/* A node on the way down that may be changed. */
struct thin_shadow {
	struct thin_disk_node *node;
	uint64_t block;
	uint32_t index; /* of the child that was gone into */
};

/* Shadow @block as a node of @t. */
THIN_MUST_CHECK int thin_shadow_node(const struct thin_btree *t, uint64_t block,
				     struct thin_shadow *ret);

/* Shadow child @index of @parent, and let @parent know its new number. */
THIN_MUST_CHECK int thin_shadow_child(const struct thin_btree *t,
				      struct thin_shadow *parent, uint32_t index,
				      struct thin_shadow *ret);

/* Nodes between which entries can be moved: same shape.  0 or -EILSEQ. */
THIN_MUST_CHECK int thin_nodes_match(const struct thin_disk_node *a,
				     const struct thin_disk_node *b);

/* Make room for, and write, an entry before entry @i.  There must be room. */
void thin_node_insert(struct thin_disk_node *n, uint32_t i, uint64_t key,
		      const void *value);

/* Take entries [@i, @i + @nr) out. */
void thin_node_erase(struct thin_disk_node *n, uint32_t i, uint32_t nr);

/* Move @nr entries from the front of @right to the end of @left. */
void thin_node_shift_left(struct thin_disk_node *left, struct thin_disk_node *right,
			  uint32_t nr);

/* Move @nr entries from the end of @left to the front of @right. */
void thin_node_shift_right(struct thin_disk_node *left, struct thin_disk_node *right,
			   uint32_t nr);

static inline void thin_node_set_child(struct thin_disk_node *n, uint32_t i,
				       uint64_t block)
{
	struct le64 v = le64_of(block);

	memcpy(thin_node_value_mut(n, i), &v, sizeof(v));
}

static inline void thin_node_set_nr(struct thin_disk_node *n, uint32_t nr)
{
	n->nr_entries = le32_of(nr);
}

/* Make @n an empty leaf of @t. */
void thin_node_init_leaf(const struct thin_btree *t, struct thin_disk_node *n);

#endif
