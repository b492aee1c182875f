/* SPDX-License-Identifier: BSD-3-Clause */
#include "pools.h"

#include "format/block.h"
#include "fuzz.h"
#include "metadata/metadata.h"
#include "util/checked.h"
#include "util/limits.h"

#include <string.h>

/*
 * The pools have what trees and space maps can look like: no devices, many,
 * trees of one and of two levels, snapshots that share and that have parted,
 * counts above what a bitmap holds, a held snapshot.  All are small, since
 * each run copies one.
 */

#define BLOCK	    THIN_METADATA_BLOCK
#define NR_BLOCKS   64u
#define DATA_BLOCKS 80u
/* More mappings than a leaf has room for, which is FULL_LEAF. */
#define DEEP_BLOCKS 320u
#define FULL_LEAF   252u
#define FULL_BLOCKS 800u

uint64_t tape_take(struct tape *t, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && t->at < t->end; i++)
		v |= (uint64_t)*t->at++ << 8 * i;
	return v;
}

/* --- making pools ---------------------------------------------------------- */

static void commit(struct thin_metadata *m)
{
	struct thin_freed *freed;

	MUST(!thin_metadata_commit(m, NULL, &freed));
	thin_metadata_release(m, freed);
}

/* Map @nr blocks from @vblock on, @step apart. */
static void map(struct thin_metadata *m, uint32_t id, uint64_t vblock, uint64_t nr,
		uint64_t step)
{
	struct thin_device *d;

	MUST(!thin_device_open(m, id, &d));
	for (uint64_t i = 0; i < nr; i++) {
		uint64_t dblock, got;

		MUST(!thin_metadata_reserve(m, 1, &dblock, &got));
		MUST(!thin_metadata_insert(d, vblock + i * step, dblock, got));
	}
	thin_device_close(d);
}

static void make_empty(struct thin_metadata *m)
{
	(void)m;
}

static void make_one_device(struct thin_metadata *m)
{
	MUST(!thin_metadata_create_thin(m, 1));
	map(m, 1, 0, 4, 1);
	map(m, 1, 10, 5, 7);
}

static void make_devices(struct thin_metadata *m)
{
	for (uint32_t id = 0; id < 12; id++) {
		MUST(!thin_metadata_create_thin(m, 3 * id));
		if (id % 3)
			map(m, 3 * id, id, 2, 2);
	}
}

static void make_snapshots(struct thin_metadata *m)
{
	make_one_device(m);
	for (uint32_t id = 2; id < 6; id++)
		MUST(!thin_metadata_create_snap(m, id, id - 1));
	commit(m);
	map(m, 1, 0, 2, 1);
	map(m, 3, 3, 3, 9);
}

static void make_held(struct thin_metadata *m)
{
	make_snapshots(m);
	commit(m);
	MUST(!thin_metadata_hold(m));
	commit(m);
	map(m, 2, 5, 3, 2);
	MUST(!thin_metadata_delete(m, 5));
}

static void make_deep(struct thin_metadata *m)
{
	MUST(!thin_metadata_create_thin(m, 7));
	map(m, 7, 1, 280, 2);
	MUST(!thin_metadata_create_snap(m, 8, 7));
	commit(m);
	map(m, 8, 100, 1, 1);
}

/* Leaves that the next mapping splits: one at its root, one below. */
static void make_full(struct thin_metadata *m)
{
	MUST(!thin_metadata_create_thin(m, 5));
	map(m, 5, 0, FULL_LEAF, 2);
	MUST(!thin_metadata_create_thin(m, 6));
	map(m, 6, 1, 2 * FULL_LEAF - 1, 3);
}

/* And some that are joined when few more go. */
static void make_sparse(struct thin_metadata *m)
{
	struct thin_device *d;
	uint64_t next;

	make_deep(m);
	MUST(!thin_metadata_delete(m, 8));
	MUST(!thin_device_open(m, 7, &d));
	MUST(!thin_metadata_remove_range(d, 100, 180, 1000, &next, NULL));
	MUST(!thin_metadata_remove_range(d, 320, 470, 1000, &next, NULL));
	thin_device_close(d);
}

static const struct {
	void (*make)(struct thin_metadata *m);
	uint64_t data_blocks;
} kinds[] = {
	{make_one_device, DATA_BLOCKS}, {make_snapshots, DATA_BLOCKS},
	{make_held, DATA_BLOCKS},	{make_empty, DATA_BLOCKS},
	{make_deep, DEEP_BLOCKS},	{make_devices, DATA_BLOCKS},
	{make_full, FULL_BLOCKS},	{make_sparse, DEEP_BLOCKS},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct pool_image images[KINDS];

static size_t used_size(const uint8_t *bytes, size_t size)
{
	while (size && !bytes[size - 1])
		size--;
	return thin_div_up(size, BLOCK) * BLOCK;
}

static void make_pool(unsigned i)
{
	struct thin_metadata_params p = {.cache_bytes = THIN_MIN_METADATA_CACHE};
	struct pool_image *image = &images[i];
	struct thin_metadata *m;

	MUST(!thin_storage_open_memory(NR_BLOCKS * BLOCK, &p.storage));
	MUST(!thin_metadata_format(p.storage, 128, kinds[i].data_blocks, NULL));
	MUST(!thin_metadata_open(&p, &m, NULL));
	kinds[i].make(m);
	commit(m);
	thin_metadata_close(m);
	image->bytes = malloc(NR_BLOCKS * BLOCK);
	MUST(image->bytes);
	MUST(!thin_storage_read_at(p.storage, 0, image->bytes, NR_BLOCKS * BLOCK));
	image->size = used_size(image->bytes, NR_BLOCKS * BLOCK);
	thin_storage_close(p.storage);
}

struct pool_image pools_get(unsigned nr)
{
	nr %= KINDS;
	if (!images[nr].bytes)
		make_pool(nr);
	return images[nr];
}

/* --- edits ------------------------------------------------------------------- */

/* Eight bytes of input. */
struct edit {
	uint64_t block;
	unsigned op; /* below, and what to seal it as */
	size_t offset;
	int64_t value;
};

enum edit_op {
	EDIT_32,
	EDIT_64,
	EDIT_ADD,
	EDIT_BIT,
	EDIT_ONES,
	EDIT_BYTE,
	EDIT_COPY,  /* the whole block */
	EDIT_SHIFT, /* what is in the block, to and fro */
};

#define EDIT_OP		 0x07u
#define EDIT_LEAVE_SUM	 0x08u /* do not seal it */
#define EDIT_KIND(op)	 ((op) >> 4 & 3u)
#define EDIT_CHANGE_KIND 0xc0u /* both bits: seal as EDIT_KIND */

static struct edit edit_take(struct tape *t)
{
	struct edit e;

	e.block = tape_take(t, 1);
	e.op = (unsigned)tape_take(t, 1);
	e.offset = (size_t)tape_take(t, 2) % (BLOCK - 8);
	e.value = (int32_t)tape_take(t, 4);
	return e;
}

/* Which kind @block is by its checksum; a node where it is none. */
static enum thin_block_kind kind_of(const uint8_t *block, uint64_t nr)
{
	for (unsigned kind = 0; kind < THIN_BLOCK_KINDS; kind++)
		if (!thin_block_verify((enum thin_block_kind)kind, block, nr))
			return (enum thin_block_kind)kind;
	return THIN_NODE;
}

static void store(uint8_t *at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void change(const struct edit *e, struct pool_image *image, uint8_t *block)
{
	uint8_t *at = block + e->offset / 4 * 4;
	size_t by = ((uint64_t)e->value & 0x1f) * 4;

	switch ((enum edit_op)(e->op & EDIT_OP)) {
	case EDIT_32:
		store(at, (uint64_t)e->value, 4);
		break;
	case EDIT_64:
		store(at, (uint64_t)e->value, 8);
		break;
	case EDIT_ADD:
		store(at, le64_get(*(struct le64 *)at) + (uint64_t)e->value, 8);
		break;
	case EDIT_BIT:
		store(at, UINT64_C(1) << (e->value & 63), 8);
		break;
	case EDIT_ONES:
		store(at, UINT64_MAX >> (e->value & 63), 8);
		break;
	case EDIT_BYTE:
		block[e->offset] ^= (uint8_t)e->value;
		break;
	case EDIT_COPY:
		at = image->bytes + (uint64_t)e->value % (image->size / BLOCK) * BLOCK;
		memmove(block, at, BLOCK);
		break;
	case EDIT_SHIFT:
		by = thin_min(by, (size_t)(block + BLOCK - at));
		memmove(at + by, at, (size_t)(block + BLOCK - at) - by);
		break;
	}
}

static void apply(const struct edit *e, struct pool_image *image)
{
	uint64_t nr = e->block % (image->size / BLOCK);
	uint8_t *block = image->bytes + nr * BLOCK;
	enum thin_block_kind kind = kind_of(block, nr);

	if ((e->op & EDIT_OP) == EDIT_COPY) {
		uint64_t from = (uint64_t)e->value % (image->size / BLOCK);

		kind = kind_of(image->bytes + from * BLOCK, from);
	}
	change(e, image, block);
	if ((e->op & EDIT_CHANGE_KIND) == EDIT_CHANGE_KIND)
		kind = (enum thin_block_kind)EDIT_KIND(e->op);
	if (!(e->op & EDIT_LEAVE_SUM))
		thin_block_seal(kind, block, nr);
}

struct pool_image pools_edited(struct tape *t, unsigned nr_edits)
{
	static uint8_t bytes[NR_BLOCKS * BLOCK];
	struct pool_image from = pools_get((unsigned)tape_take(t, 1));
	struct pool_image image = {bytes, from.size};

	memcpy(bytes, from.bytes, from.size);
	for (unsigned i = 0; i < nr_edits && t->at < t->end; i++) {
		struct edit e = edit_take(t);

		apply(&e, &image);
	}
	return image;
}
