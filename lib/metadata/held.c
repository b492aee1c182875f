/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <errno.h>

/*
 * The held metadata snapshot: a copy of the superblock, in a block of its
 * own, that has a reference to each of the two trees' roots.  Whoever reads
 * it, on the live metadata too, sees the mappings of one moment: what comes
 * after shadows its way down from the roots, since these are shared now.
 */

/* The superblock as it would be written now, without the space maps. */
static void describe(struct thin_metadata *m, struct thin_disk_superblock *sb)
{
	*sb = m->sb;
	sb->time = le32_of(m->time);
	sb->trans_id = le64_of(m->transaction_id);
	sb->held_root = le64_of(0);
	sb->data_mapping_root = le64_of(m->top_root);
	sb->device_details_root = le64_of(m->details_root);
	memset(&sb->data_space_map, 0, sizeof(sb->data_space_map));
	memset(&sb->metadata_space_map, 0, sizeof(sb->metadata_space_map));
}

static int hold(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock)
{
	struct thin_disk_superblock sb;
	void *copy;
	int r;

	/* What is only in memory must be in the trees before they are held. */
	r = thin_devices_write_back(m);
	if (r)
		return r;
	thin_cache_begin_op(m->cache);
	r = thin_tm_new(&m->tm, THIN_SUPERBLOCK, &m->held_root, &copy);
	if (r)
		return r;
	describe(m, &sb);
	memcpy(copy, &sb, sizeof(sb));
	r = thin_sm_inc(m->tm.sm, m->top_root);
	if (r)
		return r;
	m->stamp++; /* the top level is shared again */
	return thin_sm_inc(m->tm.sm, m->details_root);
}

int thin_metadata_hold(struct thin_metadata *m)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_grow(m, 1);
	if (!r && m->held_root)
		r = -EBUSY;
	if (!r)
		r = thin_changed(m, hold(m));
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/* The copy and its trees, all the way down. */
static int unhold(struct thin_metadata *m)
{
	struct thin_btree top = thin_top_tree(m), details = thin_details_tree(m);
	struct thin_disk_superblock sb;
	const void *copy;
	int r;

	r = thin_tm_read(&m->tm, m->held_root, THIN_SUPERBLOCK, &copy);
	if (r)
		return r;
	memcpy(&sb, copy, sizeof(sb));
	r = thin_btree_delete(&top, le64_get(sb.data_mapping_root));
	if (r)
		return r;
	r = thin_btree_delete(&details, le64_get(sb.device_details_root));
	if (r)
		return r;
	r = thin_sm_dec(m->tm.sm, m->held_root);
	m->held_root = 0;
	m->sharing++;
	return r;
}

int thin_metadata_unhold(struct thin_metadata *m)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_change(m);
	if (!r && !m->held_root)
		r = -EINVAL;
	if (!r)
		r = thin_changed(m, unhold(m));
	thin_sharded_write_end(&m->tree_lock);
	return r;
}
