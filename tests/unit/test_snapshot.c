/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static int snapshot(struct ground *g, uint32_t origin, uint32_t snap)
{
	struct thin_snap_pair pair = {origin, snap};

	return thin_pool_snapshot(g->pool, &pair, 1);
}

static bool is_there(struct ground *g, uint32_t device)
{
	struct thin_device_info info;

	return !thin_pool_next_device(g->pool, device, &info) && info.id == device;
}

static void test_content(void **state)
{
	struct ground *g = ground_new(32);
	struct thin_volume *v = ground_create(g, 1, 4 * BLOCK, NULL), *s[3];

	(void)state;
	for (uint32_t i = 0; i < 3; i++) { /* a chain: snapshots of snapshots */
		assert_int_equal(put(v, 0, 4 * BLOCK, (uint8_t)(i + 1), 0), 0);
		assert_int_equal(snapshot(g, 1, 10 + i), 0);
		assert_int_equal(snapshot(g, 10 + i, 20 + i), 0);
	}
	assert_int_equal(put(v, 0, 4 * BLOCK, 99, 0), 0);
	thin_volume_close(v);
	ground_crash(g); /* durable when they were made; the last write was not */
	for (uint32_t i = 0; i < 3; i++) {
		s[0] = ground_volume(g, 10 + i, 4 * BLOCK, NULL);
		s[1] = ground_volume(g, 20 + i, 4 * BLOCK, NULL);
		expect(s[0], 0, 4 * BLOCK, (uint8_t)(i + 1));
		expect(s[1], 0, 4 * BLOCK, (uint8_t)(i + 1));
		thin_volume_close(s[0]);
		thin_volume_close(s[1]);
	}
	ground_free(g);
}

static void test_refused(void **state)
{
	struct ground *g = ground_new(8);
	const struct thin_snap_pair there[] = {{1, 3}, {2, 1}},
				    twice[] = {{1, 3}, {2, 3}}, none[] = {{1, 3}, {7, 4}},
				    chain[] = {{1, 3}, {3, 4}},
				    large[] = {{1, 3}, {2, THIN_MAX_DEVICE_ID + 1}};

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 2), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, there, 2), -EEXIST);
	assert_int_equal(thin_pool_snapshot(g->pool, twice, 2), -EEXIST);
	assert_int_equal(thin_pool_snapshot(g->pool, none, 2), -ENOENT);
	assert_int_equal(thin_pool_snapshot(g->pool, chain, 2), -ENOENT);
	assert_int_equal(thin_pool_snapshot(g->pool, large, 2), -EINVAL);
	assert_int_equal(thin_pool_snapshot(g->pool, large, 0), -EINVAL);
	assert_false(is_there(g, 3));
	assert_false(is_there(g, 4));
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	assert_int_equal(ground_info(g).failed, 0);
	assert_int_equal(snapshot(g, 1, 3), 0);
	assert_int_equal(thin_pool_delete(g->pool, (uint32_t[]){1, 2, 3}, 3), 0);
	ground_free(g);
}

/* All or none, also when metadata gets short on the way, a commit or not. */
#define GROUP 2000u

static void test_none_of_a_group(void **state)
{
	struct ground *g = ground_make(BLOCK, 8, 64);
	struct thin_snap_pair *pairs = calloc(GROUP, sizeof(*pairs));
	struct thin_device_info info;
	uint32_t nr = 1;

	(void)state;
	assert_non_null(pairs);
	ground_open(g);
	assert_int_equal(thin_pool_create_thin(g->pool, 0), 0);
	while (!thin_pool_create_thin(g->pool, nr))
		nr++;
	for (uint32_t id = 1; id <= 12; id++) /* a little room again */
		assert_int_equal(thin_pool_delete(g->pool, &id, 1), 0);
	for (uint32_t i = 0; i < GROUP; i++)
		pairs[i] = (struct thin_snap_pair){0, 1000000 + i};
	assert_int_equal(thin_pool_snapshot(g->pool, pairs, GROUP), -ENOBUFS);
	assert_int_equal(thin_pool_next_device(g->pool, 1000000, &info), -ENOENT);
	assert_int_equal(ground_info(g).failed, 0);
	assert_true(ground_mode(g) <= THIN_MODE_OUT_OF_METADATA);
	assert_int_equal(thin_pool_snapshot(g->pool, pairs, 50), 0);
	for (uint32_t i = 0; i < 50; i++)
		assert_true(is_there(g, pairs[i].snap));
	free(pairs);
	ground_free(g);
}

/* --- with writes in flight --------------------------------------------------------- */

static int snapshot_1_to_2(void *ctx)
{
	return snapshot(ctx, 1, 2);
}

/*
 * I8: a snapshot waits for what is in flight, holds what comes, and is not
 * in the way of other volumes.
 */
static void test_drains(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct thin_volume *other = ground_create(g, 5, 8 * BLOCK, NULL), *s;
	struct write_call before = {.v = v, .len = 3 * BLOCK, .byte = 1};
	struct write_call after = {.v = v, .len = 3 * BLOCK, .byte = 2};
	struct call snap;
	struct door door;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	write_start(&before);
	WAIT_FOR(door_waiting(&door) == 1);
	call_start(&snap, snapshot_1_to_2, g);
	WAIT_FOR(v->core->gate.shut);
	usleep(5000);
	assert_false(snap.done);
	write_start(&after);
	usleep(10000);
	assert_int_equal(door_waiting(&door), 1); /* it is held */
	expect(v, 0, BLOCK, 0);			  /* reads are not */
	g->data->on_write = NULL;
	assert_int_equal(put(other, 0, BLOCK, 9, 0), 0);
	door_set(&door, false);
	assert_int_equal(call_join(&before.call), 0);
	assert_int_equal(call_join(&snap), 0);
	assert_int_equal(call_join(&after.call), 0);
	s = ground_volume(g, 2, 8 * BLOCK, NULL);
	expect(s, 0, 3 * BLOCK, 1);
	expect(v, 0, 3 * BLOCK, 2);
	thin_volume_close(s);
	thin_volume_close(other);
	thin_volume_close(v);
	ground_free(g);
}

/* A writer is not held up by the snapshot's commit. */
static void test_commit_after_the_gate(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL), *s;
	struct call snap;
	struct door door;

	(void)state;
	assert_int_equal(put(v, 0, 2 * BLOCK, 1, 0), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_flush_ctx = &door;
	g->data->on_flush = door_of_flushes;
	call_start(&snap, snapshot_1_to_2, g);
	WAIT_FOR(door_waiting(&door) == 1);
	assert_int_equal(put(v, 0, 100, 2, 0), 0);
	assert_false(snap.done);
	door_set(&door, false);
	assert_int_equal(call_join(&snap), 0);
	s = ground_volume(g, 2, 8 * BLOCK, NULL);
	expect(s, 0, 2 * BLOCK, 1);
	expect(v, 0, 100, 2);
	thin_volume_close(s);
	thin_volume_close(v);
	ground_free(g);
}

/* C6: a group does not wait for the I/O of somebody else's commit either. */
static int commit(void *ctx)
{
	struct ground *g = ctx;

	return thin_pool_commit(g->pool);
}

static void test_made_during_a_commit(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct call other, snap;
	struct door door;

	(void)state;
	assert_int_equal(put(v, 0, 2 * BLOCK, 1, 0), 0);
	door_init(&door);
	door_set(&door, true);
	g->data->on_flush_ctx = &door;
	g->data->on_flush = door_of_flushes;
	call_start(&other, commit, g);
	WAIT_FOR(door_waiting(&door) == 1);
	call_start(&snap, snapshot_1_to_2, g);
	WAIT_FOR(is_there(g, 2));
	assert_int_equal(put(v, 0, 100, 2, 0), 0);
	assert_false(snap.done); /* it is not durable yet */
	door_set(&door, false);
	assert_int_equal(call_join(&other), 0);
	assert_int_equal(call_join(&snap), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* Several origins, one of them twice, open or not, in any order. */
static void test_group(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 7, 4 * BLOCK, NULL), *s;
	const struct thin_snap_pair pairs[] = {{7, 11}, {3, 12}, {7, 13}, {5, 14}};

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 3), 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 5), 0);
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, pairs, ARRAY_LEN(pairs)), 0);
	assert_int_equal(put(v, 0, BLOCK, 2, 0), 0);
	for (uint32_t id = 11; id <= 14; id++) {
		s = ground_volume(g, id, 4 * BLOCK, NULL);
		expect(s, 0, BLOCK, id == 11 || id == 13 ? 1 : 0);
		thin_volume_close(s);
	}
	thin_volume_close(v);
	ground_free(g);
}

/* Two groups with the same origins the other way round: no deadlock. */
struct grouper {
	struct ground *g;
	uint32_t first, second, id;
};

static int make_groups(void *ctx)
{
	struct grouper *gr = ctx;

	for (uint32_t i = 0; i < 30; i++) {
		uint32_t ids[] = {gr->id + 2 * i, gr->id + 2 * i + 1};
		const struct thin_snap_pair pairs[] = {{gr->first, ids[0]},
						       {gr->second, ids[1]}};
		int r = thin_pool_snapshot(gr->g->pool, pairs, 2);

		if (!r)
			r = thin_pool_delete(gr->g->pool, ids, 2);
		if (r)
			return r;
	}
	return 0;
}

static void test_groups_crosswise(void **state)
{
	struct ground *g = ground_new(8);
	struct grouper a = {g, 1, 2, 100}, b = {g, 2, 1, 200};
	struct call c[2];

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	assert_int_equal(thin_pool_create_thin(g->pool, 2), 0);
	call_start(&c[0], make_groups, &a);
	call_start(&c[1], make_groups, &b);
	assert_int_equal(call_join(&c[0]), 0);
	assert_int_equal(call_join(&c[1]), 0);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_none_of_a_group),
		cmocka_unit_test(test_drains),
		cmocka_unit_test(test_commit_after_the_gate),
		cmocka_unit_test(test_made_during_a_commit),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_groups_crosswise),
	};

	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
