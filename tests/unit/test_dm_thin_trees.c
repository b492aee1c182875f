/* SPDX-License-Identifier: BSD-3-Clause */
#include "dm_thin.h"

#include "metadata/btree.h"

/*
 * Bugs that dm-thin once had in its trees (docs/dm-thin.md, 12), most of them
 * where two devices share nodes: each test makes the shape that shows one.
 */

/* The leaf that has @vblock. */
static struct thin_leaf leaf_of(struct thin_volume *v, uint64_t vblock)
{
	struct thin_reader rd = {.cache = v->core->pool->m->cache, .may_load = true};
	struct thin_leaf leaf;

	assert_int_equal(
		thin_btree_seek(&rd, THIN_VALUE_BLOCK, v->core->d->root, vblock, &leaf),
		0);
	return leaf;
}

static uint32_t root_count(struct thin_volume *v)
{
	uint32_t count;

	assert_int_equal(thin_sm_count(v->core->pool->m->tm.sm, v->core->d->root, &count),
			 0);
	return count;
}

/* A tree of @nr mappings, and a snapshot that shares all of it. */
struct twins {
	struct ground *g;
	struct thin_volume *v, *s;
	uint64_t nr, *was; /* what the snapshot has, for good */
};

static struct twins twins_new(uint64_t nr)
{
	struct twins t = {.g = ground_small(nr + 1000), .nr = nr};

	t.v = ground_create(t.g, 1, (nr + 1000) * SMALL, NULL);
	map_blocks(t.v, 0, nr);
	snapshot(t.g, 1, 2);
	t.s = ground_volume(t.g, 2, (nr + 1000) * SMALL, NULL);
	t.was = map_of(t.s, nr);
	return t;
}

static void twins_free(struct twins *t)
{
	expect_map(t->s, t->was, t->nr);
	expect_sound(t->g);
	thin_volume_close(t->v);
	delete_device(t->g, 1);
	assert_int_equal(ground_used(t->g), t->nr);
	expect_map(t->s, t->was, t->nr);
	expect_sound(t->g);
	thin_volume_close(t->s);
	delete_device(t->g, 2);
	assert_int_equal(ground_used(t->g), 0);
	expect_sound(t->g);
	free(t->was);
	ground_free(t->g);
}

/*
 * 12.1: what is left of one side is a root with a single child, which the
 * other side has too; that child is the root then, and what is changed below
 * it gets references of its own first.
 */
static void change_both_ends(struct twins *t, uint64_t begin, uint64_t end)
{
	expect_sound(t->g);
	map_blocks(t->v, begin, 2);
	trim_blocks(t->v, begin + 5, begin + 20);
	trim_blocks(t->v, end - 1, end);
	expect_sound(t->g);
	trim_blocks(t->v, 0, t->nr);
	assert_int_equal(ground_used(t->g), t->nr);
}

static void root_gives_way_to_a_shared_child(void **state)
{
	(void)state;
	for (unsigned last = 0; last < 2; last++) {
		struct twins t = twins_new(600); /* three leaves */
		uint64_t begin = 0, end = leaf_of(t.v, 0).end;

		if (last) {
			begin = thin_node_key(leaf_of(t.v, 599).node, 0);
			end = 600;
		}
		assert_int_equal(leaf_of(t.v, 0).depth, 2);
		trim_blocks(t.v, 0, begin);
		trim_blocks(t.v, end, 600);
		assert_int_equal(leaf_of(t.v, begin).depth, 1);
		assert_int_equal(root_count(t.v), 2); /* that very shape */
		change_both_ends(&t, begin, end);
		twins_free(&t);
	}
}

/*
 * The same, a level further up: there the last child was merged with its
 * neighbour on the way, and it is the nodes below it that are shared.
 */
static void root_gives_way_in_a_deep_tree(void **state)
{
	struct twins t = twins_new(66000);

	(void)state;
	assert_int_equal(leaf_of(t.v, 0).depth, 3);
	trim_blocks(t.v, 30000, t.nr);
	assert_int_equal(leaf_of(t.v, 0).depth, 2);
	change_both_ends(&t, 0, 30000);
	twins_free(&t);
}

/* 12.2, 12.5: leaves too small are evened out with others' that are shared. */
static void rebalancing_leaves_the_snapshot_alone(void **state)
{
	static const struct {
		uint64_t begin, end;
	} cuts[] = {{10, 240}, {245, 260}, {260, 490}, {300, 620}, {1, 741}, {480, 735}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct twins t = twins_new(750);

		trim_blocks(t.v, cuts[i].begin, cuts[i].end);
		expect_map(t.s, t.was, t.nr);
		expect_sound(t.g);
		trim_blocks(t.v, 0, cuts[i].begin);
		expect_map(t.s, t.was, t.nr);
		expect_sound(t.g);
		twins_free(&t);
	}
}

/* 12.3: the top level is shared with a held metadata snapshot. */
struct held {
	uint64_t devices, blocks;
};

static int count_device(void *ctx, const struct thin_walk_device *device)
{
	(void)device;
	((struct held *)ctx)->devices++;
	return 0;
}

static int count_run(void *ctx, const struct thin_walk_run *run)
{
	((struct held *)ctx)->blocks += run->length;
	return 0;
}

static struct held walk_held(struct ground *g)
{
	const struct thin_walk_fns fns = {.device = count_device, .run = count_run};
	const struct thin_walk_params p = {.held = true, .device = THIN_AUDIT_NO_DEVICE};
	struct held h = {0};

	assert_int_equal(thin_audit_walk(g->metadata->memory, &p, &fns, &h, NULL), 0);
	return h;
}

static void change_devices(struct ground *g)
{
	for (uint32_t id = 1000; id < 1300; id++)
		delete_device(g, id);
	for (uint32_t id = 2000; id < 2100; id++)
		assert_int_equal(thin_pool_create_thin(g->pool, id), 0);
	snapshot(g, 1, 3000);
}

/* Each kind of change is the first one once. */
static void change_everything(struct ground *g, struct thin_volume *v, unsigned first)
{
	for (unsigned i = 0; i < 3; i++) {
		switch ((first + i) % 3) {
		case 0:
			trim_blocks(v, 0, 300);
			break;
		case 1:
			map_blocks(v, 500, 300);
			break;
		default:
			change_devices(g);
		}
	}
	expect_sound(g);
}

static void expect_held(struct ground *g)
{
	struct held h = walk_held(g);

	assert_int_equal(h.devices, 301);
	assert_int_equal(h.blocks, 600);
}

static void delete_all(struct ground *g)
{
	struct thin_device_info info;

	while (!thin_pool_next_device(g->pool, 0, &info))
		delete_device(g, info.id);
	assert_int_equal(ground_used(g), 0);
	expect_sound(g);
}

static void hold_and_change(unsigned first, bool commit)
{
	struct ground *g = ground_small(3000);
	uint64_t blocks = ground_info(g).metadata_allocated;
	struct thin_volume *v = ground_create(g, 1, 3000 * SMALL, NULL);

	for (uint32_t id = 1000; id < 1300; id++)
		assert_int_equal(thin_pool_create_thin(g->pool, id), 0);
	map_blocks(v, 0, 600); /* 12.19: in memory only when it is held */
	assert_int_equal(thin_metadata_hold(g->pool->m), 0);
	if (commit) {
		expect_sound(g);
		expect_held(g);
	}
	change_everything(g, v, first);
	expect_held(g);
	assert_int_equal(thin_pool_unhold(g->pool), 0);
	expect_sound(g);
	thin_volume_close(v);
	delete_all(g);
	/* Nothing of the held trees is left: a bitmap of the data's at most. */
	assert_true(ground_info(g).metadata_allocated <= blocks + 1);
	ground_free(g);
}

static void held_top_level_stays(void **state)
{
	(void)state;
	for (unsigned first = 0; first < 3; first++) {
		hold_and_change(first, true);
		hold_and_change(first, false);
	}
}

/* 12.7: what is next may be in the next leaf, or the one after. */
static void next_mapped_over_sparse_ranges(void **state)
{
	struct ground *g = ground_small(1000);
	struct thin_volume *v = ground_create(g, 1, 1000000 * SMALL, NULL);
	struct thin_run runs[2];
	uint64_t nr = 600;
	size_t n;

	(void)state;
	for (uint64_t k = 0; k < nr; k++)
		map_blocks(v, k * 1000, 1);
	for (uint64_t k = 0; k + 1 < nr; k++) {
		assert_int_equal(thin_metadata_lookup(v->core->d, k * 1000 + 1, 1000000,
						      runs, 2, &n),
				 0);
		assert_int_equal(runs[0].nr, 999);
		assert_true(n == 2 && runs[1].mapped);
		trim_blocks(v, k * 1000 + 1, (k + 1) * 1000); /* nothing there */
	}
	assert_int_equal(mapped_blocks(v), nr);
	for (uint64_t k = 0; k + 2 < nr; k += 3) {
		trim_blocks(v, k * 1000 + 1, (k + 2) * 1000);
		assert_int_equal(block_of(v, (k + 1) * 1000), NOWHERE);
	}
	assert_int_equal(mapped_blocks(v), nr - 200);
	trim_blocks(v, 1, 999999);
	assert_int_equal(mapped_blocks(v), 1);
	expect_sound(g);
	thin_volume_close(v);
	ground_free(g);
}

/* 12.8: a removal that fails on its way changes nothing. */
struct fuse {
	struct shelf *sh;
	int reads; /* until one fails */
};

static void burn(void *ctx)
{
	struct fuse *f = ctx;

	f->sh->fail_read = f->reads-- ? 0 : -EIO;
}

/* Returns whether the @reads were enough. */
static bool trim_with_reads(int reads)
{
	struct ground *g = ground_small(1000);
	struct thin_volume *v = ground_create(g, 1, 1000 * SMALL, NULL);
	struct fuse f = {.sh = g->metadata, .reads = reads};
	uint64_t *was;
	int r;

	map_blocks(v, 0, 750);
	assert_int_equal(thin_pool_commit(g->pool), 0);
	was = map_of(v, 750);
	thin_volume_close(v);
	ground_crash(g); /* nothing is in the cache */
	v = ground_volume(g, 1, 1000 * SMALL, NULL);
	g->metadata->on_read_ctx = &f;
	g->metadata->on_read = burn;
	r = thin_volume_trim(v, 100 * SMALL, 500 * SMALL, 0);
	g->metadata->on_read = NULL;
	g->metadata->fail_read = 0;
	if (r) {
		assert_int_equal(r, -EIO);
		assert_int_equal(ground_used(g), 750);
		expect_map(v, was, 750);
	}
	free(was);
	thin_volume_close(v);
	ground_free(g);
	return !r;
}

static void failed_removal_changes_nothing(void **state)
{
	int reads = 0;

	(void)state;
	while (!trim_with_reads(reads))
		reads++;
	assert_true(reads >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(root_gives_way_to_a_shared_child),
		cmocka_unit_test(root_gives_way_in_a_deep_tree),
		cmocka_unit_test(rebalancing_leaves_the_snapshot_alone),
		cmocka_unit_test(held_top_level_stays),
		cmocka_unit_test(next_mapped_over_sparse_ranges),
		cmocka_unit_test(failed_removal_changes_nothing),
	};

	return cmocka_run_group_tests_name("dm_thin_trees", tests, NULL, NULL);
}
