/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/doubles.h"

#include "audit/scan.h"
#include "audit/suspects.h"
#include "audit/tree.h"
#include "util/checked.h"

#include <stdlib.h>

/*
 * A device that maps a data block twice.
 *
 * Two mappings of one data block are normal: after a snapshot, two devices
 * have them.  But then both have them at the same key, since nothing but a
 * snapshot shares data.  So:
 *
 *   1. Of the data blocks that are mapped more than once (the counts know)
 *      find those that are mapped at two different keys: the suspects.
 *   2. If there are any, mark the nodes that lead to them.
 *   3. For each device follow only these, and compare its suspects.
 *
 * Where both count as shared each is copied before it is written, so that
 * nothing gets worse: then it is but a note, and so a repair leaves it, since
 * which of the two is right nobody can know.
 *
 * Sound pools end after the first step.  It overlooks nothing, since a
 * device can not have the same key twice (KEY_ORDER, PARENT_KEY_HIGH and
 * CHILD_KEY_HIGH say so if it does).
 */

/* Beyond these it is no use to go into detail. */
#define MAX_SIGHTINGS (UINT64_C(1) << 20)

/* A suspect as a device has it. */
struct sighting {
	uint64_t dblock;
	uint64_t vblock;
	uint64_t leaf;
	uint32_t time;
};

struct search {
	struct audit *a;
	struct suspects suspects;
	struct sighting *seen; /* of the device that is gone through */
	size_t nr_seen;
	size_t cap_seen;
	bool cut_short;
};

/* --- marks -------------------------------------------------------------- */

static void mark_leaf(void *ctx, uint64_t leaf, const struct thin_disk_node *n)
{
	struct search *s = ctx;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		uint64_t block = thin_mapping_unpack(thin_node_value64(n, i)).data_block;

		if (audit_is_suspect(&s->suspects, block))
			s->a->memo[leaf].flags |= MEMO_SUSPECT;
	}
}

static bool is_marked(const struct audit *a, uint64_t block)
{
	return audit_in_range(a, block) && a->memo[block].flags & MEMO_SUSPECT;
}

static void mark_internal(void *ctx, uint64_t block, const struct thin_disk_node *n)
{
	struct search *s = ctx;

	for (uint32_t i = 0; i < thin_node_nr(n); i++)
		if (is_marked(s->a, thin_node_value64(n, i)))
			s->a->memo[block].flags |= MEMO_SUSPECT;
}

/* From the leaves up. */
static void mark(struct search *s)
{
	bool more = audit_scan(s->a, 0, mark_leaf, s);

	for (unsigned height = 1; more && height < THIN_MAX_TREE_DEPTH; height++)
		more = audit_scan(s->a, height, mark_internal, s);
}

/* --- devices ------------------------------------------------------------ */

static void see(struct search *s, uint64_t leaf, const struct thin_disk_node *n)
{
	/* More than a tree without damage could have. */
	uint64_t max = thin_min(MAX_SIGHTINGS,
				s->a->nr_blocks * thin_node_capacity(THIN_VALUE_BLOCK));

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct thin_packed_mapping m =
			thin_mapping_unpack(thin_node_value64(n, i));

		if (!audit_is_suspect(&s->suspects, m.data_block))
			continue;
		if (s->nr_seen == max) {
			s->cut_short = true;
			return;
		}
		if (!audit_room(s->a, &s->seen, s->nr_seen, &s->cap_seen,
				sizeof(*s->seen)))
			return;
		s->seen[s->nr_seen++] = (struct sighting){
			m.data_block, thin_node_key(n, i), leaf, m.time};
	}
}

static const struct thin_disk_node *read_node(struct audit *a, uint64_t block,
					      unsigned depth)
{
	struct batch *batch = &a->level[depth].batch;

	if (!audit_level_ready(a, depth))
		return NULL;
	audit_batch_clear(batch);
	audit_batch_add(batch, block);
	audit_load(a, batch);
	return audit_scan_node(batch, block);
}

/* See all suspects below @block. */
static void look_below(struct search *s, uint64_t block, unsigned depth)
{
	struct audit *a = s->a;
	const struct thin_disk_node *n;

	if (!is_marked(a, block) || audit_stopped(a) || depth >= THIN_MAX_TREE_DEPTH)
		return;
	if (!a->spare_reads) {
		s->cut_short = true;
		return;
	}
	a->spare_reads--;
	n = read_node(a, block, depth);
	if (!n)
		return;
	if (thin_node_is_leaf(n)) {
		see(s, block, n);
		return;
	}
	for (uint32_t i = 0; i < thin_node_nr(n); i++)
		look_below(s, thin_node_value64(n, i), depth + 1);
}

static int compare_sightings(const void *a, const void *b)
{
	const struct sighting *x = a, *y = b;

	if (x->dblock != y->dblock)
		return x->dblock < y->dblock ? -1 : 1;
	return x->vblock < y->vblock ? -1 : x->vblock > y->vblock;
}

/* @x is mapped to what the sighting before it is. */
static void report(struct search *s, const struct audit_device *d, bool held,
		   const struct sighting *x)
{
	bool flagged = x[-1].time < d->snapshotted && x->time < d->snapshotted;
	struct thin_finding f = audit_range_finding(
		flagged ? THIN_AUDIT_DOUBLE_FLAGGED : THIN_AUDIT_DOUBLE_MAPPING,
		THIN_AUDIT_VBLOCKS, x->vblock, x->vblock);

	f.held = held;
	f.device = d->id;
	f.block = x->leaf;
	f.found = x[-1].vblock;
	audit_report(s->a, &f);
}

static void check_device(struct search *s, const struct audit_device *d, bool held)
{
	s->nr_seen = 0;
	look_below(s, d->root, 0);
	if (s->nr_seen)
		qsort(s->seen, s->nr_seen, sizeof(*s->seen), compare_sightings);
	for (size_t i = 1; i < s->nr_seen; i++)
		if (s->seen[i - 1].dblock == s->seen[i].dblock)
			report(s, d, held, &s->seen[i]);
}

void audit_check_doubles(struct audit *a)
{
	struct search s = {.a = a, .suspects = {.a = a}};
	struct thin_finding limit = audit_range_finding(
		THIN_AUDIT_WORK_LIMIT, THIN_AUDIT_DBLOCKS, 0, UINT64_MAX);

	audit_find_suspects(&s.suspects);
	if (s.suspects.nr && !audit_stopped(a))
		mark(&s);
	for (size_t i = 0; s.suspects.nr && i < a->nr_devices && !audit_stopped(a); i++)
		check_device(&s, &a->devices[i], i >= a->nr_live_devices);
	if (s.cut_short || s.suspects.cut_short)
		audit_report(a, &limit);
	audit_free_suspects(&s.suspects);
	audit_free(a, s.seen, s.cap_seen, sizeof(*s.seen));
}
