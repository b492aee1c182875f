/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "service/args.h"
#include "util/limits.h"

#include <errno.h>
#include <stdio.h>

static void refused(const char *request, int err, const char *part)
{
	struct thin_error e = {0};
	struct thin_args a;

	assert_int_equal(thin_args_parse(request, &a, &e), err);
	assert_has(e.text, part);
}

static void takes_a_whole_request(void **state)
{
	struct thin_args a;
	uint64_t size;

	(void)state;
	assert_int_equal(
		thin_args_parse("{\"verb\":\"create\",\"args\":{\"name\":\"vm1\","
				"\"size\":\"10G\",\"readonly\":true}}",
				&a, NULL),
		0);
	assert_string_equal(a.verb->name, "create");
	assert_int_equal(thin_arg_count(&a, "names"), 1); /* it was "name" once */
	assert_string_equal(thin_arg_nth(&a, "names", 0), "vm1");
	assert_null(thin_arg_text(&a, "origin"));
	assert_true(thin_arg_flag(&a, "readonly"));
	assert_false(thin_arg_flag(&a, "if_not_exists"));
	assert_int_equal(thin_arg_size(&a, "size", &size, NULL), 0);
	assert_int_equal(size, UINT64_C(10) << 30);
	thin_args_fini(&a);
}

static void takes_groups(void **state)
{
	struct thin_args a;

	(void)state;
	assert_int_equal(thin_args_parse("{\"verb\":\"snapshot\",\"args\":{\"pairs\":"
					 "[\"a\",\"a@1\",\"b\",\"b@1\"]}}",
					 &a, NULL),
			 0);
	assert_int_equal(thin_arg_count(&a, "pairs"), 4);
	assert_string_equal(thin_arg_nth(&a, "pairs", 3), "b@1");
	assert_int_equal(thin_arg_count(&a, "names"), 0);
	thin_args_fini(&a);
}

static void needs_no_arguments_where_none_are_due(void **state)
{
	struct thin_args a;

	(void)state;
	assert_int_equal(thin_args_parse("{\"verb\":\"list\"}", &a, NULL), 0);
	assert_int_equal(thin_arg_count(&a, "names"), 0);
	thin_args_fini(&a);
}

static void refuses_what_is_no_request(void **state)
{
	(void)state;
	refused("", -EINVAL, "not a JSON object");
	refused("[]", -EINVAL, "not a JSON object");
	refused("{\"verb\":\"list\"} x", -EINVAL, "not a JSON object");
	refused("{}", -EINVAL, "no verb");
	refused("{\"verb\":7}", -EINVAL, "no verb");
	refused("{\"verb\":\"li\\u0000st\"}", -EINVAL, "no verb");
	refused("{\"verb\":\"frobnicate\"}", -EINVAL, "frobnicate");
	refused("{\"verb\":\"serve\"}", -EINVAL, "serve");
	refused("{\"verb\":\"list\",\"more\":1}", -EINVAL, "more than");
	refused("{\"verb\":\"list\",\"args\":[]}", -EINVAL, "not an object");
	refused("{\"verb\":\"list\",\"args\":{\"x\":[[[[[[[[[]]]]]]]]]}}", -EINVAL,
		"not a JSON object");
}

static void refuses_wrong_arguments(void **state)
{
	(void)state;
	refused("{\"verb\":\"create\",\"args\":{}}", -EINVAL, "NAME is missing");
	refused("{\"verb\":\"create\"}", -EINVAL, "NAME is missing");
	refused("{\"verb\":\"create\",\"args\":{\"name\":\"a\",\"nane\":1}}", -EINVAL,
		"nane");
	refused("{\"verb\":\"create\",\"args\":{\"name\":[\"a\"]}}", -EINVAL,
		"right type");
	refused("{\"verb\":\"create\",\"args\":{\"name\":\"a\\u0000b\"}}", -EINVAL,
		"right type");
	refused("{\"verb\":\"create\",\"args\":{\"name\":\"a\",\"readonly\":1}}", -EINVAL,
		"right type");
	refused("{\"verb\":\"snapshot\",\"args\":{\"pairs\":[\"a\"]}}", -EINVAL,
		"SOURCE NAME");
	refused("{\"verb\":\"snapshot\",\"args\":{\"pairs\":[]}}", -EINVAL, "missing");
	refused("{\"verb\":\"snapshot\",\"args\":{\"pairs\":\"a\"}}", -EINVAL, "array");
	refused("{\"verb\":\"dump\",\"args\":{\"format\":\"thi\"}}", -EINVAL,
		"thin|json");
	refused("{\"verb\":\"dump\",\"args\":{\"format\":\"\"}}", -EINVAL, "thin|json");
	/* what only the front end knows */
	refused("{\"verb\":\"list\",\"args\":{\"tree\":true}}", -EINVAL, "tree");
}

static void refuses_sizes_that_are_none(void **state)
{
	static const char *const sizes[] = {"0",    "\"0\"",  "-1",	"\"-1\"",
					    "\"\"", "\"1X\"", "\"1 G\""};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct thin_error e = {0};
		struct thin_args a;
		char text[100];
		uint64_t size = 77;

		snprintf(text, sizeof(text),
			 "{\"verb\":\"resize\",\"args\":{\"name\":\"a\",\"size\":%s}}",
			 sizes[i]);
		assert_int_equal(thin_args_parse(text, &a, NULL), 0);
		assert_int_equal(thin_arg_size(&a, "size", &size, &e), -EINVAL);
		assert_has(e.text, "size: ");
		assert_int_equal(size, 77);
		thin_args_fini(&a);
	}
}

static void refuses_more_than_a_message(void **state)
{
	char *text = malloc(THIN_MAX_MESSAGE + 1);

	(void)state;
	memset(text, ' ', THIN_MAX_MESSAGE);
	text[THIN_MAX_MESSAGE] = '\0';
	refused(text, -EMSGSIZE, "too long");
	memcpy(text, "{\"verb\":\"list\"}", 15);
	text[THIN_MAX_MESSAGE - 1] = '\0';
	struct thin_args a;
	assert_int_equal(thin_args_parse(text, &a, NULL), 0);
	thin_args_fini(&a);
	free(text);
}

/* What the front ends rely on when they print usage and parse lines. */
static void the_table_of_verbs_is_sound(void **state)
{
	size_t nr;
	const struct thinbd_verb *verbs = thinbd_verbs(&nr);

	(void)state;
	for (size_t i = 0; i < nr; i++) {
		bool optional = false, repeated = false;
		assert_ptr_equal(thinbd_find_verb(verbs[i].name), &verbs[i]);
		for (size_t j = 0; j < verbs[i].nr_params; j++) {
			const struct thinbd_param *p = &verbs[i].params[j];
			assert_non_null(p->help);
			assert_true((p->kind == THINBD_KIND_FLAG) == !p->value);
			assert_true((p->kind == THINBD_KIND_CHOICE) == !!p->choices);
			if (!(p->flags & THINBD_POSITIONAL))
				continue;
			/* Places are only clear in this order. */
			assert_false(repeated);
			assert_false(optional && (p->flags & THINBD_REQUIRED));
			optional = !(p->flags & THINBD_REQUIRED);
			repeated = p->group > 0;
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_whole_request),
		cmocka_unit_test(takes_groups),
		cmocka_unit_test(needs_no_arguments_where_none_are_due),
		cmocka_unit_test(refuses_what_is_no_request),
		cmocka_unit_test(refuses_wrong_arguments),
		cmocka_unit_test(refuses_sizes_that_are_none),
		cmocka_unit_test(refuses_more_than_a_message),
		cmocka_unit_test(the_table_of_verbs_is_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
