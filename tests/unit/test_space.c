/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#define NR 8 /* data blocks */

/* A pool that is full to the last block: one volume, all of it. */
static struct ground *full(bool queue, uint32_t timeout_s, struct thin_volume **ret)
{
	struct ground *g = ground_make(BLOCK, NR, 1024);

	g->params.queue_if_full = queue;
	g->params.no_space_timeout_s = timeout_s;
	ground_open(g);
	*ret = ground_create(g, 1, 2 * NR * BLOCK, NULL);
	assert_int_equal(put(*ret, 0, NR * BLOCK, 1, 0), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	return g;
}

static struct write_call one_more(struct thin_volume *v)
{
	return (struct write_call){.v = v, .offset = NR * BLOCK, .len = BLOCK, .byte = 2};
}

static unsigned waiters(struct ground *g)
{
	unsigned n;

	thin_mutex_lock(&g->pool->space.lock);
	n = g->pool->space.waiters;
	thin_mutex_unlock(&g->pool->space.lock);
	return n;
}

/* when_full = error; and 5.5: all the rest goes on. */
static void test_error(void **state)
{
	struct thin_volume *v, *s;
	struct ground *g = full(false, 60, &v);
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	assert_int_equal(put(v, NR * BLOCK, 1, 2, 0), -ENOSPC);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_DATA);
	assert_int_equal(g->events[THIN_EVENT_MODE], 1);
	assert_string_equal(g->detail, "out_of_data_space");
	expect(v, 0, NR * BLOCK, 1);
	expect(v, NR * BLOCK, NR * BLOCK, 0);
	assert_int_equal(put(v, 0, BLOCK, 3, THIN_FUA), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(put(v, 0, BLOCK, 4, 0), -ENOSPC); /* shared now */
	s = ground_volume(g, 2, 2 * NR * BLOCK, NULL);
	expect(s, 0, BLOCK, 3);
	thin_volume_close(s);
	assert_int_equal(thin_pool_delete(g->pool, &pair.snap, 1), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_DATA);
	thin_volume_close(v);
	ground_free(g);
}

/* 5.4: what this transaction freed is had by a commit, unasked. */
static void test_freed_in_transaction(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(false, 60, &v);

	(void)state;
	for (int i = 0; i < 10; i++) {
		assert_int_equal(thin_volume_trim(v, 0, 2 * NR * BLOCK, 0), 0);
		assert_int_equal(put(v, 0, NR * BLOCK, (uint8_t)i, 0), 0);
	}
	expect(v, 0, NR * BLOCK, 9);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(g->events[THIN_EVENT_MODE], 0);
	thin_volume_close(v);
	ground_free(g);
}

/* A full pool is not committed again and again by those it turns away. */
static void test_no_commit_storm(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(false, 60, &v);
	uint64_t commits;

	(void)state;
	assert_int_equal(put(v, NR * BLOCK, 1, 2, 0), -ENOSPC);
	commits = ground_info(g).commits;
	for (int i = 0; i < 50; i++)
		assert_int_equal(put(v, NR * BLOCK, 1, 2, 0), -ENOSPC);
	assert_int_equal(ground_info(g).commits, commits);
	assert_int_equal(g->events[THIN_EVENT_MODE], 1);
	thin_volume_close(v);
	ground_free(g);
}

/* All or nothing: what does not fit as a whole is not begun. */
static void test_too_large(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(false, 60, &v);

	(void)state;
	assert_int_equal(thin_volume_trim(v, 0, 3 * BLOCK, 0), 0);
	assert_int_equal(put(v, NR * BLOCK, 4 * BLOCK, 2, 0), -ENOSPC);
	assert_int_equal(put(v, (NR - 1) * BLOCK, 5 * BLOCK, 2, 0), -ENOSPC);
	expect(v, (NR - 1) * BLOCK, BLOCK, 1);
	expect(v, NR * BLOCK, 4 * BLOCK, 0);
	assert_int_equal(ground_info(g).data_free, 3);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_DATA);

	/* A commit that brings nothing does not make the pool look better. */
	assert_int_equal(thin_pool_create_thin(g->pool, 2), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_DATA);
	assert_int_equal(g->events[THIN_EVENT_MODE], 1);
	assert_int_equal(thin_volume_trim(v, 3 * BLOCK, BLOCK, THIN_FUA), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(put(v, NR * BLOCK, 4 * BLOCK, 2, 0), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* Waiting ends when a trim made room; who waits is in nobody's way. */
static void test_queue_trim(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(true, 60, &v);
	struct write_call w = one_more(v);
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	/* Not the periodic commit helps, but one that the trim asks for. */
	g->pool->committer.interval_ns = 3600000000000;
	assert_int_equal(thin_pool_start(g->pool), 0);
	write_start(&w);
	WAIT_FOR(ground_mode(g) == THIN_MODE_OUT_OF_DATA);
	WAIT_FOR(g->events[THIN_EVENT_MODE] == 1);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(thin_pool_delete(g->pool, &pair.snap, 1), 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 3), 0);
	expect(v, 0, BLOCK, 1);
	assert_false(w.call.done);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, 0), 0);
	assert_int_equal(call_join(&w.call), 0);
	expect(v, NR * BLOCK, BLOCK, 2);
	assert_int_equal(ground_used(g), NR);
	WAIT_FOR(g->events[THIN_EVENT_MODE] >= 2);
	thin_volume_close(v);
	ground_free(g);
}

static void test_queue_grow(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(true, 0, &v);
	struct write_call w[2] = {one_more(v), one_more(v)};

	(void)state;
	w[1].offset += BLOCK;
	assert_int_equal(thin_pool_start(g->pool), 0);
	write_start(&w[0]);
	write_start(&w[1]);
	WAIT_FOR(ground_mode(g) == THIN_MODE_OUT_OF_DATA);
	assert_int_equal(thin_pool_grow(g->pool, (NR + 2) * BLOCK, 0), 0);
	assert_int_equal(call_join(&w[0].call), 0);
	assert_int_equal(call_join(&w[1].call), 0);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * 5.6: the first one whose patience ends ends it for all; room restores it.
 * The others' patience is made so long that the test would not outlast it.
 */
static void test_timeout(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(true, 1, &v);
	struct write_call w = one_more(v), late = one_more(v), again = one_more(v);
	uint64_t begin = thin_now_ns();

	(void)state;
	assert_int_equal(g->pool->space.timeout_ns, 1000000000);
	g->pool->space.timeout_ns = 200000000;
	assert_int_equal(thin_pool_start(g->pool), 0);
	write_start(&w);
	WAIT_FOR(waiters(g) == 1);
	g->pool->space.timeout_ns = 3600000000000;
	write_start(&late);
	assert_int_equal(call_join(&w.call), -ENOSPC);
	assert_int_equal(call_join(&late.call), -ENOSPC);
	assert_true(thin_now_ns() - begin >= 200000000);
	assert_int_equal(put(v, NR * BLOCK, BLOCK, 2, 0), -ENOSPC); /* at once */
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_DATA);

	assert_int_equal(thin_pool_grow(g->pool, (NR + 1) * BLOCK, 0), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(put(v, NR * BLOCK, BLOCK, 2, 0), 0);
	again.offset += BLOCK;
	write_start(&again); /* it waits again */
	WAIT_FOR(waiters(g) == 1);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, 0), 0);
	assert_int_equal(call_join(&again.call), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* Before the start nobody could make room: an answer at once. */
static void test_not_started(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(true, 0, &v);

	(void)state;
	assert_int_equal(put(v, NR * BLOCK, BLOCK, 2, 0), -ENOSPC);
	thin_volume_close(v);
	ground_free(g);
}

/* Those who wait are told when the pool fails. */
static void test_failure_ends_waiting(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(true, 0, &v);
	struct write_call w = one_more(v);

	(void)state;
	assert_int_equal(thin_pool_start(g->pool), 0);
	write_start(&w);
	WAIT_FOR(ground_mode(g) == THIN_MODE_OUT_OF_DATA);
	g->data->fail_flush = -EIO;
	assert_int_equal(put(v, 0, BLOCK, 2, 0), 0);
	assert_int_equal(thin_volume_flush(v), -EIO);
	assert_int_equal(call_join(&w.call), -ESHUTDOWN);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), -ESHUTDOWN);
	ground_discard(g);
}

/* Blocks that a failed write gives back are room for who waits. */
static void test_returned(void **state)
{
	struct thin_volume *v;
	struct ground *g = full(true, 0, &v);
	struct write_call failing = one_more(v), waiting = one_more(v);
	struct door door;

	(void)state;
	waiting.offset += BLOCK;
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, 0), 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(thin_pool_start(g->pool), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	write_start(&failing);
	WAIT_FOR(door_waiting(&door) == 1); /* it has the last block */
	write_start(&waiting);
	WAIT_FOR(ground_mode(g) == THIN_MODE_OUT_OF_DATA);
	g->data->fail_write = -EIO;
	door_set(&door, false);
	assert_int_equal(call_join(&failing.call), -EIO);
	/* The other one has been woken, and meets the same fault. */
	assert_int_equal(call_join(&waiting.call), -EIO);
	g->data->fail_write = 0;
	thin_volume_close(v);
	ground_free(g);
}

/* Metadata at the reserve: -ENOSPC, no waiting; growing it helps. */
static void test_out_of_metadata(void **state)
{
	struct ground *g = ground_make(4096, 20000, 64);
	struct thin_volume *v;
	uint64_t b = 0;
	int r;

	(void)state;
	g->params.queue_if_full = true;
	ground_open(g);
	v = ground_create(g, 1, UINT64_C(20000) * 2 * 4096, NULL);
	assert_int_equal(thin_pool_start(g->pool), 0);
	do
		r = put(v, b++ * 2 * 4096, 1, 1, 0);
	while (!r && b < 20000);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_METADATA);
	assert_string_equal(thin_pool_mode_name(ground_mode(g)), "out_of_metadata_space");
	assert_int_equal(put(v, 0, 1, 2, THIN_FUA), 0);
	expect(v, 0, 1, 2);
	assert_int_equal(thin_pool_create_thin(g->pool, 2), -ENOBUFS);
	assert_int_equal(thin_pool_grow(g->pool, 0, 256 * 4096), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(put(v, b * 2 * 4096, 1, 1, 0), 0);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * A request that has its blocks, but for which the metadata turns out to be
 * too small.  The blocks go back.
 */
static void test_metadata_short_at_insertion(void **state)
{
	struct ground *g = ground_make(4096, 20000, 128);
	uint64_t size = UINT64_C(20000) * 4096;
	struct shelf *sh = shelf_new(size);
	struct thin_origin *o;
	struct thin_volume *v;

	(void)state;
	assert_non_null(sh);
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	ground_open(g);
	v = ground_create(g, 1, size, o);
	assert_int_equal(thin_volume_zero(v, 0, size, 0), -ENOSPC);
	assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_METADATA);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(ground_info(g).data_free, 20000);
	assert_int_equal(ground_info(g).failed, 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(thin_volume_zero(v, 0, size / 10, 0), 0);
	assert_int_equal(ground_used(g), 2000);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* ... and where a commit gives back enough of it, nobody hears of that. */
static void test_commit_helps_insertion(void **state)
{
	struct ground *g = ground_make(4096, 20000, 128);
	uint64_t size = UINT64_C(20000) * 4096, commits, nr;
	struct shelf *sh = shelf_new(size);
	struct thin_volume *v, *other;
	struct thin_origin *o;

	(void)state;
	assert_non_null(sh);
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	ground_open(g);
	v = ground_create(g, 1, size, o);
	other = ground_create(g, 2, size, o);
	assert_int_equal(thin_volume_zero(other, 0, 5000 * 4096, THIN_FUA), 0);
	assert_int_equal(thin_volume_trim(other, 0, 5000 * 4096, 0), 0);
	commits = ground_info(g).commits;
	nr = (ground_info(g).metadata_free + 8) * 84;
	assert_int_equal(thin_volume_zero(v, 0, nr * 4096, 0), 0);
	assert_int_equal(ground_info(g).commits, commits + 1);
	assert_int_equal(ground_used(g), nr);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	thin_volume_close(other);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_freed_in_transaction),
		cmocka_unit_test(test_no_commit_storm),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_queue_trim),
		cmocka_unit_test(test_queue_grow),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_not_started),
		cmocka_unit_test(test_failure_ends_waiting),
		cmocka_unit_test(test_returned),
		cmocka_unit_test(test_out_of_metadata),
		cmocka_unit_test(test_metadata_short_at_insertion),
		cmocka_unit_test(test_commit_helps_insertion),
	};

	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
