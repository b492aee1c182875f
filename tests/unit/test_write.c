/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

/* W3: what covers whole blocks reads nothing, neither data nor origin. */
static void test_whole_reads_nothing(void **state)
{
	struct ground *g = ground_new(64);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 8 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, o);
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	sh->fail_read = g->data->fail_read = -EIO;
	assert_int_equal(put(v, 2 * BLOCK, 3 * BLOCK, 1, 0), 0);
	assert_int_equal(g->data->writes, 1); /* one, for three new neighbours */
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(put(v, 2 * BLOCK, 3 * BLOCK, 2, 0), 0);
	assert_int_equal(sh->reads, 0);
	assert_int_equal(g->data->reads, 0);
	g->data->fail_read = 0;
	expect(v, 2 * BLOCK, 3 * BLOCK, 2);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* A request with a head, whole blocks and a tail is one write of the data. */
static void test_one_write(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 100, 4 * BLOCK, 7, 0), 0);
	assert_int_equal(g->data->writes, 1);
	assert_int_equal(g->data->write_bytes, 5 * BLOCK);
	expect(v, 0, 100, 0);
	expect(v, 100, 4 * BLOCK, 7);
	expect(v, 100 + 4 * BLOCK, BLOCK - 100, 0);
	assert_int_equal(ground_used(g), 5);
	thin_volume_close(v);
	ground_free(g);
}

static void test_in_place(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);
	unsigned long bytes;

	(void)state;
	assert_int_equal(put(v, 0, 2 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	bytes = g->data->write_bytes;
	assert_int_equal(put(v, BLOCK - 1, 2, 2, 0), 0);
	assert_int_equal(g->data->write_bytes, bytes + 2);
	assert_false(ground_info(g).dirty);
	expect(v, BLOCK - 2, 1, 1);
	expect(v, BLOCK - 1, 2, 2);
	expect(v, BLOCK + 1, 1, 1);
	thin_volume_close(v);
	ground_free(g);
}

static void test_refused(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 1000, NULL), *ro;
	struct thin_volume_params p = {.device = 1, .size = 1000, .read_only = true};

	(void)state;
	assert_int_equal(put(v, 999, 2, 1, 0), -ERANGE);
	assert_int_equal(put(v, UINT64_MAX - 1, 2, 1, 0), -ERANGE);
	assert_int_equal(thin_volume_write(v, "", 1000, 0, 0), 0);
	assert_int_equal(thin_volume_open(g->pool, &p, &ro), 0);
	assert_int_equal(put(ro, 0, 1, 1, 0), -EROFS);
	assert_int_equal(thin_volume_trim(ro, 0, 1, 0), -EROFS);
	assert_int_equal(thin_volume_zero(ro, 0, 1, 0), -EROFS);
	assert_int_equal(thin_volume_hydrate(ro, 0, 1), -EROFS);
	assert_int_equal(put(v, 0, 1, 1, 0), 0);
	expect(ro, 0, 1, 1);
	thin_volume_close(ro);
	thin_volume_close(v);
	ground_free(g);
}

/* 6.9, done better: what fails leaves no block behind, and can be repeated. */
static void test_failed_write_leaks_nothing(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 8 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, o);

	(void)state;
	g->data->fail_write = -EIO;
	for (int i = 0; i < 20; i++)
		assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), -EIO);
	g->data->fail_write = 0;
	sh->fail_read = -EIO;
	for (int i = 0; i < 20; i++)
		assert_int_equal(put(v, 100, 4 * BLOCK, 1, 0), -EIO);
	sh->fail_read = 0;
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(ground_info(g).data_free, 8);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	expect_origin(v, 0, 8 * BLOCK);
	assert_int_equal(put(v, 0, 8 * BLOCK, 1, 0), 0);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* A full host is not a full pool: nobody waits, nothing is said of it. */
static void test_host_full(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	g->data->fail_write = -ENOSPC;
	assert_int_equal(put(v, 0, BLOCK, 1, 0), -ENOSPC);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(ground_info(g).data_free, 8);
	g->data->fail_write = 0;
	thin_volume_close(v);
	ground_free(g);
}

/* I7: with FUA it is there after a crash, mapping and all; without it isn't. */
static void test_fua(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(put(v, BLOCK, 100, 2, THIN_FUA), 0);
	assert_int_equal(put(v, 2 * BLOCK, BLOCK, 3, 0), 0);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 8 * BLOCK, NULL);
	expect(v, 0, BLOCK, 1);
	expect(v, BLOCK, 100, 2);
	expect(v, 2 * BLOCK, BLOCK, 0);
	thin_volume_close(v);
	ground_free(g);
}

/* A write of many runs: more than are in hand at a time. */
static void test_many_runs(void **state)
{
	struct ground *g = ground_make(4096, 1024, 1024);
	struct thin_volume *v;

	(void)state;
	ground_open(g);
	v = ground_create(g, 1, 200 * 4096, NULL);
	for (uint64_t b = 0; b < 200; b += 2)
		assert_int_equal(put(v, b * 4096, 4096, 1, 0), 0);
	assert_int_equal(put(v, 10, 200 * 4096 - 20, 2, 0), 0);
	expect(v, 0, 10, 1);
	expect(v, 10, 200 * 4096 - 20, 2);
	expect(v, 200 * 4096 - 10, 10, 0);
	/* And all of it in place, in as many runs. */
	assert_int_equal(put(v, 10, 200 * 4096 - 20, 3, 0), 0);
	expect(v, 10, 200 * 4096 - 20, 3);
	assert_int_equal(ground_used(g), 200);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * More runs than are in hand at a time, all in place: they are looked up
 * twice, so it takes the range's lock to find the same thing again.
 */
struct meddler {
	struct thin_volume *v;
	struct call call;
	unsigned writes;
};

static int trim_later_block(void *ctx)
{
	return thin_volume_trim(ctx, 150 * 4096, 4096, 0);
}

static void meddle(void *ctx, const struct thin_segment *seg, size_t nr)
{
	struct meddler *m = ctx;

	(void)seg;
	(void)nr;
	if (m->writes++)
		return;
	call_start(&m->call, trim_later_block, m->v);
	for (int i = 0; i < 60 && !m->call.done; i++)
		usleep(1000);
}

static void test_many_runs_and_a_trim(void **state)
{
	struct ground *g = ground_make(4096, 1024, 1024);
	struct meddler m = {.writes = 0};
	struct thin_volume *v;

	(void)state;
	ground_open(g);
	v = m.v = ground_create(g, 1, 200 * 4096, NULL);
	for (uint64_t b = 200; b-- > 0;)
		assert_int_equal(put(v, b * 4096, 4096, 1, 0), 0);
	g->data->on_write_ctx = &m;
	g->data->on_write = meddle;
	assert_int_equal(put(v, 0, 200 * 4096, 2, 0), 0);
	g->data->on_write = NULL;
	assert_int_equal(call_join(&m.call), 0);
	expect(v, 0, 150 * 4096, 2);
	expect(v, 150 * 4096, 4096, 0);
	expect(v, 151 * 4096, 49 * 4096, 2);
	assert_int_equal(ground_used(g), 199);
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_reads_nothing),
		cmocka_unit_test(test_one_write),
		cmocka_unit_test(test_in_place),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_failed_write_leaks_nothing),
		cmocka_unit_test(test_host_full),
		cmocka_unit_test(test_fua),
		cmocka_unit_test(test_many_runs),
		cmocka_unit_test(test_many_runs_and_a_trim),
	};

	return cmocka_run_group_tests_name("write", tests, NULL, NULL);
}
