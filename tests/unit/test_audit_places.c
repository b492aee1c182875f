/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Findings say where: which device, which of its blocks, which metadata
 * block; for every device that is concerned, and joined where they are
 * neighbours.  And the sentences that people read.
 */
#include "audit_image.h"
#include "seeded.h"

static void flip(struct image *img, uint64_t block)
{
	((uint8_t *)image_block(img, block))[4000] ^= 1;
}

static void set_mapping(struct image *img, uint64_t leaf, uint32_t i, uint64_t dblock,
			uint32_t time)
{
	struct le64 v = le64_of(thin_mapping_pack(dblock, time));

	memcpy(thin_node_value_mut(image_node(img, leaf), i), &v, sizeof(v));
	image_seal(img, THIN_NODE, leaf);
}

/* "device 3: blocks 100..199 unreadable: metadata block 2: ..." */
static void expect(struct image *img, const char *range, uint64_t block,
		   const char *problem)
{
	char text[THIN_FINDING_TEXT];

	snprintf(text, sizeof(text), "%s unreadable: metadata block %" PRIu64 ": %s",
		 range, block, problem);
	image_expect_text(img, text);
}

/* --- where -------------------------------------------------------------- */

static void test_leaf_of_one_device(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_pool(&img, false);
	leaf = image_pool_leaf(&img, 2, 0);
	flip(&img, leaf);
	image_audit(&img);
	assert_int_equal(img.summary.fatal, 1);
	expect(&img, "device 2: blocks 0..99", leaf, "the checksum is wrong");
	assert_false(img.summary.complete);
	image_fini(&img);
}

/* A leaf that four device trees have, two of them by the same root. */
static void test_leaf_of_many_devices(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_pool(&img, true);
	leaf = image_pool_leaf(&img, 1, 2);
	flip(&img, leaf);
	image_audit(&img);
	assert_int_equal(img.summary.fatal, 6);
	expect(&img, "device 1: blocks from 200 on", leaf, "the checksum is wrong");
	expect(&img, "device 2: blocks from 200 on", leaf, "the checksum is wrong");
	expect(&img, "device 3: blocks from 200 on", leaf, "the checksum is wrong");
	expect(&img, "metadata snapshot: device 1: blocks from 200 on", leaf,
	       "the checksum is wrong");
	image_fini(&img);
}

/* What a node says of itself, and what it should. */
static void test_numbers(void **state)
{
	struct image img;
	struct thin_disk_node *n;
	uint64_t leaf;

	(void)state;
	image_pool(&img, false);
	leaf = image_pool_leaf(&img, 2, 0);
	n = image_node(&img, leaf);
	n->nr_entries = le32_of(253);
	image_seal(&img, THIN_NODE, leaf);
	image_audit(&img);
	expect(&img, "device 2: blocks 0..99", leaf,
	       "a node has more entries than room for them: is 253, the limit is 252");
	n->value_size = le32_of(16);
	image_seal(&img, THIN_NODE, leaf);
	image_audit(&img);
	expect(&img, "device 2: blocks 0..99", leaf,
	       "a node of another tree: its value size: is 16, should be 8");
	thin_block_seal(THIN_NODE, n, 5000);
	image_audit(&img);
	assert_int_equal(img.findings[0].found, 5000);
	assert_int_equal(img.findings[0].expected, leaf);
	img.nr_there = 4;
	image_audit(&img);
	image_expect_text(&img,
			  "the metadata device ends before its last block: its blocks: "
			  "is 4, should be 64");
	image_fini(&img);
}

static void test_root(void **state)
{
	struct image img;
	uint64_t root;

	(void)state;
	image_pool(&img, false);
	root = image_root(&img, 2);
	flip(&img, root);
	image_audit(&img);
	assert_int_equal(img.summary.fatal, 1);
	expect(&img, "device 2: all blocks", root, "the checksum is wrong");
	image_fini(&img);
}

static void test_other_trees(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, true);
	flip(&img, img.top);
	flip(&img, img.details);
	flip(&img, img.data_index);
	flip(&img, img.metadata_overflow);
	image_audit(&img);
	expect(&img, "all devices", img.top, "the checksum is wrong");
	expect(&img, "metadata snapshot: all devices", img.top, "the checksum is wrong");
	expect(&img, "all details of devices", img.details, "the checksum is wrong");
	expect(&img, "all counts of data blocks", img.data_index,
	       "the checksum is wrong");
	expect(&img, "all counts of metadata blocks", img.metadata_overflow,
	       "the checksum is wrong");
	image_fini(&img);
}

static void test_bitmaps(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, false);
	flip(&img, img.data_bitmap);
	flip(&img, img.metadata_bitmap);
	image_audit(&img);
	assert_int_equal(img.summary.fatal, 2);
	expect(&img, "counts of data blocks 0..999", img.data_bitmap,
	       "the checksum is wrong");
	expect(&img, "counts of metadata blocks 0..63", img.metadata_bitmap,
	       "the checksum is wrong");
	assert_true(img.summary.complete);
	image_fini(&img);
}

/* Exact counts of blocks whose bitmap is gone are not judged; others are. */
static void test_exact_counts_without_bitmap(void **state)
{
	struct image img;

	(void)state;
	image_init(&img, 64, 3 * THIN_COUNTS_PER_BITMAP);
	img.time = 1;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t leaf = image_leaf(&img, 0, 100, 10, 0);

		image_map(&img, leaf, 10, THIN_COUNTS_PER_BITMAP + 7, 0);
		image_map(&img, leaf, 11, 2 * THIN_COUNTS_PER_BITMAP + 7, 0);
		image_device(&img, i, leaf, 12, 0, 1);
	}
	image_commit(&img);
	image_expect_clean(&img);
	flip(&img, img.data_bitmap);
	flip(&img, img.data_bitmap + 2);
	image_audit(&img);
	assert_int_equal(img.nr_findings, 2);
	expect(&img, "counts of data blocks 0..16319", img.data_bitmap,
	       "the checksum is wrong");
	expect(&img, "counts of data blocks 32640..48959", img.data_bitmap + 2,
	       "the checksum is wrong");
	image_fini(&img);
}

/* A stale exact count does not spoil those that come after it. */
static void test_stale_before_others(void **state)
{
	struct image img;
	struct thin_disk_node *n;
	struct le32 three = le32_of(3);

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 1;
	for (unsigned i = 0; i < 3; i++)
		image_device(&img, i, image_leaf(&img, 0, 100, 10, 0), 10, 0, 1);
	image_commit(&img);
	image_add(&img, img.data_overflow, 110, &three);
	n = image_node(&img, img.data_overflow);
	for (uint32_t i = 0; i < thin_node_nr(n); i++)
		n->keys[i] = le64_of(i ? 99 + i : 50);
	image_seal(&img, THIN_NODE, img.data_overflow);
	IMAGE_EXPECT(&img, THIN_AUDIT_OVERFLOW_STALE);
	image_expect_text(&img,
			  "count of data block 50: an exact count, where the bitmap "
			  "has a small one: is 3, should be 0");
	image_fini(&img);
}

static void test_held_copy(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, true);
	flip(&img, img.held);
	image_audit(&img);
	expect(&img, "metadata snapshot: all devices", img.held, "the checksum is wrong");
	image_fini(&img);
}

/* The first block is named, whichever was met first. */
static void test_slack(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_pool(&img, false);
	leaf = image_pool_leaf(&img, 1, 0);
	flip(&img, leaf);
	image_seal(&img, THIN_NODE, leaf);
	flip(&img, img.top);
	image_seal(&img, THIN_NODE, img.top);
	IMAGE_EXPECT(&img, THIN_AUDIT_SLACK_NONZERO);
	assert_int_equal(img.findings[0].block, leaf);
	assert_int_equal(img.findings[0].found, 2);
	image_fini(&img);
}

/* Each mapping by itself, and then in a row. */
static void test_mappings_are_joined(void **state)
{
	struct image img;
	uint64_t leaf;
	char text[THIN_FINDING_TEXT];

	(void)state;
	image_pool(&img, false);
	leaf = image_pool_leaf(&img, 2, 0);
	for (uint32_t i = 10; i < 20; i++)
		set_mapping(&img, leaf, i, 5000 + i, 1);
	set_mapping(&img, leaf, 30, 330, 9);
	image_audit(&img);
	assert_int_equal(img.summary.fatal, 2);
	snprintf(
		text, sizeof(text),
		"device 2: blocks 10..19: metadata block %" PRIu64
		": mapped past the end of the data: to block: is 5010, the limit is 1000",
		leaf);
	image_expect_text(&img, text);
	snprintf(text, sizeof(text),
		 "device 2: block 30: metadata block %" PRIu64
		 ": mapped in the future: at time: is 9, the limit is 2",
		 leaf);
	image_expect_text(&img, text);
	image_fini(&img);
}

/* Damage in a shared leaf concerns whoever has it, and mappings do, too. */
static void test_mappings_of_many_devices(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, false);
	set_mapping(&img, image_pool_leaf(&img, 1, 1), 0, 1000, 0);
	image_audit(&img);
	assert_int_equal(img.seen[THIN_AUDIT_MAPPING_PAST_END], 3);
	image_fini(&img);
}

static void test_counts_are_joined(void **state)
{
	struct image img;
	struct thin_disk_bitmap *b;

	(void)state;
	image_pool(&img, false);
	b = image_block(&img, img.data_bitmap);
	for (uint32_t i = 500; i < 600; i++)
		thin_bitmap_set(b, i, i < 550 ? 1 : 2);
	for (uint32_t i = 20; i < 30; i++)
		thin_bitmap_set(b, i, 2);
	image_seal(&img, THIN_BITMAP, img.data_bitmap);
	image_audit(&img);
	image_expect_text(&img,
			  "data blocks 500..549: in the count, but nothing refers to "
			  "it: the count: is 1, should be 0");
	image_expect_text(&img,
			  "data blocks 550..599: in the count, but nothing refers to "
			  "it: the count: is 2, should be 0");
	image_expect_text(&img,
			  "data blocks 20..29: the reference count is too high: is 2, "
			  "should be 1");
	image_fini(&img);
}

/* --- doubles ------------------------------------------------------------ */

/* Across two leaves; both devices that have them are told, the third is not. */
static void test_double_across_leaves(void **state)
{
	struct image img;
	uint64_t leaves[2], other[2], root;

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 1;
	leaves[0] = image_leaf(&img, 0, 0, 100, 0);
	leaves[1] = image_leaf(&img, 100, 50, 100, 0);
	other[0] = leaves[0];
	other[1] = image_leaf(&img, 100, 500, 100, 0);
	root = image_internal(&img, leaves, 2);
	image_device(&img, 1, root, 200, 0, 1);
	image_device(&img, 2, root, 200, 1, 1);
	image_device(&img, 3, image_internal(&img, other, 2), 200, 1, 1);
	image_commit(&img);
	IMAGE_EXPECT(&img, THIN_AUDIT_DOUBLE_FLAGGED);
	assert_int_equal(img.nr_findings, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(img.findings[i].device, i + 1);
		assert_int_equal(img.findings[i].first, 100);
		assert_int_equal(img.findings[i].last, 149);
		assert_int_equal(img.findings[i].found, 50);
		assert_int_equal(img.findings[i].block, leaves[1]);
	}
	image_fini(&img);
}

/* One data block at different blocks of different devices: odd, but legal. */
static void test_same_data_in_two_devices(void **state)
{
	struct image img;

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 1;
	image_device(&img, 1, image_leaf(&img, 0, 10, 50, 0), 50, 0, 1);
	image_device(&img, 2, image_leaf(&img, 7, 10, 50, 0), 50, 0, 1);
	image_commit(&img);
	image_expect_clean(&img);
	image_fini(&img);
}

/* In the held trees only. */
static void test_double_in_held(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_init(&img, 64, 1000);
	leaf = image_leaf(&img, 0, 10, 5, 0);
	image_map(&img, leaf, 77, 12, 0);
	image_device(&img, 1, leaf, 6, 0, 0);
	image_hold(&img);
	image_device(&img, 1, image_leaf(&img, 0, 10, 5, 0), 5, 0, 0);
	image_commit(&img);
	IMAGE_EXPECT(&img, THIN_AUDIT_DOUBLE_MAPPING);
	assert_int_equal(img.nr_findings, 1);
	assert_true(img.findings[0].held);
	assert_int_equal(img.findings[0].first, 77);
	image_fini(&img);
}

/* The highest key there is; and a device that would write the block in place. */
static void test_double_at_the_last_key(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_init(&img, 64, 1000);
	leaf = image_leaf(&img, 0, 10, 1, 0);
	image_map(&img, leaf, UINT64_MAX, 10, 0);
	image_device(&img, 1, leaf, 2, 0, 0);
	img.time = 1;
	image_commit(&img);
	IMAGE_EXPECT(&img, THIN_AUDIT_DOUBLE_MAPPING, THIN_AUDIT_SHARED_NOT_FLAGGED);
	image_fini(&img);
}

/*
 * Any tangle: devices with leaves of their own and of others, which map few
 * data blocks over and over, at the same keys and at others.
 */
#define TANGLE_LEAVES 12
#define TANGLE_KEYS   40
#define TANGLE_DATA   2000

static bool device_has_double(const unsigned *leaves, uint64_t data[][TANGLE_KEYS])
{
	static bool seen[TANGLE_DATA];
	bool twice = false;

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < TANGLE_KEYS; j++) {
			twice |= seen[data[leaves[i]][j]];
			seen[data[leaves[i]][j]] = true;
		}
	}
	return twice;
}

static void tangle(struct seeded *s)
{
	/* Leaves of even number have the keys below 100, the others those above. */
	uint64_t data[TANGLE_LEAVES][TANGLE_KEYS], leaf[TANGLE_LEAVES];
	unsigned mine[IMAGE_DEVICES][2];
	unsigned spread = 1 + (unsigned)seeded_below(s, 30);
	bool told[IMAGE_DEVICES] = {false};
	struct image img;

	image_init(&img, 64, TANGLE_DATA);
	img.capacity = 120;
	img.time = 1;
	for (unsigned i = 0; i < TANGLE_LEAVES; i++) {
		leaf[i] = image_new_node(&img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);
		for (unsigned j = 0; j < TANGLE_KEYS; j++) {
			uint64_t key = 100 * (i % 2) + j;

			data[i][j] = seeded_below(s, 40)
					     ? key * 7 + seeded_below(s, spread)
					     : seeded_below(s, TANGLE_DATA);
			image_map(&img, leaf[i], key, data[i][j], 0);
		}
	}
	for (unsigned d = 0; d < IMAGE_DEVICES; d++) {
		uint64_t children[2];

		for (unsigned i = 0; i < 2; i++) {
			mine[d][i] = 2 * (unsigned)seeded_below(s, TANGLE_LEAVES / 2) + i;
			children[i] = leaf[mine[d][i]];
		}
		image_device(&img, d, image_internal(&img, children, 2), 2 * TANGLE_KEYS,
			     0, 1);
	}
	image_commit(&img);
	image_audit(&img);
	for (unsigned i = 0; i < img.nr_findings; i++)
		if (img.findings[i].kind == THIN_AUDIT_DOUBLE_FLAGGED)
			told[img.findings[i].device] = true;
	for (unsigned d = 0; d < IMAGE_DEVICES; d++)
		assert_int_equal(told[d], device_has_double(mine[d], data));
	image_fini(&img);
}

static void test_tangles(void **state)
{
	struct seeded s = seeded_start(__func__);

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		tangle(&s);
}

/* --- sharing ------------------------------------------------------------ */

/* Different leaves, the same data: only the counts know. */
static void test_shared_data_not_flagged(void **state)
{
	struct image img;

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 1;
	image_device(&img, 1, image_leaf(&img, 0, 10, 50, 0), 50, 0, 0);
	image_device(&img, 2, image_leaf(&img, 0, 10, 20, 0), 20, 1, 1);
	image_commit(&img);
	IMAGE_EXPECT(&img, THIN_AUDIT_SHARED_NOT_FLAGGED);
	image_expect_text(&img,
			  "data blocks 10..29: shared, but a write would go to it in "
			  "place");
	image_fini(&img);
}

/* One leaf; the device that comes first takes it for its own. */
static void test_shared_leaf_not_flagged(void **state)
{
	struct image img;
	uint64_t leaf;

	(void)state;
	image_init(&img, 64, 1000);
	img.time = 2;
	leaf = image_leaf(&img, 0, 10, 50, 0);
	image_map(&img, leaf, 60, 100, 1);
	image_map(&img, leaf, 61, 101, 1);
	image_device(&img, 1, leaf, 52, 0, 1);
	image_device(&img, 2, leaf, 52, 2, 2);
	image_commit(&img);
	IMAGE_EXPECT(&img, THIN_AUDIT_SHARED_NOT_FLAGGED);
	assert_int_equal(img.nr_findings, 1);
	assert_int_equal(img.findings[0].first, 60);
	assert_int_equal(img.findings[0].last, 61);
	image_fini(&img);
}

/* --- text --------------------------------------------------------------- */

static bool name_device(void *ctx, uint64_t device, char *buf, size_t len)
{
	(void)ctx;
	snprintf(buf, len, "volume vm%" PRIu64, device);
	return device == 1;
}

static void test_names(void **state)
{
	struct thin_finding f = {
		.kind = THIN_AUDIT_BAD_CHECKSUM,
		.unit = THIN_AUDIT_VBLOCKS,
		.device = 1,
		.first = 100,
		.last = 199,
		.block = 17,
	};
	char text[THIN_FINDING_TEXT];

	(void)state;
	thin_finding_format(&f, name_device, NULL, text, sizeof(text));
	assert_string_equal(text,
			    "volume vm1: blocks 100..199 unreadable: metadata block 17: "
			    "the checksum is wrong");
	f.device = 3;
	f.last = 100;
	thin_finding_format(&f, name_device, NULL, text, sizeof(text));
	assert_string_equal(text,
			    "device 3: block 100 unreadable: metadata block 17: the "
			    "checksum is wrong");
	thin_finding_format(&f, name_device, NULL, text, 10);
	assert_string_equal(text, "device 3:");
	thin_finding_format(&f, NULL, NULL, text, 1);
	assert_string_equal(text, "");
}

/* Every kind has a name, a severity and a sentence, and all names differ. */
static void test_kinds(void **state)
{
	(void)state;
	for (int i = 0; i < THIN_AUDIT_KINDS; i++) {
		struct thin_finding f = {
			.kind = (enum thin_audit_kind)i,
			.unit = THIN_AUDIT_MBLOCK_COUNTS,
			.held = true,
			.device = UINT64_MAX - 1,
			.first = UINT64_MAX - 9,
			.last = UINT64_MAX - 1,
			.block = UINT64_MAX - 1,
			.expected = UINT64_MAX,
			.found = UINT64_MAX,
		};
		char text[THIN_FINDING_TEXT];

		assert_non_null(thin_audit_kind_name(f.kind));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(
				thin_audit_kind_name(f.kind),
				thin_audit_kind_name((enum thin_audit_kind)j));
		thin_finding_format(&f, NULL, NULL, text, sizeof(text));
		assert_true(strlen(text) < sizeof(text) - 1);
	}
	assert_true(thin_audit_mendable(THIN_AUDIT_DATA_LEAK));
	assert_true(thin_audit_mendable(THIN_AUDIT_DATA_COUNT_LOW));
	assert_false(thin_audit_mendable(THIN_AUDIT_BAD_CHECKSUM));
	assert_string_equal(thin_audit_severity_name(THIN_AUDIT_NOTE), "note");
	assert_string_equal(thin_audit_severity_name(THIN_AUDIT_NONFATAL), "nonfatal");
	assert_string_equal(thin_audit_severity_name(THIN_AUDIT_FATAL), "fatal");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leaf_of_one_device),
		cmocka_unit_test(test_leaf_of_many_devices),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_other_trees),
		cmocka_unit_test(test_bitmaps),
		cmocka_unit_test(test_exact_counts_without_bitmap),
		cmocka_unit_test(test_stale_before_others),
		cmocka_unit_test(test_held_copy),
		cmocka_unit_test(test_slack),
		cmocka_unit_test(test_mappings_are_joined),
		cmocka_unit_test(test_mappings_of_many_devices),
		cmocka_unit_test(test_counts_are_joined),
		cmocka_unit_test(test_double_across_leaves),
		cmocka_unit_test(test_same_data_in_two_devices),
		cmocka_unit_test(test_double_in_held),
		cmocka_unit_test(test_double_at_the_last_key),
		cmocka_unit_test(test_tangles),
		cmocka_unit_test(test_shared_data_not_flagged),
		cmocka_unit_test(test_shared_leaf_not_flagged),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
