/* SPDX-License-Identifier: BSD-3-Clause */
#include "dm_thin.h"

/*
 * External origins, as dm-thin's users know them (docs/dm-thin.md, 7), or
 * better where that is an accident of the kernel.
 */

struct over {
	struct ground *g;
	struct shelf *sh;
	struct thin_origin *o;
	struct thin_volume *v; /* device 1 */
	uint64_t end;	       /* of the origin */
};

static struct over over_new(uint64_t data_blocks, uint64_t size, uint64_t end)
{
	struct over x = {.g = ground_stale(data_blocks), .end = end};

	x.o = ground_origin(&x.sh, end);
	x.v = ground_create(x.g, 1, size, x.o);
	return x;
}

static void over_free(struct over *x)
{
	thin_volume_close(x->v);
	thin_origin_unref(x->o);
	shelf_free(x->sh);
	ground_free(x->g);
}

/* One read of [@from, @to): the origin's below @end, then zeros. */
static void expect_below(struct thin_volume *v, uint64_t from, uint64_t to, uint64_t end)
{
	uint8_t *buf = malloc(to - from);

	assert_non_null(buf);
	memset(buf, 0xdd, to - from);
	assert_int_equal(thin_volume_read(v, buf, from, to - from), 0);
	for (uint64_t at = from; at < to; at++)
		if (buf[at - from] != (at < end ? origin_byte(at) : 0))
			fail_msg("byte %d of an origin of %d is %02x", (int)at, (int)end,
				 buf[at - from]);
	free(buf);
}

#define LAST (4 * BLOCK) /* where the origin's last, short block begins */

static const uint64_t ends[] = {LAST + 8192, LAST + 512, LAST + 1, LAST};

/* 7.1 to 7.3 */
static void reads_around_the_end(void **state)
{
	static const int64_t near[] = {-513, -512, -2, -1, 0, 1, 2, 511, 512, 8192};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		struct over x = over_new(8, 8 * BLOCK, ends[i]);

		for (size_t n = 0; n < ARRAY_LEN(near); n++) {
			uint64_t at = ends[i] + (uint64_t)near[n];

			expect_below(x.v, at, at + 1, x.end);
			expect_below(x.v, at, at + 1024, x.end);
			expect_below(x.v, BLOCK, at, x.end);
			expect_below(x.v, at, 8 * BLOCK, x.end);
		}
		assert_int_equal(ground_used(x.g), 0);
		over_free(&x);
	}
}

/* 7.4 to 7.6: the rest of a block that is written in part. */
static void partial_writes_around_the_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		const uint64_t at[] = {0,	    LAST - 1, LAST,
				       ends[i] - 1, ends[i],  LAST + BLOCK - 1,
				       LAST + BLOCK};

		for (size_t n = 0; n < ARRAY_LEN(at); n++) {
			struct over x = over_new(2, 8 * BLOCK, ends[i]);

			assert_int_equal(put(x.v, at[n], 1, 0xab, 0), 0);
			if (at[n])
				expect_below(x.v, 0, at[n], x.end);
			expect(x.v, at[n], 1, 0xab);
			expect_below(x.v, at[n] + 1, 8 * BLOCK, x.end);
			assert_int_equal(ground_used(x.g), 1);
			over_free(&x);
		}
	}
}

/* 7.7: also where the block lies across the origin's end. */
static void whole_write_reads_no_origin(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);

	(void)state;
	x.sh->fail_read = -EIO;
	assert_int_equal(put(x.v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(put(x.v, LAST, BLOCK, 2, 0), 0);
	assert_int_equal(thin_volume_zero(x.v, BLOCK, BLOCK, 0), 0);
	assert_int_equal(x.sh->reads, 0);
	assert_int_equal(put(x.v, 2 * BLOCK, BLOCK - 1, 1, 0), -EIO);
	expect(x.v, 0, BLOCK, 1);
	expect(x.v, BLOCK, BLOCK, 0);
	expect(x.v, LAST, BLOCK, 2);
	over_free(&x);
}

/* 7.8 */
static void trim_shows_the_origin_again(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);

	(void)state;
	assert_int_equal(put(x.v, 0, 8 * BLOCK, 1, 0), 0);
	assert_int_equal(thin_volume_trim(x.v, BLOCK, BLOCK, 0), 0);
	expect(x.v, 0, BLOCK, 1);
	expect_below(x.v, BLOCK, 2 * BLOCK, x.end);
	assert_int_equal(thin_volume_trim(x.v, 0, 8 * BLOCK, THIN_FUA), 0);
	expect_below(x.v, 0, 8 * BLOCK, x.end);
	over_free(&x);
}

/* 10: zeros, unlike a trim; with a hole only where the origin does not show. */
static void zeroing_never_shows_the_origin(void **state)
{
	struct over x = over_new(16, 8 * BLOCK, LAST + 512);

	(void)state;
	for (unsigned mapped = 0; mapped < 2; mapped++) {
		if (mapped)
			assert_int_equal(put(x.v, 0, 8 * BLOCK, 1, 0), 0);
		assert_int_equal(thin_volume_zero(x.v, 0, 8 * BLOCK, THIN_MAY_UNMAP), 0);
		expect(x.v, 0, 8 * BLOCK, 0);
		assert_int_equal(mapped_blocks(x.v), 5);
	}
	over_free(&x);
}

/* 7.9: not even a change. */
static void trim_of_nothing_is_nothing(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);

	(void)state;
	assert_int_equal(thin_volume_trim(x.v, 0, 8 * BLOCK, 0), 0);
	assert_false(ground_info(x.g).dirty);
	expect_below(x.v, 0, 8 * BLOCK, x.end);
	over_free(&x);
}

/* 7.10: what a snapshot shows elsewhere is up to the origin it is opened with. */
static void snapshot_with_and_without_origin(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);
	struct shelf *sh;
	struct thin_origin *shorter = ground_origin(&sh, 2 * BLOCK + 1);
	struct thin_origin *origins[] = {NULL, x.o, shorter};

	(void)state;
	assert_int_equal(put(x.v, BLOCK, BLOCK, 1, 0), 0);
	snapshot(x.g, 1, 2);
	for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
		uint64_t end = origins[i] ? thin_origin_size(origins[i]) : 0;
		struct thin_volume *s = ground_volume(x.g, 2, 8 * BLOCK, origins[i]);

		expect_below(s, 0, BLOCK, end);
		expect(s, BLOCK, BLOCK, 1);
		expect_below(s, 2 * BLOCK, 8 * BLOCK, end);
		thin_volume_close(s);
	}
	thin_origin_unref(shorter);
	shelf_free(sh);
	over_free(&x);
}

/* 7.11 */
static void either_side_copies_for_itself(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);
	struct thin_volume *s;

	(void)state;
	snapshot(x.g, 1, 2);
	s = ground_volume(x.g, 2, 8 * BLOCK, x.o);
	assert_int_equal(put(x.v, 10, 1, 1, 0), 0);
	expect_below(s, 0, 8 * BLOCK, x.end);
	assert_int_equal(put(s, LAST + 512, 1, 2, 0), 0);
	expect_below(x.v, LAST, 8 * BLOCK, x.end);
	assert_int_equal(put(s, 10, 1, 3, 0), 0);
	assert_int_equal(ground_used(x.g), 3);
	expect(x.v, 10, 1, 1);
	expect(s, 10, 1, 3);
	expect_below(x.v, 11, BLOCK, x.end);
	expect_below(s, 11, LAST + 512, x.end);
	thin_volume_close(s);
	over_free(&x);
}

/* 7.12: smaller, equal, larger; at a border of blocks or not. */
static void origins_of_any_size(void **state)
{
	static const uint64_t sizes[] = {1, 4 * BLOCK, 4 * BLOCK + 777, 8 * BLOCK};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (size_t n = 0; n < ARRAY_LEN(sizes); n++) {
			struct over x = over_new(9, sizes[n], sizes[i]);

			expect_below(x.v, 0, sizes[n], x.end);
			assert_int_equal(put(x.v, sizes[n] - 1, 1, 0xab, 0), 0);
			expect(x.v, sizes[n] - 1, 1, 0xab);
			if (sizes[n] > 1)
				expect_below(x.v, 0, sizes[n] - 1, x.end);
			over_free(&x);
		}
	}
}

/* 7.13, done better: the old size until it is noticed, then nothing of it. */
static void grown_origin_is_refused(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);
	uint8_t more[1024], byte;

	(void)state;
	memset(more, 0xcc, sizeof(more));
	assert_int_equal(thin_storage_resize(x.sh->memory, LAST + 2048), 0);
	assert_int_equal(thin_storage_write_at(x.sh->memory, LAST + 512, more, 1024), 0);
	expect_below(x.v, 0, 8 * BLOCK, x.end);
	assert_int_equal(put(x.v, LAST, 1, 0xab, 0), 0);
	expect_below(x.v, LAST + 1, 8 * BLOCK, x.end);
	thin_pool_watch(x.g->pool);
	assert_int_equal(x.g->events[THIN_EVENT_ORIGIN_CHANGED], 1);
	assert_int_equal(thin_volume_read(x.v, &byte, 0, 1), -ESTALE);
	assert_int_equal(put(x.v, 0, 1, 1, 0), -ESTALE);
	expect_below(x.v, LAST + 1, 8 * BLOCK, x.end); /* has its own block */
	over_free(&x);
}

/* 7.14: an error for what is gone, and no block for it. */
static void shrunk_origin_is_refused(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);
	uint8_t byte;

	(void)state;
	assert_int_equal(thin_storage_resize(x.sh->memory, 2 * BLOCK), 0);
	expect_below(x.v, 0, 2 * BLOCK, x.end);
	assert_int_equal(thin_volume_read(x.v, &byte, 2 * BLOCK, 1), -EIO);
	assert_int_equal(put(x.v, LAST, 1, 1, 0), -EIO);
	assert_int_equal(ground_info(x.g).data_free, 8);
	thin_pool_watch(x.g->pool);
	assert_int_equal(thin_volume_read(x.v, &byte, 0, 1), -ESTALE);
	assert_int_equal(put(x.v, LAST, 1, 1, 0), -ESTALE);
	expect(x.v, LAST + 512, BLOCK, 0);
	assert_int_equal(ground_info(x.g).data_free, 8);
	over_free(&x);
}

/* 7.17, done better: zeros past the end in every mode that reads. */
static void zeros_past_the_end_in_every_mode(void **state)
{
	struct over x = over_new(1, 8 * BLOCK, LAST + 512);

	(void)state;
	assert_int_equal(put(x.v, 0, BLOCK, 1, 0), 0);
	assert_int_equal(put(x.v, BLOCK, 1, 1, 0), -ENOSPC);
	assert_int_equal(ground_mode(x.g), THIN_MODE_OUT_OF_DATA);
	expect_below(x.v, BLOCK, 8 * BLOCK, x.end);
	for (enum thin_pool_mode m = THIN_MODE_OUT_OF_METADATA; m < THIN_MODE_FAIL; m++) {
		thin_pool_set_mode(x.g->pool, m);
		assert_int_equal(ground_mode(x.g), m);
		expect_below(x.v, BLOCK, 8 * BLOCK, x.end);
		expect_below(x.v, LAST + 511, LAST + 513, x.end);
	}
	thin_volume_close(x.v);
	x.g->params.read_only = true;
	ground_crash(x.g);
	x.v = ground_volume(x.g, 1, 8 * BLOCK, x.o);
	expect_below(x.v, BLOCK, 8 * BLOCK, x.end);
	over_free(&x);
}

/* 7.18: a short block's rest is there when the volume grows. */
static void short_last_block_keeps_its_rest(void **state)
{
	struct over x = over_new(8, 2 * BLOCK + 777, 2 * BLOCK + 1000);

	(void)state;
	assert_int_equal(put(x.v, 2 * BLOCK, 777, 0xab, 0), 0);
	thin_volume_close(x.v);
	x.v = ground_volume(x.g, 1, 3 * BLOCK, x.o);
	expect(x.v, 2 * BLOCK, 777, 0xab);
	expect_below(x.v, 2 * BLOCK + 777, 3 * BLOCK, x.end);
	over_free(&x);
}

/* 7.19 */
static void volumes_share_an_origin(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);
	struct thin_volume *w = ground_create(x.g, 2, 6 * BLOCK, x.o);

	(void)state;
	assert_int_equal(put(x.v, 0, 10, 1, 0), 0);
	expect_below(w, 0, 6 * BLOCK, x.end);
	assert_int_equal(put(w, 20, 10, 2, 0), 0);
	expect_below(x.v, 10, 8 * BLOCK, x.end);
	thin_volume_close(w);
	over_free(&x);
}

/* 7.20: it gets reads, and nothing else. */
static void origin_is_only_read(void **state)
{
	struct over x = over_new(16, 8 * BLOCK, LAST + 512);

	(void)state;
	assert_int_equal(put(x.v, 100, 2 * BLOCK, 1, THIN_FUA), 0);
	assert_int_equal(thin_volume_trim(x.v, 0, 8 * BLOCK, THIN_FUA), 0);
	assert_int_equal(thin_volume_zero(x.v, 5, 6 * BLOCK, THIN_MAY_UNMAP), 0);
	assert_int_equal(thin_volume_flush(x.v), 0);
	snapshot(x.g, 1, 2);
	assert_int_equal(thin_volume_hydrate(x.v, 0, 8 * BLOCK), 0);
	assert_true(x.sh->reads > 0);
	assert_int_equal(x.sh->writes + x.sh->zeros + x.sh->punches, 0);
	assert_int_equal(x.sh->flushes, 0);
	over_free(&x);
}

/* 7.21: what differs from the origin is what is mapped. */
static int add_mapped(void *ctx, uint64_t offset, uint64_t len, enum thin_map_type type)
{
	(void)offset;
	*(uint64_t *)ctx += type == THIN_MAP_DATA || type == THIN_MAP_SHARED ? len : 0;
	return 0;
}

static void mapped_is_what_differs(void **state)
{
	struct over x = over_new(8, 8 * BLOCK, LAST + 512);
	uint64_t mapped = 0;

	(void)state;
	assert_int_equal(put(x.v, BLOCK - 1, 2, 1, 0), 0);
	assert_int_equal(put(x.v, LAST + 600, 1, 1, 0), 0);
	assert_int_equal(put(x.v, 7 * BLOCK, 1, 1, 0), 0);
	assert_int_equal(thin_volume_trim(x.v, BLOCK, BLOCK, 0), 0);
	assert_int_equal(mapped_blocks(x.v), 3);
	assert_int_equal(thin_volume_map(x.v, 0, 8 * BLOCK, add_mapped, &mapped), 0);
	assert_int_equal(mapped, 3 * BLOCK);
	for (uint64_t b = 0; b < 8; b++)
		assert_int_equal(block_of(x.v, b) != NOWHERE, b == 0 || b == 4 || b == 7);
	expect_sound(x.g);
	over_free(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_around_the_end),
		cmocka_unit_test(partial_writes_around_the_end),
		cmocka_unit_test(whole_write_reads_no_origin),
		cmocka_unit_test(trim_shows_the_origin_again),
		cmocka_unit_test(zeroing_never_shows_the_origin),
		cmocka_unit_test(trim_of_nothing_is_nothing),
		cmocka_unit_test(snapshot_with_and_without_origin),
		cmocka_unit_test(either_side_copies_for_itself),
		cmocka_unit_test(origins_of_any_size),
		cmocka_unit_test(grown_origin_is_refused),
		cmocka_unit_test(shrunk_origin_is_refused),
		cmocka_unit_test(zeros_past_the_end_in_every_mode),
		cmocka_unit_test(short_last_block_keeps_its_rest),
		cmocka_unit_test(volumes_share_an_origin),
		cmocka_unit_test(origin_is_only_read),
		cmocka_unit_test(mapped_is_what_differs),
	};

	return cmocka_run_group_tests_name("dm_thin_origin", tests, NULL, NULL);
}
