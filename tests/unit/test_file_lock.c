/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"

#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RO	   THIN_STORAGE_READONLY
#define EXCLUSIVE  THIN_STORAGE_EXCLUSIVE
#define NO_WRITERS THIN_STORAGE_NO_WRITERS

static struct thin_error error;

/* fcntl() passes through here: a file system may have no locks. */
static int lock_error;

int fcntl(int fd, int command, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (lock_error && command == F_OFD_SETLK) {
		errno = lock_error;
		return -1;
	}
	return (int)syscall(SYS_fcntl, fd, command, arg);
}

static int make_file(void **state)
{
	struct thin_storage *s;

	(void)state;
	if (thin_storage_open_file(scratch("f"), THIN_STORAGE_CREATE, &s, &error))
		return -1;
	thin_storage_close(s);
	return 0;
}

static struct thin_storage *hold(unsigned flags)
{
	struct thin_storage *s = NULL;

	if (thin_storage_open_file(scratch("f"), flags, &s, &error))
		fail_msg("%s", error.text);
	return s;
}

static int try(unsigned flags)
{
	struct thin_storage *s = NULL;
	int r = thin_storage_open_file(scratch("f"), flags, &s, &error);

	thin_storage_close(s);
	return r;
}

/* Who may come while one is there.  Nobody who did not ask is kept out. */
static void table_of_two(void **state)
{
	static const unsigned kinds[] = {
		EXCLUSIVE, RO | EXCLUSIVE, NO_WRITERS, RO | NO_WRITERS, 0, RO,
	};
	static const char *const allowed[] = {
		"....xx", ".xxxxx", ".xxxxx", ".xxxxx", "xxxxxx", "xxxxxx",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct thin_storage *s = hold(kinds[i]);

		for (size_t j = 0; j < ARRAY_LEN(kinds); j++) {
			int r = try(kinds[j]);

			if (r != (allowed[i][j] == 'x' ? 0 : -EBUSY))
				fail_msg("%zu then %zu: %d", i, j, r);
		}
		thin_storage_close(s);
		assert_int_equal(try(EXCLUSIVE), 0);
	}
}

static void message_says_what_to_do(void **state)
{
	struct thin_storage *s = hold(EXCLUSIVE);

	(void)state;
	assert_int_equal(try(EXCLUSIVE), -EBUSY);
	assert_has(error.text, scratch("f"));
	assert_has(error.text, "in use");
	assert_has(error.text, "lslocks");
	thin_storage_close(s);
}

/* An owner must be alone for certain; a reader is content with what he gets. */
static void file_system_without_locks(void **state)
{
	(void)state;
	lock_error = ENOLCK;
	assert_int_equal(try(EXCLUSIVE), -ENOLCK);
	assert_has(error.text, "use a file system with locks");
	assert_int_equal(try(RO | EXCLUSIVE), -ENOLCK);
	assert_int_equal(try(RO | NO_WRITERS), 0);
	lock_error = 0;
}

/* The server forks after it has locked; its parent ends. */
static void lock_survives_a_fork(void **state)
{
	struct thin_storage *s = hold(EXCLUSIVE);
	int to_child[2], status;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe(to_child), 0);
	pid = fork();
	if (!pid) {
		close(to_child[1]);
		_exit(read(to_child[0], &c, 1) != 0);
	}
	close(to_child[0]);
	thin_storage_close(s);
	assert_int_equal(try(EXCLUSIVE), -EBUSY);
	close(to_child[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(try(EXCLUSIVE), 0);
}

/* A program as QEMU: it uses, and keeps others from using, permissions. */
struct qemu {
	int fd;
};

static struct qemu qemu_start(void)
{
	return (struct qemu){open(scratch("f"), O_RDWR | O_CLOEXEC)};
}

static void qemu_lock(const struct qemu *q, off_t byte)
{
	struct flock l = {.l_type = F_RDLCK, .l_start = byte, .l_len = 1};

	assert_int_equal(fcntl(q->fd, F_OFD_SETLK, &l), 0);
}

static bool qemu_sees(const struct qemu *q, off_t byte)
{
	struct flock l = {.l_type = F_WRLCK, .l_start = byte, .l_len = 1};

	assert_int_equal(fcntl(q->fd, F_OFD_GETLK, &l), 0);
	return l.l_type != F_UNLCK;
}

static void qemu_writer_is_noticed(void **state)
{
	static const off_t uses[] = {101, 103};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
		struct qemu q = qemu_start();

		qemu_lock(&q, uses[i]);
		assert_int_equal(try(RO | NO_WRITERS), -EBUSY);
		assert_int_equal(try(EXCLUSIVE), -EBUSY);
		assert_int_equal(try(RO), 0);
		close(q.fd);
		assert_int_equal(try(RO | NO_WRITERS), 0);
	}
}

/* One that reads (100) and wants no writers (201) and resizers (203). */
static void qemu_reader_is_let_be(void **state)
{
	struct qemu q = qemu_start();

	(void)state;
	qemu_lock(&q, 100);
	qemu_lock(&q, 201);
	qemu_lock(&q, 203);
	assert_int_equal(try(RO | NO_WRITERS), 0);
	assert_int_equal(try(EXCLUSIVE), -EBUSY);
	close(q.fd);
}

static void qemu_sees_us(void **state)
{
	struct qemu q = qemu_start();
	struct thin_storage *s = hold(RO | NO_WRITERS);

	(void)state;
	assert_true(qemu_sees(&q, 201)); /* so a writer gives up */
	assert_true(qemu_sees(&q, 203));
	for (off_t byte = 100; byte <= 104; byte++) /* and a reader does not */
		assert_false(qemu_sees(&q, byte));
	assert_false(qemu_sees(&q, 200));
	thin_storage_close(s);
	s = hold(EXCLUSIVE);
	for (off_t byte = 100; byte <= 104; byte++)
		assert_true(qemu_sees(&q, byte) && qemu_sees(&q, byte + 100));
	thin_storage_close(s);
	close(q.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(table_of_two, make_file),
		cmocka_unit_test_setup(message_says_what_to_do, make_file),
		cmocka_unit_test_setup(file_system_without_locks, make_file),
		cmocka_unit_test_setup(lock_survives_a_fork, make_file),
		cmocka_unit_test_setup(qemu_writer_is_noticed, make_file),
		cmocka_unit_test_setup(qemu_reader_is_let_be, make_file),
		cmocka_unit_test_setup(qemu_sees_us, make_file),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
