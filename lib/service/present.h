/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_PRESENT_H
#define THINBD_SERVICE_PRESENT_H

/*
 * What the present metadata say of data blocks, for one who wants to go back to
 * older ones: since then a block may have been freed, and given to somebody
 * else, whose bytes an old mapping would show (I5).
 */

#include "storage/storage.h"

#include <stdbool.h>
#include <stdint.h>

struct thin_present;

enum thin_since {
	THIN_SINCE_SAME,  /* a volume that had it then has it now */
	THIN_SINCE_FREE,  /* in no use now: what is there nobody knows */
	THIN_SINCE_OTHER, /* somebody else's, or at another place of it */
};

/*
 * Note which data blocks @metadata, the present ones, use, as far as they can
 * be believed.
 * Returns 0; -EILSEQ and the like where nothing can be known; -ENOMEM.
 * Memory: 8 bytes for each data block in use.
 */
THIN_MUST_CHECK int thin_present_read(struct thin_storage *metadata,
				      uint64_t nr_data_blocks, struct thin_present **ret,
				      struct thin_error *e);
void thin_present_free(struct thin_present *p);

/*
 * Note what @device, the same one then and now, has at the same places in
 * @then and in @now: these blocks it never lost, and who shared them with it
 * finds there what he left.
 * Returns 0; as thin_audit_walk(), after which nothing more is known of it.
 */
THIN_MUST_CHECK int thin_present_compare(struct thin_present *p, struct thin_storage *now,
					 struct thin_storage *then, uint64_t device);

/* What became of a data block, since what it was compared with. */
enum thin_since thin_present_since(const struct thin_present *p, uint64_t dblock);

#endif
