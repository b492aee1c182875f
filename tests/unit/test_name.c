/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "registry/name.h"
#include "seeded.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define A9  "aaaaaaaaa"
#define A63 A9 A9 A9 A9 A9 A9 A9

static struct thin_error error;

static void names(void **state)
{
	static const char *const good[] = {
		"a",	   "Z",	     "0",    "vm1", "vm1@monday",
		"a.b_c-d", "a..",    "a@b",  "0@0", "a-@a-",
		"conf",	   "x.conf", "a--b", A63,   A63 "@" A63,
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (thin_name_check(good[i], &error))
			fail_msg("%s: %s", good[i], error.text);
	assert_int_equal(strlen(A63 "@" A63), THIN_NAME_MAX);
}

static void refused(void **state)
{
	static const struct {
		const char *name, *why;
	} bad[] = {
		{"", "an empty name"},
		{".", "must begin with a letter or a digit"},
		{"..", "must begin with a letter or a digit"},
		{"-a", "must begin with a letter or a digit"},
		{"_a", "must begin with a letter or a digit"},
		{"a/b", "'/' is not allowed"},
		{"/etc/passwd", "'/' is not allowed"},
		{"../../x", "must begin"},
		{"a b", "' ' is not allowed"},
		{"a\nb", "'\\x0a' is not allowed"},
		{"a\nb", "\"a\\x0ab\""},
		{"a\x1b[31m", "'\\x1b' is not allowed"},
		{"caf\xc3\xa9", "'\\xc3' is not allowed"},
		{"a%s", "'%' is not allowed"},
		{"@a", "nothing before '@'"},
		{"@", "nothing before '@'"},
		{"a@", "nothing after '@'"},
		{"a@@b", "nothing after '@'"},
		{"a@b@c", "a second '@'"},
		{"a@-b", "must begin"},
		{"a@b/c", "'/' is not allowed"},
		{"thin:a", "':' is not allowed"},
		{A63 "b", "longer than 63"},
		{"a@" A63 "b", "longer than 63"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(thin_name_check(bad[i].name, &error), -EINVAL);
		assert_has(error.text, bad[i].why);
		assert_int_equal(thin_name_check(bad[i].name, NULL), -EINVAL);
	}
}

/* The grammar once more, written otherwise. */
static bool by_the_book(const char *name)
{
	int ats = 0;
	size_t len = 0;

	for (; *name; name++) {
		if (*name == '@') {
			if (!len || ats++)
				return false;
			len = 0;
			continue;
		}
		if (!isascii(*name) ||
		    !(isalnum((unsigned char)*name) || (len && strchr("._-", *name))))
			return false;
		if (++len > 63)
			return false;
	}
	return len;
}

static void any_bytes(void **state)
{
	static const char alphabet[] = "aZ09._-@@/\n\xff ";
	struct seeded rnd = seeded_start("any_bytes");

	(void)state;
	for (int i = 0; i < 50000; i++) {
		char name[9];
		size_t len = seeded_below(&rnd, sizeof(name));

		for (size_t j = 0; j < len; j++)
			name[j] = alphabet[seeded_below(&rnd, sizeof(alphabet) - 1)];
		name[len] = '\0';
		if (!thin_name_check(name, NULL) != by_the_book(name))
			fail_msg("\"%s\"", name);
	}
}

/* What a client may send is up to 4096 bytes. */
static void huge(void **state)
{
	char name[4097];

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[4096] = '\0';
	assert_int_equal(thin_name_check(name, &error), -EINVAL);
	assert_true(strlen(error.text) < 200);
	memset(name, '\x80', sizeof(name) - 1);
	assert_int_equal(thin_name_check(name, &error), -EINVAL);
	assert_true(strlen(error.text) < 250);
}

static void parts(void **state)
{
	struct thin_name_parts p;

	(void)state;
	thin_name_split("vm1@mon", &p);
	assert_string_equal(p.base, "vm1");
	assert_string_equal(p.tag, "mon");
	thin_name_split("vm1", &p);
	assert_string_equal(p.base, "vm1");
	assert_string_equal(p.tag, "");
	thin_name_split(A63 "@" A63, &p);
	assert_string_equal(p.base, A63);
	assert_string_equal(p.tag, A63);
	assert_true(thin_name_is_snapshot("vm1@mon"));
	assert_false(thin_name_is_snapshot("vm1"));
}

static void escaped(void **state)
{
	char buf[THIN_NAME_ESCAPED], text[200];

	(void)state;
	assert_string_equal(thin_name_escape("vm 1", buf), "vm 1");
	assert_string_equal(thin_name_escape("a\n\\b\x7f", buf), "a\\x0a\\x5cb\\x7f");
	assert_string_equal(thin_name_escape("", buf), "");
	for (size_t len = 0; len < sizeof(text); len++) {
		memset(text, len % 2 ? 'a' : '\n', sizeof(text));
		text[len] = '\0';
		thin_name_escape(text, buf);
		assert_true(strlen(buf) < sizeof(buf));
		if (len >= sizeof(buf))
			assert_string_equal(buf + strlen(buf) - 3, "...");
	}
}

static void texts(void **state)
{
	static const char *const good[] = {"",
					   "the database",
					   "caf\xc3\xa9",
					   "\xe2\x82\xac",
					   "\xf0\x9f\x98\x80",
					   "\xc2\xa0",
					   "100 % \"x\" \\"};
	static const char *const bad[] = {
		"a\nb",
		"\t",
		"\x7f",
		"\xff",
		"\xc3",
		"\xc3(",
		"\xc0\xaf", /* overlong */
		"\xe0\x80\xaf",
		"\xed\xa0\x80",	    /* surrogate */
		"\xf4\x90\x80\x80", /* past the last */
		"\xf8\x88\x80\x80\x80",
		"\x80",
		"\xe2\x82",
		"\xc2\x85", /* C1 */
		"\xf0\x80\x80\x80",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (thin_text_check(good[i], 20, &error))
			fail_msg("%s: %s", good[i], error.text);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (thin_text_check(bad[i], 20, &error) != -EINVAL)
			fail_msg("%zu", i);
	assert_int_equal(thin_text_check("ab\ncd", 20, &error), -EINVAL);
	assert_string_equal(error.text, "byte 3 is a control character");
	assert_int_equal(thin_text_check("12345", 5, &error), 0);
	assert_int_equal(thin_text_check("123456", 5, &error), -EDQUOT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),     cmocka_unit_test(refused),
		cmocka_unit_test(any_bytes), cmocka_unit_test(huge),
		cmocka_unit_test(parts),     cmocka_unit_test(escaped),
		cmocka_unit_test(texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
