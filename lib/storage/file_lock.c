/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>

/*
 * Locks are on bytes, and the convention is QEMU's, so that a virtual
 * machine that writes to an origin and we notice each other:
 *
 *   byte 100 + p   held (shared) by who uses permission p
 *   byte 200 + p   held (shared) by who wants nobody else to use it
 *
 * with p = 1 for writing and p = 3 for resizing.  Who wants to begin looks
 * first whether anybody holds the opposite byte.
 *
 *   NO_WRITERS   holds 201 and 203, shared, then looks at 101 and 103: it
 *                keeps QEMU's writers away and lets its readers, and other
 *                holders of NO_WRITERS, in.
 *   EXCLUSIVE    holds the whole file, exclusively: collides with every
 *                lock of anybody.  The system gives that to who may write
 *                only, so with READONLY it is what NO_WRITERS is.
 */

#define QEMU_USES     100
#define QEMU_UNSHARES 200
#define QEMU_WRITE    1
#define QEMU_RESIZE   3

static int in_use(const char *path, struct thin_error *e)
{
	return thin_error_set(e, -EBUSY,
			      "%s: in use by another process; stop that first "
			      "('fuser -v' and 'lslocks' tell who it is)",
			      path);
}

/* @len 0: to the end, wherever that will be. */
static int set_lock(int fd, short type, off_t start, off_t len)
{
	struct flock l = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	int r;

	do
		r = fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
	while (r == -EINTR);
	return r == -EAGAIN || r == -EACCES ? -EBUSY : r;
}

static int held_by_others(int fd, off_t byte, bool *ret)
{
	struct flock l = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	if (fcntl(fd, F_OFD_GETLK, &l))
		return -errno;
	*ret = l.l_type != F_UNLCK;
	return 0;
}

static int lock_against_writers(int fd)
{
	static const off_t permissions[] = {QEMU_WRITE, QEMU_RESIZE};
	bool held;
	int r = 0;

	for (size_t i = 0; i < 2 && !r; i++)
		r = set_lock(fd, F_RDLCK, QEMU_UNSHARES + permissions[i], 1);
	for (size_t i = 0; i < 2 && !r; i++) {
		r = held_by_others(fd, QEMU_USES + permissions[i], &held);
		if (!r && held)
			r = -EBUSY;
	}
	return r;
}

int thin_file_lock(int fd, unsigned flags, const char *path, struct thin_error *e)
{
	int r = 0;

	if ((flags & THIN_STORAGE_EXCLUSIVE) && !(flags & THIN_STORAGE_READONLY))
		r = set_lock(fd, F_WRLCK, 0, 0);
	else if (flags & (THIN_STORAGE_EXCLUSIVE | THIN_STORAGE_NO_WRITERS))
		r = lock_against_writers(fd);
	if (!r)
		return 0;
	if (r == -EBUSY)
		return in_use(path, e);
	/* A writer can be kept away only where the platform can (I6). */
	if (!(flags & THIN_STORAGE_EXCLUSIVE))
		return 0;
	return thin_error_set(e, r,
			      "%s: cannot be locked (%s); use a file system with locks",
			      path, thin_strerror(r));
}
