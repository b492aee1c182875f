/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "audit/audit.h"
#include "metadata/metadata.h"
#include "service/backup_file.h"
#include "util/epoch.h"
#include "util/limits.h"

#include <errno.h>

/*
 * A pinned commit: read in the end, after many others, it is what it was.
 */

#define DATA_BLOCKS 4000

static void commit(struct thin_metadata *m)
{
	struct thin_freed *freed = NULL;

	assert_int_equal(thin_metadata_commit(m, NULL, &freed), 0);
	thin_epoch_synchronize();
	thin_metadata_release(m, freed);
}

static void map(struct thin_metadata *m, struct thin_device *d, uint64_t vblock)
{
	uint64_t dblock, nr;

	assert_int_equal(thin_metadata_reserve(m, 1, &dblock, &nr), 0);
	assert_int_equal(thin_metadata_insert(d, vblock, dblock, 1), 0);
}

static struct thin_metadata *new_metadata(uint64_t blocks, struct thin_storage **ret,
					  struct thin_device **ret_device)
{
	struct thin_metadata_params params = {.cache_bytes = THIN_METADATA_CACHE};
	struct thin_metadata *m;

	assert_int_equal(thin_storage_open_memory(blocks * THIN_METADATA_BLOCK, ret), 0);
	assert_int_equal(thin_metadata_format(*ret, 128, DATA_BLOCKS, NULL), 0);
	params.storage = *ret;
	assert_int_equal(thin_metadata_open(&params, &m, NULL), 0);
	assert_int_equal(thin_metadata_create_thin(m, 1), 0);
	assert_int_equal(thin_device_open(m, 1, ret_device), 0);
	for (uint64_t i = 0; i < 1000; i++)
		map(m, *ret_device, i * 3);
	commit(m);
	return m;
}

/* Change things all over, with snapshots that come and go. */
static void churn(struct thin_metadata *m, struct thin_device *d, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t next, at = i * 37 % 3000;

		if (i % 5 == 0)
			assert_int_equal(thin_metadata_create_snap(m, 100 + i, 1), 0);
		assert_int_equal(
			thin_metadata_remove_range(d, at, at + 20, 100, &next, NULL), 0);
		map(m, d, at);
		if (i % 5 == 4)
			assert_int_equal(thin_metadata_delete(m, 100 + i - 4), 0);
		commit(m);
	}
}

static struct thin_audit_summary audited(struct thin_storage *s)
{
	struct thin_audit_summary sums;

	assert_int_equal(thin_audit(s, NULL, NULL, NULL, &sums, NULL), 0);
	assert_int_equal(sums.fatal + sums.nonfatal, 0);
	return sums;
}

static struct thin_storage *copied(struct thin_storage *s, const void *superblock)
{
	struct thin_storage *copy;

	assert_int_equal(thin_storage_open_memory(0, &copy), 0);
	assert_int_equal(thin_backup_copy(s, superblock, copy), 0);
	return copy;
}

static void test_pinned(void **state)
{
	_Alignas(8) uint8_t superblock[THIN_METADATA_BLOCK], again[THIN_METADATA_BLOCK];
	struct thin_audit_summary sums;
	struct thin_metadata_info before, after;
	struct thin_device_info device;
	struct thin_storage *s, *copy;
	struct thin_device *d;
	struct thin_metadata *m = new_metadata(512, &s, &d);

	(void)state;
	/* So that the allocator comes by the pinned blocks before it runs short. */
	churn(m, d, 60);
	thin_metadata_info(m, &before);
	thin_device_info(d, &device);
	assert_int_equal(thin_metadata_pin(m, superblock), 0);
	assert_int_equal(thin_metadata_pin(m, again), -EBUSY);
	churn(m, d, 30);
	copy = copied(s, superblock);
	assert_true(thin_metadata_unpin(m));
	sums = audited(copy);
	assert_int_equal(sums.mapped_blocks, device.mapped_blocks);
	assert_int_equal(sums.nr_devices, 1);
	assert_int_equal(sums.data_used, before.data_allocated);
	thin_storage_close(copy);

	/* Nothing stays set aside. */
	churn(m, d, 5);
	thin_metadata_info(m, &after);
	assert_int_equal(after.metadata_free + after.metadata_allocated +
				 after.metadata_reserve,
			 after.nr_metadata_blocks);
	thin_device_close(d);
	thin_metadata_close(m);
	audited(s);
	thin_storage_close(s);
}

/* Changes do not run out of room because somebody reads. */
static void test_breaks(void **state)
{
	uint8_t superblock[THIN_METADATA_BLOCK];
	struct thin_storage *s;
	struct thin_device *d;
	struct thin_metadata *m = new_metadata(100, &s, &d);

	(void)state;
	assert_int_equal(thin_metadata_pin(m, superblock), 0);
	churn(m, d, 100);
	assert_false(thin_metadata_unpin(m));
	assert_int_equal(thin_metadata_pin(m, superblock), 0);
	assert_true(thin_metadata_unpin(m));
	thin_device_close(d);
	thin_metadata_close(m);
	audited(s);
	thin_storage_close(s);
}

/* Packed and unpacked, of every length that meets an edge. */
static void test_packed(void **state)
{
	static const uint64_t sizes[] = {64, 100, 128, 1000, 2048};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct thin_storage *s, *packed, *back, *other;
		struct thin_device *d;
		struct thin_metadata *m = new_metadata(sizes[i], &s, &d);

		thin_device_close(d);
		thin_metadata_close(m);
		assert_int_equal(thin_storage_open_memory(0, &packed), 0);
		assert_int_equal(thin_storage_open_memory(0, &back), 0);
		assert_int_equal(thin_storage_open_memory(0, &other), 0);
		assert_int_equal(thin_backup_pack(s, packed), 0);
		assert_int_equal(thin_backup_unpack(packed, NULL, s), 0);
		assert_int_equal(thin_backup_unpack(packed, back, NULL), 0);
		assert_int_equal(thin_backup_unpack(packed, NULL, back), 0);
		audited(back);
		assert_int_equal(thin_storage_write_at(back, 4096 * 9, "!", 1), 0);
		assert_int_equal(thin_backup_unpack(packed, NULL, back), -EILSEQ);
		assert_int_equal(thin_storage_resize(packed, 60), 0);
		assert_int_equal(thin_backup_unpack(packed, other, NULL), -EILSEQ);
		thin_storage_close(other);
		thin_storage_close(back);
		thin_storage_close(packed);
		thin_storage_close(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pinned),
		cmocka_unit_test(test_breaks),
		cmocka_unit_test(test_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
