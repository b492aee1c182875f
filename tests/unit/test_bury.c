/* SPDX-License-Identifier: BSD-3-Clause */
#include "service.h"

#include "metadata/metadata.h"
#include "pool/pool_internal.h"
#include "registry/name.h"
#include "service/service.h"
#include "util/epoch.h"

/*
 * Volumes that are deleted in the background.  The device is pinned, so that
 * the burier waits for us and not the other way round.
 */

#define MANY  UINT64_C(40000) /* blocks: more than is freed at once */
#define BLOCK UINT64_C(65536)

static void edit_metadata(void (*fn)(struct thin_metadata *m))
{
	struct thin_metadata_params p = {.cache_bytes = THIN_METADATA_CACHE};
	struct thin_freed *freed = NULL;
	struct thin_metadata *m;

	assert_int_equal(
		thin_storage_open_file(scratch("pool/metadata"), 0, &p.storage, NULL), 0);
	assert_int_equal(thin_metadata_open(&p, &m, NULL), 0);
	fn(m);
	assert_int_equal(thin_metadata_commit(m, NULL, &freed), 0);
	thin_metadata_release(m, freed);
	thin_metadata_close(m);
	thin_storage_close(p.storage);
}

/* Map them, as if they had been written. */
static void map_big(struct thin_metadata *m)
{
	struct thin_device *d;

	assert_int_equal(thin_device_open(m, 0, &d), 0);
	for (uint64_t at = 0, got; at < MANY; at += got) {
		uint64_t dblock;

		assert_int_equal(thin_metadata_reserve(m, MANY - at, &dblock, &got), 0);
		assert_int_equal(thin_metadata_insert(d, at, dblock, got), 0);
	}
	thin_device_close(d);
}

/* A pool of 8 GiB, in which "big" is device 0. */
static int set_up(void **state)
{
	if (scratch_make(state))
		return -1;
	asked = NULL;
	done(ok("{'verb':'init','args':{'data_size':'8G','metadata_size':'16M'}}"));
	done(ok("{'verb':'create','args':{'names':['big'],'size':'4G'}}"));
	edit_metadata(map_big);
	return 0;
}

static uint64_t freeing(void)
{
	struct json_object *o = ok("{'verb':'status'}");
	uint64_t bytes = number(o, "freeing_bytes");

	done(o);
	return bytes;
}

/* Hangs, and so fails, where it never ends. */
static void wait_until_free(void)
{
	while (freeing())
		usleep(1000);
	/* The number is 0 with the last mapping; then come a commit and a name. */
	for (bool there = true; there;) {
		char file[200];

		snprintf(file, sizeof(file), "%s",
			 scratch("pool/volumes/.deleting-0.conf"));
		there = !access(file, F_OK);
		usleep(1000);
	}
}

static struct thin_core *pin(struct thinbd *t, uint32_t device)
{
	struct thin_core *core;

	assert_int_equal(thin_core_pin(t->pool, device, &core), 0);
	return core;
}

static void delete_big(void)
{
	struct json_object *o = ok("{'verb':'delete','args':{'names':['big']}}");

	assert_number(o, "freed_bytes", 0);
	assert_number(o, "freeing_bytes", MANY * BLOCK);
	done(o);
}

static void goes_on_after_the_answer(void **state)
{
	struct thinbd *t = serve();
	struct thin_core *core = pin(t, 0);

	(void)state;
	delete_big();
	assert_int_equal(nr_volumes(), 0);
	assert_int_equal(freeing(), MANY * BLOCK);
	assert_int_equal(used_bytes(), MANY * BLOCK);
	refused("ENOENT", "big", "{'verb':'show','args':{'name':'big'}}");
	assert_clean();
	thin_core_unpin(core);
	wait_until_free();
	assert_int_equal(used_bytes(), 0);
	assert_clean();
	end_serving(t);
}

/* Whatever is done meanwhile neither waits for it nor gets in its way. */
static void others_go_on(void **state)
{
	struct thinbd *t = serve();
	struct thin_core *core = pin(t, 0);
	struct json_object *o;

	(void)state;
	delete_big();
	o = ok("{'verb':'create','args':{'names':['big'],'size':'1M'}}");
	assert_number(o, "device", 1);
	done(o);
	put_bytes(t, "big", 0, 65536, 7);
	done(ok("{'verb':'snapshot','args':{'pairs':['big','big@1']}}"));
	done(ok("{'verb':'rollback','args':{'name':'big','snapshot':'big@1'}}"));
	o = ok("{'verb':'delete','args':{'names':['big@1']}}"); /* a little: at once */
	assert_number(o, "freeing_bytes", 0);
	done(o);
	assert_int_equal(thin_pool_commit(t->pool), 0);
	assert_int_equal(freeing(), MANY * BLOCK);
	thin_core_unpin(core);
	wait_until_free();
	assert_int_equal(used_bytes(), BLOCK);
	assert_true(has_bytes(t, "big", 0, 65536, 7));
	assert_clean();
	end_serving(t);
}

/* Its number is not given away before it is gone; nor can it be copied. */
static void the_device_is_taken(void **state)
{
	struct thinbd *t = serve();
	struct thin_core *core = pin(t, 0);

	(void)state;
	delete_big();
	refused("EEXIST", "create_thin",
		"{'verb':'message','args':{'text':'create_thin 0'}}");
	refused("ENOENT", "create_snap",
		"{'verb':'message','args':{'text':'create_snap 5 0'}}");
	thin_core_unpin(core);
	wait_until_free();
	done(ok("{'verb':'message','args':{'text':'create_thin 0'}}"));
	end_serving(t);
}

/* Also when the device is gone, and its tombstone is not yet. */
static void nor_before_it_is_forgotten(void **state)
{
	struct thinbd *t = serve();
	struct thin_device_info info;

	(void)state;
	thin_pool_freeze(t->pool);
	done(ok("{'verb':'delete','args':{'names':['big']}}")); /* some of it at once */
	while (!thin_pool_next_device(t->pool, 0, &info))
		usleep(1000);
	refused("EEXIST", "create_thin",
		"{'verb':'message','args':{'text':'create_thin 0'}}");
	thin_pool_thaw(t->pool);
	wait_until_free();
	end_serving(t);
}

/* Closed on the way: the next server goes on with it. */
static void the_next_server_goes_on(void **state)
{
	struct thinbd *t = serve();
	struct thin_core *core = pin(t, 0);

	(void)state;
	delete_big();
	thin_core_unpin(core);
	end_serving(t);
	asked = NULL;
	assert_int_equal(nr_volumes(), 0);
	assert_clean();
	t = serve();
	wait_until_free();
	assert_int_equal(used_bytes(), 0);
	end_serving(t);
	assert_clean();
}

/* Where nobody serves the pool, whoever changes something does it. */
static void offline_it_is_done_within_the_call(void **state)
{
	struct json_object *o;

	(void)state;
	o = ok("{'verb':'delete','args':{'names':['big']}}");
	assert_number(o, "freed_bytes", MANY * BLOCK);
	assert_number(o, "freeing_bytes", 0);
	done(o);
	assert_int_equal(used_bytes(), 0);
	assert_clean();
}

static void offline_also_what_others_left(void **state)
{
	struct thinbd *t = serve();
	struct thin_core *core = pin(t, 0);

	(void)state;
	delete_big();
	thin_core_unpin(core);
	end_serving(t);
	done(ok("{'verb':'create','args':{'names':['new'],'size':'1M'}}"));
	assert_int_equal(used_bytes(), 0);
	assert_int_equal(freeing(), 0);
	assert_int_equal(nr_volumes(), 1);
	assert_clean();
}

static void make_another(struct thin_metadata *m)
{
	assert_int_equal(thin_metadata_delete(m, 0), 0);
	assert_int_equal(thin_metadata_set_transaction_id(m, 0, 1), 0);
	assert_int_equal(thin_metadata_create_thin(m, 0), 0);
}

/*
 * The pool was in others' hands in between, as the kernel's, who deleted the
 * device and made another one: that one is theirs.
 */
static void anothers_device_is_left_alone(void **state)
{
	struct thinbd *t = serve();
	struct json_object *o;
	struct thin_core *core = pin(t, 0);

	(void)state;
	delete_big();
	thin_core_unpin(core);
	end_serving(t);
	edit_metadata(make_another);
	t = serve();
	wait_until_free();
	o = ok("{'verb':'list'}");
	assert_int_equal(json_object_array_length(o), 1);
	assert_text(o, "[0].name", "#0");
	done(o);
	end_serving(t);
	assert_clean();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(goes_on_after_the_answer),
		TEST(others_go_on),
		TEST(the_device_is_taken),
		TEST(nor_before_it_is_forgotten),
		TEST(the_next_server_goes_on),
		TEST(offline_it_is_done_within_the_call),
		TEST(offline_also_what_others_left),
		TEST(anothers_device_is_left_alone),
	};

	return cmocka_run_group_tests_name("bury", tests, NULL, NULL);
}
