/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_FORMAT_BTREE_NODE_H
#define THINBD_FORMAT_BTREE_NODE_H

/*
 * A btree node, one form for all trees:
 *
 *   header (32 bytes) | max_entries keys | max_entries values
 *
 * The values begin behind room for max_entries keys, not for nr_entries:
 * a node's own max_entries and value_size say where they are.  Internal
 * nodes have 8-byte values, the numbers of their children; a key there is
 * at most the lowest key of its child.
 */

#include "format/block.h"

#include <stdbool.h>
#include <string.h>

#define THIN_NODE_INTERNAL 1u
#define THIN_NODE_LEAF	   2u

struct thin_disk_node {
	struct le32 csum;
	struct le32 flags;
	struct le64 blocknr;
	struct le32 nr_entries;
	struct le32 max_entries;
	struct le32 value_size;
	struct le32 padding;
	struct le64 keys[];
} __attribute__((packed));

_Static_assert(sizeof(struct thin_disk_node) == 32, "on-disk size");

/* Value sizes of the leaves of the trees that there are. */
#define THIN_VALUE_BLOCK    8u	/* a block number, or a packed mapping */
#define THIN_VALUE_DETAILS  24u /* struct thin_disk_details */
#define THIN_VALUE_INDEX    16u /* struct thin_disk_index_entry */
#define THIN_VALUE_COUNT    4u	/* le32 */
#define THIN_VALUE_SIZE_MAX 24u

/*
 * The capacity rule: as many entries as fit, rounded down to a multiple of
 * three, since three thirds are what rebalancing deals in.
 */
static inline uint32_t thin_node_capacity(uint32_t value_size)
{
	uint32_t fit = (uint32_t)((THIN_METADATA_BLOCK - sizeof(struct thin_disk_node)) /
				  (8 + value_size));
	return fit - fit % 3;
}

/* A node that is not the root has at least this many entries. */
static inline uint32_t thin_node_min(uint32_t max_entries)
{
	return max_entries / 3;
}

static inline uint32_t thin_node_nr(const struct thin_disk_node *n)
{
	return le32_get(n->nr_entries);
}

static inline uint32_t thin_node_max(const struct thin_disk_node *n)
{
	return le32_get(n->max_entries);
}

static inline uint32_t thin_node_value_size(const struct thin_disk_node *n)
{
	return le32_get(n->value_size);
}

static inline bool thin_node_is_leaf(const struct thin_disk_node *n)
{
	return le32_get(n->flags) == THIN_NODE_LEAF;
}

static inline uint64_t thin_node_key(const struct thin_disk_node *n, uint32_t i)
{
	return le64_get(n->keys[i]);
}

/* Where value @i of @n is. */
static inline const void *thin_node_value(const struct thin_disk_node *n, uint32_t i)
{
	const uint8_t *values = (const uint8_t *)&n->keys[thin_node_max(n)];

	return values + (size_t)i * thin_node_value_size(n);
}

static inline void *thin_node_value_mut(struct thin_disk_node *n, uint32_t i)
{
	uint8_t *values = (uint8_t *)&n->keys[thin_node_max(n)];

	return values + (size_t)i * thin_node_value_size(n);
}

/* Value @i of a node whose values are 8 bytes: a child, a root, a mapping. */
static inline uint64_t thin_node_value64(const struct thin_disk_node *n, uint32_t i)
{
	struct le64 v;

	memcpy(&v, thin_node_value(n, i), sizeof(v));
	return le64_get(v);
}

/*
 * The last entry whose key is at most @key, or -1 where all are above it.
 * Cost: O(log nr_entries).
 */
int thin_node_search(const struct thin_disk_node *n, uint64_t key);

/*
 * Is @block, whose checksum is known to be right, a node whose counts fit
 * the block, and whose keys ascend?  After this all the accessors above are
 * safe for i < thin_node_nr().  Whether it fits its tree is the reader's
 * question (value size, depth, ranges of keys).
 * Returns 0 or -EILSEQ.
 */
THIN_MUST_CHECK int thin_node_check(const void *block);

/* A packed mapping: a data block and the time it was mapped. */
struct thin_packed_mapping {
	uint64_t data_block;
	uint32_t time;
};

static inline struct thin_packed_mapping thin_mapping_unpack(uint64_t v)
{
	return (struct thin_packed_mapping){v >> 24, (uint32_t)(v & THIN_MAX_TIME)};
}

static inline uint64_t thin_mapping_pack(uint64_t data_block, uint32_t time)
{
	return data_block << 24 | time;
}

#endif
