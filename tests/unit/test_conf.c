/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "registry/conf.h"
#include "registry/text.h"
#include "seeded.h"
#include "util/size.h"

#include <errno.h>

struct thing {
	char *string, *word;
	uint64_t size, limit, u64;
	struct thin_amount amount;
	int choice;
	uint32_t number;
	int64_t s64, time;
	bool flag;
};

static int no_x(const char *text, struct thin_error *e)
{
	return strchr(text, 'x') ? thin_error_set(e, -EINVAL, "has an x") : 0;
}

static const char *const choices[] = {"red", "green", NULL};

#define AT(member) .offset = offsetof(struct thing, member)

static const struct thin_conf_key keys[] = {
	{"string", THIN_CONF_STRING, AT(string), "", .check = no_x},
	{"word", THIN_CONF_STRING, AT(word), "hello"},
	{"size", THIN_CONF_SIZE, AT(size), "1M", .min = 4096, .max = UINT64_C(1) << 50},
	{"limit", THIN_CONF_LIMIT, AT(limit), "none", .min = 1, .max = INT64_MAX},
	{"u64", THIN_CONF_U64, AT(u64), "0"},
	{"amount", THIN_CONF_AMOUNT, AT(amount), "10%"},
	{"choice", THIN_CONF_CHOICE, AT(choice), "red", .choices = choices},
	{"number", THIN_CONF_NUMBER, AT(number), .min = 1, .max = 100},
	{"s64", THIN_CONF_S64, AT(s64), "0"},
	{"time", THIN_CONF_TIME, AT(time), "1970-01-01T00:00:00Z"},
	{"flag", THIN_CONF_BOOL, AT(flag), "false"},
	{.name = NULL},
};

static struct thin_error error;

static int read_text(const char *text, struct thing *t)
{
	struct thin_conf c;
	int r;

	error.text[0] = '\0';
	r = thin_conf_parse(&c, "file", text, strlen(text), &error);
	if (r)
		return r;
	r = thin_conf_read(&c, config_root_setting(&c.config), keys, t, &error);
	thin_conf_fini(&c);
	return r;
}

static void all_kinds(void **state)
{
	struct thing t = {0};

	(void)state;
	if (read_text("string = \"a\" \"b\"; size = \"64K\"; limit = \"5G\"; u64 = 7;\n"
		      "amount = \"64M\"; choice : \"green\", number = 5;\n"
		      "s64 = -5; time = \"2026-02-28T23:59:59Z\"; flag = TRUE\n",
		      &t))
		fail_msg("%s", error.text);
	assert_string_equal(t.string, "ab");
	assert_string_equal(t.word, "hello");
	assert_int_equal(t.size, 65536);
	assert_int_equal(t.limit, UINT64_C(5) << 30);
	assert_int_equal(t.u64, 7);
	assert_false(t.amount.percent);
	assert_int_equal(t.amount.value, 64 << 20);
	assert_int_equal(t.choice, 1);
	assert_int_equal(t.number, 5);
	assert_int_equal(t.s64, -5);
	assert_int_equal(t.time, 1772323199);
	assert_true(t.flag);
	thin_conf_free(keys, &t);
	assert_null(t.string);
}

static void defaults(void **state)
{
	struct thing t = {0};

	(void)state;
	assert_int_equal(read_text("number = 1;", &t), 0);
	assert_null(t.string);
	assert_string_equal(t.word, "hello");
	assert_int_equal(t.size, 1 << 20);
	assert_true(t.limit == UINT64_MAX);
	assert_true(t.amount.percent);
	assert_int_equal(t.choice, 0);
	assert_false(t.flag);
	thin_conf_free(keys, &t);
}

/* libconfig would take it for 32 bits. */
static void wide_numbers_stay_whole(void **state)
{
	struct thing t = {0};

	(void)state;
	assert_int_equal(read_text("number = 1; size = 10737418240; u64 = 99999999999;\n"
				   "s64 = -99999999999;",
				   &t),
			 0);
	assert_int_equal(t.size, UINT64_C(10) << 30);
	assert_int_equal(t.u64, UINT64_C(99999999999));
	assert_true(t.s64 == INT64_C(-99999999999));
	thin_conf_free(keys, &t);

	assert_int_equal(read_text("number = 1; u64 = \"18446744073709551615\";", &t), 0);
	assert_true(t.u64 == UINT64_MAX);
	thin_conf_free(keys, &t);
}

static void refused(void **state)
{
	static const struct {
		const char *text;
		int err;
		const char *message;
	} bad[] = {
		{"number = 1;\nsise = 5;", -EINVAL, "file:2: unknown key \"sise\""},
		{"flag = true;", -EINVAL, "file: \"number\" is missing"},
		{"number = 0;", -ERANGE, "file:1: number: must be from 1 to 100"},
		{"number = 101;", -ERANGE, "file:1: number: must be from 1 to 100"},
		{"number = 4294967297;", -ERANGE,
		 "file:1: number: must be from 1 to 100"},
		{"number = \"5\";", -EINVAL, "file:1: number: must be a whole number"},
		{"number = 5.0;", -EINVAL, "file:1: number: must be a whole number"},
		{"number = [5];", -EINVAL, "file:1: number: must be a whole number"},
		{"\nsize = 4095;", -ERANGE, "file:2: size: must be from 4K to 1P"},
		{"size = \"2P\";", -ERANGE, "file:1: size: must be from 4K to 1P"},
		{"size = -1;", -EINVAL, "file:1: size: \"-1\" is not a size"},
		{"size = 0xFFFFFFFFFFFFFFFF;", -EINVAL,
		 "file:1: size: \"-1\" is not a size"},
		{"size = true;", -EINVAL, "file:1: size: must be a size"},
		{"size = { };", -EINVAL, "file:1: size: must be a size"},
		{"limit = 0;", -ERANGE, "file:1: limit: must be from 1 to"},
		{"limit = \"NONE\";", -EINVAL, "file:1: limit: \"NONE\" is not a size"},
		{"u64 = -1;", -EINVAL, "file:1: u64: \"-1\" is not a whole number"},
		{"amount = \"110%\";", -ERANGE, "file:1: amount: \"110%\" is over 100%"},
		{"choice = \"blue\";", -EINVAL,
		 "file:1: choice: \"blue\" is not one of \"red\", \"green\""},
		{"choice = 1;", -EINVAL, "file:1: choice: must be a string"},
		{"string = \"axb\";", -EINVAL, "file:1: string: has an x"},
		{"word = \"\";", -EINVAL, "file:1: word: must not be empty"},
		{"flag = 1;", -EINVAL, "file:1: flag: must be true or false"},
		{"flag = \"true\";", -EINVAL, "file:1: flag: must be true or false"},
		{"time = \"2026-02-30T00:00:00Z\";", -EINVAL, "is not a time"},
		{"time = \"2026-02-28T00:00:00\";", -EINVAL, "is not a time"},
		{"time = \"2026-02-28T00:00:00Zx\";", -EINVAL, "is not a time"},
		{"time = \"2026-2-28T0:00:00Z\";", -EINVAL, "is not a time"},
		{"number = 1;\nnumber = 2;", -EINVAL, "file:2: duplicate setting name"},
		{"number = 1\n}\n", -EINVAL, "file:2: syntax error (here or just before"},
		{"size = 64K;", -EINVAL, "file:1: syntax error"},
		{"@include \"file\"", -EINVAL, "file:1: @include is not allowed"},
		{"number = 9999999999999999999999;", -ERANGE,
		 "file:1: the number is too big"},
		{"number = \"", -EINVAL, "file:1: a string without an end"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct thing t = {0};

		if (read_text(bad[i].text, &t) != bad[i].err)
			fail_msg("%s: %s", bad[i].text, error.text);
		assert_has(error.text, bad[i].message);
		thin_conf_free(keys, &t);
	}
}

static void nul_bytes(void **state)
{
	struct thin_conf c;

	(void)state;
	assert_int_equal(thin_conf_parse(&c, "file", "a = 1;\0 b = 2;", 14, &error),
			 -EINVAL);
	assert_has(error.text, "NUL");
}

/* A parser with a stack has a depth at which that ends. */
static void deep_nesting(void **state)
{
	const size_t len = 60000;
	char *text = calloc(len + 1, 1);
	struct thing t = {0};

	(void)state;
	memset(text, '(', len);
	memcpy(text, "a=", 2);
	assert_int_equal(read_text(text, &t), -EINVAL);
	thin_conf_free(keys, &t);
	free(text);
}

static void unset_keeps_the_old_value(void **state)
{
	struct thing t = {.number = 5, .size = 8192};

	(void)state;
	assert_int_equal(thin_conf_set(thin_conf_find(keys, "number"), "500", &t, NULL),
			 -ERANGE);
	assert_int_equal(thin_conf_set(thin_conf_find(keys, "size"), "x", &t, NULL),
			 -EINVAL);
	assert_int_equal(t.number, 5);
	assert_int_equal(t.size, 8192);
	assert_int_equal(thin_conf_set(thin_conf_find(keys, "string"), "abc", &t, NULL),
			 0);
	assert_int_equal(thin_conf_set(thin_conf_find(keys, "string"), "x", &t, NULL),
			 -EINVAL);
	assert_string_equal(t.string, "abc");
	assert_int_equal(thin_conf_set(thin_conf_find(keys, "string"), "", &t, NULL), 0);
	assert_null(t.string);
	assert_null(thin_conf_find(keys, "nothing"));
}

static void fill(struct seeded *rnd, struct thing *t)
{
	char bytes[40];
	size_t len = seeded_below(rnd, sizeof(bytes));

	for (size_t i = 0; i < len; i++)
		do
			bytes[i] = (char)seeded_next(rnd);
		while (!bytes[i] || bytes[i] == 'x');
	bytes[len] = '\0';
	t->string = len ? strdup(bytes) : NULL;
	t->word = strdup("\"\\n \"");
	t->size = 4096 + (seeded_next(rnd) >> 15);
	t->limit = seeded_below(rnd, 2) ? UINT64_MAX : 1 + (seeded_next(rnd) >> 2);
	t->u64 = seeded_next(rnd) >> seeded_below(rnd, 64);
	t->amount.percent = seeded_below(rnd, 2);
	t->amount.value = t->amount.percent ? seeded_below(rnd, 101) : seeded_next(rnd);
	t->choice = (int)seeded_below(rnd, 2);
	t->number = 1 + (uint32_t)seeded_below(rnd, 100);
	t->s64 = (int64_t)seeded_next(rnd);
	t->time = (int64_t)seeded_below(rnd, INT64_C(1) << 36);
	t->flag = seeded_below(rnd, 2);
}

/* What is written is read as it was, whatever it is. */
static void written_and_read(void **state)
{
	struct seeded rnd = seeded_start("written_and_read");

	(void)state;
	for (int i = 0; i < 2000; i++) {
		struct thing a = {0}, b = {0};
		struct thin_text text;
		char *s;

		fill(&rnd, &a);
		assert_int_equal(thin_text_open(&text), 0);
		thin_conf_write_all(text.out, keys, &a, i % 2 ? "\n" : " ");
		assert_int_equal(thin_text_close(&text, &s, NULL), 0);
		if (read_text(s, &b))
			fail_msg("%s\n%s", error.text, s);
		assert_string_equal(a.string ? a.string : "", b.string ? b.string : "");
		assert_string_equal(a.word, b.word);
		assert_true(a.size == b.size && a.limit == b.limit && a.u64 == b.u64);
		assert_true(a.amount.value == b.amount.value &&
			    a.amount.percent == b.amount.percent);
		assert_true(a.choice == b.choice && a.number == b.number &&
			    a.s64 == b.s64);
		assert_true(a.time == b.time && a.flag == b.flag);
		thin_conf_free(keys, &a);
		thin_conf_free(keys, &b);
		free(s);
	}
}

/* On a syntax error libconfig 1.5 forgets to free the last string it has read. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig\n";
}

/* Damaged files are refused or read; nothing else happens. */
static void garbled(void **state)
{
	static const char text[] =
		"# a comment\nstring = \"a\" \"\\x41\\n\"; size : \"64K\", limit = "
		"99999999999;\n"
		"number = 0x1F; /* another */ amount = \"10%\"; s64 = -5L; flag = true;\n"
		"// and one\nchoice = \"green\";\ntime = \"2026-01-01T00:00:00Z\";\n";
	static const char bytes[] = "\"\\/*#\n;,={}()[]@L0x9-. \xff\x80\x01";
	struct seeded rnd = seeded_start("garbled");
	int good = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		char copy[sizeof(text)];
		struct thing t = {0};
		int r;

		memcpy(copy, text, sizeof(text));
		for (uint64_t n = seeded_below(&rnd, 4); n; n--)
			copy[seeded_below(&rnd, sizeof(text) - 1)] =
				bytes[seeded_below(&rnd, sizeof(bytes) - 1)];
		if (!seeded_below(&rnd, 4))
			copy[seeded_below(&rnd, sizeof(text))] = '\0';
		r = read_text(copy, &t);
		good += !r;
		if (r)
			assert_has(error.text, "file:");
		thin_conf_free(keys, &t);
	}
	assert_true(good > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_kinds),
		cmocka_unit_test(defaults),
		cmocka_unit_test(wide_numbers_stay_whole),
		cmocka_unit_test(refused),
		cmocka_unit_test(nul_bytes),
		cmocka_unit_test(deep_nesting),
		cmocka_unit_test(unset_keeps_the_old_value),
		cmocka_unit_test(written_and_read),
		cmocka_unit_test(garbled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
