/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "util/lock.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define MS UINT64_C(1000000)

static void nap_ms(long ms)
{
	struct timespec t = {.tv_nsec = ms * 1000000};

	nanosleep(&t, NULL);
}

static void run_threads(void *(*fn)(void *), void *arg, int nr)
{
	pthread_t t[32];

	for (int i = 0; i < nr; i++)
		assert_int_equal(pthread_create(&t[i], NULL, fn, arg), 0);
	for (int i = 0; i < nr; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
}

/* Two numbers that only whoever holds a lock alone may see differ. */
struct pair {
	struct thin_mutex mutex;
	struct thin_cond cond;
	struct thin_sharded_lock sharded;
	volatile uint64_t a, b;
	atomic_int readers, together, torn;
};

static void *add_under_mutex(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 5000; i++) {
		thin_mutex_lock(&p->mutex);
		p->a++;
		p->b++;
		thin_mutex_unlock(&p->mutex);
	}
	return NULL;
}

static void mutex_excludes(void **state)
{
	struct pair p = {.a = 0};

	(void)state;
	thin_mutex_init(&p.mutex);
	run_threads(add_under_mutex, &p, 4);
	assert_int_equal(p.a, 20000);
	assert_int_equal(p.b, 20000);
	thin_mutex_fini(&p.mutex);
}

static void wait_ends_at_its_deadline(void **state)
{
	struct pair p = {.a = 0};
	uint64_t begin = thin_now_ns();

	(void)state;
	thin_mutex_init(&p.mutex);
	thin_cond_init(&p.cond);
	thin_mutex_lock(&p.mutex);
	while (thin_cond_wait_until(&p.cond, &p.mutex, begin + 5 * MS))
		;
	thin_mutex_unlock(&p.mutex);
	assert_true(thin_now_ns() - begin >= 5 * MS);
	thin_cond_fini(&p.cond);
	thin_mutex_fini(&p.mutex);
}

static void *wait_for_a(void *arg)
{
	struct pair *p = arg;

	thin_mutex_lock(&p->mutex);
	while (!p->a)
		thin_cond_wait(&p->cond, &p->mutex);
	p->b++;
	thin_mutex_unlock(&p->mutex);
	return NULL;
}

static void broadcast_wakes_all(void **state)
{
	struct pair p = {.a = 0};
	pthread_t t[4];

	(void)state;
	thin_mutex_init(&p.mutex);
	thin_cond_init(&p.cond);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, wait_for_a, &p);
	nap_ms(5);
	thin_mutex_lock(&p.mutex);
	p.a = 1;
	thin_cond_broadcast(&p.cond);
	thin_mutex_unlock(&p.mutex);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(p.b, 4);
	thin_cond_fini(&p.cond);
	thin_mutex_fini(&p.mutex);
}

static struct pair *new_sharded(void)
{
	struct pair *p = aligned_alloc(_Alignof(struct pair), sizeof(*p));

	assert_non_null(p);
	*p = (struct pair){.a = 0};
	thin_sharded_init(&p->sharded);
	return p;
}

static void free_sharded(struct pair *p)
{
	thin_sharded_fini(&p->sharded);
	free(p);
}

static void *read_or_write(void *arg)
{
	struct pair *p = arg;

	for (int i = 0; i < 2000; i++) {
		if (i % 50 == 0) {
			thin_sharded_write(&p->sharded);
			p->a++;
			sched_yield();
			p->b++;
			thin_sharded_write_end(&p->sharded);
		}
		thin_sharded_read(&p->sharded);
		if (p->a != p->b)
			atomic_fetch_add(&p->torn, 1);
		thin_sharded_read_end(&p->sharded);
	}
	return NULL;
}

/* More threads than shards, so that some share one. */
static void sharded_readers_see_whole_writes(void **state)
{
	struct pair *p = new_sharded();

	(void)state;
	run_threads(read_or_write, p, THIN_SHARDS + 4);
	assert_int_equal(p->torn, 0);
	assert_int_equal(p->a, 40 * (THIN_SHARDS + 4));
	free_sharded(p);
}

static void *meet_other_readers(void *arg)
{
	struct pair *p = arg;

	thin_sharded_read(&p->sharded);
	atomic_fetch_add(&p->readers, 1);
	while (p->readers < THIN_SHARDS + 1)
		sched_yield();
	thin_sharded_read_end(&p->sharded);
	return NULL;
}

/* Ends only when all of them are inside at once. */
static void sharded_readers_do_not_exclude_each_other(void **state)
{
	struct pair *p = new_sharded();

	(void)state;
	run_threads(meet_other_readers, p, THIN_SHARDS + 1);
	assert_int_equal(p->readers, THIN_SHARDS + 1);
	free_sharded(p);
}

static void *write_once(void *arg)
{
	struct pair *p = arg;

	thin_sharded_write(&p->sharded);
	p->a = 1;
	thin_sharded_write_end(&p->sharded);
	return NULL;
}

static void sharded_writer_waits_for_a_reader(void **state)
{
	struct pair *p = new_sharded();
	pthread_t t;

	(void)state;
	thin_sharded_read(&p->sharded);
	pthread_create(&t, NULL, write_once, p);
	nap_ms(5);
	assert_int_equal(p->a, 0);
	thin_sharded_read_end(&p->sharded);
	pthread_join(t, NULL);
	assert_int_equal(p->a, 1);
	free_sharded(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mutex_excludes),
		cmocka_unit_test(wait_ends_at_its_deadline),
		cmocka_unit_test(broadcast_wakes_all),
		cmocka_unit_test(sharded_readers_see_whole_writes),
		cmocka_unit_test(sharded_readers_do_not_exclude_each_other),
		cmocka_unit_test(sharded_writer_waits_for_a_reader),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
