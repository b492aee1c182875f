/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "metadata/metadata.h"
#include "shelf.h"
#include "util/epoch.h"
#include "util/limits.h"

#include <errno.h>

/*
 * What is remembered of exclusive blocks, while it is being found out: things
 * happen at each of the reads that a count does, and the next count is right.
 * What is right whatever happens between counts is test_metadata_model's.
 */

#define MAPPED 1000u  /* a few leaves */
#define MANY   90000u /* more leaves than the smallest cache has room for */

struct world {
	struct shelf *shelf;
	struct thin_metadata *m;
	void (*event)(struct world *w);
	unsigned long reads_left; /* until it happens */
};

static void open_metadata(struct world *w)
{
	struct thin_metadata_params p = {.storage = &w->shelf->lent,
					 .cache_bytes = THIN_METADATA_CACHE};

	assert_int_equal(thin_metadata_open(&p, &w->m, NULL), 0);
}

static void commit(struct world *w)
{
	struct thin_freed *freed = NULL;

	assert_int_equal(thin_metadata_commit(w->m, NULL, &freed), 0);
	thin_epoch_synchronize();
	thin_metadata_release(w->m, freed);
}

static void map(struct world *w, uint32_t id, uint64_t vblock, uint64_t nr)
{
	struct thin_device *d;

	assert_int_equal(thin_device_open(w->m, id, &d), 0);
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t dblock, got;

		assert_int_equal(thin_metadata_reserve(w->m, 1, &dblock, &got), 0);
		assert_int_equal(thin_metadata_insert(d, vblock + i, dblock, 1), 0);
	}
	thin_device_close(d);
}

static uint64_t exclusive(struct world *w, uint32_t id)
{
	struct thin_device_info info;
	uint64_t nr;

	assert_int_equal(thin_metadata_usage(w->m, id, &info, &nr), 0);
	return nr;
}

/* Device 0 has MAPPED blocks for itself, 1 and 2 all but one in common. */
static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->shelf = shelf_new(UINT64_C(4096) * THIN_METADATA_BLOCK);
	assert_int_equal(
		thin_metadata_format(&w->shelf->lent, 128, 4 * MAPPED + 2 * MANY, NULL),
		0);
	open_metadata(w);
	assert_int_equal(thin_metadata_create_thin(w->m, 0), 0);
	assert_int_equal(thin_metadata_create_thin(w->m, 1), 0);
	map(w, 0, 0, MAPPED);
	map(w, 1, 0, MAPPED);
	assert_int_equal(thin_metadata_create_snap(w->m, 2, 1), 0);
	map(w, 1, 500, 1);
	commit(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	thin_metadata_close(w->m);
	shelf_free(w->shelf);
	free(w);
	return 0;
}

/* --- what may happen ------------------------------------------------------------- */

/* What comes later in the count shows nothing of it: it is written anew. */
static void take_snapshot(struct world *w)
{
	assert_int_equal(thin_metadata_create_snap(w->m, 7, 0), 0);
	map(w, 0, MAPPED / 2, MAPPED / 2);
}

static void write_itself(struct world *w)
{
	map(w, 0, 3, 1);
	map(w, 0, MAPPED, 5);
}

static void hold_for_a_moment(struct world *w)
{
	assert_int_equal(thin_metadata_hold(w->m), 0);
	assert_int_equal(thin_metadata_unhold(w->m), 0);
}

static void write_the_snapshot(struct world *w)
{
	map(w, 2, 10, 2);
}

static void write_and_abort(struct world *w)
{
	map(w, 2, 10, 2);
	assert_int_equal(thin_metadata_abort(w->m, false), 0);
}

static void on_read(void *ctx)
{
	struct world *w = ctx;
	void (*event)(struct world * w) = w->event;

	if (!event || w->reads_left-- > 0)
		return;
	w->event = NULL; /* it reads, too */
	event(w);
}

/* Count @id with a cold cache, @event at the read after @reads; did it happen? */
static bool count_disturbed(struct world *w, uint32_t id, unsigned long reads,
			    void (*event)(struct world *w))
{
	thin_metadata_close(w->m);
	open_metadata(w);
	w->event = event;
	w->reads_left = reads;
	w->shelf->on_read = on_read;
	w->shelf->on_read_ctx = w;
	(void)exclusive(w, id);
	w->shelf->on_read = NULL;
	return !w->event;
}

/* At each of the reads: @after is what @id has for itself in the end. */
static void disturb(struct world *w, uint32_t id, void (*event)(struct world *w),
		    uint64_t after)
{
	unsigned long reads = 0;

	while (count_disturbed(w, id, reads, event)) {
		assert_int_equal(exclusive(w, id), after);
		assert_int_equal(exclusive(w, id), after);
		reads++;
	}
	assert_true(reads > 5);
}

static void right_after_what_happened(void **state)
{
	struct world *w = *state;

	disturb(w, 0, take_snapshot, MAPPED / 2);
	disturb(w, 0, write_itself, MAPPED + 5);
	disturb(w, 0, hold_for_a_moment, MAPPED);
	disturb(w, 1, hold_for_a_moment, 1);
	disturb(w, 1, write_the_snapshot, 3);
	disturb(w, 1, write_and_abort, 1);
}

/* --- what is not counted again ------------------------------------------------------ */

static unsigned long reads_of(struct world *w, uint32_t id, uint64_t expect)
{
	unsigned long before = w->shelf->reads;

	assert_int_equal(exclusive(w, id), expect);
	return w->shelf->reads - before;
}

/* What was walked was read: that is how it shows. */
static void remembered_while_it_is_true(void **state)
{
	struct world *w = *state;
	struct thin_metadata_params p = {.storage = &w->shelf->lent};

	map(w, 0, MAPPED, MANY - MAPPED);
	map(w, 1, MAPPED, MANY - MAPPED);
	commit(w);
	thin_metadata_close(w->m);
	assert_int_equal(thin_metadata_open(&p, &w->m, NULL), 0);
	assert_true(reads_of(w, 0, MANY) > 200);
	assert_true(reads_of(w, 1, MANY - MAPPED + 1) > 200);
	/* Also where it is written: what has nothing in common stays so. */
	map(w, 0, MANY, 1);
	assert_true(reads_of(w, 1, MANY - MAPPED + 1) < 20);
	assert_true(reads_of(w, 0, MANY + 1) < 20);
	/* Who has something in common may have it alone now. */
	map(w, 2, 7, 1);
	assert_true(reads_of(w, 0, MANY + 1) < 20);
	assert_true(reads_of(w, 1, MANY - MAPPED + 2) > 200);
}

/* An abort takes back what was found out in the open transaction. */
static void an_abort_brings_a_snapshot_back(void **state)
{
	struct world *w = *state;

	assert_int_equal(thin_metadata_delete(w->m, 2), 0);
	assert_int_equal(exclusive(w, 1), MAPPED);
	assert_int_equal(thin_metadata_abort(w->m, false), 0);
	assert_int_equal(exclusive(w, 1), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(right_after_what_happened),
		TEST(remembered_while_it_is_true),
		TEST(an_abort_brings_a_snapshot_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
