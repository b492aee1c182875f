/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "pool/request.h"
#include "shelf.h"

static struct shelf *sh;

static int setup(void **state)
{
	(void)state;
	sh = shelf_new(1 << 20);
	return sh ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	shelf_free(sh);
	return 0;
}

static void test_one_transfer(void **state)
{
	uint8_t buf[64], back[64] = {0};
	struct thin_gather g;

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i + 1);
	thin_gather_writes(&g, &sh->lent);
	assert_int_equal(thin_gather_go(&g), 0);
	assert_int_equal(sh->writes, 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(thin_gather_add(&g, 1000 * i, buf + 16 * i, 16), 0);
	assert_int_equal(sh->writes, 0);
	assert_int_equal(thin_gather_go(&g), 0);
	assert_int_equal(sh->writes, 1);

	thin_gather_reads(&g, &sh->lent);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(thin_gather_add(&g, 1000 * i, back + 16 * i, 16), 0);
	assert_int_equal(thin_gather_go(&g), 0);
	assert_int_equal(sh->reads, 1);
	assert_memory_equal(buf, back, sizeof(buf));
}

/* Only what touches in the storage and in memory is one. */
static void test_join(void **state)
{
	uint8_t buf[64] = {0};
	struct thin_gather g;

	(void)state;
	thin_gather_writes(&g, &sh->lent);
	assert_int_equal(thin_gather_add(&g, 0, buf, 16), 0);
	assert_int_equal(thin_gather_add(&g, 16, buf + 16, 16), 0);
	assert_int_equal(g.nr, 1);
	assert_int_equal(g.seg[0].len, 32);
	assert_int_equal(thin_gather_add(&g, 32, buf, 16), 0);
	assert_int_equal(g.nr, 2);
	assert_int_equal(thin_gather_add(&g, 100, buf + 16, 16), 0);
	assert_int_equal(g.nr, 3);
	assert_int_equal(thin_gather_go(&g), 0);
	assert_int_equal(g.nr, 0);
}

static void test_full(void **state)
{
	uint8_t buf[2] = {1, 2};
	struct thin_gather g;

	(void)state;
	thin_gather_writes(&g, &sh->lent);
	for (uint64_t i = 0; i < THIN_RUNS; i++)
		assert_int_equal(thin_gather_add(&g, 10 * i, buf, 1), 0);
	assert_int_equal(sh->writes, 0);
	assert_int_equal(thin_gather_add(&g, 5, buf, 1), 0);
	assert_int_equal(sh->writes, 1);
	assert_int_equal(g.nr, 1);
	sh->fail_write = -EIO;
	assert_int_equal(thin_gather_go(&g), -EIO);
	assert_int_equal(g.nr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_transfer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_join, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
	};

	return cmocka_run_group_tests_name("gather", tests, NULL, NULL);
}
