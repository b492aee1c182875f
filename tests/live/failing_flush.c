/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loaded before the C library: while the file $FAILING_FLUSH is there, flushes of
 * the file $FAILING_FILE fail, as they do once when a disk has lost a write.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

static bool fails(int fd)
{
	const char *when = getenv("FAILING_FLUSH"), *what = getenv("FAILING_FILE");
	struct stat a, b;

	return when && what && !access(when, F_OK) && !fstat(fd, &a) && !stat(what, &b) &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int flush(int fd, const char *name)
{
	int (*real)(int fd) = (int (*)(int))dlsym(RTLD_NEXT, name);

	if (fails(fd)) {
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
