/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/devices.h"

#include "audit/tree.h"
#include "format/device_details.h"
#include "util/checked.h"

#include <string.h>

/* What is kept of a device's details until its mappings have been walked. */
struct details {
	uint64_t id;
	uint64_t mapped_blocks;
	uint32_t snapshotted;
};

/* The devices as one superblock names them. */
struct version {
	struct audit *a;
	bool held;
	uint32_t time;
	uint64_t transaction_id;
	size_t first_device; /* in a->devices */
	bool ordered;	     /* these ascend */
	bool top_complete;
	bool details_complete;
	struct details *details; /* ascending by id */
	size_t nr_details;
	size_t cap_details;
};

static void report(const struct version *v, enum thin_audit_kind kind, uint64_t device,
		   uint64_t found, uint64_t expected)
{
	struct thin_finding f = audit_finding(kind);

	f.held = v->held;
	f.device = device;
	f.found = found;
	f.expected = expected;
	audit_report(v->a, &f);
}

/* --- details ------------------------------------------------------------ */

static void check_details(const struct version *v, uint64_t id,
			  const struct thin_disk_details *d)
{
	uint32_t made = le32_get(d->creation_time);
	uint32_t snapshotted = le32_get(d->snapshotted_time);

	if (thin_max(made, snapshotted) > v->time)
		report(v, THIN_AUDIT_DEVICE_TIME, id, thin_max(made, snapshotted),
		       v->time);
	if (snapshotted < made)
		report(v, THIN_AUDIT_DEVICE_TIME_ORDER, id, snapshotted, made);
	if (le64_get(d->transaction_id) > v->transaction_id)
		report(v, THIN_AUDIT_DEVICE_TRANS_ID, id, le64_get(d->transaction_id),
		       v->transaction_id);
}

static void details_leaf(struct walk *w, uint64_t block, const struct thin_disk_node *n,
			 bool fresh)
{
	struct version *v = w->ctx;

	(void)block;
	(void)fresh;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t id = thin_node_key(n, i);
		struct thin_disk_details d;

		memcpy(&d, thin_node_value(n, i), sizeof(d));
		check_details(v, id, &d);
		/* Order is judged where it is read; a search needs it kept here. */
		if (v->nr_details && v->details[v->nr_details - 1].id >= id)
			continue;
		if (!audit_room(v->a, &v->details, v->nr_details, &v->cap_details,
				sizeof(*v->details)))
			return;
		v->details[v->nr_details++] = (struct details){
			.id = id,
			.mapped_blocks = le64_get(d.mapped_blocks),
			.snapshotted = le32_get(d.snapshotted_time),
		};
	}
}

static const struct details *find_details(const struct version *v, uint64_t id)
{
	size_t lo = 0, hi = v->nr_details;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->details[mid].id == id)
			return &v->details[mid];
		if (v->details[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* --- top level ---------------------------------------------------------- */

static void top_leaf(struct walk *w, uint64_t block, const struct thin_disk_node *n,
		     bool fresh)
{
	struct version *v = w->ctx;
	struct audit *a = w->a;

	(void)block;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct audit_device d = {thin_node_key(n, i), thin_node_value64(n, i), 0};

		if (fresh)
			audit_ref(a, d.root);
		if (!audit_room(a, &a->devices, a->nr_devices, &a->cap_devices,
				sizeof(*a->devices)))
			return;
		if (a->nr_devices > v->first_device &&
		    a->devices[a->nr_devices - 1].id >= d.id)
			v->ordered = false;
		a->devices[a->nr_devices++] = d;
	}
}

/* The two trees have the same devices, with ids that dm-thin can name. */
static void check_sets(const struct version *v)
{
	const struct audit *a = v->a;
	size_t i = v->first_device;

	for (size_t j = i; j < a->nr_devices; j++) {
		uint64_t id = a->devices[j].id;

		if (id > THIN_MAX_DEVICE_ID)
			report(v, THIN_AUDIT_DEVICE_ID, id, id, THIN_MAX_DEVICE_ID);
		if (v->details_complete && !find_details(v, id))
			report(v, THIN_AUDIT_DEVICE_NO_DETAILS, id, 0, 0);
	}
	if (!v->ordered || !v->top_complete)
		return;
	for (size_t j = 0; j < v->nr_details; j++) {
		uint64_t id = v->details[j].id;

		while (i < a->nr_devices && a->devices[i].id < id)
			i++;
		if (i < a->nr_devices && a->devices[i].id == id)
			continue;
		report(v, THIN_AUDIT_DEVICE_NO_MAPPING, id, 0, 0);
		if (id > THIN_MAX_DEVICE_ID)
			report(v, THIN_AUDIT_DEVICE_ID, id, id, THIN_MAX_DEVICE_ID);
	}
}

/* --- mappings ----------------------------------------------------------- */

static void report_mapping(struct walk *w, enum thin_audit_kind kind, uint64_t block,
			   uint64_t vblock, uint64_t found, uint64_t expected)
{
	struct thin_finding f = audit_tree_finding(w, kind, block, vblock, vblock);

	f.found = found;
	f.expected = expected;
	audit_report(w->a, &f);
}

/* One kind after the other, so that neighbours can be joined. */
static void report_mappings(struct walk *w, uint64_t block,
			    const struct thin_disk_node *n, bool fresh)
{
	uint64_t nr_data = w->a->nr_data;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t dblock = thin_mapping_unpack(thin_node_value64(n, i)).data_block;

		if (dblock >= nr_data)
			report_mapping(w, THIN_AUDIT_MAPPING_PAST_END, block,
				       thin_node_key(n, i), dblock, nr_data);
	}
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint32_t time = thin_mapping_unpack(thin_node_value64(n, i)).time;

		if (time > w->time)
			report_mapping(w, THIN_AUDIT_MAPPING_TIME, block,
				       thin_node_key(n, i), time, w->time);
	}
	for (uint32_t i = 0; !fresh && i < thin_node_nr(n); i++) {
		uint32_t time = thin_mapping_unpack(thin_node_value64(n, i)).time;

		if (time >= w->shared_from)
			report_mapping(w, THIN_AUDIT_SHARED_NOT_FLAGGED, block,
				       thin_node_key(n, i), 0, 0);
	}
}

static void mapping_leaf(struct walk *w, uint64_t block, const struct thin_disk_node *n,
			 bool fresh)
{
	struct audit *a = w->a;
	uint32_t latest = 0;
	bool past_end = false;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct thin_packed_mapping m =
			thin_mapping_unpack(thin_node_value64(n, i));

		if (m.time > latest)
			latest = m.time;
		if (m.data_block >= a->nr_data)
			past_end = true;
		else if (fresh)
			audit_data_ref(a, m.data_block, m.time >= w->snapshotted);
	}
	if (fresh)
		a->memo[block].max_time = latest;
	if (past_end || latest > w->time || (!fresh && latest >= w->shared_from))
		report_mappings(w, block, n, fresh);
}

/* Walk one device, whose root has been loaded. */
static void check_device(struct version *v, struct walk *w, struct audit_device *device,
			 const struct place *root)
{
	uint64_t id = device->id;
	const struct details *d = find_details(v, id);
	const struct memo *m;

	device->snapshotted = d && !v->held ? d->snapshotted : 0;
	w->device = id;
	w->number = ++v->a->device_walks;
	w->snapshotted = d && !v->held ? d->snapshotted : UINT32_MAX;
	w->shared_from = UINT32_MAX;
	m = audit_tree_visit(w, root);
	if (!m || m->flags & MEMO_INCOMPLETE)
		return;
	if (!v->held)
		v->a->mapped_blocks += m->nr;
	if (d && d->mapped_blocks != m->nr)
		report(v, THIN_AUDIT_MAPPED_BLOCKS, id, d->mapped_blocks, m->nr);
}

static void check_mappings(struct version *v)
{
	struct audit *a = v->a;
	struct walk w = {
		.a = a,
		.tree = TREE_DEVICE,
		.held = v->held,
		.time = v->time,
		.snapshotted = UINT32_MAX,
		.shared_from = UINT32_MAX,
		.leaf = mapping_leaf,
	};

	for (size_t i = v->first_device; i < a->nr_devices && !audit_stopped(a);
	     i += GROUP) {
		size_t nr = thin_min(GROUP, a->nr_devices - i);
		struct place roots[GROUP];

		for (size_t j = 0; j < nr; j++)
			roots[j] = ROOT_PLACE(a->devices[i + j].root);
		audit_tree_load(&w, roots, nr);
		for (size_t j = 0; j < nr && !audit_stopped(a); j++)
			check_device(v, &w, &a->devices[i + j], &roots[j]);
	}
}

/* --- all of it ---------------------------------------------------------- */

static bool walk_tree(struct version *v, enum audit_tree tree, uint64_t root,
		      audit_leaf_fn *leaf)
{
	struct walk w = {
		.a = v->a, .tree = tree, .held = v->held, .leaf = leaf, .ctx = v};
	const struct memo *m;

	audit_ref(v->a, root);
	m = audit_tree_walk(&w, root);
	return m && !(m->flags & MEMO_INCOMPLETE);
}

void audit_check_devices(struct audit *a, const struct thin_disk_superblock *sb,
			 bool held)
{
	struct version v = {
		.a = a,
		.held = held,
		.time = le32_get(sb->time),
		.transaction_id = le64_get(sb->trans_id),
		.first_device = a->nr_devices,
		.ordered = true,
	};

	v.details_complete = walk_tree(&v, TREE_DETAILS,
				       le64_get(sb->device_details_root), details_leaf);
	v.top_complete =
		walk_tree(&v, TREE_TOP, le64_get(sb->data_mapping_root), top_leaf);
	if (!audit_stopped(a))
		check_sets(&v);
	check_mappings(&v);
	audit_free(a, v.details, v.cap_details, sizeof(*v.details));
	if (!held)
		a->nr_live_devices = a->nr_devices;
}
