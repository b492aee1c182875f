/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

/* 8.1: start rounded up, end down. */
static void test_rounding(void **state)
{
	static const struct {
		uint64_t begin, end;
		uint64_t left; /* bit b: block b is still mapped */
	} cases[] = {
		{0, 4 * BLOCK, 0x0},
		{1, 4 * BLOCK, 0x1},
		{0, 4 * BLOCK - 1, 0x8},
		{BLOCK, 3 * BLOCK, 0x9},
		{BLOCK - 1, 3 * BLOCK + 1, 0x9},
		{BLOCK + 1, 3 * BLOCK, 0xb},
		{BLOCK, 2 * BLOCK - 1, 0xf},
		{100, 200, 0xf},
		{BLOCK + 1, 2 * BLOCK + 2, 0xf},
	};
	struct ground *g = ground_new(8);

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct thin_volume *v = ground_create(g, i, 5 * BLOCK, NULL);

		assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
		assert_int_equal(thin_volume_trim(v, cases[i].begin,
						  cases[i].end - cases[i].begin, 0),
				 0);
		for (uint64_t b = 0; b < 4; b++)
			expect(v, b * BLOCK, BLOCK, cases[i].left >> b & 1);
		assert_int_equal(thin_volume_trim(v, 0, 5 * BLOCK, 0), 0);
		assert_int_equal(ground_used(g), 0);
		thin_volume_close(v);
	}
	ground_free(g);
}

/* The deviation from 7.18: nothing is left of a volume that is trimmed. */
static void test_short_last_block(void **state)
{
	struct ground *g = ground_new(8);
	uint64_t size = 2 * BLOCK + 777;
	struct thin_volume *v = ground_create(g, 1, size, NULL), *longer;

	(void)state;
	assert_int_equal(put(v, 0, size, 1, 0), 0);
	assert_int_equal(thin_volume_trim(v, 2 * BLOCK, 776, 0), 0);
	assert_int_equal(ground_used(g), 3);
	assert_int_equal(thin_volume_trim(v, 2 * BLOCK + 1, 776, 0), 0);
	assert_int_equal(ground_used(g), 3);

	/* While somebody has it open longer, the block has more bytes. */
	longer = ground_volume(g, 1, 3 * BLOCK, NULL);
	assert_int_equal(thin_volume_trim(v, 0, size, 0), 0);
	assert_int_equal(ground_used(g), 1);
	expect(longer, 2 * BLOCK, 777, 1);
	thin_volume_close(longer);
	thin_volume_close(v);

	v = ground_volume(g, 1, size, NULL);
	assert_int_equal(thin_volume_trim(v, 0, size, 0), 0);
	assert_int_equal(ground_used(g), 0);
	expect(v, 0, size, 0);
	thin_volume_close(v);
	ground_free(g);
}

/* 7.8: what was below shows again; a shared block stays for the others. */
static void test_trim_shows_below(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, BLOCK + 100);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, o), *s;
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	s = ground_volume(g, 2, 4 * BLOCK, o);
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, 0), 0);
	expect_origin(v, 0, BLOCK + 100);
	expect(v, BLOCK + 100, 3 * BLOCK - 100, 0);
	expect(s, 0, 4 * BLOCK, 1);
	assert_int_equal(ground_used(g), 4);
	thin_volume_close(s);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_ignore(void **state)
{
	struct ground *g = ground_make(BLOCK, 8, 1024);
	struct thin_volume *v;

	(void)state;
	g->params.discard = THIN_DISCARD_IGNORE;
	ground_open(g);
	v = ground_create(g, 1, 4 * BLOCK, NULL);
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, THIN_FUA), 0);
	assert_int_equal(ground_used(g), 4);
	expect(v, 0, 4 * BLOCK, 1);
	assert_int_equal(thin_volume_zero(v, 0, 4 * BLOCK, THIN_MAY_UNMAP), 0);
	assert_int_equal(ground_used(g), 4);
	expect(v, 0, 4 * BLOCK, 0);
	thin_volume_close(v);
	ground_free(g);
}

static void test_range(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 1000, NULL);

	(void)state;
	assert_int_equal(thin_volume_trim(v, 0, 1001, 0), -ERANGE);
	assert_int_equal(thin_volume_trim(v, 1001, 0, 0), -ERANGE);
	assert_int_equal(thin_volume_trim(v, 1000, 0, 0), 0);
	assert_int_equal(thin_volume_zero(v, 1, UINT64_MAX, 0), -ERANGE);
	assert_int_equal(thin_volume_zero(v, 1000, 0, 0), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* A trim of a volume with nothing in it changes nothing: no commit for it. */
static void test_trim_of_nothing(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, THIN_MAX_VOLUME_SIZE / 1024, NULL);

	(void)state;
	assert_int_equal(thin_volume_trim(v, 0, UINT64_C(1) << 32, 0), 0);
	assert_false(ground_info(g).dirty);
	thin_volume_close(v);
	ground_free(g);
}

/* I11, and what it costs: over the origin blocks, elsewhere holes. */
static void test_zero_over_origin(void **state)
{
	struct ground *g = ground_new(64);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 2 * BLOCK + 100);
	unsigned long writes;

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		struct thin_volume *v = ground_create(g, i, 8 * BLOCK, o);
		unsigned flags = i ? THIN_MAY_UNMAP : 0;
		uint64_t used = ground_used(g);

		assert_int_equal(shelf_punch(&g->data->lent, used * BLOCK, 8 * BLOCK), 0);
		writes = g->data->writes;
		assert_int_equal(thin_volume_zero(v, 0, 8 * BLOCK, flags), 0);
		expect(v, 0, 8 * BLOCK, 0);
		assert_int_equal(ground_used(g), used + 3);
		/* The storage makes zeros itself, where that can be. */
		assert_int_equal(g->data->writes, writes);
		assert_int_equal(thin_volume_trim(v, 0, 8 * BLOCK, 0), 0);
		assert_int_equal(thin_volume_zero(v, BLOCK + 7, 50, flags), 0);
		expect_origin(v, BLOCK, 7);
		expect(v, BLOCK + 7, 50, 0);
		expect_origin(v, BLOCK + 57, BLOCK - 57);
		assert_int_equal(thin_volume_trim(v, 0, 8 * BLOCK, THIN_FUA), 0);
		thin_volume_close(v);
	}
	assert_int_equal(ground_used(g), 0);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_zero_keeps_or_unmaps(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_zero(v, 0, 2 * BLOCK, 0), 0);
	assert_int_equal(ground_used(g), 4); /* asked to keep them */
	assert_int_equal(thin_volume_zero(v, 100, 3 * BLOCK, THIN_MAY_UNMAP), 0);
	assert_int_equal(ground_used(g), 2); /* two were covered */
	expect(v, 0, 3 * BLOCK + 100, 0);
	expect(v, 3 * BLOCK + 100, BLOCK - 100, 1);
	thin_volume_close(v);
	ground_free(g);
}

/* -ENOTSUP before anything is changed. */
static void test_fast_only(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL);
	unsigned fast = THIN_FAST_ONLY | THIN_MAY_UNMAP;

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_zero(v, 0, 4 * BLOCK - 1, fast), -ENOTSUP);
	assert_int_equal(thin_volume_zero(v, 0, 4 * BLOCK, THIN_FAST_ONLY), -ENOTSUP);
	expect(v, 0, 4 * BLOCK, 1);
	assert_int_equal(ground_used(g), 4);
	assert_int_equal(thin_volume_zero(v, 0, 4 * BLOCK, fast), 0);
	assert_int_equal(thin_volume_zero(v, 5, 100, THIN_FAST_ONLY), 0);
	assert_int_equal(ground_used(g), 0);
	thin_volume_close(v);
	ground_free(g);
}

static void test_fua(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, 4 * BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, THIN_FUA), 0);
	assert_int_equal(thin_volume_zero(v, BLOCK, BLOCK, THIN_FUA | THIN_MAY_UNMAP), 0);
	thin_volume_close(v);
	ground_crash(g);
	v = ground_volume(g, 1, 4 * BLOCK, NULL);
	expect(v, 0, 2 * BLOCK, 0);
	expect(v, 2 * BLOCK, 2 * BLOCK, 1);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * With nothing but the reserve left, unmapping goes on: a step, a commit,
 * and so on.  Every second block is written, so that nothing goes in bulk.
 */
static void fill_metadata(struct thin_volume *v, uint64_t nr)
{
	for (uint64_t b = 0; b < nr; b++)
		if (put(v, b * 2 * 4096, 1, 1, 0))
			return;
	fail_msg("the metadata did not run full");
}

static void check_scarce(struct ground *g, struct thin_volume *v, bool zero)
{
	uint64_t commits = ground_info(g).commits, size = thin_volume_size(v);

	assert_true(thin_pool_commit(g->pool) == 0);
	assert_int_equal(ground_info(g).metadata_free, 0);
	if (zero)
		assert_int_equal(thin_volume_zero(v, 0, size, THIN_MAY_UNMAP), 0);
	else
		assert_int_equal(thin_volume_trim(v, 0, size, 0), 0);
	assert_true(ground_info(g).commits > commits);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(ground_info(g).failed, 0);
}

static void test_scarce_metadata(void **state)
{
	(void)state;
	for (int zero = 0; zero < 2; zero++) {
		struct ground *g = ground_make(4096, 20000, 64);
		struct thin_volume *v;

		ground_open(g);
		v = ground_create(g, 1, UINT64_C(20000) * 2 * 4096, NULL);
		fill_metadata(v, 20000);
		assert_int_equal(ground_mode(g), THIN_MODE_OUT_OF_METADATA);
		check_scarce(g, v, zero);
		assert_int_equal(thin_pool_commit(g->pool), 0);
		assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
		assert_int_equal(put(v, 0, 4096, 1, 0), 0);
		thin_volume_close(v);
		ground_free(g);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rounding),
		cmocka_unit_test(test_short_last_block),
		cmocka_unit_test(test_trim_shows_below),
		cmocka_unit_test(test_ignore),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_trim_of_nothing),
		cmocka_unit_test(test_zero_over_origin),
		cmocka_unit_test(test_zero_keeps_or_unmaps),
		cmocka_unit_test(test_fast_only),
		cmocka_unit_test(test_fua),
		cmocka_unit_test(test_scarce_metadata),
	};

	return cmocka_run_group_tests_name("discard", tests, NULL, NULL);
}
