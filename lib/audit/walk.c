/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/audit.h"

#include "audit/walk_tree.h"
#include "format/device_details.h"
#include "format/superblock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* --- devices ------------------------------------------------------------ */

struct walk_device {
	struct thin_walk_device facts;
	uint64_t root; /* of its mappings; 0 until the top level has named it */
};

struct device_list {
	struct walker *w;
	uint64_t wanted; /* or THIN_AUDIT_NO_DEVICE */
	struct walk_device *devices;
	size_t nr;
	size_t cap;
	size_t next; /* that the top level should name */
};

static bool is_wanted(const struct device_list *l, uint64_t id)
{
	return l->wanted == THIN_AUDIT_NO_DEVICE || l->wanted == id;
}

static int add_device(struct device_list *l, const struct thin_walk_device *facts)
{
	if (l->nr == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		void *p = reallocarray(l->devices, cap, sizeof(*l->devices));

		if (!p)
			return -ENOMEM;
		l->devices = p;
		l->cap = cap;
	}
	l->devices[l->nr++] = (struct walk_device){.facts = *facts};
	return 0;
}

static int details_leaf(void *ctx, const struct thin_disk_node *n)
{
	struct device_list *l = ctx;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct thin_disk_details d;
		int r;

		if (!is_wanted(l, thin_node_key(n, i)))
			continue;
		memcpy(&d, thin_node_value(n, i), sizeof(d));
		r = add_device(l,
			       &(struct thin_walk_device){
				       .id = thin_node_key(n, i),
				       .mapped_blocks = le64_get(d.mapped_blocks),
				       .transaction_id = le64_get(d.transaction_id),
				       .creation_time = le32_get(d.creation_time),
				       .snapshotted_time = le32_get(d.snapshotted_time),
			       });
		if (r)
			return r;
	}
	return 0;
}

static int one_tree_only(struct device_list *l, uint64_t id, const char *missing)
{
	return thin_error_set(l->w->e, -EILSEQ, "device %" PRIu64 " has no %s", id,
			      missing);
}

/* Both trees ascend, so that they are gone through side by side. */
static int top_leaf(void *ctx, const struct thin_disk_node *n)
{
	struct device_list *l = ctx;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t id = thin_node_key(n, i);

		if (!is_wanted(l, id))
			continue;
		if (l->next == l->nr || l->devices[l->next].facts.id > id)
			return one_tree_only(l, id, "details");
		if (l->devices[l->next].facts.id < id)
			return one_tree_only(l, l->devices[l->next].facts.id, "mappings");
		l->devices[l->next++].root = thin_node_value64(n, i);
	}
	return 0;
}

static int list_devices(struct device_list *l, const struct thin_disk_superblock *sb)
{
	struct walk_tree details = {l->w, "details of devices", THIN_VALUE_DETAILS,
				    details_leaf, l};
	struct walk_tree top = {l->w, "devices", THIN_VALUE_BLOCK, top_leaf, l};
	int r;

	r = audit_walk_tree(&details, le64_get(sb->device_details_root));
	if (r)
		return r;
	r = audit_walk_tree(&top, le64_get(sb->data_mapping_root));
	if (r)
		return r;
	if (l->next < l->nr)
		return one_tree_only(l, l->devices[l->next].facts.id, "mappings");
	if (!l->nr && l->wanted != THIN_AUDIT_NO_DEVICE)
		return thin_error_set(l->w->e, -ENOENT, "there is no device %" PRIu64,
				      l->wanted);
	return 0;
}

/* --- runs --------------------------------------------------------------- */

struct runs {
	struct walker *w;
	struct thin_walk_run run; /* to be told; length 0 is none */
};

static int flush_run(struct runs *runs)
{
	return runs->run.length ? runs->w->fns->run(runs->w->ctx, &runs->run) : 0;
}

static bool goes_on(const struct thin_walk_run *run, uint64_t vblock,
		    const struct thin_packed_mapping *m)
{
	return run->length && run->time == m->time &&
	       run->vblock + run->length == vblock &&
	       run->dblock + run->length == m->data_block;
}

static int mapping_leaf(void *ctx, const struct thin_disk_node *n)
{
	struct runs *runs = ctx;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct thin_packed_mapping m =
			thin_mapping_unpack(thin_node_value64(n, i));
		uint64_t vblock = thin_node_key(n, i);
		int r;

		if (m.data_block >= runs->w->nr_data)
			return audit_walk_damaged(runs->w, "mappings",
						  le64_get(n->blocknr),
						  "a mapping past the end of the data");
		if (goes_on(&runs->run, vblock, &m)) {
			runs->run.length++;
			continue;
		}
		r = flush_run(runs);
		if (r)
			return r;
		runs->run = (struct thin_walk_run){vblock, m.data_block, 1, m.time};
	}
	return 0;
}

static int walk_device(struct walker *w, const struct walk_device *d)
{
	struct runs runs = {.w = w};
	struct walk_tree mappings = {w, "mappings", THIN_VALUE_BLOCK, mapping_leaf,
				     &runs};
	int r = 0;

	if (w->fns->device)
		r = w->fns->device(w->ctx, &d->facts);
	if (!r && w->fns->run)
		r = audit_walk_tree(&mappings, d->root);
	if (!r)
		r = flush_run(&runs);
	if (!r && w->fns->device_end)
		r = w->fns->device_end(w->ctx, &d->facts);
	return r;
}

static int walk_devices(struct walker *w, const struct thin_disk_superblock *sb,
			uint64_t wanted)
{
	struct device_list l = {.w = w, .wanted = wanted};
	int r;

	r = list_devices(&l, sb);
	for (size_t i = 0; !r && i < l.nr; i++)
		r = walk_device(w, &l.devices[i]);
	free(l.devices);
	return r;
}

/* --- superblocks -------------------------------------------------------- */

static int tell_pool(struct walker *w, const struct thin_disk_superblock *sb)
{
	struct thin_walk_pool pool = {
		.transaction_id = le64_get(sb->trans_id),
		.time = le32_get(sb->time),
		.flags = le32_get(sb->flags),
		.version = le32_get(sb->version),
		.block_sectors = le32_get(sb->data_block_size),
		.nr_data_blocks = le64_get(sb->data_space_map.nr_blocks),
		.nr_metadata_blocks = le64_get(sb->metadata_space_map.nr_blocks),
		.held_root = le64_get(sb->held_root),
	};

	memcpy(pool.uuid, sb->uuid, sizeof(pool.uuid));
	return w->fns->pool ? w->fns->pool(w->ctx, &pool) : 0;
}

static int read_superblock(struct walker *w, uint64_t block, uint8_t *buf)
{
	int r;

	r = thin_storage_read_at(w->storage, block * THIN_METADATA_BLOCK, buf,
				 THIN_METADATA_BLOCK);
	if (r)
		return thin_error_default(w->e, r, "metadata block %" PRIu64 ": %s",
					  block, thin_strerror(r));
	return thin_superblock_check(buf, block, w->e);
}

/* The superblock to go by is read to @buf; @w learns its bounds from the live one. */
static int open_superblock(struct walker *w, bool held, uint8_t *buf)
{
	const struct thin_disk_superblock *sb = (const void *)buf;
	uint64_t held_root;
	int r;

	r = read_superblock(w, 0, buf);
	if (r)
		return r;
	w->nr_blocks = le64_get(sb->metadata_space_map.nr_blocks);
	w->nr_data = le64_get(sb->data_space_map.nr_blocks);
	held_root = le64_get(sb->held_root);
	if (!held)
		return 0;
	if (!held_root)
		return thin_error_set(w->e, -ENOENT, "no metadata snapshot is held");
	return read_superblock(w, held_root, buf);
}

int thin_audit_walk(struct thin_storage *metadata, const struct thin_walk_params *p,
		    const struct thin_walk_fns *fns, void *ctx, struct thin_error *e)
{
	static const struct thin_walk_params all = {.device = THIN_AUDIT_NO_DEVICE};
	struct walker w = {.storage = metadata, .fns = fns, .ctx = ctx, .e = e};
	uint8_t superblock[THIN_METADATA_BLOCK] __attribute__((aligned(8)));
	const struct thin_disk_superblock *sb = (const void *)superblock;
	int r;

	if (!p)
		p = &all;
	r = open_superblock(&w, p->held, superblock);
	if (!r)
		r = tell_pool(&w, sb);
	if (!r)
		r = walk_devices(&w, sb, p->device);
	for (size_t i = 0; i < THIN_MAX_TREE_DEPTH; i++)
		audit_batch_fini(&w.level[i]);
	return r;
}
