/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/file.h"

#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

/*
 * Space: zeroing and giving back without writing, and what is there.
 *
 * The system has two interfaces.  fallocate() works on bytes, and on
 * whatever file system knows the mode; the ioctls of block devices work on
 * whole sectors.
 */

/* How far to step where a hole moves while we look at it. */
#define EXTENT_STEP UINT64_C(4096)

/* "Can not" is EOPNOTSUPP, which is ENOTSUP, or the call is not there. */
static int allocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	int r;

	do
		r = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len)
			    ? -errno
			    : 0;
	while (r == -EINTR);
	return r == -ENOSYS ? -ENOTSUP : r;
}

static int device_range(int fd, unsigned long request, uint64_t offset, uint64_t len)
{
	uint64_t range[2] = {offset, len};
	int r;

	do
		r = ioctl(fd, request, range) ? -errno : 0;
	while (r == -EINTR);
	return r == -ENOTTY ? -ENOTSUP : r;
}

int thin_file_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct thin_file *f = thin_file_of(s);

	if (!f->is_block)
		return allocate(f->fd, FALLOC_FL_ZERO_RANGE, offset, len);
	if (offset % f->sector || len % f->sector)
		return -ENOTSUP;
	return device_range(f->fd, BLKZEROOUT, offset, len);
}

int thin_file_allocate(struct thin_storage *s, uint64_t bytes)
{
	int r = allocate(thin_file_of(s)->fd, 0, 0, bytes);

	atomic_fetch_add(&s->changes, 1);
	return r;
}

int thin_file_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct thin_file *f = thin_file_of(s);
	uint64_t first, last;

	if (!f->is_block)
		return allocate(f->fd, FALLOC_FL_PUNCH_HOLE, offset, len);
	first = thin_div_up(offset, f->sector) * f->sector;
	last = (offset + len) / f->sector * f->sector;
	return first < last ? device_range(f->fd, BLKDISCARD, first, last - first) : 0;
}

/*
 * Where from @offset on the next data or hole begins (@whence says which),
 * at most @end.  The descriptor's own position is moved too; nobody uses it.
 */
static int seek(int fd, int whence, uint64_t offset, uint64_t end, uint64_t *ret)
{
	off_t at = lseek(fd, (off_t)offset, whence);

	if (at < 0 && errno != ENXIO)
		return -errno;
	*ret = at < 0 ? end : thin_min((uint64_t)at, end);
	return 0;
}

/* One hole and the data behind it; either may be empty, but not both. */
static int next_pair(int fd, uint64_t offset, uint64_t end, uint64_t *ret_data,
		     uint64_t *ret_hole)
{
	uint64_t data = offset, hole = end;
	int r = seek(fd, SEEK_DATA, offset, end, &data);

	if (!r && data < end)
		r = seek(fd, SEEK_HOLE, data, end, &hole);
	if (r)
		return r;
	/* Punched between the two calls: call it data, that is never wrong. */
	if (hole <= data && data < end)
		hole = thin_min(data + EXTENT_STEP, end);
	*ret_data = data;
	*ret_hole = hole;
	return 0;
}

int thin_file_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
		      thin_extent_fn *fn, void *ctx)
{
	struct thin_file *f = thin_file_of(s);
	uint64_t end = offset + len;
	int r = 0;

	while (offset < end && !r) {
		uint64_t data = offset, hole = end;

		/* A block device, or a file system that does not tell. */
		if (f->is_block || next_pair(f->fd, offset, end, &data, &hole))
			return fn(ctx, offset, end - offset, THIN_EXTENT_DATA);
		if (data > offset)
			r = fn(ctx, offset, data - offset, THIN_EXTENT_ZERO);
		if (!r && hole > data)
			r = fn(ctx, data, hole - data, THIN_EXTENT_DATA);
		offset = hole;
	}
	return r;
}
