/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * Commit, and abort.
 *
 *   close	tree lock: details, data map, metadata map into their blocks;
 *		the new superblock in memory; dirty blocks set aside.  The
 *		next transaction begins: nothing is fresh any more, so that
 *		what is set aside is not changed again (T1).
 *   make	no tree lock: begin to flush the data; write metadata; flush
 *   durable	metadata; end the flush of the data; write the superblock;
 *		flush it.
 *   settle	tree lock: this transaction is durable.
 *
 *  K1  The superblock is written only when all that it names is durable: both
 *      flushes begin after the transaction was closed and end before it is
 *      written, and mappings are inserted after their data was written (I2).
 *  K2  Blocks freed in this transaction stay in quarantine until it is
 *      durable; then the caller has them as a struct thin_freed (I3).
 *  K3  Whatever fails, the superblock on disk is the old one or the new one,
 *      and the new one only if all it names is durable.
 *  K4  After a failed flush nothing more is written, but for what was being
 *      written beside it, to blocks that are not in use yet (I1): dead (I9).
 */

/* K2. */
static struct thin_block_set take_freed(struct thin_quarantine *q)
{
	struct thin_block_set freed = q->freed;

	q->freed = (struct thin_block_set){0};
	return freed;
}

/* --- closing ----------------------------------------------------------------- */

static int close_transaction(struct thin_metadata *m, struct thin_disk_superblock *sb)
	THIN_REQUIRES(m->tree_lock)
{
	int r;

	r = thin_devices_write_back(m);
	if (r)
		return r;
	r = thin_sm_disk_commit(m->sm_data, &sb->data_space_map);
	if (r)
		return r;
	r = thin_sm_metadata_commit(m->sm_metadata, &m->tm, &sb->metadata_space_map);
	if (r)
		return r;
	sb->time = le32_of(m->time);
	sb->trans_id = le64_of(m->transaction_id);
	sb->held_root = le64_of(m->held_root);
	sb->data_mapping_root = le64_of(m->top_root);
	sb->device_details_root = le64_of(m->details_root);
	return thin_cache_collect(m->cache);
}

static void begin_transaction(struct thin_metadata *m, struct thin_freed *freed)
{
	freed->data = take_freed(thin_sm_disk_quarantine(m->sm_data));
	freed->metadata = take_freed(thin_sm_metadata_quarantine(m->sm_metadata));
	thin_block_set_clear(&m->tm.fresh);
	m->dirty = false;
	m->transaction++;
	m->stamp++;
}

/*
 * Close the open transaction.  @ret_sb, @ret_freed: what it leaves to do;
 * @ret_freed is NULL where there was nothing to commit.
 */
static int close_open(struct thin_metadata *m, struct thin_disk_superblock *ret_sb,
		      struct thin_freed **ret_freed) THIN_REQUIRES(m->tree_lock)
{
	struct thin_freed *freed;
	int r;

	*ret_freed = NULL;
	if (m->dead)
		return -ESHUTDOWN;
	if (m->failed)
		return m->failed;
	if (!m->dirty)
		return 0;
	freed = calloc(1, sizeof(*freed));
	if (!freed)
		return -ENOMEM;
	*ret_sb = m->sb;
	r = thin_changed(m, close_transaction(m, ret_sb));
	if (r) {
		free(freed);
		return r;
	}
	begin_transaction(m, freed);
	*ret_freed = freed;
	return 0;
}

/* --- making durable ------------------------------------------------------------ */

int thin_write_superblock(struct thin_storage *storage,
			  const struct thin_disk_superblock *sb)
{
	_Alignas(THIN_METADATA_BLOCK) uint8_t block[THIN_METADATA_BLOCK] = {0};
	int r;

	memcpy(block, sb, sizeof(*sb));
	thin_block_seal(THIN_SUPERBLOCK, block, 0);
	r = thin_storage_write_at(storage, 0, block, sizeof(block));
	return r ? r : thin_storage_flush(storage);
}

static int no_data(void *ctx)
{
	(void)ctx;
	return 0;
}

static const struct thin_data_flush no_flush = {no_data, no_data, NULL};

/* K1, up to the superblock.  @ret_dead: a flush has failed (K4). */
static int flush_both(struct thin_metadata *m, const struct thin_data_flush *data,
		      bool *ret_dead)
{
	int r, data_r = data->begin(data->ctx);

	*ret_dead = true;
	if (data_r)
		return data_r;
	r = thin_cache_write_out(m->cache);
	*ret_dead = !r;
	if (!r)
		r = thin_storage_flush(m->storage);
	data_r = data->end(data->ctx);
	*ret_dead |= data_r != 0;
	return data_r ? data_r : r;
}

/* K1.  @ret_dead: it was a flush that failed, or we can not tell (K4). */
static int make_durable(struct thin_metadata *m, const struct thin_disk_superblock *sb,
			const struct thin_data_flush *data, bool *ret_dead)
{
	int r = flush_both(m, data ? data : &no_flush, ret_dead);

	return r ? r : thin_write_superblock(m->storage, sb);
}

static void free_freed(struct thin_freed *freed)
{
	thin_block_set_clear(&freed->data);
	thin_block_set_clear(&freed->metadata);
	free(freed);
}

static void settle(struct thin_metadata *m, const struct thin_disk_superblock *sb,
		   struct thin_freed *freed, uint64_t transaction)
{
	m->sb = *sb;
	m->durable = transaction;
	m->commits++;
	freed->next = m->under_way;
	m->under_way = freed;
}

static int commit_closed(struct thin_metadata *m, const struct thin_disk_superblock *sb,
			 uint64_t transaction, const struct thin_data_flush *data,
			 struct thin_freed *freed)
{
	bool dead;
	int r = make_durable(m, sb, data, &dead);

	thin_sharded_write(&m->tree_lock);
	if (r) {
		m->failed = r;
		m->dead |= dead;
		free_freed(freed);
	} else {
		settle(m, sb, freed, transaction);
	}
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

int thin_metadata_commit(struct thin_metadata *m, const struct thin_data_flush *data,
			 struct thin_freed **ret_freed)
{
	struct thin_disk_superblock sb;
	struct thin_freed *freed;
	uint64_t transaction;
	int r;

	thin_mutex_lock(&m->commit_lock);
	thin_sharded_write(&m->tree_lock);
	transaction = m->transaction;
	r = close_open(m, &sb, &freed);
	thin_sharded_write_end(&m->tree_lock);
	if (!r && freed)
		r = commit_closed(m, &sb, transaction, data, freed);
	thin_mutex_unlock(&m->commit_lock);
	if (!r)
		*ret_freed = freed;
	return r;
}

/* --- what was freed --------------------------------------------------------------- */

int thin_freed_for_each(const struct thin_freed *freed,
			int (*fn)(void *ctx, uint64_t dblock, uint64_t nr), void *ctx)
{
	return thin_block_set_for_each_run(&freed->data, fn, ctx);
}

/* A million blocks may have been freed: not one by one, while others wait. */
static void release(struct thin_metadata *m, const struct thin_freed *freed)
	THIN_REQUIRES(m->tree_lock)
{
	thin_block_set_subtract(&thin_sm_disk_quarantine(m->sm_data)->unavailable,
				&freed->data);
	if (!thin_pin_set_aside(m, &freed->metadata))
		thin_block_set_subtract(
			&thin_sm_metadata_quarantine(m->sm_metadata)->unavailable,
			&freed->metadata);
}

void thin_metadata_release(struct thin_metadata *m, struct thin_freed *freed)
{
	struct thin_freed **p;

	if (!freed)
		return;
	thin_sharded_write(&m->tree_lock);
	for (p = &m->under_way; *p != freed; p = &(*p)->next)
		assert(*p);
	*p = freed->next;
	if (m->sm_data)
		release(m, freed);
	thin_sharded_write_end(&m->tree_lock);
	free_freed(freed);
}

/* --- going back ----------------------------------------------------------------------
 */

static int set_needs_check(struct thin_metadata *m, bool needs_check)
{
	uint32_t flags = le32_get(m->sb.flags) & ~THIN_NEEDS_CHECK;

	m->sb.flags = le32_of(flags | (needs_check ? THIN_NEEDS_CHECK : 0));
	m->needs_check = needs_check;
	m->read_only = m->want_read_only || needs_check;
	return thin_write_superblock(m->storage, &m->sb);
}

/* What must not be handed out in the old state must not be in the new one. */
static int keep_unavailable(struct thin_metadata *m, const struct thin_sm_disk *old)
{
	struct thin_quarantine *data = thin_sm_disk_quarantine(m->sm_data);
	struct thin_quarantine *metadata = thin_sm_metadata_quarantine(m->sm_metadata);
	int r = thin_sm_disk_adopt_reserved(m->sm_data, old);

	for (const struct thin_freed *f = m->under_way; f && !r; f = f->next) {
		r = thin_block_set_union(&data->unavailable, &f->data);
		if (!r)
			r = thin_block_set_union(&metadata->unavailable, &f->metadata);
	}
	return r;
}

static int go_back(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock)
{
	struct thin_sm_disk *old = m->sm_data;
	int r;

	thin_pin_break(m);
	m->sm_data = NULL;
	thin_drop_state(m);
	thin_cache_set_nr_blocks(m->cache, le64_get(m->sb.metadata_space_map.nr_blocks));
	thin_cache_begin_op(m->cache);
	r = thin_load_state(m);
	if (!r)
		r = keep_unavailable(m, old);
	thin_sm_disk_destroy(old);
	if (r)
		return r;
	m->failed = 0;
	thin_devices_reload(m);
	m->transaction++;
	m->stamp++;
	return 0;
}

int thin_metadata_abort(struct thin_metadata *m, bool needs_check)
{
	int r;

	thin_mutex_lock(&m->commit_lock);
	thin_sharded_write(&m->tree_lock);
	r = m->dead ? -ESHUTDOWN : go_back(m);
	if (!r && needs_check)
		r = set_needs_check(m, true);
	m->dead |= r != 0;
	thin_sharded_write_end(&m->tree_lock);
	thin_mutex_unlock(&m->commit_lock);
	return r;
}

int thin_metadata_clear_needs_check(struct thin_metadata *m)
{
	int r;

	thin_mutex_lock(&m->commit_lock);
	thin_sharded_write(&m->tree_lock);
	r = m->dead ? -ESHUTDOWN : m->failed;
	if (!r && m->needs_check && m->want_read_only)
		r = -EROFS;
	if (!r && m->needs_check)
		r = set_needs_check(m, false);
	thin_sharded_write_end(&m->tree_lock);
	thin_mutex_unlock(&m->commit_lock);
	return r;
}
