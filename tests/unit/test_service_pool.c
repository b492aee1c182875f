/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests about a pool as a whole: init, status, grow, dump, check, message. */
#include "service.h"

#include <fcntl.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)

static uint64_t file_size(const char *name)
{
	struct stat st;

	return stat(scratch(name), &st) ? UINT64_MAX : (uint64_t)st.st_size;
}

static bool exists(const char *name)
{
	return file_size(name) != UINT64_MAX;
}

static void put_file(const char *name, const char *text)
{
	FILE *f = fopen(scratch(name), "w");

	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void overwrite(const char *name, long offset, const char *text)
{
	FILE *f = fopen(scratch(name), "r+");

	assert_int_equal(fseek(f, offset, SEEK_SET), 0);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* --- init ---------------------------------------------------------------- */

static void init_makes_a_pool(void **state)
{
	struct json_object *o = ok("{'verb':'init','args':{'data_size':'100M',"
				   "'block_size':'128K','metadata_size':'4M',"
				   "'set':['when_full=error','low_water=20%%']}}");

	(void)state;
	assert_number(o, "block_size", KIB(128));
	assert_number(o, "data_bytes", MIB(100));
	assert_number(o, "metadata_bytes", MIB(4));
	assert_false(json_object_get_boolean(at(o, "existed")));
	assert_int_equal(json_object_array_length(at(o, "notes")), 0);
	done(o);
	assert_int_equal(file_size("pool/metadata"), MIB(4));
	assert_int_equal(file_size("pool/data"), MIB(100));
	o = ok("{'verb':'status'}");
	assert_text(o, "mode", "rw");
	assert_text(o, "pool", POOL);
	assert_int_equal(strlen(string(o, "uuid")), 36);
	assert_number(o, "data.total_bytes", MIB(100));
	assert_number(o, "data.used_bytes", 0);
	assert_number(o, "data.low_water_bytes", MIB(20));
	assert_number(o, "metadata.total_bytes", MIB(4));
	assert_number(o, "volumes", 0);
	assert_number(o, "clients", 0);
	assert_number(o, "transaction_id", 0);
	assert_false(json_object_get_boolean(at(o, "served")));
	assert_false(json_object_get_boolean(at(o, "needs_check")));
	done(o);
	assert_clean();
}

static void init_rounds_up_to_blocks(void **state)
{
	(void)state;
	struct json_object *o = ok("{'verb':'init','args':{'data_size':100000}}");
	assert_number(o, "data_bytes", KIB(128));
	assert_number(o, "block_size", KIB(64));
	done(o);
}

static void init_tells_what_the_kernel_will_not_take(void **state)
{
	(void)state;
	struct json_object *o = ok("{'verb':'init','args':{'data_size':'1M',"
				   "'block_size':'4K'}}");
	assert_has(string(o, "notes[0]"), "64K");
	done(o);
}

static void init_refuses_sizes(void **state)
{
	static const char *const sizes[] = {"2K", "5K", "100K", "2G", "65537", "0"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		refused("EINVAL", "block",
			"{'verb':'init','args':{'data_size':'1G',"
			"'block_size':'%s'}}",
			sizes[i]);
	refused("EINVAL", "SIZE", "{'verb':'init'}");
	refused("EINVAL", "data_size", "{'verb':'init','args':{'data_size':'0'}}");
	refused("ERANGE", "data", "{'verb':'init','args':{'data_size':'7E'}}");
	refused("ERANGE", "metadata",
		"{'verb':'init','args':{'data_size':'1G','metadata_size':'100K'}}");
	refused("ERANGE", "metadata",
		"{'verb':'init','args':{'data_size':'1G','metadata_size':'17G'}}");
	refused("EINVAL", "colour",
		"{'verb':'init','args':{'data_size':'1G','set':['colour=blue']}}");
	assert_false(exists("pool")); /* nothing was made */
}

static void init_takes_odd_blocks(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'10M','block_size':'192K'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'5M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 190000, 200000, 'x');
	assert_true(has_bytes(t, "vm1", 0, 190000, 0));
	assert_true(has_bytes(t, "vm1", 190000, 200000, 'x'));
	end_serving(t);
	assert_clean();
}

static void init_does_not_take_a_pool(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'10M'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'5M'}}"));
	struct json_object *before = ok("{'verb':'status'}");
	refused("EEXIST", "--force", "{'verb':'init','args':{'data_size':'20M'}}");
	struct json_object *o = ok("{'verb':'init','args':{'data_size':'20M',"
				   "'if_not_exists':true}}");
	assert_true(json_object_get_boolean(at(o, "existed")));
	assert_number(o, "data_bytes", MIB(10));
	assert_text(o, "uuid", string(before, "uuid"));
	done(o);
	done(before);
	assert_int_equal(nr_volumes(), 1);
	done(ok("{'verb':'init','args':{'data_size':'20M','force':true}}"));
	assert_int_equal(nr_volumes(), 0);
	o = ok("{'verb':'status'}");
	assert_number(o, "data.total_bytes", MIB(20));
	done(o);
	assert_clean();
}

static void init_does_not_take_a_device_that_holds_something(void **state)
{
	(void)state;
	put_file("disk", "somebody's data");
	refused("EEXIST", "disk",
		"{'verb':'init','args':{'data_size':'10M','data':'%s'}}",
		scratch("disk"));
	assert_false(exists("pool"));
	assert_int_equal(file_size("disk"), 15);
	refused("EEXIST", "disk",
		"{'verb':'init','args':{'data_size':'10M','metadata':'%s'}}",
		scratch("disk"));
	assert_false(exists("pool"));
	assert_int_equal(file_size("disk"), 15);
	refused("EINVAL", "one device",
		"{'verb':'init','args':{'data_size':'10M',"
		"'data':'%s','metadata':'%s'}}",
		scratch("disk"), scratch("disk"));
	done(ok("{'verb':'init','args':{'data_size':'10M','data':'%s','force':true}}",
		scratch("disk")));
	assert_int_equal(file_size("disk"), MIB(10));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'5M'}}"));
	assert_clean();
}

static void init_takes_an_empty_file(void **state)
{
	(void)state;
	put_file("disk", "");
	assert_int_equal(truncate(scratch("disk"), 20 << 20), 0);
	done(ok("{'verb':'init','args':{'data_size':'10M','data':'%s'}}",
		scratch("disk")));
	assert_int_equal(file_size("disk"), MIB(20));
}

/* --- others -------------------------------------------------------------- */

static void what_is_no_pool_is_refused(void **state)
{
	(void)state;
	refused("ENOENT", "thinbd init", "{'verb':'status'}");
	assert_int_equal(mkdir(POOL, 0700), 0);
	refused("EMEDIUMTYPE", "pool.conf", "{'verb':'status'}");
	refused("EMEDIUMTYPE", "pool.conf", "{'verb':'check'}");
	put_file("pool/pool.conf",
		 "version = 1;\nuuid = \"632be674-f9df-4940-abae-6981a5b59565\";\ncolour "
		 "= \"blue\";\n");
	refused("EINVAL", "pool.conf:3", "{'verb':'status'}");
}

static void grow(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'10M','metadata_size':'1M'}}"));
	struct json_object *o = ok("{'verb':'grow','args':{'data_size':'20M',"
				   "'metadata_size':'2M'}}");
	assert_number(o, "data.total_bytes", MIB(20));
	assert_number(o, "metadata.total_bytes", MIB(2));
	done(o);
	refused("EINVAL", "only grow", "{'verb':'grow','args':{'data_size':'10M'}}");
	refused("EINVAL", "--data-size", "{'verb':'grow'}");
	refused("ERANGE", "metadata", "{'verb':'grow','args':{'metadata_size':'17G'}}");
	o = ok("{'verb':'status'}");
	assert_number(o, "data.total_bytes", MIB(20));
	done(o);
	assert_clean();
}

static void the_kernels_status_line(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M','metadata_size':'4M'}}"));
	struct json_object *o = ok("{'verb':'status','args':{'dm':true}}");
	/* of 1024 blocks; the reserve counts as used: 9 and 102 */
	assert_string_equal(
		json_object_get_string(o),
		"0 111/1024 0/1024 - rw discard_passdown queue_if_no_space - 256");
	done(o);
	done(ok("{'verb':'message','args':{'text':'set_transaction_id 0 7'}}"));
	done(ok("{'verb':'message','args':{'text':'reserve_metadata_snap'}}"));
	o = ok("{'verb':'status','args':{'dm':true}}");
	assert_int_equal(strncmp(json_object_get_string(o), "7 1", 3), 0);
	assert_null(strstr(json_object_get_string(o), " - rw"));
	done(o);
}

static void messages(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M'}}"));
	done(ok("{'verb':'message','args':{'text':'create_thin 5'}}"));
	done(ok("{'verb':'message','args':{'text':'Create_Snap 6 5'}}"));
	struct json_object *o = ok("{'verb':'list'}");
	assert_text(o, "[0].name", "#5");
	assert_null(at(o, "[0].size"));
	assert_text(o, "[1].name", "#6");
	done(o);
	refused("EEXIST", "create_thin 5",
		"{'verb':'message','args':{'text':'create_thin 5'}}");
	refused("ENOENT", "create_snap",
		"{'verb':'message','args':{'text':'create_snap 7 8'}}");
	refused("ENOENT", "delete", "{'verb':'message','args':{'text':'delete 7'}}");
	static const char *const malformed[] = {
		"",
		"frobnicate",
		"create_thin",
		"create_thin x",
		"create_thin -1",
		"create_thin 16777216",
		"create_thin 1 2",
		"create_snap 1",
		"delete",
		"reserve_metadata_snap 1",
		"release_metadata_snap",
		"set_transaction_id 1 2",
	};
	for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
		refused("EINVAL", "message", "{'verb':'message','args':{'text':'%s'}}",
			malformed[i]);
	done(ok("{'verb':'message','args':{'text':'create_thin 16777215'}}"));
	done(ok("{'verb':'message','args':{'text':'reserve_metadata_snap'}}"));
	refused("EBUSY", "",
		"{'verb':'message','args':{'text':'reserve_metadata_snap'}}");
	done(ok("{'verb':'message','args':{'text':'release_metadata_snap'}}"));
	/* a named one takes its name with it; a new volume gets a free id */
	o = ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}");
	assert_number(o, "device", 0);
	done(o);
	done(ok("{'verb':'message','args':{'text':'delete 0'}}"));
	done(ok("{'verb':'message','args':{'text':'delete 5'}}"));
	assert_int_equal(nr_volumes(), 2);
	refused("ENOENT", "vm1", "{'verb':'show','args':{'name':'vm1'}}");
	assert_clean();
}

static void dumps(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, KIB(128), 'x');
	put_bytes(t, "vm1", MIB(1), 1, 'x');
	end_serving(t);
	struct json_object *o = ok("{'verb':'dump'}");
	assert_string_equal(
		json_object_get_string(o),
		"<superblock uuid=\"\" time=\"0\" transaction=\"0\" flags=\"0\" "
		"version=\"2\" "
		"data_block_size=\"128\" nr_data_blocks=\"1024\">\n"
		"  <device dev_id=\"0\" mapped_blocks=\"3\" transaction=\"0\" "
		"creation_time=\"0\" snap_time=\"0\">\n"
		"    <range_mapping origin_begin=\"0\" data_begin=\"0\" length=\"2\" "
		"time=\"0\"/>\n"
		"    <single_mapping origin_block=\"16\" data_block=\"2\" time=\"0\"/>\n"
		"  </device>\n"
		"</superblock>\n");
	done(o);
	o = ok("{'verb':'dump','args':{'format':'json'}}");
	struct json_object *doc = json_tokener_parse(json_object_get_string(o));
	assert_number(doc, "superblock.nr_data_blocks", 1024);
	assert_number(doc, "devices[0].mappings[1].origin_begin", 16);
	assert_number(doc, "devices[0].mappings[0].length", 2);
	done(doc);
	done(o);
}

/* --- check --------------------------------------------------------------- */

static void damage_is_found_and_nothing_written(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M','metadata_size':'1M'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, KIB(128), 'x');
	end_serving(t);
	overwrite("pool/metadata", 50, "damage");
	refused("EILSEQ", "thinbd check", "{'verb':'list'}");
	refused("EILSEQ", "thinbd check",
		"{'verb':'create','args':{'name':'a','size':1}}");
	struct json_object *o = ok("{'verb':'check'}");
	assert_false(json_object_get_boolean(at(o, "clean")));
	assert_true(number(o, "errors") > 0);
	assert_true(json_object_array_length(at(o, "problems")) > 0);
	done(o);
}

/* The 4096 bytes of the only block that begins so, in the metadata. */
static long find_block(uint32_t flags, uint64_t first_key)
{
	FILE *f = fopen(scratch("pool/metadata"), "r");
	uint8_t block[4096];
	long found = -1;

	for (long at = 0; fread(block, sizeof(block), 1, f) == 1; at += 4096) {
		uint32_t has_flags;
		uint64_t key;
		memcpy(&has_flags, block + 4, 4);
		memcpy(&key, block + 32, 8);
		if (has_flags == flags && key == first_key && block[16] == 2)
			found = at;
	}
	fclose(f);
	return found;
}

static void check_names_volumes(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M','metadata_size':'1M'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	struct thinbd *t = serve();
	/* keys 3 and 5: a leaf of two entries whose first key is 3 */
	put_bytes(t, "vm1", 3 * KIB(64), 1, 'x');
	put_bytes(t, "vm1", 5 * KIB(64), 1, 'x');
	end_serving(t);
	long leaf = find_block(2, 3);
	assert_true(leaf > 0);
	overwrite("pool/metadata", leaf + 40, "damage");
	struct json_object *o = ok("{'verb':'check'}");
	assert_false(json_object_get_boolean(at(o, "clean")));
	assert_text(o, "problems[0].volumes[0]", "vm1");
	assert_has(string(o, "problems[0].message"), "vm1");
	done(o);
}

static void check_compares_the_registry(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	assert_int_equal(rename(scratch("pool/volumes/vm1.conf"), scratch("conf")), 0);
	done(ok("{'verb':'message','args':{'text':'delete 0'}}"));
	assert_int_equal(rename(scratch("conf"), scratch("pool/volumes/vm1.conf")), 0);
	struct json_object *o = ok("{'verb':'check'}");
	assert_false(json_object_get_boolean(at(o, "clean")));
	assert_text(o, "problems[0].volumes[0]", "vm1");
	assert_has(string(o, "problems[0].message"), "not in the metadata");
	done(o);
	/* it can be deleted */
	done(ok("{'verb':'delete','args':{'names':['vm1']}}"));
	assert_clean();
}

static void a_file_that_is_damaged_stops_only_its_volume(void **state)
{
	(void)state;
	done(ok("{'verb':'init','args':{'data_size':'64M'}}"));
	done(ok("{'verb':'create','args':{'name':'a','size':'10M'}}"));
	done(ok("{'verb':'create','args':{'name':'b','size':'10M'}}"));
	put_file("pool/volumes/a.conf", "device = 0;\nsize = \"wrong\";\n");
	struct json_object *o = ok("{'verb':'show','args':{'name':'a'}}");
	assert_has(string(o, "problem"), "a.conf:2");
	done(o);
	refused("EINVAL", "a.conf:2",
		"{'verb':'resize','args':{'name':'a','size':'1M'}}");
	done(ok("{'verb':'resize','args':{'name':'b','size':'20M'}}"));
	o = ok("{'verb':'check'}");
	assert_text(o, "problems[0].volumes[0]", "a");
	done(o);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, scratch_make, scratch_remove)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(init_makes_a_pool),
		TEST(init_rounds_up_to_blocks),
		TEST(init_tells_what_the_kernel_will_not_take),
		TEST(init_refuses_sizes),
		TEST(init_takes_odd_blocks),
		TEST(init_does_not_take_a_pool),
		TEST(init_does_not_take_a_device_that_holds_something),
		TEST(init_takes_an_empty_file),
		TEST(what_is_no_pool_is_refused),
		TEST(grow),
		TEST(the_kernels_status_line),
		TEST(messages),
		TEST(dumps),
		TEST(damage_is_found_and_nothing_written),
		TEST(check_names_volumes),
		TEST(check_compares_the_registry),
		TEST(a_file_that_is_damaged_stops_only_its_volume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
