/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_NODE_H
#define THINBD_AUDIT_NODE_H

/* One btree node by itself: can it be read, and does it keep the rules? */

#include "audit/audit.h"
#include "format/btree_node.h"

/*
 * Why can the entries of @n, a sound block, not be read as those of a tree
 * with leaf values of @value_size bytes?  Fills in kind, found and expected
 * of @ret; false if they can.
 */
bool audit_node_fault(const struct thin_disk_node *n, uint32_t value_size,
		      struct thin_finding *ret);

/* Do the keys ascend? */
bool audit_node_ascends(const struct thin_disk_node *n);

/* Is the capacity one that we and the tools can deal with? */
static inline bool audit_node_capacity_ok(uint32_t max_entries)
{
	return max_entries >= 6 && max_entries % 3 == 0;
}

/* Are the bytes that no entry uses zero? */
bool audit_node_slack_zero(const struct thin_disk_node *n);

#endif
