/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_REPAIR_H
#define THINBD_SERVICE_REPAIR_H

#include "registry/pool_conf.h"
#include "registry/volumes.h"
#include "util/errors.h"

#include <stdbool.h>

/*
 * Repair the metadata of the pool in @dir, which nobody has open.
 *
 * Where nothing is @damaged the needs_check mark is taken away.  Otherwise
 * thin_repair, of thin-provisioning-tools, makes new metadata from what can
 * be read; when that passes our audit, and has the devices of all @volumes,
 * it takes the place of the old file, which is kept beside it.
 *
 * Returns 0 and *@ret_done; -ENOENT (no thin_repair); -ENOTSUP (not a file);
 * -EILSEQ (it could not be repaired: nothing has changed); what the system
 * said.
 */
THIN_MUST_CHECK int thin_repair(const char *dir, const struct thin_pool_conf *conf,
				bool damaged, const struct thin_volume_list *volumes,
				bool *ret_done, struct thin_error *e);

#endif
