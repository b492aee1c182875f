/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"

#include "registry/pool_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static struct thin_error error;

static struct thin_pool_lock *take(const char *command)
{
	struct thin_pool_lock *lock;

	if (thin_pool_lock_take(scratch_dir, command, &lock, &error))
		fail_msg("%s", error.text);
	return lock;
}

static int try(void)
{
	struct thin_pool_lock *lock;
	int r = thin_pool_lock_take(scratch_dir, "another", &lock, &error);

	if (!r)
		thin_pool_lock_release(lock);
	return r;
}

static void assert_owner(pid_t pid, const char *command)
{
	char host[256] = "", who[600];

	assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
	snprintf(who, sizeof(who), "the pool is open in process %d on %s (%s)", (int)pid,
		 host, command);
	assert_int_equal(try(), -EBUSY);
	assert_has(error.text, who);
	assert_has(error.text, scratch_dir);
}

static void held_and_released(void **state)
{
	struct thin_pool_lock *lock = take("nbdkit");

	(void)state;
	assert_owner(getpid(), "nbdkit");
	thin_pool_lock_release(lock);
	assert_int_equal(try(), 0);
	thin_pool_lock_release(NULL);
}

/* One that was killed leaves its name, but not the lock. */
static void gone_with_its_owner(void **state)
{
	int ready[2];
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct thin_pool_lock *lock;

		if (thin_pool_lock_take(scratch_dir, "child \"x\"", &lock, NULL) ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		pause();
		_exit(2);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_owner(pid, "child \"x\"");
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(try(), 0);
	assert_int_equal(close(ready[0]) | close(ready[1]), 0);
}

/* As nbdkit does: the process that took it forks, and ends. */
static void survives_a_fork(void **state)
{
	int ready[2], end[2];
	char byte;
	pid_t first, second;

	(void)state;
	assert_int_equal(pipe(ready) | pipe(end), 0);
	first = fork();
	if (!first) {
		struct thin_pool_lock *lock = take("server");

		second = fork();
		if (second) { /* the parent's end must not let go */
			thin_pool_lock_release(NULL);
			_exit(0);
		}
		second = getpid();
		if (thin_pool_lock_refresh(lock, NULL) ||
		    write(ready[1], &second, sizeof(second)) != sizeof(second))
			_exit(1);
		(void)close(end[1]);
		if (read(end[0], &byte, 1) != 0)
			_exit(1);
		thin_pool_lock_release(lock);
		_exit(0);
	}
	assert_int_equal(waitpid(first, NULL, 0), first);
	assert_int_equal(read(ready[0], &second, sizeof(second)), sizeof(second));
	assert_int_not_equal(first, second);
	assert_owner(second, "server");

	assert_int_equal(close(end[1]), 0);
	assert_int_equal(close(ready[1]), 0);
	/* It ends some time: then nobody has the other end of the pipe. */
	assert_int_equal(read(ready[0], &byte, 1), 0);
	assert_int_equal(try(), 0);
	assert_int_equal(close(ready[0]) | close(end[0]), 0);
}

/* A copy that lets go takes neither the lock nor the name away. */
static void a_copys_release_changes_nothing(void **state)
{
	struct thin_pool_lock *lock = take("server");
	pid_t child = fork();

	(void)state;
	if (!child) {
		thin_pool_lock_release(lock);
		_exit(0);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_owner(getpid(), "server");
	thin_pool_lock_release(lock);
}

/* What the file says may be anything: it only gets into a message. */
static void damaged_record(void **state)
{
	static const char *const texts[] = {
		"", "pid = ", "pid = 1;", "\n\n@include \"x\"",
		"pid = 5; host = \"a\\nb\"; command = \"c\";"};
	struct thin_pool_lock *lock = take("server");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		int fd = open(scratch(THIN_POOL_LOCK), O_WRONLY | O_TRUNC);

		assert_true(write(fd, texts[i], strlen(texts[i])) >= 0);
		assert_int_equal(close(fd), 0);
		assert_int_equal(try(), -EBUSY);
		assert_has(error.text,
			   i == 4 ? "process 5 on a?b (c)" : "another process");
	}
	thin_pool_lock_release(lock);
}

static void refused(void **state)
{
	struct thin_pool_lock *lock;

	(void)state;
	assert_int_equal(thin_pool_lock_take(scratch("none"), "x", &lock, &error),
			 -ENOENT);
	assert_has(error.text, "none");
	assert_int_equal(mkdir(scratch("sub"), 0700), 0);
	assert_int_equal(symlink("/dev/null", scratch("sub/lock")), 0);
	assert_int_equal(thin_pool_lock_take(scratch("sub"), "x", &lock, &error), -ELOOP);
}

static void others_can_not_read_it(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(try(), 0);
	assert_int_equal(stat(scratch(THIN_POOL_LOCK), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(held_and_released),
		cmocka_unit_test(gone_with_its_owner),
		cmocka_unit_test(survives_a_fork),
		cmocka_unit_test(a_copys_release_changes_nothing),
		cmocka_unit_test(damaged_record),
		cmocka_unit_test(refused),
		cmocka_unit_test(others_can_not_read_it),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
