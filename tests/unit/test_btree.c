/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_ground.h"
#include "seeded.h"

#include "metadata/btree.h"

#include <errno.h>

/*
 * The btree against a plain array, and its own rules (B1, B2) after each
 * round: fill, order, equal depth, and counts that add up when it is deleted.
 */

#define KEYS 40000u

struct tree {
	struct ground *g;
	struct thin_btree t;
	uint64_t root;
	uint32_t *model; /* 0: no such key */
};

static int set_up(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	t->g = ground_new(4000, 100);
	t->t = (struct thin_btree){.tm = &t->g->tm, .value_size = THIN_VALUE_COUNT};
	t->model = calloc(KEYS, sizeof(*t->model));
	assert_int_equal(thin_btree_new(&t->t, &t->root), 0);
	*state = t;
	return 0;
}

static int tear_down(void **state)
{
	struct tree *t = *state;

	ground_free(t->g);
	free(t->model);
	free(t);
	return 0;
}

static void insert(struct tree *t, uint64_t key, uint32_t value)
{
	struct le32 v = le32_of(value);

	thin_cache_begin_op(t->g->cache);
	assert_int_equal(thin_btree_insert(&t->t, t->root, key, &v, &t->root), 0);
	t->model[key] = value;
}

static void remove_keys(struct tree *t, uint64_t begin, uint64_t end)
{
	uint64_t expect = 0, total = 0;

	for (uint64_t k = begin; k < end; k++) {
		expect += t->model[k] != 0;
		t->model[k] = 0;
	}
	while (begin < end) {
		uint32_t removed;

		thin_cache_begin_op(t->g->cache);
		assert_int_equal(thin_btree_remove(&t->t, t->root, begin, end, &t->root,
						   &begin, &removed),
				 0);
		total += removed;
	}
	assert_int_equal(total, expect);
}

/* A new transaction: nothing is fresh, what was freed may be had again. */
static void commit(struct tree *t)
{
	ground_commit(t->g);
}

static const struct thin_disk_node *node(struct tree *t, uint64_t block)
{
	const void *p;

	thin_cache_begin_op(t->g->cache);
	assert_int_equal(thin_tm_read(&t->g->tm, block, THIN_NODE, &p), 0);
	return p;
}

/* B1 and B2 below @block; returns the depth.  @end: 0 is no limit. */
static unsigned check_node(struct tree *t, uint64_t block, bool root, uint64_t lo,
			   uint64_t end)
{
	struct thin_disk_node *n = malloc(4096);
	unsigned depth = 0;
	uint32_t nr;

	memcpy(n, node(t, block), 4096);
	nr = thin_node_nr(n);
	assert_true(root || nr >= thin_node_min(thin_node_max(n)));
	assert_true(!nr || thin_node_key(n, 0) >= lo);
	assert_true(!nr || !end || thin_node_key(n, nr - 1) < end);
	if (thin_node_is_leaf(n))
		assert_int_equal(thin_node_max(n), thin_node_capacity(THIN_VALUE_COUNT));
	else
		assert_true(nr >= 1U + root);
	for (uint32_t i = 0; !thin_node_is_leaf(n) && i < nr; i++) {
		unsigned d =
			check_node(t, thin_node_value64(n, i), false, thin_node_key(n, i),
				   i + 1 < nr ? thin_node_key(n, i + 1) : end);

		assert_true(!depth || depth == d);
		depth = d;
	}
	free(n);
	return depth + 1;
}

static void check(struct tree *t)
{
	struct thin_reader rd = {.cache = t->g->cache, .may_load = true};

	check_node(t, t->root, true, 0, 0);
	for (uint64_t k = 0; k < KEYS; k++) {
		struct le32 v;
		int r;

		thin_cache_begin_op(t->g->cache);
		r = thin_btree_lookup(&rd, THIN_VALUE_COUNT, t->root, k, &v);
		assert_int_equal(r, t->model[k] ? 0 : -ENODATA);
		if (!r)
			assert_int_equal(le32_get(v), t->model[k]);
	}
}

static uint64_t allocated(struct tree *t)
{
	return thin_sm_metadata_nr_allocated(t->g->sm);
}

static void ascending_keys_fill_leaves(void **state)
{
	struct tree *t = *state;
	uint64_t before = allocated(t);

	for (uint64_t k = 0; k < KEYS; k++)
		insert(t, k, 1);
	check(t);
	/* 336 a leaf, less the slot that is kept free for splits. */
	assert_true(allocated(t) - before <= KEYS / 335 + 5);
}

static void descending_keys(void **state)
{
	struct tree *t = *state;

	for (uint64_t k = KEYS; k-- > 0;)
		insert(t, k, (uint32_t)k + 1);
	check(t);
}

static void random_rounds(void **state)
{
	struct seeded rnd = seeded_start("btree");
	struct tree *t = *state;

	for (unsigned round = 0; round < 12; round++) {
		for (unsigned i = 0; i < 5000; i++)
			insert(t, seeded_below(&rnd, KEYS),
			       1 + (uint32_t)seeded_below(&rnd, 99));
		commit(t);
		for (unsigned i = 0; i < 40; i++) {
			uint64_t begin = seeded_below(&rnd, KEYS);
			uint64_t len = 1 + seeded_below(&rnd, round % 2 ? 3000 : 300);

			remove_keys(t, begin, begin + len < KEYS ? begin + len : KEYS);
		}
		for (unsigned i = 0; i < 1000; i++) {
			uint64_t k = seeded_below(&rnd, KEYS);

			remove_keys(t, k, k + 1);
		}
		check(t);
		commit(t);
	}
	remove_keys(t, 0, KEYS);
	check(t);
}

/* A second reference to the root is a snapshot: neither side sees the other. */
static void a_shared_tree_stays_as_it_is(void **state)
{
	struct seeded rnd = seeded_start("btree sharing");
	uint32_t *before = malloc(KEYS * sizeof(*before)), *after;
	struct tree *t = *state;
	uint64_t snap, empty;

	commit(t);
	empty = allocated(t);
	for (unsigned i = 0; i < 9000; i++)
		insert(t, seeded_below(&rnd, KEYS), 7);
	memcpy(before, t->model, KEYS * sizeof(*before));
	snap = t->root;
	assert_int_equal(thin_sm_inc(t->g->tm.sm, snap), 0);
	commit(t);
	for (unsigned i = 0; i < 3000; i++)
		insert(t, seeded_below(&rnd, KEYS), 9);
	remove_keys(t, 1000, 15000);
	check(t);

	after = t->model;
	t->model = before;
	uint64_t changed = t->root;
	t->root = snap;
	check(t);
	assert_int_equal(thin_btree_delete(&t->t, snap), 0);
	t->model = after;
	t->root = changed;
	check(t);
	commit(t);
	assert_int_equal(thin_btree_delete(&t->t, t->root), 0);
	commit(t);
	/* All of it is gone: the empty root, with which we began, too. */
	assert_int_equal(allocated(t), empty - 1);
	assert_int_equal(thin_btree_new(&t->t, &t->root), 0);
	free(before);
}

static void seeking_finds_the_next_key(void **state)
{
	struct seeded rnd = seeded_start("btree seek");
	struct tree *t = *state;
	struct thin_reader rd = {.cache = t->g->cache, .may_load = true};

	for (unsigned i = 0; i < 2000; i++)
		insert(t, seeded_below(&rnd, KEYS), 1);
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t k = seeded_below(&rnd, KEYS), next = k;
		struct thin_leaf leaf;
		int r;

		while (next < KEYS && !t->model[next])
			next++;
		thin_cache_begin_op(t->g->cache);
		r = thin_btree_seek(&rd, THIN_VALUE_COUNT, t->root, k, &leaf);
		assert_int_equal(r, next < KEYS ? 0 : -ENODATA);
		if (!r)
			assert_int_equal(thin_node_key(leaf.node, leaf.index), next);
	}
}

/* Under the shared lock nothing is read: the answer is which block is missing. */
static void a_miss_is_not_waited_for(void **state)
{
	struct tree *t = *state;
	struct thin_reader rd = {.cache = t->g->cache};
	struct le32 v;
	uint8_t buf[4096];

	insert(t, 5, 6);
	commit(t);
	thin_cache_drop(t->g->cache);
	assert_int_equal(thin_btree_lookup(&rd, THIN_VALUE_COUNT, t->root, 5, &v),
			 -EWOULDBLOCK);
	assert_int_equal(rd.missing, t->root);
	assert_int_equal(thin_cache_fetch(t->g->cache, rd.missing, rd.missing_kind, buf),
			 0);
	assert_int_equal(thin_cache_install(t->g->cache, rd.missing, rd.missing_kind, buf,
					    thin_cache_generation(t->g->cache)),
			 0);
	assert_int_equal(thin_btree_lookup(&rd, THIN_VALUE_COUNT, t->root, 5, &v), 0);
	assert_int_equal(le32_get(v), 6);
}

/* A tree of another kind is not taken for this one. */
static void another_trees_node_is_refused(void **state)
{
	struct tree *t = *state;
	struct thin_reader rd = {.cache = t->g->cache, .may_load = true};
	struct thin_btree other = t->t;
	struct thin_leaf leaf;
	uint8_t value[24];
	uint64_t root;

	other.value_size = THIN_VALUE_DETAILS;
	assert_int_equal(thin_btree_lookup(&rd, THIN_VALUE_DETAILS, t->root, 1, value),
			 -EILSEQ);
	assert_int_equal(thin_btree_seek(&rd, THIN_VALUE_DETAILS, t->root, 1, &leaf),
			 -EILSEQ);
	assert_int_equal(thin_btree_insert(&other, t->root, 1, value, &root), -EILSEQ);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ascending_keys_fill_leaves),
		TEST(descending_keys),
		TEST(random_rounds),
		TEST(a_shared_tree_stays_as_it_is),
		TEST(seeking_finds_the_next_key),
		TEST(a_miss_is_not_waited_for),
		TEST(another_trees_node_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
