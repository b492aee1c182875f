/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"
#include "storage_model.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <sys/ioctl.h>

#define SIZE (UINT64_C(1) << 20)

/*
 * A loop device over a file, where we may make one; otherwise these tests
 * are skipped.  It goes by itself when the last descriptor does.
 */
static char device[32];
static int keeper = -1;

static int attach(int control)
{
	struct loop_config config = {.info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int nr = ioctl(control, LOOP_CTL_GET_FREE);
	int fd;

	if (nr < 0)
		return -1;
	snprintf(device, sizeof(device), "/dev/loop%d", nr);
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	config.fd =
		(uint32_t)open(scratch("backing"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (!ftruncate((int)config.fd, SIZE) && !ioctl(fd, LOOP_CONFIGURE, &config)) {
		close((int)config.fd);
		return fd;
	}
	close((int)config.fd);
	close(fd);
	return -1;
}

static int setup(void **state)
{
	int control;

	if (scratch_make(state))
		return -1;
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control >= 0)
		keeper = attach(control);
	close(control);
	return 0;
}

static int teardown(void **state)
{
	if (keeper >= 0)
		close(keeper);
	return scratch_remove(state);
}

static struct thin_storage *device_open(unsigned flags)
{
	struct thin_storage *s = NULL;
	struct thin_error e;

	if (keeper < 0)
		skip();
	if (thin_storage_open(device, flags, &s, &e))
		fail_msg("%s", e.text);
	return s;
}

static void clear(struct thin_storage *s)
{
	assert_int_equal(thin_storage_zero(s, 0, SIZE), 0);
}

static void equals_plain_memory(void **state)
{
	static const unsigned flags[] = {0, THIN_STORAGE_DIRECT};
	static const uint64_t aligns[] = {1, 512, 4096};
	struct seeded rnd = seeded_start(__func__);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flags) * ARRAY_LEN(aligns); i++) {
		_cleanup_storage struct thin_storage *s = device_open(flags[i % 2]);

		clear(s);
		model_run(s, rnd, aligns[i / 2], 50);
	}
}

static void size_and_identity(void **state)
{
	_cleanup_storage struct thin_storage *s = device_open(THIN_STORAGE_READONLY);
	struct thin_identity id;
	uint64_t size;

	(void)state;
	assert_int_equal(thin_storage_size(s, &size), 0);
	assert_true(size == SIZE);
	assert_int_equal(thin_storage_identity(s, &id), 0);
	assert_true(id.size == SIZE && !id.inode && !id.mtime_ns && !id.ctime_ns);
}

static void has_a_fixed_size(void **state)
{
	_cleanup_storage struct thin_storage *s = device_open(0);

	(void)state;
	assert_int_equal(thin_storage_resize(s, SIZE * 2), -ENOTSUP);
	assert_int_equal(thin_storage_write_at(s, SIZE - 1, "xy", 2), -EIO);
}

static void create_takes_a_device_that_is_there(void **state)
{
	_cleanup_storage struct thin_storage *s = device_open(THIN_STORAGE_CREATE);

	(void)state;
	assert_non_null(s);
}

/* The file underneath gets its hole back. */
static void punch_reaches_the_backing_file(void **state)
{
	_cleanup_storage struct thin_storage *s = device_open(0);
	static uint8_t b[SIZE];
	struct stat before, after;

	(void)state;
	memset(b, 0x77, SIZE);
	assert_int_equal(thin_storage_write_at(s, 0, b, SIZE), 0);
	assert_int_equal(thin_storage_flush(s), 0);
	assert_int_equal(stat(scratch("backing"), &before), 0);
	assert_int_equal(thin_storage_punch(s, 0, 100), 0); /* less than a sector */
	assert_int_equal(thin_storage_punch(s, 1, SIZE - 1), 0);
	assert_int_equal(stat(scratch("backing"), &after), 0);
	assert_true(after.st_blocks < before.st_blocks);
	assert_int_equal(thin_storage_read_at(s, 0, b, 512), 0);
	assert_int_equal(b[0], 0x77);
}

static void exclusive_claims_the_device(void **state)
{
	struct thin_storage *s = device_open(THIN_STORAGE_EXCLUSIVE), *t = NULL;
	struct thin_error e;
	int fd;

	(void)state;
	assert_int_equal(thin_storage_open(device, THIN_STORAGE_EXCLUSIVE, &t, &e),
			 -EBUSY);
	assert_has(e.text, device);
	assert_has(e.text, "in use");
	fd = open(device, O_RDONLY | O_EXCL); /* as mount does */
	assert_true(fd < 0 && errno == EBUSY);
	thin_storage_close(s);
	thin_storage_close(device_open(THIN_STORAGE_EXCLUSIVE));
}

/*
 * [D1] of file_io.c.  One thread writes the first sector of each page, byte
 * by byte, through the page cache; another all the other sectors, directly.
 * Neither may undo the other.
 */
static void *write_small(void *arg)
{
	for (uint64_t i = 0; i < 2000; i++)
		if (thin_storage_write_at(arg, i % 4 * 4096, &i, 8))
			return arg;
	return NULL;
}

static void write_round(struct thin_storage *s, uint8_t *b, int round)
{
	struct thin_segment seg[4];

	for (size_t i = 0; i < 4; i++)
		seg[i] = (struct thin_segment){i * 4096 + 512, b + i * 4096 + 512, 3584};
	memset(b, round, 4 * 4096);
	assert_int_equal(thin_storage_write(s, seg, 4), 0);
	memset(b, 0, 4 * 4096);
	assert_int_equal(thin_storage_read(s, seg, 4), 0);
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < seg[i].len; k++)
			if (((uint8_t *)seg[i].buf)[k] != (uint8_t)round)
				fail_msg("page %zu, byte %zu: an older write", i,
					 k + 512);
}

static void cached_and_direct_writers_meet(void **state)
{
	_cleanup_storage struct thin_storage *s = device_open(THIN_STORAGE_DIRECT);
	_cleanup_free uint8_t *b = aligned_alloc(4096, 4 * 4096);
	pthread_t t;
	void *failed;

	(void)state;
	pthread_create(&t, NULL, write_small, s);
	for (int i = 1; i <= 200; i++)
		write_round(s, b, i);
	pthread_join(t, &failed);
	assert_null(failed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_plain_memory),
		cmocka_unit_test(size_and_identity),
		cmocka_unit_test(has_a_fixed_size),
		cmocka_unit_test(create_takes_a_device_that_is_there),
		cmocka_unit_test(punch_reaches_the_backing_file),
		cmocka_unit_test(exclusive_claims_the_device),
		cmocka_unit_test(cached_and_direct_writers_meet),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
