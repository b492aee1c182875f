/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/outcome.h"

#include "util/checked.h"

#include <errno.h>

static int note_shared(struct thin_outcome *f, uint64_t device)
{
	for (size_t i = 0; i < f->nr; i++)
		if (f->shared[i] == device)
			return 0;
	if (f->nr == f->room) {
		size_t room = 2 * f->room + 16;
		uint64_t *grown = reallocarray(f->shared, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->shared = grown;
		f->room = room;
	}
	f->shared[f->nr++] = device;
	f->new = true;
	return 0;
}

static void add_range(struct thin_outcome *f, uint64_t device, uint64_t first,
		      uint64_t last)
{
	if (f->nr_ranges < THIN_SHARED_RANGES)
		f->at[f->nr_ranges] = (struct thin_shared_range){device, first, last};
	f->nr_ranges++;
}

static int on_finding(void *ctx, const struct thin_finding *finding)
{
	struct thin_outcome *f = ctx;

	if (finding->severity == THIN_AUDIT_NOTE)
		return 0;
	if (!f->all++)
		thin_finding_format(finding, NULL, NULL, f->first, sizeof(f->first));
	if (finding->held && !f->held)
		f->held = f->new = true;
	if (!finding->held && (finding->kind == THIN_AUDIT_SHARED_NOT_FLAGGED ||
			       finding->kind == THIN_AUDIT_DOUBLE_MAPPING))
		add_range(f, finding->device, finding->first, finding->last);
	return 0;
}

/* --- who shares -------------------------------------------------------------- */

/*
 * The audit names some of those who share a block, or the block.  All who
 * have it must be told not to write to it: so from devices to data blocks,
 * and from these to all their devices.
 */
static int begin_device(void *ctx, const struct thin_walk_device *device)
{
	struct thin_outcome *f = ctx;

	f->device = device->id;
	return f->nr_ranges > THIN_SHARED_RANGES ? note_shared(f, device->id) : 0;
}

static int find_data(void *ctx, const struct thin_walk_run *run)
{
	struct thin_outcome *f = ctx;

	for (size_t i = 0; i < f->nr_told; i++) {
		uint64_t first = thin_max(f->at[i].first, run->vblock);
		uint64_t last = thin_min(f->at[i].last, run->vblock + run->length - 1);

		if (f->at[i].device == f->device && first <= last)
			add_range(f, THIN_AUDIT_NO_DEVICE,
				  run->dblock + (first - run->vblock),
				  run->dblock + (last - run->vblock));
	}
	return 0;
}

static int find_sharer(void *ctx, const struct thin_walk_run *run)
{
	struct thin_outcome *f = ctx;
	int r = 0;

	for (size_t i = 0; i < f->nr_ranges && i < THIN_SHARED_RANGES && !r; i++)
		if (f->at[i].device == THIN_AUDIT_NO_DEVICE &&
		    run->dblock <= f->at[i].last &&
		    f->at[i].first < run->dblock + run->length)
			r = note_shared(f, f->device);
	return r;
}

static int find_sharers(struct thin_storage *s, struct thin_outcome *f,
			struct thin_error *e)
{
	const struct thin_walk_fns data = {.device = begin_device, .run = find_data};
	const struct thin_walk_fns sharers = {.device = begin_device, .run = find_sharer};
	int r;

	if (!f->nr_ranges)
		return 0;
	f->nr_told = thin_min(f->nr_ranges, THIN_SHARED_RANGES);
	r = thin_audit_walk(s, NULL, &data, f, e);
	return r ? r : thin_audit_walk(s, NULL, &sharers, f, e);
}

int thin_outcome_audit(struct thin_storage *s, uint64_t nr_data_blocks,
		       struct thin_outcome *f, struct thin_error *e)
{
	struct thin_audit_params params = {.nr_data_blocks = nr_data_blocks};
	struct thin_audit_summary summary;

	f->new = false;
	f->all = f->nr_ranges = 0;
	int r = thin_audit(s, &params, on_finding, f, &summary, e);
	if (!r)
		r = find_sharers(s, f, e);
	if (!r && f->all && !f->new)
		r = thin_error_set(e, -EUCLEAN,
				   "it can not be repaired; nothing was changed (%s)",
				   f->first);
	return r;
}

void thin_outcome_fini(struct thin_outcome *f)
{
	free(f->shared);
}
