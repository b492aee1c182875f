/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "pool/pool_internal.h"

#include <signal.h>

static struct door door;
static atomic_int turns;
static atomic_bool signals_blocked;

static void turn(struct thin_pool *pool)
{
	sigset_t now;

	(void)pool;
	pthread_sigmask(SIG_SETMASK, NULL, &now);
	signals_blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGCHLD);
	atomic_fetch_add(&turns, 1);
	door_pass(&door);
}

static int setup(void **state)
{
	(void)state;
	door_init(&door);
	turns = 0;
	return 0;
}

static void test_kick(void **state)
{
	struct thin_worker w;

	(void)state;
	thin_worker_init(&w, "kicked", NULL, turn, 0);
	assert_int_equal(thin_worker_start(&w), 0);
	usleep(20000);
	assert_int_equal(turns, 0);
	thin_worker_kick(&w);
	WAIT_FOR(turns == 1);
	assert_true(signals_blocked);
	thin_worker_fini(&w);
	assert_int_equal(turns, 1);
}

/* What the kicker did may have come too late for the turn that is going on. */
static void test_kick_during_turn(void **state)
{
	struct thin_worker w;

	(void)state;
	thin_worker_init(&w, "kicked", NULL, turn, 0);
	door_set(&door, true);
	assert_int_equal(thin_worker_start(&w), 0);
	thin_worker_kick(&w);
	WAIT_FOR(turns == 1);
	thin_worker_kick(&w);
	thin_worker_kick(&w);
	door_set(&door, false);
	WAIT_FOR(turns == 2);
	usleep(10000);
	assert_int_equal(turns, 2);
	thin_worker_fini(&w);
}

static void test_interval(void **state)
{
	struct thin_worker w;

	(void)state;
	thin_worker_init(&w, "interval", NULL, turn, 5000000);
	assert_int_equal(thin_worker_start(&w), 0);
	WAIT_FOR(turns >= 3);
	thin_worker_stop(&w);
	setup(NULL);
	usleep(20000);
	assert_int_equal(turns, 0);
	thin_worker_fini(&w);
}

static void test_never_started(void **state)
{
	struct thin_worker w;

	(void)state;
	thin_worker_init(&w, "idle", NULL, turn, 1);
	thin_worker_kick(&w);
	thin_worker_stop(&w);
	thin_worker_stop(&w);
	thin_worker_fini(&w);
	assert_int_equal(turns, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_kick, setup),
		cmocka_unit_test_setup(test_kick_during_turn, setup),
		cmocka_unit_test_setup(test_interval, setup),
		cmocka_unit_test_setup(test_never_started, setup),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
