/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_DEVICES_H
#define THINBD_SERVICE_DEVICES_H

/* Which devices a metadata storage has, read without opening it as a pool. */

#include "storage/storage.h"

/* Zeroed, it has none. */
struct thin_devices {
	uint64_t *ids; /* ascending */
	size_t nr, room;
};

/*
 * Read them from @metadata, as last committed.  @d: fini it in any case.
 * Returns as thin_audit_walk().
 */
THIN_MUST_CHECK int thin_devices_read(struct thin_devices *d,
				      struct thin_storage *metadata,
				      struct thin_error *e);
bool thin_devices_has(const struct thin_devices *d, uint64_t id);
void thin_devices_fini(struct thin_devices *d);

#endif
