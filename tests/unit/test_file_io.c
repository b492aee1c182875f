/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"
#include "storage_model.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define CREATE THIN_STORAGE_CREATE
#define DIRECT THIN_STORAGE_DIRECT
#define KIB    UINT64_C(1024)
#define MIB    (KIB * KIB)

/*
 * The system calls that move bytes pass through here, where they can be
 * made to do less than they were asked for, or to fail.
 */
static struct {
	size_t at_most;	    /* bytes per call; 0: all */
	unsigned interrupt; /* every so many calls; 0: never */
	int fail_after;	    /* calls that still succeed; -1: all */
	int error;
	int fallocate_error, flush_error, seek_error;
	bool hole_moves; /* away, between two looks */
	_Atomic int calls;
} fault;

static int fault_reset(void **state)
{
	(void)state;
	memset(&fault, 0, sizeof(fault));
	fault.fail_after = -1;
	return 0;
}

static ssize_t faulty(long nr, int fd, const struct iovec *iov, int n, off_t offset)
{
	struct iovec cut[64];
	size_t left = fault.at_most;
	int i = 0;

	fault.calls++;
	if (fault.interrupt && fault.calls % fault.interrupt == 0) {
		errno = EINTR;
		return -1;
	}
	if (!fault.fail_after) {
		errno = fault.error;
		return fault.error ? -1 : 0;
	}
	if (fault.fail_after > 0)
		fault.fail_after--;
	if (!left)
		return syscall(nr, fd, iov, n, offset, 0);
	for (; i < n && i < 64 && left; i++) {
		cut[i] = iov[i];
		cut[i].iov_len = thin_min(left, iov[i].iov_len);
		left -= cut[i].iov_len;
	}
	return syscall(nr, fd, cut, i, offset, 0);
}

ssize_t preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
	return faulty(SYS_preadv, fd, iov, n, offset);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	return faulty(SYS_pwritev, fd, iov, n, offset);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	errno = fault.fallocate_error;
	return errno ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int fdatasync(int fd)
{
	errno = fault.flush_error;
	return errno ? -1 : (int)syscall(SYS_fdatasync, fd);
}

off_t lseek(int fd, off_t offset, int whence)
{
	errno = fault.seek_error;
	if (errno)
		return -1;
	if (whence == SEEK_HOLE && fault.hole_moves)
		return offset;
	return syscall(SYS_lseek, fd, offset, whence);
}

/* A new file of @size; NULL where the file system can not do it (O_DIRECT). */
static struct thin_storage *make(uint64_t size, unsigned flags)
{
	struct thin_storage *s = NULL;
	struct thin_error e;
	int r;

	(void)unlink(scratch("f"));
	r = thin_storage_open_file(scratch("f"), flags | CREATE, &s, &e);
	if (r == -ENOTSUP && flags & DIRECT)
		return NULL;
	if (r)
		fail_msg("%s", e.text);
	assert_int_equal(thin_storage_resize(s, size), 0);
	return s;
}

static void equals_plain_memory(void **state)
{
	struct seeded rnd = seeded_start(__func__);

	(void)state;
	for (uint64_t align = 1; align <= 4096; align *= 64) {
		_cleanup_storage struct thin_storage *s = make(MIB + align, 0);

		model_run(s, rnd, align, 100);
	}
}

static void equals_plain_memory_directly(void **state)
{
	static const uint64_t aligns[] = {1, 512, 4096};
	struct seeded rnd = seeded_start(__func__);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(aligns); i++) {
		_cleanup_storage struct thin_storage *s = make(MIB + aligns[i], DIRECT);

		if (!s)
			skip();
		model_run(s, rnd, aligns[i], 100);
	}
}

/* All that may be cut short is cut short, and nobody notices. */
static void short_and_interrupted_calls(void **state)
{
	struct seeded rnd = seeded_start(__func__);
	_cleanup_storage struct thin_storage *s = make(MIB / 4, 0);

	(void)state;
	fault.at_most = 1500;
	fault.interrupt = 3;
	model_run(s, rnd, 1, 60);
}

static void short_direct_calls(void **state)
{
	struct seeded rnd = seeded_start(__func__);
	_cleanup_storage struct thin_storage *s = make(MIB, DIRECT);

	(void)state;
	if (!s)
		skip();
	fault.at_most = 8192;
	fault.interrupt = 3;
	model_run(s, rnd, 4096, 60);
}

static void neighbours_are_one_call(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);
	static uint8_t b[300][512];
	struct thin_segment seg[300];

	(void)state;
	for (size_t i = 0; i < 300; i++)
		seg[i] = (struct thin_segment){1000 + 512 * i, b[i], 512};
	fault.calls = 0;
	assert_int_equal(thin_storage_write(s, seg, 60), 0);
	assert_int_equal(fault.calls, 1);
	seg[30].offset = 0; /* out of its place: three runs */
	assert_int_equal(thin_storage_read(s, seg, 60), 0);
	assert_int_equal(fault.calls, 4);
	seg[30].offset = 1000 + 512 * 30;
	assert_int_equal(thin_storage_read(s, seg, 300), 0); /* more than a vector */
	assert_int_equal(fault.calls, 6);
}

static void errors_come_through(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);
	uint8_t b[4096] = {0};

	(void)state;
	fault.at_most = 1000;
	fault.fail_after = 2;
	fault.error = ENOSPC;
	assert_int_equal(thin_storage_write_at(s, 0, b, sizeof(b)), -ENOSPC);
	fault.error = EIO;
	assert_int_equal(thin_storage_read_at(s, 0, b, sizeof(b)), -EIO);
	fault.error = 0; /* an end of file that should not be there */
	assert_int_equal(thin_storage_read_at(s, 0, b, sizeof(b)), -EIO);
	assert_int_equal(thin_storage_write_at(s, 0, b, sizeof(b)), -EIO);
}

static void failed_flush_stays_failed(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);

	(void)state;
	fault.flush_error = EIO;
	assert_int_equal(thin_storage_flush(s), -EIO);
	fault.flush_error = 0;
	assert_int_equal(thin_storage_flush(s), -EIO);
}

static uint64_t allocated(void)
{
	struct stat st;

	assert_int_equal(stat(scratch("f"), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void fill(struct thin_storage *s, uint64_t size)
{
	_cleanup_free uint8_t *b = malloc(size);

	memset(b, 0x77, size);
	assert_int_equal(thin_storage_write_at(s, 0, b, size), 0);
	assert_int_equal(thin_storage_flush(s), 0);
}

static void assert_bytes(struct thin_storage *s, uint64_t at, uint64_t len, uint8_t byte)
{
	_cleanup_free uint8_t *b = malloc(len);

	assert_int_equal(thin_storage_read_at(s, at, b, len), 0);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(b[i], byte);
}

static void punch_gives_space_back(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);
	uint64_t before;

	(void)state;
	fill(s, MIB);
	before = allocated();
	assert_int_equal(thin_storage_punch(s, 64 * KIB, 512 * KIB), 0);
	assert_true(allocated() <= before - 512 * KIB);
	assert_bytes(s, 0, 64 * KIB, 0x77);
	assert_bytes(s, 64 * KIB, 512 * KIB, 0);
	assert_bytes(s, 576 * KIB, 448 * KIB, 0x77);
}

static void zero_keeps_the_space(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);

	(void)state;
	fill(s, MIB);
	assert_int_equal(thin_storage_zero(s, 64 * KIB + 1, 512 * KIB), 0);
	assert_true(allocated() >= MIB);
	assert_bytes(s, 0, 64 * KIB + 1, 0x77);
	assert_bytes(s, 64 * KIB + 1, 512 * KIB, 0);
	assert_bytes(s, 576 * KIB + 1, 448 * KIB - 1, 0x77);
}

/* A file system without fallocate(): zeros are written, punch says no. */
static void without_fallocate(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);

	(void)state;
	fill(s, MIB);
	fault.fallocate_error = ENOSYS;
	assert_int_equal(thin_storage_punch(s, 0, MIB), -ENOTSUP);
	fault.fallocate_error = EOPNOTSUPP;
	assert_int_equal(thin_storage_punch(s, 0, MIB), -ENOTSUP);
	assert_bytes(s, 0, MIB, 0x77);
	assert_int_equal(thin_storage_zero(s, 100, MIB / 2), 0);
	assert_bytes(s, 0, 100, 0x77);
	assert_bytes(s, 100, MIB / 2, 0);
	assert_bytes(s, 100 + MIB / 2, MIB / 2 - 100, 0x77);
	fault.fallocate_error = EIO;
	assert_int_equal(thin_storage_zero(s, 0, MIB), -EIO);
}

struct list {
	struct {
		uint64_t offset, len;
		enum thin_extent_type type;
	} e[8];
	size_t nr, stop_after;
};

static int add_extent(void *ctx, uint64_t offset, uint64_t len,
		      enum thin_extent_type type)
{
	struct list *l = ctx;

	assert_true(l->nr < ARRAY_LEN(l->e));
	l->e[l->nr].offset = offset;
	l->e[l->nr].len = len;
	l->e[l->nr].type = type;
	return ++l->nr == l->stop_after ? 7 : 0;
}

static void extents_follow_the_holes(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);
	static uint8_t b[64 * 1024];
	struct list l = {.nr = 0};

	(void)state;
	assert_int_equal(thin_storage_write_at(s, 256 * KIB, b, sizeof(b)), 0);
	assert_int_equal(thin_storage_extents(s, 4 * KIB, MIB - 8 * KIB, add_extent, &l),
			 0);
	if (l.nr == 1)
		skip(); /* a file system that does not tell */
	assert_int_equal(l.nr, 3);
	assert_true(l.e[0].offset == 4 * KIB && l.e[0].type == THIN_EXTENT_ZERO);
	assert_true(l.e[1].offset == 256 * KIB && l.e[1].len == 64 * KIB);
	assert_true(l.e[1].type == THIN_EXTENT_DATA);
	assert_true(l.e[2].type == THIN_EXTENT_ZERO);
	assert_true(l.e[2].offset + l.e[2].len == MIB - 4 * KIB);
	l = (struct list){.stop_after = 2};
	assert_int_equal(thin_storage_extents(s, 0, MIB, add_extent, &l), 7);
	assert_int_equal(l.nr, 2);
	l = (struct list){.nr = 0};
	assert_int_equal(thin_storage_extents(s, 260 * KIB, KIB, add_extent, &l), 0);
	assert_true(l.nr == 1 && l.e[0].len == KIB && l.e[0].type == THIN_EXTENT_DATA);
}

static void extents_when_nothing_is_told(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, 0);
	struct list l = {.nr = 0};

	(void)state;
	fault.seek_error = EINVAL;
	assert_int_equal(thin_storage_extents(s, KIB, 10 * KIB, add_extent, &l), 0);
	assert_true(l.nr == 1 && l.e[0].offset == KIB && l.e[0].len == 10 * KIB);
	assert_int_equal(l.e[0].type, THIN_EXTENT_DATA);
}

/* Punched while we look: it still ends, and leaves nothing out. */
static void extents_while_a_hole_moves(void **state)
{
	_cleanup_storage struct thin_storage *s = make(32 * KIB, 0);
	struct list l = {.nr = 0};

	(void)state;
	fill(s, 32 * KIB);
	fault.hole_moves = true;
	assert_int_equal(thin_storage_extents(s, 0, 30 * KIB, add_extent, &l), 0);
	for (size_t i = 0; i < l.nr; i++)
		assert_int_equal(l.e[i].type, THIN_EXTENT_DATA);
	assert_true(l.e[l.nr - 1].offset + l.e[l.nr - 1].len == 30 * KIB);
}

static void direct_takes_any_buffer(void **state)
{
	_cleanup_storage struct thin_storage *s = make(MIB, DIRECT);
	static uint8_t buf[8192 + 64];

	(void)state;
	if (!s)
		skip();
	for (size_t shift = 0; shift < 64; shift += 13) {
		memset(buf, 0x77, sizeof(buf));
		assert_int_equal(thin_storage_write_at(s, 4096, buf + shift, 8192), 0);
		memset(buf, 0, sizeof(buf));
		assert_int_equal(thin_storage_read_at(s, 4096, buf + shift, 8192), 0);
		for (size_t i = 0; i < 8192; i++)
			assert_int_equal(buf[shift + i], 0x77);
	}
}

#define RESET(fn) cmocka_unit_test_setup(fn, fault_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RESET(equals_plain_memory),	    RESET(equals_plain_memory_directly),
		RESET(short_and_interrupted_calls), RESET(short_direct_calls),
		RESET(neighbours_are_one_call),	    RESET(errors_come_through),
		RESET(failed_flush_stays_failed),   RESET(punch_gives_space_back),
		RESET(zero_keeps_the_space),	    RESET(without_fallocate),
		RESET(extents_follow_the_holes),    RESET(extents_when_nothing_is_told),
		RESET(extents_while_a_hole_moves),  RESET(direct_takes_any_buffer),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
