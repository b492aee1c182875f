/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static const struct thin_identity recorded = {
	.size = 8 * BLOCK,
	.inode = 17,
	.mtime_ns = 1600000000000000001,
	.ctime_ns = 1600000000000000002,
};

static struct shelf *shelf_with(struct thin_identity id)
{
	struct shelf *sh = shelf_new(8 * BLOCK);

	assert_non_null(sh);
	sh->identity = id;
	return sh;
}

/* Every part of the identity counts, and the message has both. */
static void test_identity(void **state)
{
	struct thin_identity other[5];
	struct thin_origin *o;
	struct thin_error e;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(other); i++)
		other[i] = recorded;
	other[1].size++;
	other[2].inode++;
	other[3].mtime_ns++;
	other[4].ctime_ns--;
	for (size_t i = 0; i < ARRAY_LEN(other); i++) {
		struct shelf *sh = shelf_with(other[i]);
		int r = thin_origin_open(&sh->lent, "base.img", &recorded, &o, &e);

		assert_int_equal(r, i ? -ESTALE : 0);
		if (!r) {
			assert_int_equal(thin_origin_size(o), 8 * BLOCK);
			assert_memory_equal(thin_origin_identity(o), &recorded,
					    sizeof(recorded));
			thin_origin_unref(o);
		} else {
			assert_has(e.text, "base.img");
			assert_has(e.text, "inode 17");
			assert_has(e.text, i == 2 ? "inode 18" : "now");
		}
		shelf_free(sh);
	}
}

static void test_can_not_tell(void **state)
{
	struct shelf *sh = shelf_with(recorded);
	struct thin_origin *o;
	struct thin_error e;

	(void)state;
	sh->fail_identity = -EIO;
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, &e), -EIO);
	assert_has(e.text, "base");
	shelf_free(sh);
}

static void test_references(void **state)
{
	struct shelf *sh = shelf_with(recorded);
	struct thin_origin *o;

	(void)state;
	thin_origin_unref(NULL);
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	assert_ptr_equal(thin_origin_ref(o), o);
	thin_origin_unref(o);
	assert_int_equal(sh->closes, 0);
	thin_origin_unref(o);
	assert_int_equal(sh->closes, 1);
	shelf_free(sh);
}

struct table {
	struct thin_origin *o;
	struct shelf *sh;
	unsigned told;
};

static void note_gone(void *ctx)
{
	struct table *t = ctx;

	t->told++;
	assert_false(thin_origin_try_ref(t->o));
	assert_int_equal(t->sh->closes, 0);
}

/* E4 */
static void test_looked_up(void **state)
{
	struct shelf *sh = shelf_with(recorded);
	struct table t = {.sh = sh};

	(void)state;
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &t.o, NULL), 0);
	thin_origin_on_close(t.o, note_gone, &t);
	assert_true(thin_origin_try_ref(t.o));
	thin_origin_unref(t.o);
	assert_int_equal(t.told, 0);
	thin_origin_unref(t.o);
	assert_int_equal(t.told, 1);
	assert_int_equal(sh->closes, 1);
	shelf_free(sh);
}

/* E3: noticed within a second, told once, and then nothing is served of it. */
static void test_changed(void **state)
{
	struct ground *g = ground_new(16);
	struct shelf *sh = shelf_with(recorded);
	struct thin_volume *v, *w;
	struct thin_origin *o;
	uint8_t b;

	(void)state;
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	v = ground_create(g, 1, 16 * BLOCK, o);
	w = ground_create(g, 2, 16 * BLOCK, o);
	assert_int_equal(put(v, 0, BLOCK, 1, 0), 0);
	thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_ORIGIN_CHANGED], 0);

	sh->fail_identity = -EIO; /* away is not changed */
	thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_ORIGIN_CHANGED], 0);
	assert_int_equal(thin_volume_read(v, &b, BLOCK, 1), 0);
	sh->fail_identity = 0;

	sh->identity.mtime_ns++;
	thin_pool_watch(g->pool);
	thin_pool_watch(g->pool);
	assert_int_equal(g->events[THIN_EVENT_ORIGIN_CHANGED], 1);
	assert_string_equal(g->detail, "base");
	assert_int_equal(thin_volume_read(v, &b, BLOCK, 1), -ESTALE);
	assert_int_equal(thin_volume_read(w, &b, 0, 1), -ESTALE);
	assert_int_equal(put(v, BLOCK, 1, 1, 0), -ESTALE); /* would be copied from it */
	assert_int_equal(thin_volume_hydrate(v, BLOCK, 1), -ESTALE);
	sh->identity = recorded; /* going back does not help */
	thin_pool_watch(g->pool);
	assert_int_equal(thin_volume_read(v, &b, BLOCK, 1), -ESTALE);

	/* What does not come from it is served. */
	expect(v, 0, BLOCK, 1);
	expect(v, 8 * BLOCK, 8 * BLOCK, 0);
	assert_int_equal(put(v, BLOCK, BLOCK, 2, 0), 0);
	expect(v, BLOCK, BLOCK, 2);
	assert_int_equal(ground_used(g), 2);
	thin_volume_close(w);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* By itself, while the pool is served. */
static void test_watched(void **state)
{
	struct ground *g = ground_new(16);
	struct shelf *sh = shelf_with(recorded);
	struct thin_volume *v;
	struct thin_origin *o;

	(void)state;
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	v = ground_create(g, 1, 16 * BLOCK, o);
	assert_int_equal(g->pool->watcher.interval_ns, 1000000000);
	g->pool->watcher.interval_ns = 2000000;
	assert_int_equal(thin_pool_start(g->pool), 0);
	sh->identity_changed = true;
	WAIT_FOR(g->events[THIN_EVENT_ORIGIN_CHANGED] == 1);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* Started once, whoever comes first: the pool, or a volume opened later. */
static void test_start(void **state)
{
	struct ground *g = ground_new(16);
	struct shelf *sh[2] = {shelf_with(recorded), shelf_with(recorded)};
	struct thin_volume *v[3];
	struct thin_origin *o[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			thin_origin_open(&sh[i]->lent, "base", NULL, &o[i], NULL), 0);
	v[0] = ground_create(g, 1, BLOCK, o[0]);
	v[1] = ground_create(g, 2, BLOCK, o[0]);
	assert_int_equal(sh[0]->starts, 0);
	assert_int_equal(thin_pool_start(g->pool), 0);
	assert_int_equal(g->data->starts, 1);
	assert_int_equal(g->metadata->starts, 1);
	assert_int_equal(sh[0]->starts, 1);
	v[2] = ground_create(g, 3, BLOCK, o[1]);
	assert_int_equal(sh[1]->starts, 1);
	thin_volume_close(v[2]);
	v[2] = ground_volume(g, 3, BLOCK, o[1]);
	assert_int_equal(sh[1]->starts, 1);
	for (int i = 0; i < 3; i++)
		thin_volume_close(v[i]);
	for (int i = 0; i < 2; i++) {
		thin_origin_unref(o[i]);
		shelf_free(sh[i]);
	}
	ground_free(g);
}

/* --- an origin that does not answer --------------------------------------- */

static int read_one(void *ctx)
{
	uint8_t byte;

	return thin_volume_read(ctx, &byte, 5, 1);
}

static int write_one(void *ctx)
{
	return put(ctx, 5, 1, 1, 0);
}

/* More commits that free something than the reaper has slots. */
static void free_often(struct thin_volume *v)
{
	for (unsigned i = 0; i < 3 * THIN_REAP_SLOTS; i++) {
		assert_int_equal(put(v, 0, 4 * BLOCK, 1, THIN_FUA), 0);
		assert_int_equal(thin_volume_trim(v, 0, 4 * BLOCK, THIN_FUA), 0);
	}
}

/*
 * While somebody waits for an origin, others' commits go on, and what they
 * free can be used again: the pool has six blocks, and needs dozens.
 */
static void others_go_on(int (*fn)(void *ctx))
{
	struct ground *g = ground_new(6);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 2 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, o);
	struct thin_volume *other = ground_create(g, 2, 8 * BLOCK, NULL);
	struct door door;
	struct call c;

	door_init(&door);
	sh->on_read = door_of_flushes;
	sh->on_read_ctx = &door;
	door_set(&door, true);
	call_start(&c, fn, v);
	WAIT_FOR(door_waiting(&door) == 1);
	free_often(other);
	assert_false(c.done);
	door_set(&door, false);
	assert_int_equal(call_join(&c), 0);
	thin_volume_close(other);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_reader_waits_alone(void **state)
{
	(void)state;
	others_go_on(read_one);
}

static void test_writer_waits_alone(void **state)
{
	(void)state;
	others_go_on(write_one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reader_waits_alone),
		cmocka_unit_test(test_writer_waits_alone),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_can_not_tell),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_looked_up),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_watched),
		cmocka_unit_test(test_start),
	};

	return cmocka_run_group_tests_name("origin", tests, NULL, NULL);
}
