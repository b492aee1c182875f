/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/storage.h"

#include "util/checked.h"

#include <errno.h>

/*
 * What holds for all backends is here, so that none of them can forget it:
 * nothing past the end, no change of what is read-only, no second try of a
 * flush that failed.
 *
 * The end is remembered, since asking costs a system call.  It is asked
 * again only for a range that does not fit, so a storage that grew (a block
 * device can, at any time) is served at once, and the common case is one
 * comparison.
 */

/* Zeros to write from, where a backend can not make them by itself. */
#define ZEROS_LEN 65536u
#define ZEROS_NR  16u

/* Changes are counted when they are complete, whether or not they failed. */
static int changed(struct thin_storage *s, int r)
{
	atomic_fetch_add(&s->changes, 1);
	return r;
}

static int check_range(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	uint64_t size = atomic_load_explicit(&s->known_size, memory_order_relaxed);
	int r;

	if (thin_range_ok(offset, len, size))
		return 0;
	r = thin_storage_size(s, &size);
	if (r)
		return r;
	return thin_range_ok(offset, len, size) ? 0 : -EIO;
}

static int check_segments(struct thin_storage *s, const struct thin_segment *seg,
			  size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		int r = check_range(s, seg[i].offset, seg[i].len);
		if (r)
			return r;
	}
	return 0;
}

static int check_change(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	return s->readonly ? -EROFS : check_range(s, offset, len);
}

int thin_storage_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	int r = check_segments(s, seg, nr);

	return r || !nr ? r : s->ops->read(s, seg, nr);
}

int thin_storage_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	int r = s->readonly ? -EROFS : check_segments(s, seg, nr);

	return r || !nr ? r : changed(s, s->ops->write(s, seg, nr));
}

int thin_storage_read_at(struct thin_storage *s, uint64_t offset, void *buf, size_t len)
{
	struct thin_segment seg = {.offset = offset, .buf = buf, .len = len};

	return thin_storage_read(s, &seg, 1);
}

int thin_storage_write_at(struct thin_storage *s, uint64_t offset, const void *buf,
			  size_t len)
{
	/* A segment's buffer is not const, for reads; a write leaves it alone. */
	struct thin_segment seg = {
		.offset = offset,
		.buf = (void *)(uintptr_t)buf,
		.len = len,
	};

	return thin_storage_write(s, &seg, 1);
}

static int write_zeros(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	static uint8_t zeros[ZEROS_LEN] __attribute__((aligned(4096)));
	int r = 0;

	while (len && !r) {
		struct thin_segment seg[ZEROS_NR];
		size_t nr = 0;

		for (; nr < ZEROS_NR && len; nr++) {
			size_t n = (size_t)thin_min(len, ZEROS_LEN);

			seg[nr] = (struct thin_segment){offset, zeros, n};
			offset += n;
			len -= n;
		}
		r = s->ops->write(s, seg, nr);
	}
	return r;
}

int thin_storage_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	int r = check_change(s, offset, len);

	if (r || !len)
		return r;
	r = s->ops->zero ? s->ops->zero(s, offset, len) : -ENOTSUP;
	return changed(s, r == -ENOTSUP ? write_zeros(s, offset, len) : r);
}

int thin_storage_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	int r = check_change(s, offset, len);

	if (r)
		return r;
	if (!s->ops->punch)
		return -ENOTSUP;
	return len ? changed(s, s->ops->punch(s, offset, len)) : 0;
}

bool thin_storage_unflushed(struct thin_storage *s)
{
	return atomic_load(&s->flush_error) ||
	       atomic_load(&s->durable) != atomic_load(&s->changes) + 1;
}

int thin_storage_flush(struct thin_storage *s)
{
	uint64_t changes = atomic_load(&s->changes) + 1;
	int r = atomic_load(&s->flush_error);

	if (r || atomic_load(&s->durable) == changes)
		return r;
	r = s->ops->flush(s);
	if (r)
		atomic_store(&s->flush_error, r);
	else
		atomic_store(&s->durable, changes);
	return r;
}

int thin_storage_size(struct thin_storage *s, uint64_t *ret_bytes)
{
	uint64_t size;
	int r = s->ops->size(s, &size);

	if (r)
		return r;
	atomic_store_explicit(&s->known_size, size, memory_order_relaxed);
	*ret_bytes = size;
	return 0;
}

int thin_storage_resize(struct thin_storage *s, uint64_t bytes)
{
	int r;

	if (s->readonly)
		return -EROFS;
	if (!s->ops->resize)
		return -ENOTSUP;
	r = changed(s, s->ops->resize(s, bytes));
	if (!r)
		atomic_store_explicit(&s->known_size, bytes, memory_order_relaxed);
	return r;
}

int thin_storage_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
			 thin_extent_fn *fn, void *ctx)
{
	int r = check_range(s, offset, len);

	if (r || !len)
		return r;
	if (!s->ops->extents)
		return fn(ctx, offset, len, THIN_EXTENT_DATA);
	return s->ops->extents(s, offset, len, fn, ctx);
}

int thin_storage_identity(struct thin_storage *s, struct thin_identity *ret)
{
	struct thin_identity id = {0};
	int r;

	r = s->ops->identity ? s->ops->identity(s, &id) : thin_storage_size(s, &id.size);
	if (!r)
		*ret = id;
	return r;
}

int thin_storage_start(struct thin_storage *s)
{
	return s->ops->start ? s->ops->start(s) : 0;
}

void thin_storage_close(struct thin_storage *s)
{
	if (s)
		s->ops->close(s);
}
