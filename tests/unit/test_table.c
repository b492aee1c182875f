/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "registry/table.h"
#include "seeded.h"

#include <errno.h>
#include <stdio.h>

static struct thin_error error;

static struct thin_volume_conf *record(const char *name, uint32_t device,
				       const char *parent)
{
	struct thin_volume_conf *v;

	assert_int_equal(thin_volume_conf_new(name, &v), 0);
	v->device = device;
	v->size = 1;
	assert_int_equal(thin_string_set(&v->parent, parent), 0);
	return v;
}

static int add(struct thin_table *t, const char *name, uint32_t device,
	       const char *parent)
{
	_cleanup_volume_conf struct thin_volume_conf *v = record(name, device, parent);

	return thin_table_insert(t, v, &error);
}

static void assert_sorted(const struct thin_table *t)
{
	for (size_t i = 1; i < t->nr; i++)
		assert_true(strcmp(t->by_name[i - 1]->name, t->by_name[i]->name) < 0);
	for (size_t i = 1; i < t->nr_devices; i++)
		assert_true(t->by_device[i - 1]->device < t->by_device[i]->device);
}

static void found_by_both(void **state)
{
	struct thin_table t = {0};

	(void)state;
	assert_null(thin_table_find(&t, "a"));
	assert_null(thin_table_find_device(&t, 0));
	assert_int_equal(add(&t, "b", 1, NULL), 0);
	assert_int_equal(add(&t, "a", 2, NULL), 0);
	assert_int_equal(add(&t, "c", 0, NULL), 0);
	assert_int_equal(add(&t, "broken", THIN_NO_DEVICE, NULL), 0);
	assert_int_equal(add(&t, "broken2", THIN_NO_DEVICE, NULL), 0);
	assert_sorted(&t);
	assert_string_equal(thin_table_find(&t, "a")->name, "a");
	assert_string_equal(thin_table_find_device(&t, 0)->name, "c");
	assert_null(thin_table_find(&t, "ab"));
	assert_null(thin_table_find_device(&t, 3));
	assert_null(thin_table_find_device(&t, THIN_NO_DEVICE));

	assert_int_equal(add(&t, "a", 9, NULL), -EEXIST);
	assert_has(error.text, "a: there is a volume of this name");
	assert_int_equal(add(&t, "z", 2, NULL), -EEXIST);
	assert_has(error.text, "z: device 2 is a's already");
	thin_table_remove(&t, "a");
	thin_table_remove(&t, "broken");
	thin_table_remove(&t, "nobody");
	assert_null(thin_table_find(&t, "a"));
	assert_null(thin_table_find_device(&t, 2));
	assert_int_equal(t.nr, 3);
	assert_int_equal(t.nr_devices, 2);
	thin_table_fini(&t);
}

/* Against an array that is indexed by the name's number. */
static void assert_free_device(const struct thin_table *t, uint32_t from)
{
	uint32_t device = from;

	while (thin_table_find_device(t, device))
		device++;
	assert_int_equal(thin_table_free_device(t, from), device);
}

static void random_steps(void **state)
{
	struct seeded rnd = seeded_start("random_steps");
	struct thin_table t = {0};
	bool there[50] = {false};
	size_t nr = 0;

	(void)state;
	for (int step = 0; step < 5000; step++) {
		size_t i = seeded_below(&rnd, ARRAY_LEN(there));
		char name[20];

		snprintf(name, sizeof(name), "v%zu", i);
		assert_int_equal(!!thin_table_find(&t, name), there[i]);
		if (seeded_below(&rnd, 2)) {
			assert_int_equal(add(&t, name, (uint32_t)(i * 7 % 50), NULL),
					 there[i] ? -EEXIST : 0);
			nr += !there[i];
			there[i] = true;
		} else {
			thin_table_remove(&t, name);
			nr -= there[i];
			there[i] = false;
		}
		assert_int_equal(t.nr, nr);
		assert_int_equal(t.nr_devices, nr);
		assert_free_device(&t, (uint32_t)seeded_below(&rnd, 60));
	}
	assert_sorted(&t);
	thin_table_fini(&t);
}

static void a_copy_is_independent(void **state)
{
	struct thin_table t = {0}, copy;

	(void)state;
	assert_int_equal(thin_table_copy(&t, &copy), 0);
	assert_int_equal(copy.nr, 0);
	thin_table_fini(&copy);

	for (uint32_t i = 0; i < 100; i++) {
		char name[20];

		snprintf(name, sizeof(name), "v%u", i);
		assert_int_equal(add(&t, name, i, NULL), 0);
	}
	assert_int_equal(thin_table_copy(&t, &copy), 0);
	assert_ptr_equal(thin_table_find(&t, "v5"), thin_table_find(&copy, "v5"));
	thin_table_remove(&copy, "v5");
	assert_non_null(thin_table_find_device(&t, 5));
	thin_table_fini(&t);
	assert_string_equal(thin_table_find_device(&copy, 6)->name, "v6");
	thin_table_fini(&copy);
}

struct differences {
	char text[200];
	int stop;
};

static int note(void *ctx, struct thin_volume_conf *old, struct thin_volume_conf *new)
{
	struct differences *d = ctx;
	char sign = !old ? '+' : !new ? '-' : '~';
	size_t len = strlen(d->text);

	snprintf(d->text + len, sizeof(d->text) - len, "%c%s ", sign,
		 (old ? old : new)->name);
	return d->stop;
}

static void differences(void **state)
{
	struct differences d = {.stop = 0};
	struct thin_table a = {0}, b;

	(void)state;
	assert_int_equal(add(&a, "b", 1, NULL), 0);
	assert_int_equal(add(&a, "d", 2, NULL), 0);
	assert_int_equal(add(&a, "e", 3, NULL), 0);
	assert_int_equal(thin_table_copy(&a, &b), 0);
	assert_int_equal(thin_table_diff(&a, &b, note, &d), 0);
	assert_string_equal(d.text, "");

	thin_table_remove(&b, "b");
	thin_table_remove(&b, "d");
	assert_int_equal(add(&b, "a", 7, NULL), 0);
	assert_int_equal(add(&b, "d", 2, NULL), 0);
	assert_int_equal(add(&b, "f", 8, NULL), 0);
	assert_int_equal(thin_table_diff(&a, &b, note, &d), 0);
	assert_string_equal(d.text, "+a -b ~d +f ");
	d.stop = -ECANCELED;
	assert_int_equal(thin_table_diff(&a, &b, note, &d), -ECANCELED);
	assert_string_equal(d.text, "+a -b ~d +f +a ");
	thin_table_fini(&a);
	thin_table_fini(&b);
}

static int orphan(void *ctx, struct thin_volume_conf *v)
{
	++*(int *)ctx;
	return thin_string_set(&v->parent, NULL);
}

static void parents(void **state)
{
	struct thin_table t = {0};
	int lost = 0;

	(void)state;
	assert_int_equal(add(&t, "top", 0, NULL), 0);
	assert_int_equal(add(&t, "a", 1, "top"), 0);
	assert_int_equal(add(&t, "b", 2, "a"), 0);
	assert_int_equal(thin_table_lost_parents(&t, orphan, &lost), 0);
	assert_int_equal(lost, 0);
	assert_int_equal(thin_table_check_parent(&t, thin_table_find(&t, "b"), &error),
			 0);

	assert_int_equal(add(&t, "child", 3, "lost"), 0);
	assert_int_equal(add(&t, "grandchild", 4, "child"), 0);
	assert_int_equal(
		thin_table_check_parent(&t, thin_table_find(&t, "child"), &error),
		-ENOENT);
	assert_has(error.text, "child: its parent lost does not exist");
	assert_int_equal(add(&t, "x", 5, "y"), 0);
	assert_int_equal(add(&t, "y", 6, "x"), 0);
	assert_int_equal(add(&t, "z", 7, "y"), 0);
	assert_int_equal(add(&t, "self", 8, "self"), 0);
	assert_int_equal(thin_table_check_parent(&t, thin_table_find(&t, "x"), &error),
			 -EINVAL);
	assert_has(error.text, "x: would be among its own ancestors");
	assert_int_equal(thin_table_check_parent(&t, thin_table_find(&t, "self"), &error),
			 -EINVAL);

	assert_int_equal(thin_table_lost_parents(&t, orphan, &lost), 0);
	assert_int_equal(lost, 3); /* child, self, one of x and y */
	assert_string_equal(thin_table_find(&t, "grandchild")->parent, "child");
	assert_string_equal(thin_table_find(&t, "z")->parent, "y");
	for (size_t i = 0; i < t.nr; i++)
		assert_int_equal(thin_table_check_parent(&t, t.by_name[i], &error), 0);
	thin_table_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_by_both),
		cmocka_unit_test(random_steps),
		cmocka_unit_test(a_copy_is_independent),
		cmocka_unit_test(differences),
		cmocka_unit_test(parents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
