/* SPDX-License-Identifier: BSD-3-Clause */
#include "unit.h"

#include "metadata/block_cache.h"

#include <errno.h>

/* The cache's promises, C1 to C4 of block_cache.h. */

#define BLOCKS 1000u

struct fixture {
	struct thin_storage *storage;
	struct thin_cache *cache;
};

static void write_bitmap(struct thin_storage *s, uint64_t block, uint8_t content)
{
	uint8_t b[4096];

	memset(b, content, sizeof(b));
	thin_block_seal(THIN_BITMAP, b, block);
	assert_int_equal(thin_storage_write_at(s, block * 4096, b, sizeof(b)), 0);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(thin_storage_open_memory(BLOCKS * 4096, &f->storage), 0);
	for (uint64_t b = 0; b < 100; b++)
		write_bitmap(f->storage, b, (uint8_t)b);
	assert_int_equal(thin_cache_create(f->storage, 16, BLOCKS, &f->cache), 0);
	thin_cache_begin_op(f->cache);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	thin_cache_destroy(f->cache);
	thin_storage_close(f->storage);
	free(f);
	return 0;
}

static void only_verified_blocks_come_out(void **state)
{
	struct fixture *f = *state;
	struct thin_error e;
	void *p;

	assert_int_equal(thin_cache_get(f->cache, 7, THIN_BITMAP, &p), 0);
	assert_int_equal(((uint8_t *)p)[100], 7);
	/* Another kind, on disk and resident; another place; no such block. */
	assert_int_equal(thin_cache_get(f->cache, 8, THIN_NODE, &p), -EILSEQ);
	assert_int_equal(thin_cache_get(f->cache, 7, THIN_NODE, &p), -EILSEQ);
	write_bitmap(f->storage, 9, 1);
	assert_int_equal(thin_storage_read_at(f->storage, 9 * 4096, p, 0), 0);
	{
		uint8_t b[4096];

		assert_int_equal(thin_storage_read_at(f->storage, 9 * 4096, b, 4096), 0);
		assert_int_equal(thin_storage_write_at(f->storage, 200 * 4096, b, 4096),
				 0);
	}
	assert_int_equal(thin_cache_get(f->cache, 200, THIN_BITMAP, &p), -ENOTBLK);
	thin_cache_last_error(f->cache, &e);
	assert_has(e.text, "block 200");
	assert_int_equal(thin_cache_get(f->cache, BLOCKS, THIN_BITMAP, &p), -EILSEQ);
	assert_int_equal(
		thin_cache_peek(f->cache, UINT64_MAX, THIN_BITMAP, (const void **)&p),
		-EILSEQ);
}

static void peeking_reads_nothing(void **state)
{
	struct fixture *f = *state;
	const void *seen;
	void *p;

	assert_int_equal(thin_cache_peek(f->cache, 3, THIN_BITMAP, &seen), -EWOULDBLOCK);
	assert_int_equal(thin_cache_get(f->cache, 3, THIN_BITMAP, &p), 0);
	assert_int_equal(thin_cache_peek(f->cache, 3, THIN_BITMAP, &seen), 0);
	assert_ptr_equal(seen, p);
}

/* C2: an operation may touch more blocks than the cache has room for. */
static void pointers_last_for_the_operation(void **state)
{
	struct fixture *f = *state;
	uint8_t *p[100];
	const void *seen;
	unsigned resident = 0;

	for (uint64_t b = 0; b < 100; b++)
		assert_int_equal(thin_cache_get(f->cache, b, THIN_BITMAP, (void **)&p[b]),
				 0);
	for (uint64_t b = 0; b < 100; b++)
		assert_int_equal(p[b][500], b);
	/* Afterwards it shrinks again. */
	for (unsigned i = 0; i < 300; i++) {
		thin_cache_begin_op(f->cache);
		assert_int_equal(
			thin_cache_get(f->cache, i % 100, THIN_BITMAP, (void **)&p[0]),
			0);
	}
	for (uint64_t b = 0; b < 100; b++)
		resident += !thin_cache_peek(f->cache, b, THIN_BITMAP, &seen);
	assert_true(resident <= 17);
}

/* C4: what is dirty and has to go is written first, and comes back. */
static void dirty_blocks_survive_eviction(void **state)
{
	struct fixture *f = *state;
	uint64_t before = thin_cache_generation(f->cache);
	uint8_t *p;

	for (uint64_t b = 300; b < 400; b++) {
		thin_cache_begin_op(f->cache);
		assert_int_equal(thin_cache_new(f->cache, b, THIN_BITMAP, (void **)&p),
				 0);
		assert_int_equal(p[17], 0);
		p[17] = (uint8_t)b;
	}
	assert_true(thin_cache_generation(f->cache) > before);
	for (uint64_t b = 300; b < 400; b++) {
		thin_cache_begin_op(f->cache);
		assert_int_equal(thin_cache_get(f->cache, b, THIN_BITMAP, (void **)&p),
				 0);
		assert_int_equal(p[17], (uint8_t)b);
	}
}

static void collected_blocks_are_written_once(void **state)
{
	struct fixture *f = *state;
	uint8_t *p, b[4096];

	assert_int_equal(thin_cache_new(f->cache, 500, THIN_BITMAP, (void **)&p), 0);
	p[17] = 1;
	assert_int_equal(thin_cache_collect(f->cache), 0);
	assert_int_equal(thin_storage_read_at(f->storage, 500 * 4096, b, 4096), 0);
	assert_int_equal(b[17], 0);
	assert_int_equal(thin_cache_write_out(f->cache), 0);
	assert_int_equal(thin_storage_read_at(f->storage, 500 * 4096, b, 4096), 0);
	assert_int_equal(b[17], 1);
	assert_int_equal(thin_block_verify(THIN_BITMAP, b, 500), 0);
	write_bitmap(f->storage, 500, 9);
	assert_int_equal(thin_cache_collect(f->cache), 0);
	assert_int_equal(thin_cache_write_out(f->cache), 0);
	assert_int_equal(thin_storage_read_at(f->storage, 500 * 4096, b, 4096), 0);
	assert_int_equal(b[17], 9);
}

/* A block in use can only be "new" when the space map lies. */
static void a_block_in_use_is_not_new(void **state)
{
	struct fixture *f = *state;
	void *p;

	assert_int_equal(thin_cache_get(f->cache, 1, THIN_BITMAP, &p), 0);
	assert_int_equal(thin_cache_new(f->cache, 1, THIN_NODE, &p), -EILSEQ);
	thin_cache_begin_op(f->cache);
	assert_int_equal(thin_cache_new(f->cache, 1, THIN_NODE, &p), 0);
}

static void a_fetch_that_is_too_late_is_not_installed(void **state)
{
	struct fixture *f = *state;
	uint64_t generation = thin_cache_generation(f->cache);
	const void *seen;
	uint8_t b[4096];

	assert_int_equal(thin_cache_fetch(f->cache, 4, THIN_BITMAP, b), 0);
	thin_cache_drop(f->cache);
	assert_int_equal(thin_cache_install(f->cache, 4, THIN_BITMAP, b, generation), 0);
	assert_int_equal(thin_cache_peek(f->cache, 4, THIN_BITMAP, &seen), -EWOULDBLOCK);
	generation = thin_cache_generation(f->cache);
	assert_int_equal(thin_cache_install(f->cache, 4, THIN_BITMAP, b, generation), 0);
	assert_int_equal(thin_cache_peek(f->cache, 4, THIN_BITMAP, &seen), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(only_verified_blocks_come_out),
		TEST(peeking_reads_nothing),
		TEST(pointers_last_for_the_operation),
		TEST(dirty_blocks_survive_eviction),
		TEST(collected_blocks_are_written_once),
		TEST(a_block_in_use_is_not_new),
		TEST(a_fetch_that_is_too_late_is_not_installed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
