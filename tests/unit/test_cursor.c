/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "pool/request.h"

#define BLOCKS 200u

/* Every second block is mapped: two runs a pair of blocks. */
static struct thin_volume *striped(struct ground *g)
{
	struct thin_volume *v = ground_create(g, 1, BLOCKS * BLOCK, NULL);

	for (uint64_t b = 0; b < BLOCKS; b += 2)
		assert_int_equal(put(v, b * BLOCK, BLOCK, 1, 0), 0);
	return v;
}

static uint64_t walk(struct thin_cursor *c, uint64_t at)
{
	const struct thin_run *run;
	uint64_t runs = 0;

	for (;;) {
		assert_int_equal(thin_cursor_next(c, &run), 0);
		if (!run)
			return runs;
		assert_int_equal(run->vblock, at);
		assert_int_equal(run->mapped, at % 2 == 0);
		at += run->nr;
		runs++;
	}
}

static void test_many(void **state)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_volume *v = striped(g);
	struct thin_cursor c;

	(void)state;
	assert_int_equal(thin_cursor_init(&c, v->core, 0, BLOCKS), 0);
	assert_false(thin_cursor_complete(&c));
	assert_int_equal(walk(&c, 0), BLOCKS);
	assert_int_equal(thin_cursor_rewind(&c), 0);
	assert_int_equal(walk(&c, 0), BLOCKS);
	thin_volume_close(v);
	ground_free(g);
}

/* What is in hand is not looked up again. */
static void test_few(void **state)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_volume *v = striped(g);
	struct thin_cursor c;

	(void)state;
	assert_int_equal(thin_cursor_init(&c, v->core, 10, 10 + THIN_RUNS), 0);
	assert_true(thin_cursor_complete(&c));
	assert_int_equal(walk(&c, 10), THIN_RUNS);
	assert_int_equal(thin_volume_trim(v, 0, BLOCKS * BLOCK, 0), 0);
	assert_int_equal(thin_cursor_rewind(&c), 0);
	assert_int_equal(walk(&c, 10), THIN_RUNS);
	thin_volume_close(v);
	ground_free(g);
}

/* A mapping past the data storage never becomes an offset (I5). */
static void test_past_the_end(void **state)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_volume *v = striped(g);
	struct thin_cursor c;
	uint8_t byte;

	(void)state;
	atomic_store(&g->pool->nr_data_blocks, 10);
	assert_int_equal(thin_cursor_init(&c, v->core, 0, 4), 0);
	assert_int_equal(thin_cursor_init(&c, v->core, 0, BLOCKS), -EILSEQ);
	assert_int_equal(thin_volume_read(v, &byte, 100 * BLOCK, 1), -EILSEQ);
	assert_int_equal(put(v, 100 * BLOCK, 1, 1, 0), -EILSEQ);
	atomic_store(&g->pool->nr_data_blocks, BLOCKS);
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_past_the_end),
	};

	return cmocka_run_group_tests_name("cursor", tests, NULL, NULL);
}
