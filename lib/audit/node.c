/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/node.h"

#include "audit/state.h"

static bool fault(struct thin_finding *ret, enum thin_audit_kind kind, uint64_t found,
		  uint64_t expected)
{
	ret->kind = kind;
	ret->found = found;
	ret->expected = expected;
	return true;
}

bool audit_node_fault(const struct thin_disk_node *n, uint32_t value_size,
		      struct thin_finding *ret)
{
	uint32_t flags = le32_get(n->flags);
	uint32_t size = thin_node_value_size(n), max = thin_node_max(n);
	uint64_t fit;

	if (flags != THIN_NODE_INTERNAL && flags != THIN_NODE_LEAF)
		return fault(ret, THIN_AUDIT_NODE_FLAGS, flags, 0);
	if (flags == THIN_NODE_INTERNAL)
		value_size = THIN_VALUE_BLOCK;
	if (size != value_size)
		return fault(ret, THIN_AUDIT_NODE_VALUE_SIZE, size, value_size);
	fit = (THIN_METADATA_BLOCK - sizeof(*n)) / (8 + size);
	if (!max || max > fit)
		return fault(ret, THIN_AUDIT_MAX_ENTRIES_TOO_LARGE, max, fit);
	if (thin_node_nr(n) > max)
		return fault(ret, THIN_AUDIT_NODE_NR_ENTRIES, thin_node_nr(n), max);
	return false;
}

bool audit_node_ascends(const struct thin_disk_node *n)
{
	for (uint32_t i = 1; i < thin_node_nr(n); i++)
		if (thin_node_key(n, i - 1) >= thin_node_key(n, i))
			return false;
	return true;
}

bool audit_node_slack_zero(const struct thin_disk_node *n)
{
	const uint8_t *block = (const uint8_t *)n;
	uint32_t nr = thin_node_nr(n), max = thin_node_max(n);
	const uint8_t *end = (const uint8_t *)thin_node_value(n, 0) +
			     (size_t)nr * thin_node_value_size(n);

	return !le32_get(n->padding) &&
	       audit_all_zero(&n->keys[nr], (size_t)(max - nr) * sizeof(n->keys[0])) &&
	       audit_all_zero(end, (size_t)(block + THIN_METADATA_BLOCK - end));
}
