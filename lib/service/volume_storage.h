/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_VOLUME_STORAGE_H
#define THINBD_SERVICE_VOLUME_STORAGE_H

#include "pool/pool.h"
#include "storage/storage.h"

/*
 * A volume of this pool as a storage that can only be read: what "thin:NAME"
 * as an origin comes to.
 * @v: open, read-only; owned from success on.
 * @identity: what tells it from others (I6).
 * Returns 0 or -ENOMEM.
 */
THIN_MUST_CHECK int thin_volume_storage(struct thin_volume *v,
					const struct thin_identity *identity,
					struct thin_storage **ret);

#endif
