/* SPDX-License-Identifier: BSD-3-Clause */
/* Batches: each block where it belongs, read once, whatever the others do. */
#include "audit/batch.h"

#include "audit_image.h"
#include "seeded.h"

#define BLOCKS 40

/* Every block begins with its number. */
static void make(struct image *img)
{
	image_init(img, BLOCKS, 0);
	for (uint64_t i = 0; i < BLOCKS; i++)
		memcpy(image_block(img, i), &i, sizeof(i));
}

static void expect_block(const struct batch *b, uint64_t block, int expected)
{
	int status = 1;
	const void *data = audit_batch_get(b, block, &status);
	uint64_t found;

	assert_non_null(data);
	assert_int_equal(status, expected);
	memcpy(&found, data, sizeof(found));
	if (!expected)
		assert_int_equal(found, block);
}

static void test_any_order(void **state)
{
	struct image img;
	struct batch b;
	struct seeded s = seeded_start(__func__);

	(void)state;
	make(&img);
	assert_int_equal(audit_batch_init(&b, 64, BLOCKS), 0);
	for (unsigned round = 0; round < 500; round++) {
		bool wanted[BLOCKS] = {false};
		int status;

		audit_batch_clear(&b);
		memset(img.reads, 0, BLOCKS * sizeof(*img.reads));
		for (uint64_t nr = seeded_below(&s, 65); nr; nr--) {
			uint64_t block = seeded_below(&s, BLOCKS);

			audit_batch_add(&b, block);
			wanted[block] = true;
		}
		audit_batch_load(&b, &img.storage);
		for (uint64_t i = 0; i < BLOCKS; i++) {
			assert_int_equal(img.reads[i], wanted[i]);
			if (wanted[i])
				expect_block(&b, i, 0);
			else
				assert_null(audit_batch_get(&b, i, &status));
		}
	}
	audit_batch_fini(&b);
	image_fini(&img);
}

/* Neighbours are read in one piece, in whatever order they were asked for. */
static void test_neighbours(void **state)
{
	struct image img;
	struct batch b;

	(void)state;
	make(&img);
	assert_int_equal(audit_batch_init(&b, 8, BLOCKS), 0);
	audit_batch_add(&b, 6);
	audit_batch_add(&b, 4);
	audit_batch_add(&b, 5);
	audit_batch_add(&b, 5);
	audit_batch_add(&b, 9);
	audit_batch_add(&b, 11);
	audit_batch_load(&b, &img.storage);
	assert_int_equal(img.segments, 3);
	audit_batch_fini(&b);
	image_fini(&img);
}

/* One that can not be read, and one past the end, do not hurt the others. */
static void test_failures(void **state)
{
	struct image img;
	struct batch b;

	(void)state;
	make(&img);
	img.fail_read = 11;
	assert_int_equal(audit_batch_init(&b, 8, UINT64_MAX), 0);
	audit_batch_add(&b, 12);
	audit_batch_add(&b, 11);
	audit_batch_add(&b, BLOCKS + 5);
	audit_batch_add(&b, 10);
	audit_batch_add(&b, 3);
	audit_batch_load(&b, &img.storage);
	expect_block(&b, 3, 0);
	expect_block(&b, 10, 0);
	expect_block(&b, 11, -EIO);
	expect_block(&b, 12, 0);
	expect_block(&b, BLOCKS + 5, -EIO);
	audit_batch_clear(&b);
	audit_batch_load(&b, &img.storage);
	audit_batch_fini(&b);
	audit_batch_fini(&b);
	image_fini(&img);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
