/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_REPAIR_H
#define THINBD_SERVICE_REPAIR_H

/*
 * The metadata of a pool that nobody has open, made sound in its place.
 *
 * A file is never written to: a new one is made beside it, audited, and
 * exchanged for it by one renaming.  A block device is copied into the
 * pool's folder first, and what is to be done to it is tried on a file; then
 * it is done in place, in blocks that the old superblock does not lead to.
 * Either way what was there stays in a file METADATA.damaged-TIME.
 */

#include "registry/pool_conf.h"
#include "repair/repair.h"
#include "storage/storage.h"

/* What a repair, or what else makes new metadata, works on. */
struct thin_renewal {
	const char *dir;	       /* the pool's */
	char *path;		       /* of the metadata; owned, no symbolic link */
	bool in_place;		       /* not a file */
	struct thin_storage *metadata; /* what is there: exclusive, read-only; owned */
	uint64_t nr_data_blocks;       /* of the data device; 0: not known */
};

/*
 * @metadata: open, and from now on owned; NULL: it is not looked at.
 * Returns 0, after which it needs a fini; -ENOMEM; what the system said.
 */
THIN_MUST_CHECK int thin_renewal_init(struct thin_renewal *n, const char *dir,
				      const struct thin_pool_conf *conf,
				      struct thin_storage *metadata,
				      uint64_t nr_data_blocks, struct thin_error *e);
void thin_renewal_fini(struct thin_renewal *n);

/* Take away the needs_check mark, and nothing else, of metadata that are sound. */
THIN_MUST_CHECK int thin_renewal_clear_mark(struct thin_renewal *n, struct thin_error *e);

/*
 * Repair @from into the place of what is there.  @n->metadata is closed then.
 * @from: n->metadata, or other metadata that are to take its place.
 * @p: its from, to and shared are filled in here.  @kept_as: "damaged", or what
 * else is to stand in the old one's new name.
 * @ret_kept: where the old one is; free() it.
 * Returns 0; as thin_repair(), and then nothing has changed; -EUCLEAN (what
 * came out is not sound: nothing has changed).
 * Durable: yes; after a crash the one or the other is there.
 */
THIN_MUST_CHECK int thin_renewal_repair(struct thin_renewal *n, struct thin_storage *from,
					struct thin_repair_params *p,
					const struct thin_repair_fns *fns, void *ctx,
					const char *kept_as, char **ret_kept,
					struct thin_error *e);

#endif
