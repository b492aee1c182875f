/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/uring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/*
 * Regular files and block devices: opening them, and the vtable.
 *
 * A path comes from a person, so it is looked at before it is opened: a
 * FIFO must not block us, a character device must not notice us.
 */

/* Where a file system does not tell what O_DIRECT wants. */
#define DIRECT_ALIGN_GUESS 4096u

static int open_error(const char *path, int r, struct thin_error *e)
{
	switch (r) {
	case -ENOENT:
		return thin_error_set(e, r, "%s: no such file; check the path", path);
	case -EEXIST:
		return thin_error_set(
			e, r, "%s: exists already; remove it or choose another", path);
	case -EBUSY:
		return thin_error_set(e, r,
				      "%s: in use by the system or another process; "
				      "unmount or stop that first",
				      path);
	case -EACCES:
	case -EPERM:
		return thin_error_set(e, r, "%s: %s; check its owner and mode", path,
				      strerrordesc_np(-r));
	case -EROFS:
		return thin_error_set(
			e, r, "%s: is on read-only media; open it read-only", path);
	default:
		return thin_error_set(e, r, "%s: cannot be opened: %s", path,
				      strerrordesc_np(-r));
	}
}

static int check_type(const char *path, mode_t mode, struct thin_error *e)
{
	const char *what = "is neither";
	int r = -EINVAL;

	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	if (S_ISDIR(mode)) {
		what = "is a directory";
		r = -EISDIR;
	} else if (S_ISFIFO(mode)) {
		what = "is a FIFO";
	} else if (S_ISSOCK(mode)) {
		what = "is a socket (an NBD server's is given as "
		       "nbd+unix:///?socket=PATH)";
	} else if (S_ISCHR(mode)) {
		what = "is a character device";
	}
	return thin_error_set(e, r, "%s: %s; a file or a block device is wanted", path,
			      what);
}

static int system_open(const char *path, int oflags)
{
	int fd = open(path, oflags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);

	return fd < 0 ? -errno : fd;
}

/* Make the name of a new file durable. */
static int sync_folder_of(const char *path)
{
	_cleanup_free char *folder = strdup(path);
	_cleanup_close int fd = -1;
	char *slash;

	if (!folder)
		return -ENOMEM;
	slash = strrchr(folder, '/');
	if (slash)
		slash[slash == folder] = '\0';
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* EINVAL: a file system whose folders have nothing to make durable. */
	return fsync(fd) && errno != EINVAL ? -errno : 0;
}

static int create_file(const char *path, int oflags)
{
	int fd = system_open(path, oflags | O_CREAT | O_EXCL);
	int r;

	if (fd < 0)
		return fd;
	r = sync_folder_of(path);
	if (!r)
		return fd;
	(void)close(fd);
	(void)unlink(path); /* as if we had never been here */
	return r;
}

/* A new descriptor, or a negative errno. */
static int open_path(const char *path, unsigned flags, struct thin_error *e)
{
	int oflags = flags & THIN_STORAGE_READONLY ? O_RDONLY : O_RDWR;
	struct stat st;
	int r;

	if (flags & THIN_STORAGE_CREATE) {
		r = create_file(path, oflags);
		if (r >= 0)
			return r;
		if (r != -EEXIST || flags & THIN_STORAGE_NEW)
			return open_error(path, r, e);
	}
	if (stat(path, &st))
		return open_error(path, -errno, e);
	r = check_type(path, st.st_mode, e);
	if (r)
		return r;
	if (S_ISBLK(st.st_mode) && flags & THIN_STORAGE_EXCLUSIVE)
		oflags |= O_EXCL;
	r = system_open(path, oflags);
	return r < 0 ? open_error(path, r, e) : r;
}

/* Is what was opened what was looked at?  And no more non-blocking. */
static int examine(struct thin_file *f, const char *path, struct thin_error *e)
{
	struct stat st;
	int r, sector;

	if (fstat(f->fd, &st))
		return open_error(path, -errno, e);
	r = check_type(path, st.st_mode, e);
	if (r)
		return r;
	if (fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) & ~O_NONBLOCK))
		return open_error(path, -errno, e);
	f->is_block = S_ISBLK(st.st_mode);
	if (!f->is_block)
		return 0;
	if (ioctl(f->fd, BLKSSZGET, &sector))
		return open_error(path, -errno, e);
	f->sector = (uint32_t)sector;
	return 0;
}

static void learn_direct_align(struct thin_file *f)
{
	f->direct_align = f->is_block ? f->sector : DIRECT_ALIGN_GUESS;
	f->direct_mem_align = f->direct_align;
#ifdef STATX_DIOALIGN
	struct statx st;

	if (statx(f->direct_fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) ||
	    !(st.stx_mask & STATX_DIOALIGN) || !st.stx_dio_offset_align)
		return;
	f->direct_align = st.stx_dio_offset_align;
	f->direct_mem_align = st.stx_dio_mem_align;
	/* So that a multiple of the one is a multiple of the other. */
	if (f->direct_align < f->direct_mem_align)
		f->direct_align = f->direct_mem_align;
#endif
}

/* The second descriptor, with O_DIRECT, of the very same file. */
static int open_direct(struct thin_file *f, const char *path, struct thin_error *e)
{
	int oflags = f->base.readonly ? O_RDONLY : O_RDWR;
	struct stat a, b;

	f->direct_fd = open(path, oflags | O_DIRECT | O_CLOEXEC | O_NOCTTY);
	if (f->direct_fd < 0 && errno == EINVAL)
		return thin_error_set(
			e, -ENOTSUP,
			"%s: its file system has no direct I/O; set direct = false",
			path);
	if (f->direct_fd < 0 || fstat(f->fd, &a) || fstat(f->direct_fd, &b))
		return open_error(path, -errno, e);
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return thin_error_set(e, -EBUSY,
				      "%s: was replaced while it was opened; try again",
				      path);
	learn_direct_align(f);
	return 0;
}

static int file_flush(struct thin_storage *s)
{
	int r;

	do
		r = fdatasync(thin_file_of(s)->fd) ? -errno : 0;
	while (r == -EINTR);
	return r;
}

static int file_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	struct thin_file *f = thin_file_of(s);
	struct stat st;

	if (f->is_block)
		return ioctl(f->fd, BLKGETSIZE64, ret_bytes) ? -errno : 0;
	if (fstat(f->fd, &st))
		return -errno;
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static int file_resize(struct thin_storage *s, uint64_t bytes)
{
	struct thin_file *f = thin_file_of(s);
	int r;

	if (f->is_block)
		return -ENOTSUP;
	if (bytes > INT64_MAX)
		return -EFBIG;
	do
		r = ftruncate(f->fd, (off_t)bytes) ? -errno : 0;
	while (r == -EINTR);
	return r;
}

static int64_t in_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/*
 * The inode of a block device is that of a name in /dev, which is made anew
 * at each boot, and its times do not follow what is written: only the size
 * is told.
 */
static int file_identity(struct thin_storage *s, struct thin_identity *ret)
{
	struct thin_file *f = thin_file_of(s);
	struct stat st;

	if (f->is_block)
		return file_size(s, &ret->size);
	if (fstat(f->fd, &st))
		return -errno;
	*ret = (struct thin_identity){
		.size = (uint64_t)st.st_size,
		.inode = st.st_ino,
		.mtime_ns = in_ns(st.st_mtim),
		.ctime_ns = in_ns(st.st_ctim),
	};
	return 0;
}

/* Without io_uring it goes on as before. */
static int file_start(struct thin_storage *s)
{
	struct thin_file *f = thin_file_of(s);

	assert(!f->rings);
	if (f->want_rings)
		f->rings = thin_rings_create();
	return 0;
}

static void file_close(struct thin_storage *s)
{
	struct thin_file *f = thin_file_of(s);

	thin_rings_destroy(f->rings);
	if (f->direct_fd >= 0)
		(void)close(f->direct_fd);
	if (f->fd >= 0)
		(void)close(f->fd);
	thin_sharded_fini(&f->direct_lock);
	free(f);
}

static const struct thin_storage_ops file_ops = {
	.name = "file",
	.read = thin_file_read,
	.write = thin_file_write,
	.zero = thin_file_zero,
	.punch = thin_file_punch,
	.flush = file_flush,
	.size = file_size,
	.resize = file_resize,
	.extents = thin_file_extents,
	.identity = file_identity,
	.start = file_start,
	.close = file_close,
};

static struct thin_file *new_file(unsigned flags)
{
	struct thin_file *f = aligned_alloc(_Alignof(struct thin_file), sizeof(*f));

	if (!f)
		return NULL;
	*f = (struct thin_file){
		.base.ops = &file_ops,
		.base.readonly = flags & THIN_STORAGE_READONLY,
		.fd = -1,
		.direct_fd = -1,
		.want_rings = !(flags & THIN_STORAGE_SYNC),
	};
	thin_sharded_init(&f->direct_lock);
	return f;
}

int thin_storage_open_file(const char *path, unsigned flags, struct thin_storage **ret,
			   struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct thin_file *f = new_file(flags);
	int r;

	assert(!(flags & THIN_STORAGE_READONLY) || !(flags & THIN_STORAGE_CREATE));
	assert(!(flags & THIN_STORAGE_NEW) || flags & THIN_STORAGE_CREATE);
	if (!f)
		return thin_error_set(e, -ENOMEM, "%s: no memory", path);
	s = &f->base;
	f->fd = open_path(path, flags, e);
	if (f->fd < 0)
		return f->fd;
	r = examine(f, path, e);
	if (!r)
		r = thin_file_lock(f->fd, flags, path, e);
	if (!r && flags & THIN_STORAGE_DIRECT)
		r = open_direct(f, path, e);
	if (r)
		return r;
	*ret = thin_steal(s);
	return 0;
}
