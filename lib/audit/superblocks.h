/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_SUPERBLOCKS_H
#define THINBD_AUDIT_SUPERBLOCKS_H

/* The superblock, and the held copy of it: their own fields. */

#include "audit/state.h"

/*
 * Read the superblock to a->sb and check it.  A wrong checksum alone is
 * reported and does not end the audit: most fields may still be right.
 * Returns false where there is nothing that could be gone through.
 */
bool audit_read_superblock(struct audit *a);

/*
 * Read the held copy, if a->sb names one, to @ret and check it.
 * Returns false where there is none that can be read.
 */
bool audit_read_held(struct audit *a, struct thin_disk_superblock *ret);

#endif
