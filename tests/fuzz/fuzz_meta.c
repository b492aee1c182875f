/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "audit/audit.h"
#include "flat.h"
#include "metadata/metadata.h"
#include "pools.h"
#include "util/epoch.h"
#include "util/limits.h"

#include <malloc.h>
#include <string.h>

/*
 * A metadata device that anybody may have made.
 *
 * It is audited; opened; its devices are listed and looked up; then it is
 * changed, committed, and audited again.  Nothing may crash or take without
 * bound, and what the audit found sound must be sound afterwards as well.
 *
 * An input of a block and more is an image.  A shorter one is a recipe:
 *
 *   changes   1 byte: how many changes there are; 0 is what images get
 *   2 bytes each: what to do (enum step), with what
 *   pool      1 byte: which of pools.c
 *   8 bytes each: edits of its blocks, whose checksums are then made right
 *
 * That is what a fuzzer can say thousands of times a second, and what it can
 * cut and join.
 */

#define MIN_BLOCKS 64u
#define MAX_BLOCKS 512u

/* Not more than this of what a hostile image says there is. */
#define MAX_DEVICES 8u
#define MAX_LOOKS   64u
#define MAX_STEPS   24u
#define MAX_EDITS   16u

#define DATA_BLOCKS_MAX 1000u

static struct flat *flat, *past; /* the device, and as it was when it was pinned */

static struct {
	bool was_sound; /* before anything was changed */
	bool pinned;
	uint8_t superblock[THIN_METADATA_BLOCK];
} now;

static bool sound(struct thin_storage *s)
{
	struct thin_audit_summary sum;

	if (thin_audit(s, NULL, NULL, NULL, &sum, NULL))
		return false;
	return sum.complete && !sum.fatal && !sum.nonfatal;
}

static void look_at(struct thin_device *d)
{
	uint64_t pos = 0, work;
	struct thin_run runs[4];

	for (unsigned i = 0; i < MAX_LOOKS && pos < UINT64_MAX; i++) {
		size_t nr;

		if (thin_metadata_lookup(d, pos, UINT64_MAX, runs, 4, &nr))
			return;
		MUST(nr >= 1 && nr <= 4);
		MUST(runs[0].vblock == pos);
		pos = runs[nr - 1].vblock + runs[nr - 1].nr;
	}
	(void)!thin_metadata_delete_work(d, 100, &work);
	(void)!thin_metadata_warm(d, pos / 2, 3, &pos);
}

static void look_around(struct thin_metadata *m)
{
	struct thin_device_info info, again;
	uint64_t exclusive;
	uint32_t from = 0;

	for (unsigned i = 0; i < MAX_DEVICES; i++) {
		struct thin_device *d;

		if (thin_metadata_next_device(m, from, &info))
			return;
		MUST(info.id >= from);
		from = info.id + 1;
		(void)!thin_metadata_usage(m, info.id, &again, &exclusive);
		if (thin_device_open(m, info.id, &d))
			continue;
		look_at(d);
		thin_device_close(d);
	}
}

/* --- changes ----------------------------------------------------------------- */

/* What is freed comes in order. */
static int take_freed(void *ctx, uint64_t dblock, uint64_t nr)
{
	uint64_t *end = ctx;

	MUST(nr && dblock >= *end);
	*end = dblock + nr;
	return 0;
}

static int commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;
	int r = thin_metadata_commit(m, NULL, &freed);
	uint64_t end = 0;

	if (r)
		return r;
	if (freed)
		MUST(!thin_freed_for_each(freed, take_freed, &end));
	thin_metadata_release(m, freed);
	return 0;
}

static int insert(struct thin_metadata *m, uint32_t id, uint64_t vblock, uint64_t want)
{
	uint64_t dblock, nr;
	struct thin_device *d;
	int r = thin_device_open(m, id, &d);

	if (r)
		return r;
	r = thin_metadata_reserve(m, want, &dblock, &nr);
	if (!r) {
		r = thin_metadata_insert(d, vblock, dblock, nr);
		if (r)
			thin_metadata_unreserve(m, dblock, nr);
	}
	thin_device_close(d);
	return r;
}

static int remove_range(struct thin_metadata *m, uint32_t id, uint64_t begin,
			uint64_t end, uint64_t max)
{
	struct thin_device *d;
	uint64_t next;
	int r = thin_device_open(m, id, &d);

	if (r)
		return r;
	r = thin_metadata_remove_range(d, begin, end, max, &next, NULL);
	MUST(r || (next >= begin && next <= end));
	thin_device_close(d);
	return r;
}

/* A bit of everything, on a device that is there, its snapshot, and a new one. */
static void change(struct thin_metadata *m)
{
	struct thin_device_info first;

	(void)!thin_metadata_create_thin(m, 4711);
	(void)!insert(m, 4711, 5, 3);
	(void)!remove_range(m, 4711, 6, 905, 500);
	if (!thin_metadata_next_device(m, 0, &first)) {
		(void)!thin_metadata_create_snap(m, 4712, first.id);
		(void)!insert(m, first.id, 0, 3);
		(void)!remove_range(m, first.id, 1, 900, 500);
		(void)!commit(m);
		(void)!insert(m, 4712, 3, 3);
		(void)!remove_range(m, 4712, 4, 903, 500);
		(void)!thin_metadata_delete(m, first.id);
	}
	(void)!thin_metadata_unhold(m);
	(void)!commit(m);
	(void)!thin_metadata_hold(m);
	(void)!commit(m);
}

enum step {
	STEP_CREATE,
	STEP_SNAPSHOT,
	STEP_INSERT,
	STEP_INSERT_FAR,
	STEP_REMOVE,
	STEP_REMOVE_MUCH,
	STEP_DELETE,
	STEP_COMMIT,
	STEP_HOLD,
	STEP_UNHOLD,
	STEP_ABORT,
	STEP_LOOK,
	STEP_GROW,
	STEP_TRANSACTION_ID,
	STEP_GROW_METADATA,
	STEP_CLEAR_NEEDS_CHECK,
	STEP_PIN,
	STEPS,
};

/* A device that is there, where there is one. */
static uint32_t some_device(struct thin_metadata *m, unsigned arg)
{
	struct thin_device_info info;
	uint32_t id = arg & 15;

	return thin_metadata_next_device(m, id, &info) ? id : info.id;
}

/* What was pinned is still there, all of it. */
static void unpin(struct thin_metadata *m)
{
	static uint8_t bytes[MAX_BLOCKS * THIN_METADATA_BLOCK];
	struct thin_storage *s = flat_reopen(flat);
	uint64_t size;

	MUST(!thin_storage_size(s, &size));
	MUST(!thin_storage_read_at(s, 0, bytes, size));
	memcpy(bytes, now.superblock, sizeof(now.superblock));
	now.pinned = false;
	if (thin_metadata_unpin(m))
		MUST(!now.was_sound || sound(flat_open(past, bytes, size, size)));
}

static void grow_metadata(struct thin_metadata *m, unsigned by)
{
	struct thin_metadata_info info;
	uint64_t nr;

	thin_metadata_info(m, &info);
	nr = info.nr_metadata_blocks + by;
	if (nr > MAX_BLOCKS)
		return;
	MUST(!thin_storage_resize(flat_reopen(flat), nr * THIN_METADATA_BLOCK));
	(void)!thin_metadata_grow_metadata(m, nr);
}

static void do_step(struct thin_metadata *m, enum step step, unsigned arg)
{
	uint32_t id = some_device(m, arg);
	struct thin_metadata_info info;

	switch (step) {
	case STEP_CREATE:
		(void)!thin_metadata_create_thin(m, arg);
		break;
	case STEP_SNAPSHOT:
		(void)!thin_metadata_create_snap(m, arg >> 4, id);
		break;
	case STEP_INSERT:
		(void)!insert(m, id, arg >> 4, 1 + arg % 5);
		break;
	case STEP_INSERT_FAR:
		(void)!insert(m, id, UINT64_C(1) << (arg >> 2), 1);
		break;
	case STEP_REMOVE:
		(void)!remove_range(m, id, arg >> 4, (arg >> 4) + 1 + arg % 7, 3);
		break;
	case STEP_REMOVE_MUCH:
		(void)!remove_range(m, id, arg >> 4, UINT64_MAX, 1 + 8 * arg);
		break;
	case STEP_DELETE:
		(void)!thin_metadata_delete(m, id);
		break;
	case STEP_COMMIT:
		(void)!commit(m);
		break;
	case STEP_HOLD:
		(void)!thin_metadata_hold(m);
		break;
	case STEP_UNHOLD:
		(void)!thin_metadata_unhold(m);
		break;
	case STEP_ABORT:
		(void)!thin_metadata_abort(m, !arg);
		break;
	case STEP_LOOK:
		look_around(m);
		break;
	case STEP_GROW:
		thin_metadata_info(m, &info);
		if (info.nr_data_blocks < DATA_BLOCKS_MAX)
			(void)!thin_metadata_grow_data(m, info.nr_data_blocks + arg);
		break;
	case STEP_TRANSACTION_ID:
		(void)!thin_metadata_set_transaction_id(m, arg & 1, arg >> 1);
		break;
	case STEP_GROW_METADATA:
		grow_metadata(m, arg);
		break;
	case STEP_CLEAR_NEEDS_CHECK:
		(void)!thin_metadata_clear_needs_check(m);
		break;
	case STEP_PIN:
		if (now.pinned)
			unpin(m);
		else
			now.pinned = !thin_metadata_pin(m, now.superblock);
		break;
	case STEPS:
		break;
	}
}

static void do_steps(struct thin_metadata *m, struct tape *steps)
{
	while (steps->at < steps->end) {
		enum step step = (enum step)(tape_take(steps, 1) % STEPS);

		do_step(m, step, (unsigned)tape_take(steps, 1));
	}
	(void)!commit(m);
}

/* --- a run ----------------------------------------------------------------------- */

/* @steps: empty for a bit of everything. */
static void run(struct thin_storage *s, struct tape *steps)
{
	struct thin_metadata_params params = {.cache_bytes = THIN_MIN_METADATA_CACHE};
	struct thin_metadata_info info;
	struct thin_metadata *m;

	now.was_sound = sound(s);
	params.storage = s;
	if (thin_metadata_open(&params, &m, NULL)) {
		MUST(!now.was_sound);
		return;
	}
	look_around(m);
	if (steps->at < steps->end)
		do_steps(m, steps);
	else
		change(m);
	if (now.pinned)
		unpin(m);
	thin_metadata_info(m, &info);
	MUST(!now.was_sound || !info.failed);
	thin_metadata_close(m);
	MUST(!now.was_sound || sound(flat_reopen(flat)));
}

static void run_image(const uint8_t *data, size_t size)
{
	size_t blocks = (size + THIN_METADATA_BLOCK - 1) / THIN_METADATA_BLOCK;
	struct tape none = {NULL, NULL};

	if (blocks > MAX_BLOCKS)
		return;
	blocks = blocks < MIN_BLOCKS ? MIN_BLOCKS : blocks;
	run(flat_open(flat, data, size, blocks * THIN_METADATA_BLOCK), &none);
}

static void run_recipe(const uint8_t *data, size_t size)
{
	struct tape tape = {data, data + size}, steps;
	size_t nr = 2 * (tape_take(&tape, 1) % MAX_STEPS);
	struct pool_image image;

	nr = nr < (size_t)(tape.end - tape.at) ? nr : (size_t)(tape.end - tape.at);
	steps = (struct tape){tape.at, tape.at + nr};
	tape.at += nr;
	image = pools_edited(&tape, MAX_EDITS);
	run(flat_open(flat, image.bytes, image.size, MIN_BLOCKS * THIN_METADATA_BLOCK),
	    &steps);
}

/* Large pieces of memory are kept: asking for them anew takes longer than a run. */
static void begin(void)
{
	flat = flat_new(MAX_BLOCKS * THIN_METADATA_BLOCK);
	past = flat_new(MAX_BLOCKS * THIN_METADATA_BLOCK);
	(void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
	(void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!flat)
		begin();
	if (size < THIN_METADATA_BLOCK)
		run_recipe(data, size);
	else
		run_image(data, size);
	return 0;
}
