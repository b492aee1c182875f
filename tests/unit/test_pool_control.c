/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static void test_create(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_device_info info;

	(void)state;
	assert_int_equal(thin_pool_next_device(g->pool, 0, &info), -ENOENT);
	assert_int_equal(thin_pool_create_thin(g->pool, THIN_MAX_DEVICE_ID + 1), -EINVAL);
	assert_int_equal(thin_pool_create_thin(g->pool, THIN_MAX_DEVICE_ID), 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 7), 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 7), -EEXIST);
	assert_int_equal(thin_pool_next_device(g->pool, 0, &info), 0);
	assert_int_equal(info.id, 7);
	assert_int_equal(thin_pool_next_device(g->pool, 8, &info), 0);
	assert_int_equal(info.id, THIN_MAX_DEVICE_ID);
	ground_crash(g); /* durable */
	assert_int_equal(thin_pool_next_device(g->pool, 7, &info), 0);
	assert_int_equal(info.id, 7);
	ground_free(g);
}

/* Several in one transaction, all or none. */
static void test_create_together(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_device_info info;

	(void)state;
	assert_int_equal(thin_pool_create_thins(g->pool, (uint32_t[]){5, 3, 9}, 3), 0);
	assert_int_equal(thin_pool_create_thins(g->pool, (uint32_t[]){6, 3, 7}, 3),
			 -EEXIST);
	assert_int_equal(thin_pool_create_thins(g->pool, (uint32_t[]){6, 7, 6}, 3),
			 -EEXIST);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	ground_crash(g);
	for (uint32_t id = 0, i = 0; i < 3; i++, id = info.id + 1) {
		assert_int_equal(thin_pool_next_device(g->pool, id, &info), 0);
		assert_int_equal(info.id, ((uint32_t[]){3, 5, 9})[i]);
	}
	assert_int_equal(thin_pool_next_device(g->pool, 10, &info), -ENOENT);
	ground_free(g);
}

static void test_transaction_id(void **state)
{
	struct ground *g = ground_new(8);

	(void)state;
	assert_int_equal(thin_pool_set_transaction_id(g->pool, 1, 2), -EINVAL);
	assert_int_equal(thin_pool_set_transaction_id(g->pool, 0, 5), 0);
	ground_crash(g);
	assert_int_equal(ground_info(g).transaction_id, 5);
	ground_free(g);
}

static void test_hold(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_unhold(g->pool), -EINVAL);
	assert_int_equal(thin_pool_hold(g->pool), 0);
	assert_int_equal(thin_pool_hold(g->pool), -EBUSY);
	thin_volume_close(v);
	ground_crash(g);
	assert_int_not_equal(ground_info(g).held_root, 0);
	assert_int_equal(thin_pool_delete(g->pool, (uint32_t[]){1}, 1), 0);
	assert_int_equal(ground_used(g), 4);
	assert_int_equal(thin_pool_unhold(g->pool), 0);
	assert_int_equal(ground_used(g), 0);
	ground_free(g);
}

static void test_exclusive(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL);
	struct thin_snap_pair pair = {1, 2};
	struct thin_device_info info;
	uint64_t nr;

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_usage(g->pool, 1, &info, &nr), 0);
	assert_int_equal(nr, 4);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_usage(g->pool, 2, &info, &nr), 0);
	assert_int_equal(nr, 1);
	assert_int_equal(thin_pool_usage(g->pool, 3, &info, &nr), -ENOENT);
	thin_volume_close(v);
	ground_free(g);
}

static void test_grow(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 64);
	uint64_t bytes;

	(void)state;
	ground_open(g);
	assert_int_equal(thin_pool_grow(g->pool, 10 * BLOCK - 1, 0), -EINVAL);
	assert_int_equal(thin_pool_grow(g->pool, 0, 64 * 4096 - 1), -EINVAL);
	assert_int_equal(thin_pool_grow(g->pool, 0, 0), 0);
	assert_int_equal(thin_pool_grow(g->pool, 10 * BLOCK, 64 * 4096), 0);
	assert_int_equal(thin_pool_grow(g->pool, 20 * BLOCK + 5, 100 * 4096 + 5), 0);
	assert_int_equal(ground_info(g).nr_data_blocks, 20);
	assert_int_equal(ground_info(g).nr_metadata_blocks, 100);
	assert_int_equal(thin_storage_size(g->data->memory, &bytes), 0);
	assert_int_equal(bytes, 20 * BLOCK + 5);

	/* A device that can't be resized, but was made larger by others. */
	g->data->fail_resize = -ENOTSUP;
	assert_int_equal(thin_pool_grow(g->pool, 30 * BLOCK, 0), -ENOTSUP);
	assert_int_equal(thin_storage_resize(g->data->memory, 30 * BLOCK), 0);
	assert_int_equal(thin_pool_grow(g->pool, 25 * BLOCK, 0), 0);
	assert_int_equal(ground_info(g).nr_data_blocks, 25);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	ground_free(g);
}

/* Both are asked for: where one is refused the other one does not grow, now or later. */
static void test_grow_both(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 64);
	uint64_t commits, bytes;

	(void)state;
	ground_open(g);
	assert_int_equal(thin_pool_grow(g->pool, 9 * BLOCK, 100 * 4096), -EINVAL);
	assert_int_equal(thin_pool_grow(g->pool, 20 * BLOCK, 63 * 4096), -EINVAL);
	g->data->fail_resize = -ENOTSUP;
	assert_int_equal(thin_pool_grow(g->pool, 20 * BLOCK, 100 * 4096), -ENOTSUP);
	assert_int_equal(thin_storage_size(g->metadata->memory, &bytes), 0);
	assert_int_equal(bytes, 64 * 4096);
	assert_int_equal(thin_pool_close(g->pool), 0);
	ground_open(g);
	assert_int_equal(ground_info(g).nr_data_blocks, 10);
	assert_int_equal(ground_info(g).nr_metadata_blocks, 64);
	g->data->fail_resize = 0;
	commits = ground_info(g).commits;
	assert_int_equal(thin_pool_grow(g->pool, 20 * BLOCK, 100 * 4096), 0);
	assert_int_equal(ground_info(g).nr_data_blocks, 20);
	assert_int_equal(ground_info(g).nr_metadata_blocks, 100);
	assert_int_equal(ground_info(g).commits, commits + 1);
	ground_free(g);
}

static void test_truncate(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 8 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_truncate(g->pool, 1, 7 * BLOCK), 0); /* in use */
	assert_int_equal(ground_used(g), 7);
	thin_volume_close(v);
	assert_int_equal(thin_pool_truncate(g->pool, 2, 0), -ENOENT);
	assert_int_equal(thin_pool_truncate(g->pool, 1, 5 * BLOCK + 1), 0);
	assert_int_equal(ground_used(g), 6);
	ground_crash(g);
	v = ground_volume(g, 1, 8 * BLOCK, NULL);
	expect(v, 0, 6 * BLOCK, 1);
	expect(v, 6 * BLOCK, 2 * BLOCK, 0);
	thin_volume_close(v);
	ground_free(g);
}

static void test_lookup(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct thin_run runs[4];
	size_t nr;

	(void)state;
	assert_int_equal(put(v, 2 * BLOCK, 3 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_lookup(g->pool, 1, 0, 8, runs, 4, &nr), 0);
	assert_int_equal(nr, 3);
	assert_false(runs[0].mapped);
	assert_true(runs[1].mapped);
	assert_int_equal(runs[1].nr, 3);
	assert_int_equal(thin_pool_lookup(g->pool, 9, 0, 8, runs, 4, &nr), -ENOENT);
	thin_volume_close(v);
	ground_free(g);
}

/* While it is frozen nothing is committed; who wants to be durable waits. */
static void test_freeze(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct write_call w = {.v = v, .len = BLOCK, .byte = 1, .flags = THIN_FUA};
	uint64_t commits = ground_info(g).commits;

	(void)state;
	thin_pool_freeze(g->pool);
	assert_int_equal(put(v, 4 * BLOCK, BLOCK, 2, 0), 0);
	write_start(&w);
	usleep(5000);
	assert_false(w.call.done);
	assert_int_equal(ground_info(g).commits, commits);
	thin_pool_thaw(g->pool);
	assert_int_equal(call_join(&w.call), 0);
	assert_int_equal(ground_info(g).commits, commits + 1);
	thin_volume_close(v);
	ground_free(g);
}

static void test_read_only(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_snap_pair pair = {1, 2};
	struct thin_device_info info;
	uint32_t device = 1;
	uint64_t nr;

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	assert_int_equal(thin_pool_close(g->pool), 0);
	g->params.read_only = true;
	ground_open(g);
	assert_int_equal(thin_pool_create_thin(g->pool, 2), -EROFS);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), -EROFS);
	assert_int_equal(thin_pool_delete(g->pool, &device, 1), -EROFS);
	assert_int_equal(thin_pool_truncate(g->pool, 1, 0), -EROFS);
	assert_int_equal(thin_pool_set_transaction_id(g->pool, 0, 1), -EROFS);
	assert_int_equal(thin_pool_hold(g->pool), -EROFS);
	assert_int_equal(thin_pool_unhold(g->pool), -EROFS);
	assert_int_equal(thin_pool_grow(g->pool, 100 * BLOCK, 0), -EROFS);
	assert_int_equal(thin_pool_next_device(g->pool, 0, &info), 0);
	assert_int_equal(thin_pool_usage(g->pool, 1, &info, &nr), 0);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create_together), cmocka_unit_test(test_create),
		cmocka_unit_test(test_transaction_id),	cmocka_unit_test(test_hold),
		cmocka_unit_test(test_exclusive),	cmocka_unit_test(test_grow),
		cmocka_unit_test(test_grow_both),	cmocka_unit_test(test_truncate),
		cmocka_unit_test(test_lookup),		cmocka_unit_test(test_freeze),
		cmocka_unit_test(test_read_only),
	};

	return cmocka_run_group_tests_name("pool_control", tests, NULL, NULL);
}
