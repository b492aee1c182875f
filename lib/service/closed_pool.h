/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_CLOSED_POOL_H
#define THINBD_SERVICE_CLOSED_POOL_H

/*
 * A pool that nobody has open, and that is not opened either: its lock, its
 * storages, read-only, and its registry.  For pools that may be damaged.
 */

#include "registry/pool_conf.h"
#include "registry/pool_lock.h"
#include "registry/volumes.h"
#include "storage/storage.h"

struct thin_closed_pool {
	char *dir;
	struct thin_pool_lock *lock;
	struct thin_files *files, *volume_files;
	struct thin_pool_conf conf;
	struct thin_storage *metadata, *data;
	uint64_t nr_data_blocks; /* 0: not known */
	struct thin_registry *registry;
	struct thin_error no_registry; /* why there is none */
};

/*
 * @who: for the lock.  Returns 0; -EBUSY; -EMEDIUMTYPE; what the system said.
 * Close it in any case.
 */
THIN_MUST_CHECK int thin_closed_pool_open(struct thin_closed_pool *p, const char *dir,
					  const char *who, struct thin_error *e);
void thin_closed_pool_close(struct thin_closed_pool *p);

#endif
