/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"
#include "seeded.h"

#include "format/btree_node.h"

#include <errno.h>

static union {
	struct thin_disk_node n;
	uint8_t bytes[THIN_METADATA_BLOCK];
} block;

static void make(uint32_t flags, uint32_t value_size, uint32_t max, uint32_t nr)
{
	memset(&block, 0, sizeof(block));
	block.n.flags = le32_of(flags);
	block.n.value_size = le32_of(value_size);
	block.n.max_entries = le32_of(max);
	block.n.nr_entries = le32_of(nr);
	/* A count that lies is tested too: keys only as far as they fit. */
	for (uint32_t i = 0; i < nr && i < 508; i++)
		block.n.keys[i] = le64_of(10 * i + 5);
}

static void capacities(void **state)
{
	(void)state;
	assert_int_equal(thin_node_capacity(THIN_VALUE_BLOCK), 252);
	assert_int_equal(thin_node_capacity(THIN_VALUE_DETAILS), 126);
	assert_int_equal(thin_node_capacity(THIN_VALUE_INDEX), 168);
	assert_int_equal(thin_node_capacity(THIN_VALUE_COUNT), 336);
	assert_int_equal(thin_node_min(252), 84);
}

/* Values stand behind room for all keys that may come. */
static void values_stand_behind_max_keys(void **state)
{
	(void)state;
	make(THIN_NODE_LEAF, THIN_VALUE_DETAILS, 126, 2);
	assert_int_equal((const uint8_t *)thin_node_value(&block.n, 0) - block.bytes,
			 32 + 8 * 126);
	assert_int_equal((const uint8_t *)thin_node_value(&block.n, 1) - block.bytes,
			 32 + 8 * 126 + 24);
	assert_ptr_equal(thin_node_value_mut(&block.n, 1), thin_node_value(&block.n, 1));
	block.bytes[32 + 8 * 126 + 24] = 0x34;
	block.bytes[32 + 8 * 126 + 25] = 0x12;
	assert_int_equal(thin_node_value64(&block.n, 1), 0x1234);
	assert_int_equal(thin_node_key(&block.n, 1), 15);
	assert_true(thin_node_is_leaf(&block.n));
}

static void search_at_the_edges(void **state)
{
	(void)state;
	make(THIN_NODE_LEAF, 8, 252, 3); /* 5, 15, 25 */
	assert_int_equal(thin_node_search(&block.n, 0), -1);
	assert_int_equal(thin_node_search(&block.n, 4), -1);
	assert_int_equal(thin_node_search(&block.n, 5), 0);
	assert_int_equal(thin_node_search(&block.n, 14), 0);
	assert_int_equal(thin_node_search(&block.n, 15), 1);
	assert_int_equal(thin_node_search(&block.n, 25), 2);
	assert_int_equal(thin_node_search(&block.n, UINT64_MAX), 2);
	make(THIN_NODE_LEAF, 8, 252, 0);
	assert_int_equal(thin_node_search(&block.n, 5), -1);
}

static int naive_search(uint64_t key)
{
	int found = -1;

	for (uint32_t i = 0; i < thin_node_nr(&block.n); i++)
		if (thin_node_key(&block.n, i) <= key)
			found = (int)i;
	return found;
}

static void search_equals_a_naive_one(void **state)
{
	struct seeded s = seeded_start(__func__);

	(void)state;
	for (int round = 0; round < 200; round++) {
		uint64_t key = 0;
		uint32_t nr = (uint32_t)seeded_below(&s, 253);

		make(THIN_NODE_LEAF, 8, 252, nr);
		for (uint32_t i = 0; i < nr; i++) {
			key += 1 + seeded_below(&s, 3);
			block.n.keys[i] = le64_of(key);
		}
		for (int i = 0; i < 50; i++) {
			uint64_t k = seeded_below(&s, key + 3);

			assert_int_equal(thin_node_search(&block.n, k), naive_search(k));
		}
	}
}

static void good_nodes_of_all_trees(void **state)
{
	static const uint32_t sizes[] = {4, 8, 16, 24};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t max = thin_node_capacity(sizes[i]);

		make(THIN_NODE_LEAF, sizes[i], max, max);
		assert_int_equal(thin_node_check(&block), 0);
		make(THIN_NODE_LEAF, sizes[i], max, 0);
		assert_int_equal(thin_node_check(&block), 0);
	}
	make(THIN_NODE_INTERNAL, 8, 252, 1);
	assert_int_equal(thin_node_check(&block), 0);
}

/* The last byte that the accessors reach is inside the block. */
static void largest_counts_fit_the_block(void **state)
{
	static const uint32_t sizes[] = {4, 8, 16, 24};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint32_t max = (4096 - 32) / (8 + sizes[i]);

		make(THIN_NODE_LEAF, sizes[i], max, max);
		assert_int_equal(thin_node_check(&block), 0);
		assert_true((const uint8_t *)thin_node_value(&block.n, max) <=
			    block.bytes + 4096);
		make(THIN_NODE_LEAF, sizes[i], max + 1, max);
		assert_int_equal(thin_node_check(&block), -EILSEQ);
	}
}

static void bad_counts(void **state)
{
	static const struct {
		uint32_t flags, value_size, max, nr;
	} bad[] = {
		{0, 8, 252, 10},
		{3, 8, 252, 10},
		{4, 8, 252, 10},
		{THIN_NODE_LEAF, 0, 252, 10},
		{THIN_NODE_LEAF, 12, 168, 10},
		{THIN_NODE_LEAF, UINT32_MAX, 252, 10},
		{THIN_NODE_LEAF, UINT32_MAX - 7, 252, 10}, /* 8 + it wraps to 0 */
		{THIN_NODE_INTERNAL, 24, 126, 10},
		{THIN_NODE_LEAF, 8, 5, 3},
		{THIN_NODE_LEAF, 8, 0, 0},
		{THIN_NODE_LEAF, 8, UINT32_MAX, 10},
		{THIN_NODE_LEAF, 8, 252, 253},
		{THIN_NODE_LEAF, 8, 252, UINT32_MAX},
		{THIN_NODE_INTERNAL, 8, 252, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		make(bad[i].flags, bad[i].value_size, bad[i].max, bad[i].nr);
		if (thin_node_check(&block) != -EILSEQ)
			fail_msg("case %zu passes", i);
	}
}

static void keys_must_ascend(void **state)
{
	(void)state;
	for (uint32_t i = 1; i < 252; i++) {
		make(THIN_NODE_LEAF, 8, 252, 252);
		block.n.keys[i] = block.n.keys[i - 1];
		assert_int_equal(thin_node_check(&block), -EILSEQ);
	}
	make(THIN_NODE_LEAF, 8, 252, 10);
	block.n.keys[10] = le64_of(0); /* behind the last: nobody's business */
	assert_int_equal(thin_node_check(&block), 0);
}

static void mappings_pack_40_and_24_bits(void **state)
{
	uint64_t last = THIN_MAX_DATA_BLOCKS - 1;
	struct thin_packed_mapping m = thin_mapping_unpack(0x0102030405060708);

	(void)state;
	assert_true(m.data_block == 0x0102030405);
	assert_int_equal(m.time, 0x060708);
	assert_true(thin_mapping_pack(0x0102030405, 0x060708) == 0x0102030405060708);
	assert_true(thin_mapping_pack(last, THIN_MAX_TIME) == UINT64_MAX);
	assert_true(thin_mapping_unpack(UINT64_MAX).data_block == last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(capacities),
		cmocka_unit_test(values_stand_behind_max_keys),
		cmocka_unit_test(search_at_the_edges),
		cmocka_unit_test(search_equals_a_naive_one),
		cmocka_unit_test(good_nodes_of_all_trees),
		cmocka_unit_test(largest_counts_fit_the_block),
		cmocka_unit_test(bad_counts),
		cmocka_unit_test(keys_must_ascend),
		cmocka_unit_test(mappings_pack_40_and_24_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
