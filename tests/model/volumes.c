/* SPDX-License-Identifier: BSD-3-Clause */

#include "volumes.h"

/*
 * Volumes come, go, and change their size.  Each that exists in the model is
 * open in the pool, but for a moment in here.
 */

#include "choose.h"
#include "should.h"
#include "told.h"

#include <errno.h>

void open_volume(struct world *w, int v)
{
	const struct model_volume *vol = &w->m.volume[v];
	struct thin_volume_params p = {
		.device = vol->device,
		.size = vol->size,
		.origin = vol->origin == MODEL_NONE ? NULL : w->origin[vol->origin],
	};

	SHOULD_BE(thin_volume_open(w->pool, &p, &w->volume[v]), 0);
}

void close_volume(struct world *w, int v)
{
	thin_volume_close(w->volume[v]);
	w->volume[v] = NULL;
}

void do_create(struct world *w)
{
	int v = any_slot(w), origin;

	if (v == MODEL_NONE)
		return;
	SHOULD_BE(thin_pool_create_thin(w->pool, w->next_device), 0);
	SHOULD_BE(thin_pool_create_thin(w->pool, w->next_device), -EEXIST);
	/* One after the other: compilers do not agree which argument comes first. */
	origin = any_origin(w);
	model_create(&w->m, v, w->next_device++, any_size(w), origin);
	open_volume(w, v);
	committed(w);
}

void do_snapshot(struct world *w)
{
	size_t nr = chance(w, 25) ? 1 + below(w, 3) : 1, n = 0;
	struct thin_snap_pair pairs[4];
	int slots[4], origins[4];
	bool bad = chance(w, 10);

	for (; n < nr; n++) {
		slots[n] = any_slot(w);
		origins[n] = any_volume(w);
		if (slots[n] == MODEL_NONE || origins[n] == MODEL_NONE)
			break;
		w->m.volume[slots[n]].exists = true; /* not again */
		pairs[n] = (struct thin_snap_pair){w->m.volume[origins[n]].device,
						   w->next_device++};
		if (!w->volume[origins[n]]) /* one of this group's */
			break;
	}
	for (size_t i = 0; i < n + (n < nr && n < 4); i++)
		if (slots[i] != MODEL_NONE && !w->volume[slots[i]])
			w->m.volume[slots[i]].exists = false;
	if (!n)
		return;
	if (bad) {
		pairs[n - 1].snap = w->m.volume[origins[0]].device;
		SHOULD_BE(thin_pool_snapshot(w->pool, pairs, n), -EEXIST);
		return;
	}
	SHOULD_BE(thin_pool_snapshot(w->pool, pairs, n), 0);
	for (size_t i = 0; i < n; i++) {
		model_snapshot(&w->m, origins[i], slots[i], pairs[i].snap);
		open_volume(w, slots[i]);
	}
	committed(w);
}

void do_delete(struct world *w)
{
	int v = any_volume(w), other = any_volume(w);
	uint32_t devices[2];
	size_t nr = 1;

	if (v == MODEL_NONE)
		return;
	devices[0] = w->m.volume[v].device;
	SHOULD_BE(thin_pool_delete(w->pool, devices, 1), -EBUSY);
	close_volume(w, v);
	if (other != v && chance(w, 20)) {
		devices[nr++] = w->m.volume[other].device;
		SHOULD_BE(thin_pool_delete(w->pool, devices, 2), -EBUSY);
		close_volume(w, other);
	}
	SHOULD_BE(thin_pool_delete(w->pool, devices, nr), 0);
	model_delete(&w->m, v);
	if (nr == 2)
		model_delete(&w->m, other);
	SHOULD_BE(thin_pool_delete(w->pool, devices, 1), -ENOENT);
	committed(w);
}

void do_resize(struct world *w)
{
	int v = any_volume(w);

	if (v == MODEL_NONE)
		return;
	close_volume(w, v);
	w->m.volume[v].size = any_size(w);
	open_volume(w, v);
}
