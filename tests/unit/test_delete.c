/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static int delete_one(struct ground *g, uint32_t device)
{
	return thin_pool_delete(g->pool, &device, 1);
}

static void test_frees(void **state)
{
	struct ground *g = ground_new(32);
	struct thin_volume *v = ground_create(g, 1, 16 * BLOCK, NULL);
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	assert_int_equal(put(v, 0, 8 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(put(v, 0, 2 * BLOCK, 2, 0), 0);
	assert_int_equal(ground_used(g), 10);
	thin_volume_close(v);
	assert_int_equal(delete_one(g, 1), 0);
	assert_int_equal(ground_used(g), 8);
	assert_int_equal(ground_info(g).data_free, 24);
	assert_int_equal(delete_one(g, 2), 0);
	assert_int_equal(ground_used(g), 0);
	ground_crash(g); /* durable */
	assert_int_equal(delete_one(g, 1), -ENOENT);
	assert_int_equal(ground_used(g), 0);
	ground_free(g);
}

static void test_all_or_none(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, BLOCK, NULL);
	struct thin_volume *open = ground_create(g, 2, BLOCK, NULL);

	(void)state;
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	thin_volume_close(v);
	assert_int_equal(thin_pool_delete(g->pool, (uint32_t[]){1, 2}, 2), -EBUSY);
	assert_int_equal(thin_pool_delete(g->pool, (uint32_t[]){1, 3}, 2), -ENOENT);
	assert_int_equal(thin_pool_delete(g->pool, (uint32_t[]){1, 1}, 2), -EBUSY);
	assert_int_equal(thin_pool_delete(g->pool, NULL, 0), 0);
	v = ground_volume(g, 1, BLOCK, NULL);
	expect(v, 0, BLOCK, 1);
	thin_volume_close(v);
	thin_volume_close(open);
	assert_int_equal(thin_pool_delete(g->pool, (uint32_t[]){2, 1}, 2), 0);
	ground_free(g);
}

/*
 * A large one goes in steps, with commits in between: others get in, and
 * find the first blocks free before the last ones are unmapped.
 */
#define MANY 90000u

static struct ground *large(uint32_t device, struct shelf **ret_shelf)
{
	struct ground *g = ground_make(4096, MANY + 100, 4096);
	struct thin_origin *o;
	struct thin_volume *v;

	*ret_shelf = shelf_new(MANY * UINT64_C(4096));
	assert_non_null(*ret_shelf);
	assert_int_equal(thin_origin_open(&(*ret_shelf)->lent, "base", NULL, &o, NULL),
			 0);
	ground_open(g);
	v = ground_create(g, device, MANY * UINT64_C(4096), o);
	assert_int_equal(thin_volume_zero(v, 0, MANY * UINT64_C(4096), 0), 0);
	assert_int_equal(ground_used(g), MANY);
	thin_volume_close(v);
	thin_origin_unref(o);
	return g;
}

static void test_steps(void **state)
{
	struct shelf *sh;
	struct ground *g = large(1, &sh);
	uint64_t commits;

	(void)state;
	assert_int_equal(thin_pool_commit(g->pool), 0);
	commits = ground_info(g).commits;
	assert_int_equal(delete_one(g, 1), 0);
	assert_true(ground_info(g).commits - commits >= 2);
	assert_int_equal(ground_used(g), 0);
	ground_free(g);
	shelf_free(sh);
}

static int after_some(void *ctx)
{
	unsigned *left = ctx;

	return *left ? --*left, 0 : -EINTR;
}

/*
 * In the background it can be ended at any step, and lose power there: what is
 * left is a smaller device, which can be deleted again.
 */
static void test_slowly(void **state)
{
	struct shelf *sh;
	struct ground *g = large(1, &sh);
	uint32_t device = 1;
	unsigned steps = 3;
	uint64_t used;

	(void)state;
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(thin_pool_delete_slowly(g->pool, &device, 1, after_some, &steps),
			 -EINTR);
	used = ground_used(g);
	assert_in_range(used, MANY - 10 * THIN_UNMAP_STEP, MANY - 3 * 84);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	ground_crash(g);
	assert_int_equal(ground_used(g), used);
	steps = 2;
	assert_int_equal(thin_pool_delete_slowly(g->pool, &device, 1, after_some, &steps),
			 -EINTR);
	ground_crash(g); /* not committed */
	assert_int_equal(ground_used(g), used);
	steps = UINT32_MAX;
	assert_int_equal(thin_pool_delete_slowly(g->pool, &device, 1, after_some, &steps),
			 0);
	ground_crash(g);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(delete_one(g, 1), -ENOENT);
	ground_free(g);
	shelf_free(sh);
}

static int delete_patiently(void *ctx)
{
	struct ground *g = ctx;

	return thin_pool_delete_slowly(g->pool, (uint32_t[]){1}, 1, NULL, NULL);
}

/* Who is about to close it is waited for, and nobody else gets in. */
static void test_waits_for_opens(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 16 * 4096, NULL), *w;
	struct thin_volume_params p = {.device = 1, .size = 16 * 4096};
	struct call c;

	(void)state;
	assert_true(thin_pool_is_open(g->pool, 1));
	assert_int_equal(delete_one(g, 1), -EBUSY);
	call_start(&c, delete_patiently, g);
	while (!thin_volume_open(g->pool, &p, &w)) { /* until it is claimed */
		thin_volume_close(w);
		usleep(1000);
	}
	expect(v, 0, 4096, 0);
	thin_volume_close(v);
	assert_int_equal(call_join(&c), 0);
	assert_false(thin_pool_is_open(g->pool, 1));
	assert_int_equal(delete_one(g, 1), -ENOENT);
	ground_free(g);
}

struct meanwhile {
	struct ground *g;
	uint64_t steps, most_free;
};

/* Between the steps no lock is held that a verb could need. */
static int do_others(void *ctx)
{
	struct thin_snap_pair pair = {2, 3};
	struct meanwhile *w = ctx;
	uint32_t snap = 3;

	if (++w->steps % 10)
		return 0;
	assert_int_equal(thin_pool_snapshot(w->g->pool, &pair, 1), 0);
	assert_int_equal(thin_pool_delete(w->g->pool, &snap, 1), 0);
	assert_int_equal(thin_pool_delete(w->g->pool, (uint32_t[]){1}, 1), -EBUSY);
	return 0;
}

static void test_others_meanwhile(void **state)
{
	struct shelf *sh;
	struct ground *g = large(1, &sh);
	struct thin_volume *v = ground_create(g, 2, 16 * 4096, NULL);
	struct meanwhile w = {.g = g};

	(void)state;
	assert_int_equal(put(v, 0, 4096, 1, 0), 0);
	assert_int_equal(
		thin_pool_delete_slowly(g->pool, (uint32_t[]){1}, 1, do_others, &w), 0);
	assert_true(w.steps > 50);
	expect(v, 0, 4096, 1);
	thin_volume_close(v);
	ground_free(g);
	shelf_free(sh);
}

static int look_on(void *ctx)
{
	struct meanwhile *w = ctx;

	if (ground_info(w->g).data_free > w->most_free)
		w->most_free = ground_info(w->g).data_free;
	return 0;
}

/* Nearly nothing is free: so what is unmapped is committed as it comes. */
static void test_frees_as_it_goes(void **state)
{
	struct shelf *sh;
	struct ground *g = large(1, &sh);
	struct meanwhile w = {.g = g};

	(void)state;
	assert_int_equal(
		thin_pool_delete_slowly(g->pool, (uint32_t[]){1}, 1, look_on, &w), 0);
	assert_true(w.most_free > MANY / 3);
	ground_free(g);
	shelf_free(sh);
}

/* What is shared as a whole is no work, however large. */
static void test_work(void **state)
{
	struct shelf *sh;
	struct ground *g = large(1, &sh);
	struct thin_snap_pair pair = {1, 2};
	uint64_t work;

	(void)state;
	assert_int_equal(thin_pool_delete_work(g->pool, 1, UINT64_MAX, &work), 0);
	assert_int_equal(work, MANY);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(thin_pool_delete_work(g->pool, 2, UINT64_MAX, &work), 0);
	assert_int_equal(work, 1);
	assert_int_equal(thin_pool_delete_work(g->pool, 3, 1, &work), -ENOENT);
	ground_free(g);
	shelf_free(sh);
}

struct deletion {
	struct ground *g;
	uint32_t device;
};

static int run_deletion(void *ctx)
{
	struct deletion *d = ctx;

	return delete_one(d->g, d->device);
}

/* While it goes nobody can open it, nor take a snapshot of it. */
static void test_claimed(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL);
	struct thin_volume_params p = {.device = 1, .size = BLOCK};
	struct thin_snap_pair pair = {1, 2};
	struct thin_device_info info;
	struct thin_core *core;
	uint64_t nr;

	(void)state;
	thin_volume_close(v);
	assert_int_equal(thin_core_claim(g->pool, 1, false, &core), 0);
	assert_int_equal(thin_volume_open(g->pool, &p, &v), -EBUSY);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), -EBUSY);
	assert_int_equal(thin_pool_usage(g->pool, 1, &info, &nr), 0);
	assert_int_equal(delete_one(g, 1), -EBUSY);
	thin_core_unpin(core);
	assert_int_equal(thin_volume_open(g->pool, &p, &v), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* A short pin is waited for. */
static void test_waits_for_pins(void **state)
{
	struct ground *g = ground_new(8);
	struct deletion d = {g, 1};
	struct thin_core *core;
	struct call c;

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	assert_int_equal(thin_core_pin(g->pool, 1, &core), 0);
	call_start(&c, run_deletion, &d);
	usleep(10000);
	assert_false(c.done);
	thin_core_unpin(core);
	assert_int_equal(call_join(&c), 0);
	ground_free(g);
}

/* With nothing but the reserve left it works all the same. */
static void test_scarce_metadata(void **state)
{
	struct ground *g = ground_make(4096, 20000, 64);
	struct thin_volume *v;
	uint64_t b = 0;

	(void)state;
	ground_open(g);
	v = ground_create(g, 1, UINT64_C(20000) * 2 * 4096, NULL);
	while (!put(v, b * 2 * 4096, 1, 1, 0))
		b++;
	thin_volume_close(v);
	assert_int_equal(ground_info(g).metadata_free, 0);
	assert_int_equal(delete_one(g, 1), 0);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frees),
		cmocka_unit_test(test_all_or_none),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_slowly),
		cmocka_unit_test(test_waits_for_opens),
		cmocka_unit_test(test_others_meanwhile),
		cmocka_unit_test(test_frees_as_it_goes),
		cmocka_unit_test(test_work),
		cmocka_unit_test(test_claimed),
		cmocka_unit_test(test_waits_for_pins),
		cmocka_unit_test(test_scarce_metadata),
	};

	return cmocka_run_group_tests_name("delete", tests, NULL, NULL);
}
