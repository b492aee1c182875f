/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_SCAN_H
#define THINBD_AUDIT_SCAN_H

/*
 * The nodes of all mapping trees once more, after the walk: in the order in
 * which they are on disk, since which device has them does not matter.
 */

#include "audit/node.h"
#include "audit/state.h"

typedef void audit_scan_fn(void *ctx, uint64_t block, const struct thin_disk_node *n);

/*
 * Call @fn for each node of mapping trees with @height (0 is a leaf) that
 * could be read.  Returns whether there is any.
 */
bool audit_scan(struct audit *a, unsigned height, audit_scan_fn *fn, void *ctx);

/* @block of @b as a node of a mapping tree; NULL where it is none (any more). */
const struct thin_disk_node *audit_scan_node(const struct batch *b, uint64_t block);

#endif
