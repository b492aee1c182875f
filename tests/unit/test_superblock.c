/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "format/superblock.h"

#include <errno.h>

#define NR_METADATA UINT64_C(1000)

static union {
	struct thin_disk_superblock sb;
	uint8_t bytes[THIN_METADATA_BLOCK];
} block;

static struct thin_error error;

/* A superblock that has nothing wrong. */
static int make_good(void **state)
{
	struct thin_disk_superblock *sb = &block.sb;

	(void)state;
	memset(&block, 0, sizeof(block));
	sb->magic = le64_of(THIN_MAGIC);
	sb->version = le32_of(THIN_VERSION);
	sb->data_space_map.nr_blocks = le64_of(5000);
	sb->data_space_map.nr_allocated = le64_of(5000);
	sb->data_space_map.bitmap_root = le64_of(1);
	sb->data_space_map.ref_count_root = le64_of(NR_METADATA - 1);
	sb->metadata_space_map.nr_blocks = le64_of(NR_METADATA);
	sb->metadata_space_map.nr_allocated = le64_of(8);
	sb->metadata_space_map.bitmap_root = le64_of(2);
	sb->metadata_space_map.ref_count_root = le64_of(3);
	sb->data_mapping_root = le64_of(4);
	sb->device_details_root = le64_of(5);
	sb->data_block_size = le32_of(128);
	sb->metadata_block_size = le32_of(8);
	return 0;
}

static int check(void)
{
	memset(&error, 0, sizeof(error));
	thin_block_seal(THIN_SUPERBLOCK, &block, 0);
	return thin_superblock_check(&block, 0, &error);
}

static void expect(int result, const char *word)
{
	assert_int_equal(check(), result);
	assert_has(error.text, word);
}

static void good_is_good(void **state)
{
	(void)state;
	assert_int_equal(check(), 0);
	assert_string_equal(error.text, "");
}

/* Fields that the kernel leaves alone, or fills in its own way. */
static void what_the_kernel_ignores_is_ignored(void **state)
{
	(void)state;
	block.sb.flags = le32_of(0xffffffff);
	memset(block.sb.uuid, 0xee, sizeof(block.sb.uuid));
	block.sb.metadata_block_size = le32_of(16);
	block.sb.metadata_nr_blocks = le64_of(UINT64_MAX);
	block.sb.compat_flags = le32_of(1);
	memset(block.sb.data_space_map.unused, 0xee, 96);
	block.bytes[4095] = 1;
	assert_int_equal(check(), 0);
}

static void magic(void **state)
{
	(void)state;
	block.sb.magic = le64_of(THIN_MAGIC + 1);
	expect(-EMEDIUMTYPE, "magic");
}

/* Somebody else's device is not called damaged. */
static void magic_is_looked_at_first(void **state)
{
	(void)state;
	memset(&block, 0x5a, sizeof(block));
	assert_int_equal(thin_superblock_check(&block, 0, &error), -EMEDIUMTYPE);
}

static void checksum_and_place(void **state)
{
	(void)state;
	assert_int_equal(check(), 0);
	block.bytes[300] ^= 1;
	assert_int_equal(thin_superblock_check(&block, 0, &error), -EILSEQ);
	block.bytes[300] ^= 1;
	assert_int_equal(thin_superblock_check(&block, 1, &error), -ENOTBLK);
	assert_int_equal(thin_superblock_check(&block, 1, NULL), -ENOTBLK);
}

static void version(void **state)
{
	(void)state;
	block.sb.version = le32_of(1);
	assert_int_equal(check(), 0);
	block.sb.version = le32_of(0);
	expect(-ENOTSUP, "version 0");
	block.sb.version = le32_of(3);
	expect(-ENOTSUP, "version 3");
}

static void feature_flags(void **state)
{
	(void)state;
	block.sb.incompat_flags = le32_of(4);
	expect(-ENOTSUP, "0x4");
	block.sb.incompat_flags = le32_of(0);
	block.sb.compat_ro_flags = le32_of(2);
	expect(-ENOTSUP, "0x2");
}

static void data_block_size(void **state)
{
	static const uint32_t good[] = {8, 128, 2097152}, bad[] = {0, 7, 2097153, ~0u};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		block.sb.data_block_size = le32_of(good[i]);
		assert_int_equal(check(), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		block.sb.data_block_size = le32_of(bad[i]);
		expect(-EILSEQ, "data block size");
	}
}

static void time_has_24_bits(void **state)
{
	(void)state;
	block.sb.time = le32_of((1u << 24) - 1);
	assert_int_equal(check(), 0);
	block.sb.time = le32_of(1u << 24);
	expect(-EILSEQ, "time");
}

static void counts(void **state)
{
	(void)state;
	block.sb.metadata_space_map.nr_blocks = le64_of(THIN_MAX_METADATA_BLOCKS);
	block.sb.data_space_map.nr_blocks = le64_of(THIN_MAX_DATA_BLOCKS);
	assert_int_equal(check(), 0);
	block.sb.metadata_space_map.nr_blocks = le64_of(THIN_MAX_METADATA_BLOCKS + 1);
	expect(-EILSEQ, "metadata blocks");
	make_good(NULL);
	block.sb.data_space_map.nr_blocks = le64_of(THIN_MAX_DATA_BLOCKS + 1);
	expect(-EILSEQ, "data blocks");
	make_good(NULL);
	block.sb.data_space_map.nr_allocated = le64_of(5001);
	expect(-EILSEQ, "data blocks");
	make_good(NULL);
	block.sb.metadata_space_map.nr_allocated = le64_of(NR_METADATA + 1);
	expect(-EILSEQ, "metadata blocks");
}

/* Each root: not block 0, not past the metadata's end. */
static void roots(void **state)
{
	static const struct {
		struct le64 *field;
		const char *word;
	} all[] = {
		{&block.sb.data_space_map.bitmap_root, "data space map"},
		{&block.sb.data_space_map.ref_count_root, "data space map"},
		{&block.sb.metadata_space_map.bitmap_root, "metadata space map"},
		{&block.sb.metadata_space_map.ref_count_root, "metadata space map"},
		{&block.sb.data_mapping_root, "mapping root"},
		{&block.sb.device_details_root, "details root"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		make_good(NULL);
		*all[i].field = le64_of(NR_METADATA - 1);
		assert_int_equal(check(), 0);
		*all[i].field = le64_of(NR_METADATA);
		expect(-EILSEQ, all[i].word);
		*all[i].field = le64_of(0);
		expect(-EILSEQ, all[i].word);
	}
}

static void held_root(void **state)
{
	(void)state;
	block.sb.held_root = le64_of(NR_METADATA - 1);
	assert_int_equal(check(), 0);
	block.sb.held_root = le64_of(NR_METADATA);
	expect(-EILSEQ, "held root");
}

/* The kernel's copy has a metadata space map that is all zeros. */
static void held_copy_needs_no_space_maps(void **state)
{
	(void)state;
	memset(&block.sb.metadata_space_map, 0, sizeof(block.sb.metadata_space_map));
	thin_block_seal(THIN_SUPERBLOCK, &block, 9);
	assert_int_equal(thin_superblock_check(&block, 9, &error), 0);
}

static void blank(void **state)
{
	(void)state;
	assert_false(thin_superblock_blank(&block));
	memset(&block, 0, sizeof(block));
	assert_true(thin_superblock_blank(&block));
	block.bytes[4095] = 1;
	assert_false(thin_superblock_blank(&block));
}

#define WITH_GOOD(fn) cmocka_unit_test_setup(fn, make_good)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_GOOD(good_is_good),
		WITH_GOOD(what_the_kernel_ignores_is_ignored),
		WITH_GOOD(magic),
		WITH_GOOD(magic_is_looked_at_first),
		WITH_GOOD(checksum_and_place),
		WITH_GOOD(version),
		WITH_GOOD(feature_flags),
		WITH_GOOD(data_block_size),
		WITH_GOOD(time_has_24_bits),
		WITH_GOOD(counts),
		WITH_GOOD(roots),
		WITH_GOOD(held_root),
		WITH_GOOD(held_copy_needs_no_space_maps),
		WITH_GOOD(blank),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
