/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/block_set.h"

#include "util/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BITS 16384u
#define WORDS	   (CHUNK_BITS / 64)

struct thin_block_chunk {
	uint64_t number; /* of its first block, divided by CHUNK_BITS */
	uint64_t words[WORDS];
};

static size_t slot_of(uint64_t number, size_t nr_slots)
{
	return (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (nr_slots - 1);
}

/* The slot that holds chunk @number, or the empty one where it would be. */
static struct thin_block_chunk **find_slot(const struct thin_block_set *s,
					   uint64_t number)
{
	size_t i = slot_of(number, s->nr_slots);

	while (s->table[i] && s->table[i]->number != number)
		i = (i + 1) & (s->nr_slots - 1);
	return &s->table[i];
}

static struct thin_block_chunk *find_chunk(const struct thin_block_set *s,
					   uint64_t number)
{
	return s->nr_slots ? *find_slot(s, number) : NULL;
}

static int grow_table(struct thin_block_set *s)
{
	struct thin_block_set bigger = *s;

	bigger.nr_slots = s->nr_slots ? 2 * s->nr_slots : 16;
	bigger.table = calloc(bigger.nr_slots, sizeof(*bigger.table));
	if (!bigger.table)
		return -ENOMEM;
	for (size_t i = 0; i < s->nr_slots; i++)
		if (s->table[i])
			*find_slot(&bigger, s->table[i]->number) = s->table[i];
	free(s->table);
	*s = bigger;
	return 0;
}

static int get_chunk(struct thin_block_set *s, uint64_t number,
		     struct thin_block_chunk **ret)
{
	struct thin_block_chunk **slot;
	int r;

	*ret = find_chunk(s, number);
	if (*ret)
		return 0;
	if (s->nr_chunks + 1 > s->nr_slots / 2) {
		r = grow_table(s);
		if (r)
			return r;
	}
	slot = find_slot(s, number);
	*slot = calloc(1, sizeof(**slot));
	if (!*slot)
		return -ENOMEM;
	(*slot)->number = number;
	s->nr_chunks++;
	*ret = *slot;
	return 0;
}

void thin_block_set_clear(struct thin_block_set *s)
{
	for (size_t i = 0; i < s->nr_slots; i++)
		free(s->table[i]);
	free(s->table);
	*s = (struct thin_block_set){0};
}

int thin_block_set_add(struct thin_block_set *s, uint64_t block)
{
	struct thin_block_chunk *c;
	uint64_t bit = UINT64_C(1) << block % 64;
	uint64_t *word;
	int r;

	r = get_chunk(s, block / CHUNK_BITS, &c);
	if (r)
		return r;
	word = &c->words[block % CHUNK_BITS / 64];
	s->nr += !(*word & bit);
	*word |= bit;
	return 0;
}

void thin_block_set_remove(struct thin_block_set *s, uint64_t block)
{
	struct thin_block_chunk *c = find_chunk(s, block / CHUNK_BITS);
	uint64_t bit = UINT64_C(1) << block % 64;
	uint64_t *word;

	if (!c)
		return;
	word = &c->words[block % CHUNK_BITS / 64];
	s->nr -= !!(*word & bit);
	*word &= ~bit;
}

bool thin_block_set_has(const struct thin_block_set *s, uint64_t block)
{
	const struct thin_block_chunk *c;

	if (!s->nr)
		return false;
	c = find_chunk(s, block / CHUNK_BITS);
	return c && c->words[block % CHUNK_BITS / 64] >> block % 64 & 1;
}

static int add_run(void *ctx, uint64_t block, uint64_t nr)
{
	int r = 0;

	for (uint64_t i = 0; i < nr && !r; i++)
		r = thin_block_set_add(ctx, block + i);
	return r;
}

int thin_block_set_union(struct thin_block_set *to, const struct thin_block_set *from)
{
	return thin_block_set_for_each_run(from, add_run, to);
}

static void subtract_chunk(struct thin_block_set *s, const struct thin_block_chunk *from)
{
	struct thin_block_chunk *c = find_chunk(s, from->number);

	for (size_t w = 0; c && w < WORDS; w++) {
		s->nr -= (uint64_t)__builtin_popcountll(c->words[w] & from->words[w]);
		c->words[w] &= ~from->words[w];
	}
}

void thin_block_set_subtract(struct thin_block_set *s, const struct thin_block_set *from)
{
	for (size_t i = 0; i < from->nr_slots; i++)
		if (from->table[i])
			subtract_chunk(s, from->table[i]);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = (*(struct thin_block_chunk *const *)a)->number;
	uint64_t y = (*(struct thin_block_chunk *const *)b)->number;

	return x < y ? -1 : x > y;
}

/* A run that may go on in the next chunk. */
struct pending_run {
	uint64_t block, nr;
	int (*fn)(void *ctx, uint64_t block, uint64_t nr);
	void *ctx;
};

static int extend_run(struct pending_run *p, uint64_t block)
{
	int r = 0;

	if (p->nr && p->block + p->nr == block) {
		p->nr++;
		return 0;
	}
	if (p->nr)
		r = p->fn(p->ctx, p->block, p->nr);
	p->block = block;
	p->nr = 1;
	return r;
}

static int runs_of_chunk(const struct thin_block_chunk *c, struct pending_run *p)
{
	for (size_t w = 0; w < WORDS; w++) {
		for (uint64_t bits = c->words[w]; bits; bits &= bits - 1) {
			uint64_t bit = (uint64_t)__builtin_ctzll(bits);
			int r = extend_run(p, c->number * CHUNK_BITS + w * 64 + bit);

			if (r)
				return r;
		}
	}
	return 0;
}

int thin_block_set_for_each_run(const struct thin_block_set *s,
				int (*fn)(void *ctx, uint64_t block, uint64_t nr),
				void *ctx)
{
	_cleanup_free struct thin_block_chunk **sorted = NULL;
	struct pending_run p = {.fn = fn, .ctx = ctx};
	size_t nr = 0;

	if (!s->nr)
		return 0;
	sorted = malloc(s->nr_chunks * sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < s->nr_slots; i++)
		if (s->table[i])
			sorted[nr++] = s->table[i];
	assert(nr == s->nr_chunks);
	qsort(sorted, nr, sizeof(*sorted), by_number);
	for (size_t i = 0; i < nr; i++) {
		int r = runs_of_chunk(sorted[i], &p);

		if (r)
			return r;
	}
	return fn(ctx, p.block, p.nr);
}
