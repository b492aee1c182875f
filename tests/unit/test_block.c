/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"
#include "seeded.h"

#include "format/block.h"

#include "util/crc32c.h"

#include <errno.h>

static const uint32_t constants[THIN_BLOCK_KINDS] = {
	[THIN_SUPERBLOCK] = 0x27406,
	[THIN_NODE] = 0x1d913,
	[THIN_BITMAP] = 0x3ac8b,
	[THIN_INDEX] = 0x272de,
};

static uint8_t block[THIN_METADATA_BLOCK];

static uint32_t stored(void)
{
	return le32_get(((struct thin_disk_header *)block)->csum);
}

static void seal_stores_number_and_sum(void **state)
{
	struct seeded s = seeded_start(__func__);

	(void)state;
	for (unsigned kind = 0; kind < THIN_BLOCK_KINDS; kind++) {
		seeded_fill(&s, block, sizeof(block));
		thin_block_seal(kind, block, 0x1122334455);
		assert_int_equal(block[8], 0x55);
		assert_int_equal(block[12], 0x11);
		assert_int_equal(stored(),
				 thin_crc32c(block + 4, 4092) ^ constants[kind]);
		assert_int_equal(thin_block_verify(kind, block, 0x1122334455), 0);
	}
}

/* What thin_check says it wants of a superblock that is all zeros. */
static void sum_of_zeros(void **state)
{
	(void)state;
	memset(block, 0, sizeof(block));
	thin_block_seal(THIN_SUPERBLOCK, block, 0);
	assert_int_equal(stored(), 1490015127);
}

static void kinds_are_told_apart(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < THIN_BLOCK_KINDS; kind++) {
		thin_block_seal(kind, block, 7);
		for (unsigned other = 0; other < THIN_BLOCK_KINDS; other++)
			assert_int_equal(thin_block_verify(other, block, 7),
					 other == kind ? 0 : -EILSEQ);
	}
}

static void another_place_is_enotblk(void **state)
{
	(void)state;
	thin_block_seal(THIN_NODE, block, 7);
	assert_int_equal(thin_block_verify(THIN_NODE, block, 8), -ENOTBLK);
}

static void any_flipped_bit_is_seen(void **state)
{
	struct seeded s = seeded_start(__func__);

	(void)state;
	seeded_fill(&s, block, sizeof(block));
	thin_block_seal(THIN_BITMAP, block, 3);
	for (size_t byte = 0; byte < sizeof(block); byte++) {
		uint8_t bit = (uint8_t)(1u << seeded_below(&s, 8));

		block[byte] ^= bit;
		assert_int_equal(thin_block_verify(THIN_BITMAP, block, 3), -EILSEQ);
		block[byte] ^= bit;
	}
	assert_int_equal(thin_block_verify(THIN_BITMAP, block, 3), 0);
}

static void kinds_have_names(void **state)
{
	(void)state;
	assert_string_equal(thin_block_kind_name(THIN_NODE), "btree node");
	for (unsigned kind = 0; kind < THIN_BLOCK_KINDS; kind++)
		assert_non_null(thin_block_kind_name(kind));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seal_stores_number_and_sum),
		cmocka_unit_test(sum_of_zeros),
		cmocka_unit_test(kinds_are_told_apart),
		cmocka_unit_test(another_place_is_enotblk),
		cmocka_unit_test(any_flipped_bit_is_seen),
		cmocka_unit_test(kinds_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
