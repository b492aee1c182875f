/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static struct ground *two_blocks(struct thin_volume **ret)
{
	struct ground *g = ground_new(64);

	*ret = ground_create(g, 1, 32 * BLOCK, NULL);
	assert_int_equal(put(*ret, 0, 2 * BLOCK, 1, THIN_FUA), 0);
	return g;
}

/* 5.16: who changes nothing writes nothing, not even at close. */
static void test_untouched(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	unsigned long writes;

	(void)state;
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	writes = g->metadata->writes;
	ground_open(g);
	v = ground_volume(g, 1, 32 * BLOCK, NULL);
	expect(v, 0, 2 * BLOCK, 1);
	assert_int_equal(thin_volume_flush(v), 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	assert_int_equal(g->metadata->writes, writes);
	ground_discard(g);
}

/* 5.13: a flush commits where the volume has changes; else it flushes data. */
static void test_flush_commits_if_changed(void **state)
{
	struct thin_volume *v, *other;
	struct ground *g = two_blocks(&v);
	unsigned long writes, flushes;

	(void)state;
	other = ground_create(g, 2, BLOCK, NULL);
	assert_int_equal(put(other, 0, BLOCK, 2, 0), 0);
	writes = g->metadata->writes;
	flushes = g->data->flushes;
	assert_int_equal(put(v, 0, BLOCK, 3, 0), 0);
	assert_int_equal(thin_volume_flush(v), 0);
	assert_int_equal(put(v, 0, BLOCK, 3, THIN_FUA), 0);
	assert_int_equal(g->metadata->writes, writes);
	assert_int_equal(g->data->flushes, flushes + 2);
	assert_true(ground_info(g).dirty);
	assert_int_equal(put(v, 0, BLOCK, 3, 0), 0);
	assert_int_equal(thin_volume_flush(other), 0);
	assert_false(ground_info(g).dirty);
	assert_true(g->metadata->writes > writes);
	assert_int_equal(g->data->flushes, flushes + 3);
	thin_volume_close(other);
	thin_volume_close(v);
	ground_free(g);
}

/* I2, with nobody to flush beside: data first, before any metadata is written. */
struct order {
	struct ground *g;
	unsigned long metadata_writes; /* when the data was flushed */
	unsigned flushes;
};

static void note_order(void *ctx)
{
	struct order *o = ctx;

	o->metadata_writes = o->g->metadata->writes;
	o->flushes++;
}

static void test_data_first(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	struct order o = {.g = g};
	unsigned long before = g->metadata->writes;

	(void)state;
	g->data->on_flush_ctx = &o;
	g->data->on_flush = note_order;
	assert_int_equal(put(v, 4 * BLOCK, BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(o.flushes, 1);
	assert_int_equal(o.metadata_writes, before);
	assert_true(g->metadata->writes > before);
	thin_volume_close(v);
	ground_free(g);
}

/* I2 and C3: the metadata are flushed beside the data; the superblock waits for both. */
static int flush_volume(void *ctx)
{
	return thin_volume_flush(ctx);
}

static void test_beside(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	unsigned long before;
	struct call flush;
	struct door door;

	(void)state;
	assert_int_equal(thin_pool_start(g->pool), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_flush_ctx = &door;
	g->data->on_flush = door_of_flushes;
	before = g->metadata->flushes;
	assert_int_equal(put(v, 4 * BLOCK, BLOCK, 1, 0), 0);
	call_start(&flush, flush_volume, v);
	WAIT_FOR(door_waiting(&door) == 1);
	WAIT_FOR(g->metadata->flushes >= before + 1);
	usleep(10000);
	assert_int_equal(g->metadata->flushes, before + 1);
	door_set(&door, false);
	assert_int_equal(call_join(&flush), 0);
	assert_true(g->metadata->flushes >= before + 2);
	thin_volume_close(v);
	ground_free(g);
}

/* Many who want to be durable share commits. */
static int write_fua_often(void *ctx)
{
	struct write_call *w = ctx;

	for (uint64_t i = 0; i < 8; i++) {
		int r = put(w->v, w->offset + i * BLOCK, BLOCK, w->byte, THIN_FUA);
		if (r)
			return r;
	}
	return 0;
}

static void slow(void *ctx)
{
	(void)ctx;
	usleep(2000);
}

static void test_group(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	uint64_t commits = ground_info(g).commits;
	struct write_call w[4];
	struct call c[4];

	(void)state;
	g->data->on_flush = slow;
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		w[i] = (struct write_call){
			.v = v, .offset = 8 * i * BLOCK, .byte = (uint8_t)(i + 1)};
		call_start(&c[i], write_fua_often, &w[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		assert_int_equal(call_join(&c[i]), 0);
	assert_true(ground_info(g).commits - commits < 8 * ARRAY_LEN(c));
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 32 * BLOCK, NULL);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		expect(v, 8 * i * BLOCK, 8 * BLOCK, (uint8_t)(i + 1));
	thin_volume_close(v);
	ground_free(g);
}

static void test_periodic(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	uint64_t commits = ground_info(g).commits;

	(void)state;
	assert_int_equal(g->pool->committer.interval_ns, 1000000000);
	thin_commit_if_dirty(g->pool);
	assert_int_equal(ground_info(g).commits, commits);
	assert_int_equal(put(v, 5 * BLOCK, 1, 1, 0), 0);
	thin_commit_if_dirty(g->pool);
	assert_int_equal(ground_info(g).commits, commits + 1);
	g->pool->committer.interval_ns = 5000000;
	assert_int_equal(thin_pool_start(g->pool), 0);
	assert_int_equal(put(v, 6 * BLOCK, 1, 1, 0), 0);
	WAIT_FOR(!ground_info(g).dirty);
	thin_volume_close(v);
	ground_free(g);
}

/* --- failures ----------------------------------------------------------------- */

static void close_failed(struct ground *g, struct thin_volume *v)
{
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), -ESHUTDOWN);
	ground_discard(g);
}

/* I9: whatever comes after a failed flush fails, and nothing is tried again. */
static void check_failed(struct ground *g, struct thin_volume *v)
{
	unsigned long data = g->data->flushes, metadata = g->metadata->flushes;
	unsigned long writes = g->metadata->writes + g->data->writes;
	struct thin_snap_pair pair = {1, 9};
	uint32_t device = 1;
	uint8_t b;

	g->data->fail_flush = g->metadata->fail_flush = 0;
	assert_int_equal(ground_mode(g), THIN_MODE_FAIL);
	assert_int_equal(thin_volume_flush(v), -ESHUTDOWN);
	assert_int_equal(thin_pool_commit(g->pool), -ESHUTDOWN);
	assert_int_equal(put(v, 0, 1, 9, 0), -ESHUTDOWN);
	assert_int_equal(put(v, 20 * BLOCK, 1, 9, THIN_FUA), -ESHUTDOWN);
	assert_int_equal(thin_volume_read(v, &b, 0, 1), -ESHUTDOWN);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, 0), -ESHUTDOWN);
	assert_int_equal(thin_volume_zero(v, 0, BLOCK, 0), -ESHUTDOWN);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), -ESHUTDOWN);
	assert_int_equal(thin_pool_create_thin(g->pool, 9), -ESHUTDOWN);
	assert_int_equal(thin_pool_delete(g->pool, &device, 1), -ESHUTDOWN);
	assert_int_equal(thin_pool_grow(g->pool, 100 * BLOCK, 0), -ESHUTDOWN);
	assert_int_equal(g->data->flushes, data);
	assert_int_equal(g->metadata->flushes, metadata);
	assert_int_equal(g->metadata->writes + g->data->writes, writes);
	assert_int_equal(g->events[THIN_EVENT_MODE], 1);
	assert_string_equal(g->detail, "fail");
}

static void test_data_flush_fails(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		struct thin_volume *v; /* in place: a flush; or new: a commit */
		struct ground *g = two_blocks(&v);
		uint64_t offset = i % 2 ? 10 * BLOCK : 0;

		if (i / 2)
			assert_int_equal(thin_pool_start(g->pool), 0);
		g->data->fail_flush = -EIO;
		assert_int_equal(put(v, offset, BLOCK, 2, THIN_FUA), -EIO);
		check_failed(g, v);
		close_failed(g, v);
	}
}

/* The commit that was acknowledged last is what is there afterwards. */
static void test_metadata_flush_fails(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);

	(void)state;
	assert_int_equal(put(v, 10 * BLOCK, BLOCK, 2, 0), 0);
	g->metadata->fail_flush = -EIO;
	assert_int_equal(thin_volume_flush(v), -EIO);
	check_failed(g, v);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 32 * BLOCK, NULL);
	expect(v, 0, 2 * BLOCK, 1);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * 5.8: back to the last commit, which is marked for a check; 5.9: who lost
 * something hears of it at every flush, and nobody else does.
 */
static void test_metadata_write_fails(void **state)
{
	struct thin_volume *v, *other;
	struct ground *g = two_blocks(&v);

	(void)state;
	other = ground_create(g, 2, 8 * BLOCK, NULL);
	assert_int_equal(put(other, 0, BLOCK, 5, THIN_FUA), 0);
	assert_int_equal(put(v, 10 * BLOCK, BLOCK, 2, 0), 0);
	g->metadata->fail_write_times = 1;
	assert_int_equal(thin_volume_flush(v), -EIO);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	assert_string_equal(g->detail, "ro");
	expect(v, 0, 2 * BLOCK, 1);
	expect(v, 10 * BLOCK, BLOCK, 0);
	assert_int_equal(thin_volume_flush(v), -EIO);
	assert_int_equal(thin_volume_flush(other), 0);
	assert_int_equal(put(other, 0, 1, 6, 0), -EROFS);
	assert_int_equal(thin_volume_trim(other, 0, BLOCK, 0), -EROFS);
	assert_int_equal(thin_pool_create_thin(g->pool, 3), -EROFS);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	thin_volume_close(other);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	ground_open(g);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	assert_true(ground_info(g).needs_check);
	ground_free(g);
}

/* Where not even the mark can be made, the pool has failed. */
static void test_abort_fails(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);

	(void)state;
	assert_int_equal(put(v, 10 * BLOCK, BLOCK, 2, 0), 0);
	g->metadata->fail_write = -EIO;
	assert_int_equal(thin_volume_flush(v), -EIO);
	check_failed(g, v);
	close_failed(g, v);
}

/* C5: a change that fails half-way is undone by a commit, at once. */
static void test_poison(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	int r;

	(void)state;
	assert_int_equal(put(v, 10 * BLOCK, BLOCK, 2, 0), 0);
	poison(v);
	r = put(v, 11 * BLOCK, BLOCK, 2, 0);
	assert_true(r == -EIO || r == -EILSEQ);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	assert_int_equal(ground_info(g).failed, 0);
	expect(v, 0, 2 * BLOCK, 1);
	expect(v, 10 * BLOCK, BLOCK, 0);
	assert_int_equal(thin_volume_flush(v), -EIO);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	ground_discard(g);
}

/* ... or by the next periodic one, where nobody noticed. */
static void test_poison_unnoticed(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);

	(void)state;
	poison(v);
	thin_commit_if_dirty(g->pool);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	ground_discard(g);
}

/*
 * F1: the system tells of a lost write once.  While one flush is failing a
 * commit must not get a good one past it.
 */
static void test_flushes_one_at_a_time(void **state)
{
	struct thin_volume *v, *other;
	struct ground *g = two_blocks(&v);
	struct call flush, commit;
	struct door door;

	(void)state;
	other = ground_create(g, 2, 8 * BLOCK, NULL);
	assert_int_equal(put(other, 0, BLOCK, 5, 0), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_flush_ctx = &door;
	g->data->on_flush = door_of_flushes;
	call_start(&flush, flush_volume, v);
	WAIT_FOR(door_waiting(&door) == 1);
	call_start(&commit, flush_volume, other);
	usleep(10000);
	assert_int_equal(door_waiting(&door), 1);
	g->data->fail_flush_times = 1;
	door_set(&door, false);
	assert_int_equal(call_join(&flush), -EIO);
	assert_true(call_join(&commit) < 0);
	assert_int_equal(ground_mode(g), THIN_MODE_FAIL);
	thin_volume_close(other);
	close_failed(g, v);
}

/*
 * A change that is asked for, in the transaction after one that is just being
 * written, and fails: it went with it.
 */
static int change_create(void *ctx)
{
	return thin_pool_create_thin(((struct ground *)ctx)->pool, 9);
}

static int change_snapshot(void *ctx)
{
	struct thin_snap_pair pair = {.origin = 1, .snap = 9};

	return thin_pool_snapshot(((struct ground *)ctx)->pool, &pair, 1);
}

static int change_delete(void *ctx)
{
	uint32_t device = 3;

	return thin_pool_delete(((struct ground *)ctx)->pool, &device, 1);
}

static int change_truncate(void *ctx)
{
	return thin_pool_truncate(((struct ground *)ctx)->pool, 3, 0);
}

static int change_number(void *ctx)
{
	return thin_pool_set_transaction_id(((struct ground *)ctx)->pool, 0, 7);
}

static void test_goes_with_anothers(void **state)
{
	int (*const changes[])(void *ctx) = {
		change_create,	 change_snapshot, change_delete,
		change_truncate, change_number,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		struct thin_volume *v, *third;
		struct ground *g = two_blocks(&v);
		struct call flush, change;
		struct door door;

		third = ground_create(g, 3, 8 * BLOCK, NULL);
		assert_int_equal(put(third, 0, BLOCK, 5, THIN_FUA), 0);
		thin_volume_close(third);
		assert_int_equal(put(v, 10 * BLOCK, BLOCK, 2, 0), 0);
		door_init(&door);
		door_set(&door, true);
		g->data->on_flush_ctx = &door;
		g->data->on_flush = door_of_flushes;
		call_start(&flush, flush_volume, v);
		WAIT_FOR(door_waiting(&door) == 1);
		call_start(&change, changes[i], g);
		WAIT_FOR(ground_info(g).dirty);
		g->metadata->fail_write_times = 1;
		door_set(&door, false);
		assert_int_equal(call_join(&flush), -EIO);
		assert_int_equal(call_join(&change), -EIO);
		assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
		thin_volume_close(v);
		assert_int_equal(thin_pool_close(g->pool), 0);
		ground_discard(g);
	}
}

static void test_read_only_pool(void **state)
{
	struct thin_volume *v;
	struct ground *g = two_blocks(&v);
	unsigned long flushes;

	(void)state;
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	g->params.read_only = true;
	ground_open(g);
	flushes = g->data->flushes;
	v = ground_volume(g, 1, 32 * BLOCK, NULL);
	assert_int_equal(thin_volume_flush(v), 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(put(v, 0, 1, 1, 0), -EROFS);
	assert_int_equal(g->data->flushes, flushes);
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_untouched),
		cmocka_unit_test(test_flush_commits_if_changed),
		cmocka_unit_test(test_data_first),
		cmocka_unit_test(test_beside),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_periodic),
		cmocka_unit_test(test_data_flush_fails),
		cmocka_unit_test(test_metadata_flush_fails),
		cmocka_unit_test(test_metadata_write_fails),
		cmocka_unit_test(test_abort_fails),
		cmocka_unit_test(test_poison),
		cmocka_unit_test(test_poison_unnoticed),
		cmocka_unit_test(test_flushes_one_at_a_time),
		cmocka_unit_test(test_goes_with_anothers),
		cmocka_unit_test(test_read_only_pool),
	};

	return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
