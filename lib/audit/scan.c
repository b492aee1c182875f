/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/scan.h"

static bool has_height(const struct memo *m, unsigned height)
{
	bool leaf = m->inner_max == 0;

	return m->role == ROLE_TREE + TREE_DEVICE && !(m->flags & MEMO_UNREADABLE) &&
	       m->height == height && leaf == (height == 0);
}

const struct thin_disk_node *audit_scan_node(const struct batch *b, uint64_t block)
{
	struct thin_finding ignored;
	int status = 0;
	const void *data = audit_batch_get(b, block, &status);

	if (!data || audit_block_fault(THIN_NODE, block, data, status, &ignored) ||
	    audit_node_fault(data, THIN_VALUE_BLOCK, &ignored))
		return NULL;
	return data;
}

static void scan_group(struct audit *a, const uint64_t *blocks, size_t nr,
		       audit_scan_fn *fn, void *ctx)
{
	audit_batch_clear(&a->batch);
	for (size_t i = 0; i < nr; i++)
		audit_batch_add(&a->batch, blocks[i]);
	audit_load(a, &a->batch);
	for (size_t i = 0; i < nr && !audit_stopped(a); i++) {
		const struct thin_disk_node *n = audit_scan_node(&a->batch, blocks[i]);

		if (n)
			fn(ctx, blocks[i], n);
	}
}

bool audit_scan(struct audit *a, unsigned height, audit_scan_fn *fn, void *ctx)
{
	uint64_t group[GROUP];
	size_t nr = 0;
	bool any = false;

	for (uint64_t block = 0; block < a->nr_blocks && !audit_stopped(a); block++) {
		if (!has_height(&a->memo[block], height))
			continue;
		any = true;
		group[nr++] = block;
		if (nr == GROUP) {
			scan_group(a, group, nr, fn, ctx);
			nr = 0;
		}
	}
	scan_group(a, group, nr, fn, ctx);
	return any;
}
