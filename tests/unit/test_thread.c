/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "util/thread.h"

#include <signal.h>

/* What a thread finds when it begins. */
struct found {
	sigset_t blocked;
	char name[16];
	pthread_barrier_t named;
};

static void *look(void *arg)
{
	struct found *f = arg;

	(void)pthread_barrier_wait(&f->named);
	(void)pthread_sigmask(SIG_BLOCK, NULL, &f->blocked);
	(void)pthread_getname_np(pthread_self(), f->name, sizeof(f->name));
	return NULL;
}

static void test_start(void **state)
{
	const int taken[] = {SIGTERM, SIGINT, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE};
	struct found f = {.name = ""};
	sigset_t mine;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_barrier_init(&f.named, NULL, 2), 0);
	assert_int_equal(thin_thread_start(&thread, "thin-test", look, &f), 0);
	(void)pthread_barrier_wait(&f.named);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(f.name, "thin-test");
	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mine), 0);
	for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
		assert_int_equal(sigismember(&f.blocked, taken[i]), 1);
		assert_int_equal(sigismember(&mine, taken[i]), 0);
	}
	(void)pthread_barrier_destroy(&f.named);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
