/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static void test_status(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 1024);
	struct thin_pool_status s;

	(void)state;
	g->params.low_water_data = 3;
	g->params.low_water_metadata = 4;
	g->params.queue_if_full = true;
	g->params.discard = THIN_DISCARD_NOPASSDOWN;
	ground_open(g);
	thin_pool_status(g->pool, &s);
	assert_int_equal(s.mode, THIN_MODE_WRITE);
	assert_int_equal(s.block_size, BLOCK);
	assert_int_equal(s.metadata.nr_data_blocks, 10);
	assert_int_equal(s.metadata.nr_metadata_blocks, 1024);
	assert_int_equal(s.low_water_data, 3);
	assert_int_equal(s.low_water_metadata, 4);
	assert_int_equal(s.clients, 0);
	assert_true(s.queue_if_full);
	assert_int_equal(s.discard, THIN_DISCARD_NOPASSDOWN);
	assert_ptr_equal(thin_pool_metadata_storage(g->pool), &g->metadata->lent);
	ground_free(g);
}

static void test_mode_names(void **state)
{
	(void)state;
	assert_string_equal(thin_pool_mode_name(THIN_MODE_WRITE), "rw");
	assert_string_equal(thin_pool_mode_name(THIN_MODE_OUT_OF_DATA),
			    "out_of_data_space");
	assert_string_equal(thin_pool_mode_name(THIN_MODE_OUT_OF_METADATA),
			    "out_of_metadata_space");
	assert_string_equal(thin_pool_mode_name(THIN_MODE_READ_ONLY), "ro");
	assert_string_equal(thin_pool_mode_name(THIN_MODE_FAIL), "fail");
}

/* On failure the storages stay the caller's, and are as they were. */
static void test_refused(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 1024);
	struct thin_error e = {""};

	(void)state;
	assert_int_equal(thin_storage_resize(g->data->memory, 10 * BLOCK - 1), 0);
	assert_int_equal(thin_pool_open(&g->params, &g->pool, &e), -ENOSPC);
	assert_has(e.text, "10 blocks");
	assert_int_equal(thin_storage_resize(g->data->memory, 10 * BLOCK), 0);
	g->data->fail_size = -EIO;
	assert_int_equal(thin_pool_open(&g->params, &g->pool, &e), -EIO);
	assert_has(e.text, "data");
	g->data->fail_size = 0;
	assert_int_equal(thin_storage_zero(g->metadata->memory, 0, 4096), 0);
	assert_int_equal(thin_pool_open(&g->params, &g->pool, &e), -EMEDIUMTYPE);
	assert_true(strlen(e.text) > 0);
	assert_int_equal(g->metadata->closes + g->data->closes, 0);
	assert_int_equal(g->metadata->writes + g->data->writes, 0);
	ground_discard(g);
}

static void test_owns_storages(void **state)
{
	struct ground *g = ground_new(8);

	(void)state;
	assert_int_equal(thin_pool_start(g->pool), 0);
	assert_int_equal(thin_pool_close(g->pool), 0);
	assert_int_equal(g->metadata->closes, 1);
	assert_int_equal(g->data->closes, 1);
	ground_discard(g);
}

static void test_start_fails(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct ground *g = ground_new(8);

		(i ? g->metadata : g->data)->fail_start = -EMFILE;
		assert_int_equal(thin_pool_start(g->pool), -EMFILE);
		ground_free(g);
	}
}

/* 5.19: close commits. */
static void test_close_commits(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 5, 0), 0);
	thin_volume_close(v);
	assert_int_equal(thin_pool_close(g->pool), 0);
	ground_open(g);
	v = ground_volume(g, 1, BLOCK, NULL);
	expect(v, 0, BLOCK, 5);
	thin_volume_close(v);
	ground_free(g);
}

/* 1.12: storages that grew are used; a pool opened read-only stays as it is. */
static void test_uses_more(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 64);
	struct thin_volume *v;

	(void)state;
	assert_int_equal(thin_storage_resize(g->data->memory, 13 * BLOCK + 100), 0);
	assert_int_equal(thin_storage_resize(g->metadata->memory, 200 * 4096), 0);
	g->params.read_only = true;
	ground_open(g);
	assert_int_equal(ground_info(g).nr_data_blocks, 10);
	assert_int_equal(ground_info(g).nr_metadata_blocks, 64);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	assert_int_equal(thin_pool_close(g->pool), 0);
	g->params.read_only = false;
	ground_open(g);
	assert_int_equal(ground_info(g).nr_data_blocks, 13);
	assert_int_equal(ground_info(g).nr_metadata_blocks, 200);
	v = ground_create(g, 1, 13 * BLOCK, NULL);
	assert_int_equal(put(v, 0, 13 * BLOCK, 1, 0), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* What the kernel formats has no data blocks before it is opened. */
static void test_kernel_format(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 64);

	(void)state;
	assert_int_equal(thin_metadata_format(g->metadata->memory, 128, 0, NULL), 0);
	ground_open(g);
	assert_int_equal(ground_info(g).nr_data_blocks, 10);
	ground_free(g);
}

static void test_buffers(void **state)
{
	static const struct {
		uint64_t block_size;
		size_t len;
	} cases[] = {
		{4096, 4096},
		{65536, 65536},
		{4608, 8192},
		{2 << 20, THIN_PIECE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ground *g = ground_make(cases[i].block_size, 4, 64);
		void *a, *b[THIN_BUFFERS_MAX + 2];

		ground_open(g);
		assert_int_equal(g->pool->buffers.len, cases[i].len);
		a = thin_buffer_get(&g->pool->buffers);
		assert_int_equal((uintptr_t)a % 4096, 0);
		memset(a, 1, cases[i].len);
		thin_buffer_put(&g->pool->buffers, a);
		assert_ptr_equal(thin_buffer_get(&g->pool->buffers), a);
		thin_buffer_put(&g->pool->buffers, a);
		thin_buffer_put(&g->pool->buffers, NULL);
		for (size_t n = 0; n < ARRAY_LEN(b); n++)
			b[n] = thin_buffer_get(&g->pool->buffers);
		for (size_t n = 0; n < ARRAY_LEN(b); n++)
			thin_buffer_put(&g->pool->buffers, b[n]);
		assert_int_equal(g->pool->buffers.nr, THIN_BUFFERS_MAX);
		ground_free(g);
	}
}

/* 5.2, 5.3: once on the way down, and again only after it was above. */
static void test_low_water(void **state)
{
	struct ground *g = ground_make(BLOCK, 10, 64);
	struct thin_volume *v;

	(void)state;
	g->params.low_water_data = 4;
	g->params.low_water_metadata = 1000;
	ground_open(g);
	v = ground_create(g, 1, 10 * BLOCK, NULL);
	thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_LOW_DATA], 0);
	assert_int_equal(g->events[THIN_EVENT_LOW_METADATA], 1);
	assert_has(g->detail, "of 64 metadata blocks");
	assert_int_equal(put(v, 0, 5 * BLOCK, 1, 0), 0);
	thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_LOW_DATA], 0);
	assert_int_equal(put(v, 5 * BLOCK, BLOCK, 1, 0), 0);
	for (int i = 0; i < 3; i++)
		thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_LOW_DATA], 1);
	assert_string_equal(g->detail, "4 of 10 data blocks are free");
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, THIN_FUA), 0);
	thin_pool_watch(g->pool);
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_LOW_DATA], 2);
	assert_int_equal(g->events[THIN_EVENT_LOW_METADATA], 1);
	thin_volume_close(v);
	ground_free(g);
}

/* Only for the worse, or from full to good; and nobody need listen. */
static void test_modes(void **state)
{
	static const struct {
		enum thin_pool_mode to, want;
	} steps[] = {
		{THIN_MODE_WRITE, THIN_MODE_WRITE},
		{THIN_MODE_OUT_OF_DATA, THIN_MODE_OUT_OF_DATA},
		{THIN_MODE_WRITE, THIN_MODE_WRITE},
		{THIN_MODE_OUT_OF_METADATA, THIN_MODE_OUT_OF_METADATA},
		{THIN_MODE_OUT_OF_DATA, THIN_MODE_OUT_OF_METADATA},
		{THIN_MODE_WRITE, THIN_MODE_WRITE},
		{THIN_MODE_READ_ONLY, THIN_MODE_READ_ONLY},
		{THIN_MODE_WRITE, THIN_MODE_READ_ONLY},
		{THIN_MODE_OUT_OF_DATA, THIN_MODE_READ_ONLY},
		{THIN_MODE_FAIL, THIN_MODE_FAIL},
		{THIN_MODE_WRITE, THIN_MODE_FAIL},
		{THIN_MODE_READ_ONLY, THIN_MODE_FAIL},
	};

	(void)state;
	for (int listen = 0; listen < 2; listen++) {
		struct ground *g = ground_make(BLOCK, 10, 64);

		if (!listen)
			g->params.event = NULL;
		ground_open(g);
		for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
			thin_pool_set_mode(g->pool, steps[i].to);
			assert_int_equal(ground_mode(g), steps[i].want);
			thin_pool_tell(g->pool);
		}
		assert_int_equal(g->events[THIN_EVENT_MODE], listen ? 6 : 0);
		assert_int_equal(thin_pool_close(g->pool), -ESHUTDOWN);
		ground_discard(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),	    cmocka_unit_test(test_mode_names),
		cmocka_unit_test(test_refused),	    cmocka_unit_test(test_owns_storages),
		cmocka_unit_test(test_start_fails), cmocka_unit_test(test_close_commits),
		cmocka_unit_test(test_uses_more),   cmocka_unit_test(test_kernel_format),
		cmocka_unit_test(test_buffers),	    cmocka_unit_test(test_low_water),
		cmocka_unit_test(test_modes),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
