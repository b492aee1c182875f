/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include "format/block.h"
#include "format/btree_node.h"
#include "format/superblock.h"

#include <string.h>

/*
 * Mutates metadata images so that they get past the checksums: a few fields
 * of a few blocks are changed, or blocks are copied over each other, and nine
 * times in ten what was touched is sealed again as the kind that it was.
 * Recipes (fuzz_meta.c) have all that in them, and get what is usual, or an
 * edit more.
 */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
			       unsigned seed);

#define BLOCK THIN_METADATA_BLOCK

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return z ^ z >> 29;
}

static uint64_t below(uint64_t *state, uint64_t n)
{
	return next(state) % n;
}

/* Which kind @block is by its checksum; THIN_NODE where it is none. */
static enum thin_block_kind kind_of(const uint8_t *block)
{
	const struct thin_disk_header *h = (const void *)block;

	for (unsigned kind = 0; kind < THIN_BLOCK_KINDS; kind++)
		if (!thin_block_verify((enum thin_block_kind)kind, block,
				       le64_get(h->blocknr)))
			return (enum thin_block_kind)kind;
	return THIN_NODE;
}

/* A number that is likely to hit an edge. */
static uint64_t edge(uint64_t *state, uint64_t old, uint64_t nr_blocks)
{
	switch (below(state, 8)) {
	case 0:
		return old + 1;
	case 1:
		return old - 1;
	case 2:
		return 0;
	case 3:
		return UINT64_MAX >> below(state, 64);
	case 4:
		return UINT64_C(1) << below(state, 64);
	case 5:
		return below(state, nr_blocks + 2);
	case 6:
		return old ^ UINT64_C(1) << below(state, 64);
	default:
		return next(state);
	}
}

/* Structures begin at the front: that is where most changes go. */
static size_t choose_offset(uint64_t *state, size_t width)
{
	size_t limit = below(state, 3) ? 512 : BLOCK;

	return (size_t)below(state, (limit - width) / 4) * 4;
}

static void change_field(uint64_t *state, uint8_t *block, uint64_t nr_blocks)
{
	size_t width = below(state, 2) ? 8 : 4;
	uint8_t *at = block + choose_offset(state, width);
	uint64_t v = 0;

	memcpy(&v, at, width);
	v = edge(state, v, nr_blocks);
	memcpy(at, &v, width);
}

static void mutate_block(uint64_t *state, uint8_t *data, size_t nr)
{
	size_t i = (size_t)below(state, nr), from = (size_t)below(state, nr);
	uint8_t *block = data + i * BLOCK;
	enum thin_block_kind kind = kind_of(block);

	if (below(state, 8) == 0) {
		kind = kind_of(data + from * BLOCK);
		memmove(block, data + from * BLOCK, BLOCK);
	} else {
		for (uint64_t n = 1 + below(state, 3); n; n--)
			change_field(state, block, nr);
	}
	if (below(state, 10))
		thin_block_seal(kind, block, i);
}

/* One more edit at the end of a recipe, mostly where structures begin. */
static size_t add_edit(uint64_t *state, uint8_t *data, size_t size)
{
	uint64_t v = below(state, 3) ? next(state) : below(state, 80);
	uint16_t offset = (uint16_t)choose_offset(state, 8);
	uint8_t *e = data + size;

	e[0] = (uint8_t)next(state);
	e[1] = (uint8_t)(next(state) & ~UINT64_C(8));
	memcpy(e + 2, &offset, 2);
	memcpy(e + 4, &v, 4);
	return size + 8;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	uint64_t state = seed;
	size_t nr = size / BLOCK;

	if (!nr && size + 8 <= max_size && below(&state, 4) == 0)
		return add_edit(&state, data, size);
	if (!nr || below(&state, 20) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	for (uint64_t n = 1 + below(&state, 4); n; n--)
		mutate_block(&state, data, nr);
	return size;
}
