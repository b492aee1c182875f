/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_INIT_H
#define THINBD_SERVICE_INIT_H

#include "service/requests.h"

/*
 * Make a pool in folder @dir, as `init` asks for.  Where it fails, what was
 * made is gone again; what was there is as it was.
 * @ret: the result.
 * Returns 0; -EEXIST (a pool is there; something is on a device); -EBUSY;
 * -EINVAL, -ERANGE, -EDQUOT (sizes, keys); -ENOSPC; what the system said.
 * Durable: yes.
 */
THIN_MUST_CHECK int thin_init(const char *dir, const struct thin_args *args,
			      struct json_object **ret, struct thin_error *e);

#endif
