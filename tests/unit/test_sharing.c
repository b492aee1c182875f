/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "audit/audit.h"
#include "metadata/metadata.h"
#include "util/epoch.h"

#include <errno.h>

/*
 * A large device and a snapshot of it: what deleting takes, and that emptying
 * the one costs no metadata and leaves the other one alone.
 */

#define MAPPED UINT64_C(200000) /* three levels */

struct world {
	struct thin_storage *storage;
	struct thin_metadata *m;
	struct thin_device *d, *snap;
};

static void commit(struct world *w)
{
	struct thin_freed *freed = NULL;

	assert_int_equal(thin_metadata_commit(w->m, NULL, &freed), 0);
	thin_epoch_synchronize();
	thin_metadata_release(w->m, freed);
}

static void audit(struct world *w)
{
	struct thin_audit_summary s;

	commit(w);
	assert_int_equal(thin_audit(w->storage, NULL, NULL, NULL, &s, NULL), 0);
	assert_int_equal(s.fatal + s.nonfatal, 0);
}

static void map(struct world *w, struct thin_device *d, uint64_t vblock, uint64_t nr)
{
	while (nr) {
		uint64_t dblock, got;

		assert_int_equal(thin_metadata_reserve(w->m, nr, &dblock, &got), 0);
		assert_int_equal(thin_metadata_insert(d, vblock, dblock, got), 0);
		vblock += got;
		nr -= got;
	}
}

static int set_up(void **state)
{
	struct thin_metadata_params p = {.cache_bytes = UINT64_C(16) << 20};
	struct world *w = calloc(1, sizeof(*w));

	assert_int_equal(thin_storage_open_memory(UINT64_C(4096) * 4096, &w->storage), 0);
	assert_int_equal(thin_metadata_format(w->storage, 128, 2 * MAPPED, NULL), 0);
	p.storage = w->storage;
	assert_int_equal(thin_metadata_open(&p, &w->m, NULL), 0);
	assert_int_equal(thin_metadata_create_thin(w->m, 1), 0);
	assert_int_equal(thin_device_open(w->m, 1, &w->d), 0);
	map(w, w->d, 0, MAPPED);
	commit(w);
	assert_int_equal(thin_metadata_create_snap(w->m, 2, 1), 0);
	assert_int_equal(thin_device_open(w->m, 2, &w->snap), 0);
	commit(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	thin_device_close(w->snap);
	thin_device_close(w->d);
	thin_metadata_close(w->m);
	thin_storage_close(w->storage);
	free(w);
	return 0;
}

static uint64_t metadata_used(struct world *w)
{
	struct thin_metadata_info info;

	thin_metadata_info(w->m, &info);
	return info.metadata_allocated;
}

static uint64_t mapped(struct thin_device *d)
{
	struct thin_device_info info;

	thin_device_info(d, &info);
	return info.mapped_blocks;
}

static uint64_t work(struct thin_device *d, uint64_t max)
{
	uint64_t nr;

	assert_int_equal(thin_metadata_delete_work(d, max, &nr), 0);
	return nr;
}

static bool is_whole(struct thin_device *d)
{
	struct thin_run run;
	size_t nr;

	assert_int_equal(thin_metadata_lookup(d, 0, MAPPED, &run, 1, &nr), 0);
	return run.mapped && run.nr == MAPPED;
}

/* A few blocks more than the path is what a step may take for itself. */
#define FEW 12

/* Empty @d from @begin on; returns the most metadata that it took. */
static uint64_t empty(struct world *w, struct thin_device *d, uint64_t begin,
		      unsigned *ret_steps)
{
	uint64_t most = 0, before = mapped(d), total = 0;

	*ret_steps = 0;
	while (begin < UINT64_MAX) {
		uint64_t removed;

		assert_int_equal(thin_metadata_remove_range(d, begin, UINT64_MAX, 1,
							    &begin, &removed),
				 0);
		total += removed;
		assert_int_equal(mapped(d), before - total);
		if (metadata_used(w) > most)
			most = metadata_used(w);
		if (++*ret_steps % 64 == 0)
			commit(w);
	}
	return most;
}

static void shared_parts_go_as_a_whole(void **state)
{
	struct world *w = *state;
	uint64_t before;
	unsigned steps;

	map(w, w->snap, MAPPED / 2, 1); /* the way there is its own */
	commit(w);
	before = metadata_used(w);
	assert_true(empty(w, w->snap, 0, &steps) <= before + FEW);
	/* 1600 leaves; those beside the one that changed go one by one. */
	assert_true(steps < 700);
	assert_int_equal(mapped(w->snap), 0);
	assert_true(is_whole(w->d));
	audit(w);
}

static void the_middle_of_what_is_shared(void **state)
{
	struct world *w = *state;
	uint64_t begin = MAPPED / 3 + 17;
	struct thin_run run[2];
	unsigned steps;
	size_t nr;

	(void)empty(w, w->snap, begin, &steps);
	assert_true(steps < 800);
	assert_int_equal(mapped(w->snap), begin);
	assert_int_equal(thin_metadata_lookup(w->snap, 0, MAPPED, run, 2, &nr), 0);
	assert_true(nr == 2 && run[0].nr == begin && !run[1].mapped);
	assert_true(is_whole(w->d));
	audit(w);
}

static void what_is_not_shared_is_freed(void **state)
{
	struct world *w = *state;
	struct thin_metadata_info info;
	unsigned steps;

	thin_device_close(thin_steal(w->snap));
	assert_int_equal(thin_metadata_delete(w->m, 2), 0);
	(void)empty(w, w->d, 0, &steps);
	assert_true(steps >= MAPPED / 252);
	commit(w);
	thin_metadata_info(w->m, &info);
	assert_int_equal(info.data_allocated, 0);
	audit(w);
}

static void work_is_what_is_not_shared(void **state)
{
	struct world *w = *state;

	assert_int_equal(work(w->snap, 1000), 1);
	map(w, w->snap, 0, 1);
	/* The leaf's mappings, and the parts beside its path. */
	assert_true(work(w->snap, 100000) > 252);
	assert_true(work(w->snap, 100000) < 1000);
	assert_in_range(work(w->snap, 10), 11, 300); /* looks no further */
	thin_device_close(thin_steal(w->snap));
	assert_int_equal(thin_metadata_delete(w->m, 2), 0);
	commit(w);
	assert_int_equal(work(w->d, UINT64_MAX), MAPPED);
}

static void warming_goes_from_leaf_to_leaf(void **state)
{
	struct world *w = *state;
	uint64_t end = 0, first;

	assert_int_equal(thin_metadata_warm(w->d, 0, 1, &first), 0);
	assert_in_range(first, 84, 252);
	assert_int_equal(thin_metadata_warm(w->d, 0, 10, &end), 0);
	assert_in_range(end, 10 * 84, 10 * 252);
	assert_int_equal(thin_metadata_warm(w->d, end, 1u << 20, &end), 0);
	assert_true(end == UINT64_MAX);
	assert_int_equal(thin_metadata_warm(w->d, MAPPED, 1, &end), 0);
	assert_true(end == UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(shared_parts_go_as_a_whole),     TEST(the_middle_of_what_is_shared),
		TEST(what_is_not_shared_is_freed),    TEST(work_is_what_is_not_shared),
		TEST(warming_goes_from_leaf_to_leaf),
	};

	return cmocka_run_group_tests_name("sharing", tests, NULL, NULL);
}
