/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_VIEW_H
#define THINBD_TESTS_VIEW_H

/*
 * What one superblock refers to: a small walker of its own, which shares
 * the layouts of lib/format with the code under test, and nothing else.
 * It believes what it reads only as far as it stays inside of it.
 */

#include "storage/storage.h"

/* Who refers to a data block. */
struct view_data {
	uint32_t live;	 /* places in devices, shared leaves counted for each */
	uint32_t held;	 /* likewise, of the held metadata snapshot */
	uint32_t count;	 /* as the space map says */
	uint32_t device; /* the last of the live ones */
	uint64_t vblock;
};

struct view_mapping {
	uint32_t device;
	uint64_t vblock, dblock;
};

struct view {
	uint64_t block_size; /* bytes */
	uint64_t nr_metadata, nr_data;
	uint64_t transaction_id;
	bool needs_check;
	bool *reached;		/* metadata blocks that it reaches; [nr_metadata] */
	uint32_t *count;	/* ... and what the space map says of each */
	struct view_data *data; /* [nr_data] */
	struct view_mapping *mappings; /* live, by device and vblock */
	size_t nr_mappings, room;
	char why[160]; /* what was wrong, where reading it failed */
};

/*
 * Read what @superblock (4096 bytes) refers to, from @metadata.
 * Returns 0, or -EILSEQ and @ret->why; @ret is to be freed in either case.
 */
THIN_MUST_CHECK int view_read(struct view *ret, struct thin_storage *metadata,
			      const void *superblock);
/* Frees what it holds; a zeroed one is fine. */
void view_fini(struct view *v);

/* Where is @vblock of @device?  UINT64_MAX: nowhere. */
uint64_t view_find(const struct view *v, uint32_t device, uint64_t vblock);

#endif
