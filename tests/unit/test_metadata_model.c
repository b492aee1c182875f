/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_model.h"
#include "seeded.h"

#include "storage/storage.h"

#include <errno.h>
#include <unistd.h>

/*
 * Random changes of a dozen devices against plain arrays: maps, overwrites,
 * trims, snapshots of snapshots, deletes, commits, aborts, reopening, with a
 * cache that is much too small.  Afterwards the image is written to
 * $THINBD_IMAGE, if that is set, for other checkers to look at.
 */

#define METADATA_BLOCKS 1024

struct run {
	struct seeded rnd;
	struct thin_storage *storage;
	struct thin_metadata *m;
	struct model now, committed;
};

static void open_metadata(struct run *t)
{
	struct thin_metadata_params params = {.storage = t->storage, .cache_bytes = 0};
	struct thin_error e = {""};
	int r = thin_metadata_open(&params, &t->m, &e);

	if (r)
		fail_msg("open: %s", e.text);
}

static void commit(struct run *t)
{
	struct thin_freed *freed = NULL;

	assert_int_equal(thin_metadata_commit(t->m, NULL, &freed), 0);
	thin_epoch_synchronize();
	thin_metadata_release(t->m, freed);
	t->committed = t->now;
}

static void map_some(struct run *t, uint32_t id)
{
	uint64_t vblock = seeded_below(&t->rnd, MODEL_VBLOCKS);
	uint64_t want = 1 + seeded_below(&t->rnd, seeded_below(&t->rnd, 4) ? 8 : 300);
	struct thin_device *d;
	uint64_t dblock, nr;
	int r;

	if (want > MODEL_VBLOCKS - vblock)
		want = MODEL_VBLOCKS - vblock;
	assert_int_equal(thin_device_open(t->m, id, &d), 0);
	r = thin_metadata_reserve(t->m, want, &dblock, &nr);
	if (r == -ENOSPC || r == -ENOBUFS) {
		thin_device_close(d);
		commit(t);
		return;
	}
	assert_int_equal(r, 0);
	assert_true(nr >= 1 && nr <= want);
	if (seeded_below(&t->rnd, 20) == 0) {
		thin_metadata_unreserve(t->m, dblock, nr);
	} else {
		r = thin_metadata_insert(d, vblock, dblock, nr);
		if (r == -ENOBUFS)
			thin_metadata_unreserve(t->m, dblock, nr);
		else
			assert_int_equal(r, 0);
		for (uint64_t i = 0; i < nr && !r; i++)
			t->now.device[id].map[vblock + i] = dblock + i;
	}
	thin_device_close(d);
}

static void trim_some(struct run *t, uint32_t id)
{
	uint64_t begin = seeded_below(&t->rnd, MODEL_VBLOCKS);
	uint64_t end = begin + 1 + seeded_below(&t->rnd, MODEL_VBLOCKS - begin);
	uint64_t removed, total = 0, expect = 0, pos = begin;
	struct thin_device *d;

	assert_int_equal(thin_device_open(t->m, id, &d), 0);
	while (pos < end) {
		assert_int_equal(
			thin_metadata_remove_range(d, pos, end, 100, &pos, &removed), 0);
		total += removed;
	}
	for (uint64_t v = begin; v < end; v++) {
		expect += t->now.device[id].map[v] != UNMAPPED;
		t->now.device[id].map[v] = UNMAPPED;
	}
	assert_int_equal(total, expect);
	thin_device_close(d);
}

static void create_or_snap(struct run *t, uint32_t id)
{
	uint32_t origin = (uint32_t)seeded_below(&t->rnd, MODEL_DEVICES);
	int r;

	if (t->now.device[origin].exists) {
		r = thin_metadata_create_snap(t->m, id, origin);
		if (!r)
			t->now.device[id] = t->now.device[origin];
	} else {
		r = thin_metadata_create_thin(t->m, id);
		if (!r)
			model_clear(&t->now.device[id]);
	}
	if (r == -ENOBUFS)
		return;
	assert_int_equal(r, 0);
	t->now.device[id].exists = true;
}

static void delete_device(struct run *t, uint32_t id)
{
	assert_int_equal(thin_metadata_delete(t->m, id), 0);
	t->now.device[id].exists = false;
}

static void reopen(struct run *t)
{
	thin_metadata_close(t->m);
	open_metadata(t);
	t->now = t->committed;
}

static void abort_transaction(struct run *t)
{
	assert_int_equal(thin_metadata_abort(t->m, false), 0);
	t->now = t->committed;
}

static void hold_or_unhold(struct run *t)
{
	struct thin_metadata_info info;
	int r;

	thin_metadata_info(t->m, &info);
	if (info.held_root) {
		assert_int_equal(thin_metadata_hold(t->m), -EBUSY);
		assert_int_equal(thin_metadata_unhold(t->m), 0);
		return;
	}
	assert_int_equal(thin_metadata_unhold(t->m), -EINVAL);
	r = thin_metadata_hold(t->m);
	assert_true(r == 0 || r == -ENOBUFS);
}

/* Of one or two now and then, or of all as a list does. */
static void look_at_usage(struct run *t)
{
	uint64_t often = 1 + seeded_below(&t->rnd, 6);

	for (uint32_t id = 0; id < MODEL_DEVICES; id++)
		if (!seeded_below(&t->rnd, often))
			model_check_usage(t->m, &t->now, id);
}

/* What the held snapshot keeps is no one's: settle before counting. */
static void check(struct run *t)
{
	struct thin_metadata_info info;

	thin_metadata_info(t->m, &info);
	if (info.held_root)
		assert_int_equal(thin_metadata_unhold(t->m), 0);
	model_check_all(t->m, &t->now);
}

static void step(struct run *t)
{
	uint32_t id = (uint32_t)seeded_below(&t->rnd, MODEL_DEVICES);
	uint64_t dice = seeded_below(&t->rnd, 1000);

	if (dice < 2)
		reopen(t);
	else if (dice < 5)
		abort_transaction(t);
	else if (dice < 15)
		hold_or_unhold(t);
	else if (dice < 60)
		commit(t);
	else if (!t->now.device[id].exists)
		create_or_snap(t, id);
	else if (dice < 80)
		delete_device(t, id);
	else if (dice < 300)
		trim_some(t, id);
	else
		map_some(t, id);
}

static void save_image(struct run *t)
{
	static uint8_t image[METADATA_BLOCKS * 4096];
	const char *path = getenv("THINBD_IMAGE");
	FILE *f;

	if (!path)
		return;
	assert_int_equal(thin_storage_read_at(t->storage, 0, image, sizeof(image)), 0);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(image, sizeof(image), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

static void random_changes(void **state)
{
	const char *given = getenv("THINBD_OPS");
	unsigned long ops = given ? strtoul(given, NULL, 0) : 4000;
	static struct run t;

	(void)state;
	t.rnd = seeded_start("metadata model");
	assert_int_equal(thin_storage_open_memory(METADATA_BLOCKS * 4096, &t.storage), 0);
	assert_int_equal(thin_metadata_format(t.storage, 128, MODEL_DBLOCKS, NULL), 0);
	open_metadata(&t);
	for (unsigned long i = 0; i < ops; i++) {
		step(&t);
		if (!seeded_below(&t.rnd, 4))
			look_at_usage(&t);
		if (i % 64 == 0)
			check(&t);
	}
	commit(&t);
	check(&t);
	commit(&t);
	reopen(&t);
	check(&t);
	save_image(&t);
	thin_metadata_close(t.m);
	thin_storage_close(t.storage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
