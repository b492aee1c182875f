/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "pool/request.h"

#define BLOCKS 100u

static uint64_t free_blocks(struct ground *g)
{
	return ground_info(g).data_free;
}

/* A pool whose free blocks, half of them, lie one by one. */
static struct ground *fragmented(void)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_volume *v = ground_create(g, 1, BLOCKS * BLOCK, NULL);

	assert_int_equal(put(v, 0, BLOCKS * BLOCK, 1, 0), 0);
	for (uint64_t b = 0; b < BLOCKS; b += 2)
		assert_int_equal(thin_volume_trim(v, b * BLOCK, BLOCK, 0), 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(free_blocks(g), BLOCKS / 2);
	thin_volume_close(v);
	return g;
}

static void test_many_extents(void **state)
{
	struct ground *g = fragmented();
	struct thin_reservation res;
	bool seen[BLOCKS] = {false};
	uint64_t dblock;

	(void)state;
	thin_reservation_init(&res, g->pool, NULL);
	assert_int_equal(thin_reservation_make(&res, BLOCKS / 2), 0);
	assert_int_equal(free_blocks(g), 0);
	assert_true(res.nr > ARRAY_LEN(res.few));
	for (uint64_t left = BLOCKS / 2; left;) {
		uint64_t nr = thin_reservation_take(&res, left, &dblock);

		assert_true(nr >= 1 && nr <= left);
		for (uint64_t i = 0; i < nr; i++) {
			assert_true(dblock + i < BLOCKS && !seen[dblock + i]);
			seen[dblock + i] = true;
		}
		left -= nr;
	}
	thin_reservation_fini(&res);
	assert_int_equal(free_blocks(g), BLOCKS / 2);
	ground_free(g);
}

/* All or nothing. */
static void test_too_many(void **state)
{
	struct ground *g = fragmented();
	struct thin_reservation res;

	(void)state;
	thin_reservation_init(&res, g->pool, NULL);
	assert_int_equal(thin_reservation_make(&res, BLOCKS / 2 + 1), -ENOSPC);
	assert_int_equal(free_blocks(g), BLOCKS / 2);
	assert_int_equal(res.nr, 0);
	thin_reservation_fini(&res);
	ground_free(g);
}

/* What was used stays; what was only taken goes back. */
static void test_used(void **state)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_volume *v = ground_create(g, 1, BLOCK * 10, NULL);
	struct thin_reservation res;
	uint64_t dblock;

	(void)state;
	thin_reservation_init(&res, g->pool, NULL);
	assert_int_equal(thin_reservation_make(&res, 6), 0);
	assert_int_equal(thin_reservation_take(&res, 4, &dblock), 4);
	assert_int_equal(thin_metadata_insert(v->core->d, 0, dblock, 3), 0);
	res.used = 3;
	thin_reservation_fini(&res);
	assert_int_equal(ground_used(g), 3);
	assert_int_equal(free_blocks(g), BLOCKS - 3);
	thin_volume_close(v);
	ground_free(g);
}

static void test_nothing(void **state)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_reservation res;

	(void)state;
	thin_reservation_init(&res, g->pool, NULL);
	thin_reservation_fini(&res);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_extents),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_used),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests_name("reserve", tests, NULL, NULL);
}
