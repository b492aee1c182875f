/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

/* Extents as "offset+len type", in units of 100 bytes. */
struct text {
	char text[1000];
	unsigned stop_after, nr;
};

static int note(void *ctx, uint64_t offset, uint64_t len, enum thin_map_type type)
{
	struct text *t = ctx;
	size_t n = strlen(t->text);

	assert_int_equal(offset % 100, 0);
	assert_int_equal(len % 100, 0);
	snprintf(t->text + n, sizeof(t->text) - n, "%s%d+%d %c", n ? ", " : "",
		 (int)(offset / 100), (int)(len / 100), "dsoz"[type]);
	return ++t->nr == t->stop_after ? 42 : 0;
}

static void check(struct thin_volume *v, uint64_t offset, uint64_t len, const char *want)
{
	struct text t = {.text = ""};

	assert_int_equal(thin_volume_map(v, offset * 100, len * 100, note, &t), 0);
	assert_string_equal(t.text, want);
}

/* Blocks of 12800 bytes, 128 units; a size that is no multiple of a page. */
static struct ground *ground_with(struct thin_volume **ret, struct thin_origin *o)
{
	struct ground *g = ground_make(12800, 64, 1024);

	ground_open(g);
	*ret = ground_create(g, 1, 20 * 12800, o);
	return g;
}

static void test_types(void **state)
{
	struct thin_volume *v;
	struct ground *g = ground_with(&v, NULL);
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	check(v, 0, 2560, "0+2560 z");
	assert_int_equal(put(v, 12800, 2 * 12800, 1, 0), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	assert_int_equal(put(v, 2 * 12800, 3 * 12800, 1, 0), 0);
	check(v, 0, 2560, "0+128 z, 128+128 s, 256+384 d, 640+1920 z");
	check(v, 200, 100, "200+56 s, 256+44 d");
	check(v, 300, 1, "300+1 d");
	check(v, 255, 2, "255+1 s, 256+1 d");
	thin_volume_close(v);
	ground_free(g);
}

/* What is data, though not in the pool: the origin's; its holes are holes. */
static void test_origin(void **state)
{
	struct shelf *sh = shelf_new(4096 * 25);
	uint8_t page[4096];
	struct thin_origin *o;
	struct text t = {.text = ""};
	struct thin_volume *v;
	struct ground *g;

	(void)state;
	memset(page, 1, sizeof(page));
	/* 102400 bytes: 1024 units; data in [0, 4096) and the last two pages. */
	assert_int_equal(thin_storage_write_at(sh->memory, 0, page, 4096), 0);
	assert_int_equal(thin_storage_write_at(sh->memory, 23 * 4096, page, 4096), 0);
	assert_int_equal(thin_storage_write_at(sh->memory, 24 * 4096, page, 4096), 0);
	assert_int_equal(thin_origin_open(&sh->lent, "base", NULL, &o, NULL), 0);
	g = ground_with(&v, o);
	check(v, 0, 40, "0+40 o");
	check(v, 100, 500, "100+500 z");
	check(v, 1000, 100, "1000+24 o, 1024+76 z");
	assert_int_equal(put(v, 12800, 12800, 1, 0), 0);
	check(v, 100, 500, "100+28 z, 128+128 d, 256+344 z");
	assert_int_equal(put(v, 8 * 12800, 1, 1, 0), 0); /* past its end */
	check(v, 1000, 200, "1000+24 o, 1024+128 d, 1152+48 z");

	/* Who can't tell has data. */
	sh->fail_extents = -EIO;
	check(v, 100, 1000, "100+28 o, 128+128 d, 256+768 o, 1024+76 d");
	sh->fail_extents = 0;

	/* Who has changed has nothing to say. */
	sh->identity = (struct thin_identity){.size = 1};
	thin_pool_watch(g->pool);
	assert_int_equal(thin_volume_map(v, 0, 100, note, &t), -ESTALE);
	check(v, 128, 128, "128+128 d");
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_stop(void **state)
{
	struct thin_volume *v;
	struct ground *g = ground_with(&v, NULL);

	(void)state;
	for (uint64_t b = 0; b < 20; b += 2)
		assert_int_equal(put(v, b * 12800, 12800, 1, 0), 0);
	for (unsigned n = 1; n <= 20; n++) {
		struct text t = {.stop_after = n};

		assert_int_equal(thin_volume_map(v, 0, 20 * 12800, note, &t), 42);
		assert_int_equal(t.nr, n);
	}
	thin_volume_close(v);
	ground_free(g);
}

/* The origin's extents stop it too. */
static void test_stop_in_origin(void **state)
{
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 2 * 12800);
	struct thin_volume *v;
	struct ground *g = ground_with(&v, o);
	struct text t = {.stop_after = 1};

	(void)state;
	assert_int_equal(thin_volume_map(v, 0, 3 * 12800, note, &t), 42);
	assert_int_equal(t.nr, 1);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_range(void **state)
{
	struct thin_volume *v;
	struct ground *g = ground_with(&v, NULL);
	struct text t = {.text = ""};

	(void)state;
	assert_int_equal(thin_volume_map(v, 0, 20 * 12800 + 1, note, &t), -ERANGE);
	assert_int_equal(thin_volume_map(v, 20 * 12800, 0, note, &t), 0);
	assert_int_equal(t.nr, 0);
	thin_volume_close(v);
	ground_free(g);
}

/* More runs than are looked up at a time are still joined. */
static void test_many(void **state)
{
	struct thin_volume *v;
	struct ground *g = ground_make(4096, 512, 1024);
	struct text t = {.text = ""};

	(void)state;
	ground_open(g);
	v = ground_create(g, 1, 400 * 4096, NULL);
	for (uint64_t b = 400; b-- > 0;) /* no two are neighbours in the data */
		assert_int_equal(put(v, b * 4096, 4096, 1, 0), 0);
	assert_int_equal(thin_volume_map(v, 0, 400 * 4096, note, &t), 0);
	assert_string_equal(t.text, "0+16384 d");
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types), cmocka_unit_test(test_origin),
		cmocka_unit_test(test_stop),  cmocka_unit_test(test_stop_in_origin),
		cmocka_unit_test(test_range), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
