/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "storage/storage.h"

#include <errno.h>

/*
 * The functions around the vtable, over a backend that only counts: what
 * is promised for all backends must not depend on one.
 */

#define SIZE UINT64_C(1000000)

struct counting {
	struct thin_storage base;
	uint64_t size;
	int reads, writes, zeros, punches, flushes, sizes, extents, starts, closes;
	uint64_t written; /* bytes */
	uint64_t next;	  /* where the next byte of a write should go */
	int result;	  /* of whatever is called */
};

static struct counting *of(struct thin_storage *s)
{
	return (struct counting *)s;
}

static int count_read(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	(void)seg;
	(void)nr;
	of(s)->reads++;
	return of(s)->result;
}

static int count_write(struct thin_storage *s, const struct thin_segment *seg, size_t nr)
{
	struct counting *c = of(s);

	c->writes++;
	for (size_t i = 0; i < nr; i++) {
		const uint8_t *p = seg[i].buf;

		if (c->next == seg[i].offset)
			c->next += seg[i].len;
		for (size_t k = 0; k < seg[i].len; k++)
			assert_int_equal(p[k], 0);
		c->written += seg[i].len;
	}
	return c->result;
}

static int count_zero(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	(void)offset;
	(void)len;
	of(s)->zeros++;
	return of(s)->result;
}

static int count_punch(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	(void)offset;
	(void)len;
	of(s)->punches++;
	return of(s)->result;
}

static int count_flush(struct thin_storage *s)
{
	of(s)->flushes++;
	return of(s)->result;
}

static int count_size(struct thin_storage *s, uint64_t *ret)
{
	of(s)->sizes++;
	*ret = of(s)->size;
	return of(s)->result;
}

static int count_resize(struct thin_storage *s, uint64_t bytes)
{
	of(s)->size = bytes;
	return of(s)->result;
}

static int count_extents(struct thin_storage *s, uint64_t offset, uint64_t len,
			 thin_extent_fn *fn, void *ctx)
{
	of(s)->extents++;
	return fn(ctx, offset, len, THIN_EXTENT_ZERO);
}

static int count_identity(struct thin_storage *s, struct thin_identity *ret)
{
	ret->inode = 7;
	return of(s)->result;
}

static int count_start(struct thin_storage *s)
{
	of(s)->starts++;
	return of(s)->result;
}

static void count_close(struct thin_storage *s)
{
	of(s)->closes++;
}

static const struct thin_storage_ops full = {
	.name = "counting",
	.read = count_read,
	.write = count_write,
	.zero = count_zero,
	.punch = count_punch,
	.flush = count_flush,
	.size = count_size,
	.resize = count_resize,
	.extents = count_extents,
	.identity = count_identity,
	.start = count_start,
	.close = count_close,
};

static const struct thin_storage_ops bare = {
	.name = "bare",
	.read = count_read,
	.write = count_write,
	.flush = count_flush,
	.size = count_size,
	.close = count_close,
};

static struct counting make(const struct thin_storage_ops *ops)
{
	return (struct counting){.base.ops = ops, .size = SIZE};
}

static void past_the_end_is_eio(void **state)
{
	struct counting c = make(&full);
	struct thin_segment two[] = {{0, NULL, 10}, {SIZE - 9, NULL, 10}};
	uint8_t b[16];

	(void)state;
	assert_int_equal(thin_storage_read_at(&c.base, SIZE - 16, b, 16), 0);
	assert_int_equal(thin_storage_read_at(&c.base, SIZE - 15, b, 16), -EIO);
	assert_int_equal(thin_storage_read_at(&c.base, UINT64_MAX - 3, b, 16), -EIO);
	assert_int_equal(thin_storage_read_at(&c.base, SIZE + 1, b, 0), -EIO);
	assert_int_equal(thin_storage_read(&c.base, two, 2), -EIO);
	assert_int_equal(c.reads, 1);
	assert_int_equal(thin_storage_write(&c.base, two, 2), -EIO);
	assert_int_equal(thin_storage_write_at(&c.base, SIZE, b, 1), -EIO);
	assert_int_equal(c.writes, 0);
	assert_int_equal(thin_storage_zero(&c.base, SIZE - 1, 2), -EIO);
	assert_int_equal(thin_storage_punch(&c.base, SIZE - 1, 2), -EIO);
	assert_int_equal(thin_storage_extents(&c.base, SIZE, 1, NULL, NULL), -EIO);
	assert_int_equal(c.zeros + c.punches + c.extents, 0);
}

static void size_is_asked_once_while_it_fits(void **state)
{
	struct counting c = make(&full);
	uint8_t b[16];

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(thin_storage_read_at(&c.base, 0, b, 16), 0);
	assert_int_equal(c.sizes, 1);
}

/* A block device can grow at any time, and is served at once. */
static void growth_is_noticed(void **state)
{
	struct counting c = make(&full);
	uint8_t b[16];

	(void)state;
	assert_int_equal(thin_storage_read_at(&c.base, SIZE, b, 16), -EIO);
	c.size = 2 * SIZE;
	assert_int_equal(thin_storage_read_at(&c.base, SIZE, b, 16), 0);
}

static void resize_moves_the_end(void **state)
{
	struct counting c = make(&full);
	uint8_t b[16];
	uint64_t size;

	(void)state;
	assert_int_equal(thin_storage_read_at(&c.base, SIZE - 16, b, 16), 0);
	assert_int_equal(thin_storage_resize(&c.base, 100), 0);
	assert_int_equal(thin_storage_read_at(&c.base, SIZE - 16, b, 16), -EIO);
	assert_int_equal(thin_storage_size(&c.base, &size), 0);
	assert_int_equal(size, 100);
	c.result = -ENOSPC;
	assert_int_equal(thin_storage_resize(&c.base, 200), -ENOSPC);
}

static void nothing_to_do_calls_nobody(void **state)
{
	struct counting c = make(&full);

	(void)state;
	assert_int_equal(thin_storage_read(&c.base, NULL, 0), 0);
	assert_int_equal(thin_storage_write(&c.base, NULL, 0), 0);
	assert_int_equal(thin_storage_zero(&c.base, SIZE, 0), 0);
	assert_int_equal(thin_storage_punch(&c.base, SIZE, 0), 0);
	assert_int_equal(thin_storage_extents(&c.base, SIZE, 0, NULL, NULL), 0);
	assert_int_equal(c.reads + c.writes + c.zeros + c.punches + c.extents, 0);
}

static void readonly_is_never_changed(void **state)
{
	struct counting c = make(&full);
	uint8_t b[16] = {0};

	(void)state;
	c.base.readonly = true;
	assert_int_equal(thin_storage_read_at(&c.base, 0, b, 16), 0);
	assert_int_equal(thin_storage_flush(&c.base), 0);
	assert_int_equal(thin_storage_write_at(&c.base, 0, b, 16), -EROFS);
	assert_int_equal(thin_storage_zero(&c.base, 0, 16), -EROFS);
	assert_int_equal(thin_storage_punch(&c.base, 0, 16), -EROFS);
	assert_int_equal(thin_storage_resize(&c.base, 16), -EROFS);
	assert_int_equal(c.writes + c.zeros + c.punches, 0);
	assert_true(c.size == SIZE);
}

/* S4, I9: not even where the second try would be the one that succeeds. */
static void failed_flush_is_not_tried_again(void **state)
{
	struct counting c = make(&full);

	(void)state;
	assert_int_equal(thin_storage_flush(&c.base), 0);
	assert_int_equal(thin_storage_punch(&c.base, 0, 16), 0);
	c.result = -ENOSPC;
	assert_int_equal(thin_storage_flush(&c.base), -ENOSPC);
	c.result = 0;
	assert_int_equal(thin_storage_flush(&c.base), -ENOSPC);
	assert_int_equal(c.flushes, 2);
}

static int change(struct thin_storage *s, int how)
{
	static const uint8_t b[16];

	switch (how) {
	case 0:
		return thin_storage_write_at(s, 0, b, sizeof(b));
	case 1:
		return thin_storage_zero(s, 0, 16);
	case 2:
		return thin_storage_punch(s, 0, 16);
	default:
		return thin_storage_resize(s, SIZE);
	}
}

/* Reads are none; what failed may have been done in part. */
static void flushed_when_changed(void **state)
{
	struct counting c = make(&full);
	uint8_t b[16];
	int flushes = 1;

	(void)state;
	assert_int_equal(thin_storage_flush(&c.base), 0); /* others' changes */
	for (int how = 0; how < 4; how++)
		for (int fails = 0; fails < 2; fails++) {
			c.result = fails ? -EIO : 0;
			assert_int_equal(change(&c.base, how), c.result);
			c.result = 0;
			assert_int_equal(thin_storage_flush(&c.base), 0);
			assert_int_equal(c.flushes, ++flushes);
			assert_int_equal(thin_storage_read_at(&c.base, 0, b, 16), 0);
			assert_int_equal(thin_storage_flush(&c.base), 0);
			assert_int_equal(c.flushes, flushes);
		}
}

static void zeros_are_written_where_need_be(void **state)
{
	const uint64_t at = 12345, len = 800001;
	struct counting c = make(&bare);

	(void)state;
	c.next = at;
	assert_int_equal(thin_storage_zero(&c.base, at, len), 0);
	assert_true(c.next == at + len);
	assert_true(c.written == len);
	c = make(&full);
	c.result = -EIO; /* what is not "I can not" is passed on */
	c.base.known_size = SIZE;
	assert_int_equal(thin_storage_zero(&c.base, at, len), -EIO);
	assert_int_equal(c.writes, 0);
}

static int not_supported(struct thin_storage *s, uint64_t offset, uint64_t len)
{
	return count_zero(s, offset, len) ? -EIO : -ENOTSUP;
}

static void zero_that_can_not_is_written_too(void **state)
{
	struct thin_storage_ops ops = full;
	struct counting c = make(&ops);

	(void)state;
	ops.zero = not_supported;
	assert_int_equal(thin_storage_zero(&c.base, 0, 100), 0);
	assert_int_equal(c.zeros, 1);
	assert_true(c.written == 100);
}

static int take_extent(void *ctx, uint64_t offset, uint64_t len,
		       enum thin_extent_type type)
{
	struct counting *c = ctx;

	assert_int_equal(offset, 10);
	assert_int_equal(len, 20);
	assert_int_equal(type,
			 c->base.ops == &bare ? THIN_EXTENT_DATA : THIN_EXTENT_ZERO);
	return 42;
}

static void what_a_bare_backend_gets(void **state)
{
	struct counting c = make(&bare);
	struct thin_identity id;

	(void)state;
	assert_int_equal(thin_storage_extents(&c.base, 10, 20, take_extent, &c), 42);
	assert_int_equal(thin_storage_identity(&c.base, &id), 0);
	assert_true(id.size == SIZE && !id.inode && !id.mtime_ns && !id.ctime_ns);
	assert_int_equal(thin_storage_punch(&c.base, 0, 1), -ENOTSUP);
	assert_int_equal(thin_storage_resize(&c.base, 1), -ENOTSUP);
	assert_int_equal(thin_storage_start(&c.base), 0);
	c = make(&full);
	assert_int_equal(thin_storage_extents(&c.base, 10, 20, take_extent, &c), 42);
	assert_int_equal(thin_storage_identity(&c.base, &id), 0);
	assert_int_equal(id.inode, 7);
	assert_int_equal(thin_storage_start(&c.base), 0);
	assert_int_equal(c.starts, 1);
}

static void outputs_are_left_alone_on_errors(void **state)
{
	struct counting c = make(&full);
	struct thin_identity id = {.inode = 42};
	uint64_t size = 42;

	(void)state;
	c.result = -EIO;
	assert_int_equal(thin_storage_size(&c.base, &size), -EIO);
	assert_int_equal(size, 42);
	assert_int_equal(thin_storage_identity(&c.base, &id), -EIO);
	assert_int_equal(id.inode, 42);
}

static void close_takes_null(void **state)
{
	struct counting c = make(&full);

	(void)state;
	thin_storage_close(NULL);
	{
		_cleanup_storage struct thin_storage *none = NULL;
		_cleanup_storage struct thin_storage *s = &c.base;

		(void)none;
		(void)s;
	}
	assert_int_equal(c.closes, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(past_the_end_is_eio),
		cmocka_unit_test(size_is_asked_once_while_it_fits),
		cmocka_unit_test(growth_is_noticed),
		cmocka_unit_test(resize_moves_the_end),
		cmocka_unit_test(nothing_to_do_calls_nobody),
		cmocka_unit_test(readonly_is_never_changed),
		cmocka_unit_test(failed_flush_is_not_tried_again),
		cmocka_unit_test(flushed_when_changed),
		cmocka_unit_test(zeros_are_written_where_need_be),
		cmocka_unit_test(zero_that_can_not_is_written_too),
		cmocka_unit_test(what_a_bare_backend_gets),
		cmocka_unit_test(outputs_are_left_alone_on_errors),
		cmocka_unit_test(close_takes_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
