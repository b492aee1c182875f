/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

/* Runs that lie apart in the data are read in one go. */
static void test_one_transfer(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);
	uint8_t *buf = malloc(16 * BLOCK);
	unsigned long reads;

	(void)state;
	for (uint64_t b = 16; b-- > 0;) /* backwards: no two are neighbours */
		assert_int_equal(put(v, b * BLOCK, BLOCK, (uint8_t)(b + 1), 0), 0);
	assert_int_equal(thin_volume_trim(v, 3 * BLOCK, 2 * BLOCK, 0), 0);
	reads = g->data->reads;
	for (uint64_t b = 0; b < 16; b++)
		expect(v, b * BLOCK, BLOCK, b == 3 || b == 4 ? 0 : (uint8_t)(b + 1));
	assert_int_equal(g->data->reads, reads + 14);
	reads = g->data->reads;
	assert_int_equal(thin_volume_read(v, buf, 0, 16 * BLOCK), 0);
	assert_int_equal(buf[15 * BLOCK], 16);
	free(buf);
	assert_int_equal(g->data->reads, reads + 1);
	thin_volume_close(v);
	ground_free(g);
}

static void test_range(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 1000, NULL);
	uint8_t b[2];

	(void)state;
	assert_int_equal(thin_volume_read(v, b, 999, 1), 0);
	assert_int_equal(thin_volume_read(v, b, 1000, 0), 0);
	assert_int_equal(thin_volume_read(v, b, 999, 2), -ERANGE);
	assert_int_equal(thin_volume_read(v, b, 1001, 0), -ERANGE);
	assert_int_equal(thin_volume_read(v, b, UINT64_MAX, 2), -ERANGE);
	thin_volume_close(v);
	ground_free(g);
}

/* 7.1 to 7.3: around the origin's end, to the byte. */
static void test_origin_end(void **state)
{
	const uint64_t ends[] = {
		1, 511, 512, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 777};
	struct ground *g = ground_new(8);

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct shelf *sh;
		struct thin_origin *o = ground_origin(&sh, ends[i]);
		struct thin_volume *v = ground_create(g, i, 5 * BLOCK, o);
		uint8_t two[2];

		expect_origin(v, 0, ends[i]);
		expect(v, ends[i], 5 * BLOCK - ends[i], 0);
		assert_int_equal(thin_volume_read(v, two, ends[i] - 1, 2), 0);
		assert_int_equal(two[0], origin_byte(ends[i] - 1));
		assert_int_equal(two[1], 0);
		thin_volume_close(v);
		thin_origin_unref(o);
		shelf_free(sh);
	}
	assert_int_equal(ground_used(g), 0);
	ground_free(g);
}

static void test_origin_fails(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, BLOCK);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, o);
	uint8_t b;

	(void)state;
	sh->fail_read = -EIO;
	assert_int_equal(thin_volume_read(v, &b, 0, 1), -EIO);
	assert_int_equal(thin_volume_read(v, &b, BLOCK, 1), 0);
	sh->fail_read = 0;
	assert_int_equal(thin_volume_read(v, &b, 0, 1), 0);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_data_fails(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, NULL);
	uint8_t b;

	(void)state;
	assert_int_equal(put(v, 0, 1, 1, 0), 0);
	g->data->fail_read = -EIO;
	assert_int_equal(thin_volume_read(v, &b, 0, 1), -EIO);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	g->data->fail_read = 0;
	expect(v, 0, 1, 1);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * Somebody's change failed half-way: lookups fail too, until the last commit
 * is back in force.  Whoever reads then sees to that, and reads.
 */
static void test_poisoned(void **state)
{
	struct ground *g = ground_new(16);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, THIN_FUA), 0);
	poison(v);
	assert_int_not_equal(ground_info(g).failed, 0);
	expect(v, 0, BLOCK, 1);
	expect(v, BLOCK, BLOCK, 0);
	assert_int_equal(ground_mode(g), THIN_MODE_READ_ONLY);
	thin_volume_close(v);
	(void)thin_pool_close(g->pool);
	ground_discard(g);
}

static void test_cache(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 64 * BLOCK, NULL);
	unsigned long bytes;

	(void)state;
	assert_int_equal(put(v, 0, 40 * BLOCK, 1, 0), 0);
	bytes = g->data->read_bytes;
	assert_int_equal(thin_volume_cache(v, 100, 39 * BLOCK), 0);
	assert_int_equal(g->data->read_bytes - bytes, 39 * BLOCK);
	assert_int_equal(thin_volume_cache(v, 0, 64 * BLOCK + 1), -ERANGE);
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_transfer), cmocka_unit_test(test_range),
		cmocka_unit_test(test_origin_end),   cmocka_unit_test(test_origin_fails),
		cmocka_unit_test(test_data_fails),   cmocka_unit_test(test_poisoned),
		cmocka_unit_test(test_cache),
	};

	return cmocka_run_group_tests_name("read", tests, NULL, NULL);
}
