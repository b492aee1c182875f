/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * How a repair goes.
 *
 *   1. Read the superblock, which must be believed, and the devices.
 *   2. Judge every node: what is sound from here down stays where it is.
 *   3. Tell what is lost.  Up to here nothing was written.
 *   4. Build anew, into free blocks, the trees that can not stay, above the
 *      leaves of theirs that can.
 *   5. Count the references of what there is then; write both space maps.
 *   6. Flush; write the superblock; flush.
 *
 *  [F1] A block that the old superblock leads to is never written to, in
 *       place or elsewhere, before step 6.
 *  [F2] A mapping that is sound is neither changed nor moved to another
 *       data block; what is not, is not replaced by a guess.
 */

int repair_refuse(struct repair *r, int err, const char *fmt, ...)
{
	char text[THIN_ERROR_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return thin_error_set(r->e, err, "%s", text);
}

int repair_remark(struct repair *r, uint64_t device, const char *fmt, ...)
{
	char text[THIN_ERROR_TEXT];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	r->result.remarks++;
	return r->fns->remark ? r->fns->remark(r->ctx, device, text) : 0;
}

/* --- before ------------------------------------------------------------------- */

static int read_superblock(struct repair *r)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	uint64_t bytes;
	int err = thin_storage_size(r->p->from, &bytes);

	if (!err && bytes < THIN_METADATA_BLOCK)
		err = -EMEDIUMTYPE;
	if (!err)
		err = thin_storage_read_at(r->p->from, 0, buf, sizeof(buf));
	if (err)
		return repair_refuse(r, err, "metadata superblock: %s",
				     thin_strerror(err));
	err = thin_superblock_check(buf, 0, r->e);
	if (err)
		return err;
	memcpy(&r->sb, buf, sizeof(r->sb));
	if (le32_get(r->sb.compat_ro_flags))
		return repair_refuse(r, -ENOTSUP,
				     "metadata superblock: it has features that allow "
				     "reading only: 0x%x",
				     le32_get(r->sb.compat_ro_flags));
	r->nr_old = thin_min(bytes / THIN_METADATA_BLOCK, THIN_MAX_METADATA_BLOCKS);
	r->nr_data = thin_min(
		thin_max(le64_get(r->sb.data_space_map.nr_blocks), r->p->nr_data_blocks),
		THIN_MAX_DATA_BLOCKS);
	r->memo = calloc(r->nr_old, sizeof(*r->memo));
	if (!r->memo)
		return -ENOMEM;
	r->memo[0] = (struct memo){.belief = BELIEF_SOUND}; /* and of no tree */
	return 0;
}

/*
 * Where the data end.  What the superblock says holds unless mappings and the
 * data device agree that it is wrong.
 */
static int find_data_end(struct repair *r, uint64_t *ret)
{
	uint64_t said = le64_get(r->sb.data_space_map.nr_blocks);
	uint64_t there = r->p->nr_data_blocks ?: said;
	uint64_t needed = r->result.mapped_blocks ? r->max_dblock + 1 : 0;

	*ret = needed > said ? there : thin_min(said, there);
	if (needed <= *ret)
		return 0;
	return repair_refuse(r, -EFBIG,
			     "the data device has %" PRIu64
			     " blocks, but data block %" PRIu64
			     " is in use: put back the one that belongs to the pool",
			     there, r->max_dblock);
}

static uint64_t last_seen(const struct repair *r)
{
	uint64_t last = r->nr_old - 1;

	while (last && r->memo[last].belief == BELIEF_UNSEEN)
		last--;
	return last;
}

/* Likewise of the metadata; a file can be made as large as they should be. */
static uint64_t find_metadata_end(const struct repair *r)
{
	uint64_t said = le64_get(r->sb.metadata_space_map.nr_blocks);
	bool in_place = r->p->to == r->p->from;

	if (last_seen(r) >= said || said > THIN_MAX_METADATA_BLOCKS)
		return r->nr_old;
	return in_place ? thin_min(said, r->nr_old) : said;
}

/* --- writing ------------------------------------------------------------------ */

static int make_room(struct repair *r)
{
	uint64_t bytes, want;
	int err;

	r->nr_new = find_metadata_end(r);
	want = r->nr_new * THIN_METADATA_BLOCK;
	r->refs = calloc(r->nr_new, sizeof(*r->refs));
	r->taken = calloc(r->nr_new, 1);
	if (!r->refs || !r->taken)
		return -ENOMEM;
	for (uint64_t i = 0; i < thin_min(r->nr_new, r->nr_old); i++)
		if (r->memo[i].belief != BELIEF_UNSEEN)
			r->taken[i] = TAKEN_OLD;
	if (r->p->to == r->p->from) {
		spare_old_maps(r); /* F1 */
		return 0;
	}
	err = thin_storage_size(r->p->to, &bytes);
	return err || bytes >= want ? err : thin_storage_resize(r->p->to, want);
}

/* What was begun and given up is free again. */
static void drop_unused(struct repair *r)
{
	for (uint64_t i = 1; i < r->nr_new; i++)
		if (r->taken[i] == TAKEN_FRESH)
			r->taken[i] = TAKEN_NOT;
	r->cursor = 0;
}

static int write_superblock(struct repair *r, const struct thin_disk_superblock *sb)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK] = {0};
	int err = thin_storage_flush(r->p->to);

	if (err)
		return err;
	memcpy(buf, sb, sizeof(*sb));
	err = write_new(r, THIN_SUPERBLOCK, buf, 0);
	return err ? err : thin_storage_flush(r->p->to);
}

static int write_all(struct repair *r, uint64_t nr_data)
{
	struct thin_disk_superblock sb = r->sb;
	uint64_t top = 0, details = 0;
	int err = make_room(r);

	if (!err)
		err = build_trees(r, &top, &details);
	if (!err)
		err = count_all(r, top, details);
	if (err)
		return err;
	drop_unused(r);
	err = write_maps(r, nr_data, &sb);
	if (err)
		return err;
	sb.flags = le32_of(le32_get(sb.flags) & ~THIN_NEEDS_CHECK);
	sb.time = le32_of(r->time + r->bump);
	sb.held_root = le64_of(r->held);
	sb.data_mapping_root = le64_of(top);
	sb.device_details_root = le64_of(details);
	sb.metadata_block_size = le32_of(THIN_METADATA_BLOCK / THIN_SECTOR);
	sb.metadata_nr_blocks =
		le64_of(thin_min(le64_get(sb.metadata_nr_blocks), r->nr_new));
	return write_superblock(r, &sb);
}

/* --- all of it ------------------------------------------------------------------ */

static int run(struct repair *r)
{
	uint64_t nr_data;
	int err = read_superblock(r);

	if (!err)
		err = find_devices(r);
	if (!err)
		err = mend_devices(r);
	if (!err)
		err = judge_held(r);
	if (!err)
		err = find_data_end(r, &nr_data);
	if (!err && r->p->to)
		err = write_all(r, nr_data);
	return err;
}

int thin_repair(const struct thin_repair_params *p, const struct thin_repair_fns *fns,
		void *ctx, struct thin_repair_result *ret, struct thin_error *e)
{
	struct repair r = {.p = p, .fns = fns, .ctx = ctx, .e = e};
	int err = run(&r);

	if (err < 0)
		thin_error_default(e, err, "metadata: %s", thin_strerror(err));
	if (!err)
		*ret = r.result;
	counts_fini(&r);
	free(r.memo);
	free(r.refs);
	free(r.taken);
	free(r.made);
	free(r.devices.at);
	return err;
}
