/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "util/errors.h"

#include <errno.h>

static void dictionary_has_sentences(void **state)
{
	(void)state;
	assert_string_equal(thin_strerror(-ENOSPC), "no free data block in the pool");
	assert_string_equal(thin_strerror(ENOSPC), "no free data block in the pool");
	assert_string_equal(thin_strerror(-ESTALE), "the origin has changed");
}

static void other_codes_have_the_systems_words(void **state)
{
	(void)state;
	assert_string_equal(thin_strerror(-EIO), "Input/output error");
	assert_string_equal(thin_strerror(-EXDEV), "Invalid cross-device link");
	assert_string_equal(thin_strerror(-99999), "unknown error");
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(thin_errname(-ENOSPC), "ENOSPC");
	assert_string_equal(thin_errname(EUCLEAN), "EUCLEAN");
	assert_string_equal(thin_errname(-EXDEV), "EXDEV");
	assert_string_equal(thin_errname(-99999), "EIO");
}

/* No two codes share a sentence: a code means one thing. */
static void sentences_differ(void **state)
{
	static const int codes[] = {ENODATA,	 ENOSPC,   EDQUOT, ENOBUFS, EILSEQ,
				    ENOTBLK,	 EUCLEAN,  EROFS,  ESTALE,  EBUSY,
				    ENOENT,	 EEXIST,   ERANGE, EINVAL,  EMEDIUMTYPE,
				    EWOULDBLOCK, ESHUTDOWN};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(thin_strerror(codes[i]),
						thin_strerror(codes[j]));
}

static void set_formats_and_returns(void **state)
{
	struct thin_error e = {"old"};

	(void)state;
	assert_int_equal(thin_error_set(&e, -EINVAL, "%s: %d", "vm1", 7), -EINVAL);
	assert_string_equal(e.text, "vm1: 7");
	assert_int_equal(thin_error_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void set_keeps_to_one_clean_line(void **state)
{
	struct thin_error e;

	(void)state;
	(void)thin_error_set(&e, -EINVAL, "a\nb\033[2Jc\177d\xc3\xa4");
	assert_string_equal(e.text, "a?b?[2Jc?d\xc3\xa4");
}

static void set_can_extend_what_is_there(void **state)
{
	struct thin_error e;

	(void)state;
	(void)thin_error_set(&e, -EBUSY, "vm1: a client uses it");
	assert_int_equal(thin_error_set(&e, -EBUSY, "%s; or --force", e.text), -EBUSY);
	assert_string_equal(e.text, "vm1: a client uses it; or --force");
}

static void set_truncates(void **state)
{
	char longer[2 * THIN_ERROR_TEXT];
	struct thin_error e;

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	(void)thin_error_set(&e, -EINVAL, "%s", longer);
	assert_int_equal(strlen(e.text), THIN_ERROR_TEXT - 1);
}

static void default_keeps_what_is_there(void **state)
{
	struct thin_error e = {""};

	(void)state;
	assert_int_equal(thin_error_default(&e, -EIO, "first %d", 1), -EIO);
	assert_string_equal(e.text, "first 1");
	assert_int_equal(thin_error_default(&e, -EIO, "second"), -EIO);
	assert_string_equal(e.text, "first 1");
	assert_int_equal(thin_error_default(NULL, -EIO, "x"), -EIO);
	e.text[0] = '\0';
	assert_int_equal(thin_error_default(&e, 0, "all is well"), 0);
	assert_string_equal(e.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dictionary_has_sentences),
		cmocka_unit_test(other_codes_have_the_systems_words),
		cmocka_unit_test(names),
		cmocka_unit_test(sentences_differ),
		cmocka_unit_test(set_formats_and_returns),
		cmocka_unit_test(set_keeps_to_one_clean_line),
		cmocka_unit_test(set_can_extend_what_is_there),
		cmocka_unit_test(set_truncates),
		cmocka_unit_test(default_keeps_what_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
