/* SPDX-License-Identifier: BSD-3-Clause */
/* Letting go of origins: flattening, and what others do to the volume meanwhile. */
#include "service.h"

#include "pool/pool_internal.h"
#include "service/bury.h"
#include "service/flatten.h"

#include <pthread.h>
#include <stdatomic.h>

#define MIB(n) ((uint64_t)(n) << 20)

/* --- flatten in the background -------------------------------------------- */

static bool is_flattening(void)
{
	struct json_object *o = ok("{'verb':'show','args':{'name':'vm1'}}");
	bool flattening = json_object_get_boolean(at(o, "flattening"));

	done(o);
	return flattening;
}

static void make_volume_over_a_file(void)
{
	FILE *f = fopen(scratch("base"), "w");

	for (size_t i = 0; i < MIB(4); i++)
		fputc('b', f);
	fclose(f);
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'%s'}}",
		scratch("base")));
}

/* A client that asks whoever serves the pool. */
static void *slow_flatten(void *arg)
{
	char *reply;

	(void)arg;
	assert_int_equal(thinbd_call(POOL,
				     "{\"verb\":\"flatten\",\"args\":{\"name\":\"vm1\","
				     "\"rate\":\"64K/s\"}}",
				     NULL, &reply),
			 0);
	return reply;
}

static void flatten_goes_on_after_a_restart(void **state)
{
	pthread_t thread;
	void *reply;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = listen_too();
	assert_int_equal(pthread_create(&thread, NULL, slow_flatten, NULL), 0);
	for (int i = 0; i < 500 && !used_bytes(); i++)
		usleep(10000);
	assert_true(used_bytes() > 0);
	assert_true(is_flattening());
	refused("EBUSY", "flatten",
		"{'verb':'resize','args':{'name':'vm1','size':'8M'}}");
	refused("EBUSY", "client", "{'verb':'delete','args':{'names':['vm1']}}");
	end_serving(t);
	assert_int_equal(pthread_join(thread, &reply), 0);
	assert_has(reply, "error");
	free(reply);
	assert_true(is_flattening());
	/* the rest at full speed, by itself */
	t = serve();
	for (int i = 0; i < 500 && is_flattening(); i++)
		usleep(10000);
	assert_false(is_flattening());
	assert_int_equal(remove(scratch("base")), 0);
	assert_true(has_bytes(t, "vm1", 0, MIB(4), 'b'));
	end_serving(t);
	assert_clean();
}

static int stop_soon(void *ctx, uint64_t nr_done, uint64_t total)
{
	(void)nr_done;
	(void)total;
	return ++*(int *)ctx > 2;
}

static void flatten_may_be_cancelled(void **state)
{
	int calls = 0;
	struct thinbd_observer o = {.ctx = &calls, .progress = stop_soon};
	char *reply;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = serve();
	assert_int_equal(thinbd_request(t,
					"{\"verb\":\"flatten\",\"args\":{\"name\":"
					"\"vm1\",\"rate\":\"1M\"}}",
					&o, &reply),
			 0);
	assert_has(reply, "ECANCELED");
	free(reply);
	assert_false(is_flattening());
	assert_true(has_bytes(t, "vm1", 0, MIB(4), 'b'));
	done(ok("{'verb':'flatten','args':{'name':'vm1'}}"));
	assert_int_equal(used_bytes(), MIB(4));
	end_serving(t);
	assert_clean();
}

/* --- flatten, and what others do to the volume meanwhile ------------------- */

/* One that waits, all being copied, until it is let go on. */
struct flattening {
	struct thinbd *t;
	pthread_t thread;
	atomic_bool waits, go_on;
	char *reply;
};

static int wait_at_the_end(void *ctx, uint64_t nr_done, uint64_t total)
{
	struct flattening *f = ctx;

	while (nr_done == total && !f->go_on) {
		f->waits = true;
		usleep(1000);
	}
	return 0;
}

#define FLATTEN_VM1 "{\"verb\":\"flatten\",\"args\":{\"name\":\"vm1\"}}"

static void *do_flatten(void *arg)
{
	struct flattening *f = arg;
	struct thinbd_observer o = {.ctx = f, .progress = wait_at_the_end};

	assert_int_equal(thinbd_request(f->t, FLATTEN_VM1, &o, &f->reply), 0);
	return NULL;
}

static void begin_flatten(struct flattening *f, struct thinbd *t)
{
	*f = (struct flattening){.t = t};
	assert_int_equal(pthread_create(&f->thread, NULL, do_flatten, f), 0);
	while (!f->waits)
		usleep(1000);
}

static void end_flatten(struct flattening *f, const char *part)
{
	f->go_on = true;
	assert_int_equal(pthread_join(f->thread, NULL), 0);
	assert_has(f->reply, part);
	free(f->reply);
}

static bool has_origin(const char *name)
{
	struct json_object *o = ok("{'verb':'show','args':{'name':'%s'}}", name);
	bool has = at(o, "origin");

	done(o);
	return has;
}

/* Its name may be another volume's when it ends. */
static void flatten_follows_its_volume(void **state)
{
	struct flattening f;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = serve();
	begin_flatten(&f, t);
	done(ok("{'verb':'rename','args':{'old':'vm1','new':'vm2'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'%s'}}",
		scratch("base")));
	end_flatten(&f, "done");
	assert_true(has_origin("vm1"));
	assert_false(has_origin("vm2"));
	assert_true(has_bytes(t, "vm1", 0, MIB(4), 'b'));
	assert_true(has_bytes(t, "vm2", 0, MIB(4), 'b'));
	end_serving(t);
	assert_clean();
}

/* So does one that was interrupted, which nobody has asked for by name. */
static void flatten_goes_on_with_its_volume(void **state)
{
	struct thin_flatten_params p = {.name = "vm1"};
	struct thin_error e = {0};
	uint64_t copied;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = serve();
	done(ok("{'verb':'rename','args':{'old':'vm1','new':'vm2'}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'%s'}}",
		scratch("base")));
	assert_int_equal(thin_flatten(t, &p, &copied, &e), 0);
	assert_int_equal(copied, MIB(4));
	assert_true(has_origin("vm1"));
	assert_false(has_origin("vm2"));
	p.device = 7;
	assert_int_equal(thin_flatten(t, &p, &copied, &e), -ENOENT);
	end_serving(t);
	assert_clean();
}

static void flatten_of_a_deleted_volume(void **state)
{
	struct flattening f;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = serve();
	begin_flatten(&f, t);
	done(ok("{'verb':'delete','args':{'names':['vm1'],'force':true}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','origin':'%s'}}",
		scratch("base")));
	end_flatten(&f, "error");
	assert_true(has_origin("vm1"));
	assert_true(has_bytes(t, "vm1", 0, MIB(4), 'b'));
	end_serving(t);
	assert_clean();
}

/*
 * One of two is cancelled; as long as there is another the volume keeps its size: with
 * a longer one it would not copy all, or zero what was written there meanwhile (F3).
 */
static void flattening_keeps_the_size(void **state)
{
	int calls = 2; /* at once */
	struct thinbd_observer o = {.ctx = &calls, .progress = stop_soon};
	struct flattening f;
	char *reply;

	(void)state;
	make_volume_over_a_file();
	done(ok("{'verb':'delete','args':{'names':['vm1']}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':1000000,'origin':'%s'}}",
		scratch("base")));
	struct thinbd *t = serve();
	begin_flatten(&f, t);
	assert_int_equal(thinbd_request(t, FLATTEN_VM1, &o, &reply), 0);
	assert_has(reply, "ECANCELED");
	free(reply);
	assert_true(is_flattening());
	refused("EBUSY", "flatten",
		"{'verb':'resize','args':{'name':'vm1','size':'4M'}}");
	end_flatten(&f, "done");
	assert_false(has_origin("vm1"));
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'4M'}}"));
	put_bytes(t, "vm1", 1000100, 100, 'w');
	assert_true(has_bytes(t, "vm1", 0, 1000000, 'b'));
	assert_true(has_bytes(t, "vm1", 1000000, 100, 0));
	assert_true(has_bytes(t, "vm1", 1000100, 100, 'w'));
	end_serving(t);
	assert_clean();
}

/* F3: no longer is any of the origin to be seen. */
static void growing_after_a_flatten(void **state)
{
	(void)state;
	make_volume_over_a_file();
	done(ok("{'verb':'delete','args':{'names':['vm1']}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':1000000,'origin':'%s'}}",
		scratch("base")));
	struct thinbd *t = serve();
	done(ok("{'verb':'flatten','args':{'name':'vm1'}}"));
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'2M'}}"));
	assert_true(has_bytes(t, "vm1", 0, 1000000, 'b'));
	assert_true(has_bytes(t, "vm1", 1000000, MIB(2) - 1000000, 0));
	end_serving(t);
	assert_clean();
}

/* What shrinking took away is zeros, be it the volume's or the origin's. */
static void growing_after_shrinking(void **state)
{
	struct thinbd_volume *v;
	char *x = calloc(1, MIB(2));

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = serve();
	assert_int_equal(thinbd_volume_open(t, "vm1", false, &v, NULL), 0);
	assert_int_equal(thinbd_write(v, x, 0, MIB(2), THINBD_FUA), 0);
	free(x);
	thinbd_volume_close(v);
	done(ok("{'verb':'resize','args':{'name':'vm1','size':1000000,'force':true}}"));
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'8M'}}"));
	assert_true(has_bytes(t, "vm1", 0, 1000000, 0));
	assert_true(has_bytes(t, "vm1", 1000000, MIB(8) - 1000000, 0));
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','vm1@s']}}"));
	done(ok("{'verb':'rollback','args':{'name':'vm1','snapshot':'vm1@s'}}"));
	done(ok("{'verb':'flatten','args':{'name':'vm1'}}"));
	assert_true(has_bytes(t, "vm1", 0, MIB(8), 0));
	end_serving(t);
	assert_clean();
}

/* Who has another origin, or none, is not being flattened. */
static void another_origin_ends_a_flatten(void **state)
{
	pthread_t thread;
	void *reply;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = listen_too();
	assert_int_equal(pthread_create(&thread, NULL, slow_flatten, NULL), 0);
	for (int i = 0; i < 500 && !used_bytes(); i++)
		usleep(10000);
	end_serving(t);
	assert_int_equal(pthread_join(thread, &reply), 0);
	free(reply);
	asked = NULL;
	assert_true(is_flattening());
	done(ok("{'verb':'set','args':{'name':'vm1','settings':['origin='],"
		"'force':true}}"));
	assert_false(is_flattening());
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'8M'}}"));
	assert_clean();
}

/* The same origin again is no other: what was shrunk away does not come back. */
static void the_same_origin_again(void **state)
{
	(void)state;
	make_volume_over_a_file();
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'1M','force':true}}"));
	done(ok("{'verb':'resize','args':{'name':'vm1','size':'4M'}}"));
	done(ok("{'verb':'set','args':{'name':'vm1','settings':['origin=%s']}}",
		scratch("base")));
	struct thinbd *t = serve();
	assert_true(has_bytes(t, "vm1", 0, MIB(1), 'b'));
	assert_true(has_bytes(t, "vm1", MIB(1), MIB(3), 0));
	end_serving(t);
	assert_clean();
}

/* --- the origin, when it goes ----------------------------------------------- */

static struct thinbd_volume *opened(struct thinbd *t, const char *name)
{
	struct thinbd_volume *v;
	struct thinbd_error e;

	if (thinbd_volume_open(t, name, false, &v, &e))
		fail_msg("%s", e.text);
	return v;
}

/*
 * A client stays; what he read through is nobody's origin any more, and others may do
 * with it what they want.
 */
static void an_origin_goes_for_those_who_stay(void **state)
{
	(void)state;
	make_volume_over_a_file();
	done(ok("{'verb':'set','args':{'name':'vm1','settings':['readonly=true']}}"));
	done(ok("{'verb':'create','args':{'name':'vm2','origin':'thin:vm1'}}"));
	struct thinbd *t = serve();
	struct thinbd_volume *stays = opened(t, "vm2");
	done(ok("{'verb':'flatten','args':{'name':'vm2'}}"));
	done(ok("{'verb':'set','args':{'name':'vm1','force':true,"
		"'settings':['readonly=false','origin=']}}"));
	thinbd_volume_close(opened(t, "vm1"));
	done(ok("{'verb':'set','args':{'name':'vm1','force':true,'settings':['origin=%s']"
		"}}",
		scratch("base")));
	thinbd_volume_close(opened(t, "vm1"));
	done(ok("{'verb':'delete','args':{'names':['vm1']}}"));
	assert_true(thin_buried_bytes(t) == 0);
	thinbd_volume_close(stays);
	assert_true(has_bytes(t, "vm2", 0, MIB(4), 'b'));
	end_serving(t);
	assert_clean();
}

static void *show_no_problem(void *unused)
{
	struct json_object *o = ok("{'verb':'show','args':{'name':'vm1'}}");

	assert_null(at(o, "problem"));
	done(o);
	return unused;
}

static bool is_recorded_with_origin(struct thinbd *t, const char *name)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;

	assert_int_equal(thin_registry_find(t->registry, name, &v, NULL), 0);
	return v->origin;
}

/* The registry knows first: who comes before the volume does finds it a moment later. */
static void opening_while_the_origin_goes(void **state)
{
	struct thin_core *core;
	struct flattening f;
	pthread_t thread;

	(void)state;
	make_volume_over_a_file();
	struct thinbd *t = serve();
	begin_flatten(&f, t);
	assert_int_equal(thin_core_pin(t->pool, 0, &core), 0);
	thin_gate_enter(&core->gate); /* a request in flight */
	f.go_on = true;
	while (is_recorded_with_origin(t, "vm1"))
		usleep(1000);
	assert_int_equal(pthread_create(&thread, NULL, show_no_problem, NULL), 0);
	usleep(1500000); /* for one who would not wait that long */
	thin_gate_leave(&core->gate);
	assert_int_equal(pthread_join(thread, NULL), 0);
	end_flatten(&f, "done");
	thin_core_unpin(core);
	end_serving(t);
	assert_clean();
}

/* --- what a snapshot holds that is made when it ends ------------------------- */

/* How much of the pool's data is the origin's. */
static size_t bytes_of_origin(void)
{
	FILE *f = fopen(scratch("pool/data"), "r");
	size_t nr = 0;

	for (int c; (c = fgetc(f)) != EOF;)
		nr += c == 'b';
	fclose(f);
	return nr;
}

static void *do_snapshot(void *unused)
{
	done(ok("{'verb':'snapshot','args':{'pairs':['vm1','s1'],'writable':true}}"));
	return unused;
}

static bool is_being_cut(struct thinbd *t)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;

	assert_int_equal(thin_registry_find(t->registry, "vm1", &v, NULL), 0);
	return v->shrinking;
}

/* F3: a snapshot while the rest of the last block becomes zeros, or just after it. */
static void a_snapshot_just_before_the_origin_goes(void **state)
{
	struct thin_device_info info;
	struct flattening f;
	pthread_t thread;

	(void)state;
	make_volume_over_a_file();
	done(ok("{'verb':'delete','args':{'names':['vm1']}}"));
	done(ok("{'verb':'create','args':{'name':'vm1','size':1000000,'origin':'%s'}}",
		scratch("base")));
	struct thinbd *t = serve();
	begin_flatten(&f, t);
	thin_pool_freeze(t->pool);
	f.go_on = true;
	while (!is_being_cut(t) && bytes_of_origin() != 1000000)
		usleep(1000);
	assert_int_equal(pthread_create(&thread, NULL, do_snapshot, NULL), 0);
	for (int i = 0; i < 200 && thin_pool_next_device(t->pool, 1, &info); i++)
		usleep(1000);
	thin_pool_thaw(t->pool);
	assert_int_equal(pthread_join(thread, NULL), 0);
	end_flatten(&f, "done");
	done(ok("{'verb':'resize','args':{'name':'s1','size':'2M'}}"));
	assert_true(has_bytes(t, "s1", 0, 1000000, 'b'));
	assert_true(has_bytes(t, "s1", 1000000, MIB(2) - 1000000, 0));
	end_serving(t);
	assert_clean();
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, make_pool, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flatten_goes_on_after_a_restart),
		TEST(flatten_may_be_cancelled),
		TEST(flatten_follows_its_volume),
		TEST(flatten_goes_on_with_its_volume),
		TEST(flatten_of_a_deleted_volume),
		TEST(flattening_keeps_the_size),
		TEST(growing_after_a_flatten),
		TEST(growing_after_shrinking),
		TEST(another_origin_ends_a_flatten),
		TEST(the_same_origin_again),
		TEST(an_origin_goes_for_those_who_stay),
		TEST(opening_while_the_origin_goes),
		TEST(a_snapshot_just_before_the_origin_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
