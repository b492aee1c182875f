/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whatever is on the device (P5): the audit ends, soon, with a verdict, and
 * takes no more memory than what is there accounts for.
 */
#include "audit_image.h"
#include "seeded.h"

/* The bounds that every audit of a small image keeps. */
static void audit_bounded(struct image *img)
{
	memset(img->reads, 0, img->nr_blocks * sizeof(*img->reads));
	image_audit(img);
	assert_true(img->summary.memory <= img->nr_blocks * 20000);
	for (uint64_t i = 0; i < img->nr_blocks; i++)
		if (img->reads[i] > 40)
			fail_msg("block %" PRIu64 " was read %u times", i, img->reads[i]);
}

static void assert_damaged(const struct image *img)
{
	assert_true(img->summary.fatal + img->summary.nonfatal > 0);
}

/* --- trees that are none ------------------------------------------------ */

/*
 * Ten levels of nodes whose 252 children are all the same node: 252^10
 * ways down.  Two devices have it.
 */
static void test_exponential(void **state)
{
	struct image img;
	uint64_t node;

	(void)state;
	image_init(&img, 64, 1000);
	node = image_leaf(&img, 0, 0, 100, 0);
	for (unsigned level = 0; level < 10; level++) {
		uint64_t parent =
			image_new_node(&img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);

		for (unsigned i = 0; i < 252; i++)
			image_add_child(&img, parent, i, node);
		node = parent;
	}
	image_device(&img, 1, node, 100, 0, 1);
	image_device(&img, 2, node, 100, 0, 1);
	img.time = 1;
	image_commit(&img);
	audit_bounded(&img);
	assert_damaged(&img);
	image_fini(&img);
}

/* The same with an empty leaf, so that no key is out of its range. */
static void test_exponential_empty(void **state)
{
	struct image img;
	uint64_t node;

	(void)state;
	image_init(&img, 64, 1000);
	node = image_new_node(&img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);
	for (unsigned level = 0; level < 14; level++) {
		uint64_t parent =
			image_new_node(&img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);

		for (unsigned i = 0; i < 252; i++)
			image_add_child(&img, parent, i, node);
		node = parent;
	}
	for (unsigned i = 0; i < 8; i++)
		image_device(&img, i, node, 0, 0, 0);
	image_commit(&img);
	audit_bounded(&img);
	assert_damaged(&img);
	image_fini(&img);
}

static uint64_t chain(struct image *img, unsigned levels)
{
	uint64_t node = image_leaf(img, 0, 0, 100, 0);

	while (--levels) {
		uint64_t parent =
			image_new_node(img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);

		image_add_child(img, parent, 0, node);
		node = parent;
	}
	return node;
}

static void test_depth(void **state)
{
	struct image img;

	(void)state;
	for (unsigned levels = 15; levels < 20; levels++) {
		image_init(&img, 64, 1000);
		image_device(&img, 1, chain(&img, levels), 100, 0, 0);
		image_commit(&img);
		audit_bounded(&img);
		assert_int_equal(img.seen[THIN_AUDIT_TOO_DEEP],
				 levels > THIN_MAX_TREE_DEPTH);
		image_fini(&img);
	}
}

/* Too deep only from one of two devices; the other one comes first or last. */
static void test_depth_when_shared(void **state)
{
	struct image img;

	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		bool first = round & 1, too_deep = round & 2;
		uint64_t shallow, deep;

		image_init(&img, 64, 1000);
		img.time = 1;
		shallow = chain(&img, 10);
		deep = shallow;
		for (unsigned i = 10; i < THIN_MAX_TREE_DEPTH + (unsigned)too_deep; i++) {
			uint64_t parent = image_new_node(&img, THIN_NODE_INTERNAL,
							 THIN_VALUE_BLOCK);

			image_add_child(&img, parent, 0, deep);
			deep = parent;
		}
		image_device(&img, 1, first ? shallow : deep, 100, 0, 1);
		image_device(&img, 2, first ? deep : shallow, 100, 1, 1);
		image_commit(&img);
		audit_bounded(&img);
		assert_int_equal(img.seen[THIN_AUDIT_TOO_DEEP], too_deep);
		image_fini(&img);
	}
}

static void test_cycles(void **state)
{
	struct image img;
	uint64_t nodes[5];

	(void)state;
	image_init(&img, 64, 1000);
	for (unsigned i = 0; i < 5; i++)
		nodes[i] = image_new_node(&img, THIN_NODE_INTERNAL, THIN_VALUE_BLOCK);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned j = 0; j < 100; j++)
			image_add_child(&img, nodes[i], j, nodes[(i + j) % 5]);
	for (unsigned i = 0; i < 5; i++)
		image_device(&img, i, nodes[i], 0, 0, 0);
	image_commit(&img);
	audit_bounded(&img);
	assert_true(img.seen[THIN_AUDIT_CYCLE] > 0);
	image_fini(&img);
}

/* --- numbers ------------------------------------------------------------ */

static void set64(struct image *img, size_t offset, uint64_t value)
{
	struct le64 v = le64_of(value);

	memcpy(img->bytes + offset, &v, sizeof(v));
	image_seal(img, THIN_SUPERBLOCK, 0);
}

/* Each number of the superblock in turn, absurd. */
static void test_superblock_numbers(void **state)
{
	static const uint64_t values[] = {
		0,
		1,
		2,
		63,
		64,
		65,
		16320,
		UINT64_C(1) << 24,
		UINT64_C(255) * 16320,
		UINT64_C(1) << 40,
		(UINT64_C(1) << 40) + 1,
		UINT64_C(1) << 63,
		UINT64_MAX,
	};
	struct image pool, img;

	(void)state;
	image_pool(&pool, true);
	for (size_t offset = 40; offset < sizeof(struct thin_disk_superblock);
	     offset += 4) {
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			image_copy(&img, &pool);
			set64(&img, offset, values[i]);
			audit_bounded(&img);
			image_fini(&img);
		}
	}
	image_fini(&pool);
}

/* Limits, on both sides. */
static void test_limits(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, false);
	set64(&img, offsetof(struct thin_disk_superblock, metadata_space_map),
	      THIN_MAX_METADATA_BLOCKS);
	audit_bounded(&img);
	assert_int_equal(img.seen[THIN_AUDIT_SB_METADATA_TOO_LARGE], 0);
	set64(&img, offsetof(struct thin_disk_superblock, metadata_space_map),
	      THIN_MAX_METADATA_BLOCKS + 1);
	audit_bounded(&img);
	assert_int_equal(img.seen[THIN_AUDIT_SB_METADATA_TOO_LARGE], 1);
	set64(&img, offsetof(struct thin_disk_superblock, data_space_map),
	      THIN_MAX_DATA_BLOCKS);
	audit_bounded(&img);
	assert_int_equal(img.seen[THIN_AUDIT_SB_DATA_NR_BLOCKS], 0);
	set64(&img, offsetof(struct thin_disk_superblock, data_space_map),
	      THIN_MAX_DATA_BLOCKS + 1);
	audit_bounded(&img);
	assert_int_equal(img.seen[THIN_AUDIT_SB_DATA_NR_BLOCKS], 1);
	image_fini(&img);
}

static void test_no_metadata(void **state)
{
	struct image img;

	(void)state;
	image_init(&img, 4, 0);
	img.nr_there = 0;
	IMAGE_EXPECT(&img, THIN_AUDIT_FILE_TOO_SHORT);
	img.nr_there = 4;
	IMAGE_EXPECT(&img, THIN_AUDIT_UNFORMATTED);
	memset(img.bytes, 0xa5, 4 * THIN_METADATA_BLOCK);
	IMAGE_EXPECT(&img, THIN_AUDIT_BAD_CHECKSUM, THIN_AUDIT_SB_MAGIC);
	assert_false(img.summary.complete);
	image_fini(&img);
}

/* --- garbage ------------------------------------------------------------ */

/*
 * One bit of each byte that is in use: found where the checksum is left
 * alone, survived where it is made right again.
 */
static void test_flips(void **state)
{
	struct image pool, img;
	struct seeded s = seeded_start(__func__);

	(void)state;
	image_pool(&pool, true);
	image_copy(&img, &pool);
	for (uint64_t block = 0; block < pool.next; block++) {
		for (size_t offset = seeded_below(&s, 7); offset < THIN_METADATA_BLOCK;
		     offset += 1 + seeded_below(&s, 40)) {
			uint8_t *bytes = image_block(&img, block);

			bytes[offset] ^= (uint8_t)(1u << seeded_below(&s, 8));
			audit_bounded(&img);
			assert_damaged(&img);
			bytes[offset] = ((uint8_t *)image_block(&pool, block))[offset];
		}
	}
	image_fini(&img);
	image_fini(&pool);
}

static enum thin_block_kind kind_of(struct image *img, uint64_t block)
{
	for (int kind = 0; kind < THIN_BLOCK_KINDS; kind++)
		if (!thin_block_verify((enum thin_block_kind)kind,
				       image_block(img, block), block))
			return (enum thin_block_kind)kind;
	fail_msg("block %" PRIu64 " is none", block);
	return THIN_NODE;
}

static void test_flips_with_checksums(void **state)
{
	struct image pool, img;
	struct seeded s = seeded_start(__func__);

	(void)state;
	image_pool(&pool, true);
	image_copy(&img, &pool);
	for (uint64_t block = 0; block < pool.next; block++) {
		enum thin_block_kind kind = kind_of(&pool, block);

		for (size_t offset = 4; offset < THIN_METADATA_BLOCK;
		     offset += offset < 100 ? 1 : 1 + seeded_below(&s, 40)) {
			uint8_t *bytes = image_block(&img, block);

			if (offset >= 8 && offset < 16)
				continue;
			bytes[offset] ^= (uint8_t)(1u << seeded_below(&s, 8));
			image_seal(&img, kind, block);
			audit_bounded(&img);
			memcpy(bytes, image_block(&pool, block), THIN_METADATA_BLOCK);
		}
	}
	image_fini(&img);
	image_fini(&pool);
}

/* Words of several blocks, changed for numbers that mean something. */
static void test_scribbles(void **state)
{
	static const uint64_t words[] = {
		0, 1, 2, 3, 252, 0xffff, 0xffffffff, UINT64_C(1) << 40, UINT64_MAX};
	struct image pool, img;
	struct seeded s = seeded_start(__func__);

	(void)state;
	image_pool(&pool, true);
	for (unsigned round = 0; round < 600; round++) {
		image_copy(&img, &pool);
		for (unsigned i = 0; i < 1 + round % 8; i++) {
			uint64_t block = seeded_below(&s, pool.next);
			enum thin_block_kind kind = kind_of(&pool, block);
			size_t room = seeded_below(&s, 2) ? 12 : 1021;
			size_t offset = 4 * (4 + seeded_below(&s, room - 2));
			uint64_t word = words[seeded_below(&s, ARRAY_LEN(words))];

			if (seeded_below(&s, 2))
				word = seeded_below(&s, pool.nr_blocks);
			memcpy((uint8_t *)image_block(&img, block) + offset, &word,
			       sizeof(word));
			image_seal(&img, kind, block);
		}
		audit_bounded(&img);
		image_fini(&img);
	}
	image_fini(&pool);
}

/* Every block is some other one's content, sealed for its new place. */
static void test_swaps(void **state)
{
	struct image pool, img;

	(void)state;
	image_pool(&pool, true);
	for (uint64_t to = 0; to < pool.next; to++) {
		for (uint64_t from = 0; from < pool.next; from++) {
			image_copy(&img, &pool);
			memcpy(image_block(&img, to), image_block(&pool, from),
			       THIN_METADATA_BLOCK);
			image_seal(&img, kind_of(&pool, from), to);
			audit_bounded(&img);
			image_fini(&img);
		}
	}
	image_fini(&pool);
}

/* --- work that is worth its while --------------------------------------- */

/*
 * Many devices share a damaged leaf: each is told, up to a bound, and then
 * told that it was not gone into.
 */
static void test_many_devices_one_damage(void **state)
{
	struct image img;
	uint64_t leaves[200], root, top[40];
	unsigned nr_top = 40, nr = 0;

	(void)state;
	image_init(&img, 600, 20000);
	img.time = 1;
	for (unsigned i = 0; i < 200; i++)
		leaves[i] = image_leaf(&img, i * 100, i * 100, 84, 0);
	root = image_internal(&img, leaves, 200);
	image_device(&img, 1, root, 0, 0, 1);
	image_commit(&img);
	/* A top level of many leaves, made by hand. */
	for (unsigned i = 0; i < nr_top; i++) {
		top[i] = image_new_node(&img, THIN_NODE_LEAF, THIN_VALUE_BLOCK);
		for (unsigned j = 0; j < 252; j++)
			image_add64(&img, top[i], nr++, root);
	}
	image_sb(&img)->data_mapping_root = le64_of(image_internal(&img, top, nr_top));
	image_seal(&img, THIN_SUPERBLOCK, 0);
	for (unsigned i = 0; i < 200; i++)
		((uint8_t *)image_block(&img, leaves[i]))[99] ^= 1;
	image_audit(&img);
	assert_true(img.seen[THIN_AUDIT_BAD_CHECKSUM] >= 200);
	assert_true(img.seen[THIN_AUDIT_BAD_CHECKSUM] < 100000);
	assert_true(img.seen[THIN_AUDIT_WORK_LIMIT] > 9000);
	assert_true(img.summary.blocks_read < 150000);
	image_fini(&img);
}

/* --- the device and the caller ------------------------------------------ */

/* Each block in turn can not be read: that is a finding, of that block. */
static void test_read_errors(void **state)
{
	struct image img;

	(void)state;
	image_pool(&img, true);
	for (uint64_t block = 0; block < img.next; block++) {
		img.fail_read = block;
		audit_bounded(&img);
		assert_true(img.seen[THIN_AUDIT_READ_ERROR] > 0);
		for (unsigned i = 0; i < img.nr_findings; i++)
			if (img.findings[i].kind == THIN_AUDIT_READ_ERROR)
				assert_int_equal(img.findings[i].block, block);
	}
	image_fini(&img);
}

/* Any limit: no memory, or the same verdict. */
static void test_memory_limit(void **state)
{
	struct image img;
	struct thin_audit_params p = {.max_memory = 1};
	uint64_t need;

	(void)state;
	image_pool(&img, true);
	image_expect_clean(&img);
	need = img.summary.memory;
	assert_true(need > 1000);
	for (; p.max_memory < need; p.max_memory += 61) {
		assert_int_equal(image_try_audit(&img, &p), -ENOMEM);
		assert_has(img.error.text, "memory");
	}
	p.max_memory = need;
	assert_int_equal(image_try_audit(&img, &p), 0);
	assert_int_equal(img.nr_findings, 0);
	image_fini(&img);
}

static int stop_at(void *ctx, const struct thin_finding *f)
{
	unsigned *left = ctx;

	(void)f;
	return --*left ? 0 : 42;
}

static void test_stop(void **state)
{
	struct image img;
	struct thin_audit_summary summary;
	unsigned nr;

	(void)state;
	image_pool(&img, true);
	memset(image_block(&img, img.data_index), 1, THIN_METADATA_BLOCK);
	memset(image_block(&img, image_root(&img, 1)), 1, THIN_METADATA_BLOCK);
	image_audit(&img);
	nr = img.nr_findings;
	assert_true(nr > 3);
	for (unsigned i = 1; i <= nr + 1; i++) {
		unsigned left = i;
		int r = thin_audit(&img.storage, NULL, stop_at, &left, &summary, NULL);

		assert_int_equal(r, i <= nr ? 42 : 0);
		assert_int_equal(left, i <= nr ? 0 : 1);
	}
	/* Only the sums. */
	assert_int_equal(thin_audit(&img.storage, NULL, NULL, NULL, &summary, NULL), 0);
	assert_int_equal(summary.fatal, img.summary.fatal);
	assert_int_equal(summary.nonfatal, img.summary.nonfatal);
	assert_int_equal(summary.blocks_read, img.summary.blocks_read);
	image_fini(&img);
}

static int count_progress(void *ctx, uint64_t done, uint64_t total)
{
	unsigned *calls = ctx;

	assert_true(done <= total);
	return ++*calls == 2 ? -ECANCELED : 0;
}

static void test_progress(void **state)
{
	struct image img;
	unsigned calls = 0;
	struct thin_audit_params p = {.progress = count_progress, .progress_ctx = &calls};
	uint64_t leaves[252], tops[9];

	(void)state;
	image_init(&img, 2400, 300000);
	for (unsigned i = 0; i < 9; i++) {
		for (unsigned j = 0; j < 252; j++) {
			unsigned n = i * 252 + j;

			leaves[j] = image_leaf(&img, n * 100, n * 100, 84, 0);
		}
		tops[i] = image_internal(&img, leaves, 252);
	}
	image_device(&img, 1, image_internal(&img, tops, 9), 9 * 252 * 84, 0, 0);
	image_commit(&img);
	image_expect_clean(&img);
	/* Neighbours are read together: that is what makes it fast. */
	assert_true(img.segments < img.summary.blocks_read / 20);
	assert_int_equal(image_try_audit(&img, &p), -ECANCELED);
	assert_int_equal(calls, 2);
	calls = 2;
	assert_int_equal(image_try_audit(&img, &p), 0);
	assert_int_equal(calls, 2 + img.summary.blocks_read / 1024);
	image_fini(&img);
}

static void test_data_device(void **state)
{
	struct image img;
	struct thin_audit_params p = {.nr_data_blocks = 1000};

	(void)state;
	image_pool(&img, true);
	assert_int_equal(image_try_audit(&img, &p), 0);
	assert_int_equal(img.nr_findings, 0);
	p.nr_data_blocks = 999;
	assert_int_equal(image_try_audit(&img, &p), 0);
	assert_int_equal(img.nr_findings, 1);
	assert_int_equal(img.seen[THIN_AUDIT_DATA_TOO_SHORT], 1);
	image_fini(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exponential),
		cmocka_unit_test(test_exponential_empty),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_depth_when_shared),
		cmocka_unit_test(test_cycles),
		cmocka_unit_test(test_superblock_numbers),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_no_metadata),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_flips_with_checksums),
		cmocka_unit_test(test_scribbles),
		cmocka_unit_test(test_swaps),
		cmocka_unit_test(test_many_devices_one_damage),
		cmocka_unit_test(test_read_errors),
		cmocka_unit_test(test_memory_limit),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_data_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
