/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"
#include "seeded.h"

#include "format/space_map_layout.h"

static struct thin_disk_bitmap bitmap;
static uint8_t model[THIN_COUNTS_PER_BITMAP];

/* The two bits are swapped: four blocks of count 1 are 0xAA, of 2 0x55. */
static void bytes_on_disk(void **state)
{
	static const struct {
		uint32_t count;
		uint8_t byte;
	} all[] = {{0, 0x00}, {1, 0xaa}, {2, 0x55}, {3, 0xff}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		for (uint32_t b = 0; b < 4; b++)
			thin_bitmap_set(&bitmap, b, all[i].count);
		assert_int_equal(bitmap.counts[0], all[i].byte);
	}
}

static void first_entry_is_the_lowest_bits(void **state)
{
	(void)state;
	memset(&bitmap, 0, sizeof(bitmap));
	thin_bitmap_set(&bitmap, 0, 1);
	thin_bitmap_set(&bitmap, 3, 2);
	assert_int_equal(bitmap.counts[0], 0x42);
	thin_bitmap_set(&bitmap, THIN_COUNTS_PER_BITMAP - 1, 3);
	assert_int_equal(((uint8_t *)&bitmap)[4095], 0xc0);
}

static void make_random(struct seeded *s, uint64_t one_free_in)
{
	memset(&bitmap, 0xee, sizeof(bitmap));
	for (uint32_t i = 0; i < THIN_COUNTS_PER_BITMAP; i++) {
		model[i] = (uint8_t)(1 + seeded_below(s, 3));
		if (!seeded_below(s, one_free_in))
			model[i] = 0;
		thin_bitmap_set(&bitmap, i, model[i]);
	}
}

static void set_and_get(void **state)
{
	struct seeded s = seeded_start(__func__);

	(void)state;
	make_random(&s, 4);
	for (uint32_t i = 0; i < THIN_COUNTS_PER_BITMAP; i++)
		assert_int_equal(thin_bitmap_get(&bitmap, i), model[i]);
	assert_int_equal(bitmap.header.csum.raw, 0xeeeeeeee); /* untouched */
}

static uint32_t naive_find(uint32_t begin, uint32_t end)
{
	while (begin < end && model[begin])
		begin++;
	return begin;
}

static uint32_t naive_count(uint32_t nr)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < nr; i++)
		n += !model[i];
	return n;
}

static void find_and_count_equal_naive_ones(void **state)
{
	static const uint64_t densities[] = {1, 2, 40, 1000, 100000};
	struct seeded s = seeded_start(__func__);

	(void)state;
	for (size_t d = 0; d < ARRAY_LEN(densities); d++) {
		make_random(&s, densities[d]);
		for (int i = 0; i < 300; i++) {
			uint32_t end =
				(uint32_t)seeded_below(&s, THIN_COUNTS_PER_BITMAP + 1);
			uint32_t begin = (uint32_t)seeded_below(&s, end + 1);

			assert_int_equal(thin_bitmap_find_free(&bitmap, begin, end),
					 naive_find(begin, end));
			assert_int_equal(thin_bitmap_count_free(&bitmap, end),
					 naive_count(end));
		}
	}
}

/* One free block in a full bitmap, wherever it is; and just not seen. */
static void the_one_free_block_is_found(void **state)
{
	uint32_t all = THIN_COUNTS_PER_BITMAP;

	(void)state;
	memset(&bitmap, 0xaa, sizeof(bitmap));
	assert_int_equal(thin_bitmap_find_free(&bitmap, 0, all), all);
	assert_int_equal(thin_bitmap_count_free(&bitmap, all), 0);
	for (uint32_t i = 0; i < all; i += 7) {
		thin_bitmap_set(&bitmap, i, 0);
		assert_int_equal(thin_bitmap_find_free(&bitmap, 0, all), i);
		assert_int_equal(thin_bitmap_find_free(&bitmap, i, i + 1), i);
		assert_int_equal(thin_bitmap_find_free(&bitmap, 0, i), i);
		assert_int_equal(thin_bitmap_find_free(&bitmap, i + 1, all), all);
		assert_int_equal(thin_bitmap_count_free(&bitmap, i), 0);
		assert_int_equal(thin_bitmap_count_free(&bitmap, i + 1), 1);
		thin_bitmap_set(&bitmap, i, 1);
	}
}

static void empty_range(void **state)
{
	(void)state;
	memset(&bitmap, 0, sizeof(bitmap));
	assert_int_equal(thin_bitmap_find_free(&bitmap, 9, 9), 9);
	assert_int_equal(thin_bitmap_count_free(&bitmap, 0), 0);
}

static void how_many_bitmaps(void **state)
{
	(void)state;
	assert_int_equal(thin_nr_bitmaps(0), 0);
	assert_int_equal(thin_nr_bitmaps(1), 1);
	assert_int_equal(thin_nr_bitmaps(16320), 1);
	assert_int_equal(thin_nr_bitmaps(16321), 2);
	assert_int_equal(thin_nr_bitmaps(THIN_MAX_METADATA_BLOCKS), THIN_INDEX_ENTRIES);
	assert_int_equal(thin_bitmap_entries(16320, 0), 16320);
	assert_int_equal(thin_bitmap_entries(16321, 0), 16320);
	assert_int_equal(thin_bitmap_entries(16321, 1), 1);
	assert_int_equal(thin_bitmap_entries(THIN_MAX_DATA_BLOCKS, 67372036), 256);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_on_disk),
		cmocka_unit_test(first_entry_is_the_lowest_bits),
		cmocka_unit_test(set_and_get),
		cmocka_unit_test(find_and_count_equal_naive_ones),
		cmocka_unit_test(the_one_free_block_is_found),
		cmocka_unit_test(empty_range),
		cmocka_unit_test(how_many_bitmaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
