/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REPAIR_REPAIR_H
#define THINBD_REPAIR_REPAIR_H

/*
 * Metadata made whole from what can be believed of them.
 *
 * What is believed: a node with a right checksum, in its place, of its tree,
 * whose keys ascend and lie where its parent puts it.  What is mapped in a
 * leaf like that stays exactly as it is, and whole subtrees like that stay
 * in the very blocks where they are, shared by whom they were shared.  What
 * contradicts itself or its parent is not believed at all: nothing is
 * guessed, and what hung there is told as lost.
 *
 * What can be computed from mappings (both space maps, all counts and
 * totals) is always made anew.  Where the trees are sound nothing else is.
 */

#include "storage/storage.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thin_repair_fns {
	/* Blocks @first to @last (both inside) of @device lose what was mapped there. */
	int (*lost)(void *ctx, uint64_t device, uint64_t first, uint64_t last);
	/* One line about what was made anew, or can not be known; @device may be
	 * UINT64_MAX.  No data go. */
	int (*remark)(void *ctx, uint64_t device, const char *text);
	/* May a mapping stay that is sound?  NULL: all may.  A device's name is not
	 * asked for: what several of them share is looked at once. */
	bool (*keep)(void *ctx, uint64_t vblock, uint64_t dblock, uint32_t time);
};

struct thin_repair_params {
	struct thin_storage *from;
	/*
	 * NULL: only tell what would be lost.  The same as @from: in place; the
	 * blocks that the old superblock leads to are not touched, and the new
	 * one is written last, so that a crash leaves the one or the other.
	 * Else another one, all zeros, which is made larger if need be.
	 */
	struct thin_storage *to;
	uint64_t nr_data_blocks; /* the data device has room for; 0: not known */
	/* Devices, ascending, all of whose mappings are to count as shared. */
	const uint64_t *shared;
	size_t nr_shared;
	/* Devices, ascending, that are left out. */
	const uint64_t *left_out;
	size_t nr_left_out;
	bool drop_held; /* let go of the held metadata snapshot */
};

struct thin_repair_result {
	uint64_t lost_ranges;
	uint64_t remarks;
	uint64_t nr_devices;
	uint64_t mapped_blocks; /* that stay; shared ones several times */
};

/*
 * Repair: read all of @p->from, tell @fns, write @p->to.
 * @e: why not, and where.
 * Returns 0; -EILSEQ (the superblock or the list of devices can not be
 * believed: nothing can be known); -EMEDIUMTYPE, -ENOTSUP (no superblock of
 * ours); -EFBIG (mappings beyond the end of a data device that is shorter
 * than the metadata say); -ENOSPC (no room for the new blocks); -EDQUOT (the
 * format's snapshot counter is used up); -ENOMEM; -EIO; what @fns returned.
 * Durable: yes.
 * Cost: reads each node in use, twice.  Memory: 49 bytes for each metadata
 * block, one for each data block in use.
 */
THIN_MUST_CHECK int thin_repair(const struct thin_repair_params *p,
				const struct thin_repair_fns *fns, void *ctx,
				struct thin_repair_result *ret, struct thin_error *e);

#endif
