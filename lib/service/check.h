/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_CHECK_H
#define THINBD_SERVICE_CHECK_H

#include "service/requests.h"

/*
 * `check` of a pool that nobody has open: works also where it could not be
 * opened.  Only reads, unless it is to repair.
 * Returns 0 when there is a verdict, whatever it is; -EBUSY; -EMEDIUMTYPE;
 * what the system said.
 */
THIN_MUST_CHECK int thin_check_offline(const char *dir, const struct thin_args *args,
				       const struct thinbd_observer *observer,
				       struct json_object **ret, struct thin_error *e);

#endif
