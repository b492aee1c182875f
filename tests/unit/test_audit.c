/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sound metadata is called sound, in all its forms.  (tests/audit has many
 * more images, and a second auditor to compare with.)
 */
#include "audit_image.h"

/* --- sound -------------------------------------------------------------- */

static void test_empty_pool(void **state)
{
	struct image img;

	(void)state;
	image_init(&img, 16, 0);
	image_commit(&img);
	image_expect_clean(&img);
	assert_int_equal(img.summary.nr_devices, 0);
	assert_int_equal(img.summary.metadata_blocks, 16);
	assert_int_equal(img.summary.metadata_used, 8);
	image_fini(&img);
}

static void test_pool(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, false);
	image_expect_clean(&img);
	assert_int_equal(img.summary.nr_devices, 4);
	assert_int_equal(img.summary.mapped_blocks, 900);
	assert_int_equal(img.summary.data_blocks, 1000);
	assert_int_equal(img.summary.data_used, 400);
	assert_int_equal(img.summary.notes, 0);
	image_fini(&img);
}

static void test_held_pool(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, true);
	image_expect_clean(&img);
	image_fini(&img);
}

/* A mapping that the held trees keep and the live ones have replaced. */
static void test_held_differs(void **state)
{
	struct image img;
	uint64_t both;

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 1;
	both = image_leaf(&img, 0, 50, 10, 1);
	image_device(&img, 1, image_leaf(&img, 0, 0, 10, 0), 10, 0, 0);
	image_device(&img, 2, both, 10, 1, 1);
	image_hold(&img);
	/* Written in place: what a held snapshot shares is not protected. */
	image_device(&img, 1, image_leaf(&img, 0, 1, 12, 1), 12, 0, 0);
	image_device(&img, 2, both, 10, 1, 1);
	image_device(&img, 3, image_leaf(&img, 7, 90, 1, 0), 1, 1, 1);
	image_commit(&img);
	image_expect_clean(&img);
	assert_int_equal(img.summary.nr_devices, 3);
	assert_int_equal(img.summary.mapped_blocks, 23);
	/* Only the held device 1 has a wrong number, which is told as such. */
	image_details(&img, img.held_details, 1)->mapped_blocks = le64_of(11);
	image_seal(&img, THIN_NODE, img.held_details);
	IMAGE_EXPECT(&img, THIN_AUDIT_MAPPED_BLOCKS);
	image_expect_text(&img,
			  "metadata snapshot: device 1: the number of mapped blocks: "
			  "is 11, should be 10");
	image_fini(&img);
}

/* Counts of three and more, of data and of metadata. */
static void test_overflow(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 9;
	for (unsigned i = 0; i < 4; i++)
		image_device(&img, i, image_leaf(&img, 5, 20, 10, 0), 10, 0, 9);
	leaf = image_leaf(&img, 0, 500, 3, 0);
	for (unsigned i = 4; i < 8; i++)
		image_device(&img, i, leaf, 3, 0, 9);
	image_commit(&img);
	assert_int_equal(thin_node_nr(image_node(&img, img.data_overflow)), 10);
	assert_int_equal(thin_node_nr(image_node(&img, img.metadata_overflow)), 1);
	image_expect_clean(&img);
	image_fini(&img);
}

/* A data block that so many leaves map that its count outgrows a byte. */
static void test_large_counts(void **state)
{
	struct image img;
	uint64_t leaves[252], root;

	(void)state;
	image_init(&img, 600, 40000);
	img.time = 1;
	/* All leaves have the same 100 blocks, besides others. */
	for (unsigned device = 0; device < 2; device++) {
		for (unsigned i = 0; i < 252; i++) {
			leaves[i] = image_leaf(&img, i * 200, i * 100, 83, 0);
			for (unsigned j = 0; j < 100; j++)
				image_map(&img, leaves[i], i * 200 + 83 + j, 39000 + j,
					  0);
		}
		root = image_internal(&img, leaves, 252);
		image_device(&img, device, root, 252 * 183, 0, 1);
	}
	image_commit(&img);
	assert_int_equal(img.data_refs[39000], 504);
	image_audit(&img);
	assert_int_equal(img.seen[THIN_AUDIT_DATA_LEAK], 0);
	assert_int_equal(img.seen[THIN_AUDIT_DATA_COUNT_LOW], 0);
	assert_int_equal(img.seen[THIN_AUDIT_DATA_COUNT_HIGH], 0);
	assert_true(img.seen[THIN_AUDIT_DOUBLE_FLAGGED] > 0);
	image_fini(&img);
}

/* Several bitmaps of data, the last one partial, some blocks in each. */
static void test_many_bitmaps(void **state)
{
	struct image img;
	uint64_t leaf;
	unsigned mapped = 0;

	(void)state;
	image_init(&img, 64, 5 * THIN_COUNTS_PER_BITMAP + 77);
	leaf = image_new_node(&img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);
	for (uint64_t b = 0; b < img.nr_data; b += 1001, mapped++)
		image_map(&img, leaf, b * 3, b, 0);
	image_map(&img, leaf, UINT64_C(1) << 44, img.nr_data - 1, 0);
	image_device(&img, 0, leaf, mapped + 1, 0, 0);
	image_commit(&img);
	image_expect_clean(&img);
	image_fini(&img);
}

static void test_other_capacity_is_a_note(void **state)
{
	struct image img;
	uint64_t leaves[4];

	(void)state;
	image_init(&img, 64, 1000);
	img.capacity = 9;
	for (unsigned i = 0; i < 4; i++)
		leaves[i] = image_leaf(&img, i * 9, i * 9, 3 + i, 0);
	image_device(&img, 1, image_internal(&img, leaves, 4), 18, 0, 0);
	image_commit(&img);
	IMAGE_EXPECT(&img, THIN_AUDIT_MAX_ENTRIES_UNUSUAL);
	assert_int_equal(img.summary.fatal + img.summary.nonfatal, 0);
	image_fini(&img);
}

/*
 * thin_restore's block that was freed too late may lie before others that
 * are in use; then none_free_before may be past it, but no further.
 */
static void test_restored_in_the_middle(void **state)
{
	struct image img;
	struct thin_disk_index_entry *e;
	struct le64 *allocated;

	(void)state;
	image_init(&img, 64, 1000);
	(void)image_alloc(&img);
	image_commit(&img);
	image_expect_clean(&img);
	e = &((struct thin_disk_index *)image_block(&img, img.index))->entries[0];
	allocated = &image_sb(&img)->metadata_space_map.nr_allocated;
	assert_int_equal(le32_get(e->none_free_before), 1);
	e->nr_free = le32_of(le32_get(e->nr_free) - 1);
	e->none_free_before = le32_of((uint32_t)img.next);
	*allocated = le64_of(le64_get(*allocated) + 1);
	image_seal(&img, THIN_INDEX, img.index);
	image_seal(&img, THIN_SUPERBLOCK, 0);
	IMAGE_EXPECT(&img, THIN_AUDIT_RESTORE_OFF_BY_ONE);
	e->none_free_before = le32_of((uint32_t)img.next + 1);
	image_seal(&img, THIN_INDEX, img.index);
	IMAGE_EXPECT(&img, THIN_AUDIT_RESTORE_OFF_BY_ONE, THIN_AUDIT_NONE_FREE_BEFORE);
	image_fini(&img);
}

/* none_free_before may be too low, a parent's key lower than need be. */
static void test_hints_may_be_low(void **state)
{
	struct image img;
	struct thin_disk_index *index;

	(void)state;
	image_pool(&img, false);
	index = image_block(&img, img.index);
	index->entries[0].none_free_before = le32_of(0);
	image_seal(&img, THIN_INDEX, img.index);
	image_node(&img, image_root(&img, 1))->keys[1] = le64_of(101 - 1);
	image_seal(&img, THIN_NODE, image_root(&img, 1));
	image_expect_clean(&img);
	image_fini(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_pool),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_held_pool),
		cmocka_unit_test(test_held_differs),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_large_counts),
		cmocka_unit_test(test_many_bitmaps),
		cmocka_unit_test(test_other_capacity_is_a_note),
		cmocka_unit_test(test_restored_in_the_middle),
		cmocka_unit_test(test_hints_may_be_low),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
