/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "pool/pool_internal.h"

static struct door door;
static atomic_int runs, at_once, most_at_once;

static int run(struct thin_pool *pool)
{
	int n = atomic_fetch_add(&runs, 1) + 1;

	(void)pool;
	if (atomic_fetch_add(&at_once, 1) >= most_at_once)
		most_at_once++;
	door_pass(&door);
	atomic_fetch_sub(&at_once, 1);
	return -n;
}

static int join(void *ctx)
{
	return thin_batch_join(ctx);
}

static int setup(void **state)
{
	(void)state;
	door_init(&door);
	runs = at_once = most_at_once = 0;
	return 0;
}

static unsigned waiting(struct thin_batcher *b)
{
	struct thin_batch_wait *first;

	thin_mutex_lock(&b->lock);
	first = b->waiting;
	thin_mutex_unlock(&b->lock);
	return first ? 1 : 0;
}

static void test_alone(void **state)
{
	struct thin_batcher b;

	(void)state;
	thin_batcher_init(&b, NULL, run);
	assert_int_equal(thin_batch_join(&b), -1);
	assert_int_equal(thin_batch_join(&b), -2);
	thin_batcher_fini(&b);
}

/* B1: those who come during a run share the next one, not this one. */
static void test_next_run(void **state)
{
	struct thin_batcher b;
	struct call first, late[4];

	(void)state;
	thin_batcher_init(&b, NULL, run);
	door_set(&door, true);
	call_start(&first, join, &b);
	WAIT_FOR(door_waiting(&door) == 1);
	for (size_t i = 0; i < ARRAY_LEN(late); i++)
		call_start(&late[i], join, &b);
	WAIT_FOR(waiting(&b));
	usleep(20000); /* all four; if not, they make a third run */
	assert_false(late[0].done);
	door_set(&door, false);
	assert_int_equal(call_join(&first), -1);
	for (size_t i = 0; i < ARRAY_LEN(late); i++)
		assert_true(call_join(&late[i]) <= -2);
	assert_true(runs <= 1 + (int)ARRAY_LEN(late));
	assert_int_equal(most_at_once, 1);
	thin_batcher_fini(&b);
}

/* B2, and that everybody gets an answer. */
static int join_often(void *ctx)
{
	for (int i = 0; i < 500; i++)
		if (thin_batch_join(ctx) >= 0)
			return -1;
	return 0;
}

static void test_crowd(void **state)
{
	struct thin_batcher b;
	struct call c[6];

	(void)state;
	thin_batcher_init(&b, NULL, run);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		call_start(&c[i], join_often, &b);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		assert_int_equal(call_join(&c[i]), 0);
	assert_int_equal(most_at_once, 1);
	assert_true(runs <= 500 * (int)ARRAY_LEN(c));
	thin_batcher_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_alone, setup),
		cmocka_unit_test_setup(test_next_run, setup),
		cmocka_unit_test_setup(test_crowd, setup),
	};

	return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
