/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/batch.h"

#include "util/limits.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int audit_batch_init(struct batch *b, size_t cap, uint64_t distinct)
{
	size_t blocks = distinct < cap ? (size_t)distinct : cap;

	*b = (struct batch){.cap = cap};
	b->slots = calloc(cap, sizeof(*b->slots));
	b->segments = calloc(cap, sizeof(*b->segments));
	/* Aligned for O_DIRECT, so that storage need not copy. */
	b->data = aligned_alloc(THIN_METADATA_BLOCK, blocks * THIN_METADATA_BLOCK);
	if (b->slots && b->segments && b->data)
		return 0;
	audit_batch_fini(b);
	return -ENOMEM;
}

void audit_batch_fini(struct batch *b)
{
	free(b->slots);
	free(b->segments);
	free(b->data);
	*b = (struct batch){0};
}

void audit_batch_add(struct batch *b, uint64_t block)
{
	assert(b->nr < b->cap);
	b->slots[b->nr++] = (struct batch_slot){.block = block};
}

/* By insertion: a node's children mostly are in order already. */
static void sort_slots(struct batch *b)
{
	for (size_t i = 1; i < b->nr; i++) {
		struct batch_slot slot = b->slots[i];
		size_t j = i;

		for (; j > 0 && b->slots[j - 1].block > slot.block; j--)
			b->slots[j] = b->slots[j - 1];
		b->slots[j] = slot;
	}
}

static void drop_duplicates(struct batch *b)
{
	size_t nr = 0;

	for (size_t i = 0; i < b->nr; i++)
		if (!nr || b->slots[nr - 1].block != b->slots[i].block)
			b->slots[nr++] = b->slots[i];
	b->nr = nr;
}

/* Neighbours on disk are neighbours in memory, and become one segment. */
static size_t make_segments(struct batch *b)
{
	size_t nr = 0;

	for (size_t i = 0; i < b->nr; i++) {
		if (i && b->slots[i].block == b->slots[i - 1].block + 1) {
			b->segments[nr - 1].len += THIN_METADATA_BLOCK;
			continue;
		}
		b->segments[nr++] = (struct thin_segment){
			.offset = b->slots[i].block * THIN_METADATA_BLOCK,
			.buf = b->data + i * THIN_METADATA_BLOCK,
			.len = THIN_METADATA_BLOCK,
		};
	}
	return nr;
}

static void load_singly(struct batch *b, struct thin_storage *s)
{
	for (size_t i = 0; i < b->nr; i++)
		b->slots[i].status = thin_storage_read_at(
			s, b->slots[i].block * THIN_METADATA_BLOCK,
			b->data + i * THIN_METADATA_BLOCK, THIN_METADATA_BLOCK);
}

void audit_batch_load(struct batch *b, struct thin_storage *s)
{
	if (!b->nr)
		return;
	sort_slots(b);
	drop_duplicates(b);
	if (thin_storage_read(s, b->segments, make_segments(b)))
		load_singly(b, s);
}

const void *audit_batch_get(const struct batch *b, uint64_t block, int *ret_status)
{
	size_t lo = 0, hi = b->nr;

	/* The slot, if there is one, is in [lo, hi). */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (b->slots[mid].block == block) {
			*ret_status = b->slots[mid].status;
			return b->data + mid * THIN_METADATA_BLOCK;
		}
		if (b->slots[mid].block < block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}
