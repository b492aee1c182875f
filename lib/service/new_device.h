/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_NEW_DEVICE_H
#define THINBD_SERVICE_NEW_DEVICE_H

/* A metadata or data device that a new pool is going to use. */

#include "storage/storage.h"

struct thin_new_device {
	struct thin_storage *storage;
	char *path;
	uint64_t bytes;
	bool made; /* the file was not there before */
	bool used; /* it holds something, which was forced on us */
};

/*
 * Open, or make, what @where (as in pool.conf of @dir) says.
 * Refuses what holds something, unless @force; does not change it yet.
 * @bytes: what it is to have.
 * Returns 0; -EEXIST (holds something); what the system said.  In any case
 * @ret is to be closed.
 */
THIN_MUST_CHECK int thin_new_device_open(const char *dir, const char *where, bool force,
					 uint64_t bytes, struct thin_new_device *ret,
					 struct thin_error *e);

/* Give it its size.  Returns 0; -ENOSPC (a device that is too small). */
THIN_MUST_CHECK int thin_new_device_size(struct thin_new_device *d, struct thin_error *e);

/*
 * Have the file system keep all of its room for it; nothing to do for a device, nor
 * where the file system can not.  Returns 0; -ENOSPC.
 */
THIN_MUST_CHECK int thin_new_device_allocate(struct thin_new_device *d,
					     struct thin_error *e);

/* Remove the file if it was made. */
void thin_new_device_undo(struct thin_new_device *d);
void thin_new_device_close(struct thin_new_device *d);

#endif
