/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"

#include "registry/files.h"

#include <errno.h>
#include <fcntl.h>

static struct thin_error error;
static struct thin_files *dir;

static int setup(void **state)
{
	return scratch_make(state) || thin_files_open(scratch_dir, 0, &dir, &error);
}

static int teardown(void **state)
{
	thin_files_close(dir);
	return scratch_remove(state);
}

static void has(const char *name, const char *wanted)
{
	char *text;
	size_t len;

	if (thin_files_read(dir, name, 100, &text, &len, &error))
		fail_msg("%s", error.text);
	assert_int_equal(len, strlen(wanted));
	assert_string_equal(text, wanted);
	free(text);
}

static void written_renamed_removed(void **state)
{
	(void)state;
	assert_int_equal(dir->ops->write(dir, "a", "one", 3), 0);
	assert_int_equal(dir->ops->sync(dir, "a"), 0);
	has("a", "one");
	assert_int_equal(dir->ops->write(dir, "b", "", 0), 0);
	has("b", "");
	assert_int_equal(dir->ops->rename(dir, "a", "b"), 0);
	assert_int_equal(dir->ops->sync_folder(dir), 0);
	has("b", "one");
	assert_int_equal(access(scratch("a"), F_OK), -1);
	assert_int_equal(dir->ops->unlink(dir, "b"), 0);
	assert_int_equal(dir->ops->unlink(dir, "b"), -ENOENT);
	assert_int_equal(dir->ops->rename(dir, "a", "b"), -ENOENT);
	assert_int_equal(dir->ops->sync(dir, "a"), -ENOENT);
}

static void overwritten(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(dir->ops->write(dir, "a", "one two", 7), 0);
	assert_int_equal(dir->ops->overwrite(dir, "a", 4, "six", 3), 0);
	assert_int_equal(dir->ops->sync(dir, "a"), 0);
	has("a", "one six");
	assert_int_equal(stat(scratch("a"), &st), 0);
	assert_int_equal(st.st_size, 7);
	assert_int_equal(dir->ops->overwrite(dir, "b", 0, "x", 1), -ENOENT);
	assert_int_equal(access(scratch("b"), F_OK), -1);
}

static void only_the_owner_reads(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(thin_files_replace(dir, "a", "x", 1, &error), 0);
	assert_int_equal(stat(scratch("a"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(access(scratch(THIN_FILES_TMP "a"), F_OK), -1);
}

/* Root's files in another's folder are the other's. */
static void belongs_to_the_folders_owner(void **state)
{
	struct stat st;

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(scratch_dir, 1234, 1235), 0);
	assert_int_equal(thin_files_replace(dir, "mine", "x", 1, &error), 0);
	assert_int_equal(stat(scratch("mine"), &st), 0);
	assert_int_equal(chown(scratch_dir, 0, 0), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 1235);
}

/* A planted link is replaced, not written through, and not read. */
static void links_are_not_followed(void **state)
{
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(thin_files_replace(dir, "victim", "safe", 4, &error), 0);
	assert_int_equal(symlink("victim", scratch("soft")), 0);
	assert_int_equal(link(scratch("victim"), scratch("hard")), 0);
	assert_int_equal(thin_files_read(dir, "soft", 100, &text, &len, &error), -ELOOP);
	assert_has(error.text, "symbolic link");
	assert_int_equal(dir->ops->write(dir, "soft", "evil", 4), 0);
	assert_int_equal(dir->ops->write(dir, "hard", "evil", 4), 0);
	has("victim", "safe");
	has("soft", "evil");
}

static void what_is_no_file_is_not_read(void **state)
{
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(mkfifo(scratch("fifo"), 0600), 0);
	assert_int_equal(mkdir(scratch("folder"), 0700), 0);
	assert_int_equal(thin_files_read(dir, "fifo", 9, &text, &len, &error), -EINVAL);
	assert_has(error.text, "fifo: it is not a regular file");
	assert_int_equal(thin_files_read(dir, "folder", 9, &text, &len, &error), -EINVAL);
	assert_int_equal(thin_files_read(dir, "none", 9, &text, &len, &error), -ENOENT);
	assert_int_equal(dir->ops->write(dir, "folder", "x", 1), -EISDIR);
}

static void reading_has_a_limit(void **state)
{
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(thin_files_replace(dir, "a", "12345", 5, &error), 0);
	assert_int_equal(thin_files_read(dir, "a", 4, &text, &len, &error), -EFBIG);
	assert_int_equal(thin_files_read(dir, "a", 5, &text, &len, &error), 0);
	assert_int_equal(len, 5);
	free(text);
}

static int count(void *ctx, const char *name)
{
	assert_string_not_equal(name, ".");
	assert_string_not_equal(name, "..");
	++*(int *)ctx;
	return 0;
}

static int stop(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return -ECANCELED;
}

static void listed(void **state)
{
	int before = 0, after = 0;

	(void)state;
	assert_int_equal(dir->ops->list(dir, count, &before), 0);
	assert_int_equal(dir->ops->write(dir, ".hidden", "", 0), 0);
	assert_int_equal(dir->ops->write(dir, "seen", "", 0), 0);
	assert_int_equal(dir->ops->list(dir, count, &after), 0);
	assert_int_equal(after, before + 2);
	assert_int_equal(dir->ops->list(dir, stop, NULL), -ECANCELED);
}

static void folders(void **state)
{
	struct thin_files *f;
	struct stat st;

	(void)state;
	assert_int_equal(thin_files_open(scratch("new"), 0, &f, &error), -ENOENT);
	assert_has(error.text, "cannot open folder");
	assert_int_equal(thin_files_open(scratch("new"), THIN_FILES_CREATE, &f, &error),
			 0);
	assert_string_equal(f->where, scratch("new"));
	thin_files_close(f);
	assert_int_equal(stat(scratch("new"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(thin_files_open(scratch("new"), THIN_FILES_CREATE, &f, &error),
			 0);
	thin_files_close(f);
	assert_int_equal(dir->ops->write(dir, "file", "", 0), 0);
	assert_int_equal(thin_files_open(scratch("file"), 0, &f, &error), -ENOTDIR);
	assert_int_equal(thin_files_open(scratch("file"), THIN_FILES_CREATE, &f, &error),
			 -ENOTDIR);
	thin_files_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_renamed_removed),
		cmocka_unit_test(overwritten),
		cmocka_unit_test(only_the_owner_reads),
		cmocka_unit_test(belongs_to_the_folders_owner),
		cmocka_unit_test(links_are_not_followed),
		cmocka_unit_test(what_is_no_file_is_not_read),
		cmocka_unit_test(reading_has_a_limit),
		cmocka_unit_test(listed),
		cmocka_unit_test(folders),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
