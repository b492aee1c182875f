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

/* --- and those who exclude requests ------------------------------------------ */

/* Block 0 of the volume is being written in part, or read, and the origin is silent. */
struct silence {
	struct ground *g;
	struct shelf *sh;
	struct thin_origin *o;
	struct thin_volume *v; /* device 1 */
	struct door door;
	struct call c;
};

static void silence_begin(struct silence *s, struct ground *g, int (*fn)(void *ctx))
{
	uint64_t bs = g->pool->block_size;

	s->g = g;
	s->o = ground_origin(&s->sh, 3 * bs);
	s->v = ground_create(g, 1, 3 * bs, s->o);
	door_init(&s->door);
	s->sh->on_read = door_of_flushes;
	s->sh->on_read_ctx = &s->door;
	door_set(&s->door, true);
	call_start(&s->c, fn, s->v);
	WAIT_FOR(door_waiting(&s->door) == 1);
}

static void silence_end(struct silence *s)
{
	assert_false(s->c.done);
	door_set(&s->door, false);
	assert_int_equal(call_join(&s->c), 0);
}

static void silence_free(struct silence *s)
{
	thin_volume_close(s->v);
	thin_origin_unref(s->o);
	shelf_free(s->sh);
	ground_free(s->g);
}

/* What shuts the gate of a volume. */
static int shut_often(void *ctx)
{
	const struct thin_snap_pair pair = {.origin = 1, .snap = 2};
	struct silence *s = ctx;
	uint64_t bs = s->g->pool->block_size;
	struct thin_volume *w;

	assert_int_equal(thin_pool_snapshot(s->g->pool, &pair, 1), 0);
	w = ground_volume(s->g, 1, 4 * bs, s->o);
	assert_int_equal(thin_pool_set_reserve(s->g->pool, 1, bs, true), 0);
	assert_int_equal(put(w, 2 * bs, bs, 7, THIN_FUA), 0);
	assert_int_equal(thin_volume_trim(w, 2 * bs, bs, 0), 0);
	assert_int_equal(thin_pool_truncate(s->g->pool, 1, 3 * bs), 0);
	thin_volume_close(w);
	return 0;
}

/* It does not wait for an origin. */
static void exclude(struct silence *s)
{
	struct call c;

	call_start(&c, shut_often, s);
	WAIT_FOR(c.done);
	assert_int_equal(call_join(&c), 0);
}

/* The write is in none of it, or in all. */
static void expect_written(struct silence *s, uint64_t bs)
{
	struct thin_volume *w = ground_volume(s->g, 2, 3 * bs, s->o);

	expect_origin(w, 0, 3 * bs);
	thin_volume_close(w);
	expect_origin(s->v, 0, 5);
	expect(s->v, 5, 1, 1);
	expect_origin(s->v, 6, 3 * bs - 6);
}

static void test_gate_is_free(void **state)
{
	struct silence s;

	(void)state;
	silence_begin(&s, ground_new(16), write_one);
	exclude(&s);
	silence_end(&s);
	expect_written(&s, BLOCK);
	silence_free(&s);
}

/* Blocks that fit into no buffer. */
static void test_gate_is_free_of_large_blocks(void **state)
{
	struct ground *g = ground_make(4 * THIN_PIECE, 16, 1024);
	struct silence s;

	(void)state;
	ground_open(g);
	silence_begin(&s, g, write_one);
	exclude(&s);
	silence_end(&s);
	expect_written(&s, 4 * THIN_PIECE);
	silence_free(&s);
}

/* A request that does not fit takes none of the room: also of what goes before it. */
static void test_large_blocks_without_room(void **state)
{
	const uint64_t bs = 4 * THIN_PIECE;
	struct ground *g = ground_make(bs, 2, 1024);
	struct thin_volume *v;
	struct thin_origin *o;
	struct shelf *sh;

	(void)state;
	ground_open(g);
	o = ground_origin(&sh, 3 * bs);
	v = ground_create(g, 1, 3 * bs, o);
	assert_int_equal(put(v, 5, 3 * bs - 10, 1, 0), -ENOSPC);
	assert_int_equal(ground_info(g).data_free, 2);
	expect_origin(v, 0, 3 * bs);
	assert_int_equal(put(v, 5, 2 * bs - 10, 1, 0), 0);
	expect_origin(v, 0, 5);
	expect(v, 5, 2 * bs - 10, 1);
	expect_origin(v, 2 * bs - 5, bs + 5);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static int hydrate_all(void *ctx)
{
	return thin_volume_hydrate(ctx, 0, 3 * BLOCK);
}

/* The snapshot sees no difference; and with the reserve it begins again. */
static void test_gate_is_free_of_hydration(void **state)
{
	struct silence s;
	struct thin_volume *w;

	(void)state;
	silence_begin(&s, ground_new(16), hydrate_all);
	exclude(&s);
	silence_end(&s);
	w = ground_volume(s.g, 2, 3 * BLOCK, s.o);
	expect_origin(w, 0, 3 * BLOCK);
	thin_volume_close(w);
	s.sh->fail_read = -EIO;
	expect_origin(s.v, 0, 3 * BLOCK);
	assert_int_equal(ground_used(s.g), 3);
	silence_free(&s);
}

/* What others write while it is being copied stays, and the room goes back. */
static void test_copy_gives_way(void **state)
{
	struct silence s;

	(void)state;
	silence_begin(&s, ground_new(4), hydrate_all);
	assert_int_equal(put(s.v, BLOCK, BLOCK, 9, 0), 0);
	silence_end(&s);
	s.sh->fail_read = -EIO;
	expect_origin(s.v, 0, BLOCK);
	expect(s.v, BLOCK, BLOCK, 9);
	expect_origin(s.v, 2 * BLOCK, BLOCK);
	assert_int_equal(ground_used(s.g), 3);
	assert_int_equal(ground_info(s.g).data_free, 1);
	silence_free(&s);
}

/* Where it ends to show while it is being read, there are zeros. */
static void shown_less(int (*fn)(void *ctx))
{
	struct silence s;

	silence_begin(&s, ground_new(16), fn);
	assert_int_equal(thin_pool_zero_tail(s.g->pool, 1, 100, 100), 0);
	silence_end(&s);
	expect(s.v, 100, 3 * BLOCK - 100, 0);
	expect_origin(s.v, 6, 94);
	silence_free(&s);
}

static void test_shown_less(void **state)
{
	(void)state;
	shown_less(write_one);
	shown_less(hydrate_all);
}

/* It is dropped at once, and goes when the last one has his answer. */
static void test_dropped_while_silent(void **state)
{
	struct thin_dropped d;
	struct silence s;

	(void)state;
	silence_begin(&s, ground_new(16), read_one);
	assert_int_equal(put(s.v, 0, 3 * BLOCK, 1, 0), 0);
	thin_volume_drop_origin(s.v, &d);
	expect(s.v, 0, 3 * BLOCK, 1);
	thin_origin_unref(thin_steal(s.o));
	assert_int_equal(s.sh->closes, 0);
	silence_end(&s);
	thin_volume_close(thin_steal(s.v));
	thin_dropped_let_go(&d);
	assert_int_equal(s.sh->closes, 1);
	silence_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reader_waits_alone),
		cmocka_unit_test(test_writer_waits_alone),
		cmocka_unit_test(test_gate_is_free),
		cmocka_unit_test(test_gate_is_free_of_large_blocks),
		cmocka_unit_test(test_large_blocks_without_room),
		cmocka_unit_test(test_gate_is_free_of_hydration),
		cmocka_unit_test(test_copy_gives_way),
		cmocka_unit_test(test_shown_less),
		cmocka_unit_test(test_dropped_while_silent),
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
