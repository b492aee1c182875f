/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/storage.h"

#include "util/checked.h"
#include "util/limits.h"
#include "util/lock.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/*
 * Memory as a storage.  It is mapped, not allocated: a terabyte costs what
 * is written to it, and a punch gives pages back.
 *
 * Writers exclude everybody, which makes each write atomic as a whole: more
 * than S1 asks for, and nothing that a test could mistake for a race of its
 * own.  All writes are durable at once.
 */

#define PAGE UINT64_C(4096)

struct memory {
	struct thin_storage base;
	struct thin_sharded_lock lock;
	uint8_t *bytes THIN_GUARDED_BY(lock);
	uint64_t size THIN_GUARDED_BY(lock);
};

static struct memory *to_memory(struct thin_storage *s)
{
	return (struct memory *)s;
}

/* mmap() has no zero-length maps: there is always one page. */
static uint64_t mapped_len(uint64_t size)
{
	return thin_max(thin_div_up(size, PAGE), 1) * PAGE;
}

static int memory_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct memory *m = to_memory(s);
	int r = 0;

	thin_sharded_read(&m->lock);
	for (size_t i = 0; i < nr && !r; i++) {
		if (thin_range_ok(seg[i].offset, seg[i].len, m->size))
			memcpy(seg[i].buf, m->bytes + seg[i].offset, seg[i].len);
		else
			r = -EIO;
	}
	thin_sharded_read_end(&m->lock);
	return r;
}

static int memory_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct memory *m = to_memory(s);
	int r = 0;

	thin_sharded_write(&m->lock);
	for (size_t i = 0; i < nr && !r; i++) {
		if (thin_range_ok(seg[i].offset, seg[i].len, m->size))
			memcpy(m->bytes + seg[i].offset, seg[i].buf, seg[i].len);
		else
			r = -EIO;
	}
	thin_sharded_write_end(&m->lock);
	return r;
}

/* Whole pages go back to the system and come again as zeros. */
static void clear(uint8_t *bytes, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	uint64_t first = thin_div_up(offset, PAGE) * PAGE, last = end / PAGE * PAGE;

	if (first >= last || madvise(bytes + first, last - first, MADV_DONTNEED)) {
		memset(bytes + offset, 0, len);
		return;
	}
	memset(bytes + offset, 0, first - offset);
	memset(bytes + last, 0, end - last);
}

static int memory_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct memory *m = to_memory(s);
	int r = -EIO;

	thin_sharded_write(&m->lock);
	if (thin_range_ok(offset, len, m->size)) {
		clear(m->bytes, offset, len);
		r = 0;
	}
	thin_sharded_write_end(&m->lock);
	return r;
}

static int memory_flush(struct thin_storage *s)
{
	(void)s;
	return 0;
}

static int memory_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	struct memory *m = to_memory(s);

	thin_sharded_read(&m->lock);
	*ret_bytes = m->size;
	thin_sharded_read_end(&m->lock);
	return 0;
}

static int resize_locked(struct memory *m, uint64_t bytes) THIN_REQUIRES(m->lock)
{
	uint64_t old_len = mapped_len(m->size), new_len = mapped_len(bytes);
	void *p = m->bytes;

	if (bytes > THIN_MAX_VOLUME_SIZE)
		return -EFBIG;
	if (new_len != old_len)
		p = mremap(m->bytes, old_len, new_len, MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return -errno;
	m->bytes = p;
	/* What is cut off must not show again when it grows. */
	if (bytes < m->size)
		memset(m->bytes + bytes, 0, thin_min(m->size, new_len) - bytes);
	m->size = bytes;
	return 0;
}

static int memory_resize(struct thin_storage *s, uint64_t bytes)
{
	struct memory *m = to_memory(s);
	int r;

	thin_sharded_write(&m->lock);
	r = resize_locked(m, bytes);
	thin_sharded_write_end(&m->lock);
	return r;
}

static bool all_zero(const uint8_t *p, uint64_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* The piece that begins at @offset: to the end of its page, or of the range. */
static enum thin_extent_type piece(struct memory *m, uint64_t offset, uint64_t end,
				   uint64_t *ret_len) THIN_REQUIRES_SHARED(m->lock)
{
	uint64_t len = thin_min(PAGE - offset % PAGE, end - offset);

	*ret_len = len;
	return all_zero(m->bytes + offset, len) ? THIN_EXTENT_ZERO : THIN_EXTENT_DATA;
}

/* The longest extent of one type from @offset on. */
static int next_extent(struct memory *m, uint64_t offset, uint64_t end, uint64_t *ret_len,
		       enum thin_extent_type *ret_type)
{
	enum thin_extent_type type;
	uint64_t len, more;
	int r = -EIO;

	thin_sharded_read(&m->lock);
	if (end <= m->size) {
		type = piece(m, offset, end, &len);
		while (offset + len < end && piece(m, offset + len, end, &more) == type)
			len += more;
		*ret_len = len;
		*ret_type = type;
		r = 0;
	}
	thin_sharded_read_end(&m->lock);
	return r;
}

static int memory_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
			  thin_extent_fn *fn, void *ctx)
{
	uint64_t end = offset + len;

	while (offset < end) {
		enum thin_extent_type type;
		int r = next_extent(to_memory(s), offset, end, &len, &type);

		if (!r)
			r = fn(ctx, offset, len, type);
		if (r)
			return r;
		offset += len;
	}
	return 0;
}

static void memory_close(struct thin_storage *s)
{
	struct memory *m = to_memory(s);

	(void)munmap(m->bytes, mapped_len(m->size));
	thin_sharded_fini(&m->lock);
	free(m);
}

static const struct thin_storage_ops memory_ops = {
	.name = "memory",
	.read = memory_read,
	.write = memory_write,
	.zero = memory_zero,
	.punch = memory_zero,
	.flush = memory_flush,
	.size = memory_size,
	.resize = memory_resize,
	.extents = memory_extents,
	.close = memory_close,
};

int thin_storage_open_memory(uint64_t bytes, struct thin_storage **ret)
{
	struct memory *m;
	void *p;

	if (bytes > THIN_MAX_VOLUME_SIZE)
		return -EFBIG;
	m = aligned_alloc(_Alignof(struct memory), sizeof(*m));
	if (!m)
		return -ENOMEM;
	p = mmap(NULL, mapped_len(bytes), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		free(m);
		return -ENOMEM;
	}
	*m = (struct memory){.base.ops = &memory_ops, .bytes = p, .size = bytes};
	thin_sharded_init(&m->lock);
	*ret = &m->base;
	return 0;
}
