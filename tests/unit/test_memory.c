/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage_model.h"

#include "util/limits.h"

#include <pthread.h>
#include <stdatomic.h>

#define MIB (UINT64_C(1) << 20)

static struct thin_storage *make(uint64_t size)
{
	struct thin_storage *s;

	assert_int_equal(thin_storage_open_memory(size, &s), 0);
	return s;
}

static void equals_plain_memory(void **state)
{
	struct seeded rnd = seeded_start(__func__);

	(void)state;
	for (uint64_t align = 1; align <= 4096; align *= 64) {
		_cleanup_storage struct thin_storage *s = make(MIB / 2 + align);

		model_run(s, rnd, align, 100);
	}
}

static void begins_as_zeros_and_may_be_empty(void **state)
{
	_cleanup_storage struct thin_storage *s = make(0), *t = make(10000);
	uint8_t b[10000], zeros[10000] = {0};

	(void)state;
	assert_int_equal(thin_storage_read_at(s, 0, b, 0), 0);
	assert_int_equal(thin_storage_read_at(s, 0, b, 1), -EIO);
	assert_int_equal(thin_storage_read_at(t, 0, b, sizeof(b)), 0);
	assert_memory_equal(b, zeros, sizeof(b));
}

/* What was cut off does not come back, in no part of a page. */
static void shrunk_and_grown_is_zero(void **state)
{
	static const uint64_t cuts[] = {0, 1, 4095, 4096, 4097, 9000};
	uint8_t b[10000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		_cleanup_storage struct thin_storage *s = make(sizeof(b));

		memset(b, 0xaa, sizeof(b));
		assert_int_equal(thin_storage_write_at(s, 0, b, sizeof(b)), 0);
		assert_int_equal(thin_storage_resize(s, cuts[i]), 0);
		assert_int_equal(thin_storage_resize(s, sizeof(b)), 0);
		assert_int_equal(thin_storage_read_at(s, 0, b, sizeof(b)), 0);
		for (size_t k = 0; k < sizeof(b); k++)
			assert_int_equal(b[k], k < cuts[i] ? 0xaa : 0);
	}
}

static int first_extent(void *ctx, uint64_t offset, uint64_t len,
			enum thin_extent_type type)
{
	struct thin_segment *seg = ctx;

	(void)type;
	seg->offset = offset;
	seg->len = len;
	return 1;
}

/* Much of it costs what is written to it. */
static void is_sparse(void **state)
{
	uint64_t size = MIB << 14;
	_cleanup_storage struct thin_storage *s = make(size);
	struct thin_segment first;

	(void)state;
	assert_int_equal(thin_storage_write_at(s, size - 1, "x", 1), 0);
	assert_int_equal(thin_storage_extents(s, size - MIB, MIB, first_extent, &first),
			 1);
	assert_true(first.offset == size - MIB);
	assert_true(first.len == MIB - 4096);
	assert_int_equal(thin_storage_punch(s, 0, size), 0);
}

static void too_big_is_refused(void **state)
{
	_cleanup_storage struct thin_storage *s = make(0);
	struct thin_storage *t = NULL;

	(void)state;
	assert_int_equal(thin_storage_open_memory(THIN_MAX_VOLUME_SIZE + 1, &t), -EFBIG);
	assert_int_equal(thin_storage_resize(s, UINT64_MAX), -EFBIG);
	assert_null(t);
}

static atomic_int torn;

static void *write_and_read(void *arg)
{
	struct thin_storage *s = arg;
	uint8_t b[512];

	for (int i = 0; i < 1000; i++) {
		memset(b, i, sizeof(b));
		if (thin_storage_write_at(s, 512, b, sizeof(b)) ||
		    thin_storage_read_at(s, 512, b, sizeof(b)) ||
		    memcmp(b, b + 1, sizeof(b) - 1))
			atomic_fetch_add(&torn, 1);
	}
	return NULL;
}

/* S1, also while somebody resizes. */
static void sectors_are_whole(void **state)
{
	_cleanup_storage struct thin_storage *s = make(4096);
	pthread_t t[3];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_create(&t[i], NULL, write_and_read, s);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(thin_storage_resize(s, 4096 + i % 7 * 65536), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		pthread_join(t[i], NULL);
	assert_int_equal(torn, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equals_plain_memory),
		cmocka_unit_test(begins_as_zeros_and_may_be_empty),
		cmocka_unit_test(shrunk_and_grown_is_zero),
		cmocka_unit_test(is_sparse),
		cmocka_unit_test(too_big_is_refused),
		cmocka_unit_test(sectors_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
