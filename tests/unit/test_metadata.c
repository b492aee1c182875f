/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata_model.h"

#include "format/superblock.h"
#include "storage/storage.h"

#include <errno.h>
#include <stdio.h>

/* The metadata's operations, one by one, and what they refuse. */

#define BLOCKS 1024u

struct fixture {
	struct thin_storage *storage;
	struct thin_metadata *m;
};

static void reopen(struct fixture *f)
{
	struct thin_metadata_params params = {.storage = f->storage};
	struct thin_error e = {""};

	thin_metadata_close(f->m);
	f->m = NULL;
	if (thin_metadata_open(&params, &f->m, &e))
		fail_msg("open: %s", e.text);
}

static int set_up_blocks(void **state, uint64_t blocks, uint64_t nr_data)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(thin_storage_open_memory(blocks * 4096, &f->storage), 0);
	assert_int_equal(thin_metadata_format(f->storage, 128, nr_data, NULL), 0);
	reopen(f);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	return set_up_blocks(state, BLOCKS, 1000);
}

static int set_up_small(void **state)
{
	return set_up_blocks(state, 64, 100000);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	thin_metadata_close(f->m);
	thin_storage_close(f->storage);
	free(f);
	return 0;
}

static int commit(struct fixture *f)
{
	struct thin_freed *freed = NULL;
	int r = thin_metadata_commit(f->m, NULL, &freed);

	thin_epoch_synchronize();
	thin_metadata_release(f->m, r ? NULL : freed);
	return r;
}

/* Map @nr blocks of device @id from @vblock on, one by one. */
static int map(struct fixture *f, uint32_t id, uint64_t vblock, uint64_t nr)
{
	struct thin_device *d;
	int r = 0;

	assert_int_equal(thin_device_open(f->m, id, &d), 0);
	for (uint64_t i = 0; i < nr && !r; i++) {
		uint64_t dblock, got;

		r = thin_metadata_reserve(f->m, 1, &dblock, &got);
		if (!r)
			r = thin_metadata_insert(d, vblock + i, dblock, 1);
	}
	thin_device_close(d);
	return r;
}

static struct thin_run lookup(struct fixture *f, uint32_t id, uint64_t vblock)
{
	struct thin_device *d;
	struct thin_run run;
	size_t nr;

	assert_int_equal(thin_device_open(f->m, id, &d), 0);
	assert_int_equal(thin_metadata_lookup(d, vblock, vblock + 1, &run, 1, &nr), 0);
	assert_int_equal(nr, 1);
	thin_device_close(d);
	return run;
}

static struct thin_metadata_info info(struct fixture *f)
{
	struct thin_metadata_info i;

	thin_metadata_info(f->m, &i);
	return i;
}

/* --- format ------------------------------------------------------------------ */

/* What the kernel writes for 4 MiB of metadata and 64 KiB blocks, byte for byte. */
static void empty_pool_is_the_kernels(void **state)
{
	static const uint32_t csums[] = {0xCAFF9186, 0x18E0660A, 0xC360E452, 0xA19F6375,
					 0x787F52C8, 0x41BFAA04, 0xCB3DDA35, 0xB1C81346};
	static uint8_t image[BLOCKS * 4096];
	struct thin_storage *s;

	(void)state;
	assert_int_equal(thin_storage_open_memory(sizeof(image), &s), 0);
	assert_int_equal(thin_metadata_format(s, 128, 0, NULL), 0);
	assert_int_equal(thin_storage_read_at(s, 0, image, sizeof(image)), 0);
	for (size_t i = 0; i < BLOCKS; i++) {
		const struct thin_disk_header *h = (const void *)(image + i * 4096);

		if (i < ARRAY_LEN(csums))
			assert_int_equal(le32_get(h->csum), csums[i]);
		else
			assert_true(thin_superblock_blank(h));
	}
	thin_storage_close(s);
}

static void format_refuses_impossible_geometry(void **state)
{
	struct thin_error e = {""};
	struct thin_storage *s;

	(void)state;
	assert_int_equal(thin_storage_open_memory(63 * 4096, &s), 0);
	assert_int_equal(thin_metadata_format(s, 128, 0, &e), -ENOSPC);
	assert_has(e.text, "too small");
	assert_int_equal(thin_metadata_format(s, 7, 0, &e), -EINVAL);
	assert_int_equal(thin_metadata_format(s, 2097153, 0, &e), -EINVAL);
	thin_storage_close(s);

	assert_int_equal(thin_storage_open_memory(64 * 4096, &s), 0);
	assert_int_equal(thin_metadata_format(s, 128, UINT64_C(1) << 30, &e), -ENOSPC);
	assert_has(e.text, "data blocks");
	thin_storage_close(s);
}

/* --- open -------------------------------------------------------------------- */

static void open_names_the_damaged_block(void **state)
{
	struct thin_metadata_params params;
	struct thin_disk_superblock sb;
	struct fixture *f = *state;
	struct thin_metadata *m;
	struct thin_error e = {""};
	char where[40];
	uint64_t index;

	params = (struct thin_metadata_params){.storage = f->storage};
	assert_int_equal(thin_storage_read_at(f->storage, 0, &sb, sizeof(sb)), 0);
	index = le64_get(sb.metadata_space_map.bitmap_root);
	snprintf(where, sizeof(where), "block %u", (unsigned)index);
	assert_int_equal(thin_storage_write_at(f->storage, index * 4096 + 100, "x", 1),
			 0);
	assert_int_equal(thin_metadata_open(&params, &m, &e), -EILSEQ);
	assert_has(e.text, where);
	assert_int_equal(thin_storage_write_at(f->storage, 200, "x", 1), 0);
	assert_int_equal(thin_metadata_open(&params, &m, &e), -EILSEQ);
	assert_has(e.text, "superblock");
}

static void open_refuses_what_is_no_pool(void **state)
{
	struct thin_metadata_params params = {0};
	struct thin_metadata *m;
	struct thin_error e = {""};

	(void)state;
	assert_int_equal(thin_storage_open_memory(100, &params.storage), 0);
	assert_int_equal(thin_metadata_open(&params, &m, &e), -EMEDIUMTYPE);
	thin_storage_close(params.storage);
	assert_int_equal(thin_storage_open_memory(1 << 20, &params.storage), 0);
	assert_int_equal(thin_metadata_open(&params, &m, &e), -EMEDIUMTYPE);
	assert_has(e.text, "magic");
	thin_storage_close(params.storage);
}

static void open_refuses_a_storage_that_shrank(void **state)
{
	struct thin_metadata_params params;
	struct fixture *f = *state;
	struct thin_metadata *m;
	struct thin_error e = {""};

	params = (struct thin_metadata_params){.storage = f->storage};
	assert_int_equal(thin_storage_resize(f->storage, (BLOCKS - 1) * 4096), 0);
	assert_int_equal(thin_metadata_open(&params, &m, &e), -ENOSPC);
	assert_has(e.text, "1023");
}

/* --- devices ------------------------------------------------------------------- */

static void devices_are_created_and_deleted(void **state)
{
	struct fixture *f = *state;
	struct thin_device *d;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 0), -EEXIST);
	assert_int_equal(thin_metadata_create_thin(f->m, THIN_MAX_DEVICE_ID), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, THIN_MAX_DEVICE_ID + 1),
			 -EINVAL);
	assert_int_equal(thin_metadata_create_snap(f->m, 1, 7), -ENOENT);
	assert_int_equal(thin_metadata_delete(f->m, 7), -ENOENT);
	assert_int_equal(thin_device_open(f->m, 0, &d), 0);
	assert_int_equal(thin_metadata_delete(f->m, 0), -EBUSY);
	thin_device_close(d);
	assert_int_equal(thin_metadata_delete(f->m, 0), 0);
	assert_int_equal(thin_device_open(f->m, 0, &d), -ENOENT);
	/* None of the refusals was a change that went wrong. */
	assert_int_equal(info(f).failed, 0);
}

/* Ids from high to low: the lowest key of a full root must not get lost. */
static void devices_in_reverse_order(void **state)
{
	struct fixture *f = *state;
	struct thin_device_info next;
	uint32_t from = 0;

	for (uint32_t id = 600; id > 0; id--)
		assert_int_equal(thin_metadata_create_thin(f->m, id), 0);
	assert_int_equal(commit(f), 0);
	reopen(f);
	for (uint32_t id = 1; id <= 600; id++) {
		struct thin_device *d;

		assert_int_equal(thin_device_open(f->m, id, &d), 0);
		thin_device_close(d);
		assert_int_equal(thin_metadata_next_device(f->m, from, &next), 0);
		assert_int_equal(next.id, id);
		from = id + 1;
	}
	assert_int_equal(thin_metadata_next_device(f->m, from, &next), -ENOENT);
}

/* The kernel's own example: one device, two snapshots, times as it writes them. */
static void times_follow_the_rules(void **state)
{
	struct fixture *f = *state;
	struct thin_device_info i;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(map(f, 0, 0, 3), 0);
	assert_int_equal(thin_metadata_create_snap(f->m, 1, 0), 0);
	assert_true(lookup(f, 0, 0).shared);
	assert_true(lookup(f, 1, 0).shared);
	assert_int_equal(map(f, 0, 0, 1), 0);
	assert_false(lookup(f, 0, 0).shared);
	assert_true(lookup(f, 1, 0).shared);
	assert_int_equal(thin_metadata_create_snap(f->m, 2, 0), 0);
	assert_true(lookup(f, 0, 0).shared);

	assert_int_equal(thin_metadata_next_device(f->m, 0, &i), 0);
	assert_int_equal(i.creation_time, 0);
	assert_int_equal(i.snapshotted_time, 2);
	assert_int_equal(thin_metadata_next_device(f->m, 1, &i), 0);
	assert_int_equal(i.creation_time, 1);
	assert_int_equal(i.snapshotted_time, 1);
	assert_int_equal(thin_metadata_next_device(f->m, 2, &i), 0);
	assert_int_equal(i.creation_time, 2);
	assert_int_equal(i.mapped_blocks, 3);
}

/* --- space ------------------------------------------------------------------------ */

static void freed_blocks_wait_for_release(void **state)
{
	struct fixture *f = *state;
	struct thin_freed *freed;
	struct thin_device *d;
	uint64_t next, removed, dblock, nr;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(map(f, 0, 0, 1000), 0);
	assert_int_equal(commit(f), 0);
	assert_int_equal(thin_metadata_reserve(f->m, 1, &dblock, &nr), -ENOSPC);

	assert_int_equal(thin_device_open(f->m, 0, &d), 0);
	assert_int_equal(thin_metadata_remove_range(d, 10, 20, 100, &next, &removed), 0);
	assert_int_equal(removed, 10);
	thin_device_close(d);
	assert_int_equal(info(f).data_allocated, 990);
	/* Not before the commit, nor before the release (I3). */
	assert_int_equal(thin_metadata_reserve(f->m, 1, &dblock, &nr), -ENOSPC);
	assert_int_equal(thin_metadata_commit(f->m, NULL, &freed), 0);
	assert_int_equal(thin_metadata_reserve(f->m, 1, &dblock, &nr), -ENOSPC);
	thin_metadata_release(f->m, freed);
	assert_int_equal(thin_metadata_reserve(f->m, 100, &dblock, &nr), 0);
	assert_int_equal(nr, 10);
	assert_int_equal(info(f).data_free, 0);
	thin_metadata_unreserve(f->m, dblock, nr);
	assert_int_equal(info(f).data_free, 10);
}

static void reserved_blocks_leak_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t dblock, nr;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(thin_metadata_reserve(f->m, 100, &dblock, &nr), 0);
	assert_int_equal(commit(f), 0);
	reopen(f);
	assert_int_equal(info(f).data_allocated, 0);
	assert_int_equal(info(f).data_free, 1000);
}

/* Somebody may be writing to them just now. */
static void an_abort_gives_no_reserved_block_away(void **state)
{
	struct fixture *f = *state;
	uint64_t mine, nr, dblock, got;

	assert_int_equal(thin_metadata_reserve(f->m, 100, &mine, &nr), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(thin_metadata_abort(f->m, false), 0);
	assert_int_equal(info(f).data_free, 1000 - nr);
	for (uint64_t left = 1000 - nr; left; left -= got) {
		assert_int_equal(thin_metadata_reserve(f->m, left, &dblock, &got), 0);
		assert_true(dblock >= mine + nr || dblock + got <= mine);
	}
	assert_int_equal(thin_metadata_reserve(f->m, 1, &dblock, &got), -ENOSPC);
	thin_metadata_unreserve(f->m, mine, nr);
	assert_int_equal(thin_metadata_reserve(f->m, 1, &dblock, &got), 0);
}

static void counts_above_two(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(map(f, 0, 0, 600), 0);
	for (uint32_t id = 1; id <= 5; id++) {
		assert_int_equal(thin_metadata_create_snap(f->m, id, id - 1), 0);
		assert_int_equal(map(f, id, 300 + id, 1), 0);
		assert_int_equal(commit(f), 0);
	}
	reopen(f);
	for (uint32_t id = 0; id <= 5; id++)
		assert_int_equal(thin_metadata_delete(f->m, (id * 5) % 6), 0);
	assert_int_equal(commit(f), 0);
	assert_int_equal(info(f).data_allocated, 0);
	assert_int_equal(info(f).metadata_allocated, 9);
}

static void metadata_keeps_its_reserve(void **state)
{
	struct fixture *f = *state;
	uint64_t vblock = 0;
	int r;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	/* Far apart, so that each commit copies many nodes. */
	while (!(r = map(f, 0, vblock, 50))) {
		vblock += 50;
		assert_int_equal(commit(f), 0);
	}
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(info(f).failed, 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 1), -ENOBUFS);
	assert_int_equal(commit(f), 0);
	/* What gives room back works, and then there is room again. */
	assert_int_equal(thin_metadata_delete(f->m, 0), 0);
	assert_int_equal(commit(f), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 1), 0);
	assert_int_equal(map(f, 1, 0, 100), 0);
	assert_int_equal(commit(f), 0);
}

static void metadata_and_data_grow(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	while (!map(f, 0, info(f).data_allocated, 1))
		;
	assert_int_equal(thin_metadata_grow_metadata(f->m, 63), -EINVAL);
	assert_int_equal(thin_storage_resize(f->storage, 4096 * UINT64_C(20000)), 0);
	assert_int_equal(thin_metadata_grow_metadata(f->m, 20000), 0);
	assert_int_equal(thin_metadata_grow_data(f->m, 99999), -EINVAL);
	assert_int_equal(thin_metadata_grow_data(f->m, 200000), 0);
	assert_int_equal(map(f, 0, info(f).data_allocated, 3000), 0);
	assert_int_equal(commit(f), 0);
	reopen(f);
	assert_int_equal(info(f).nr_metadata_blocks, 20000);
	assert_int_equal(info(f).nr_data_blocks, 200000);
	assert_int_equal(map(f, 0, info(f).data_allocated, 1), 0);
	assert_int_equal(commit(f), 0);
}

/* --- transactions ------------------------------------------------------------------ */

static void nothing_changed_writes_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t commits = info(f).commits;

	assert_int_equal(commit(f), 0);
	assert_int_equal(info(f).commits, commits);
	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(commit(f), 0);
	assert_int_equal(info(f).commits, commits + 1);
}

static void closing_forgets_what_was_not_committed(void **state)
{
	struct fixture *f = *state;
	struct thin_device *d;

	assert_int_equal(thin_metadata_create_thin(f->m, 3), 0);
	assert_int_equal(map(f, 3, 0, 10), 0);
	reopen(f);
	assert_int_equal(thin_device_open(f->m, 3, &d), -ENOENT);
	assert_int_equal(info(f).data_allocated, 0);
}

static void abort_tells_who_lost_something(void **state)
{
	struct fixture *f = *state;
	struct thin_device *kept, *lost, *new;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 1), 0);
	assert_int_equal(commit(f), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 2), 0);
	assert_int_equal(thin_device_open(f->m, 0, &kept), 0);
	assert_int_equal(thin_device_open(f->m, 1, &lost), 0);
	assert_int_equal(thin_device_open(f->m, 2, &new), 0);
	assert_int_equal(map(f, 1, 0, 1), 0);
	assert_true(thin_device_changed(lost));
	assert_false(thin_device_changed(kept));

	assert_int_equal(thin_metadata_abort(f->m, true), 0);
	assert_false(thin_device_aborted(kept));
	assert_true(thin_device_aborted(lost));
	assert_false(lookup(f, 1, 0).mapped);
	assert_int_equal(thin_metadata_remove_range(new, 0, 1, 1, &(uint64_t){0}, NULL),
			 -ENOENT);
	assert_int_equal(thin_metadata_create_thin(f->m, 9), -EROFS);
	thin_device_close(kept);
	thin_device_close(lost);
	thin_device_close(new);

	/* needs_check is on disk, and goes only when told so. */
	reopen(f);
	assert_true(info(f).needs_check);
	assert_int_equal(thin_metadata_create_thin(f->m, 9), -EROFS);
	assert_int_equal(thin_metadata_clear_needs_check(f->m), 0);
	assert_int_equal(thin_metadata_create_thin(f->m, 9), 0);
}

static int failing_flush(void *ctx)
{
	(*(int *)ctx)++;
	return -EIO;
}

static int good_begin(void *ctx)
{
	(void)ctx;
	return 0;
}

/* @data: counts the flushes of the data, of which the first fails. */
static void try_failing(struct fixture *f, const struct thin_data_flush *data,
			const int *flushes)
{
	struct thin_freed *freed = NULL;
	struct thin_device *d;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(thin_metadata_commit(f->m, data, &freed), -EIO);
	assert_int_equal(thin_metadata_commit(f->m, data, &freed), -ESHUTDOWN);
	assert_int_equal(*flushes, 1);
	assert_int_equal(thin_metadata_create_thin(f->m, 1), -ESHUTDOWN);
	assert_int_equal(thin_device_open(f->m, 0, &d), -ESHUTDOWN);
	assert_int_equal(thin_metadata_abort(f->m, true), -ESHUTDOWN);
	reopen(f);
	assert_int_equal(thin_device_open(f->m, 0, &d), -ENOENT);
}

static void a_failed_flush_is_for_good(void **state)
{
	int flushes = 0;
	struct thin_data_flush at_once = {failing_flush, NULL, &flushes};
	struct thin_data_flush later = {good_begin, failing_flush, &flushes};

	try_failing(*state, &at_once, &flushes);
	flushes = 0;
	try_failing(*state, &later, &flushes);
}

static void transaction_ids_are_compared(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(thin_metadata_set_transaction_id(f->m, 1, 2), -EINVAL);
	assert_int_equal(thin_metadata_set_transaction_id(f->m, 0, 2), 0);
	assert_int_equal(commit(f), 0);
	reopen(f);
	assert_int_equal(info(f).transaction_id, 2);
}

/* --- exclusive blocks -----------------------------------------------------------------
 */

static uint64_t exclusive(struct fixture *f, uint32_t id)
{
	struct thin_device_info d;
	uint64_t nr;

	assert_int_equal(thin_metadata_usage(f->m, id, &d, &nr), 0);
	assert_int_equal(d.id, id);
	return nr;
}

static void exclusive_is_what_deleting_frees(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	assert_int_equal(thin_metadata_create_thin(f->m, 0), 0);
	assert_int_equal(map(f, 0, 0, 600), 0);
	assert_int_equal(exclusive(f, 0), 600);
	assert_int_equal(thin_metadata_create_snap(f->m, 1, 0), 0);
	assert_int_equal(exclusive(f, 0), 0);
	assert_int_equal(exclusive(f, 1), 0);
	assert_int_equal(map(f, 0, 100, 7), 0);
	assert_int_equal(exclusive(f, 0), 7);
	assert_int_equal(exclusive(f, 1), 7);
	assert_int_equal(map(f, 1, 590, 20), 0);
	before = info(f).data_allocated;
	assert_int_equal(exclusive(f, 1), 27);
	assert_int_equal(thin_metadata_delete(f->m, 1), 0);
	assert_int_equal(info(f).data_allocated, before - 27);
	assert_int_equal(exclusive(f, 0), 600);
	/* A held metadata snapshot keeps all that there is. */
	assert_int_equal(thin_metadata_hold(f->m), 0);
	assert_int_equal(exclusive(f, 0), 0);
	assert_int_equal(thin_metadata_unhold(f->m), 0);
	assert_int_equal(exclusive(f, 0), 600);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_pool_is_the_kernels),
		cmocka_unit_test(format_refuses_impossible_geometry),
		TEST(open_names_the_damaged_block),
		cmocka_unit_test(open_refuses_what_is_no_pool),
		TEST(open_refuses_a_storage_that_shrank),
		TEST(devices_are_created_and_deleted),
		TEST(devices_in_reverse_order),
		TEST(times_follow_the_rules),
		TEST(freed_blocks_wait_for_release),
		TEST(reserved_blocks_leak_nothing),
		TEST(an_abort_gives_no_reserved_block_away),
		TEST(counts_above_two),
		cmocka_unit_test_setup_teardown(metadata_keeps_its_reserve, set_up_small,
						tear_down),
		cmocka_unit_test_setup_teardown(metadata_and_data_grow, set_up_small,
						tear_down),
		TEST(nothing_changed_writes_nothing),
		TEST(closing_forgets_what_was_not_committed),
		TEST(abort_tells_who_lost_something),
		TEST(a_failed_flush_is_for_good),
		TEST(transaction_ids_are_compared),
		TEST(exclusive_is_what_deleting_frees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
