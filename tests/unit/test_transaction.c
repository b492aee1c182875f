/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_ground.h"

#include <errno.h>

/* T1 to T3 of transaction.h. */

static int set_up(void **state)
{
	*state = ground_new(200, 64);
	return 0;
}

static int tear_down(void **state)
{
	ground_free(*state);
	return 0;
}

static uint32_t count(struct ground *g, uint64_t block)
{
	uint32_t n;

	assert_int_equal(thin_sm_count(g->tm.sm, block, &n), 0);
	return n;
}

static int count_calls(void *ctx, const void *block)
{
	assert_non_null(block);
	(*(int *)ctx)++;
	return 0;
}

static void fresh_blocks_change_in_place(void **state)
{
	struct ground *g = *state;
	uint64_t block, shadow;
	void *p, *q;

	assert_int_equal(thin_tm_new(&g->tm, THIN_BITMAP, &block, &p), 0);
	assert_int_equal(
		thin_tm_shadow(&g->tm, block, THIN_BITMAP, NULL, NULL, &shadow, &q), 0);
	assert_int_equal(shadow, block);
	assert_ptr_equal(p, q);
}

static void committed_blocks_are_copied(void **state)
{
	struct ground *g = *state;
	uint64_t block, shadow, again;
	int calls = 0;
	uint8_t *p, b[4096];

	assert_int_equal(thin_tm_new(&g->tm, THIN_BITMAP, &block, (void **)&p), 0);
	p[99] = 1;
	ground_commit(g);
	thin_cache_begin_op(g->cache);
	assert_int_equal(thin_tm_shadow(&g->tm, block, THIN_BITMAP, count_calls, &calls,
					&shadow, (void **)&p),
			 0);
	assert_int_not_equal(shadow, block);
	assert_int_equal(p[99], 1);
	p[99] = 2;
	/* The only reference moved: no child has one more. */
	assert_int_equal(calls, 0);
	assert_int_equal(count(g, block), 0);
	assert_int_equal(count(g, shadow), 1);
	assert_int_equal(thin_cache_collect(g->cache), 0);
	assert_int_equal(thin_cache_write_out(g->cache), 0);
	assert_int_equal(thin_storage_read_at(g->storage, block * 4096, b, 4096), 0);
	assert_int_equal(b[99], 1);
	/* And the old one is not handed out again in this transaction. */
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(thin_tm_new(&g->tm, THIN_BITMAP, &again, (void **)&p),
				 0);
		assert_int_not_equal(again, block);
	}
}

static void shared_blocks_share_their_children(void **state)
{
	struct ground *g = *state;
	uint64_t block, shadow;
	int calls = 0;
	void *p;

	/* Fresh, but with two references: not to be changed in place either. */
	assert_int_equal(thin_tm_new(&g->tm, THIN_BITMAP, &block, &p), 0);
	assert_int_equal(thin_sm_inc(g->tm.sm, block), 0);
	assert_int_equal(thin_tm_shadow(&g->tm, block, THIN_BITMAP, count_calls, &calls,
					&shadow, &p),
			 0);
	assert_int_not_equal(shadow, block);
	assert_int_equal(calls, 1);
	assert_int_equal(count(g, block), 1);
}

static void a_block_nobody_refers_to_is_damage(void **state)
{
	struct ground *g = *state;
	uint64_t shadow;
	void *p;

	assert_int_equal(
		thin_tm_shadow(&g->tm, 150, THIN_BITMAP, NULL, NULL, &shadow, &p),
		-EILSEQ);
	assert_int_equal(
		thin_tm_shadow(&g->tm, 200, THIN_BITMAP, NULL, NULL, &shadow, &p),
		-EILSEQ);
}

static void it_ends_with_the_space(void **state)
{
	struct ground *g = *state;
	unsigned nr = 0;
	uint64_t block;
	void *p;
	int r;

	do {
		thin_cache_begin_op(g->cache);
		r = thin_tm_new(&g->tm, THIN_BITMAP, &block, &p);
		nr += !r;
	} while (!r);
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(nr, 200 - 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fresh_blocks_change_in_place),
		TEST(committed_blocks_are_copied),
		TEST(shared_blocks_share_their_children),
		TEST(a_block_nobody_refers_to_is_damage),
		TEST(it_ends_with_the_space),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
