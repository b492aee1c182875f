/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * Thin devices.  Those that are open, or whose details have changed, are in
 * a table in memory; details go into their tree at commit.
 *
 *  V1  A device's root in memory and in the top-level tree are the same.
 *  V2  Its info in memory is newer than in the details tree, or equal.
 */

static struct thin_device **bucket(struct thin_metadata *m, uint32_t id)
{
	return &m->devices[id % THIN_DEVICE_BUCKETS];
}

struct thin_device *thin_device_find(struct thin_metadata *m, uint32_t id)
{
	struct thin_device *d = *bucket(m, id);

	while (d && (d->info.id != id || d->gone))
		d = d->next;
	return d;
}

static void forget(struct thin_device *d)
{
	struct thin_device **p = bucket(d->m, d->info.id);

	while (*p != d)
		p = &(*p)->next;
	*p = d->next;
	free(d);
}

void thin_device_put(struct thin_metadata *m, struct thin_device *d)
{
	assert(d->m == m);
	if (!d->opens && !d->details_dirty)
		forget(d);
}

static struct thin_device_info info_of(uint32_t id,
				       const struct thin_disk_details *details)
{
	return (struct thin_device_info){
		.id = id,
		.mapped_blocks = le64_get(details->mapped_blocks),
		.transaction_id = le64_get(details->transaction_id),
		.creation_time = le32_get(details->creation_time),
		.snapshotted_time = le32_get(details->snapshotted_time),
	};
}

static struct thin_disk_details details_of(const struct thin_device_info *info)
{
	return (struct thin_disk_details){
		.mapped_blocks = le64_of(info->mapped_blocks),
		.transaction_id = le64_of(info->transaction_id),
		.creation_time = le32_of(info->creation_time),
		.snapshotted_time = le32_of(info->snapshotted_time),
	};
}

/* -ENODATA: no such device. */
static int read_device(struct thin_metadata *m, uint32_t id,
		       struct thin_device_info *ret_info, uint64_t *ret_root)
{
	struct thin_reader rd = {.cache = m->cache, .may_load = true};
	struct thin_disk_details details;
	struct le64 root;
	int r;

	r = thin_btree_lookup(&rd, THIN_VALUE_DETAILS, m->details_root, id, &details);
	if (r)
		return r;
	r = thin_btree_lookup(&rd, THIN_VALUE_BLOCK, m->top_root, id, &root);
	if (r) /* in one tree only: damage */
		return r == -ENODATA ? -EILSEQ : r;
	*ret_info = info_of(id, &details);
	*ret_root = le64_get(root);
	return 0;
}

int thin_device_get(struct thin_metadata *m, uint32_t id, struct thin_device **ret)
{
	struct thin_device_info info;
	struct thin_device *d;
	uint64_t root;
	int r;

	*ret = thin_device_find(m, id);
	if (*ret)
		return 0;
	r = read_device(m, id, &info, &root);
	if (r)
		return r == -ENODATA ? -ENOENT : r;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->m = m;
	d->info = info;
	d->root = root;
	d->next = *bucket(m, id);
	*bucket(m, id) = d;
	*ret = d;
	return 0;
}

/* --- opening ------------------------------------------------------------------ */

int thin_device_open(struct thin_metadata *m, uint32_t id, struct thin_device **ret)
{
	struct thin_device *d;
	int r;

	thin_sharded_write(&m->tree_lock);
	thin_cache_begin_op(m->cache);
	r = m->dead || m->failed ? -ESHUTDOWN : thin_device_get(m, id, &d);
	if (!r)
		d->opens++;
	thin_sharded_write_end(&m->tree_lock);
	if (!r)
		*ret = d;
	return r;
}

void thin_device_close(struct thin_device *d)
{
	struct thin_metadata *m;

	if (!d)
		return;
	m = d->m;
	thin_sharded_write(&m->tree_lock);
	assert(d->opens);
	d->opens--;
	thin_device_put(m, d);
	thin_sharded_write_end(&m->tree_lock);
}

void thin_device_info(struct thin_device *d, struct thin_device_info *ret)
{
	thin_sharded_read(&d->m->tree_lock);
	*ret = d->info;
	thin_sharded_read_end(&d->m->tree_lock);
}

bool thin_device_changed(struct thin_device *d)
{
	bool changed;

	thin_sharded_read(&d->m->tree_lock);
	changed = d->changed > d->m->durable;
	thin_sharded_read_end(&d->m->tree_lock);
	return changed;
}

bool thin_device_aborted(struct thin_device *d)
{
	bool aborted;

	thin_sharded_read(&d->m->tree_lock);
	aborted = d->aborted;
	thin_sharded_read_end(&d->m->tree_lock);
	return aborted;
}

/* --- the top level ---------------------------------------------------------------- */

static int set_top(struct thin_metadata *m, uint32_t id, uint64_t root)
{
	struct thin_btree top = thin_top_tree(m);
	struct le64 v = le64_of(root);

	return thin_btree_insert(&top, m->top_root, id, &v, &m->top_root);
}

int thin_device_expose(struct thin_metadata *m, struct thin_device *d)
{
	int r;

	thin_usage_changes(m, d->info.id);
	if (d->exposed == m->stamp)
		return 0;
	r = set_top(m, d->info.id, d->root);
	if (!r)
		d->exposed = m->stamp;
	return r;
}

int thin_device_set_root(struct thin_metadata *m, struct thin_device *d, uint64_t root)
{
	if (root == d->root)
		return 0;
	d->root = root;
	return set_top(m, d->info.id, root);
}

/* --- creating ------------------------------------------------------------------------
 */

static int write_details(struct thin_metadata *m, const struct thin_device_info *info)
{
	struct thin_btree details = thin_details_tree(m);
	struct thin_disk_details v = details_of(info);

	return thin_btree_insert(&details, m->details_root, info->id, &v,
				 &m->details_root);
}

/* Is @id free?  0; -EEXIST. */
static int check_free(struct thin_metadata *m, uint32_t id)
{
	struct thin_reader rd = {.cache = m->cache, .may_load = true};
	struct le64 unused;
	int r;

	if (id > THIN_MAX_DEVICE_ID)
		return -EINVAL;
	r = thin_btree_lookup(&rd, THIN_VALUE_BLOCK, m->top_root, id, &unused);
	if (r == -ENODATA)
		return 0;
	return r ? r : -EEXIST;
}

static int create_thin(struct thin_metadata *m, uint32_t id) THIN_REQUIRES(m->tree_lock)
{
	struct thin_btree mappings = thin_mapping_tree(m);
	struct thin_device_info info = {
		.id = id,
		.transaction_id = m->transaction_id,
		.creation_time = m->time,
		.snapshotted_time = m->time,
	};
	uint64_t root;
	int r;

	r = thin_btree_new(&mappings, &root);
	if (r)
		return r;
	r = set_top(m, id, root);
	if (!r)
		r = write_details(m, &info);
	if (!r)
		thin_usage_created(m, id);
	return r;
}

/* Blocks that a new device may need at most: two paths, and its root. */
#define CREATE_BLOCKS 8

int thin_metadata_create_thin(struct thin_metadata *m, uint32_t id)
{
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_grow(m, CREATE_BLOCKS);
	if (!r)
		r = check_free(m, id);
	if (!r)
		r = thin_changed(m, create_thin(m, id));
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/*
 * The time goes up first, so that all that the origin has mapped up to now
 * is older than its snapshotted time, and so counts as shared (I4).
 */
static int create_snap(struct thin_metadata *m, uint32_t id, struct thin_device *origin)
	THIN_REQUIRES(m->tree_lock)
{
	struct thin_device_info info = origin->info;
	int r;

	r = thin_device_expose(m, origin);
	if (r)
		return r;
	r = thin_sm_inc(m->tm.sm, origin->root);
	if (r)
		return r;
	r = set_top(m, id, origin->root);
	if (r)
		return r;
	m->time++;
	info.id = id;
	info.transaction_id = m->transaction_id;
	info.creation_time = info.snapshotted_time = m->time;
	origin->info.snapshotted_time = m->time;
	origin->details_dirty = true;
	thin_usage_shared(m, origin->info.id, id);
	return write_details(m, &info);
}

int thin_metadata_create_snap(struct thin_metadata *m, uint32_t id, uint32_t origin)
{
	struct thin_device *d = NULL;
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_grow(m, CREATE_BLOCKS);
	if (!r && m->time >= THIN_MAX_TIME)
		r = -EDQUOT;
	if (!r)
		r = check_free(m, id);
	if (!r)
		r = thin_device_get(m, origin, &d);
	if (!r)
		r = thin_changed(m, create_snap(m, id, d));
	if (d)
		thin_device_put(m, d);
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/* --- deleting --------------------------------------------------------------------------
 */

/* Take @id out of @t, whose values need no care. */
static int remove_key(struct thin_btree t, uint32_t id, uint64_t *root)
{
	uint64_t next;
	uint32_t removed;

	t.dec = NULL;
	return thin_btree_remove(&t, *root, id, (uint64_t)id + 1, root, &next, &removed);
}

static int delete_device(struct thin_metadata *m, struct thin_device *d)
	THIN_REQUIRES(m->tree_lock)
{
	struct thin_btree mappings = thin_mapping_tree(m);
	uint64_t root = d->root;
	uint32_t id = d->info.id;
	int r;

	r = thin_device_expose(m, d);
	if (r)
		return r;
	r = remove_key(thin_details_tree(m), id, &m->details_root);
	if (r)
		return r;
	r = remove_key(thin_top_tree(m), id, &m->top_root);
	if (r)
		return r;
	forget(d);
	return thin_btree_delete(&mappings, root);
}

int thin_metadata_delete(struct thin_metadata *m, uint32_t id)
{
	struct thin_device *d;
	int r;

	thin_sharded_write(&m->tree_lock);
	r = thin_may_change(m);
	if (!r)
		r = thin_device_get(m, id, &d);
	if (!r && d->opens)
		r = -EBUSY;
	else if (!r)
		r = thin_changed(m, delete_device(m, d));
	thin_sharded_write_end(&m->tree_lock);
	return r;
}

/* --- going through them
 * ------------------------------------------------------------------ */

struct next_device {
	uint32_t from;
	struct thin_device_info info;
};

static int look_next(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct next_device *n = ctx;
	struct thin_disk_details details;
	const struct thin_device *d;
	struct thin_leaf leaf;
	uint64_t id;
	int r;

	r = thin_btree_seek(rd, THIN_VALUE_DETAILS, m->details_root, n->from, &leaf);
	if (r)
		return r == -ENODATA ? -ENOENT : r;
	id = thin_node_key(leaf.node, leaf.index);
	if (id > THIN_MAX_DEVICE_ID)
		return -EILSEQ;
	d = thin_device_find(m, (uint32_t)id);
	memcpy(&details, thin_node_value(leaf.node, leaf.index), sizeof(details));
	n->info = d ? d->info : info_of((uint32_t)id, &details);
	return 0;
}

int thin_metadata_next_device(struct thin_metadata *m, uint32_t from,
			      struct thin_device_info *ret)
{
	struct next_device n = {.from = from};
	int r = thin_look(m, look_next, &n);

	if (!r)
		*ret = n.info;
	return r;
}

int thin_device_look(struct thin_metadata *m, struct thin_reader *rd, uint32_t id,
		     struct thin_device_info *ret)
{
	const struct thin_device *d = thin_device_find(m, id);
	struct thin_disk_details details;
	int r;

	if (d) {
		*ret = d->info;
		return 0;
	}
	r = thin_btree_lookup(rd, THIN_VALUE_DETAILS, m->details_root, id, &details);
	if (!r)
		*ret = info_of(id, &details);
	return r == -ENODATA ? -ENOENT : r;
}

/* --- with the transaction
 * ------------------------------------------------------------------ */

int thin_devices_write_back(struct thin_metadata *m)
{
	for (size_t i = 0; i < THIN_DEVICE_BUCKETS; i++) {
		struct thin_device *d = m->devices[i], *next;

		for (; d; d = next) {
			int r;

			next = d->next;
			if (!d->details_dirty)
				continue;
			thin_cache_begin_op(m->cache);
			r = write_details(m, &d->info);
			if (r)
				return r;
			d->details_dirty = false;
			thin_device_put(m, d);
		}
	}
	return 0;
}

/* A device whose changes are lost says so; one that was new is gone. */
static void reload(struct thin_device *d)
{
	struct thin_metadata *m = d->m;

	d->aborted |= d->changed > m->durable;
	d->changed = 0;
	d->exposed = 0;
	d->details_dirty = false;
	thin_cache_begin_op(m->cache);
	if (read_device(m, d->info.id, &d->info, &d->root))
		d->gone = true;
}

void thin_devices_reload(struct thin_metadata *m)
{
	for (size_t i = 0; i < THIN_DEVICE_BUCKETS; i++) {
		struct thin_device *d = m->devices[i], *next;

		for (; d; d = next) {
			next = d->next;
			reload(d);
			thin_device_put(m, d);
		}
	}
}
