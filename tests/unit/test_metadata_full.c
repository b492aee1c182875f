/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "audit/audit.h"
#include "metadata/metadata.h"
#include "util/epoch.h"
#include "util/limits.h"

#include <errno.h>

/*
 * Metadata down to the reserve, of data that lie as far apart as can be: each
 * mapping's block is in another bitmap than its neighbours', and each bitmap
 * that is changed takes a block until the commit.
 */

#define PER_BITMAP UINT64_C(16320)

static int commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;
	int r = thin_metadata_commit(m, NULL, &freed);

	if (r)
		return r;
	thin_epoch_synchronize();
	thin_metadata_release(m, freed);
	return 0;
}

static struct thin_metadata *new_metadata(uint64_t blocks, uint64_t bitmaps,
					  struct thin_storage **ret)
{
	struct thin_metadata_params params = {.cache_bytes = THIN_METADATA_CACHE};
	struct thin_metadata *m;

	assert_int_equal(thin_storage_open_memory(blocks * THIN_METADATA_BLOCK, ret), 0);
	assert_int_equal(thin_metadata_format(*ret, 128, bitmaps * PER_BITMAP, NULL), 0);
	params.storage = *ret;
	assert_int_equal(thin_metadata_open(&params, &m, NULL), 0);
	return m;
}

/* All the data, as one reservation after the other; so any block can be chosen. */
static void reserve_all(struct thin_metadata *m, uint64_t blocks)
{
	for (uint64_t all = 0; all < blocks;) {
		uint64_t dblock, nr;

		assert_int_equal(thin_metadata_reserve(m, blocks, &dblock, &nr), 0);
		all += nr;
	}
}

/* Map until there is no room, each block in the bitmap after the last one's. */
static uint64_t fill(struct thin_metadata *m, struct thin_device *d, uint64_t bitmaps,
		     uint64_t from)
{
	unsigned refused = 0;
	uint64_t i = from;

	while (refused < 2 && i < bitmaps * PER_BITMAP) {
		uint64_t dblock = i % bitmaps * PER_BITMAP + i / bitmaps;
		int r = thin_metadata_insert(d, i, dblock, 1);

		if (r)
			assert_int_equal(r, -ENOBUFS);
		refused = r ? refused + 1 : 0;
		i += !r;
		if (r)
			assert_int_equal(commit(m), 0);
	}
	return i;
}

/* Trim, in steps as the pool takes them, and without a commit as long as it goes. */
static void remove_all(struct thin_metadata *m, struct thin_device *d, uint64_t end,
		       uint64_t step)
{
	for (uint64_t at = 0; at < end;) {
		struct thin_metadata_info info;
		uint64_t removed;

		assert_int_equal(
			thin_metadata_remove_range(d, at, end, step, &at, &removed), 0);
		thin_metadata_info(m, &info);
		if (!info.metadata_free)
			assert_int_equal(commit(m), 0);
	}
	assert_int_equal(commit(m), 0);
}

static void is_sound(struct thin_storage *s)
{
	struct thin_audit_summary sums;

	assert_int_equal(thin_audit(s, NULL, NULL, NULL, &sums, NULL), 0);
	assert_int_equal(sums.fatal + sums.nonfatal, 0);
}

struct shape {
	uint64_t blocks, bitmaps, step;
};

static void empty_again(const struct shape *shape)
{
	struct thin_storage *s;
	struct thin_metadata *m = new_metadata(shape->blocks, shape->bitmaps, &s);
	struct thin_device *d;
	uint64_t end;

	reserve_all(m, shape->bitmaps * PER_BITMAP);
	assert_int_equal(thin_metadata_create_thin(m, 1), 0);
	assert_int_equal(commit(m), 0);
	assert_int_equal(thin_device_open(m, 1, &d), 0);
	end = fill(m, d, shape->bitmaps, 0);
	assert_true(end > 0);
	remove_all(m, d, end, shape->step);
	thin_device_close(d);
	assert_int_equal(thin_metadata_delete(m, 1), 0);
	assert_int_equal(commit(m), 0);
	thin_metadata_close(m);
	is_sound(s);
	thin_storage_close(s);
}

static void test_scattered(void **state)
{
	static const struct shape shapes[] = {
		{64, 1, 1024},	 {64, 20, 1024},   {100, 40, 1024}, {160, 60, 1024},
		{160, 90, 1024}, {400, 250, 1024}, {400, 250, 64},  {1000, 700, 1024},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		empty_again(&shapes[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scattered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
