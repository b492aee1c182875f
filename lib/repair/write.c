/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "util/crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * New blocks.
 *
 * A node that was damaged may have been shared by many devices; each of them
 * has a new one built, which says the same.  So a node that was written
 * before is used again, and what was shared stays shared.  That is for nodes
 * of mappings: no other tree may share.
 */

int take_block(struct repair *r, uint64_t *ret)
{
	for (; r->cursor < r->nr_new; r->cursor++) {
		if (r->taken[r->cursor] != TAKEN_NOT)
			continue;
		r->taken[r->cursor] = TAKEN_FRESH;
		*ret = r->cursor++;
		return 0;
	}
	return repair_refuse(
		r, -ENOSPC,
		"metadata: its %llu blocks have no room left for what has to "
		"be written anew; make the metadata device larger",
		(unsigned long long)r->nr_new);
}

int write_new(struct repair *r, enum thin_block_kind kind, void *block, uint64_t nr)
{
	thin_block_seal(kind, block, nr);
	return thin_storage_write_at(r->p->to, nr * THIN_METADATA_BLOCK, block,
				     THIN_METADATA_BLOCK);
}

int read_new(struct repair *r, uint64_t block, void *ret)
{
	bool fresh =
		r->taken[block] == TAKEN_FRESH || r->taken[block] == TAKEN_COUNTED_FRESH;

	return thin_storage_read_at(fresh ? r->p->to : r->p->from,
				    block * THIN_METADATA_BLOCK, ret,
				    THIN_METADATA_BLOCK);
}

/* --- nodes that say the same ------------------------------------------------ */

/* All but the checksum and the number. */
static bool same(const struct thin_disk_node *a, const struct thin_disk_node *b)
{
	return a->flags.raw == b->flags.raw &&
	       !memcmp(&a->nr_entries, &b->nr_entries,
		       THIN_METADATA_BLOCK - offsetof(struct thin_disk_node, nr_entries));
}

static uint32_t hash_of(const struct thin_disk_node *n)
{
	return thin_crc32c(&n->nr_entries,
			   THIN_METADATA_BLOCK -
				   offsetof(struct thin_disk_node, nr_entries));
}

static int find(struct repair *r, const struct thin_disk_node *n, size_t *ret_slot)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	size_t slot = hash_of(n) & (r->made_room - 1);

	for (; r->made[slot]; slot = (slot + 1) & (r->made_room - 1)) {
		int err = read_new(r, r->made[slot], buf);

		if (err)
			return err;
		if (same((struct thin_disk_node *)buf, n))
			break;
	}
	*ret_slot = slot;
	return 0;
}

static int grow_table(struct repair *r)
{
	uint64_t *old = r->made;
	size_t room = r->made_room;
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	int err = 0;

	if (r->nr_made < room / 2)
		return 0;
	r->made_room = room ? room * 2 : 1024;
	r->made = calloc(r->made_room, sizeof(*r->made));
	if (!r->made)
		err = -ENOMEM;
	for (size_t i = 0; i < room && !err; i++) {
		size_t slot;

		if (!old[i])
			continue;
		err = read_new(r, old[i], buf);
		if (err)
			break;
		slot = hash_of((struct thin_disk_node *)buf) & (r->made_room - 1);
		while (r->made[slot])
			slot = (slot + 1) & (r->made_room - 1);
		r->made[slot] = old[i];
	}
	free(old);
	return err;
}

int write_node(struct repair *r, struct thin_disk_node *n, uint64_t *ret)
{
	int err = take_block(r, ret);

	return err ? err : write_new(r, THIN_NODE, n, *ret);
}

int write_mapping_node(struct repair *r, struct thin_disk_node *n, uint64_t *ret)
{
	size_t slot = 0;
	int err = grow_table(r);

	if (!err)
		err = find(r, n, &slot);
	if (!err && !r->made[slot]) {
		err = write_node(r, n, ret);
		if (err)
			return err;
		r->made[slot] = *ret;
		r->nr_made++;
	}
	if (!err)
		*ret = r->made[slot];
	return err;
}
