/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "pool/pool_internal.h"
#include "seeded.h"

struct holder {
	struct thin_range_lock *lock;
	uint64_t begin, end;
	struct door *door; /* held until it opens */
	atomic_bool held;
};

static int hold(void *ctx)
{
	struct holder *h = ctx;
	struct thin_range r;

	thin_range_lock(h->lock, &r, h->begin, h->end);
	h->held = true;
	door_pass(h->door);
	thin_range_unlock(h->lock, &r);
	return 0;
}

static size_t length(struct thin_range_lock *l)
{
	size_t n = 0;

	thin_mutex_lock(&l->lock);
	for (struct thin_range *r = l->ranges; r; r = r->next)
		n++;
	thin_mutex_unlock(&l->lock);
	return n;
}

/* L1: only what overlaps waits. */
static void test_overlap(void **state)
{
	static const struct {
		uint64_t begin, end;
		bool waits;
	} cases[] = {
		{0, 10, false}, {0, 11, true},	{19, 20, true}, {20, 21, false},
		{12, 13, true}, {0, 100, true}, {10, 20, true}, {25, 30, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct thin_range_lock l;
		struct thin_range first;
		struct door door;
		struct holder h = {.lock = &l,
				   .begin = cases[i].begin,
				   .end = cases[i].end,
				   .door = &door};
		struct call c;

		thin_range_lock_init(&l);
		door_init(&door);
		thin_range_lock(&l, &first, 10, 20);
		call_start(&c, hold, &h);
		WAIT_FOR(cases[i].waits ? length(&l) == 2 : h.held);
		usleep(cases[i].waits ? 2000 : 0);
		assert_int_equal(h.held, !cases[i].waits);
		thin_range_unlock(&l, &first);
		assert_int_equal(call_join(&c), 0);
		thin_range_lock_fini(&l);
	}
}

/* L2: a narrow one does not overtake a wide one that waits. */
static void test_order(void **state)
{
	struct thin_range_lock l;
	struct thin_range first;
	struct door door;
	struct holder wide = {.lock = &l, .begin = 0, .end = 100, .door = &door};
	struct holder narrow = {.lock = &l, .begin = 50, .end = 51, .door = &door};
	struct call c[2];

	(void)state;
	thin_range_lock_init(&l);
	door_init(&door);
	door_set(&door, true);
	thin_range_lock(&l, &first, 10, 20);
	call_start(&c[0], hold, &wide);
	WAIT_FOR(length(&l) == 2);
	call_start(&c[1], hold, &narrow);
	WAIT_FOR(length(&l) == 3);
	usleep(2000);
	assert_false(narrow.held);
	thin_range_unlock(&l, &first);
	WAIT_FOR(wide.held);
	usleep(2000);
	assert_false(narrow.held);
	door_set(&door, false);
	assert_int_equal(call_join(&c[0]), 0);
	assert_int_equal(call_join(&c[1]), 0);
	thin_range_lock_fini(&l);
}

/* L1, by the thousand: what is locked is changed by one at a time. */
#define CELLS 16

struct crowd {
	struct thin_range_lock lock;
	int cell[CELLS]; /* the lock's; no atomics, for ThreadSanitizer */
	_Atomic uint64_t seed;
};

static int change(void *ctx)
{
	struct crowd *crowd = ctx;
	struct seeded rng = {atomic_fetch_add(&crowd->seed, 1)};

	for (int i = 0; i < 2000; i++) {
		uint64_t begin = seeded_below(&rng, CELLS);
		uint64_t end = begin + 1 + seeded_below(&rng, CELLS - begin);
		struct thin_range r;

		thin_range_lock(&crowd->lock, &r, begin, end);
		for (uint64_t n = begin; n < end; n++)
			if (crowd->cell[n]++ != 0)
				return -1;
		for (uint64_t n = begin; n < end; n++)
			crowd->cell[n]--;
		thin_range_unlock(&crowd->lock, &r);
	}
	return 0;
}

static void test_crowd(void **state)
{
	struct seeded rng = seeded_start("block_lock");
	struct crowd crowd = {.seed = rng.state};
	struct call c[4];

	(void)state;
	thin_range_lock_init(&crowd.lock);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		call_start(&c[i], change, &crowd);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		assert_int_equal(call_join(&c[i]), 0);
	thin_range_lock_fini(&crowd.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests_name("block_lock", tests, NULL, NULL);
}
