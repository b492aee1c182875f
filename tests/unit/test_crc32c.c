/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"
#include "seeded.h"

#include "util/crc32c.h"

/* One bit at a time, from the polynomial: what the fast one must equal. */
static uint32_t naive(const uint8_t *p, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return crc;
}

static void known_values(void **state)
{
	static const uint8_t zeros[4092];

	(void)state;
	assert_int_equal(thin_crc32c("123456789", 9), 0x1cf96d7c);
	assert_int_equal(thin_crc32c("", 0), 0xffffffff);
	assert_int_equal(thin_crc32c(zeros, sizeof(zeros)), 0x58cda791);
}

static void equals_the_polynomial(void **state)
{
	struct seeded s = seeded_start(__func__);
	uint8_t buf[512];

	(void)state;
	for (int i = 0; i < 300; i++) {
		size_t from = seeded_below(&s, 16);
		size_t len = seeded_below(&s, sizeof(buf) - from + 1);

		seeded_fill(&s, buf, sizeof(buf));
		assert_int_equal(thin_crc32c(buf + from, len), naive(buf + from, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(equals_the_polynomial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
