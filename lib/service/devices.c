/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/devices.h"

#include "audit/audit.h"

#include <errno.h>

static int note_device(void *ctx, const struct thin_walk_device *device)
{
	struct thin_devices *d = ctx;

	if (d->nr == d->room) {
		size_t room = 2 * d->room + 64;
		uint64_t *grown = realloc(d->ids, room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		d->ids = grown;
		d->room = room;
	}
	d->ids[d->nr++] = device->id;
	return 0;
}

int thin_devices_read(struct thin_devices *d, struct thin_storage *metadata,
		      struct thin_error *e)
{
	struct thin_walk_params params = {.device = THIN_AUDIT_NO_DEVICE};
	struct thin_walk_fns fns = {.device = note_device};

	return thin_audit_walk(metadata, &params, &fns, d, e);
}

bool thin_devices_has(const struct thin_devices *d, uint64_t id)
{
	size_t from = 0, to = d->nr;

	while (from < to) {
		size_t middle = (from + to) / 2;
		if (d->ids[middle] < id)
			from = middle + 1;
		else
			to = middle;
	}
	return from < d->nr && d->ids[from] == id;
}

void thin_devices_fini(struct thin_devices *d)
{
	free(d->ids);
	*d = (struct thin_devices){0};
}
