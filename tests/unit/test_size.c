/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "seeded.h"
#include "util/size.h"

#include <errno.h>

static struct thin_error error;

static uint64_t parse(const char *text)
{
	uint64_t bytes = 12345;

	if (thin_size_parse(text, &bytes, &error))
		fail_msg("%s: %s", text, error.text);
	return bytes;
}

static void units(void **state)
{
	(void)state;
	assert_int_equal(parse("0"), 0);
	assert_int_equal(parse("65536"), 65536);
	assert_int_equal(parse("64K"), 65536);
	assert_int_equal(parse("64k"), 65536);
	assert_int_equal(parse("64KiB"), 65536);
	assert_int_equal(parse("1M"), UINT64_C(1) << 20);
	assert_int_equal(parse("10G"), UINT64_C(10) << 30);
	assert_int_equal(parse("3t"), UINT64_C(3) << 40);
	assert_int_equal(parse("64P"), UINT64_C(64) << 50);
	assert_int_equal(parse("15E"), UINT64_C(15) << 60);
	assert_int_equal(parse("007"), 7);
}

static void nonsense(void **state)
{
	static const char *const texts[] = {
		"",    "K",  "-1", "+1",   " 1",  "1 ",	   "1 K", "1.5G", "0x10", "1KK",
		"1KB", "1B", "1X", "1Kib", "ten", "1K\n2", "10%", "1Ki",  "1iB",  "\xff"};
	uint64_t bytes = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if (thin_size_parse(texts[i], &bytes, &error) != -EINVAL)
			fail_msg("\"%s\" was taken", texts[i]);
		assert_has(error.text, "is not a size");
	}
	assert_int_equal(bytes, 7);
	assert_int_equal(thin_size_parse("12Q", &bytes, &error), -EINVAL);
	assert_has(error.text, "\"12Q\"");
}

static void overflow(void **state)
{
	uint64_t bytes = 7;

	(void)state;
	assert_int_equal(parse("18446744073709551615"), UINT64_MAX);
	assert_int_equal(thin_size_parse("18446744073709551616", &bytes, &error),
			 -ERANGE);
	assert_int_equal(thin_size_parse("99999999999999999999999", &bytes, NULL),
			 -ERANGE);
	assert_int_equal(thin_size_parse("16E", &bytes, &error), -ERANGE);
	assert_has(error.text, "\"16E\" is too big");
	assert_int_equal(thin_size_parse("18014398509481984K", &bytes, &error), -ERANGE);
	assert_int_equal(parse("18014398509481983K"), UINT64_MAX - 1023);
	assert_int_equal(bytes, 7);
}

static void exact_texts(void **state)
{
	char buf[THIN_SIZE_TEXT];

	(void)state;
	assert_string_equal(thin_size_exact(0, buf), "0");
	assert_string_equal(thin_size_exact(1000, buf), "1000");
	assert_string_equal(thin_size_exact(1024, buf), "1K");
	assert_string_equal(thin_size_exact(65536, buf), "64K");
	assert_string_equal(thin_size_exact(65537, buf), "65537");
	assert_string_equal(thin_size_exact(UINT64_C(1536) << 20, buf), "1536M");
	assert_string_equal(thin_size_exact(UINT64_C(15) << 60, buf), "15E");
	assert_string_equal(thin_size_exact(UINT64_MAX, buf), "18446744073709551615");
}

static void exact_comes_back(void **state)
{
	struct seeded rnd = seeded_start("exact_comes_back");

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t bytes = seeded_next(&rnd) >> seeded_below(&rnd, 64)
							      << seeded_below(&rnd, 64);
		char buf[THIN_SIZE_TEXT];

		assert_int_equal(parse(thin_size_exact(bytes, buf)), bytes);
	}
}

static void human_texts(void **state)
{
	char buf[THIN_SIZE_TEXT];

	(void)state;
	assert_string_equal(thin_size_human(0, buf), "0");
	assert_string_equal(thin_size_human(1023, buf), "1023");
	assert_string_equal(thin_size_human(1024, buf), "1K");
	assert_string_equal(thin_size_human(1536, buf), "1.5K");
	assert_string_equal(thin_size_human(1024 + 51, buf), "1K");
	assert_string_equal(thin_size_human(1024 + 52, buf), "1.1K");
	assert_string_equal(thin_size_human(10188, buf), "9.9K");
	assert_string_equal(thin_size_human(10189, buf), "10K");
	assert_string_equal(thin_size_human(10 * 1024 + 512, buf), "11K");
	assert_string_equal(thin_size_human(UINT64_C(10) << 30, buf), "10G");
	assert_string_equal(thin_size_human((UINT64_C(1) << 20) - 513, buf), "1023K");
	assert_string_equal(thin_size_human((UINT64_C(1) << 20) - 512, buf), "1M");
	assert_string_equal(thin_size_human((UINT64_C(1) << 20) - 1, buf), "1M");
	assert_string_equal(thin_size_human(UINT64_MAX, buf), "16E");
}

static void amounts(void **state)
{
	struct thin_amount a;
	char buf[THIN_SIZE_TEXT];

	(void)state;
	assert_int_equal(thin_amount_parse("10%", &a, &error), 0);
	assert_true(a.percent);
	assert_string_equal(thin_amount_text(&a, buf), "10%");
	assert_int_equal(thin_amount_bytes(&a, 1000), 100);
	assert_int_equal(thin_amount_bytes(&a, 1009), 100);
	assert_int_equal(thin_amount_bytes(&a, UINT64_MAX), UINT64_MAX / 10);

	assert_int_equal(thin_amount_parse("100%", &a, &error), 0);
	assert_int_equal(thin_amount_bytes(&a, UINT64_MAX), UINT64_MAX);
	assert_int_equal(thin_amount_parse("64M", &a, &error), 0);
	assert_false(a.percent);
	assert_string_equal(thin_amount_text(&a, buf), "64M");
	assert_int_equal(thin_amount_bytes(&a, 5), 64 << 20);
	assert_int_equal(thin_amount_parse("0", &a, &error), 0);
	assert_int_equal(thin_amount_bytes(&a, 5), 0);
}

static void amounts_refused(void **state)
{
	static const char *const texts[] = {"%",   "x%",   "10%%", "10 %",
					    "-5%", "1.5%", "%10"};
	struct thin_amount a = {7, false};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_int_equal(thin_amount_parse(texts[i], &a, &error), -EINVAL);
	assert_int_equal(thin_amount_parse("101%", &a, &error), -ERANGE);
	assert_has(error.text, "over 100%");
	assert_int_equal(thin_amount_parse("99999999999999999999999%", &a, &error),
			 -ERANGE);
	assert_int_equal(thin_amount_parse("ten", &a, &error), -EINVAL);
	assert_int_equal(a.value, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(overflow),
		cmocka_unit_test(exact_texts),
		cmocka_unit_test(exact_comes_back),
		cmocka_unit_test(human_texts),
		cmocka_unit_test(amounts),
		cmocka_unit_test(amounts_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
