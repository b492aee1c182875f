/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_PLUGIN_EXTENTS_H
#define THINBD_PLUGIN_EXTENTS_H

#include "thinbd.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

/*
 * Tell nbdkit what [@offset, @offset + @count) of @v holds: hole and zero
 * where nothing is, data elsewhere, the origin's data included.
 *
 * Nothing past the request is ever reported, and never no extent at all: a
 * stock nbdkit 1.32 aborts the whole server when a plugin does either.
 *
 * @one: the client wants to know of the first extent only.
 * Returns 0 or a negative errno.
 */
int report_extents(struct thinbd_volume *v, uint64_t offset, uint64_t count, bool one,
		   struct nbdkit_extents *extents);

#endif
