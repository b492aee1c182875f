/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every byte of a small image flipped (P5): one bit of it with the checksum
 * left alone, which is found; each bit (or as many as the argument says)
 * with the checksum made right again, which is survived.  Either way the
 * audit ends after few reads, with little memory.
 */
#include "audit_image.h"
#include "seeded.h"

#define BLOCKS 16

/* A device of two leaves, a snapshot that has one of them, a held copy. */
static void make(struct image *img)
{
	uint64_t leaves[2], own[2];

	image_init(img, BLOCKS, 1000);
	img->time = 1;
	leaves[0] = image_leaf(img, 0, 0, 84, 0);
	leaves[1] = own[1] = image_leaf(img, 84, 84, 85, 0);
	own[0] = image_leaf(img, 0, 200, 84, 1);
	image_device(img, 1, image_internal(img, leaves, 2), 169, 0, 1);
	image_device(img, 2, image_internal(img, own, 2), 169, 1, 1);
	img->hold = true;
	image_commit(img);
	image_expect_clean(img);
	assert_int_equal(img->next, BLOCKS - 1);
}

static enum thin_block_kind kind_of(struct image *img, uint64_t block)
{
	int kind = 0;

	while (thin_block_verify((enum thin_block_kind)kind, image_block(img, block),
				 block))
		kind++;
	return (enum thin_block_kind)kind;
}

static void audit_bounded(struct image *img)
{
	image_audit(img);
	assert_true(img->summary.blocks_read <= 6 * BLOCKS);
	assert_true(img->summary.memory <= BLOCKS * 20000);
}

/* One bit of each byte; @alone: also without a right checksum. */
static void sweep(unsigned bit, bool alone)
{
	uint8_t mask = (uint8_t)(1u << bit);
	struct image img;

	make(&img);
	for (uint64_t block = 0; block < img.next; block++) {
		uint8_t *bytes = image_block(&img, block);
		enum thin_block_kind kind = kind_of(&img, block);

		for (size_t i = 0; i < THIN_METADATA_BLOCK; i++) {
			uint8_t saved[16];

			memcpy(saved, bytes, sizeof(saved));
			bytes[i] ^= mask;
			if (alone) {
				audit_bounded(&img);
				assert_true(img.summary.fatal + img.summary.nonfatal > 0);
			}
			image_seal(&img, kind, block);
			audit_bounded(&img);
			bytes[i] ^= mask;
			memcpy(bytes, saved, sizeof(saved));
		}
	}
	image_expect_clean(&img);
	image_fini(&img);
}

static unsigned nr_bits = 8;

static void test_sweep(void **state)
{
	struct seeded s = seeded_start(__func__);
	unsigned first = (unsigned)seeded_below(&s, 8);

	(void)state;
	for (unsigned i = 0; i < nr_bits; i++)
		sweep((first + i) % 8, i == 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sweep),
	};

	if (argc > 1)
		nr_bits = (unsigned)atoi(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
