/* SPDX-License-Identifier: BSD-3-Clause */
#include "disk.h"

#include "recorder.h"
#include "util/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct disk *to_disk(struct thin_storage *s)
{
	return (struct disk *)s;
}

static int disk_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		memcpy(seg[i].buf, to_disk(s)->bytes + seg[i].offset, seg[i].len);
	return 0;
}

static int disk_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	to_disk(s)->changes++;
	for (size_t i = 0; i < nr; i++)
		memcpy(to_disk(s)->bytes + seg[i].offset, seg[i].buf, seg[i].len);
	return 0;
}

static int disk_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	to_disk(s)->changes++;
	memset(to_disk(s)->bytes + offset, 0, len);
	return 0;
}

static int disk_flush(struct thin_storage *s)
{
	(void)s;
	return 0;
}

static int disk_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	*ret_bytes = to_disk(s)->size;
	return 0;
}

static int disk_resize(struct thin_storage *s, uint64_t bytes)
{
	to_disk(s)->changes++;
	disk_set_size(to_disk(s), bytes);
	return 0;
}

static void disk_close(struct thin_storage *s)
{
	(void)s;
}

static const struct thin_storage_ops disk_ops = {
	.name = "disk",
	.read = disk_read,
	.write = disk_write,
	.zero = disk_zero,
	.punch = disk_zero,
	.flush = disk_flush,
	.size = disk_size,
	.resize = disk_resize,
	.close = disk_close,
};

void disk_init(struct disk *d, uint64_t size)
{
	*d = (struct disk){.base.ops = &disk_ops};
	disk_set_size(d, size);
}

void disk_fini(struct disk *d)
{
	free(d->bytes);
	*d = (struct disk){0};
}

void disk_set_size(struct disk *d, uint64_t size)
{
	if (size > d->room) {
		d->bytes = must_grow(d->bytes, size, 1);
		d->room = size;
	}
	if (size > d->size)
		memset(d->bytes + d->size, 0, size - d->size);
	d->size = size;
	d->base.known_size = size;
}

void disk_copy(struct disk *to, const struct disk *from)
{
	disk_set_size(to, from->size);
	if (from->size)
		memcpy(to->bytes, from->bytes, from->size);
	to->changes = 0;
	to->base.flush_error = 0;
}

void disk_load(struct disk *to, struct thin_storage *s)
{
	uint64_t size;

	if (thin_storage_size(s, &size))
		abort();
	disk_set_size(to, size);
	if (thin_storage_read_at(s, 0, to->bytes, size))
		abort();
	to->changes = 0;
}

static int save_block(const struct disk *d, int fd, uint64_t offset)
{
	static const uint8_t zeros[4096];
	size_t len = (size_t)thin_min(sizeof(zeros), d->size - offset);

	if (!memcmp(d->bytes + offset, zeros, len))
		return 0;
	return pwrite(fd, d->bytes + offset, len, (off_t)offset) == (ssize_t)len ? 0
										 : -EIO;
}

int disk_save(const struct disk *d, const char *path)
{
	_cleanup_close int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = ftruncate(fd, (off_t)d->size) ? -errno : 0;
	for (uint64_t offset = 0; offset < d->size && !r; offset += 4096)
		r = save_block(d, fd, offset);
	return r;
}
