/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loaded before the C library.  Of the file $FAILING_FILE
 *
 *   - flushes fail while the file $FAILING_FLUSH is there, as they do once when a
 *     disk has lost a write;
 *   - writes fail while the file $FAILING_WRITES is there, from the byte on whose
 *     number it holds;
 *   - writes wait while the file $WAITING_WRITES is there, which has no content, and
 *     is given some to say that one does.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

static bool is_the_file(int fd)
{
	const char *what = getenv("FAILING_FILE");
	struct stat a, b;

	return what && !fstat(fd, &a) && !stat(what, &b) && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int flush(int fd, const char *name)
{
	int (*real)(int fd) = (int (*)(int))dlsym(RTLD_NEXT, name);
	const char *when = getenv("FAILING_FLUSH");

	if (when && !access(when, F_OK) && is_the_file(fd)) {
		errno = EIO;
		return -1;
	}
	return real(fd);
}

EXPORTED int fsync(int fd)
{
	return flush(fd, "fsync");
}

EXPORTED int fdatasync(int fd)
{
	return flush(fd, "fdatasync");
}

/* From which byte on; none where there is no such file. */
static bool failing_from(off_t *ret)
{
	const char *when = getenv("FAILING_WRITES");
	FILE *f = when ? fopen(when, "re") : NULL;
	long from = 0;
	bool fails;

	if (!f)
		return false;
	fails = fscanf(f, "%ld", &from) == 1;
	(void)fclose(f);
	*ret = from;
	return fails;
}

static void wait_for_leave(int fd)
{
	const char *when = getenv("WAITING_WRITES");

	while (when && !access(when, F_OK) && is_the_file(fd)) {
		(void)truncate(when, 1);
		(void)usleep(2000);
	}
}

EXPORTED ssize_t pwritev(int fd, const struct iovec *iov, int nr, off_t offset)
{
	ssize_t (*real)(int, const struct iovec *, int, off_t) =
		(ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT,
									 "pwritev");
	off_t from;

	wait_for_leave(fd);
	if (failing_from(&from) && offset >= from && is_the_file(fd)) {
		errno = EIO;
		return -1;
	}
	return real(fd, iov, nr, offset);
}
