/* SPDX-License-Identifier: BSD-3-Clause */
#include "format/btree_node.h"

#include <errno.h>

int thin_node_search(const struct thin_disk_node *n, uint64_t key)
{
	int lo = -1, hi = (int)thin_node_nr(n);

	/* keys[lo] <= key < keys[hi], with sentinels at both ends. */
	while (hi - lo > 1) {
		int mid = lo + (hi - lo) / 2;

		if (thin_node_key(n, (uint32_t)mid) <= key)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static bool known_value_size(uint32_t flags, uint32_t value_size)
{
	if (flags == THIN_NODE_INTERNAL)
		return value_size == THIN_VALUE_BLOCK;
	return value_size == THIN_VALUE_BLOCK || value_size == THIN_VALUE_DETAILS ||
	       value_size == THIN_VALUE_INDEX || value_size == THIN_VALUE_COUNT;
}

static bool keys_ascend(const struct thin_disk_node *n)
{
	for (uint32_t i = 1; i < thin_node_nr(n); i++)
		if (thin_node_key(n, i - 1) >= thin_node_key(n, i))
			return false;
	return true;
}

int thin_node_check(const void *block)
{
	const struct thin_disk_node *n = block;
	uint32_t flags = le32_get(n->flags);
	uint32_t max = thin_node_max(n), value_size = thin_node_value_size(n);

	if (flags != THIN_NODE_INTERNAL && flags != THIN_NODE_LEAF)
		return -EILSEQ;
	if (!known_value_size(flags, value_size))
		return -EILSEQ;
	/* Below six there is nothing to split and merge with. */
	if (max < 6 || max > (THIN_METADATA_BLOCK - sizeof(*n)) / (8 + value_size))
		return -EILSEQ;
	if (thin_node_nr(n) > max)
		return -EILSEQ;
	if (flags == THIN_NODE_INTERNAL && thin_node_nr(n) == 0)
		return -EILSEQ;
	return keys_ascend(n) ? 0 : -EILSEQ;
}
