/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_SPACE_MAP_METADATA_H
#define THINBD_METADATA_SPACE_MAP_METADATA_H

/*
 * The metadata's own space map.  It describes the blocks that it is itself
 * stored in, which goes round in a circle if it is changed on disk at each
 * step.  So all its counts are in memory (four bytes a block: 16 MiB for the
 * largest metadata that the format allows), and what is on disk is made from
 * them once, at commit.
 */

#include "format/superblock.h"
#include "metadata/transaction.h"

struct thin_sm_metadata;

/* Load from @root, through @cache (exclusive).  -EILSEQ and the like; -ENOMEM. */
THIN_MUST_CHECK int thin_sm_metadata_open(struct thin_cache *cache,
					  const struct thin_disk_space_map *root,
					  struct thin_sm_metadata **ret);
void thin_sm_metadata_destroy(struct thin_sm_metadata *sm); /* NULL is a no-op */

struct thin_space_map *thin_sm_metadata_interface(struct thin_sm_metadata *sm);
struct thin_quarantine *thin_sm_metadata_quarantine(struct thin_sm_metadata *sm);

uint64_t thin_sm_metadata_nr_blocks(const struct thin_sm_metadata *sm);
uint64_t thin_sm_metadata_nr_allocated(const struct thin_sm_metadata *sm);
/* Blocks that can be had now. */
uint64_t thin_sm_metadata_nr_free(const struct thin_sm_metadata *sm);

/* More blocks: the storage has grown. */
THIN_MUST_CHECK int thin_sm_metadata_grow(struct thin_sm_metadata *sm,
					  uint64_t nr_blocks);

/*
 * Write what has changed into blocks of transaction @tm, and describe it in
 * @ret_root.  The last thing that allocates in a transaction.
 */
THIN_MUST_CHECK int thin_sm_metadata_commit(struct thin_sm_metadata *sm,
					    struct thin_transaction *tm,
					    struct thin_disk_space_map *ret_root);

#endif
