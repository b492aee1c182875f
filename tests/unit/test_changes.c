/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "registry/changes.h"

#include <errno.h>
#include <stdio.h>

static struct thin_error error;
static struct thin_table table;

static struct thin_volume_conf *record(const char *name, uint32_t device)
{
	struct thin_volume_conf *v;

	assert_int_equal(thin_volume_conf_new(name, &v), 0);
	v->device = device;
	v->size = 4096;
	return v;
}

static void put(const char *name, uint32_t device, const char *parent, const char *origin)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record(name, device);

	assert_int_equal(thin_string_set(&v->parent, parent), 0);
	assert_int_equal(thin_string_set(&v->origin, origin), 0);
	assert_int_equal(thin_table_insert(&table, v, &error), 0);
}

static int setup(void **state)
{
	(void)state;
	put("vm1", 1, NULL, "/srv/base.img");
	put("vm1@mon", 2, "vm1", "/srv/base.img");
	put("vm1@tue", 3, "vm1@mon", NULL);
	put("user", 4, NULL, "thin:vm1");
	put("other", 5, NULL, "thin:vm10");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	thin_table_fini(&table);
	return 0;
}

static int change(struct thin_change c)
{
	error.text[0] = '\0';
	return thin_changes_make(&c, 1, &table, &error);
}

static struct thin_volume_conf *get(const char *name)
{
	struct thin_volume_conf *v = thin_table_find(&table, name);

	if (!v)
		fail_msg("no %s", name);
	return v;
}

static void created(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record("new", 9);

	(void)state;
	assert_int_equal(thin_string_set(&v->parent, "vm1@tue"), 0);
	assert_int_equal(change((struct thin_change){THIN_CHANGE_CREATE, .volume = v}),
			 0);
	assert_ptr_not_equal(get("new"), v); /* a copy */
	assert_int_equal(get("new")->device, 9);
	assert_string_equal(get("new")->parent, "vm1@tue");
}

static void create_refused(void **state)
{
	static const struct {
		const char *name;
		uint32_t device;
		const char *parent;
		int err;
		const char *message;
	} bad[] = {
		{"vm1", 9, NULL, -EEXIST, "vm1: there is a volume of this name already"},
		{"new", 1, NULL, -EEXIST, "new: device 1 is vm1's already"},
		{"a/b", 9, NULL, -EINVAL, "not a volume name"},
		{".deleting-9", 9, NULL, -EINVAL, "not a volume name"},
		{"new", THIN_NO_DEVICE, NULL, -ERANGE, "new: there is no device"},
		{"new", 9, "nobody", -ENOENT, "new: its parent nobody does not exist"},
		{"new", 9, "new", -EINVAL, "new: would be among its own ancestors"},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		_cleanup_volume_conf struct thin_volume_conf *v =
			record(bad[i].name, bad[i].device);

		assert_int_equal(thin_string_set(&v->parent, bad[i].parent), 0);
		assert_int_equal(
			change((struct thin_change){THIN_CHANGE_CREATE, .volume = v}),
			bad[i].err);
		assert_has(error.text, bad[i].message);
		teardown(state);
		setup(state);
	}
}

/* A parent may come later than its child, if both are in one group. */
static void group_in_any_order(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *a = record("a", 10),
						     *b = record("b", 11);
	struct thin_change c[] = {
		{THIN_CHANGE_CREATE, .volume = a},
		{THIN_CHANGE_CREATE, .volume = b},
	};

	(void)state;
	assert_int_equal(thin_string_set(&a->parent, "b"), 0);
	assert_int_equal(thin_changes_make(c, 2, &table, &error), 0);
	assert_string_equal(get("a")->parent, "b");
}

static void updated(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record("vm1", 1);

	(void)state;
	v->readonly = true;
	assert_int_equal(change((struct thin_change){THIN_CHANGE_UPDATE, .volume = v}),
			 0);
	assert_true(get("vm1")->readonly);
	assert_null(get("vm1")->origin);
	assert_string_equal(get("vm1@mon")->parent, "vm1");

	assert_int_equal(thin_string_set(&v->name, "nobody"), 0);
	assert_int_equal(change((struct thin_change){THIN_CHANGE_UPDATE, .volume = v}),
			 -ENOENT);
	assert_has(error.text, "nobody: there is no such volume");
}

/* Rolled back to a child of its own: a circle of parents would be wrong. */
static void update_refused(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record("vm1", 1);

	(void)state;
	assert_int_equal(thin_string_set(&v->parent, "vm1@tue"), 0);
	assert_int_equal(change((struct thin_change){THIN_CHANGE_UPDATE, .volume = v}),
			 -EINVAL);
	v->size = 0;
	assert_int_equal(change((struct thin_change){THIN_CHANGE_UPDATE, .volume = v}),
			 -EINVAL);
	assert_has(error.text, "size zero");
}

static void rolled_back(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record("vm1", 9);

	(void)state;
	assert_int_equal(change((struct thin_change){THIN_CHANGE_UPDATE, .volume = v,
						     .bury = true}),
			 0);
	assert_int_equal(get("vm1")->device, 9);
	assert_int_equal(get(".deleting-1")->device, 1);
	assert_string_equal(get("vm1@mon")->parent, "vm1");
	/* The same device again: there is nothing to bury. */
	assert_int_equal(change((struct thin_change){THIN_CHANGE_UPDATE, .volume = v,
						     .bury = true}),
			 0);
	assert_int_equal(table.nr, 6);
}

static void deleted(void **state)
{
	(void)state;
	assert_int_equal(
		change((struct thin_change){THIN_CHANGE_DELETE, .name = "vm1@mon"}), 0);
	assert_null(thin_table_find(&table, "vm1@mon"));
	assert_null(thin_table_find_device(&table, 2));
	assert_null(get("vm1@tue")->parent);
	assert_int_equal(
		change((struct thin_change){THIN_CHANGE_DELETE, .name = "vm1@mon"}),
		-ENOENT);
	assert_has(error.text, "vm1@mon: there is no such volume");
}

static void buried(void **state)
{
	(void)state;
	assert_int_equal(change((struct thin_change){THIN_CHANGE_DELETE,
						     .name = "vm1@mon", .bury = true}),
			 0);
	assert_null(thin_table_find(&table, "vm1@mon"));
	assert_int_equal(get(".deleting-2")->device, 2);
	assert_null(get(".deleting-2")->parent);
	assert_null(get("vm1@tue")->parent);
	put("vm1@mon", 9, NULL, NULL); /* the name is free at once */
	assert_int_equal(
		change((struct thin_change){THIN_CHANGE_DELETE, .name = ".deleting-2"}),
		0);
	assert_null(thin_table_find_device(&table, 2));
}

static void renamed(void **state)
{
	(void)state;
	assert_int_equal(change((struct thin_change){THIN_CHANGE_RENAME, .name = "vm1",
						     .new_name = "new"}),
			 0);
	assert_null(thin_table_find(&table, "vm1"));
	assert_int_equal(get("new")->device, 1);
	assert_string_equal(get("new")->origin, "/srv/base.img");
	assert_string_equal(get("vm1@mon")->parent, "new");
	assert_string_equal(get("user")->origin, "thin:new");
	assert_string_equal(get("other")->origin, "thin:vm10");
	assert_string_equal(get("vm1@tue")->parent, "vm1@mon");
}

static void rename_refused(void **state)
{
	static const struct {
		const char *from, *to;
		int err;
	} bad[] = {
		{"nobody", "new", -ENOENT},
		{"vm1", "user", -EEXIST},
		{"vm1", ".deleting-1", -EINVAL},
		{"vm1", "../x", -EINVAL},
		{"vm1", "", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(change((struct thin_change){THIN_CHANGE_RENAME,
							     .name = bad[i].from,
							     .new_name = bad[i].to}),
				 bad[i].err);
		teardown(state);
		setup(state);
	}
	assert_int_equal(change((struct thin_change){THIN_CHANGE_RENAME, .name = "vm1",
						     .new_name = "vm1"}),
			 0);
	assert_string_equal(get("vm1@mon")->parent, "vm1");
}

/* What can not be used can not be changed either. */
static void problems_stay(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record("bad", THIN_NO_DEVICE);
	_cleanup_volume_conf struct thin_volume_conf *good = record("bad", 9);
	struct thin_change c[] = {
		{THIN_CHANGE_DELETE, .name = "bad"},
		{THIN_CHANGE_RENAME, .name = "bad", .new_name = "x"},
		{THIN_CHANGE_UPDATE, .volume = good},
		{THIN_CHANGE_CREATE, .volume = good},
	};

	(void)state;
	assert_int_equal(thin_string_set(&v->problem, "volumes/bad.conf:1: why"), 0);
	assert_int_equal(thin_table_insert(&table, v, &error), 0);
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		assert_int_equal(change(c[i]), i == 3 ? -EEXIST : -EINVAL);
	assert_int_equal(change(c[0]), -EINVAL);
	assert_string_equal(error.text, "volumes/bad.conf:1: why");
}

static void as_many_as_allowed(void **state)
{
	_cleanup_volume_conf struct thin_volume_conf *one = record("last", 20000);
	_cleanup_volume_conf struct thin_volume_conf *two = record("next", 20001);
	_cleanup_volume_conf struct thin_volume_conf *more = record("more", 20002);

	(void)state;
	for (uint32_t i = 10; table.nr < THIN_MAX_VOLUMES - 1; i++) {
		char name[20];

		snprintf(name, sizeof(name), "v%u", i);
		put(name, i, NULL, NULL);
	}
	assert_int_equal(change((struct thin_change){THIN_CHANGE_CREATE, .volume = one}),
			 0);
	/* The place of one that was buried is free. */
	assert_int_equal(change((struct thin_change){THIN_CHANGE_DELETE, .name = "v11",
						     .bury = true}),
			 0);
	assert_int_equal(change((struct thin_change){THIN_CHANGE_CREATE, .volume = two}),
			 0);
	assert_int_equal(change((struct thin_change){THIN_CHANGE_CREATE, .volume = more}),
			 -EDQUOT);
	assert_has(error.text, "more than 10000 volumes");
	/* Who has too many already can still change and delete. */
	assert_int_equal(change((struct thin_change){THIN_CHANGE_DELETE, .name = "v10"}),
			 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(created),	      TEST(create_refused), TEST(group_in_any_order),
		TEST(updated),	      TEST(update_refused), TEST(rolled_back),
		TEST(deleted),	      TEST(buried),	    TEST(renamed),
		TEST(rename_refused), TEST(problems_stay),  TEST(as_many_as_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
