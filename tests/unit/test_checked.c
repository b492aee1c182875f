/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "util/checked.h"

static void add(void **state)
{
	uint64_t n = 42;

	(void)state;
	assert_true(thin_add_ok(UINT64_MAX - 1, 1, &n));
	assert_true(n == UINT64_MAX);
	n = 42;
	assert_false(thin_add_ok(UINT64_MAX, 1, &n));
	assert_true(n == 42); /* untouched */
}

static void mul(void **state)
{
	uint64_t n = 42;

	(void)state;
	assert_true(thin_mul_ok(UINT64_MAX / 3, 3, &n));
	assert_true(n == UINT64_MAX);
	n = 42;
	assert_false(thin_mul_ok(UINT64_C(1) << 32, UINT64_C(1) << 32, &n));
	assert_true(n == 42);
	assert_true(thin_mul_ok(0, UINT64_MAX, &n));
	assert_true(n == 0);
}

static void range(void **state)
{
	(void)state;
	assert_true(thin_range_ok(0, 0, 0));
	assert_true(thin_range_ok(0, 10, 10));
	assert_true(thin_range_ok(10, 0, 10));
	assert_true(thin_range_ok(9, 1, 10));
	assert_false(thin_range_ok(9, 2, 10));
	assert_false(thin_range_ok(11, 0, 10));
	assert_false(thin_range_ok(5, UINT64_MAX, 10)); /* wraps to 4 */
	assert_false(thin_range_ok(UINT64_MAX, 2, UINT64_MAX));
	assert_true(thin_range_ok(UINT64_MAX, 0, UINT64_MAX));
}

static void roundings(void **state)
{
	(void)state;
	assert_true(thin_div_up(0, 8) == 0);
	assert_true(thin_div_up(1, 8) == 1);
	assert_true(thin_div_up(8, 8) == 1);
	assert_true(thin_div_up(9, 8) == 2);
	assert_true(thin_div_up(UINT64_MAX, 2) == UINT64_C(1) << 63);
	assert_true(thin_min(1, 2) == 1 && thin_min(2, 1) == 1);
	assert_true(thin_max(1, 2) == 2 && thin_max(2, 1) == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(add),
		cmocka_unit_test(mul),
		cmocka_unit_test(range),
		cmocka_unit_test(roundings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
