/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

static void drop_origin(struct thin_volume *v)
{
	struct thin_dropped d;

	thin_volume_drop_origin(v, &d);
	thin_dropped_let_go(&d);
}

static void test_copies_what_is_missing(void **state)
{
	struct ground *g = ground_new(64);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 30 * BLOCK + 10);
	struct thin_volume *v = ground_create(g, 1, 40 * BLOCK, o);

	(void)state;
	assert_int_equal(shelf_punch(&g->data->lent, 0, 64 * BLOCK), 0);
	assert_int_equal(put(v, 3 * BLOCK, BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_hydrate(v, 2 * BLOCK + 5, BLOCK), 0);
	assert_int_equal(ground_used(g), 2); /* blocks 2 and 3 */
	assert_int_equal(thin_volume_hydrate(v, 0, 40 * BLOCK), 0);
	assert_int_equal(ground_used(g), 31); /* not what is past its end */
	assert_int_equal(thin_volume_hydrate(v, 0, 40 * BLOCK), 0);
	assert_int_equal(ground_used(g), 31);

	/* Not needed any more. */
	sh->fail_read = -EIO;
	drop_origin(v);
	assert_int_equal(sh->closes, 0);
	thin_origin_unref(o);
	assert_int_equal(sh->closes, 1);
	expect_origin(v, 0, 3 * BLOCK);
	expect(v, 3 * BLOCK, BLOCK, 1);
	expect_origin(v, 4 * BLOCK, 26 * BLOCK + 10);
	expect(v, 30 * BLOCK + 10, 10 * BLOCK - 10, 0);
	thin_volume_close(v);
	v = ground_volume(g, 1, 40 * BLOCK, NULL);
	expect_origin(v, 0, BLOCK);
	thin_volume_close(v);
	shelf_free(sh);
	ground_free(g);
}

static void test_drop(void **state)
{
	struct ground *g = ground_new(64);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 4 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, o), *w;

	(void)state;
	w = ground_volume(g, 1, 8 * BLOCK, o);
	assert_int_equal(thin_volume_hydrate(v, BLOCK, 1), 0);
	drop_origin(v);
	drop_origin(w);
	expect(w, 0, BLOCK, 0);
	expect_origin(w, BLOCK, BLOCK);
	expect(w, 2 * BLOCK, 6 * BLOCK, 0);
	assert_int_equal(put(w, 10, 1, 1, 0), 0);
	expect(w, 11, BLOCK - 11, 0);
	thin_volume_close(v);
	thin_volume_close(w);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

/* Readers that hold the origin are waited for. */
struct reader {
	struct thin_volume *v;
	atomic_bool stop;
};

static int read_often(void *ctx)
{
	struct reader *rd = ctx;
	uint8_t buf[512];

	while (!rd->stop) {
		int r = thin_volume_read(rd->v, buf, 3 * BLOCK, sizeof(buf));
		if (r || (buf[0] && buf[0] != origin_byte(3 * BLOCK)))
			return -1;
	}
	return 0;
}

static void test_drop_while_read(void **state)
{
	struct ground *g = ground_new(64);

	(void)state;
	assert_int_equal(thin_pool_create_thin(g->pool, 1), 0);
	for (int i = 0; i < 20; i++) {
		struct shelf *sh;
		struct thin_origin *o = ground_origin(&sh, 4 * BLOCK);
		struct reader rd = {.v = ground_volume(g, 1, 8 * BLOCK, o)};
		struct call c;

		thin_origin_unref(o); /* the volume's is the last */
		call_start(&c, read_often, &rd);
		usleep(1000);
		drop_origin(rd.v);
		assert_int_equal(sh->closes, 1);
		shelf_free(sh);
		rd.stop = true;
		assert_int_equal(call_join(&c), 0);
		thin_volume_close(rd.v);
	}
	ground_free(g);
}

static void test_no_room(void **state)
{
	struct ground *g = ground_new(4);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, 8 * BLOCK);
	struct thin_volume *v = ground_create(g, 1, 8 * BLOCK, o);

	(void)state;
	assert_int_equal(thin_volume_hydrate(v, 0, 8 * BLOCK), -ENOSPC);
	assert_int_equal(ground_used(g), 0);
	assert_int_equal(thin_volume_hydrate(v, 0, 4 * BLOCK), 0);
	assert_int_equal(thin_volume_hydrate(v, 0, 8 * BLOCK + 1), -ERANGE);
	expect_origin(v, 0, 8 * BLOCK);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies_what_is_missing),
		cmocka_unit_test(test_drop),
		cmocka_unit_test(test_drop_while_read),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests_name("hydrate", tests, NULL, NULL);
}
