/* SPDX-License-Identifier: BSD-3-Clause */
#include "dm_thin.h"

/*
 * Bugs that dm-thin and its tools once had (docs/dm-thin.md, 12): each test
 * makes the situation in which one of them would show.  Those of the trees
 * are next door.
 */

/* --- space ----------------------------------------------------------------------- */

/*
 * 12.9: free now, but in use in what is on disk: not to be had yet, though
 * these are the ones where the search begins.
 */
static void blocks_are_free_in_both_maps(void **state)
{
	struct ground *g = ground_stale(4);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	uint64_t commits;

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(thin_volume_trim(v, 2 * BLOCK, 2 * BLOCK, THIN_FUA), 0);
	commits = ground_info(g).commits;
	assert_int_equal(thin_volume_trim(v, 0, 2 * BLOCK, 0), 0);
	assert_int_equal(put(v, 4 * BLOCK, 2 * BLOCK, 2, 0), 0);
	assert_int_equal(ground_info(g).commits, commits);
	assert_int_equal(block_of(v, 4), 2);
	assert_int_equal(block_of(v, 5), 3);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 8 * BLOCK, NULL);
	expect(v, 0, 2 * BLOCK, 1);
	thin_volume_close(v);
	ground_free(g);
}

/* 12.21, 12.24: what was acknowledged before the metadata ran full is kept. */
static void full_metadata_loses_nothing(void **state)
{
	struct ground *g = ground_make(SMALL, 20000, 64);
	struct thin_volume *v;
	uint64_t nr = 0, size = UINT64_C(40000) * SMALL;
	int r;

	(void)state;
	ground_open(g);
	v = ground_create(g, 1, size, NULL);
	while (!(r = put(v, nr * 2 * SMALL, 1, (uint8_t)(nr % 255 + 1), 0)))
		nr++;
	assert_int_equal(r, -ENOSPC);
	assert_true(nr > 500);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_METADATA);
	assert_int_equal(thin_volume_flush(v), 0);
	assert_false(ground_info(g).needs_check);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, size, NULL);
	for (uint64_t b = 0; b < nr; b++)
		expect(v, b * 2 * SMALL, 1, (uint8_t)(b % 255 + 1));
	thin_volume_close(v);
	ground_free(g);
}

/* 12.24: ENOSPC and no other error; back by itself; and the same again. */
static void room_brings_it_back(void **state)
{
	struct ground *g = ground_stale(4);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);
	struct thin_volume *w = ground_create(g, 2, 16 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(w, 0, BLOCK, 1, 0), 0);
	assert_int_equal(put(v, 0, 3 * BLOCK, 1, 0), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(put(v, 8 * BLOCK, BLOCK, 1, THIN_FUA), -ENOSPC);
		assert_int_equal(put(v, 8 * BLOCK, 1, 1, 0), -ENOSPC);
		assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_DATA);
		assert_int_equal(thin_volume_trim(v, 0, BLOCK, 0), 0);
		assert_int_equal(thin_pool_commit(g->pool), 0);
		assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
		assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	}
	assert_int_equal(put(v, 8 * BLOCK, 1, 1, 0), -ENOSPC);
	thin_volume_close(w);
	delete_device(g, 2);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(put(v, 8 * BLOCK, BLOCK, 1, 0), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* 12.25: metadata larger than the format can have. */
static void metadata_above_the_limit(void **state)
{
	struct ground *g = ground_make(BLOCK, 8, THIN_MAX_METADATA_BLOCKS + 1000);
	struct thin_volume *v;

	(void)state;
	ground_open(g);
	assert_int_equal(ground_info(g).nr_metadata_blocks, THIN_MAX_METADATA_BLOCKS);
	v = ground_create(g, 1, BLOCK, NULL);
	assert_int_equal(put(v, 0, 1, 1, THIN_FUA), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* 12.29: the kernel leaks blocks (6.9); that is no reason not to open. */
static void leaks_are_no_obstacle(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct thin_audit_summary s;
	uint64_t dblock, nr;

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(thin_metadata_reserve(g->pool->m, 1, &dblock, &nr), 0);
	assert_int_equal(thin_sm_disk_insert(g->pool->m->sm_data, dblock), 0);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	assert_int_equal(thin_audit(g->metadata->memory, NULL, NULL, NULL, &s, NULL), 0);
	assert_int_equal(s.nonfatal, 1);
	assert_int_equal(s.fatal, 0);
	ground_open(g);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(ground_used(g), 2);
	v = ground_volume(g, 1, 8 * BLOCK, NULL);
	expect(v, 0, BLOCK, 1);
	assert_int_equal(put(v, BLOCK, 6 * BLOCK, 1, 0), 0);
	assert_int_equal(put(v, 7 * BLOCK, BLOCK, 1, 0), -ENOSPC);
	thin_volume_close(v);
	ground_free(g);
}

/* --- order of I/O --------------------------------------------------------------------
 */

/* One letter for each kind of I/O, equal neighbours joined. */
struct journal {
	char text[64];
	size_t len;
};

static void note_io(struct journal *j, char c)
{
	if ((j->len && j->text[j->len - 1] == c) || j->len + 1 == sizeof(j->text))
		return;
	j->text[j->len++] = c;
}

static void note_data_write(void *ctx, const struct thin_segment *seg, size_t nr)
{
	(void)seg;
	(void)nr;
	note_io(ctx, 'D');
}

static void note_data_flush(void *ctx)
{
	note_io(ctx, 'd');
}

static void note_punch(void *ctx)
{
	note_io(ctx, 'P');
}

static void note_metadata_write(void *ctx, const struct thin_segment *seg, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		note_io(ctx, seg[i].offset ? 'M' : 'S');
}

static void note_metadata_flush(void *ctx)
{
	note_io(ctx, 'm');
}

static void journal_begin(struct ground *g, struct journal *j)
{
	*j = (struct journal){0};
	g->data->on_write_ctx = g->data->on_flush_ctx = g->data->on_punch_ctx = j;
	g->metadata->on_write_ctx = g->metadata->on_flush_ctx = j;
	g->data->on_write = note_data_write;
	g->data->on_flush = note_data_flush;
	g->data->on_punch = note_punch;
	g->metadata->on_write = note_metadata_write;
	g->metadata->on_flush = note_metadata_flush;
}

/* 12.11: the data, also a copy of the origin's, before what points to it. */
static void data_before_metadata_before_superblock(void **state)
{
	struct ground *g = ground_stale(16);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 4 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, o);
	struct journal j;

	(void)state;
	journal_begin(g, &j);
	assert_int_equal(put(v, 100, 1, 1, THIN_FUA), 0); /* copied from the origin */
	assert_string_equal(j.text, "DdMmSm");
	journal_begin(g, &j);
	assert_int_equal(put(v, 4 * BLOCK, BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_flush(v), 0);
	assert_string_equal(j.text, "DdMmSm");
	snapshot(g, 1, 2);
	journal_begin(g, &j);
	assert_int_equal(put(v, 100, 1, 1, THIN_FUA), 0); /* copied: it was shared */
	assert_string_equal(j.text, "DdMmSm");
	g->data->on_write = NULL;
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* 12.14: punched when nobody has it any more, and only after the commit. */
static void passdown_after_the_commit(void **state)
{
	struct ground *g = ground_stale(16);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL), *s;
	struct journal j;

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	snapshot(g, 1, 2);
	s = ground_volume(g, 2, 8 * BLOCK, NULL);
	journal_begin(g, &j);
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, THIN_FUA), 0);
	assert_string_equal(j.text, "MmSm");
	journal_begin(g, &j);
	assert_int_equal(thin_volume_trim(s, BLOCK, 2 * BLOCK, 0), 0);
	assert_string_equal(j.text, "");
	assert_int_equal(thin_volume_flush(s), 0);
	assert_string_equal(j.text, "MmSmP");
	expect(s, 0, BLOCK, 1);
	expect(s, 3 * BLOCK, BLOCK, 1);
	thin_volume_close(s);
	thin_volume_close(v);
	ground_free(g);
}

/* 12.12: a whole new block with FUA is not done before its mapping is. */
static void fua_waits_for_the_superblock(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct write_call w = {.v = v, .len = BLOCK, .byte = 7, .flags = THIN_FUA};
	struct door door;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->metadata->on_flush_ctx = &door;
	g->metadata->on_flush = door_of_flushes;
	write_start(&w);
	WAIT_FOR(door_waiting(&door) == 1);
	usleep(5000);
	assert_false(w.call.done);
	door_set(&door, false);
	assert_int_equal(call_join(&w.call), 0);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 8 * BLOCK, NULL);
	expect(v, 0, BLOCK, 7);
	thin_volume_close(v);
	ground_free(g);
}

/* --- races, aborts
 * ----------------------------------------------------------------------- */

static int trim_block_0(void *ctx)
{
	return thin_volume_trim(ctx, 0, BLOCK, 0);
}

/* 12.15: who trims a block that is being made waits until it is there. */
static void trim_waits_for_provisioning(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct write_call w = {.v = v, .len = 10, .byte = 7};
	struct door door;
	struct call c;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	write_start(&w);
	WAIT_FOR(door_waiting(&door) == 1);
	call_start(&c, trim_block_0, v);
	usleep(10000);
	assert_false(c.done);
	door_set(&door, false);
	assert_int_equal(call_join(&w.call), 0);
	assert_int_equal(call_join(&c), 0);
	expect(v, 0, BLOCK, 0);
	assert_int_equal(ground_used(g), 0);
	expect_sound(g);
	thin_volume_close(v);
	ground_free(g);
}

/* 12.22, 12.23: after an abort the last commit is what all see; 5.9 too. */
static void lookups_after_an_abort(void **state)
{
	struct ground *g = ground_small(2000);
	struct thin_volume *v = ground_create(g, 1, 2000 * SMALL, NULL);
	struct thin_volume *other = ground_create(g, 2, 2000 * SMALL, NULL);
	uint64_t *was;

	(void)state;
	map_blocks(v, 0, 600);
	map_blocks(other, 0, 10);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	was = map_of(v, 1000);
	trim_blocks(v, 100, 500);
	map_blocks(v, 400, 300);
	g->metadata->fail_write_times = 1;
	assert_int_equal(thin_volume_flush(v), -EIO);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	expect_map(v, was, 1000);
	assert_int_equal(mapped_blocks(v), 600);
	assert_int_equal(ground_used(g), 610);
	for (int i = 0; i < 3; i++)
		assert_int_equal(thin_volume_flush(v), -EIO);
	assert_int_equal(thin_volume_flush(other), 0);
	free(was);
	thin_volume_close(other);
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_free_in_both_maps),
		cmocka_unit_test(full_metadata_loses_nothing),
		cmocka_unit_test(room_brings_it_back),
		cmocka_unit_test(metadata_above_the_limit),
		cmocka_unit_test(leaks_are_no_obstacle),
		cmocka_unit_test(data_before_metadata_before_superblock),
		cmocka_unit_test(passdown_after_the_commit),
		cmocka_unit_test(fua_waits_for_the_superblock),
		cmocka_unit_test(trim_waits_for_provisioning),
		cmocka_unit_test(lookups_after_an_abort),
	};

	return cmocka_run_group_tests_name("dm_thin_bugs", tests, NULL, NULL);
}
