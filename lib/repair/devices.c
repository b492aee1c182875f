/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * The devices: which there are, what each loses, what its details say.
 *
 * Which device has which tree is in the top level only; where that can not
 * be believed nothing is known.  What the details say follows from the trees,
 * but for times, and these err to the safe side: with a snapshotted time
 * later than all mappings, each is copied before it is written (I4).
 */

/* A time that was not made up: it leaves as many snapshots again. */
#define PLAUSIBLE_TIME (THIN_MAX_TIME / 2)

static bool listed(const uint64_t *list, size_t nr, uint64_t id)
{
	for (size_t i = 0; i < nr; i++)
		if (list[i] == id)
			return true;
	return false;
}

/* --- reading them ------------------------------------------------------------ */

static int add_device(struct repair *r, const struct repair_device *d)
{
	int err = repair_room(&r->devices.at, r->devices.nr, &r->devices.room,
			      sizeof(*r->devices.at));

	if (!err)
		r->devices.at[r->devices.nr++] = *d;
	return err;
}

static int top_entry(void *ctx, uint64_t key, const void *value)
{
	struct repair *r = ctx;
	struct le64 root;

	if (key > THIN_MAX_DEVICE_ID)
		return repair_refuse(r, -EILSEQ,
				     "metadata: the list of devices names %" PRIu64
				     ", which is none; which one it was can not be known",
				     key);
	if (listed(r->p->left_out, r->p->nr_left_out, key)) {
		r->top_sound = false;
		return 0;
	}
	memcpy(&root, value, sizeof(root));
	return add_device(r, &(struct repair_device){
				     .id = key,
				     .root = le64_get(root),
				     .in_top = true,
			     });
}

static int compare_id(const void *key, const void *device)
{
	uint64_t id = *(const uint64_t *)key;
	const struct repair_device *d = device;

	return id < d->id ? -1 : id > d->id;
}

static int details_entry(void *ctx, uint64_t key, const void *value)
{
	struct repair *r = ctx;
	struct repair_device *d = NULL, missing = {.id = key, .in_details = true};

	if (key > THIN_MAX_DEVICE_ID || listed(r->p->left_out, r->p->nr_left_out, key)) {
		r->details_sound = false;
		return 0;
	}
	/* Those without mappings come behind: what is before them is in order. */
	if (r->nr_top)
		d = bsearch(&key, r->devices.at, r->nr_top, sizeof(*d), compare_id);
	if (!d)
		d = &missing;
	d->in_details = true;
	memcpy(&d->details, value, sizeof(d->details));
	return d == &missing ? add_device(r, d) : 0;
}

static int each_entry(const struct thin_disk_node *n,
		      int (*fn)(void *ctx, uint64_t key, const void *value), void *ctx)
{
	int err = 0;

	for (uint32_t i = 0; i < thin_node_nr(n) && !err; i++)
		err = fn(ctx, thin_node_key(n, i), thin_node_value(n, i));
	return err;
}

static int top_leaf(void *ctx, const struct thin_disk_node *n)
{
	return each_entry(n, top_entry, ctx);
}

static int details_leaf(void *ctx, const struct thin_disk_node *n)
{
	return each_entry(n, details_entry, ctx);
}

static int read_top(struct repair *r, uint64_t root)
{
	const struct taker to = {top_leaf, top_entry, r};
	struct ranges lost = {0};
	const struct memo *m;
	uint64_t nr;
	int err = judge(r, REPAIR_TOP, root, 0, &m);

	r->top_sound = stays(m);
	if (!err)
		err = salvage(r, REPAIR_TOP, root, &to, &lost, &nr);
	if (!err && lost.nr)
		err = repair_refuse(r, -EILSEQ,
				    "metadata: the list of devices (metadata block "
				    "%" PRIu64 ") is damaged: which volume has which "
				    "blocks can not be known",
				    root);
	r->nr_top = r->devices.nr;
	ranges_fini(&lost);
	return err;
}

static int read_details(struct repair *r, uint64_t root)
{
	const struct taker to = {details_leaf, details_entry, r};
	struct ranges lost = {0};
	const struct memo *m;
	uint64_t nr;
	int err = judge(r, REPAIR_DETAILS, root, 0, &m);

	r->details_sound = stays(m);
	if (!err)
		err = salvage(r, REPAIR_DETAILS, root, &to, &lost, &nr);
	ranges_fini(&lost);
	return err;
}

static int compare_devices(const void *a, const void *b)
{
	return compare_id(&((const struct repair_device *)a)->id, b);
}

/* What the superblock's time is at least. */
static void find_time(struct repair *r)
{
	r->time = le32_get(r->sb.time);
	for (size_t i = 0; i < r->devices.nr; i++) {
		const struct thin_disk_details *d = &r->devices.at[i].details;
		uint32_t created = le32_get(d->creation_time);
		uint32_t snapshotted = le32_get(d->snapshotted_time);

		if (created <= PLAUSIBLE_TIME)
			r->time = (uint32_t)thin_max(r->time, created);
		if (snapshotted <= PLAUSIBLE_TIME)
			r->time = (uint32_t)thin_max(r->time, snapshotted);
	}
}

int find_devices(struct repair *r)
{
	int err = read_top(r, le64_get(r->sb.data_mapping_root));

	if (!err)
		err = read_details(r, le64_get(r->sb.device_details_root));
	if (err)
		return err;
	if (r->devices.nr)
		qsort(r->devices.at, r->devices.nr, sizeof(*r->devices.at),
		      compare_devices);
	find_time(r);
	return 0;
}

/* --- what each loses ---------------------------------------------------------- */

static int tell_lost(struct repair *r, uint64_t device, uint64_t first, uint64_t last)
{
	r->result.lost_ranges++;
	return r->fns->lost ? r->fns->lost(r->ctx, device, first, last) : 0;
}

static int look_at_tree(struct repair *r, struct repair_device *d, uint64_t *ret_lost)
{
	struct ranges lost = {0};
	const struct memo *m;
	int err = judge(r, REPAIR_DEVICE, d->root, 0, &m);

	if (err)
		return err;
	if (stays(m))
		d->nr = m->nr;
	else
		err = salvage(r, REPAIR_DEVICE, d->root, NULL, &lost, &d->nr);
	for (size_t i = 0; i < lost.nr && !err; i++)
		err = tell_lost(r, d->id, lost.at[i].first, lost.at[i].last);
	*ret_lost = lost.nr;
	ranges_fini(&lost);
	return err;
}

static int mend_total(struct repair *r, struct repair_device *d, uint64_t lost)
{
	uint64_t was = le64_get(d->details.mapped_blocks);

	if (was == d->nr)
		return 0;
	d->details.mapped_blocks = le64_of(d->nr);
	r->details_sound = false;
	if (lost || was < d->nr)
		return 0;
	return repair_remark(
		r, d->id,
		"%" PRIu64 " blocks fewer are mapped than were counted: either "
		"the count was wrong, or mappings are missing, and which ones "
		"can not be known",
		was - d->nr);
}

static void mend_times(struct repair *r, struct repair_device *d)
{
	uint32_t created = le32_get(d->details.creation_time);
	uint32_t snapshotted = le32_get(d->details.snapshotted_time);
	uint32_t created_then = (uint32_t)thin_min(created, r->time);
	uint32_t then = (uint32_t)thin_max(created_then, thin_min(snapshotted, r->time));

	if (listed(r->p->shared, r->p->nr_shared, d->id) || !d->in_details) {
		then = r->time + 1;
		r->bump = true;
	}
	if (created == created_then && snapshotted == then)
		return;
	d->details.creation_time = le32_of(created_then);
	d->details.snapshotted_time = le32_of(then);
	r->details_sound = false;
}

static int mend_device(struct repair *r, struct repair_device *d)
{
	uint64_t lost = 0;
	int err = 0;

	if (d->in_top) {
		err = look_at_tree(r, d, &lost);
	} else {
		r->top_sound = false;
		if (le64_get(d->details.mapped_blocks)) {
			lost = 1;
			err = tell_lost(r, d->id, 0, UINT64_MAX);
		}
	}
	if (!err && d->in_details)
		err = mend_total(r, d, lost);
	if (!err && !d->in_details) {
		r->details_sound = false;
		d->details = (struct thin_disk_details){
			.mapped_blocks = le64_of(d->nr),
			.transaction_id = r->sb.trans_id,
			.creation_time = le32_of(r->time),
		};
		err = repair_remark(r, d->id,
				    "its details (times, totals) were lost, and are made "
				    "anew; what it maps is not touched");
	}
	r->result.mapped_blocks += d->nr;
	return err;
}

int mend_devices(struct repair *r)
{
	int err = 0;

	for (size_t i = 0; i < r->devices.nr && !err; i++)
		err = mend_device(r, &r->devices.at[i]);
	for (size_t i = 0; i < r->devices.nr; i++)
		mend_times(r, &r->devices.at[i]);
	r->result.nr_devices = r->devices.nr;
	if (!err && r->bump && r->time >= THIN_MAX_TIME)
		err = repair_refuse(r, -EDQUOT,
				    "metadata: its snapshot counter is used up");
	return err;
}

/* --- writing ------------------------------------------------------------------ */

/* What is read of damage a second time was told the first time. */
static int build_device(struct repair *r, struct repair_device *d)
{
	struct ranges lost = {0};
	const struct memo *m;
	struct builder b;
	struct taker to;
	uint64_t nr;
	int err = d->in_top ? judge(r, REPAIR_DEVICE, d->root, 0, &m) : 0;

	if (err || (d->in_top && stays(m)))
		return err;
	r->top_sound = false;
	builder_init(&b, r, THIN_VALUE_BLOCK, true);
	to = builder_taker(&b);
	if (d->in_top)
		err = salvage(r, REPAIR_DEVICE, d->root, &to, &lost, &nr);
	if (!err)
		err = builder_finish(&b, &d->root);
	builder_fini(&b);
	ranges_fini(&lost);
	return err;
}

static int build_list(struct repair *r, bool details, uint64_t *ret_root)
{
	struct builder b;
	int err = 0;

	builder_init(&b, r, details ? THIN_VALUE_DETAILS : THIN_VALUE_BLOCK, false);
	for (size_t i = 0; i < r->devices.nr && !err; i++) {
		const struct repair_device *d = &r->devices.at[i];
		struct le64 root = le64_of(d->root);

		err = builder_add(&b, d->id, details ? (const void *)&d->details : &root);
	}
	if (!err)
		err = builder_finish(&b, ret_root);
	builder_fini(&b);
	return err;
}

int build_trees(struct repair *r, uint64_t *ret_top, uint64_t *ret_details)
{
	int err = 0;

	for (size_t i = 0; i < r->devices.nr && !err; i++)
		err = build_device(r, &r->devices.at[i]);
	*ret_top = le64_get(r->sb.data_mapping_root);
	*ret_details = le64_get(r->sb.device_details_root);
	if (!err && !r->top_sound)
		err = build_list(r, false, ret_top);
	if (!err && !r->details_sound)
		err = build_list(r, true, ret_details);
	return err;
}
