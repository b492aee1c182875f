/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "util/endian.h"

static void bytes_are_in_disk_order(void **state)
{
	static const uint8_t four[] = {0x78, 0x56, 0x34, 0x12};
	static const uint8_t eight[] = {0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01};
	struct le32 a = le32_of(0x12345678);
	struct le64 b = le64_of(UINT64_C(0x0123456789abcdef));

	(void)state;
	assert_memory_equal(&a, four, 4);
	assert_memory_equal(&b, eight, 8);
	assert_int_equal(le32_get(a), 0x12345678);
	assert_true(le64_get(b) == UINT64_C(0x0123456789abcdef));
}

/* They stand at odd addresses in structs that say nothing of it. */
static void alignment_is_one(void **state)
{
	struct {
		uint8_t first;
		struct le32 a;
		struct le64 b;
	} s = {1, le32_of(2), le64_of(3)};

	(void)state;
	assert_int_equal(sizeof(s), 13);
	assert_int_equal(le32_get(s.a), 2);
	assert_int_equal(le64_get(s.b), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_in_disk_order),
		cmocka_unit_test(alignment_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
