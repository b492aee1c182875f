/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "util/epoch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static atomic_int inside, let_go, synchronized;

static void nap_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static void *stay_inside(void *arg)
{
	(void)arg;
	thin_epoch_enter();
	{
		THIN_EPOCH_SCOPE; /* nested; leaving it is not leaving */

		inside = 1;
	}
	while (!let_go)
		nap_ms(1);
	inside = 0;
	thin_epoch_exit();
	return NULL;
}

static void *synchronize(void *arg)
{
	(void)arg;
	thin_epoch_synchronize();
	synchronized = 1;
	return NULL;
}

static void synchronize_waits_for_who_is_inside(void **state)
{
	pthread_t reader, waiter;

	(void)state;
	pthread_create(&reader, NULL, stay_inside, NULL);
	while (!inside)
		nap_ms(1);
	pthread_create(&waiter, NULL, synchronize, NULL);
	nap_ms(20);
	assert_int_equal(synchronized, 0);
	let_go = 1;
	pthread_join(waiter, NULL);
	assert_int_equal(inside, 0);
	pthread_join(reader, NULL);
}

static void synchronize_with_nobody_inside_returns(void **state)
{
	(void)state;
	thin_epoch_enter();
	thin_epoch_exit();
	{
		THIN_EPOCH_SCOPE;
	}
	thin_epoch_synchronize();
}

/* What an address is held for: the old value is not torn down under us. */
static _Atomic(int *) shared;
static atomic_int stop, seen_dead;

static void *look(void *arg)
{
	(void)arg;
	while (!stop) {
		THIN_EPOCH_SCOPE;
		int *p = shared;

		if (*(volatile int *)p != 1)
			seen_dead = 1;
	}
	return NULL;
}

static void nobody_sees_what_was_given_away(void **state)
{
	int values[2] = {1, 0};
	pthread_t t[2];

	(void)state;
	shared = &values[0];
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, look, NULL);
	for (int i = 0; i < 50; i++) {
		int *old = shared, *new = old == values ? values + 1 : values;

		*new = 1;
		shared = new;
		thin_epoch_synchronize();
		*old = 0;
	}
	stop = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(seen_dead, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(synchronize_waits_for_who_is_inside),
		cmocka_unit_test(synchronize_with_nobody_inside_returns),
		cmocka_unit_test(nobody_sees_what_was_given_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
