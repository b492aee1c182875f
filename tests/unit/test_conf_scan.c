/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "registry/conf_scan.h"

#include <errno.h>

static struct thin_error error;

static void widened_to(const char *text, const char *wanted)
{
	size_t len = strlen(wanted);
	char *wide;

	if (thin_conf_widen("f", text, &wide, &error))
		fail_msg("%s: %s", text, error.text);
	assert_memory_equal(wide, wanted, len);
	/* The last line is ended where it was not. */
	assert_string_equal(wide + len, len && wanted[len - 1] != '\n' ? "\n" : "");
	free(wide);
}

static void numbers_get_their_width(void **state)
{
	(void)state;
	widened_to("a = 1;\nb = 2147483647; c = -2147483648;",
		   "a = 1;\nb = 2147483647; c = -2147483648;");
	widened_to("a = 2147483648;", "a = 2147483648L;");
	widened_to("a=10737418240", "a=10737418240L");
	widened_to("2147483648", "2147483648L");
	widened_to("0xFFFFFFFF,2147483648", "0xFFFFFFFFL,2147483648L");
	widened_to("a = -2147483649;", "a = -2147483649L;");
	widened_to("a = [10737418240,1,10737418241];",
		   "a = [10737418240L,1,10737418241L];");
	widened_to("a = 0xFFFFFFFF;", "a = 0xFFFFFFFFL;");
	widened_to("a = 10737418240L; b = 5L; c = 5LL;",
		   "a = 10737418240L; b = 5L; c = 5LL;");
	widened_to("a = 1.5; b = 99999999999.0; c = 1e20; d99999999999 = true;",
		   "a = 1.5; b = 99999999999.0; c = 1e20; d99999999999 = true;");
}

static void not_in_strings_and_comments(void **state)
{
	static const char text[] =
		"# 99999999999 @include\n// 99999999999\n/* 99999999999\n"
		"@include \"x\" */ a = \"99999999999 @ # \\\" /*\";";

	(void)state;
	widened_to(text, text);
	widened_to("", "");
	widened_to("# no newline", "# no newline");
	widened_to("# newline\n", "# newline\n");
}

static void refused(const char *text, int err, const char *message)
{
	char *wide = NULL;

	assert_int_equal(thin_conf_widen("f", text, &wide, &error), err);
	assert_null(wide);
	assert_string_equal(error.text, message);
}

static void refusals_name_the_line(void **state)
{
	(void)state;
	refused("a = 1;\n@include \"x\"\n", -EINVAL, "f:2: @include is not allowed");
	refused("  @include \"x\"", -EINVAL, "f:1: @include is not allowed");
	refused("/*\n*/@include \"x\"", -EINVAL, "f:2: @include is not allowed");
	refused("a =\n\n9223372036854775808;", -ERANGE, "f:3: the number is too big");
	refused("a = -9223372036854775809L;", -ERANGE, "f:1: the number is too big");
	refused("a = 0x1FFFFFFFFFFFFFFFF;", -ERANGE, "f:1: the number is too big");
	refused("\n/* a\n\n", -EINVAL, "f:2: a comment without an end");
	refused("a = \"\n\\\"", -EINVAL, "f:1: a string without an end");
	refused("a = \"\\", -EINVAL, "f:1: a string without an end");
}

static void edited_to(const char *text, const char *key, const char *value,
		      const char *wanted)
{
	char *edited;

	assert_int_equal(thin_conf_edit(text, key, value, &edited), 0);
	assert_string_equal(edited, wanted);
	free(edited);
}

static void edits_in_place(void **state)
{
	(void)state;
	edited_to("a = 1; # one\nb = 2;\n", "a", "7", "a = 7; # one\nb = 2;\n");
	edited_to("a = 1; # one\nb = 2;\n", "b", "7", "a = 1; # one\nb = 7;\n");
	edited_to("/* a = 1 */ a:\"x\"\n /* y */ \"z\" # c", "a", "true",
		  "/* a = 1 */ a:true # c");
	edited_to("b = \"a = 1\"; a=-5L,", "a", "\"q\"", "b = \"a = 1\"; a=\"q\",");
	edited_to("g = { a = 1; }; a = 2;", "a", "3", "g = { a = 1; }; a = 3;");
	edited_to("aa = 1; a = 2", "a", "3", "aa = 1; a = 3");
}

static void edits_by_adding(void **state)
{
	(void)state;
	edited_to("", "a", "1", "a = 1;\n");
	edited_to("b = 1;\n", "a", "1", "b = 1;\na = 1;\n");
	edited_to("b = 1; # a = 5", "a", "1", "b = 1; # a = 5\na = 1;\n");
	edited_to("g = { a = 1; };\n", "a", "1", "g = { a = 1; };\na = 1;\n");
}

static void edits_refused(void **state)
{
	char *edited = NULL;

	(void)state;
	assert_int_equal(thin_conf_edit("a = { };", "a", "1", &edited), -EINVAL);
	assert_int_equal(thin_conf_edit("a =", "a", "1", &edited), -EINVAL);
	assert_int_equal(thin_conf_edit("b = \"", "a", "1", &edited), -EINVAL);
	assert_null(edited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_get_their_width),
		cmocka_unit_test(not_in_strings_and_comments),
		cmocka_unit_test(refusals_name_the_line),
		cmocka_unit_test(edits_in_place),
		cmocka_unit_test(edits_by_adding),
		cmocka_unit_test(edits_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
