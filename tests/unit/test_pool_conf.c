/* SPDX-License-Identifier: BSD-3-Clause */
#include "scratch.h"

#include "registry/pool_conf.h"
#include "util/limits.h"

#include <errno.h>
#include <fcntl.h>

static struct thin_error error;
static struct thin_files *dir;

#define UUID "01234567-89ab-cdef-0123-456789abcdef"
#define HEAD "version = 1; uuid = \"" UUID "\";\n"

static int setup(void **state)
{
	return scratch_make(state) || thin_files_open(scratch_dir, 0, &dir, &error);
}

static int teardown(void **state)
{
	thin_files_close(dir);
	return scratch_remove(state);
}

static void put(const char *text)
{
	assert_int_equal(
		thin_files_replace(dir, THIN_POOL_CONF, text, strlen(text), &error), 0);
}

/* What pool.conf holds; good until the next call. */
static const char *get(void)
{
	static char *text;
	size_t len;

	free(text);
	text = NULL;
	if (thin_files_read(dir, THIN_POOL_CONF, 1 << 20, &text, &len, &error))
		fail_msg("%s", error.text);
	return text;
}

static int read_conf(struct thin_pool_conf *conf)
{
	error.text[0] = '\0';
	return thin_pool_conf_read(dir, conf, &error);
}

static void defaults_are_those_of_the_manual(void **state)
{
	struct thin_pool_conf c;

	(void)state;
	put(HEAD);
	assert_int_equal(read_conf(&c), 0);
	assert_int_equal(c.version, 1);
	assert_string_equal(c.uuid, UUID);
	assert_string_equal(c.metadata, "metadata");
	assert_string_equal(c.data, "data");
	assert_int_equal(c.metadata_cache, THIN_METADATA_CACHE);
	assert_true(c.low_water.percent && c.low_water.value == 10);
	assert_true(c.auto_extend_step.percent && c.auto_extend_step.value == 10);
	assert_true(c.auto_extend_limit == UINT64_MAX);
	assert_int_equal(c.when_full, THIN_WHEN_FULL_QUEUE);
	assert_int_equal(c.no_space_timeout, 60);
	assert_int_equal(c.discard, THIN_CONF_DISCARD_PASSDOWN);
	assert_int_equal(c.commit_interval, 1);
	assert_int_equal(c.io, THIN_IO_AUTO);
	assert_false(c.direct);
	thin_pool_conf_fini(&c);
}

static void all_keys(void **state)
{
	struct thin_pool_conf c;

	(void)state;
	put(HEAD
	    "metadata = \"/dev/mapper/meta\"; data = \"nbd://host/data\";\n"
	    "metadata_cache = \"1G\"; low_water = \"2G\"; auto_extend_step = \"0\";\n"
	    "auto_extend_limit = \"1T\"; when_full = \"error\"; no_space_timeout = 0;\n"
	    "discard = \"ignore\"; commit_interval = 5; io = \"sync\"; direct = true;\n");
	if (read_conf(&c))
		fail_msg("%s", error.text);
	assert_string_equal(c.metadata, "/dev/mapper/meta");
	assert_string_equal(c.data, "nbd://host/data");
	assert_int_equal(c.metadata_cache, 1 << 30);
	assert_int_equal(c.low_water.value, UINT64_C(2) << 30);
	assert_int_equal(c.auto_extend_step.value, 0);
	assert_int_equal(c.auto_extend_limit, UINT64_C(1) << 40);
	assert_int_equal(c.when_full, THIN_WHEN_FULL_ERROR);
	assert_int_equal(c.no_space_timeout, 0);
	assert_int_equal(c.discard, THIN_CONF_DISCARD_IGNORE);
	assert_int_equal(c.commit_interval, 5);
	assert_int_equal(c.io, THIN_IO_SYNC);
	assert_true(c.direct);
	thin_pool_conf_fini(&c);
}

static void refused_with_file_and_line(void **state)
{
	static const struct {
		const char *text, *message;
	} bad[] = {
		{HEAD "low_watr = \"10%\";", "/pool.conf:2: unknown key \"low_watr\""},
		{"version = 2; uuid = \"" UUID "\";",
		 "/pool.conf:1: version: must be from 1 to 1"},
		{"version = 1;", "/pool.conf: \"uuid\" is missing"},
		{"uuid = \"" UUID "\";", "/pool.conf: \"version\" is missing"},
		{"version = 1; uuid = \"x\";", "/pool.conf:1: uuid: \"x\" is not a UUID"},
		{"version = 1; uuid = \"" UUID "0\";", "is not a UUID"},
		{HEAD "\nmetadata = \"nbd://host\";",
		 "/pool.conf:3: metadata: must be a path"},
		{HEAD "metadata = \"\";", "/pool.conf:2: metadata: must not be empty"},
		{HEAD "metadata_cache = \"1023K\";", "must be from 1M to 1T"},
		{HEAD "commit_interval = 0;", "must be from 1 to 3600"},
		{HEAD "no_space_timeout = -1;", "no_space_timeout: must be from 0 to"},
		{HEAD "when_full = \"explode\";", "is not one of \"queue\", \"error\""},
		{HEAD "direct = \"yes\";", "direct: must be true or false"},
		{HEAD "io = ;", "/pool.conf:2: syntax error"},
		{HEAD "@include \"/etc/passwd\"",
		 "/pool.conf:2: @include is not allowed"},
		{HEAD "io = \"sync\"; io = \"auto\";",
		 "/pool.conf:2: duplicate setting name"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct thin_pool_conf c;
		int r;

		put(bad[i].text);
		r = read_conf(&c);
		if (r != -EINVAL && r != -ERANGE)
			fail_msg("%s: %d", bad[i].text, r);
		assert_has(error.text, bad[i].message);
		assert_has(error.text, scratch_dir);
	}
}

static void no_pool(void **state)
{
	struct thin_pool_conf c;

	(void)state;
	(void)unlink(scratch(THIN_POOL_CONF));
	assert_int_equal(read_conf(&c), -EMEDIUMTYPE);
	assert_has(error.text, "is no pool");
	assert_has(error.text, "thinbd init");
	assert_int_equal(symlink("/dev/null", scratch(THIN_POOL_CONF)), 0);
	assert_int_equal(read_conf(&c), -ELOOP);
	assert_has(error.text, "symbolic link");
	(void)unlink(scratch(THIN_POOL_CONF));
	assert_int_equal(mkdir(scratch(THIN_POOL_CONF), 0700), 0);
	assert_int_equal(read_conf(&c), -EINVAL);
	assert_has(error.text, "not a regular file");
	assert_int_equal(rmdir(scratch(THIN_POOL_CONF)), 0);
	assert_int_equal(mkfifo(scratch(THIN_POOL_CONF), 0700), 0);
	assert_int_equal(read_conf(&c), -EINVAL);
	(void)unlink(scratch(THIN_POOL_CONF));
}

static void set_by_key(void **state)
{
	struct thin_pool_conf c;

	(void)state;
	assert_int_equal(thin_pool_conf_init(&c), 0);
	assert_int_equal(thin_pool_conf_set(&c, "low_water=20%", &error), 0);
	assert_int_equal(thin_pool_conf_set(&c, "when_full=error", &error), 0);
	assert_int_equal(thin_pool_conf_set(&c, "data=/srv/a=b", &error), 0);
	assert_int_equal(thin_pool_conf_set(&c, "direct=true", &error), 0);
	assert_int_equal(thin_pool_conf_set(&c, "no_space_timeout=0", &error), 0);
	assert_int_equal(c.low_water.value, 20);
	assert_int_equal(c.when_full, THIN_WHEN_FULL_ERROR);
	assert_string_equal(c.data, "/srv/a=b");
	assert_true(c.direct);
	assert_int_equal(c.no_space_timeout, 0);

	assert_int_equal(thin_pool_conf_set(&c, "low_water", &error), -EINVAL);
	assert_has(error.text, "is not KEY=VALUE");
	assert_int_equal(thin_pool_conf_set(&c, "nonsense=1", &error), -EINVAL);
	assert_has(error.text,
		   "unknown key \"nonsense\": there are version, uuid, metadata");
	assert_int_equal(thin_pool_conf_set(&c, "=1", &error), -EINVAL);
	assert_int_equal(thin_pool_conf_set(&c, "direct=yes", &error), -EINVAL);
	assert_string_equal(error.text, "direct: \"yes\" is not true or false");
	assert_int_equal(thin_pool_conf_set(&c, "low_water=200%", &error), -ERANGE);
	assert_int_equal(thin_pool_conf_set(&c, "metadata_cache=1K", &error), -ERANGE);
	assert_int_equal(thin_pool_conf_set(&c, "no_space_timeout=x", &error), -EINVAL);
	assert_int_equal(c.low_water.value, 20);
	thin_pool_conf_fini(&c);
}

static void written_for_people(void **state)
{
	struct thin_pool_conf c, again;

	(void)state;
	assert_int_equal(thin_pool_conf_init(&c), 0);
	assert_int_equal(thin_pool_conf_set(&c, "uuid=" UUID, &error), 0);
	assert_int_equal(thin_pool_conf_set(&c, "data=/srv/\"x\"", &error), 0);
	assert_int_equal(thin_pool_conf_set(&c, "auto_extend_limit=10G", &error), 0);
	assert_int_equal(thin_pool_conf_write(dir, &c, &error), 0);
	assert_has(get(), "version = 1;");
	assert_has(get(), "uuid = \"" UUID "\";");
	assert_has(get(), "\n# metadata = \"metadata\";  # path");
	assert_has(get(), "\ndata = \"/srv/\\\"x\\\"\";");
	assert_has(get(), "\n# low_water = \"10%\";");
	assert_has(get(), "\nauto_extend_limit = \"10G\";");
	assert_has(get(), "\n# no_space_timeout = 60;");
	if (read_conf(&again))
		fail_msg("%s", error.text);
	assert_string_equal(again.data, "/srv/\"x\"");
	assert_int_equal(again.auto_extend_limit, UINT64_C(10) << 30);
	thin_pool_conf_fini(&again);
	thin_pool_conf_fini(&c);
}

#define BY_HAND                                                                          \
	"# ours\n" HEAD "low_water = \"5%\"; /* Anna: 10 was too much */\n"              \
	"direct = false;"

static void changed_in_place(void **state)
{
	struct stat before, after;

	(void)state;
	put(BY_HAND);
	assert_int_equal(stat(scratch(THIN_POOL_CONF), &before), 0);
	/* The same value, whether written or not, is no change. */
	assert_int_equal(thin_pool_conf_change(dir, "low_water=5%", &error), 0);
	assert_int_equal(thin_pool_conf_change(dir, "when_full=queue", &error), 0);
	assert_int_equal(stat(scratch(THIN_POOL_CONF), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_string_equal(get(), BY_HAND);

	assert_int_equal(thin_pool_conf_change(dir, "low_water=8%", &error), 0);
	assert_string_equal(get(), "# ours\n" HEAD
				   "low_water = \"8%\"; /* Anna: 10 was too much */\n"
				   "direct = false;");
	assert_int_equal(thin_pool_conf_change(dir, "no_space_timeout=5", &error), 0);
	assert_int_equal(thin_pool_conf_change(dir, "direct=true", &error), 0);
	assert_string_equal(get(), "# ours\n" HEAD
				   "low_water = \"8%\"; /* Anna: 10 was too much */\n"
				   "direct = true;\nno_space_timeout = 5;\n");
}

static void changes_refused(void **state)
{
	(void)state;
	put(BY_HAND);
	assert_int_equal(thin_pool_conf_change(dir, "low_water=800%", &error), -ERANGE);
	assert_int_equal(thin_pool_conf_change(dir, "low=8%", &error), -EINVAL);
	assert_string_equal(get(), BY_HAND);
	put("version = 1");
	assert_int_equal(thin_pool_conf_change(dir, "low_water=8%", &error), -EINVAL);
	assert_string_equal(get(), "version = 1");
}

static void uuids(void **state)
{
	static const uint8_t zeros[16];
	uint8_t ones[16];
	char text[THIN_UUID_TEXT];
	struct thin_pool_conf c;

	(void)state;
	thin_uuid_print(zeros, text);
	assert_string_equal(text, "00000000-0000-4000-8000-000000000000");
	memset(ones, 0xff, sizeof(ones));
	thin_uuid_print(ones, text);
	assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
	assert_int_equal(thin_pool_conf_init(&c), 0);
	assert_int_equal(thin_pool_conf_set(
				 &c, "uuid=ffffffff-ffff-4fff-bfff-ffffffffffff", &error),
			 0);
	thin_pool_conf_fini(&c);
}

static void located(void **state)
{
	static const char *const cases[][2] = {
		{"metadata", "/pool/metadata"},
		{"sub/meta", "/pool/sub/meta"},
		{"/dev/sda", "/dev/sda"},
		{"nbd+unix:///x?socket=y", "nbd+unix:///x?socket=y"},
		{"NBD://host", "NBD://host"},
		/* Paths that look a bit like it. */
		{"a/b://c", "/pool/a/b://c"},
		{"http://host/", "/pool/http://host/"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *path;

		assert_int_equal(thin_pool_conf_locate("/pool", cases[i][0], &path), 0);
		assert_string_equal(path, cases[i][1]);
		free(path);
	}
}

static int main_conf(const char *text, char **ret)
{
	put(text);
	return thin_main_conf_pool(scratch(THIN_POOL_CONF), ret, &error);
}

static void which_pool(void **state)
{
	char *pool = NULL;

	(void)state;
	assert_int_equal(main_conf("# which\npool = \"/srv/pool\";\n", &pool), 0);
	assert_string_equal(pool, "/srv/pool");
	free(pool);
	assert_int_equal(symlink(THIN_POOL_CONF, scratch("link")), 0);
	assert_int_equal(thin_main_conf_pool(scratch("link"), &pool, &error), 0);
	free(pool);

	assert_int_equal(main_conf("# nothing", &pool), -ENODATA);
	assert_int_equal(main_conf("pool = \"here\";", &pool), -EINVAL);
	assert_has(error.text, "pool.conf:1: pool: must be an absolute path");
	assert_int_equal(main_conf("\npol = \"/srv\";", &pool), -EINVAL);
	assert_has(error.text, "pool.conf:2: unknown key \"pol\"");
	assert_int_equal(thin_main_conf_pool(scratch("none"), &pool, &error), -ENOENT);
	assert_has(error.text, "none: No such file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_manual),
		cmocka_unit_test(all_keys),
		cmocka_unit_test(refused_with_file_and_line),
		cmocka_unit_test(no_pool),
		cmocka_unit_test(set_by_key),
		cmocka_unit_test(written_for_people),
		cmocka_unit_test(changed_in_place),
		cmocka_unit_test(changes_refused),
		cmocka_unit_test(uuids),
		cmocka_unit_test(located),
		cmocka_unit_test(which_pool),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
