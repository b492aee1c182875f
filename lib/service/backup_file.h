/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_BACKUP_FILE_H
#define THINBD_SERVICE_BACKUP_FILE_H

/*
 * A backup of metadata: the image of a metadata device, with zeros where
 * nothing is used, in zstd's format.  `zstd -d` makes of it what thin_check and
 * thin_dump read.
 */

#include "storage/storage.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Copy from @from, by @superblock (its block 0, of a commit that is pinned),
 * the blocks in use to @to, which is all zeros and is made as large.
 * Returns 0; -EILSEQ (its space map can not be read); -ENOMEM; -EIO; -ENOSPC.
 */
THIN_MUST_CHECK int thin_backup_copy(struct thin_storage *from, const void *superblock,
				     struct thin_storage *to);

/* Pack @image to @to, which is empty.  Durable: yes.  Returns as a write does. */
THIN_MUST_CHECK int thin_backup_pack(struct thin_storage *image, struct thin_storage *to);

/*
 * Unpack @from to @to, which is empty, and is made as large as it takes.
 * @to: NULL: compare with @like instead.
 * Returns 0; -EILSEQ (it is no whole backup, or another one); -ENOMEM; as a
 * read or write does.
 */
THIN_MUST_CHECK int thin_backup_unpack(struct thin_storage *from, struct thin_storage *to,
				       struct thin_storage *like);

#endif
