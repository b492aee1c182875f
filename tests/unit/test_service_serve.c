/* SPDX-License-Identifier: BSD-3-Clause */
/* A server's side: exports, I/O, and requests while they are in use. */
#include "service.h"

#include "service/bury.h"
#include "service/dump.h"
#include "service/still.h"

#include <pthread.h>
#include <stdatomic.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)

static int note_name(void *ctx, const struct thinbd_export *x)
{
	strcat(ctx, x->name);
	strcat(ctx, ":");
	strcat(ctx, x->description);
	strcat(ctx, " ");
	return 0;
}

static void exports_are_listed(void **state)
{
	char names[200] = "";

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm2','size':'1M','description':'two'}"
		"}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	assert_int_equal(thinbd_exports(t, note_name, names), 0);
	assert_string_equal(names, "vm1: vm2:two ");
	char *text;
	assert_int_equal(thinbd_export_description(t, "vm2", &text), 0);
	assert_string_equal(text, "two");
	free(text);
	assert_int_equal(thinbd_export_description(t, "vm3", &text), -ENOENT);
	end_serving(t);
}

static void the_default_is_the_only_one(void **state)
{
	char name[THINBD_NAME_MAX + 1];
	struct thinbd_volume *v;
	struct thinbd_error e;

	(void)state;
	struct thinbd *t = serve();
	assert_int_equal(thinbd_default_export(t, name, &e), -ENOENT);
	assert_has(e.text, "create");
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	assert_int_equal(thinbd_default_export(t, name, &e), 0);
	assert_string_equal(name, "vm1");
	assert_int_equal(thinbd_volume_open(t, "", false, &v, &e), 0);
	assert_string_equal(thinbd_volume_name(v), "vm1");
	thinbd_volume_close(v);
	done(ok("{'verb':'create','args':{'name':'vm2','size':'1M'}}"));
	assert_int_equal(thinbd_default_export(t, name, &e), -ENOENT);
	assert_has(e.text, "--list");
	assert_int_equal(thinbd_volume_open(t, "", false, &v, &e), -ENOENT);
	end_serving(t);
}

static void names_from_clients_are_only_looked_up(void **state)
{
	static const char *const names[] = {
		"nobody", "../pool.conf", "vm1.conf", "/etc/passwd", ".deleting-0",
		"vm1\n",  "\x80\xff",	  "VM1",      "vm1@",
	};
	struct thinbd_volume *v;
	struct thinbd_error e;

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(thinbd_volume_open(t, names[i], false, &v, &e), -ENOENT);
		assert_has(e.text, "no such volume");
		for (const char *c = e.text; *c; c++)
			assert_true(*c >= ' ' && *c < 0x7f);
	}
	char *longer = malloc(5000);
	memset(longer, 'x', 4999);
	longer[4999] = '\0';
	assert_int_equal(thinbd_volume_open(t, longer, false, &v, &e), -ENOENT);
	free(longer);
	end_serving(t);
}

static void read_only_is_read_only(void **state)
{
	struct thinbd_volume *v;

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	struct thinbd *t = serve();
	assert_int_equal(thinbd_volume_open(t, "vm1@a", false, &v, NULL), 0);
	assert_true(thinbd_volume_read_only(v));
	assert_int_equal(thinbd_write(v, "x", 0, 1, 0), -EROFS);
	assert_int_equal(thinbd_trim(v, 0, 65536, 0), -EROFS);
	assert_int_equal(thinbd_zero(v, 0, 65536, 0), -EROFS);
	thinbd_volume_close(v);
	assert_int_equal(thinbd_volume_open(t, "vm1", true, &v, NULL), 0);
	assert_int_equal(thinbd_write(v, "x", 0, 1, 0), -EROFS);
	/* a reader does not keep it from becoming read-only; a writer does */
	done(ok("{'verb':'set','args':{'name':'vm1','settings':['readonly=1']}}"));
	done(ok("{'verb':'set','args':{'name':'vm1','settings':['readonly=0']}}"));
	thinbd_volume_close(v);
	assert_int_equal(thinbd_volume_open(t, "vm1", false, &v, NULL), 0);
	refused("EBUSY", "vm1",
		"{'verb':'set','args':{'name':'vm1','settings':['readonly=1']}}");
	thinbd_volume_close(v);
	end_serving(t);
}

static void clients_are_counted_and_in_the_way(void **state)
{
	struct thinbd_volume *a, *b;

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	struct thinbd *t = serve();
	assert_int_equal(thinbd_volume_open(t, "vm1", false, &a, NULL), 0);
	assert_int_equal(thinbd_volume_open(t, "vm1", true, &b, NULL), 0);
	struct json_object *o = ok("{'verb':'list','args':{'names':['vm1']}}");
	assert_number(o, "[0].clients", 2);
	done(o);
	o = ok("{'verb':'status'}");
	assert_number(o, "clients", 2);
	done(o);
	refused("EBUSY", "2 clients",
		"{'verb':'delete','args':{'names':['vm1@a','vm1']}}");
	refused("EBUSY", "2 clients",
		"{'verb':'rollback','args':{'name':'vm1','snapshot':'vm1@a'}}");
	refused("EBUSY", "2 clients",
		"{'verb':'resize','args':{'name':'vm1','size':'512K'}}");
	refused("EBUSY", "2 clients",
		"{'verb':'set','args':{'name':'vm1','settings':['origin=/dev/null']}}");
	/* these may be done at any time */
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'2M'}}"));
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@b']}}"));
	done(ok("{'verb':'rename','args':{'old':'vm1','new':'vm2'}}"));
	assert_int_equal(thinbd_volume_size(a), MIB(1)); /* as of the open */
	thinbd_volume_close(b);
	assert_int_equal(thinbd_volume_open(t, "vm2", true, &b, NULL), 0);
	assert_int_equal(thinbd_volume_size(b), MIB(2));
	thinbd_volume_close(a);
	thinbd_volume_close(b);
	done(ok("{'verb':'delete','args':{'names':['vm2']}}"));
	end_serving(t);
	assert_clean();
}

/* Until there are no tombstones; with a deadline against hangs. */
static void wait_for_the_burier(struct thinbd *t)
{
	size_t left = 1;

	for (int i = 0; left && i < 30000; i++) {
		struct thin_ids ids = {0};

		assert_int_equal(thin_tombstone_devices(t, &ids), 0);
		left = ids.nr;
		free(ids.at);
		usleep(1000);
	}
	assert_int_equal(left, 0);
}

/* Without the pool being closed: the journal has begun anew. */
static bool journal_is_blank(void)
{
	FILE *f = fopen(scratch("pool/volumes/.journal"), "re");
	int c = f ? fgetc(f) : EOF;

	if (f)
		(void)fclose(f);
	return c == '\n';
}

static void settled_when_quiet(void **state)
{
	(void)state;
	struct thinbd *t = serve();
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	for (int i = 0; !journal_is_blank() && i < 30000; i++)
		usleep(1000);
	assert_true(journal_is_blank());
	end_serving(t);
	assert_clean();
}

static void force_takes_a_volume_away(void **state)
{
	struct thinbd_volume *v;
	char byte;

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	assert_int_equal(thinbd_volume_open(t, "vm1", false, &v, NULL), 0);
	assert_int_equal(thinbd_write(v, "x", 0, 1, 0), 0);
	done(ok("{'verb':'delete','args':{'names':['vm1'],'force':true}}"));
	assert_int_equal(used_bytes(), 0);
	assert_int_equal(thinbd_write(v, "x", 0, 1, 0), -ESHUTDOWN);
	assert_int_equal(thinbd_read(v, &byte, 0, 1), -ESHUTDOWN);
	assert_int_equal(thinbd_flush(v), -ESHUTDOWN);
	/* another one with its device is somebody else */
	wait_for_the_burier(t);
	struct json_object *o = ok("{'verb':'create','args':{'name':'vm2','size':'1M'}}");
	assert_number(o, "device", 0);
	assert_number(o, "clients", 0);
	done(o);
	thinbd_volume_close(v);
	end_serving(t);
	assert_clean();
}

/* Writes until it is taken away. */
static void *writer(void *arg)
{
	struct thinbd_volume *v = arg;
	uint64_t n = 0;
	int r;

	while (!(r = thinbd_write(v, "x", n++ % MIB(1), 1, 0)))
		;
	return (void *)(intptr_t)r;
}

static void force_waits_for_requests(void **state)
{
	struct thinbd_volume *v;
	pthread_t thread[4];
	void *result;

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	assert_int_equal(thinbd_volume_open(t, "vm1", false, &v, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, writer, v), 0);
	usleep(20000);
	done(ok("{'verb':'delete','args':{'names':['vm1'],'force':true}}"));
	for (size_t i = 0; i < ARRAY_LEN(thread); i++) {
		assert_int_equal(pthread_join(thread[i], &result), 0);
		assert_int_equal((intptr_t)result, -ESHUTDOWN);
	}
	assert_int_equal(used_bytes(), 0);
	thinbd_volume_close(v);
	end_serving(t);
	assert_clean();
}

/* --- map and diff -------------------------------------------------------- */

/* [from, to) of the extents, in KiB, as one text. */
static void assert_extents(const char *expected, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void assert_extents(const char *expected, const char *fmt, ...)
{
	char text[1000] = "", *end = text;
	char request[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(request, sizeof(request), fmt, ap);
	va_end(ap);
	struct json_object *type, *o = ok("%s", request);
	for (size_t i = 0; i < json_object_array_length(o); i++) {
		struct json_object *x = json_object_array_get_idx(o, i);
		end += sprintf(end, "%s%lu+%lu", i ? " " : "", number(x, "offset") >> 10,
			       number(x, "length") >> 10);
		if (json_object_object_get_ex(x, "type", &type))
			end += sprintf(end, "%c", *json_object_get_string(type));
	}
	done(o);
	assert_string_equal(text, expected);
}

static void extents(void **state)
{
	(void)state;
	FILE *f = fopen(scratch("base"), "w");
	for (size_t i = 0; i < KIB(200); i++)
		fputc('b', f);
	fclose(f);
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'%s','size':'1M'}}",
		scratch("base")));
	struct thinbd *t = serve();
	assert_extents("0+200o 200+824z", "{'verb':'map','args':{'name':'vm1'}}");
	put_bytes(t, "vm1", KIB(64), KIB(64), 'x');
	assert_extents("0+64o 64+64d 128+72o 200+824z",
		       "{'verb':'map','args':{'name':'vm1'}}");
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@a']}}"));
	put_bytes(t, "vm1", KIB(512), KIB(64), 'x');
	assert_extents("0+64o 64+64s 128+72o 200+312z 512+64d 576+448z",
		       "{'verb':'map','args':{'name':'vm1'}}");
	assert_extents("512+64", "{'verb':'diff','args':{'old':'vm1@a','new':'vm1'}}");
	assert_extents("512+64", "{'verb':'diff','args':{'old':'vm1','new':'vm1@a'}}");
	assert_extents("", "{'verb':'diff','args':{'old':'vm1','new':'vm1'}}");
	put_bytes(t, "vm1", KIB(64), 1, 'y'); /* breaks the sharing */
	assert_extents("64+64 512+64",
		       "{'verb':'diff','args':{'old':'vm1@a','new':'vm1'}}");
	/* another origin, or none, may show anywhere below its end */
	done(ok("{'verb':'create','args':{'name':'none','size':'1M'}}"));
	assert_extents("0+200", "{'verb':'diff','args':{'old':'vm1@a','new':'none'}}");
	put_bytes(t, "none", KIB(960), 1, 'x');
	assert_extents("0+200 960+64",
		       "{'verb':'diff','args':{'old':'vm1@a','new':'none'}}");
	/* past the end of the old one are zeros */
	done(ok("{'verb':'create','args':{'name':'short','origin':'%s','size':'100K'}}",
		scratch("base")));
	assert_extents("64+136 512+64",
		       "{'verb':'diff','args':{'old':'short','new':'vm1'}}");
	assert_extents("64+36", "{'verb':'diff','args':{'old':'vm1','new':'short'}}");
	end_serving(t);
}

/* --- a still picture ------------------------------------------------------ */

static char *dump_of(struct thin_storage *metadata)
{
	struct thin_error e = {""};
	struct thin_items items;
	char *text;

	assert_int_equal(thin_items_init(&items, true, NULL), 0);
	assert_int_equal(thin_dump(metadata, false, THIN_DUMP_THIN, &items, &e), 0);
	text = strndup(items.text, items.len);
	thin_items_fini(&items);
	return text;
}

/*
 * Changes of all kinds, each of them durable before it returns.  Not so many that
 * the pool needs the room of what they free.
 */
static void change_all(struct thinbd *t, unsigned n)
{
	put_bytes(t, "vm1", n * 65536, 65536, 'm');
	done(ok("{'verb':'create','args':{'name':'v%u','size':'1M'}}", n));
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','s%u']}}", n));
	done(ok("{'verb':'delete','args':{'names':['v%u','s%u'],'if_exists':true}}", n,
		n / 2));
}

static int look_again(void *ctx, struct thin_storage *metadata)
{
	char *before = dump_of(metadata), *after;

	for (unsigned n = 1; n <= 6; n++)
		change_all(ctx, n);
	after = dump_of(metadata);
	assert_string_equal(before, after);
	free(before);
	free(after);
	return 0;
}

/* Whoever commits meanwhile does not wait, and it stays as it is. */
static void a_still_picture(void **state)
{
	struct thin_still still = {.look = look_again};

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'32M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, 65536, 'x');
	still.ctx = t;
	assert_int_equal(thin_still_look(t, &still), 0);
	assert_clean();
	end_serving(t);
	assert_clean();
}

/* --- the life of a server ------------------------------------------------ */

static void the_pool_is_locked(void **state)
{
	struct thinbd_params p = {.dir = POOL, .command = "other"};
	struct thinbd_error e;
	struct thinbd *second;
	char pid[20];

	(void)state;
	struct thinbd *t = serve();
	assert_int_equal(thinbd_open(&p, &second, &e), -EBUSY);
	snprintf(pid, sizeof(pid), "%d", getpid());
	assert_has(e.text, pid);
	assert_has(e.text, "test");
	end_serving(t);
	assert_int_equal(thinbd_open(&p, &second, &e), 0);
	assert_int_equal(thinbd_close(second), 0);
}

static void calls_go_to_the_server(void **state)
{
	(void)state;
	struct thinbd *t = listen_too();
	asked = NULL; /* the socket has to be found */
	struct json_object *o = ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}");
	assert_text(o, "name", "vm1");
	done(o);
	o = ok("{'verb':'status'}");
	assert_true(json_object_get_boolean(at(o, "served")));
	done(o);
	put_bytes(t, "vm1", 0, 1, 'x');
	refused("EEXIST", "vm1: ", "{'verb':'create','args':{'name':'vm1','size':'1M'}}");
	refused("EEXIST", "pool", "{'verb':'init','args':{'data_size':'1M'}}");
	o = ok("{'verb':'init','args':{'data_size':'1M','if_not_exists':true}}");
	assert_true(json_object_get_boolean(at(o, "existed")));
	done(o);
	assert_int_equal(nr_volumes(), 1);
	assert_clean();
	o = ok("{'verb':'dump'}");
	assert_has(json_object_get_string(o), "mapped_blocks=\"1\"");
	done(o);
	refused("EBUSY", "stop the server", "{'verb':'check','args':{'repair':true}}");
	assert_int_equal(thinbd_close(t), 0);
	o = ok("{'verb':'status'}");
	assert_false(json_object_get_boolean(at(o, "served")));
	done(o);
}

static void table_style(void **state)
{
	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd_params p = {
		.metadata = scratch("pool/metadata"),
		.data = scratch("pool/data"),
		.device = 0,
		.size = 100000,
	};
	struct thinbd_error e;
	struct thinbd *t;
	char names[100] = "";
	assert_int_equal(thinbd_open(&p, &t, &e), 0);
	assert_int_equal(thinbd_listen(t, &e), 0);
	assert_int_equal(thinbd_start(t, &e), 0);
	assert_int_equal(thinbd_exports(t, note_name, names), 0);
	assert_string_equal(names, ": ");
	put_bytes(t, "", 99999, 1, 'x');
	assert_true(has_bytes(t, "whatever", 99999, 1, 'x'));
	asked = t;
	refused("ENOTSUP", "folder", "{'verb':'list'}");
	end_serving(t);
	p.device = 1;
	assert_int_equal(thinbd_open(&p, &t, &e), -ENOENT);
	assert_has(e.text, "no device 1");
	p.device = 0;
	p.block_size = 131072;
	assert_int_equal(thinbd_open(&p, &t, &e), -EINVAL);
	assert_has(e.text, "block size");
	p.block_size = 65536;
	p.origin = "thin:vm1";
	assert_int_equal(thinbd_open(&p, &t, &e), -EINVAL);
	p.origin = "/nowhere/at/all";
	assert_int_equal(thinbd_open(&p, &t, &e), -ENOENT);
	assert_has(e.text, "/nowhere/at/all");
	assert_clean();
}

static void counters(void **state)
{
	struct thinbd_counters c;

	(void)state;
	done(ok("{'verb':'create','args':{'name':'vm1','size':'1M'}}"));
	struct thinbd *t = serve();
	put_bytes(t, "vm1", 0, 1, 'x');
	thinbd_counters(t, &c);
	assert_int_equal(c.block_size, 65536);
	assert_int_equal(c.data_used, 1);
	assert_int_equal(c.data_total, 1024);
	assert_true(c.commits > 0);
	end_serving(t);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_pool, scratch_remove)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(exports_are_listed),
		TEST(the_default_is_the_only_one),
		TEST(names_from_clients_are_only_looked_up),
		TEST(read_only_is_read_only),
		TEST(clients_are_counted_and_in_the_way),
		TEST(settled_when_quiet),
		TEST(force_takes_a_volume_away),
		TEST(force_waits_for_requests),
		TEST(extents),
		TEST(a_still_picture),
		TEST(the_pool_is_locked),
		TEST(calls_go_to_the_server),
		TEST(table_style),
		TEST(counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
