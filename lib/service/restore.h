/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_RESTORE_H
#define THINBD_SERVICE_RESTORE_H

#include "service/requests.h"

/*
 * `restore-metadata` of a pool that nobody has open: list the backups; say what
 * going back to one would change; with --force, do it.
 * Returns 0; -EBUSY; -ENOENT (no such backup); -EILSEQ (it is not sound);
 * what the system said.  Until it is done nothing changes.
 */
THIN_MUST_CHECK int thin_restore_offline(const char *dir, const struct thin_args *args,
					 struct json_object **ret, struct thin_error *e);

#endif
