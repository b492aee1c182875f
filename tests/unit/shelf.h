/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SHELF_H
#define THINBD_TESTS_SHELF_H

/*
 * Memory that outlives the pool which is open on it.  The shelf is the
 * test's; what it lends to a pool is a storage whose close() does nothing.
 *
 * It can be frozen: what is written then is lost, though it is said to be
 * done.  A pool that is closed so has crashed, from its storages' view.  And
 * it can fail: transfers, or the flushes.
 */

#include "storage/storage.h"
#include <string.h>

#include <errno.h>

struct shelf {
	struct thin_storage lent;
	struct thin_storage *memory;
	struct thin_identity identity; /* size 0: as the memory's */
	atomic_bool identity_changed;  /* to something else, from now on */
	atomic_bool frozen;
	atomic_int fail_read, fail_write, fail_flush, fail_punch; /* errors to give */
	atomic_int fail_write_times, fail_flush_times; /* -EIO for the next so many */
	atomic_int fail_identity, fail_extents, fail_start, fail_resize, fail_size;
	atomic_ulong reads, writes, zeros, punches, flushes, starts, closes;
	atomic_ulong read_bytes, write_bytes;
	/* Called before a flush; may be NULL. */
	void (*on_flush)(void *ctx);
	void *on_flush_ctx;
	/* Likewise, before a punch. */
	void (*on_punch)(void *ctx);
	void *on_punch_ctx;
	/* Likewise, before a read. */
	void (*on_read)(void *ctx);
	void *on_read_ctx;
	/* Called before a write, no lock held; may be NULL. */
	void (*on_write)(void *ctx, const struct thin_segment *seg, size_t nr);
	void *on_write_ctx;
};

static inline struct shelf *shelf_of(struct thin_storage *s)
{
	return (struct shelf *)s;
}

static inline int shelf_read(struct thin_storage *s, const struct thin_segment *seg,
			     size_t nr)
{
	struct shelf *sh = shelf_of(s);

	atomic_fetch_add(&sh->reads, 1);
	for (size_t i = 0; i < nr; i++)
		atomic_fetch_add(&sh->read_bytes, seg[i].len);
	if (sh->on_read)
		sh->on_read(sh->on_read_ctx);
	if (sh->fail_read)
		return sh->fail_read;
	return thin_storage_read(sh->memory, seg, nr);
}

static inline int shelf_write(struct thin_storage *s, const struct thin_segment *seg,
			      size_t nr)
{
	struct shelf *sh = shelf_of(s);

	atomic_fetch_add(&sh->writes, 1);
	for (size_t i = 0; i < nr; i++)
		atomic_fetch_add(&sh->write_bytes, seg[i].len);
	if (sh->on_write)
		sh->on_write(sh->on_write_ctx, seg, nr);
	if (sh->fail_write)
		return sh->fail_write;
	if (sh->fail_write_times && atomic_fetch_sub(&sh->fail_write_times, 1) > 0)
		return -EIO;
	return sh->frozen ? 0 : thin_storage_write(sh->memory, seg, nr);
}

static inline int shelf_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	struct shelf *sh = shelf_of(s);

	atomic_fetch_add(&sh->zeros, 1);
	if (sh->fail_write)
		return sh->fail_write;
	return sh->frozen ? 0 : thin_storage_zero(sh->memory, offset, len);
}

/* What is punched becomes garbage: nobody may rely on zeros there (I5). */
static inline int shelf_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	static uint8_t garbage[4096];
	struct shelf *sh = shelf_of(s);
	int r = 0;

	atomic_fetch_add(&sh->punches, 1);
	if (sh->on_punch)
		sh->on_punch(sh->on_punch_ctx);
	if (sh->fail_punch)
		return sh->fail_punch;
	if (!garbage[0])
		memset(garbage, 0xee, sizeof(garbage));
	for (uint64_t n = 0; n < len && !r && !sh->frozen; n += sizeof(garbage))
		r = thin_storage_write_at(sh->memory, offset + n, garbage,
					  len - n < sizeof(garbage) ? len - n
								    : sizeof(garbage));
	return r;
}

static inline int shelf_flush(struct thin_storage *s)
{
	struct shelf *sh = shelf_of(s);

	atomic_fetch_add(&sh->flushes, 1);
	if (sh->on_flush)
		sh->on_flush(sh->on_flush_ctx);
	if (sh->fail_flush_times && atomic_fetch_sub(&sh->fail_flush_times, 1) > 0)
		return -EIO;
	return sh->fail_flush;
}

static inline int shelf_size(struct thin_storage *s, uint64_t *ret)
{
	if (shelf_of(s)->fail_size)
		return shelf_of(s)->fail_size;
	return thin_storage_size(shelf_of(s)->memory, ret);
}

static inline int shelf_resize(struct thin_storage *s, uint64_t bytes)
{
	if (shelf_of(s)->fail_resize)
		return shelf_of(s)->fail_resize;
	return thin_storage_resize(shelf_of(s)->memory, bytes);
}

static inline int shelf_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
				thin_extent_fn *fn, void *ctx)
{
	struct shelf *sh = shelf_of(s);

	if (sh->fail_extents)
		return sh->fail_extents;
	return thin_storage_extents(sh->memory, offset, len, fn, ctx);
}

static inline int shelf_identity(struct thin_storage *s, struct thin_identity *ret)
{
	struct shelf *sh = shelf_of(s);

	if (sh->fail_identity)
		return sh->fail_identity;
	if (!sh->identity.size)
		return thin_storage_identity(sh->memory, ret);
	*ret = sh->identity;
	ret->mtime_ns += sh->identity_changed;
	return 0;
}

static inline int shelf_start(struct thin_storage *s)
{
	atomic_fetch_add(&shelf_of(s)->starts, 1);
	return shelf_of(s)->fail_start;
}

static inline void shelf_close(struct thin_storage *s)
{
	atomic_fetch_add(&shelf_of(s)->closes, 1);
}

static const struct thin_storage_ops shelf_ops = {
	.name = "shelf",
	.read = shelf_read,
	.write = shelf_write,
	.zero = shelf_zero,
	.punch = shelf_punch,
	.flush = shelf_flush,
	.size = shelf_size,
	.resize = shelf_resize,
	.extents = shelf_extents,
	.identity = shelf_identity,
	.start = shelf_start,
	.close = shelf_close,
};

/* NULL: no memory.  What it holds is zeros. */
static inline struct shelf *shelf_new(uint64_t bytes)
{
	struct shelf *sh = calloc(1, sizeof(*sh));

	if (!sh)
		return NULL;
	sh->lent.ops = &shelf_ops;
	if (thin_storage_open_memory(bytes, &sh->memory)) {
		free(sh);
		return NULL;
	}
	return sh;
}

static inline void shelf_free(struct shelf *sh)
{
	if (!sh)
		return;
	thin_storage_close(sh->memory);
	free(sh);
}

#endif
