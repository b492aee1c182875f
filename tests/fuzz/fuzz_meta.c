/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "audit/audit.h"
#include "metadata/metadata.h"
#include "util/epoch.h"
#include "util/limits.h"

#include <string.h>

/*
 * A metadata device that anybody may have made.
 *
 * It is audited; opened; its devices are listed and looked up; then it is
 * changed, committed, and audited again.  Nothing may crash or take without
 * bound, and what the audit found sound must be sound afterwards as well.
 */

#define MIN_BLOCKS 64u
#define MAX_BLOCKS 512u

/* Not more than this of what a hostile image says there is. */
#define MAX_DEVICES 8u
#define MAX_STEPS   64u

static struct thin_storage *storage_of(const uint8_t *data, size_t size)
{
	size_t blocks = (size + THIN_METADATA_BLOCK - 1) / THIN_METADATA_BLOCK;
	struct thin_storage *s;

	if (blocks > MAX_BLOCKS)
		return NULL;
	blocks = blocks < MIN_BLOCKS ? MIN_BLOCKS : blocks;
	MUST(!thin_storage_open_memory(blocks * THIN_METADATA_BLOCK, &s));
	MUST(!thin_storage_write_at(s, 0, data, size));
	return s;
}

static bool sound(struct thin_storage *s)
{
	struct thin_audit_summary sum;

	if (thin_audit(s, NULL, NULL, NULL, &sum, NULL))
		return false;
	return sum.complete && !sum.fatal && !sum.nonfatal;
}

static void look_at(struct thin_device *d)
{
	uint64_t pos = 0, exclusive;
	struct thin_run runs[4];

	for (unsigned i = 0; i < MAX_STEPS && pos < UINT64_MAX; i++) {
		size_t nr;

		if (thin_metadata_lookup(d, pos, UINT64_MAX, runs, 4, &nr))
			return;
		MUST(nr >= 1 && nr <= 4);
		MUST(runs[0].vblock == pos);
		pos = runs[nr - 1].vblock + runs[nr - 1].nr;
	}
	(void)!thin_metadata_exclusive(d, &exclusive);
}

static void look_around(struct thin_metadata *m)
{
	struct thin_device_info info;
	uint32_t from = 0;

	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		struct thin_device *d;

		if (thin_metadata_next_device(m, from, &info))
			return;
		MUST(info.id >= from);
		from = info.id + 1;
		if (thin_device_open(m, info.id, &d))
			continue;
		look_at(d);
		thin_device_close(d);
	}
}

static int commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;
	int r = thin_metadata_commit(m, NULL, NULL, &freed);

	if (!r)
		thin_metadata_release(m, freed);
	return r;
}

static int map(struct thin_metadata *m, uint32_t id, uint64_t vblock)
{
	uint64_t dblock, nr, next;
	struct thin_device *d;
	int r = thin_device_open(m, id, &d);

	if (r)
		return r;
	r = thin_metadata_reserve(m, 3, &dblock, &nr);
	if (!r) {
		r = thin_metadata_insert(d, vblock, dblock, nr);
		if (r)
			thin_metadata_unreserve(m, dblock, nr);
	}
	if (!r)
		r = thin_metadata_remove_range(d, vblock + 1, vblock + 900, 500, &next,
					       NULL);
	thin_device_close(d);
	return r;
}

/* A bit of everything, on a device that is there, its snapshot, and a new one. */
static void change(struct thin_metadata *m)
{
	struct thin_device_info first;

	(void)!thin_metadata_create_thin(m, 4711);
	(void)!map(m, 4711, 5);
	if (!thin_metadata_next_device(m, 0, &first)) {
		(void)!thin_metadata_create_snap(m, 4712, first.id);
		(void)!map(m, first.id, 0);
		(void)!commit(m);
		(void)!map(m, 4712, 3);
		(void)!thin_metadata_delete(m, first.id);
	}
	(void)!thin_metadata_unhold(m);
	(void)!commit(m);
	(void)!thin_metadata_hold(m);
	(void)!commit(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct thin_metadata_params params = {.cache_bytes = THIN_MIN_METADATA_CACHE};
	struct thin_metadata *m;
	bool was_sound;

	params.storage = storage_of(data, size);
	if (!params.storage)
		return 0;
	was_sound = sound(params.storage);
	if (!thin_metadata_open(&params, &m, NULL)) {
		struct thin_metadata_info info;

		look_around(m);
		change(m);
		thin_metadata_info(m, &info);
		MUST(!was_sound || !info.failed);
		thin_metadata_close(m);
		MUST(!was_sound || sound(params.storage));
	}
	thin_storage_close(params.storage);
	return 0;
}
