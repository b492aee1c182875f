/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests about volumes, on a pool of real files that nobody serves. */
#include "service.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)

static void make_file(const char *name, uint64_t size, int byte)
{
	FILE *f = fopen(scratch(name), "w");

	for (uint64_t i = 0; i < size; i++)
		fputc(byte, f);
	assert_int_equal(fclose(f), 0);
}

static void create_says_what_it_made(void **state)
{
	struct json_object *o = ok("{'verb':'create','args':{'name':'vm1','size':'10M',"
				   "'description':'a \\'word\\''}}");

	(void)state;
	done(o);
	o = ok("{'verb':'create','args':{'name':'vm2','size':12345,'readonly':true}}");
	assert_text(o, "name", "vm2");
	assert_number(o, "device", 1);
	assert_number(o, "size", 12345);
	assert_number(o, "mapped_bytes", 0);
	assert_number(o, "exclusive_bytes", 0);
	assert_null(at(o, "origin"));
	assert_null(at(o, "parent"));
	assert_true(json_object_get_boolean(at(o, "readonly")));
	assert_number(o, "clients", 0);
	assert_text(o, "description", "");
	assert_int_equal(strlen(string(o, "created")), strlen("2026-01-01T00:00:00Z"));
	done(o);
	assert_clean();
}

static void create_refuses(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	refused("EEXIST", "vm1: ", "{'verb':'create','args':{'name':'vm1','size':'1M'}}");
	refused("EINVAL", "a b", "{'verb':'create','args':{'name':'a b','size':'1M'}}");
	refused("EINVAL", "", "{'verb':'create','args':{'name':'','size':'1M'}}");
	refused("EINVAL", "..", "{'verb':'create','args':{'name':'../x','size':'1M'}}");
	refused("EINVAL",
		"vm2: size: ", "{'verb':'create','args':{'name':'vm2','size':0}}");
	refused("EINVAL", "--size", "{'verb':'create','args':{'name':'vm2'}}");
	refused("ERANGE", "vm2", "{'verb':'create','args':{'name':'vm2','size':'1E'}}");
	refused("ENOENT", "nothing-there",
		"{'verb':'create','args':{'name':'vm2','origin':'%s'}}",
		scratch("nothing-there"));
	assert_int_equal(nr_volumes(), 1);
	assert_clean();
}

static void what_is_there_may_be_success(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct json_object *o = ok("{'verb':'create','args':{'name':'vm1','size':'2M',"
				   "'if_not_exists':true}}");
	assert_number(o, "size", MIB(1));
	done(o);
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a','vm1','vm1@b'],"
		"'if_not_exists':true}}"));
	assert_int_equal(nr_volumes(), 3);
	o = ok("{'verb':'delete','args':{'names':['nobody','vm1@a'],'if_exists':true}}");
	assert_int_equal(json_object_array_length(at(o, "deleted")), 1);
	done(o);
}

static void an_origin_is_recorded(void **state)
{
	(void)state;
	make_file("base", 100000, 'b');
	struct json_object *o = ok(
		"{'verb':'create','args':{'name':'vm1','origin':'%s'}}", scratch("base"));
	assert_number(o, "size", 100000);
	assert_text(o, "origin", scratch("base"));
	done(o);
	o = ok("{'verb':'show','args':{'name':'vm1'}}");
	assert_number(o, "origin_identity.size", 100000);
	assert_null(at(o, "problem"));
	done(o);
	make_file("base", 100001, 'c');
	o = ok("{'verb':'show','args':{'name':'vm1'}}");
	assert_has(string(o, "problem"), "100001");
	done(o);
	refused("ESTALE", "100001",
		"{'verb':'set','args':{'name':'vm1','settings':"
		"['origin=%s']}}",
		scratch("base"));
	done(ok("{'verb':'set','args':{'name':'vm1','settings':['origin=%s'],'force':"
		"true}}",
		scratch("base")));
	o = ok("{'verb':'show','args':{'name':'vm1'}}");
	assert_number(o, "origin_identity.size", 100001);
	assert_number(o, "size", 100000);
	done(o);
}

static void snapshots_have_a_parent_and_are_read_only(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct json_object *o =
		ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@mon','vm1','vm2']}}");
	assert_text(o, "[0].name", "vm1@mon");
	assert_text(o, "[0].parent", "vm1");
	assert_true(json_object_get_boolean(at(o, "[0].readonly")));
	assert_false(json_object_get_boolean(at(o, "[1].readonly")));
	done(o);
	o = ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@rw'],'writable':true}}");
	assert_false(json_object_get_boolean(at(o, "[0].readonly")));
	done(o);
	done(ok("{'verb':'rename','args':{'old':'vm1','new':'base'}}"));
	o = ok("{'verb':'show','args':{'name':'vm1@mon'}}");
	assert_text(o, "parent", "base");
	done(o);
	o = ok("{'verb':'show','args':{'name':'base'}}");
	assert_int_equal(json_object_array_length(at(o, "snapshots")), 3);
	done(o);
	done(ok("{'verb':'delete','args':{'names':['base']}}"));
	o = ok("{'verb':'show','args':{'name':'vm1@mon'}}");
	assert_null(at(o, "parent"));
	done(o);
	assert_clean();
}

static void a_group_is_made_all_or_none(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'a','size':'1M'}}"));
	refused("ENOENT",
		"b: ", "{'verb':'snapshot','args':{'pairs':['a','a@1','b','b@1']}}");
	refused("EEXIST", "a@1",
		"{'verb':'snapshot','args':{'pairs':['a','a@1','a','a@1']}}");
	refused("EINVAL", "both",
		"{'verb':'snapshot','args':{'pairs':['a','a@1'],"
		"'readonly':true,'writable':true}}");
	assert_int_equal(nr_volumes(), 1);
	assert_clean();
}

static void delete_says_what_it_frees(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, MIB(1), 'x');
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	put_bytes(t, "vm1", 0, KIB(128), 'y');
	end_serving(t);
	assert_int_equal(used_bytes(), MIB(1) + KIB(128));
	/* alone: what is not shared; together: all */
	static const struct {
		const char *names;
		uint64_t bytes;
	} cases[] = {
		{"'vm1'", KIB(128)},
		{"'vm1@a'", KIB(128)},
		{"'vm1','vm1@a'", MIB(1) + KIB(128)},
		{"'vm1','vm1'", KIB(128)},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct json_object *o = ok("{'verb':'delete','args':{'names':[%s],"
					   "'dry_run':true}}",
					   cases[i].names);
		assert_number(o, "freed_bytes", cases[i].bytes);
		done(o);
	}
	struct json_object *o = ok("{'verb':'list'}");
	assert_number(o, "[0].mapped_bytes", MIB(1));
	assert_number(o, "[0].exclusive_bytes", KIB(128));
	done(o);
	o = ok("{'verb':'delete','args':{'names':['vm1','vm1@a']}}");
	assert_number(o, "freed_bytes", MIB(1) + KIB(128));
	done(o);
	assert_int_equal(used_bytes(), 0);
	assert_int_equal(nr_volumes(), 0);
	assert_clean();
}

static void delete_is_all_or_none(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	refused("ENOENT", "vm2: ", "{'verb':'delete','args':{'names':['vm1','vm2']}}");
	assert_int_equal(nr_volumes(), 1);
}

static void settings(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'10M'}}"));
	struct json_object *o = ok("{'verb':'set','args':{'name':'vm1','settings':"
				   "['readonly=true','description=a=b']}}");
	assert_true(json_object_get_boolean(at(o, "readonly")));
	assert_text(o, "description", "a=b");
	done(o);
	refused("EINVAL", "size",
		"{'verb':'set','args':{'name':'vm1','settings':['size=1']}}");
	refused("EINVAL", "KEY=VALUE",
		"{'verb':'set','args':{'name':'vm1','settings':['x']}}");
	refused("EINVAL", "maybe",
		"{'verb':'set','args':{'name':'vm1','settings':['readonly=maybe']}}");
	refused("EINVAL", "vm1",
		"{'verb':'set','args':{'name':'vm1','settings':['description=a\\nb']}}");
	refused("ENOENT", "vm2: ",
		"{'verb':'set','args':{'name':'vm2','settings':['readonly=1']}}");
	/* all of them or none */
	refused("EINVAL", "x",
		"{'verb':'set','args':{'name':'vm1','settings':"
		"['readonly=false','x=1']}}");
	o = ok("{'verb':'show','args':{'name':'vm1'}}");
	assert_true(json_object_get_boolean(at(o, "readonly")));
	done(o);
}

static void rename_refuses(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'a','size':'1M'}}"));
	done(ok("{'verb':'create','args':{'name':'b','size':'1M'}}"));
	refused("EEXIST", "b", "{'verb':'rename','args':{'old':'a','new':'b'}}");
	refused("EINVAL", "", "{'verb':'rename','args':{'old':'a','new':'/b'}}");
	refused("ENOENT", "c: ", "{'verb':'rename','args':{'old':'c','new':'d'}}");
}

static void sizes_change(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, MIB(1), 'x');
	struct json_object *o = ok("{'verb':'resize','args':{'name':'vm1','size':'3M'}}");
	assert_number(o, "size", MIB(3));
	done(o);
	assert_true(has_bytes(t, "vm1", MIB(1), MIB(2), 0));
	refused("EBUSY", "--force",
		"{'verb':'resize','args':{'name':'vm1','size':100000}}");
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'1M'}}"));
	done(ok("{'verb':'resize','args':{'name':'vm1','size':100000,'force':true}}"));
	end_serving(t);
	assert_int_equal(used_bytes(), KIB(128));
	t = serve();
	assert_true(has_bytes(t, "vm1", 0, 100000, 'x'));
	/* what was cut off does not come back, not even the rest of a block */
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'1M'}}"));
	assert_true(has_bytes(t, "vm1", 0, 100000, 'x'));
	assert_true(has_bytes(t, "vm1", 100000, MIB(1) - 100000, 0));
	/* nor does the rest of a block go unasked */
	put_bytes(t, "vm1", KIB(120), KIB(8), 'y');
	refused("EBUSY", "--force",
		"{'verb':'resize','args':{'name':'vm1','size':100000}}");
	refused("ENOENT", "vm2: ", "{'verb':'resize','args':{'name':'vm2','size':'1M'}}");
	refused("EINVAL", "vm1: size",
		"{'verb':'resize','args':{'name':'vm1','size':0}}");
	refused("ERANGE", "vm1", "{'verb':'resize','args':{'name':'vm1','size':'1E'}}");
	end_serving(t);
	assert_clean();
}

static void rollback_gives_the_content_again(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, KIB(200), 'a');
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	put_bytes(t, "vm1", KIB(100), KIB(500), 'b');
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'2M'}}"));
	struct json_object *o =
		ok("{'verb':'rollback','args':{'name':'vm1','snapshot':'vm1@a'}}");
	assert_number(o, "size", MIB(1));
	assert_null(at(o, "parent"));
	done(o);
	assert_true(has_bytes(t, "vm1", 0, KIB(200), 'a'));
	assert_true(has_bytes(t, "vm1", KIB(200), MIB(1) - KIB(200), 0));
	put_bytes(t, "vm1", 0, KIB(64), 'c');
	assert_true(has_bytes(t, "vm1@a", 0, KIB(200), 'a'));
	done(ok("{'verb':'create','args':{'name':'other','size':'1M'}}"));
	refused("EINVAL", "not a snapshot",
		"{'verb':'rollback','args':{'name':'vm1','snapshot':'other'}}");
	refused("EINVAL", "not a snapshot",
		"{'verb':'rollback','args':{'name':'vm1','snapshot':'vm1'}}");
	refused("EROFS", "read-only",
		"{'verb':'rollback','args':{'name':'vm1@a','snapshot':'vm1'}}");
	end_serving(t);
	/* two blocks of the snapshot, two of the volume, one of them shared: 5 less 1...
	 */
	assert_int_equal(used_bytes(), KIB(64) * 5);
	assert_clean();
}

static void a_volume_over_a_volume(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'base','size':'1M'}}"));
	refused("EINVAL", "written to",
		"{'verb':'create','args':{'name':'vm1','origin':'thin:base'}}");
	done(ok("{'verb':'set','args':{'name':'base','settings':['readonly=true']}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'thin:base'}}"));
	refused("EBUSY", "vm1", "{'verb':'delete','args':{'names':['base']}}");
	refused("EBUSY", "vm1",
		"{'verb':'delete','args':{'names':['base'],'force':true}}");
	refused("EBUSY", "vm1",
		"{'verb':'set','args':{'name':'base','settings':['readonly=false']}}");
	refused("EBUSY", "vm1", "{'verb':'resize','args':{'name':'base','size':'2M'}}");
	/* its name is not what ties it */
	done(ok("{'verb':'rename','args':{'old':'base','new':'renamed'}}"));
	struct json_object *o = ok("{'verb':'show','args':{'name':'vm1'}}");
	assert_text(o, "origin", "thin:renamed");
	assert_null(at(o, "problem"));
	done(o);
	refused("EINVAL", "own origin",
		"{'verb':'create','args':{'name':'x','size':1,"
		"'origin':'thin:x'}}");
	/* together they may go */
	done(ok("{'verb':'delete','args':{'names':['renamed','vm1']}}"));
	assert_int_equal(nr_volumes(), 0);
}

static void origins_may_be_stacked_so_deep(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'v0','size':'1M','readonly':true}}"));
	for (int i = 1; i <= 16; i++)
		done(ok("{'verb':'create','args':{'name':'v%d','origin':'thin:v%d',"
			"'readonly':true}}",
			i, i - 1));
	refused("EDQUOT", "flatten",
		"{'verb':'create','args':{'name':'v17','origin':'thin:v16'}}");
	struct thinbd *t = serve();
	assert_true(has_bytes(t, "v16", 0, MIB(1), 0));
	end_serving(t);
}

static void flatten_drops_the_origin(void **state)
{
	(void)state;
	make_file("base", 300000, 'b');
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'%s','size':'1M'}}",
		scratch("base")));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 100, 100, 'w');
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	struct json_object *o = ok("{'verb':'flatten','args':{'name':'vm1'}}");
	assert_number(o, "copied_bytes", 300000 - KIB(64));
	done(o);
	o = ok("{'verb':'show','args':{'name':'vm1'}}");
	assert_null(at(o, "origin"));
	done(o);
	end_serving(t);
	assert_int_equal(remove(scratch("base")), 0);
	t = serve();
	assert_true(has_bytes(t, "vm1", 0, 100, 'b'));
	assert_true(has_bytes(t, "vm1", 100, 100, 'w'));
	assert_true(has_bytes(t, "vm1", 200, 300000 - 200, 'b'));
	assert_true(has_bytes(t, "vm1", 300000, MIB(1) - 300000, 0));
	/* the snapshot has its own, which is gone */
	struct thinbd_volume *v;
	assert_int_not_equal(thinbd_volume_open(t, "vm1@a", true, &v, NULL), 0);
	end_serving(t);
	assert_clean();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_pool, scratch_remove)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(create_says_what_it_made),
		TEST(create_refuses),
		TEST(what_is_there_may_be_success),
		TEST(an_origin_is_recorded),
		TEST(snapshots_have_a_parent_and_are_read_only),
		TEST(a_group_is_made_all_or_none),
		TEST(delete_says_what_it_frees),
		TEST(delete_is_all_or_none),
		TEST(settings),
		TEST(rename_refuses),
		TEST(sizes_change),
		TEST(rollback_gives_the_content_again),
		TEST(a_volume_over_a_volume),
		TEST(origins_may_be_stacked_so_deep),
		TEST(flatten_drops_the_origin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
