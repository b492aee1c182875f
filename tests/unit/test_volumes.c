/* SPDX-License-Identifier: BSD-3-Clause */
/* The registry on a real folder; what crashes and errors do is tested apart. */
#include "scratch.h"

#include "registry/files.h"
#include "registry/journal.h"
#include "registry/volumes.h"
#include "util/lock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define CREATED "created = \"2026-01-01T00:00:00Z\";\n"

static struct thin_error error;
static struct thin_files *files;
static uint32_t lost_device; /* one that the metadata has not */
static char reports[4000];

static int setup(void **state)
{
	lost_device = THIN_NO_DEVICE;
	*reports = '\0';
	return scratch_make(state) ||
	       thin_files_open(scratch("volumes"), THIN_FILES_CREATE, &files, &error);
}

static int teardown(void **state)
{
	thin_files_close(files);
	return scratch_remove(state);
}

/* Devices from 100 on are made by nobody here. */
static int device_exists(void *ctx, uint32_t device, bool *ret)
{
	(void)ctx;
	*ret = device < 100 && device != lost_device;
	return 0;
}

static void on_report(void *ctx, const char *text)
{
	(void)ctx;
	strncat(reports, text, sizeof(reports) - strlen(reports) - 2);
	strcat(reports, "\n");
}

static struct thin_registry *open_it(bool readonly)
{
	struct thin_registry_params p = {
		.files = files,
		.readonly = readonly,
		.device_exists = device_exists,
		.report = on_report,
	};
	struct thin_registry *reg = NULL;

	if (thin_registry_open(&p, &reg, &error))
		fail_msg("%s", error.text);
	return reg;
}

static void write_file(const char *name, const char *text)
{
	assert_int_equal(files->ops->write(files, name, text, strlen(text)), 0);
}

static bool file_is_there(const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), "volumes/%s", name);
	return !access(scratch(path), F_OK);
}

static struct thin_volume_conf *volume(const char *name, uint32_t device)
{
	struct thin_volume_conf *v;

	assert_int_equal(thin_volume_conf_new(name, &v), 0);
	v->device = device;
	v->size = 4096;
	return v;
}

static void create(struct thin_registry *reg, const char *name, uint32_t device)
{
	_cleanup_volume_conf struct thin_volume_conf *v = volume(name, device);
	struct thin_change c = {THIN_CHANGE_CREATE, .volume = v};

	if (thin_registry_begin(reg, &c, 1, &error))
		fail_msg("%s", error.text);
	thin_registry_finish(reg);
}

static void nothing_there(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(false);
	_cleanup_volume_list struct thin_volume_list list = {0};
	const struct thin_volume_conf *v;

	(void)state;
	assert_int_equal(thin_registry_list(reg, &list), 0);
	assert_int_equal(list.nr, 0);
	assert_int_equal(thin_registry_find(reg, "vm1", &v, &error), -ENOENT);
	assert_string_equal(error.text, "vm1: there is no such volume");
	assert_int_equal(thin_registry_find_device(reg, 1, &v), -ENOENT);
}

static void a_life(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(false);
	_cleanup_volume_list struct thin_volume_list list = {0};
	struct thin_change rename = {THIN_CHANGE_RENAME, .name = "vm1", .new_name = "a"};
	struct thin_change bury = {THIN_CHANGE_DELETE, .name = "vm2", .bury = true};
	_cleanup_volume_conf const struct thin_volume_conf *held = NULL, *v = NULL;

	(void)state;
	create(reg, "vm1", 100);
	create(reg, "vm2", 101);
	create(reg, "vm1@mon", 102);
	assert_true(file_is_there("vm1@mon.conf"));
	assert_int_equal(thin_registry_find(reg, "vm1", &held, &error), 0);
	assert_int_equal(thin_registry_change(reg, &rename, 1, &error), 0);
	assert_false(file_is_there("vm1.conf"));
	assert_string_equal(held->name, "vm1"); /* who has one keeps it */
	assert_int_equal(thin_registry_change(reg, &bury, 1, &error), 0);
	assert_true(file_is_there(".deleting-101.conf"));

	thin_registry_close(reg);
	assert_false(file_is_there(THIN_JOURNAL_FILE));
	reg = open_it(false);
	assert_string_equal(reports, "");
	assert_int_equal(thin_registry_list(reg, &list), 0);
	assert_int_equal(list.nr, 2);
	assert_string_equal(list.at[0]->name, "a");
	assert_string_equal(list.at[1]->name, "vm1@mon");
	thin_volume_list_fini(&list);
	assert_int_equal(thin_registry_tombstones(reg, &list), 0);
	assert_int_equal(list.nr, 1);
	assert_int_equal(list.at[0]->device, 101);
	assert_int_equal(thin_registry_find_device(reg, 102, &v), 0);
	assert_string_equal(v->name, "vm1@mon");
}

static void pending_is_not_read(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(false);
	_cleanup_volume_conf struct thin_volume_conf *v = volume("vm1", 100);
	struct thin_change c = {THIN_CHANGE_CREATE, .volume = v};
	const struct thin_volume_conf *found;

	(void)state;
	assert_int_equal(thin_registry_begin(reg, &c, 1, &error), 0);
	assert_true(file_is_there(THIN_JOURNAL_FILE));
	assert_int_equal(thin_registry_find(reg, "vm1", &found, &error), -ENOENT);
	thin_registry_cancel(reg);
	assert_false(file_is_there(".tmp-vm1.conf"));
	assert_int_equal(thin_registry_find(reg, "vm1", &found, &error), -ENOENT);
	assert_int_equal(thin_registry_begin(reg, &c, 1, &error), 0);
	thin_registry_finish(reg);
	assert_int_equal(thin_registry_find(reg, "vm1", &found, &error), 0);
	thin_volume_conf_put(found);
}

/* What comes to the same as before writes nothing. */
static void no_change_no_writing(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(false);
	struct thin_change c[] = {
		{THIN_CHANGE_RENAME, .name = "vm1", .new_name = "vm2"},
		{THIN_CHANGE_DELETE, .name = "vm2"},
	};

	(void)state;
	assert_int_equal(thin_registry_begin(reg, NULL, 0, &error), 0);
	assert_false(file_is_there(THIN_JOURNAL_FILE));
	thin_registry_finish(reg);
	assert_int_equal(thin_registry_begin(reg, NULL, 0, &error), 0);
	thin_registry_cancel(reg);
	create(reg, "vm1", 100);
	assert_int_equal(thin_registry_begin(reg, c, 2, &error), 0);
	thin_registry_finish(reg);
	assert_false(file_is_there("vm1.conf"));
}

/* A group of which one can not be: none is. */
static void all_or_none(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(false);
	_cleanup_volume_conf struct thin_volume_conf *a = volume("a", 100),
						     *b = volume("b", 100);
	struct thin_change c[] = {
		{THIN_CHANGE_CREATE, .volume = a},
		{THIN_CHANGE_CREATE, .volume = b},
	};
	const struct thin_volume_conf *v;

	(void)state;
	assert_int_equal(thin_registry_begin(reg, c, 2, &error), -EEXIST);
	assert_has(error.text, "b: device 100 is a's already");
	assert_int_equal(thin_registry_find(reg, "a", &v, &error), -ENOENT);
	assert_false(file_is_there("a.conf"));
	assert_int_equal(thin_registry_begin(reg, c, 1, &error), 0);
	thin_registry_finish(reg);
}

/* A name from a client is looked up, and is never a path. */
static void names_from_outside(void **state)
{
	static const char *const names[] = {"",	       "../volumes/vm1", "/etc/passwd",
					    "vm1\n",   "vm1/",		 ".deleting-1",
					    ".intent", "vm1.conf",	 "vm1@@x",
					    "\xff\xfe"};
	_cleanup_registry struct thin_registry *reg = NULL;
	const struct thin_volume_conf *v;

	(void)state;
	write_file("vm1.conf", "device = 2; size = 1;" CREATED);
	write_file(".deleting-1.conf", "device = 1; size = 1;" CREATED);
	reg = open_it(false);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(thin_registry_find(reg, names[i], &v, &error), -ENOENT);
	assert_int_equal(thin_registry_find(reg, "vm1", &v, &error), 0);
	thin_volume_conf_put(v);
}

/* One file that can not be used stops nobody else. */
static void problems_are_their_own(void **state)
{
	_cleanup_registry struct thin_registry *reg = NULL;
	_cleanup_volume_list struct thin_volume_list list = {0};
	const struct thin_volume_conf *v;

	(void)state;
	write_file("bad.conf", "device = 1;\nsise = 1;\n" CREATED);
	write_file("good.conf", "device = 2; size = \"1G\";" CREATED);
	write_file(".deleting-9.conf", "device = 8; size = 1;" CREATED);
	assert_int_equal(symlink("/etc/passwd", scratch("volumes/link.conf")), 0);
	assert_int_equal(mkdir(scratch("volumes/folder.conf"), 0700), 0);
	reg = open_it(false);
	assert_int_equal(thin_registry_list(reg, &list), 0);
	assert_int_equal(list.nr, 4);
	assert_has(list.at[0]->problem, "volumes/bad.conf:2: unknown key \"sise\"");
	assert_has(list.at[1]->problem, "folder.conf: it is not a regular file");
	assert_null(list.at[2]->problem);
	assert_has(list.at[3]->problem, "link.conf: it is a symbolic link");
	assert_has(reports, "bad.conf:2: unknown key");
	assert_has(reports,
		   ".deleting-9.conf: .deleting-9: its name is not that of device 8");

	assert_int_equal(thin_registry_find(reg, "bad", &v, &error), -EINVAL);
	assert_has(error.text, "bad.conf:2: unknown key");
	assert_int_equal(thin_registry_find(reg, "good", &v, &error), 0);
	thin_volume_conf_put(v);
}

static void two_on_one_device(void **state)
{
	_cleanup_registry struct thin_registry *reg = NULL;
	const struct thin_volume_conf *v;

	(void)state;
	write_file("a.conf", "device = 1; size = 1;" CREATED);
	write_file("b.conf", "device = 1; size = 1;" CREATED);
	write_file("c.conf", "device = 1; size = 1;" CREATED);
	write_file("d.conf", "device = 2; size = 1;" CREATED);
	reg = open_it(false);
	assert_int_equal(thin_registry_find(reg, "a", &v, &error), -EINVAL);
	assert_has(error.text, "are both device 1");
	assert_int_equal(thin_registry_find(reg, "b", &v, &error), -EINVAL);
	assert_int_equal(thin_registry_find(reg, "c", &v, &error), -EINVAL);
	assert_int_equal(thin_registry_find_device(reg, 1, &v), -ENOENT);
	assert_int_equal(thin_registry_find(reg, "d", &v, &error), 0);
	thin_volume_conf_put(v);
}

static void strangers(void **state)
{
	_cleanup_registry struct thin_registry *reg = NULL;

	(void)state;
	write_file("vm1.conf~", "an editor's");
	write_file("a\nb.conf", "");
	write_file(".tmp-vm1.conf", "half of");
	write_file("vm2.conf", "device = 1; size = 1; parent = \"gone\";" CREATED);
	reg = open_it(true);
	assert_true(file_is_there(".tmp-vm1.conf"));
	assert_has(reports, "volumes/vm1.conf~: is no volume's file");
	assert_has(reports, "volumes/a?b.conf: is no volume's file");
	assert_has(reports, "vm2: its parent gone is not there");
	thin_registry_close(reg);
	reg = open_it(false);
	assert_false(file_is_there(".tmp-vm1.conf"));
	assert_true(file_is_there("vm1.conf~"));
}

static void read_only(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(true);
	_cleanup_volume_conf struct thin_volume_conf *v = volume("vm1", 100);
	struct thin_change c = {THIN_CHANGE_CREATE, .volume = v};

	(void)state;
	assert_int_equal(thin_registry_begin(reg, &c, 1, &error), -EROFS);
	assert_int_equal(thin_registry_change(reg, &c, 1, &error), -EROFS);
}

static void interruption_is_reported(void **state)
{
	_cleanup_registry struct thin_registry *reg = open_it(false);
	_cleanup_volume_conf struct thin_volume_conf *v = volume("vm1", 100);
	struct thin_change c = {THIN_CHANGE_CREATE, .volume = v};

	(void)state;
	assert_int_equal(thin_registry_begin(reg, &c, 1, &error), 0);
	thin_registry_close(reg);
	reg = open_it(false);
	assert_has(reports, "volumes: a change was interrupted; it is dropped");
	assert_false(file_is_there(".tmp-vm1.conf"));
	assert_false(file_is_there(THIN_JOURNAL_FILE));
}

/* A deletion after which the device is gone is finished, with its device. */
static void deletion_is_finished(void **state)
{
	_cleanup_registry struct thin_registry *reg = NULL;
	struct thin_change c = {THIN_CHANGE_DELETE, .name = "vm1"};

	(void)state;
	write_file("vm1.conf", "device = 1; size = 1;" CREATED);
	reg = open_it(false);
	assert_int_equal(thin_registry_begin(reg, &c, 1, &error), 0);
	thin_registry_abandon(reg);
	assert_int_equal(thin_registry_begin(reg, &c, 1, &error), -ESHUTDOWN);
	thin_registry_close(reg);
	lost_device = 1;
	reg = open_it(false);
	assert_has(reports, "the last changes are put in place");
	assert_false(file_is_there("vm1.conf"));
}

#define MANY 2000

/* For its figures: 10,000 volumes are to be opened in well under a second. */
static void thousands(void **state)
{
	_cleanup_registry struct thin_registry *reg = NULL;
	_cleanup_volume_list struct thin_volume_list list = {0};
	struct thin_change c = {THIN_CHANGE_DELETE, .name = "vm0@snap", .bury = true};
	uint64_t start;

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		char name[40], text[400];

		snprintf(name, sizeof(name), "vm%u%s.conf", i, i % 2 ? "" : "@snap");
		snprintf(text, sizeof(text),
			 "# A thinbd volume.\ndevice = %u;\nsize = \"10G\";\n"
			 "origin = \"/srv/images/base.img\";\norigin_path = "
			 "\"/srv/images/base.img\";\norigin_size = 10737418240L;\n"
			 "origin_inode = %uL;\norigin_mtime_ns = 1767225600000000000L;\n"
			 "origin_ctime_ns = 1767225600000000000L;\n" CREATED
			 "description = \"the volume of customer %u\";\n",
			 i, i, i);
		write_file(name, text);
	}
	start = thin_now_ns();
	reg = open_it(false);
	printf("opened in %u ms\n", (unsigned)((thin_now_ns() - start) / 1000000));
	start = thin_now_ns();
	assert_int_equal(thin_registry_list(reg, &list), 0);
	printf("listed in %u us\n", (unsigned)((thin_now_ns() - start) / 1000));
	assert_int_equal(list.nr, MANY);
	for (size_t i = 1; i < list.nr; i++)
		assert_true(strcmp(list.at[i - 1]->name, list.at[i]->name) < 0);
	start = thin_now_ns();
	if (thin_registry_change(reg, &c, 1, &error))
		fail_msg("%s", error.text);
	printf("changed in %u us\n", (unsigned)((thin_now_ns() - start) / 1000));
}

struct readers {
	struct thin_registry *reg;
	atomic_bool stop;
	atomic_uint rounds;
};

static void *read_all_the_time(void *arg)
{
	struct readers *r = arg;

	while (!atomic_load(&r->stop)) {
		struct thin_volume_list list;
		const struct thin_volume_conf *v;

		if (thin_registry_list(r->reg, &list))
			abort();
		for (size_t i = 0; i < list.nr; i++)
			if (!list.at[i]->size)
				abort();
		thin_volume_list_fini(&list);
		if (!thin_registry_find(r->reg, "vm1", &v, NULL))
			thin_volume_conf_put(v);
		if (!thin_registry_find_device(r->reg, 100, &v))
			thin_volume_conf_put(v);
		atomic_fetch_add(&r->rounds, 1);
	}
	return NULL;
}

static void read_while_changing(void **state)
{
	struct readers r = {.reg = open_it(false)};
	struct thin_change there = {THIN_CHANGE_RENAME, .name = "vm1", .new_name = "vm2"};
	struct thin_change back = {THIN_CHANGE_RENAME, .name = "vm2", .new_name = "vm1"};
	pthread_t thread[2];

	(void)state;
	create(r.reg, "vm1", 100);
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_all_the_time, &r),
				 0);
	for (int i = 0; i < 4 || atomic_load(&r.rounds) < 100; i++) {
		assert_int_equal(thin_registry_change(r.reg, &there, 1, &error), 0);
		assert_int_equal(thin_registry_change(r.reg, &back, 1, &error), 0);
	}
	atomic_store(&r.stop, true);
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	thin_registry_close(r.reg);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_there),
		TEST(a_life),
		TEST(pending_is_not_read),
		TEST(no_change_no_writing),
		TEST(all_or_none),
		TEST(names_from_outside),
		TEST(problems_are_their_own),
		TEST(two_on_one_device),
		TEST(strangers),
		TEST(read_only),
		TEST(interruption_is_reported),
		TEST(deletion_is_finished),
		TEST(thousands),
		TEST(read_while_changing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
