/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "util/epoch.h"

static struct ground *with_policy(enum thin_discard discard, struct thin_volume **ret)
{
	struct ground *g = ground_make(BLOCK, 8, 1024);

	g->params.discard = discard;
	ground_open(g);
	*ret = ground_create(g, 1, 16 * BLOCK, NULL);
	assert_int_equal(put(*ret, 0, 8 * BLOCK, 1, THIN_FUA), 0);
	return g;
}

/* Passdown: after the commit, neighbours in one go. */
static void test_punch(void **state)
{
	struct thin_volume *v;
	struct ground *g = with_policy(THIN_DISCARD_PASSDOWN, &v);
	uint8_t byte;

	(void)state;
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, 0), 0);
	assert_int_equal(thin_volume_trim(v, 6 * BLOCK, BLOCK, 0), 0);
	assert_int_equal(g->data->punches, 0);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	assert_int_equal(g->data->punches, 2);
	assert_int_equal(thin_storage_read_at(g->data->memory, 0, &byte, 1), 0);
	assert_int_equal(byte, 0xee);
	assert_int_equal(ground_info(g).data_free, 5);
	thin_volume_close(v);
	ground_free(g);
}

/* 8.3: a block that somebody else has still is not punched. */
static void test_shared(void **state)
{
	struct thin_volume *v;
	struct ground *g = with_policy(THIN_DISCARD_PASSDOWN, &v);
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(thin_volume_trim(v, 0, 8 * BLOCK, THIN_FUA), 0);
	assert_int_equal(g->data->punches, 0);
	/* A block that was shared once and is not any more is. */
	assert_int_equal(thin_pool_delete(g->pool, &pair.snap, 1), 0);
	assert_int_equal(g->data->punches, 1);
	assert_int_equal(ground_used(g), 0);
	thin_volume_close(v);
	ground_free(g);
}

static void test_no_passdown(void **state)
{
	struct thin_volume *v;
	struct ground *g = with_policy(THIN_DISCARD_NOPASSDOWN, &v);

	(void)state;
	assert_int_equal(thin_volume_trim(v, 0, 8 * BLOCK, THIN_FUA), 0);
	assert_int_equal(g->data->punches, 0);
	assert_int_equal(ground_info(g).data_free, 8);
	thin_volume_close(v);
	ground_free(g);
}

/* 8.4: a failure is ignored; a storage that can't is asked once. */
static void test_punch_fails(void **state)
{
	static const int errors[] = {-EIO, -ENOTSUP};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		struct thin_volume *v;
		struct ground *g = with_policy(THIN_DISCARD_PASSDOWN, &v);

		g->data->fail_punch = errors[i];
		for (uint64_t b = 0; b < 4; b++)
			assert_int_equal(thin_volume_trim(v, b * BLOCK, BLOCK, THIN_FUA),
					 0);
		assert_int_equal(g->data->punches, errors[i] == -ENOTSUP ? 1 : 4);
		assert_int_equal(ground_info(g).data_free, 4);
		assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
		thin_volume_close(v);
		ground_free(g);
	}
}

/*
 * I3: who is inside an epoch may hold the address of a block that a commit
 * freed.  Until he has left it is neither punched nor given away; but the
 * commit is durable, and whoever waits for that does not wait for him.
 */
struct sitter {
	struct call call;
	struct door door;
	atomic_bool inside;
};

static int sit_in_epoch(void *ctx)
{
	struct sitter *s = ctx;

	thin_epoch_enter();
	s->inside = true;
	door_pass(&s->door);
	thin_epoch_exit();
	return 0;
}

static void sitter_start(struct sitter *s)
{
	*s = (struct sitter){.inside = false};
	door_init(&s->door);
	door_set(&s->door, true);
	call_start(&s->call, sit_in_epoch, s);
	WAIT_FOR(s->inside);
}

static void sitter_end(struct sitter *s)
{
	door_set(&s->door, false);
	assert_int_equal(call_join(&s->call), 0);
}

static void test_epoch(void **state)
{
	struct thin_volume *v;
	struct ground *g = with_policy(THIN_DISCARD_PASSDOWN, &v);
	struct sitter s;

	(void)state;
	assert_int_equal(thin_pool_start(g->pool), 0);
	sitter_start(&s);
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, THIN_FUA), 0);
	assert_int_equal(ground_used(g), 4);
	usleep(10000);
	assert_int_equal(g->data->punches, 0);
	assert_int_equal(ground_info(g).data_free, 0);
	sitter_end(&s);
	WAIT_FOR(ground_info(g).data_free == 4);
	assert_int_equal(g->data->punches, 1);
	thin_volume_close(v);
	ground_free(g);
}

/* Who needs the room waits for it, and not for another commit. */
static void test_settle(void **state)
{
	struct thin_volume *v;
	struct ground *g = with_policy(THIN_DISCARD_PASSDOWN, &v);
	struct write_call w = {.v = v, .offset = 8 * BLOCK, .len = 4 * BLOCK, .byte = 3};
	struct sitter s;

	(void)state;
	assert_int_equal(thin_pool_start(g->pool), 0);
	sitter_start(&s);
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, THIN_FUA), 0);
	write_start(&w);
	usleep(10000);
	assert_false(w.call.done);
	sitter_end(&s);
	assert_int_equal(call_join(&w.call), 0); /* though when_full is error */
	assert_int_equal(ground_mode(g), THIN_MODE_WRITE);
	thin_volume_close(v);
	ground_free(g);
}

/* The slots are a bound: commits that free wait, at some time, for the reaper. */
static int trim_often(void *ctx)
{
	struct thin_volume *v = ctx;

	for (uint64_t i = 0; i < 3 * THIN_REAP_SLOTS; i++) {
		int r = put(v, 0, 1, 1, 0);

		if (!r)
			r = thin_volume_trim(v, 0, BLOCK, THIN_FUA);
		if (r)
			return r;
	}
	return 0;
}

static void test_slots(void **state)
{
	struct ground *g = ground_new(64);
	struct thin_volume *v = ground_create(g, 1, BLOCK, NULL);
	uint64_t commits = ground_info(g).commits;
	struct sitter s;
	struct call c;

	(void)state;
	assert_int_equal(thin_pool_start(g->pool), 0);
	sitter_start(&s);
	call_start(&c, trim_often, v);
	usleep(50000);
	assert_true(ground_info(g).commits - commits <= THIN_REAP_SLOTS + 2);
	sitter_end(&s);
	assert_int_equal(call_join(&c), 0);
	thin_volume_close(v);
	ground_free(g);
}

/* A punch that is under way keeps the block from its next owner. */
static void door_of_punches(void *ctx)
{
	door_pass(ctx);
}

static void test_punch_before_release(void **state)
{
	struct thin_volume *v;
	struct ground *g = with_policy(THIN_DISCARD_PASSDOWN, &v);
	struct write_call w = {.v = v, .offset = 8 * BLOCK, .len = 4 * BLOCK, .byte = 3};
	struct door door;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->data->on_punch_ctx = &door;
	g->data->on_punch = door_of_punches;
	assert_int_equal(thin_pool_start(g->pool), 0);
	assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, THIN_FUA), 0);
	WAIT_FOR(door_waiting(&door) == 1);
	write_start(&w);
	usleep(10000);
	assert_false(w.call.done);
	assert_int_equal(ground_info(g).data_free, 0);
	door_set(&door, false);
	assert_int_equal(call_join(&w.call), 0);
	expect(v, 8 * BLOCK, 4 * BLOCK, 3);
	thin_volume_close(v);
	ground_free(g);
}

/*
 * W2: who waited for a range and then goes in place holds no range any more.
 * What he writes to may be trimmed meanwhile, but not given away.
 */
struct two_doors {
	struct door first, later;
	atomic_uint writes;
};

static void pass_one(void *ctx, const struct thin_segment *seg, size_t nr)
{
	struct two_doors *d = ctx;

	(void)seg;
	(void)nr;
	door_pass(atomic_fetch_add(&d->writes, 1) ? &d->later : &d->first);
}

static size_t ranges(struct thin_volume *v)
{
	size_t n = 0;

	thin_mutex_lock(&v->core->ranges.lock);
	for (struct thin_range *r = v->core->ranges.ranges; r; r = r->next)
		n++;
	thin_mutex_unlock(&v->core->ranges.lock);
	return n;
}

static void test_in_place_after_range(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, NULL);
	struct write_call w[2] = {{.v = v, .len = 10, .byte = 1},
				  {.v = v, .offset = 10, .len = 10, .byte = 2}};
	struct two_doors d = {.writes = 0};

	(void)state;
	door_init(&d.first);
	door_init(&d.later);
	door_set(&d.first, true);
	door_set(&d.later, true);
	g->data->on_write_ctx = &d;
	g->data->on_write = pass_one;
	assert_int_equal(thin_pool_start(g->pool), 0);
	write_start(&w[0]);
	WAIT_FOR(door_waiting(&d.first) == 1);
	write_start(&w[1]);
	WAIT_FOR(ranges(v) == 2);
	door_set(&d.first, false);
	assert_int_equal(call_join(&w[0].call), 0);
	WAIT_FOR(door_waiting(&d.later) == 1);
	assert_int_equal(thin_volume_trim(v, 0, BLOCK, THIN_FUA), 0);
	assert_int_equal(ground_used(g), 0);
	usleep(10000);
	assert_int_equal(g->data->punches, 0);
	assert_int_equal(ground_info(g).data_free, 7);
	door_set(&d.later, false);
	assert_int_equal(call_join(&w[1].call), 0);
	WAIT_FOR(ground_info(g).data_free == 8);
	expect(v, 0, BLOCK, 0);
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_punch),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_no_passdown),
		cmocka_unit_test(test_punch_fails),
		cmocka_unit_test(test_epoch),
		cmocka_unit_test(test_settle),
		cmocka_unit_test(test_in_place_after_range),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_punch_before_release),
	};

	return cmocka_run_group_tests_name("reap", tests, NULL, NULL);
}
