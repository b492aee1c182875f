/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>

/*
 * Making a volume independent of its origin: first its blocks are copied,
 * while it is being used, then the origin is let go.
 *
 * Copying is a request like any other, for blocks that are not mapped and
 * below the origin's end; a client's write that comes first wins, and one
 * that comes later finds the block.
 */

int thin_volume_hydrate(struct thin_volume *v, uint64_t offset, uint64_t len)
{
	struct thin_request req = {
		.core = v->core,
		.op = THIN_OP_HYDRATE,
		.begin = offset,
		.end = offset + len,
	};
	int r = thin_volume_check(v, offset, len, true);

	return r || !len ? r : thin_request_do(&req);
}

/*
 * Writers are drained by the gate, readers and mappers by the other one; the
 * watcher has a reference that it took under the lock.  So nobody but the
 * watcher looks at the origin when this returns.
 */
void thin_volume_drop_origin(struct thin_volume *v)
{
	struct thin_core *core = v->core;
	struct thin_origin *o;

	thin_gate_shut(&core->gate);
	thin_gate_shut(&core->below);
	thin_mutex_lock(&core->pool->volumes_lock);
	o = atomic_exchange(&core->origin, NULL);
	thin_mutex_unlock(&core->pool->volumes_lock);
	thin_gate_open(&core->below);
	thin_gate_open(&core->gate);
	thin_origin_unref(o);
}
