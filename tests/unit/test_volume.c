/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static int try_open(struct ground *g, uint32_t device, uint64_t size,
		    struct thin_origin *origin, struct thin_volume **ret)
{
	struct thin_volume_params p = {.device = device, .size = size, .origin = origin};

	return thin_volume_open(g->pool, &p, ret);
}

static uint64_t clients(struct ground *g)
{
	struct thin_pool_status s;

	thin_pool_status(g->pool, &s);
	return s.clients;
}

static void test_refused(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v;

	(void)state;
	assert_int_equal(try_open(g, 1, BLOCK, NULL, &v), -ENOENT);
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	assert_int_equal(try_open(g, 1, 0, NULL, &v), -EINVAL);
	assert_int_equal(try_open(g, 1, THIN_MAX_VOLUME_SIZE + 1, NULL, &v), -EINVAL);
	assert_int_equal(try_open(g, 1, THIN_MAX_VOLUME_SIZE, NULL, &v), 0);
	assert_int_equal(thin_volume_size(v), THIN_MAX_VOLUME_SIZE);
	expect(v, THIN_MAX_VOLUME_SIZE - 100, 100, 0);
	assert_int_equal(put(v, THIN_MAX_VOLUME_SIZE - 1, 1, 7, 0), 0);
	expect(v, THIN_MAX_VOLUME_SIZE - 1, 1, 7);
	thin_volume_close(v);
	thin_volume_close(NULL);
	ground_free(g);
}

/* V1: all who have it open see the same, and are counted. */
static void test_shared(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *a = ground_create(g, 1, BLOCK, NULL), *b;

	(void)state;
	assert_int_equal(clients(g), 1);
	b = ground_volume(g, 1, BLOCK, NULL);
	assert_int_equal(clients(g), 2);
	assert_ptr_equal(a->core, b->core);
	assert_int_equal(put(a, 0, 100, 1, 0), 0);
	expect(b, 0, 100, 1);
	thin_volume_close(a);
	assert_int_equal(clients(g), 1);
	expect(b, 0, 100, 1);
	thin_volume_close(b);
	assert_int_equal(clients(g), 0);
	assert_null(g->pool->volumes[1]);
	ground_free(g);
}

/* V4: sizes may differ, origins may not; after the last close both may. */
static void test_size_and_origin(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh[2];
	struct thin_origin *o[] = {ground_origin(&sh[0], 2 * BLOCK),
				   ground_origin(&sh[1], BLOCK)};
	struct thin_volume *a = ground_create(g, 1, BLOCK, o[0]), *b;
	uint8_t byte;

	(void)state;
	assert_int_equal(try_open(g, 1, BLOCK, o[1], &b), -EINVAL);
	assert_int_equal(try_open(g, 1, BLOCK, NULL, &b), -EINVAL);
	assert_int_equal(clients(g), 1);
	assert_int_equal(try_open(g, 1, 2 * BLOCK, o[0], &b), 0);
	expect_origin(b, 0, 2 * BLOCK);
	assert_int_equal(thin_volume_read(a, &byte, BLOCK, 1), -ERANGE);
	assert_int_equal(atomic_load(&a->core->size), 2 * BLOCK);
	thin_volume_close(b);
	thin_volume_close(a);

	a = ground_volume(g, 1, 100, NULL);
	expect(a, 0, 100, 0);
	assert_int_equal(atomic_load(&a->core->size), 100);
	b = ground_volume(g, 1, 50, NULL);
	assert_int_equal(atomic_load(&a->core->size), 100);
	thin_volume_close(b);
	thin_volume_close(a);
	a = ground_volume(g, 1, BLOCK, o[1]);
	expect_origin(a, 0, BLOCK);
	thin_volume_close(a);
	for (int i = 0; i < 2; i++) {
		thin_origin_unref(o[i]);
		assert_int_equal(sh[i]->closes, 1);
		shelf_free(sh[i]);
	}
	ground_free(g);
}

/* A pin keeps the core, but not what the last close forgot. */
static void test_pinned_between_opens(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, BLOCK);
	struct thin_volume *v = ground_create(g, 1, BLOCK, o);
	struct thin_core *core;

	(void)state;
	assert_int_equal(thin_core_pin(g->pool, 1, &core), 0);
	thin_volume_close(v);
	v = ground_volume(g, 1, BLOCK / 2, NULL);
	assert_ptr_equal(v->core, core);
	assert_int_equal(atomic_load(&core->size), BLOCK / 2);
	expect(v, 0, BLOCK / 2, 0);
	thin_core_unpin(core);
	thin_core_unpin(NULL);
	expect(v, 0, BLOCK / 2, 0);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* An origin that can't be started is no origin to serve. */
static void test_start_fails(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, BLOCK);
	struct thin_volume *v;

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	assert_int_equal(thin_pool_start(g->pool), 0);
	sh->fail_start = -ECONNREFUSED;
	assert_int_equal(try_open(g, 1, BLOCK, o, &v), -ECONNREFUSED);
	assert_int_equal(clients(g), 0);
	sh->fail_start = 0;
	assert_int_equal(try_open(g, 1, BLOCK, o, &v), 0);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* An open of the same size waits for nobody's request. */
static void test_open_while_written(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, BLOCK, NULL), *w;
	struct write_call call = {.v = v, .len = 10, .byte = 1};
	struct door door;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	write_start(&call);
	WAIT_FOR(door_waiting(&door) == 1);
	w = ground_volume(g, 1, BLOCK, NULL);
	assert_false(call.call.done);
	door_set(&door, false);
	assert_int_equal(call_join(&call.call), 0);
	thin_volume_close(w);
	thin_volume_close(v);
	ground_free(g);
}

/* 2.7: a larger size exposes more; a short last block keeps its rest. */
static void test_grow(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 2 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, BLOCK + 100, o);

	(void)state;
	assert_int_equal(put(v, BLOCK + 50, 50, 1, 0), 0);
	thin_volume_close(v);
	v = ground_volume(g, 1, 3 * BLOCK, o);
	expect_origin(v, 0, BLOCK + 50);
	expect(v, BLOCK + 50, 50, 1);
	expect_origin(v, BLOCK + 100, BLOCK - 100);
	expect(v, 2 * BLOCK, BLOCK, 0);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* The rest of the last block: only where it is mapped, and it stays that volume's. */
static void test_zero_tail(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 3 * BLOCK, NULL);
	const struct thin_snap_pair pair = {.origin = 1, .snap = 2};

	(void)state;
	assert_int_equal(thin_pool_zero_tail(g->pool, 2, BLOCK + 100, 0), -ENOENT);
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, BLOCK + 100, 0), 0);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(put(v, 0, 2 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, BLOCK, 0), 0);
	expect(v, 0, 2 * BLOCK, 1);
	/* Open, or not, or shared with a snapshot. */
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, BLOCK + 100, 0), 0);
	expect(v, 0, BLOCK + 100, 1);
	expect(v, BLOCK + 100, BLOCK - 100, 0);
	thin_volume_close(v);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, 50, 0), 0);
	v = ground_volume(g, 1, 3 * BLOCK, NULL);
	expect(v, 0, 50, 1);
	expect(v, 50, BLOCK - 50, 0);
	expect(v, BLOCK, 100, 1);
	thin_volume_close(v);
	v = ground_volume(g, 2, 3 * BLOCK, NULL);
	expect(v, 0, BLOCK, 1);
	thin_volume_close(v);
	ground_free(g);
}

/* It shows up to there for those who have it open, and it is not read for that. */
static void test_zero_tail_over_origin(void **state)
{
	struct ground *g = ground_new(8);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 3 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 3 * BLOCK, o);

	(void)state;
	assert_int_equal(put(v, BLOCK, BLOCK, 1, 0), 0);
	sh->fail_read = -EIO;
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, BLOCK + 100, BLOCK + 100), 0);
	expect(v, BLOCK + 100, BLOCK - 100, 0);
	expect(v, 2 * BLOCK, BLOCK, 0);
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, 100, 100), 0);
	assert_int_equal(ground_used(g), 1);
	sh->fail_read = 0;
	expect_origin(v, 0, 100);
	expect(v, 100, BLOCK - 100, 0);
	thin_volume_close(v);
	/* The next open says it anew. */
	assert_int_equal(thin_pool_zero_tail(g->pool, 1, 100, 100), 0);
	v = ground_volume(g, 1, 3 * BLOCK, o);
	expect_origin(v, 0, BLOCK);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_size_and_origin),
		cmocka_unit_test(test_pinned_between_opens),
		cmocka_unit_test(test_start_fails),
		cmocka_unit_test(test_grow),
		cmocka_unit_test(test_zero_tail),
		cmocka_unit_test(test_zero_tail_over_origin),
		cmocka_unit_test(test_open_while_written),
	};

	return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}
