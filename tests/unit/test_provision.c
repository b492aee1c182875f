/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"

#include "seeded.h"

#define LARGE (UINT64_C(8) << 20)

/* Two volumes: what was written to one must not be seen in the other (I5). */
static void test_no_stale_data(void **state)
{
	struct ground *g = ground_new(4);
	struct thin_volume *a = ground_create(g, 1, 4 * BLOCK, NULL);
	struct thin_volume *b = ground_create(g, 2, 4 * BLOCK, NULL);

	(void)state;
	assert_int_equal(put(a, 0, 4 * BLOCK, 0xaa, 0), 0);
	assert_int_equal(thin_volume_trim(a, 0, 4 * BLOCK, THIN_FUA), 0);
	assert_int_equal(put(b, 5000, 1, 1, 0), 0);
	expect(b, 0, 5000, 0);
	expect(b, 5001, BLOCK - 5001, 0);
	assert_int_equal(put(b, 2 * BLOCK - 1, 2, 2, 0), 0);
	expect(b, BLOCK, BLOCK - 1, 0);
	expect(b, 2 * BLOCK + 1, BLOCK - 1, 0);
	thin_volume_close(a);
	thin_volume_close(b);
	ground_free(g);
}

/* 7.4 to 7.6, with 7.5 done better: the block around the origin's end. */
static void test_over_origin(void **state)
{
	const uint64_t end = 2 * BLOCK + 1000;
	const uint64_t at[] = {0,
			       BLOCK + 5,
			       2 * BLOCK,
			       2 * BLOCK + 999,
			       2 * BLOCK + 1000,
			       3 * BLOCK - 1,
			       3 * BLOCK};
	struct ground *g = ground_new(64);
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, end);

	(void)state;
	for (uint32_t i = 0; i < ARRAY_LEN(at); i++) {
		struct thin_volume *v = ground_create(g, i, 4 * BLOCK, o);

		/* The data holds garbage where it was never used. */
		assert_int_equal(
			shelf_punch(&g->data->lent, ground_used(g) * BLOCK, BLOCK), 0);
		assert_int_equal(put(v, at[i], 1, 0, 0), 0);
		if (at[i] < end) {
			expect_origin(v, 0, at[i]);
			expect_origin(v, at[i] + 1, end - at[i] - 1);
		} else {
			expect_origin(v, 0, end);
		}
		expect(v, end, 4 * BLOCK - end, 0);
		thin_volume_close(v);
	}
	assert_int_equal(ground_used(g), ARRAY_LEN(at));
	thin_origin_unref(o);
	shelf_free(sh);
	ground_free(g);
}

static void test_break_sharing(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, NULL), *s;
	struct thin_snap_pair pair = {1, 2};

	(void)state;
	assert_int_equal(put(v, 0, 2 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_pool_snapshot(g->pool, &pair, 1), 0);
	s = ground_volume(g, 2, 2 * BLOCK, NULL);
	assert_int_equal(put(v, 100, 50, 2, 0), 0);
	assert_int_equal(put(s, BLOCK + 100, 50, 3, 0), 0);
	assert_int_equal(ground_used(g), 4);
	expect(v, 0, 100, 1);
	expect(v, 100, 50, 2);
	expect(v, 150, 2 * BLOCK - 150, 1);
	expect(s, 0, BLOCK + 100, 1);
	expect(s, BLOCK + 100, 50, 3);
	expect(s, BLOCK + 150, BLOCK - 150, 1);
	thin_volume_close(s);
	thin_volume_close(v);
	ground_free(g);
}

/* A block larger than a buffer: same bytes, by another way. */
static void check_large(struct thin_volume *v, const uint8_t *want)
{
	uint8_t *buf = malloc(2 * LARGE);

	assert_non_null(buf);
	assert_int_equal(thin_volume_read(v, buf, 0, 2 * LARGE), 0);
	for (uint64_t i = 0; i < 2 * LARGE; i++)
		if (buf[i] != want[i])
			fail_msg("byte %d is %02x, not %02x", (int)i, buf[i], want[i]);
	free(buf);
}

static void write_large(struct thin_volume *v, uint8_t *want, uint64_t offset,
			uint64_t len, uint8_t byte)
{
	memset(want + offset, byte, len);
	assert_int_equal(put(v, offset, len, byte, 0), 0);
	check_large(v, want);
}

static void zero_large(struct thin_volume *v, uint8_t *want, uint64_t offset,
		       uint64_t len)
{
	memset(want + offset, 0, len);
	assert_int_equal(thin_volume_zero(v, offset, len, 0), 0);
	check_large(v, want);
}

static void test_large_blocks(void **state)
{
	struct ground *g = ground_make(LARGE, 8, 1024);
	uint64_t end = LARGE + 12345;
	struct shelf *sh;
	struct thin_origin *o = ground_origin(&sh, end);
	uint8_t *want = calloc(2, LARGE);
	struct thin_snap_pair pairs[] = {{1, 2}, {1, 3}};
	struct thin_volume *v, *plain;

	(void)state;
	ground_open(g);
	assert_int_equal(shelf_punch(&g->data->lent, 0, 8 * LARGE), 0);
	for (uint64_t i = 0; i < end; i++)
		want[i] = origin_byte(i);
	v = ground_create(g, 1, 2 * LARGE, o);
	write_large(v, want, LARGE - 700, 1000, 0x11); /* both blocks, from the origin */
	assert_int_equal(thin_pool_snapshot(g->pool, &pairs[0], 1), 0);
	write_large(v, want, 5000000, 2000000, 0x22); /* from the shared block */
	assert_int_equal(thin_pool_snapshot(g->pool, &pairs[1], 1), 0);
	zero_large(v, want, LARGE + 100, 3000000);
	memset(want, 0, 2 * LARGE);
	plain = ground_create(g, 4, 2 * LARGE, NULL);
	write_large(plain, want, LARGE - 1, 2, 0x33); /* from nothing */
	thin_volume_close(plain);
	thin_volume_close(v);
	thin_origin_unref(o);
	shelf_free(sh);
	free(want);
	ground_free(g);
}

/* No buffer of a whole block's size is ever asked for. */
static void test_huge_block(void **state)
{
	struct ground *g = ground_make(THIN_BLOCK_SIZE_MAX, 2, 64);
	struct thin_volume *v;

	(void)state;
	ground_open(g);
	assert_int_equal(g->pool->buffers.len, THIN_PIECE);
	v = ground_create(g, 1, 2 * THIN_BLOCK_SIZE_MAX, NULL);
	assert_int_equal(put(v, 123456789, 5, 1, 0), 0);
	assert_int_equal(g->data->write_bytes, 5);
	expect(v, 123456788, 1, 0);
	expect(v, 123456789, 5, 1);
	expect(v, 123456794, 1, 0);
	thin_volume_close(v);
	ground_free(g);
}

/* Those who wait for a range find the block done, and go in place. */
static void test_same_block(void **state)
{
	struct ground *g = ground_new(8);
	struct thin_volume *v = ground_create(g, 1, 2 * BLOCK, NULL);
	struct write_call w[4];
	struct door door;

	(void)state;
	door_init(&door);
	door_set(&door, true);
	g->data->on_write_ctx = &door;
	g->data->on_write = door_of_writes;
	for (size_t i = 0; i < ARRAY_LEN(w); i++) {
		w[i] = (struct write_call){.v = v,
					   .offset = 1000 * i,
					   .len = 1000,
					   .byte = (uint8_t)(i + 1)};
		write_start(&w[i]);
	}
	WAIT_FOR(door_waiting(&door) == 1);
	usleep(5000);
	assert_int_equal(door_waiting(&door), 1);
	expect(v, 0, BLOCK, 0); /* nothing is seen of it before it is whole */
	door_set(&door, false);
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		assert_int_equal(call_join(&w[i].call), 0);
	assert_int_equal(ground_used(g), 1);
	for (size_t i = 0; i < ARRAY_LEN(w); i++)
		expect(v, 1000 * i, 1000, (uint8_t)(i + 1));
	assert_int_equal(g->data->writes, ARRAY_LEN(w));
	thin_volume_close(v);
	ground_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_stale_data), cmocka_unit_test(test_over_origin),
		cmocka_unit_test(test_break_sharing), cmocka_unit_test(test_large_blocks),
		cmocka_unit_test(test_huge_block),    cmocka_unit_test(test_same_block),
	};

	return cmocka_run_group_tests_name("provision", tests, NULL, NULL);
}
