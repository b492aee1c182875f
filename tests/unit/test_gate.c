/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

/* aligned_alloc()ed by its owners: a gate has cache lines of its own. */
static struct thin_gate gate;
static struct door door;
static atomic_uint inside;

static int setup(void **state)
{
	(void)state;
	thin_gate_init(&gate);
	door_init(&door);
	inside = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	thin_gate_fini(&gate);
	return 0;
}

static int go_through(void *ctx)
{
	(void)ctx;
	thin_gate_enter(&gate);
	atomic_fetch_add(&inside, 1);
	door_pass(&door);
	atomic_fetch_sub(&inside, 1);
	thin_gate_leave(&gate);
	return 0;
}

static int shut_and_open(void *ctx)
{
	bool empty;

	(void)ctx;
	thin_gate_shut(&gate);
	empty = !inside;
	thin_gate_open(&gate);
	return empty ? 0 : -1;
}

/* More than there are counters: all are let through, all are waited for. */
static void test_drain(void **state)
{
	struct call early[20], late[20], shut;

	(void)state;
	door_set(&door, true);
	for (size_t i = 0; i < ARRAY_LEN(early); i++)
		call_start(&early[i], go_through, NULL);
	WAIT_FOR(inside == ARRAY_LEN(early));
	call_start(&shut, shut_and_open, NULL);
	WAIT_FOR(gate.shut);
	for (size_t i = 0; i < ARRAY_LEN(late); i++)
		call_start(&late[i], go_through, NULL);
	usleep(10000);
	assert_int_equal(inside, ARRAY_LEN(early));
	assert_false(shut.done);
	door_set(&door, false);
	assert_int_equal(call_join(&shut), 0);
	for (size_t i = 0; i < ARRAY_LEN(early); i++) {
		assert_int_equal(call_join(&early[i]), 0);
		assert_int_equal(call_join(&late[i]), 0);
	}
	assert_int_equal(inside, 0);
}

/* Two who shut it do so one after the other. */
static void test_two_shut(void **state)
{
	struct call other;

	(void)state;
	thin_gate_shut(&gate);
	call_start(&other, shut_and_open, NULL);
	usleep(5000);
	assert_false(other.done);
	thin_gate_open(&gate);
	assert_int_equal(call_join(&other), 0);
}

/* Nobody is ever inside while it is shut; no atomics, for ThreadSanitizer. */
static unsigned long guarded;
static atomic_bool stop;

static int pass_often(void *ctx)
{
	bool changed = false;

	(void)ctx;
	while (!stop && !changed) {
		unsigned long seen;

		thin_gate_enter(&gate);
		seen = guarded;
		for (int i = 0; i < 10; i++)
			changed |= *(volatile unsigned long *)&guarded != seen;
		thin_gate_leave(&gate);
	}
	return changed ? -1 : 0;
}

static int shut_often(void *ctx)
{
	(void)ctx;
	for (int i = 0; i < 2000; i++) {
		thin_gate_shut(&gate);
		guarded++;
		thin_gate_open(&gate);
	}
	return 0;
}

static void test_crowd(void **state)
{
	struct call through[3], shut[2];

	(void)state;
	guarded = 0;
	stop = false;
	for (size_t i = 0; i < ARRAY_LEN(through); i++)
		call_start(&through[i], pass_often, NULL);
	for (size_t i = 0; i < ARRAY_LEN(shut); i++)
		call_start(&shut[i], shut_often, NULL);
	for (size_t i = 0; i < ARRAY_LEN(shut); i++)
		assert_int_equal(call_join(&shut[i]), 0);
	stop = true;
	for (size_t i = 0; i < ARRAY_LEN(through); i++)
		assert_int_equal(call_join(&through[i]), 0);
	assert_int_equal(guarded, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_shut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
