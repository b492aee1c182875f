/* SPDX-License-Identifier: BSD-3-Clause */
#include "seeded.h"
#include "unit.h"

#include "metadata/block_set.h"

#include <errno.h>
#include <stdbool.h>

#define RANGE 100000u

struct seen {
	bool *expected;
	uint64_t last_end, nr;
};

/* Runs ascend, do not touch, and have no member that was not put in. */
static int check_run(void *ctx, uint64_t block, uint64_t nr)
{
	struct seen *s = ctx;

	assert_true(nr > 0);
	assert_true(block > s->last_end || s->nr == 0);
	for (uint64_t i = 0; i < nr; i++)
		assert_true(s->expected[block + i]);
	s->last_end = block + nr;
	s->nr += nr;
	return 0;
}

static void like_an_array_of_flags(void **state)
{
	static bool flags[RANGE];
	struct thin_block_set set = {0};
	struct seeded rnd = seeded_start("block set");
	struct seen seen = {.expected = flags};
	uint64_t nr = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t b = seeded_below(&rnd, RANGE);

		if (seeded_below(&rnd, 3)) {
			assert_int_equal(thin_block_set_add(&set, b), 0);
			nr += !flags[b];
			flags[b] = true;
		} else {
			thin_block_set_remove(&set, b);
			nr -= flags[b];
			flags[b] = false;
		}
		assert_int_equal(set.nr, nr);
		b = seeded_below(&rnd, RANGE);
		assert_int_equal(thin_block_set_has(&set, b), flags[b]);
	}
	assert_int_equal(thin_block_set_for_each_run(&set, check_run, &seen), 0);
	assert_int_equal(seen.nr, nr);
	thin_block_set_clear(&set);
	assert_int_equal(set.nr, 0);
	assert_false(thin_block_set_has(&set, 1));
}

static int one_run(void *ctx, uint64_t block, uint64_t nr)
{
	uint64_t *run = ctx;

	assert_int_equal(run[1], 0);
	run[0] = block;
	run[1] = nr;
	return 0;
}

/* A run over the border of two chunks, far out, is one run. */
static void runs_cross_chunks(void **state)
{
	struct thin_block_set set = {0}, other = {0};
	uint64_t first = (UINT64_C(1) << 40) - 20000, run[2] = {0, 0};

	(void)state;
	for (uint64_t i = 0; i < 20000; i += 2)
		assert_int_equal(thin_block_set_add(&set, first + i), 0);
	for (uint64_t i = 1; i < 20000; i += 2)
		assert_int_equal(thin_block_set_add(&other, first + i), 0);
	assert_int_equal(thin_block_set_union(&set, &other), 0);
	assert_int_equal(thin_block_set_for_each_run(&set, one_run, run), 0);
	assert_int_equal(run[0], first);
	assert_int_equal(run[1], 20000);
	thin_block_set_clear(&set);
	thin_block_set_clear(&other);
}

static int stop(void *ctx, uint64_t block, uint64_t nr)
{
	(void)block;
	(void)nr;
	(*(int *)ctx)++;
	return -EINTR;
}

static void stops_when_told(void **state)
{
	struct thin_block_set set = {0};
	int calls = 0;

	(void)state;
	assert_int_equal(thin_block_set_for_each_run(&set, stop, &calls), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(thin_block_set_add(&set, 1), 0);
	assert_int_equal(thin_block_set_add(&set, 3), 0);
	assert_int_equal(thin_block_set_for_each_run(&set, stop, &calls), -EINTR);
	assert_int_equal(calls, 1);
	thin_block_set_clear(&set);
}

static void subtract(void **state)
{
	struct thin_block_set a = {0}, b = {0};

	(void)state;
	for (uint64_t i = 0; i < 100000; i += 3)
		assert_int_equal(thin_block_set_add(&a, i), 0);
	for (uint64_t i = 0; i < 200000; i += 7)
		assert_int_equal(thin_block_set_add(&b, i), 0);
	thin_block_set_subtract(&a, &b);
	for (uint64_t i = 0; i < 100000; i++)
		assert_int_equal(thin_block_set_has(&a, i), i % 3 == 0 && i % 7 != 0);
	assert_int_equal(a.nr, 33334 - 4762);
	thin_block_set_subtract(&b, &b);
	assert_int_equal(b.nr, 0);
	thin_block_set_subtract(&b, &a);
	thin_block_set_clear(&a);
	thin_block_set_subtract(&b, &a);
	assert_int_equal(b.nr, 0);
	thin_block_set_clear(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subtract),
		cmocka_unit_test(like_an_array_of_flags),
		cmocka_unit_test(runs_cross_chunks),
		cmocka_unit_test(stops_when_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
