/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/audit.h"

#include "audit/devices.h"
#include "audit/doubles.h"
#include "audit/superblocks.h"
#include "audit/tree.h"
#include "util/checked.h"

#include <errno.h>

/*
 * How an audit goes.
 *
 *   1. The superblock says where everything else is.
 *   2. The space maps' indexes and exact counts are read, and which bitmaps
 *      are sound.  These come first because nothing is counted for which
 *      there is no sound bitmap: that bounds memory by what is there.
 *   3. The trees of the devices are walked and every reference counted, to
 *      metadata and to data: first the live ones, then the held ones.
 *   4. What a walk can not see is looked for: blocks that are shared though
 *      some device would write them in place, and blocks that one device
 *      maps twice.
 *   5. The bitmaps are compared with the counts.
 *
 * Each number that comes from disk is compared with what is known already
 * before it is used as an index or an amount; what hangs on something that
 * is not sound is reported as unreadable and left alone.
 */

/* Reads that may be spent on telling each device what it shares. */
#define SPARE_READS (UINT64_C(1) << 16)

static void init(struct audit *a, struct thin_storage *metadata,
		 const struct thin_audit_params *p, struct thin_error *e)
{
	uint64_t bytes = 0;
	int r = thin_storage_size(metadata, &bytes);

	*a = (struct audit){
		.storage = metadata,
		.params = p,
		.e = e,
		.device_blocks = bytes / THIN_METADATA_BLOCK,
		.spare_reads = SPARE_READS,
	};
	if (r)
		audit_fail(a, thin_error_default(e, r, "metadata: its size: %s",
						 thin_strerror(r)));
	else if (audit_batch_init(&a->batch, GROUP, thin_max(a->device_blocks, 1)))
		audit_fail(a, -ENOMEM);
}

static void fini(struct audit *a)
{
	audit_free_data_counts(a);
	audit_free_map(a, &a->metadata_map);
	audit_free_map(a, &a->data_map);
	audit_free(a, a->devices, a->cap_devices, sizeof(*a->devices));
	audit_free(a, a->refs, a->nr_blocks, sizeof(*a->refs));
	audit_free(a, a->memo, a->nr_blocks, sizeof(*a->memo));
	for (size_t i = 0; i <= THIN_MAX_TREE_DEPTH; i++) {
		audit_free(a, a->level[i].places, GROUP, sizeof(*a->level[i].places));
		audit_batch_fini(&a->level[i].batch);
	}
	audit_batch_fini(&a->batch);
}

static void make_room(struct audit *a)
{
	uint64_t recorded = le64_get(a->sb.metadata_space_map.nr_blocks);

	a->nr_blocks =
		thin_min(recorded, thin_min(THIN_MAX_METADATA_BLOCKS, a->device_blocks));
	a->nr_blocks = thin_max(a->nr_blocks, 1); /* the superblock is there */
	a->nr_data =
		thin_min(le64_get(a->sb.data_space_map.nr_blocks), THIN_MAX_DATA_BLOCKS);
	a->refs = audit_alloc(a, a->nr_blocks, sizeof(*a->refs));
	a->memo = audit_alloc(a, a->nr_blocks, sizeof(*a->memo));
}

static void count_references(struct audit *a)
{
	struct thin_disk_superblock held;

	a->refs[0] = 1;
	a->memo[0].role = ROLE_SUPERBLOCK;
	audit_load_metadata_map(a);
	audit_load_data_map(a);
	audit_check_devices(a, &a->sb, false);
	audit_check_claims(a);
	if (!audit_stopped(a) && audit_read_held(a, &held))
		audit_check_devices(a, &held, true);
}

static void report_notes(struct audit *a)
{
	struct thin_finding slack = audit_finding(THIN_AUDIT_SLACK_NONZERO);
	struct thin_finding not_judged = audit_finding(THIN_AUDIT_COUNTS_NOT_JUDGED);

	slack.block = a->slack_first;
	slack.found = a->slack_blocks;
	if (a->slack_blocks)
		audit_report(a, &slack);
	if (a->incomplete_trees)
		audit_report(a, &not_judged);
}

static void run(struct audit *a)
{
	a->incomplete_trees = true;
	if (!audit_read_superblock(a))
		return;
	a->incomplete_trees = false;
	make_room(a);
	if (a->failed)
		return;
	count_references(a);
	if (!audit_stopped(a))
		audit_check_doubles(a);
	if (!audit_stopped(a))
		audit_check_map(a, &a->metadata_map);
	if (!audit_stopped(a))
		audit_check_map(a, &a->data_map);
	report_notes(a);
}

static uint64_t metadata_used(const struct audit *a)
{
	uint64_t used = 0;

	for (uint64_t i = 0; a->refs && i < a->nr_blocks; i++)
		used += a->refs[i] > 0;
	return used;
}

static void summarize(const struct audit *a, struct thin_audit_summary *ret)
{
	*ret = (struct thin_audit_summary){
		.notes = a->out.told[THIN_AUDIT_NOTE],
		.nonfatal = a->out.told[THIN_AUDIT_NONFATAL],
		.fatal = a->out.told[THIN_AUDIT_FATAL],
		.complete = !a->incomplete_trees,
		.blocks_read = a->reads,
		.memory = a->memory_max,
		.nr_devices = a->nr_live_devices,
		.mapped_blocks = a->mapped_blocks,
		.metadata_blocks = le64_get(a->sb.metadata_space_map.nr_blocks),
		.metadata_used = metadata_used(a),
		.data_blocks = le64_get(a->sb.data_space_map.nr_blocks),
		.data_used = a->data.used,
	};
}

int thin_audit(struct thin_storage *metadata, const struct thin_audit_params *p,
	       thin_finding_fn *fn, void *ctx, struct thin_audit_summary *ret,
	       struct thin_error *e)
{
	static const struct thin_audit_params defaults;
	struct audit a;
	int r;

	init(&a, metadata, p ? p : &defaults, e);
	audit_findings_init(&a.out, fn, ctx);
	if (!a.failed)
		run(&a);
	if (!a.failed)
		audit_findings_flush(&a.out);
	r = a.failed ? a.failed : a.out.stopped;
	if (r < 0)
		thin_error_default(e, r, "audit: %s", thin_strerror(r));
	if (!r)
		summarize(&a, ret);
	fini(&a);
	return r;
}
