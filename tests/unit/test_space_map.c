/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_ground.h"
#include "seeded.h"

#include "metadata/space_map_disk.h"
#include "util/checked.h"

#include <errno.h>

/* Both space maps against plain arrays of counts, across commits and reopens. */

#define METADATA_BLOCKS 700u
#define DATA_BLOCKS	20000u /* two bitmaps, the second one partial */

/* --- the metadata's ------------------------------------------------------------ */

static void check_counts(struct thin_space_map *sm, const uint32_t *model, uint64_t nr)
{
	for (uint64_t b = 0; b < nr; b++) {
		uint32_t count;

		assert_int_equal(thin_sm_count(sm, b, &count), 0);
		assert_int_equal(count, model[b]);
	}
}

/* Counts of blocks that the test itself holds; the map's own homes move. */
static void metadata_counts_survive(void **state)
{
	struct ground *g = ground_new(METADATA_BLOCKS, 64);
	struct seeded rnd = seeded_start("metadata space map");
	uint32_t held[METADATA_BLOCKS] = {0};

	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < 60; i++) {
			uint64_t b = seeded_below(&rnd, METADATA_BLOCKS);

			if (held[b] && seeded_below(&rnd, 2)) {
				assert_int_equal(thin_sm_dec(g->tm.sm, b), 0);
				held[b]--;
			} else if (held[b]) {
				assert_int_equal(thin_sm_inc(g->tm.sm, b), 0);
				held[b]++;
			} else if (!thin_sm_alloc(g->tm.sm, &b)) {
				assert_int_equal(held[b], 0);
				held[b] = 1;
			}
		}
		ground_commit(g);
		ground_close(g);
		ground_open(g, 64);
		for (uint64_t b = 0; b < METADATA_BLOCKS; b++) {
			uint32_t count;

			assert_int_equal(thin_sm_count(g->tm.sm, b, &count), 0);
			if (held[b])
				assert_int_equal(count, held[b]);
			else
				assert_true(count <= 1);
		}
	}
	ground_free(g);
}

static void impossible_counts_are_refused(void **state)
{
	struct ground *g = ground_new(METADATA_BLOCKS, 64);

	(void)state;
	assert_int_equal(thin_sm_inc(g->tm.sm, 600), -EILSEQ);
	assert_int_equal(thin_sm_dec(g->tm.sm, 600), -EILSEQ);
	assert_int_equal(thin_sm_inc(g->tm.sm, METADATA_BLOCKS), -EILSEQ);
	ground_free(g);
}

/* A fresh map grown over a border of bitmaps, byte after byte counted free. */
static void metadata_grows_into_new_bitmaps(void **state)
{
	struct ground *g = ground_new(METADATA_BLOCKS, 64);
	uint64_t before = thin_sm_metadata_nr_allocated(g->sm), nr = 3 * 16320 + 5;

	(void)state;
	assert_int_equal(thin_storage_resize(g->storage, nr * 4096), 0);
	thin_cache_set_nr_blocks(g->cache, nr);
	assert_int_equal(thin_sm_metadata_grow(g->sm, nr), 0);
	ground_commit(g);
	ground_close(g);
	ground_open(g, 64);
	assert_int_equal(thin_sm_metadata_nr_blocks(g->sm), nr);
	/* Three more bitmaps, and nothing else. */
	assert_int_equal(thin_sm_metadata_nr_allocated(g->sm), before + 3);
	ground_free(g);
}

/* --- the data's ------------------------------------------------------------------ */

struct data {
	struct ground *g;
	struct thin_sm_disk *sm;
	uint32_t counts[DATA_BLOCKS];
};

static void open_data(struct data *d)
{
	assert_int_equal(thin_sm_disk_open(&d->g->tm, METADATA_BLOCKS,
					   &d->g->sb.data_space_map, &d->sm),
			 0);
}

static void commit_data(struct data *d)
{
	struct thin_quarantine *q = thin_sm_disk_quarantine(d->sm);

	assert_int_equal(thin_sm_disk_commit(d->sm, &d->g->sb.data_space_map), 0);
	ground_commit(d->g);
	thin_block_set_clear(&q->freed);
	thin_block_set_clear(&q->unavailable);
}

static void reopen_data(struct data *d)
{
	thin_sm_disk_destroy(d->sm);
	ground_close(d->g);
	ground_open(d->g, 64);
	open_data(d);
}

static int set_up(void **state)
{
	struct data *d = calloc(1, sizeof(*d));

	d->g = ground_new(METADATA_BLOCKS, 64);
	open_data(d);
	assert_int_equal(thin_sm_disk_grow(d->sm, DATA_BLOCKS), 0);
	*state = d;
	return 0;
}

static int tear_down(void **state)
{
	struct data *d = *state;

	thin_sm_disk_destroy(d->sm);
	ground_free(d->g);
	free(d);
	return 0;
}

static void take_some(struct data *d, uint64_t want)
{
	uint64_t block, nr;

	thin_cache_begin_op(d->g->cache);
	if (thin_sm_disk_reserve(d->sm, want, &block, &nr))
		return;
	for (uint64_t i = 0; i < nr; i++) {
		assert_int_equal(d->counts[block + i], 0);
		thin_cache_begin_op(d->g->cache);
		assert_int_equal(thin_sm_disk_insert(d->sm, block + i), 0);
		d->counts[block + i] = 1;
	}
}

static void change_one(struct data *d, uint64_t block, bool up)
{
	struct thin_space_map *sm = thin_sm_disk_interface(d->sm);

	thin_cache_begin_op(d->g->cache);
	if (!d->counts[block]) {
		assert_int_equal(thin_sm_inc(sm, block), -EILSEQ);
		assert_int_equal(thin_sm_dec(sm, block), -EILSEQ);
		return;
	}
	assert_int_equal(up ? thin_sm_inc(sm, block) : thin_sm_dec(sm, block), 0);
	d->counts[block] += up ? 1 : -1u;
}

static uint64_t model_used(const struct data *d)
{
	uint64_t used = 0;

	for (uint64_t b = 0; b < DATA_BLOCKS; b++)
		used += d->counts[b] > 0;
	return used;
}

static void data_counts_survive(void **state)
{
	struct seeded rnd = seeded_start("data space map");
	struct data *d = *state;

	for (unsigned round = 0; round < 25; round++) {
		for (unsigned i = 0; i < 20; i++)
			take_some(d, 1 + seeded_below(&rnd, 60));
		for (unsigned i = 0; i < 3000; i++)
			change_one(d, seeded_below(&rnd, DATA_BLOCKS),
				   seeded_below(&rnd, 5) < 3);
		commit_data(d);
		if (round % 3 == 0)
			reopen_data(d);
		check_counts(thin_sm_disk_interface(d->sm), d->counts, DATA_BLOCKS);
		assert_int_equal(thin_sm_disk_nr_allocated(d->sm), model_used(d));
	}
}

/* Every block can be had, once, whatever order they were freed in. */
static void all_blocks_can_be_had(void **state)
{
	struct seeded rnd = seeded_start("data space map full");
	struct data *d = *state;
	uint64_t block, nr;

	while (model_used(d) < DATA_BLOCKS)
		take_some(d, 977);
	assert_int_equal(thin_sm_disk_reserve(d->sm, 1, &block, &nr), -ENOSPC);
	for (unsigned i = 0; i < 5000; i++)
		change_one(d, seeded_below(&rnd, DATA_BLOCKS), false);
	assert_int_equal(thin_sm_disk_reserve(d->sm, 1, &block, &nr), -ENOSPC);
	commit_data(d);
	reopen_data(d);
	while (model_used(d) < DATA_BLOCKS)
		take_some(d, 3);
}

/*
 * Others have written the last bitmap's nr_free out of the entries that there
 * are, or worse: then a pool that is grown must not be stuck.
 */
static void wrong_hints_are_not_believed(void **state)
{
	struct data *d = *state;
	struct thin_btree t = {.tm = &d->g->tm, .value_size = THIN_VALUE_INDEX};
	struct thin_reader rd = {.cache = d->g->cache, .may_load = true};
	struct {
		struct le64 block;
		struct le32 nr_free, none_free_before;
	} __attribute__((packed)) entry;
	uint64_t root;

	while (model_used(d) < DATA_BLOCKS / 2)
		take_some(d, 977);
	commit_data(d);
	root = le64_get(d->g->sb.data_space_map.bitmap_root);
	for (uint64_t i = 0; i < 2; i++) {
		thin_cache_begin_op(d->g->cache);
		assert_int_equal(
			thin_btree_lookup(&rd, THIN_VALUE_INDEX, root, i, &entry), 0);
		entry.nr_free = le32_of(0);
		entry.none_free_before = le32_of(16319);
		assert_int_equal(thin_btree_insert(&t, root, i, &entry, &root), 0);
	}
	d->g->sb.data_space_map.bitmap_root = le64_of(root);
	ground_commit(d->g);
	reopen_data(d);
	while (model_used(d) < DATA_BLOCKS)
		take_some(d, 977);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metadata_counts_survive),
		cmocka_unit_test(impossible_counts_are_refused),
		cmocka_unit_test(metadata_grows_into_new_bitmaps),
		TEST(data_counts_survive),
		TEST(all_blocks_can_be_had),
		TEST(wrong_hints_are_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
