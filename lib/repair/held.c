/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/*
 * The held metadata snapshot stays if all of it is sound, and is let go of
 * otherwise: no volume's data hang on it, only those who compare by it.
 */

struct held {
	struct repair *r;
	const struct thin_disk_superblock *sb;
	uint64_t devices, details; /* in the one tree, in the other */
	bool sound;
};

static uint64_t mixed(uint64_t id)
{
	return (id + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static int held_device(void *ctx, uint64_t key, const void *value)
{
	const struct memo *m = NULL;
	struct held *h = ctx;
	struct le64 root;
	int err;

	memcpy(&root, value, sizeof(root));
	err = judge(h->r, REPAIR_DEVICE, le64_get(root), 0, &m);
	if (err)
		return err;
	if (!stays(m) || m->max_time > le32_get(h->sb->time))
		h->sound = false;
	else
		h->devices += mixed(key) ^ m->nr;
	return 0;
}

/* Each device has to be in both trees, with as many mappings in both. */
static int held_detail(void *ctx, uint64_t key, const void *value)
{
	struct thin_disk_details d;
	struct held *h = ctx;

	memcpy(&d, value, sizeof(d));
	h->details += mixed(key) ^ le64_get(d.mapped_blocks);
	if (le32_get(d.creation_time) > le32_get(d.snapshotted_time) ||
	    le32_get(d.snapshotted_time) > le32_get(h->sb->time) ||
	    key > THIN_MAX_DEVICE_ID)
		h->sound = false;
	return 0;
}

static int held_leaf(void *ctx, const struct thin_disk_node *n)
{
	int err = 0;

	for (uint32_t i = 0; i < thin_node_nr(n) && !err; i++)
		err = held_device(ctx, thin_node_key(n, i), thin_node_value(n, i));
	return err;
}

static int held_details_leaf(void *ctx, const struct thin_disk_node *n)
{
	int err = 0;

	for (uint32_t i = 0; i < thin_node_nr(n) && !err; i++)
		err = held_detail(ctx, thin_node_key(n, i), thin_node_value(n, i));
	return err;
}

static int look_at_trees(struct held *h)
{
	const struct taker devices = {held_leaf, held_device, h};
	const struct taker details = {held_details_leaf, held_detail, h};
	uint64_t top = le64_get(h->sb->data_mapping_root);
	uint64_t details_root = le64_get(h->sb->device_details_root);
	const struct memo *a, *b = NULL;
	struct ranges lost = {0};
	uint64_t nr;
	int err = judge(h->r, REPAIR_TOP, top, 0, &a);

	if (!err)
		err = judge(h->r, REPAIR_DETAILS, details_root, 0, &b);
	h->sound = !err && stays(a) && stays(b);
	if (h->sound)
		err = salvage(h->r, REPAIR_TOP, top, &devices, &lost, &nr);
	if (h->sound && !err)
		err = salvage(h->r, REPAIR_DETAILS, details_root, &details, &lost, &nr);
	h->sound = h->sound && !lost.nr && h->devices == h->details;
	ranges_fini(&lost);
	return err;
}

static bool wiped(const struct thin_disk_space_map *map)
{
	static const struct thin_disk_space_map zero;

	return !memcmp(map, &zero, sizeof(zero));
}

/* Is @sb, read from block @block, one as a held snapshot has it? */
static bool superblock_sound(const struct repair *r,
			     const struct thin_disk_superblock *sb, uint64_t block)
{
	return !thin_block_verify(THIN_SUPERBLOCK, sb, block) &&
	       le64_get(sb->magic) == THIN_MAGIC && !le64_get(sb->held_root) &&
	       wiped(&sb->data_space_map) && wiped(&sb->metadata_space_map) &&
	       le32_get(sb->time) <= le32_get(r->sb.time);
}

static int look(struct repair *r, uint64_t block, bool *ret_sound)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	const struct thin_disk_superblock *sb = (const void *)buf;
	struct held h = {.r = r, .sb = sb};
	int err;

	*ret_sound = false;
	if (r->p->drop_held || block >= r->nr_old ||
	    r->memo[block].belief != BELIEF_UNSEEN ||
	    thin_storage_read_at(r->p->from, block * THIN_METADATA_BLOCK, buf,
				 sizeof(buf)) ||
	    !superblock_sound(r, sb, block))
		return 0;
	r->memo[block] = (struct memo){.belief = BELIEF_SOUND};
	err = look_at_trees(&h);
	*ret_sound = h.sound;
	r->held_top = le64_get(sb->data_mapping_root);
	r->held_details = le64_get(sb->device_details_root);
	return err;
}

int judge_held(struct repair *r)
{
	uint64_t block = le64_get(r->sb.held_root);
	bool sound;
	int err;

	if (!block)
		return 0;
	err = look(r, block, &sound);
	if (err)
		return err;
	if (sound) {
		r->held = block;
		return 0;
	}
	return repair_remark(r, UINT64_MAX,
			     "the held metadata snapshot (metadata block %" PRIu64
			     ") is let go of",
			     block);
}
