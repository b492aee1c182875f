/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_DM_STATUS_H
#define THINBD_SERVICE_DM_STATUS_H

#include "pool/pool.h"

#define THIN_DM_STATUS 256

/*
 * @s in the words of dm-thin's own line, as tools that read `dmsetup status`
 * expect them.  Returns @line.
 */
char *thin_dm_status(const struct thin_pool_status *s, char line[static THIN_DM_STATUS]);

#endif
