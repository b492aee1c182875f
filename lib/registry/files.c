/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A folder of the system.  It is opened once; everything in it is reached
 * through that descriptor.
 */
#include "registry/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * All that others write to the same file system is waited for by a sync of all:
 * that is worth it only where the files are very many.
 */
#define MANY 200

struct folder {
	struct thin_files files;
	int fd;
	char *path;
};

static int folder_fd(struct thin_files *f)
{
	return ((struct folder *)f)->fd;
}

static int write_all(int fd, const char *text, size_t len, size_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, text, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		offset += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int thin_give_to_owner(int folder, int fd)
{
	struct stat st;

	if (geteuid() != 0)
		return 0;
	if (fstat(folder, &st) || fchown(fd, st.st_uid, st.st_gid))
		return -errno;
	return 0;
}

static int folder_write(struct thin_files *f, const char *name, const char *text,
			size_t len)
{
	int dir = folder_fd(f);
	_cleanup_close int fd = -1;
	int r;

	/* Nothing that is there already is written to: it may be linked. */
	if (unlinkat(dir, name, 0) && errno != ENOENT)
		return -errno;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return -errno;
	r = thin_give_to_owner(dir, fd);
	if (r)
		return r;
	return write_all(fd, text, len, 0);
}

static int folder_overwrite(struct thin_files *f, const char *name, size_t offset,
			    const char *text, size_t len)
{
	_cleanup_close int fd =
		openat(folder_fd(f), name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : write_all(fd, text, len, offset);
}

static int folder_sync(struct thin_files *f, const char *name)
{
	_cleanup_close int fd =
		openat(folder_fd(f), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return -errno;
	return 0;
}

/* Of the whole file system, which is what the system has for many files. */
static int folder_sync_all(struct thin_files *f)
{
	return syncfs(folder_fd(f)) ? -errno : 0;
}

static int folder_rename(struct thin_files *f, const char *from, const char *to)
{
	return renameat(folder_fd(f), from, folder_fd(f), to) ? -errno : 0;
}

static int folder_unlink(struct thin_files *f, const char *name)
{
	return unlinkat(folder_fd(f), name, 0) ? -errno : 0;
}

static int folder_sync_folder(struct thin_files *f)
{
	return fsync(folder_fd(f)) ? -errno : 0;
}

static int list_entries(DIR *dir, thin_files_fn *fn, void *ctx)
{
	for (;;) {
		struct dirent *d;
		int r;

		errno = 0;
		d = readdir(dir);
		if (!d)
			return -errno;
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		r = fn(ctx, d->d_name);
		if (r)
			return r;
	}
}

static int folder_list(struct thin_files *f, thin_files_fn *fn, void *ctx)
{
	/* Another descriptor: one that is read from has a position. */
	int fd = openat(folder_fd(f), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir;
	int r;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	r = list_entries(dir, fn, ctx);
	(void)closedir(dir);
	return r;
}

static int read_all(int fd, size_t max, char **ret_text, size_t *ret_len)
{
	_cleanup_free char *text = NULL;
	size_t room, len = 0;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	room = (size_t)st.st_size + 1;
	text = malloc(room);
	if (!text)
		return -ENOMEM;
	while (len < room - 1) {
		ssize_t n = read(fd, text + len, room - 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	*ret_text = thin_steal(text);
	*ret_len = len;
	return 0;
}

static int folder_read(struct thin_files *f, const char *name, size_t max,
		       char **ret_text, size_t *ret_len)
{
	/* O_NONBLOCK: it may be a FIFO. */
	_cleanup_close int fd = openat(folder_fd(f), name,
				       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return read_all(fd, max, ret_text, ret_len);
}

static void folder_close(struct thin_files *f)
{
	struct folder *folder = (struct folder *)f;

	if (folder->fd >= 0)
		(void)close(folder->fd);
	free(folder->path);
	free(folder);
}

static const struct thin_files_ops folder_ops = {
	.write = folder_write,
	.overwrite = folder_overwrite,
	.sync = folder_sync,
	.sync_all = folder_sync_all,
	.rename = folder_rename,
	.unlink = folder_unlink,
	.sync_folder = folder_sync_folder,
	.list = folder_list,
	.read = folder_read,
	.close = folder_close,
};

/* Make @path a folder, and its name durable. */
static int make_folder(const char *path)
{
	_cleanup_free char *copy = strdup(path);
	_cleanup_close int parent = -1, fd = -1;
	int r;

	if (!copy)
		return -ENOMEM;
	if (mkdir(path, 0700))
		return errno == EEXIST ? 0 : -errno;
	parent = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent < 0 || fd < 0)
		return -errno;
	r = thin_give_to_owner(parent, fd);
	if (r)
		return r;
	return fsync(parent) ? -errno : 0;
}

int thin_files_open(const char *path, unsigned flags, struct thin_files **ret,
		    struct thin_error *e)
{
	_cleanup_files struct thin_files *f = NULL;
	struct folder *folder = calloc(1, sizeof(*folder));
	int r = 0;

	if (!folder)
		return -ENOMEM;
	f = &folder->files;
	f->ops = &folder_ops;
	folder->fd = -1;
	folder->path = strdup(path);
	if (!folder->path)
		return -ENOMEM;
	f->where = folder->path;
	f->many = MANY;

	if (flags & THIN_FILES_CREATE)
		r = make_folder(path);
	if (!r) {
		folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = folder->fd < 0 ? -errno : 0;
	}
	if (r)
		return thin_error_set(e, r, "cannot open folder %s: %s", path,
				      strerrordesc_np(-r));
	*ret = thin_steal(f);
	return 0;
}

void thin_files_close(struct thin_files *f)
{
	if (f)
		f->ops->close(f);
}
