/* SPDX-License-Identifier: BSD-3-Clause */
#include "dm_thin.h"

/*
 * What dm-thin's users see: reads, writes and sharing (6), discards (8), and
 * what we do otherwise (10); external origins (7) are next door.  The numbers
 * are the rows of docs/dm-thin.md, which says where the others are tested.
 */

/* --- 6: reads, writes, sharing ---------------------------------------------- */

/* 6.1 */
static void read_allocates_nothing(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	expect(v, 0, 8 * BLOCK, 0);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(g->data->reads, 0);
	assert_false(ground_info(g).dirty);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.2: in a pool that has not one block. */
static void flush_needs_no_block(void **state)
{
	struct ground *g = ground_stale(1);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(put(v, BLOCK, 1, 1, 0), -ENOSPC);
	assert_int_equal(thin_volume_flush(v), 0);
	assert_int_equal(thin_volume_write(v, "", 2 * BLOCK, 0, THIN_FUA), 0);
	assert_int_equal(ground_used(g), 1);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.3, 6.7: and there is no way to ask for the block's old bytes. */
static void first_write_zeroes_the_rest(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 1, 1, 0), 0);
	expect(v, 1, BLOCK - 1, 0);
	assert_int_equal(put(v, 2 * BLOCK - 1, 1, 1, 0), 0);
	expect(v, BLOCK, BLOCK - 1, 0);
	assert_int_equal(put(v, 3 * BLOCK - 512, 1024, 1, 0), 0);
	expect(v, 2 * BLOCK, BLOCK - 512, 0);
	expect(v, 3 * BLOCK + 512, BLOCK - 512, 0);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.4: one write, no zeros before it; mapped when it is there, not earlier. */
static void whole_write_goes_straight(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct write_call w = {.v = v, .offset = BLOCK, .len = BLOCK, .byte = 7};
	struct door door;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	write_start(&w);
	WAIT_FOR(door_waiting(&door) == 1);
	assert_int_equal(block_of(v, 1), NOWHERE);
	expect(v, 0, 3 * BLOCK, 0);
	door_set(&door, false);
	assert_int_equal(call_join(&w.call), 0);
	expect(v, BLOCK, BLOCK, 7);
	assert_int_equal(g->data->writes, 1);
	assert_int_equal(g->data->zeros, 0);
	assert_int_equal(g->data->write_bytes, BLOCK);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.6: told by times, so after the snapshot is gone there is one copy more. */
static void was_shared_is_copied_once(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	uint64_t was;

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	snapshot(g, 1, 2);
	delete_device(g, 2);
	was = block_of(v, 0);
	assert_int_equal(put(v, 5, 1, 2, 0), 0);
	assert_int_not_equal(block_of(v, 0), was);
	was = block_of(v, 0);
	assert_int_equal(put(v, 6, 1, 3, 0), 0);
	assert_int_equal(block_of(v, 0), was);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(ground_used(g), 1);
	assert_int_equal(ground_info(g).data_free, 7);
	expect(v, 0, 5, 1);
	expect(v, 7, BLOCK - 7, 1);
	thin_volume_close(v);
	ground_free(g);
}

static int read_first_byte(void *ctx)
{
	uint8_t byte;
	int r = thin_volume_read(ctx, &byte, 0, 1);

	return r ? r : byte;
}

/* 6.8: who reads an old block gets the old bytes, whatever becomes of it. */
static void reader_keeps_the_old_block(void **state)
{
	struct ground *g = ground_stale(2);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, NULL);
	struct thin_volume *other = ground_create(g, 2, 2 * BLOCK, NULL);
	struct write_call w = {.v = other, .len = 2 * BLOCK, .byte = 9};
	struct call reader;
	struct door door;

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_start(g->pool), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_read_ctx = &door;
	g->data->on_read = door_of_flushes;
	call_start(&reader, read_first_byte, v);
	WAIT_FOR(door_waiting(&door) == 1);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, THIN_FUA), 0);
	write_start(&w); /* wants both blocks */
	usleep(10000);
	assert_false(w.call.done);
	door_set(&door, false);
	assert_int_equal(call_join(&reader), 1);
	assert_int_equal(call_join(&w.call), 0);
	expect(other, 0, 2 * BLOCK, 9);
	expect(v, 0, 2 * BLOCK, 0);
	thin_volume_close(other);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.9: a copy that fails, of a shared block: test_write.c has the others. */
static void failed_copy_leaks_nothing(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 3 * BLOCK, 1, 0), 0);
	snapshot(g, 1, 2);
	g->data->fail_read = -EIO;
	for (int i = 0; i < 20; i++)
		assert_int_equal(put(v, 100, 2 * BLOCK, 2, 0), -EIO);
	g->data->fail_read = 0;
	assert_int_equal(ground_used(g), 3);
	assert_int_equal(ground_info(g).data_free, 5);
	expect_sound(g);
	expect(v, 0, 3 * BLOCK, 1);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.10: lowest first after an open, and not back to the start at a commit. */
static void allocation_is_linear(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	for (uint64_t b = 0; b < 3; b++) {
		assert_int_equal(put(v, b * BLOCK, 1, 1, THIN_FUA), 0);
		assert_int_equal(block_of(v, b), b);
	}
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, THIN_FUA), 0);
	assert_int_equal(put(v, 3 * BLOCK, 1, 1, THIN_FUA), 0);
	assert_int_equal(block_of(v, 3), 3);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 8 * BLOCK, NULL);
	assert_int_equal(put(v, 4 * BLOCK, 1, 1, 0), 0);
	assert_int_equal(block_of(v, 4), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* --- 8: discard ------------------------------------------------------------------- */

/* 8.1, 8.8: the ends of a trim that are not whole blocks stay. */
static void trim_rounds_inwards(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 8 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_trim(v, BLOCK - 1, 3 * BLOCK, 0), 0);
	expect(v, 0, BLOCK, 1);
	expect(v, BLOCK, 2 * BLOCK, 0);
	expect(v, 3 * BLOCK, 5 * BLOCK, 1);
	assert_int_equal(mapped_blocks(v), 6);
	thin_volume_close(v);
	ground_free(g);
}

/* 8.2 */
static void trim_leaves_the_others_theirs(void **state)
{
	struct ground *g = ground_stale(16);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL), *s;

	(void)state;
	assert_int_equal(put(v, 0, 8 * BLOCK, 1, 0), 0);
	snapshot(g, 1, 2);
	assert_int_equal(thin_volume_trim(v, 0, 8 * BLOCK, THIN_FUA), 0);
	assert_int_equal(ground_used(g), 8);
	assert_int_equal(put(v, 0, 8 * BLOCK, 2, 0), 0);
	s = ground_volume(g, 2, 8 * BLOCK, NULL);
	expect(s, 0, 8 * BLOCK, 1);
	assert_int_equal(thin_volume_trim(s, 0, 8 * BLOCK, THIN_FUA), 0);
	assert_int_equal(ground_used(g), 8);
	expect(v, 0, 8 * BLOCK, 2);
	expect_sound(g);
	thin_volume_close(s);
	thin_volume_close(v);
	ground_free(g);
}

/* 8.5: a write to a block that is trimmed meanwhile hits nobody else. */
static void trimmed_block_waits_for_writes(void **state)
{
	struct ground *g = ground_stale(2);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, NULL);
	struct thin_volume *other = ground_create(g, 2, 2 * BLOCK, NULL);
	struct write_call late = {.v = v, .len = 100, .byte = 7};
	struct write_call w = {.v = other, .len = 2 * BLOCK, .byte = 9};
	struct door door;

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(thin_pool_start(g->pool), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	write_start(&late); /* in place */
	WAIT_FOR(door_waiting(&door) == 1);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, THIN_FUA), 0);
	write_start(&w); /* wants both blocks */
	usleep(10000);
	assert_false(w.call.done);
	assert_int_equal(door_waiting(&door), 1);
	door_set(&door, false);
	assert_int_equal(call_join(&late.call), 0);
	assert_int_equal(call_join(&w.call), 0);
	expect(other, 0, 2 * BLOCK, 9);
	thin_volume_close(other);
	thin_volume_close(v);
	ground_free(g);
}

/* 8.6: counted as free at once, had after a commit. */
static void trimmed_block_waits_for_a_commit(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 6 * BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(thin_volume_trim(v, 0, 6 * BLOCK, 0), 0);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(ground_info(g).data_free, 2);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(ground_info(g).data_free, 8);
	thin_volume_close(v);
	ground_free(g);
}

/* 8.7, done better: no limit of 1024 blocks a request, for whoever asks. */
static void trim_of_any_length(void **state)
{
	struct ground *g = ground_make(4096, 3000, 1024);
	struct thin_volume *v;

	(void)state;
	ground_open(g);
	v = ground_create(g, 1, UINT64_C(1) << 40, NULL);
	assert_int_equal(put(v, 0, 2900 * 4096, 1, 0), 0);
	assert_int_equal(put(v, UINT64_C(1) << 39, 4096, 1, 0), 0);
	assert_int_equal(thin_volume_trim(v, 4096, (UINT64_C(1) << 40) - 4096, 0), 0);
	assert_int_equal(ground_used(g), 1);
	expect_sound(g);
	thin_volume_close(v);
	ground_free(g);
}

/* --- 10: deviations ------------------------------------------------------------------
 */

/* The clock of snapshots has 24 bits in a mapping, and must not wrap. */
static void time_does_not_overflow(void **state)
{
	struct ground *g = ground_stale(8);
	struct thin_snap_pair pair = {1, 4};

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	g->pool->m->time = THIN_MAX_TIME - 1;
	snapshot(g, 1, 2);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), -EDQUOT);
	assert_int_equal(ground_info(g).failed, 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 4), 0);
	expect_sound(g);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_allocates_nothing),
		cmocka_unit_test(flush_needs_no_block),
		cmocka_unit_test(first_write_zeroes_the_rest),
		cmocka_unit_test(whole_write_goes_straight),
		cmocka_unit_test(was_shared_is_copied_once),
		cmocka_unit_test(reader_keeps_the_old_block),
		cmocka_unit_test(failed_copy_leaks_nothing),
		cmocka_unit_test(allocation_is_linear),
		cmocka_unit_test(trim_rounds_inwards),
		cmocka_unit_test(trim_leaves_the_others_theirs),
		cmocka_unit_test(trimmed_block_waits_for_writes),
		cmocka_unit_test(trimmed_block_waits_for_a_commit),
		cmocka_unit_test(trim_of_any_length),
		cmocka_unit_test(time_does_not_overflow),
	};

	return cmocka_run_group_tests_name("dm_thin", tests, NULL, NULL);
}
