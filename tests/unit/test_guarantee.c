/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool_ground.h"
#include "seeded.h"

#include <errno.h>

#define BLOCKS 64u

static uint64_t kept(struct ground *g)
{
	struct thin_pool_status s;

	thin_pool_status(g->pool, &s);
	return s.data_kept;
}

static uint64_t spare(struct ground *g)
{
	struct thin_pool_status s;

	thin_pool_status(g->pool, &s);
	return s.data_spare;
}

static int reserve(struct ground *g, uint32_t device, uint64_t blocks)
{
	return thin_pool_set_reserve(g->pool, device, blocks * BLOCK, true);
}

/* Block by block until it is full; how many went in. */
static uint64_t fill(struct thin_volume *v, uint64_t from)
{
	uint64_t nr = 0;
	int r;

	while (!(r = put(v, (from + nr) * BLOCK, BLOCK, 0x11, 0)))
		nr++;
	assert_int_equal(r, -ENOSPC);
	return nr;
}

static int write_block(struct thin_volume *v, uint64_t block)
{
	return put(v, block * BLOCK, BLOCK, 0x22, 0);
}

static void write_blocks(struct thin_volume *v, uint64_t from, uint64_t to)
{
	for (uint64_t b = from; b < to; b++)
		assert_int_equal(write_block(v, b), 0);
}

/* Two volumes; the first is promised @blocks. */
struct pair {
	struct ground *g;
	struct thin_volume *mine, *other;
};

static struct pair pair_new(uint64_t blocks)
{
	struct ground *g = ground_new(BLOCKS);
	struct pair p = {
		.g = g,
		.mine = ground_create(g, 1, 2 * BLOCKS * BLOCK, NULL),
		.other = ground_create(g, 2, 2 * BLOCKS * BLOCK, NULL),
	};

	assert_int_equal(reserve(g, 1, blocks), 0);
	assert_int_equal(kept(g), blocks);
	return p;
}

static void pair_free(struct pair *p)
{
	thin_volume_close(p->mine);
	thin_volume_close(p->other);
	ground_free(p->g);
}

static void test_others_leave_it(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	assert_int_equal(fill(p.other, 0), BLOCKS - 20);
	assert_int_equal(ground_mode(p.g), THIN_MODE_OUT_OF_DATA);
	assert_int_equal(kept(p.g), 20);
	assert_int_equal(spare(p.g), 0);
	write_blocks(p.mine, 0, 20);
	assert_int_equal(kept(p.g), 0);
	assert_int_equal(write_block(p.mine, 20), -ENOSPC);
	write_blocks(p.mine, 0, 20); /* in place */
	pair_free(&p);
}

/* A request of many blocks is all within it, or takes the rest from all. */
static void test_large_requests(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	assert_int_equal(put(p.other, 0, (BLOCKS - 19) * BLOCK, 1, 0), -ENOSPC);
	assert_int_equal(put(p.other, 0, (BLOCKS - 24) * BLOCK, 1, 0), 0);
	assert_int_equal(put(p.mine, 0, 25 * BLOCK, 1, 0), -ENOSPC);
	assert_int_equal(kept(p.g), 20);
	assert_int_equal(put(p.mine, 0, 24 * BLOCK, 1, 0), 0);
	assert_int_equal(kept(p.g), 0);
	pair_free(&p);
}

static void test_refused(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	write_blocks(p.other, 0, 30);
	assert_int_equal(reserve(p.g, 2, 30), 0); /* it has them */
	assert_int_equal(kept(p.g), 20);
	assert_int_equal(reserve(p.g, 1, 35), -ENOSPC);
	assert_int_equal(kept(p.g), 20);
	assert_int_equal(reserve(p.g, 1, 34), 0);
	assert_int_equal(reserve(p.g, 2, 31), -ENOSPC);
	assert_int_equal(fill(p.other, 30), 0);
	assert_int_equal(reserve(p.g, 1, 10), 0);
	assert_int_equal(fill(p.other, 30), 24);
	assert_int_equal(reserve(p.g, 1, 0), 0);
	assert_int_equal(fill(p.other, 54), 10);
	/* Who opens a pool says what was promised, whatever there is. */
	assert_int_equal(thin_pool_set_reserve(p.g->pool, 1, 5 * BLOCK, false), 0);
	assert_int_equal(kept(p.g), 5);
	assert_int_equal(spare(p.g), 0);
	pair_free(&p);
}

/* What was freed can be had after a commit, and counts. */
static void test_set_after_trim(void **state)
{
	struct pair p = pair_new(0);

	(void)state;
	assert_int_equal(fill(p.other, 0), BLOCKS);
	assert_int_equal(thin_volume_trim(p.other, 0, 10 * BLOCK, 0), 0);
	assert_int_equal(reserve(p.g, 1, 10), 0);
	assert_int_equal(fill(p.other, 0), 0);
	write_blocks(p.mine, 0, 10);
	pair_free(&p);
}

/* G4: errors at once are for those who were promised nothing. */
static void test_trimmed_is_kept(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	write_blocks(p.mine, 0, 20);
	assert_int_equal(fill(p.other, 0), BLOCKS - 20);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(thin_volume_trim(p.mine, 0, 20 * BLOCK, 0), 0);
		assert_int_equal(kept(p.g), 20);
		write_blocks(p.mine, 0, 20);
		assert_int_equal(kept(p.g), 0);
		assert_int_equal(fill(p.other, BLOCKS), 0);
	}
	assert_int_equal(thin_volume_zero(p.mine, 0, 20 * BLOCK, THIN_MAY_UNMAP), 0);
	assert_int_equal(kept(p.g), 20);
	pair_free(&p);
}

static int snapshot(struct ground *g, uint32_t origin, uint32_t snap)
{
	struct thin_snap_pair pair = {.origin = origin, .snap = snap};

	return thin_pool_snapshot(g->pool, &pair, 1);
}

static void test_snapshot(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	write_blocks(p.mine, 0, 20);
	write_blocks(p.other, 0, 24);
	assert_int_equal(snapshot(p.g, 1, 3), 0); /* 20 left: just enough */
	assert_int_equal(kept(p.g), 20);
	assert_int_equal(fill(p.other, 24), 0);
	write_blocks(p.mine, 0, 10);
	assert_int_equal(kept(p.g), 10);
	assert_int_equal(snapshot(p.g, 1, 4), -ENOSPC);
	assert_int_equal(kept(p.g), 10);
	assert_int_equal(snapshot(p.g, 2, 4), 0); /* to whom nothing was promised */
	write_blocks(p.mine, 10, 20);
	assert_int_equal(kept(p.g), 0);
	expect(p.mine, 0, 20 * BLOCK, 0x22);
	pair_free(&p);
}

/* A group is made as a whole, or keeps as much as before. */
static void test_group(void **state)
{
	struct pair p = pair_new(20);
	struct thin_snap_pair pairs[] = {{1, 3}, {2, 4}};

	(void)state;
	write_blocks(p.mine, 0, 20);
	write_blocks(p.other, 0, 20);
	assert_int_equal(reserve(p.g, 2, 20), 0);
	assert_int_equal(thin_pool_snapshot(p.g->pool, pairs, 2), -ENOSPC);
	assert_int_equal(kept(p.g), 0);
	assert_int_equal(snapshot(p.g, 1, 2), -EEXIST);
	assert_int_equal(kept(p.g), 0);
	assert_int_equal(reserve(p.g, 2, 4), 0);
	assert_int_equal(thin_pool_snapshot(p.g->pool, pairs, 2), 0);
	assert_int_equal(kept(p.g), 24);
	pair_free(&p);
}

/* Counting says what keeping up said. */
static void test_opened_again(void **state)
{
	struct pair p = pair_new(20);
	uint64_t before;

	(void)state;
	write_blocks(p.mine, 0, 15);
	assert_int_equal(snapshot(p.g, 1, 3), 0);
	write_blocks(p.mine, 3, 8);
	write_blocks(p.mine, 20, 22);
	assert_int_equal(thin_volume_trim(p.mine, 0, 5 * BLOCK, 0), 0);
	before = kept(p.g);
	assert_int_equal(before, 20 - 5 - 2 + 2);
	assert_int_equal(thin_pool_reserve_left(p.g->pool, 1), before);
	thin_volume_close(p.mine);
	thin_volume_close(p.other);
	assert_int_equal(thin_pool_close(p.g->pool), 0);
	ground_open(p.g);
	assert_int_equal(kept(p.g), 0);
	assert_int_equal(reserve(p.g, 1, 20), 0);
	assert_int_equal(kept(p.g), before);
	ground_free(p.g);
}

/* What is cut off was the volume's own, and is kept for it again. */
static void test_truncate(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	write_blocks(p.mine, 0, 20);
	assert_int_equal(snapshot(p.g, 1, 3), 0);
	write_blocks(p.mine, 10, 20);
	assert_int_equal(kept(p.g), 10);
	assert_int_equal(thin_pool_truncate(p.g->pool, 1, 15 * BLOCK), 0);
	assert_int_equal(kept(p.g), 15);
	assert_int_equal(thin_pool_truncate(p.g->pool, 1, 0), 0);
	assert_int_equal(kept(p.g), 20);
	pair_free(&p);
}

/* A failed write keeps what was kept. */
static void test_write_fails(void **state)
{
	struct pair p = pair_new(20);

	(void)state;
	p.g->data->fail_write = -EIO;
	assert_int_not_equal(write_block(p.mine, 0), 0);
	p.g->data->fail_write = 0;
	assert_int_equal(kept(p.g), 20);
	write_blocks(p.mine, 0, 20);
	assert_int_equal(kept(p.g), 0);
	pair_free(&p);
}

/* The device that is promised something may come later. */
static void test_before_it_is_there(void **state)
{
	struct ground *g = ground_new(BLOCKS);
	struct thin_volume *v;

	(void)state;
	assert_int_equal(reserve(g, 7, BLOCKS + 1), -ENOSPC);
	assert_int_equal(reserve(g, 7, BLOCKS), 0);
	v = ground_create(g, 7, BLOCKS * BLOCK, NULL);
	write_blocks(v, 0, BLOCKS / 2);
	assert_int_equal(kept(g), BLOCKS / 2);
	thin_volume_close(v);
	ground_free(g);
}

/* --- crowds ------------------------------------------------------------------ */

struct crowd {
	struct pair *p;
	atomic_bool stop;
	atomic_uint number; /* of the next thread */
	uint64_t seed;
};

/* Fills what it can, and frees some of it again. */
static void *greedy(void *arg)
{
	struct crowd *c = arg;
	struct seeded rng = {c->seed + atomic_fetch_add(&c->number, 1)};

	while (!atomic_load(&c->stop)) {
		uint64_t block = seeded_below(&rng, BLOCKS);
		uint64_t nr = 1 + seeded_below(&rng, 8);
		int r = seeded_below(&rng, 4)
				? put(c->p->other, block * BLOCK, nr * BLOCK, 1, 0)
				: thin_volume_trim(c->p->other, block * BLOCK, nr * BLOCK,
						   0);

		assert_true(r == 0 || r == -ENOSPC);
	}
	return NULL;
}

/* Half of what was promised, written and given back all the time. */
static void *modest(void *arg)
{
	struct crowd *c = arg;
	unsigned number = atomic_fetch_add(&c->number, 1);
	struct seeded rng = {c->seed + number};
	uint64_t base = number % 2 * 8;

	for (unsigned i = 0; i < 2000; i++) {
		uint64_t block = seeded_below(&rng, 8);
		uint64_t nr = 1 + seeded_below(&rng, 8 - block);
		uint64_t from = (base + block) * BLOCK;
		bool writes = seeded_below(&rng, 3);

		assert_int_equal(
			writes ? put(c->p->mine, from, nr * BLOCK, 2, 0)
			       : thin_volume_trim(c->p->mine, from, nr * BLOCK, 0),
			0);
	}
	return NULL;
}

/* Within what it was promised, whatever the others do. */
static void test_crowd(void **state)
{
	struct pair p = pair_new(16);
	struct seeded rng = seeded_start("crowd");
	struct crowd c = {.p = &p, .seed = rng.state};
	pthread_t mine[2], others[4];

	(void)state;
	assert_int_equal(thin_pool_start(p.g->pool), 0);
	for (unsigned i = 0; i < ARRAY_LEN(mine); i++)
		assert_int_equal(pthread_create(&mine[i], NULL, modest, &c), 0);
	for (unsigned i = 0; i < ARRAY_LEN(others); i++)
		assert_int_equal(pthread_create(&others[i], NULL, greedy, &c), 0);
	for (unsigned i = 0; i < ARRAY_LEN(mine); i++)
		assert_int_equal(pthread_join(mine[i], NULL), 0);
	atomic_store(&c.stop, true);
	for (unsigned i = 0; i < ARRAY_LEN(others); i++)
		assert_int_equal(pthread_join(others[i], NULL), 0);
	assert_int_equal(thin_volume_trim(p.mine, 0, BLOCKS * BLOCK, 0), 0);
	assert_int_equal(kept(p.g), 16);
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_others_leave_it),
		cmocka_unit_test(test_large_requests),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_set_after_trim),
		cmocka_unit_test(test_trimmed_is_kept),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_opened_again),
		cmocka_unit_test(test_truncate),
		cmocka_unit_test(test_write_fails),
		cmocka_unit_test(test_before_it_is_there),
		cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
