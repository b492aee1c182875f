/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"

#include "storage/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#define CREATE THIN_STORAGE_CREATE

static struct thin_error error;

/* open() passes through here: what happens when O_DIRECT is asked for. */
static enum {
	AS_EVER,
	REFUSED,
	REPLACED
} direct;

int open(const char *path, int flags, ...)
{
	mode_t mode;
	va_list ap;

	va_start(ap, flags);
	mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (flags & O_DIRECT && direct == REFUSED) {
		errno = EINVAL;
		return -1;
	}
	if (flags & O_DIRECT && direct == REPLACED)
		assert_int_equal(rename(scratch("other"), path), 0);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static struct thin_storage *open_ok(const char *name, unsigned flags)
{
	struct thin_storage *s = NULL;

	if (thin_storage_open(scratch(name), flags, &s, &error))
		fail_msg("%s", error.text);
	return s;
}

/* Fails with @err, in words that name the path and hold @word. */
static void open_fails(const char *path, unsigned flags, int err, const char *word)
{
	struct thin_storage *s = NULL;

	memset(&error, 0, sizeof(error));
	assert_int_equal(thin_storage_open_file(path, flags, &s, &error), err);
	assert_null(s);
	assert_has(error.text, path);
	assert_has(error.text, word);
	assert_int_equal(thin_storage_open_file(path, flags, &s, NULL), err);
}

static void touch(const char *name)
{
	int fd = open(scratch(name), O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* --- opening ----------------------------------------------------------- */

static void create_makes_an_empty_private_file(void **state)
{
	struct stat st;
	uint64_t size;
	mode_t mask = umask(0);
	struct thin_storage *s = open_ok("new", CREATE);

	(void)state;
	umask(mask);
	assert_int_equal(thin_storage_size(s, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(stat(scratch("new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	thin_storage_close(s);
}

static void create_takes_what_is_there(void **state)
{
	struct thin_storage *s = open_ok("kept", CREATE);
	char b[4];

	(void)state;
	assert_int_equal(thin_storage_resize(s, 4), 0);
	assert_int_equal(thin_storage_write_at(s, 0, "abcd", 4), 0);
	thin_storage_close(s);
	s = open_ok("kept", CREATE);
	assert_int_equal(thin_storage_read_at(s, 0, b, 4), 0);
	assert_memory_equal(b, "abcd", 4);
	thin_storage_close(s);
	open_fails(scratch("kept"), CREATE | THIN_STORAGE_NEW, -EEXIST, "exists");
}

static void new_makes_it(void **state)
{
	(void)state;
	thin_storage_close(open_ok("brand-new", CREATE | THIN_STORAGE_NEW));
	open_fails(scratch("brand-new"), CREATE | THIN_STORAGE_NEW, -EEXIST, "exists");
}

static void missing_files_and_folders(void **state)
{
	(void)state;
	open_fails(scratch("missing"), 0, -ENOENT, "no such file");
	open_fails(scratch("no/folder"), CREATE, -ENOENT, "no such file");
	touch("plain");
	open_fails(scratch("plain/below"), 0, -ENOTDIR, "Not a directory");
	open_fails("", 0, -ENOENT, "no such file");
}

static void folder_is_named_as_such(void **state)
{
	(void)state;
	open_fails(scratch_dir, 0, -EISDIR, "directory");
	open_fails(scratch_dir, THIN_STORAGE_READONLY, -EISDIR, "directory");
	open_fails(scratch_dir, CREATE, -EISDIR, "directory");
}

/* Opened naively, for reading or for writing, it would wait for ever. */
static void fifo_does_not_block(void **state)
{
	(void)state;
	assert_int_equal(mkfifo(scratch("fifo"), 0600), 0);
	alarm(5);
	open_fails(scratch("fifo"), 0, -EINVAL, "FIFO");
	open_fails(scratch("fifo"), THIN_STORAGE_READONLY, -EINVAL, "FIFO");
	alarm(0);
}

static void character_device(void **state)
{
	(void)state;
	open_fails("/dev/null", 0, -EINVAL, "character device");
}

static void socket_tells_of_the_uri(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", scratch("sock"));
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	open_fails(scratch("sock"), 0, -EINVAL, "nbd+unix:///?socket=");
	close(fd);
}

/* Root may do all: be somebody else for a moment. */
static void permission(void **state)
{
	uid_t me = geteuid();

	(void)state;
	touch("closed");
	assert_int_equal(chmod(scratch("closed"), 0), 0);
	assert_int_equal(me ? 0 : seteuid(65534), 0);
	open_fails(scratch("closed"), 0, -EACCES, "owner and mode");
	assert_int_equal(seteuid(me), 0);
}

static void control_characters_stay_out_of_messages(void **state)
{
	struct thin_storage *s;

	(void)state;
	assert_int_equal(thin_storage_open_file("/x\n\033[1m", 0, &s, &error), -ENOENT);
	assert_has(error.text, "/x??[1m");
}

static void failures_leave_no_descriptor(void **state)
{
	int before = open_descriptors();

	(void)state;
	folder_is_named_as_such(NULL);
	open_fails("/dev/null", THIN_STORAGE_DIRECT, -EINVAL, "character");
	assert_int_equal(open_descriptors(), before);
}

static void descriptors_close_on_exec(void **state)
{
	int before = open_descriptors();
	struct thin_storage *s = open_ok("exec", CREATE);

	(void)state;
	for (int fd = 3; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);
		char link[64], to[300] = "";

		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if (flags >= 0 && readlink(link, to, sizeof(to) - 1) > 0 &&
		    !strcmp(to, scratch("exec")))
			assert_int_equal(flags & FD_CLOEXEC, FD_CLOEXEC);
	}
	assert_true(open_descriptors() > before);
	thin_storage_close(s);
	assert_int_equal(open_descriptors(), before);
}

static void file_system_without_direct_io(void **state)
{
	(void)state;
	touch("direct");
	direct = REFUSED;
	open_fails(scratch("direct"), THIN_STORAGE_DIRECT, -ENOTSUP, "direct = false");
	direct = AS_EVER;
}

/* The two descriptors of a file are never of two files. */
static void replaced_between_two_opens(void **state)
{
	struct thin_storage *s = NULL;

	(void)state;
	touch("direct");
	touch("other");
	direct = REPLACED;
	assert_int_equal(
		thin_storage_open(scratch("direct"), THIN_STORAGE_DIRECT, &s, &error),
		-EBUSY);
	direct = AS_EVER;
	assert_has(error.text, "replaced");
	assert_null(s);
}

static void readonly_is_refused_underneath_too(void **state)
{
	struct thin_storage *s;

	(void)state;
	touch("ro");
	s = open_ok("ro", THIN_STORAGE_READONLY);
	assert_int_equal(thin_storage_resize(s, 10), -EROFS);
	assert_int_equal(thin_storage_write_at(s, 0, "", 0), -EROFS);
	assert_int_equal(thin_storage_flush(s), 0);
	/* The descriptor itself can not write either. */
	s->readonly = false;
	assert_int_not_equal(thin_storage_resize(s, 10), 0);
	thin_storage_close(s);
}

static void uris_are_told_from_paths(void **state)
{
	(void)state;
	assert_true(thin_storage_is_uri("nbd://host/export"));
	assert_true(thin_storage_is_uri("nbds://host"));
	assert_true(thin_storage_is_uri("nbd+unix:///?socket=/x"));
	assert_true(thin_storage_is_uri("NBDS+UNIX:///x?socket=/x"));
	assert_false(thin_storage_is_uri("nbd"));
	assert_false(thin_storage_is_uri("nbd:/"));
	assert_false(thin_storage_is_uri("./nbd://x"));
	assert_false(thin_storage_is_uri("http://host/"));
	assert_false(thin_storage_is_uri(""));
}

/* --- size and identity ------------------------------------------------- */

static void resize_grows_with_zeros_and_cuts(void **state)
{
	struct thin_storage *s = open_ok("sized", CREATE);
	uint8_t b[100], zeros[100] = {0};
	struct stat st;

	(void)state;
	assert_int_equal(thin_storage_resize(s, 100), 0);
	assert_int_equal(thin_storage_read_at(s, 0, b, 100), 0);
	assert_memory_equal(b, zeros, 100);
	memset(b, 1, 100);
	assert_int_equal(thin_storage_write_at(s, 0, b, 100), 0);
	assert_int_equal(thin_storage_resize(s, 10), 0);
	assert_int_equal(thin_storage_read_at(s, 5, b, 6), -EIO);
	assert_int_equal(thin_storage_resize(s, 100), 0);
	assert_int_equal(thin_storage_read_at(s, 10, b, 90), 0);
	assert_memory_equal(b, zeros, 90);
	assert_int_equal(stat(scratch("sized"), &st), 0);
	assert_int_equal(st.st_size, 100);
	assert_int_equal(thin_storage_resize(s, UINT64_MAX), -EFBIG);
	thin_storage_close(s);
}

/* Shrunk by somebody else: an error, not the memory that was there. */
static void vanished_end_is_eio(void **state)
{
	struct thin_storage *s = open_ok("cut", CREATE);
	uint8_t b[100];

	(void)state;
	assert_int_equal(thin_storage_resize(s, 100), 0);
	assert_int_equal(thin_storage_read_at(s, 0, b, 100), 0);
	assert_int_equal(truncate(scratch("cut"), 50), 0);
	assert_int_equal(thin_storage_read_at(s, 0, b, 100), -EIO);
	assert_int_equal(thin_storage_read_at(s, 0, b, 50), 0);
	thin_storage_close(s);
}

static struct thin_identity identity_of(struct thin_storage *s)
{
	struct thin_identity id;

	assert_int_equal(thin_storage_identity(s, &id), 0);
	return id;
}

static void identity_is_what_stat_says(void **state)
{
	struct thin_storage *s = open_ok("id", CREATE);
	struct thin_identity id;
	struct stat st;

	(void)state;
	assert_int_equal(thin_storage_resize(s, 12345), 0);
	id = identity_of(s);
	assert_int_equal(stat(scratch("id"), &st), 0);
	assert_true(id.size == 12345 && id.inode == st.st_ino);
	assert_true(id.mtime_ns == st.st_mtim.tv_sec * 1000000000L + st.st_mtim.tv_nsec);
	assert_true(id.ctime_ns == st.st_ctim.tv_sec * 1000000000L + st.st_ctim.tv_nsec);
	thin_storage_close(s);
}

/* I6: written in place and touched back, the change time still tells. */
static void identity_sees_a_restored_mtime(void **state)
{
	struct thin_storage *s = open_ok("touched", CREATE);
	struct thin_identity before, after;
	struct timespec times[2] = {0}, nap = {.tv_nsec = 20000000};

	(void)state;
	assert_int_equal(thin_storage_resize(s, 10), 0);
	before = identity_of(s);
	nanosleep(&nap, NULL); /* longer than the clock tick of a file system */
	assert_int_equal(thin_storage_write_at(s, 0, "x", 1), 0);
	times[1].tv_sec = before.mtime_ns / 1000000000;
	times[1].tv_nsec = before.mtime_ns % 1000000000;
	assert_int_equal(utimensat(AT_FDCWD, scratch("touched"), times, 0), 0);
	after = identity_of(s);
	assert_true(after.mtime_ns == before.mtime_ns);
	assert_true(after.ctime_ns > before.ctime_ns);
	thin_storage_close(s);
}

/* I6: another file under the same name. */
static void identity_sees_a_replacement(void **state)
{
	struct thin_storage *a = open_ok("a", CREATE), *b = open_ok("b", CREATE), *c;

	(void)state;
	assert_int_equal(rename(scratch("b"), scratch("a")), 0);
	c = open_ok("a", 0);
	assert_true(identity_of(a).inode != identity_of(c).inode);
	assert_true(identity_of(b).inode == identity_of(c).inode);
	thin_storage_close(a);
	thin_storage_close(b);
	thin_storage_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_makes_an_empty_private_file),
		cmocka_unit_test(create_takes_what_is_there),
		cmocka_unit_test(new_makes_it),
		cmocka_unit_test(missing_files_and_folders),
		cmocka_unit_test(folder_is_named_as_such),
		cmocka_unit_test(fifo_does_not_block),
		cmocka_unit_test(character_device),
		cmocka_unit_test(socket_tells_of_the_uri),
		cmocka_unit_test(permission),
		cmocka_unit_test(control_characters_stay_out_of_messages),
		cmocka_unit_test(failures_leave_no_descriptor),
		cmocka_unit_test(descriptors_close_on_exec),
		cmocka_unit_test(file_system_without_direct_io),
		cmocka_unit_test(replaced_between_two_opens),
		cmocka_unit_test(readonly_is_refused_underneath_too),
		cmocka_unit_test(uris_are_told_from_paths),
		cmocka_unit_test(resize_grows_with_zeros_and_cuts),
		cmocka_unit_test(vanished_end_is_eio),
		cmocka_unit_test(identity_is_what_stat_says),
		cmocka_unit_test(identity_sees_a_restored_mtime),
		cmocka_unit_test(identity_sees_a_replacement),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
