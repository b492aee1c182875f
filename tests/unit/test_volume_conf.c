/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "registry/volume_conf.h"

#include <errno.h>

#define NEEDED "device = 1; size = \"1G\"; created = \"2026-01-01T00:00:00Z\";\n"

static struct thin_error error;

static int parse(const char *name, const char *text, struct thin_volume_conf **ret)
{
	return thin_volume_conf_parse(name, "f", text, strlen(text), ret, &error);
}

static struct thin_volume_conf *full(void)
{
	struct thin_volume_conf *v;

	assert_int_equal(thin_volume_conf_new("vm1@mon", &v), 0);
	v->device = THIN_MAX_DEVICE_ID;
	v->size = THIN_MAX_VOLUME_SIZE;
	v->origin_size = 5;
	v->origin_inode = UINT64_MAX;
	v->origin_mtime_ns = INT64_C(1767225600000000001);
	v->origin_ctime_ns = -1;
	v->readonly = v->shrinking = v->flattening = true;
	v->created = 1767225600;
	v->reserve = 4096;
	assert_int_equal(thin_string_set(&v->origin, "base \"x\".img"), 0);
	assert_int_equal(thin_string_set(&v->origin_path, "/srv/base \"x\".img"), 0);
	assert_int_equal(thin_string_set(&v->parent, "vm1"), 0);
	assert_int_equal(thin_string_set(&v->description, "caf\xc3\xa9 # \\"), 0);
	return v;
}

static void assert_same(const struct thin_volume_conf *a,
			const struct thin_volume_conf *b)
{
	assert_string_equal(a->name, b->name);
	assert_string_equal(a->origin, b->origin);
	assert_string_equal(a->origin_path, b->origin_path);
	assert_string_equal(a->parent, b->parent);
	assert_string_equal(a->description, b->description);
	assert_true(a->device == b->device && a->size == b->size);
	assert_true(a->origin_size == b->origin_size &&
		    a->origin_inode == b->origin_inode);
	assert_true(a->origin_mtime_ns == b->origin_mtime_ns &&
		    a->origin_ctime_ns == b->origin_ctime_ns);
	assert_true(a->readonly == b->readonly && a->created == b->created);
	assert_true(a->reserve == b->reserve);
	assert_true(a->shrinking == b->shrinking && a->flattening == b->flattening);
}

static void printed_and_parsed(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = full(), *again = NULL;
	_cleanup_free char *text = NULL;
	size_t len;

	(void)state;
	assert_int_equal(thin_volume_conf_print(v, &text, &len), 0);
	if (parse("vm1@mon", text, &again))
		fail_msg("%s\n%s", error.text, text);
	assert_same(v, again);
	assert_has(text, "size = \"64P\";");
	assert_has(text, "created = \"2026-01-01T00:00:00Z\";");
}

static void short_where_little_is_set(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	_cleanup_free char *text = NULL;
	size_t len;

	(void)state;
	assert_int_equal(parse("vm1", NEEDED, &v), 0);
	assert_null(v->origin);
	assert_null(v->parent);
	assert_null(v->description);
	assert_false(v->readonly);
	assert_int_equal(thin_volume_conf_print(v, &text, &len), 0);
	assert_string_equal(strchr(text, '\n'), "\ndevice = 1;\nsize = \"1G\";\n"
						"created = \"2026-01-01T00:00:00Z\";\n");
}

static void refused(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{NEEDED "colour = 1;", "f:2: unknown key \"colour\""},
		{NEEDED "name = \"x\";", "f:2: unknown key \"name\""},
		{"size = 1; created = \"2026-01-01T00:00:00Z\";",
		 "f: \"device\" is missing"},
		{"device = 1; created = \"2026-01-01T00:00:00Z\";",
		 "\"size\" is missing"},
		{"device = 16777216;", "f:1: device: must be from 0 to 16777215"},
		{"device = -1;", "f:1: device: must be from 0"},
		{"size = 0;", "f:1: size: must be from 1 to 64P"},
		{"size = 72057594037927937;", "f:1: size: must be from 1 to 64P"},
		{NEEDED "description = \"a\\nb\";",
		 "f:2: description: byte 2 is a control"},
		{NEEDED "description = \"\xff\";",
		 "f:2: description: byte 1 is not UTF-8"},
		{NEEDED "readonly = 1;", "f:2: readonly: must be true or false"},
		{"device;\n", "f:1: syntax error"},
	};
	struct thin_volume_conf *v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_not_equal(parse("vm1", bad[i].text, &v), 0);
		assert_has(error.text, bad[i].message);
	}
}

static int check(struct thin_volume_conf *v)
{
	error.text[0] = '\0';
	return thin_volume_conf_check(v, &error);
}

static void checked(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = full();
	char long_text[THIN_ORIGIN_MAX + 2];

	(void)state;
	assert_int_equal(check(v), 0);
	v->size++;
	assert_int_equal(check(v), -ERANGE);
	v->size = 0;
	assert_int_equal(check(v), -EINVAL);
	assert_string_equal(error.text, "vm1@mon: a volume can not have size zero");
	v->size = 1;
	v->device++;
	assert_int_equal(check(v), -ERANGE);
	v->device = 0;
	v->reserve = THIN_MAX_VOLUME_SIZE + 1;
	assert_int_equal(check(v), -ERANGE);
	v->reserve = 0;

	memset(long_text, 'a', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	assert_int_equal(thin_string_set(&v->origin, long_text), 0);
	assert_int_equal(check(v), -EDQUOT);
	assert_has(error.text, "vm1@mon: origin: longer than 4096");
	v->origin[THIN_ORIGIN_MAX] = '\0';
	assert_int_equal(check(v), 0);
	long_text[THIN_DESCRIPTION_MAX] = '\0';
	assert_int_equal(thin_string_set(&v->description, long_text), 0);
	assert_int_equal(check(v), 0);
	long_text[THIN_DESCRIPTION_MAX] = 'a';
	long_text[THIN_DESCRIPTION_MAX + 1] = '\0';
	assert_int_equal(thin_string_set(&v->description, long_text), 0);
	assert_int_equal(check(v), -EDQUOT);
	assert_int_equal(thin_string_set(&v->description, NULL), 0);
	assert_int_equal(thin_string_set(&v->name, "a/b"), 0);
	assert_int_equal(check(v), -EINVAL);
}

/* The longest record fits into the largest file that is read. */
static void the_largest_fits(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = full();
	_cleanup_free char *text = NULL;
	char ones[THIN_ORIGIN_MAX + 1];
	size_t len;

	(void)state;
	memset(ones, '\1', sizeof(ones)); /* four bytes each, in the file */
	ones[THIN_ORIGIN_MAX] = '\0';
	assert_int_equal(thin_string_set(&v->origin, ones), 0);
	assert_int_equal(thin_string_set(&v->origin_path, ones), 0);
	assert_int_equal(check(v), 0);
	assert_int_equal(thin_volume_conf_print(v, &text, &len), 0);
	assert_true(len + 4 * THIN_DESCRIPTION_MAX < THIN_VOLUME_FILE_BYTES);
}

static void copies_are_their_own(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = full(), *copy = NULL;

	(void)state;
	assert_int_equal(thin_string_set(&v->problem, "p"), 0);
	assert_int_equal(thin_volume_conf_copy(v, &copy), 0);
	assert_same(v, copy);
	assert_string_equal(copy->problem, "p");
	copy->name[0] = 'X';
	copy->origin[0] = 'X';
	copy->problem[0] = 'X';
	assert_string_equal(v->name, "vm1@mon");
	assert_string_equal(v->problem, "p");
	assert_true(v->origin[0] == 'b');
}

static void references(void **state)
{
	struct thin_volume_conf *v = full();
	const struct thin_volume_conf *held = thin_volume_conf_get(v);

	(void)state;
	assert_ptr_equal(held, v);
	thin_volume_conf_put(v);
	assert_string_equal(held->name, "vm1@mon"); /* still there */
	thin_volume_conf_put(held);
	thin_volume_conf_put(NULL);
}

static void tombstones(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = full(), *t = NULL;

	(void)state;
	v->device = 7;
	assert_int_equal(thin_volume_conf_tombstone(v, "then", &t), 0);
	assert_string_equal(t->name, ".deleting-7");
	assert_int_equal(t->device, 7);
	assert_null(t->parent);
	assert_int_equal(check(t), 0);
	t->device = 8;
	assert_int_equal(check(t), -EINVAL);
	assert_true(thin_is_tombstone(".deleting-7"));
	assert_false(thin_is_tombstone("deleting-7"));
}

static void file_names(void **state)
{
	static const char *const not_files[] = {
		"vm1",	     ".conf",  "vm1.conf~",   ".vm1.conf.swp",
		"vm 1.conf", "..conf", "a@@b.conf",   "vm1.CONF",
		".intent",   "",       ".tmp-a.conf", "-a.conf",
	};
	char name[THIN_NAME_MAX + 1], file[THIN_VOLUME_FILE_MAX], longest[300];

	(void)state;
	assert_string_equal(thin_volume_file("vm1@mon", file), "vm1@mon.conf");
	assert_true(thin_volume_of_file("vm1@mon.conf", name));
	assert_string_equal(name, "vm1@mon");
	assert_true(thin_volume_of_file("a.conf.conf", name));
	assert_string_equal(name, "a.conf");
	assert_true(thin_volume_of_file(".deleting-7.conf", name));
	for (size_t i = 0; i < ARRAY_LEN(not_files); i++)
		if (thin_volume_of_file(not_files[i], name))
			fail_msg("%s", not_files[i]);

	memset(longest, 'a', sizeof(longest));
	longest[63] = '@';
	strcpy(longest + THIN_NAME_MAX, ".conf");
	assert_true(thin_volume_of_file(longest, name));
	assert_string_equal(thin_volume_file(name, file), longest);
	strcpy(longest + THIN_NAME_MAX, "a.conf");
	assert_false(thin_volume_of_file(longest, name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(printed_and_parsed),
		cmocka_unit_test(short_where_little_is_set),
		cmocka_unit_test(refused),
		cmocka_unit_test(checked),
		cmocka_unit_test(the_largest_fits),
		cmocka_unit_test(copies_are_their_own),
		cmocka_unit_test(references),
		cmocka_unit_test(tombstones),
		cmocka_unit_test(file_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
