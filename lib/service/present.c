/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/present.h"

#include "audit/audit.h"
#include "repair/repair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * A word for each data block: free, in use, or known to be what it was.
 *
 * A device at a time is compared: the present walk leaves at each block what
 * it is to that device, and the walk of the old metadata looks whether it
 * finds that there.  Times alone would not do: without a snapshot they stand
 * still, and the next volume's first block is where the last one's was.
 */

#define PAGE_BLOCKS 4096
#define FREE	    UINT64_C(0)
#define SAME	    UINT64_MAX

struct thin_present {
	uint64_t **pages;
	uint64_t nr_pages;
	uint64_t device; /* that is compared */
	bool no_memory;
};

/* Room for @dblock; NULL: no memory. */
static uint64_t *word_of(struct thin_present *p, uint64_t dblock)
{
	uint64_t page = dblock / PAGE_BLOCKS;

	if (page >= p->nr_pages) {
		uint64_t nr = 2 * page + 1;
		uint64_t **grown = reallocarray(p->pages, nr, sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + p->nr_pages, 0, (nr - p->nr_pages) * sizeof(*grown));
		p->pages = grown;
		p->nr_pages = nr;
	}
	if (!p->pages[page])
		p->pages[page] = calloc(PAGE_BLOCKS, sizeof(**p->pages));
	return p->pages[page] ? &p->pages[page][dblock % PAGE_BLOCKS] : NULL;
}

/* --- what is in use ------------------------------------------------------------- */

/* Told of each mapping that can be believed, at least once. */
static bool note_used(void *ctx, uint64_t vblock, uint64_t dblock, uint32_t time)
{
	struct thin_present *p = ctx;
	uint64_t *word = word_of(p, dblock);

	(void)vblock;
	(void)time;
	if (word)
		*word = 1;
	else
		p->no_memory = true;
	return true;
}

int thin_present_read(struct thin_storage *metadata, uint64_t nr_data_blocks,
		      struct thin_present **ret, struct thin_error *e)
{
	const struct thin_repair_fns fns = {.keep = note_used};
	const struct thin_repair_params params = {
		.from = metadata,
		.nr_data_blocks = nr_data_blocks,
	};
	struct thin_present *p = calloc(1, sizeof(*p));
	struct thin_repair_result result;
	int r;

	if (!p)
		return -ENOMEM;
	r = thin_repair(&params, &fns, p, &result, e);
	if (!r && p->no_memory)
		r = -ENOMEM;
	if (r)
		thin_present_free(p);
	else
		*ret = p;
	return r;
}

void thin_present_free(struct thin_present *p)
{
	if (!p)
		return;
	for (uint64_t i = 0; i < p->nr_pages; i++)
		free(p->pages[i]);
	free(p->pages);
	free(p);
}

/* --- what is the same ------------------------------------------------------------ */

/* What a block is to a device: neither FREE nor SAME. */
static uint64_t mark_of(uint64_t device, uint64_t vblock, uint32_t time)
{
	uint64_t h = (device + 1) * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ vblock) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ h >> 29 ^ time) * UINT64_C(0x94d049bb133111eb);
	return (h >> 2) + 2;
}

static int mark_now(void *ctx, const struct thin_walk_run *run)
{
	struct thin_present *p = ctx;

	for (uint64_t i = 0; i < run->length; i++) {
		uint64_t *word = word_of(p, run->dblock + i);

		if (!word)
			return -ENOMEM;
		if (*word != SAME)
			*word = mark_of(p->device, run->vblock + i, run->time);
	}
	return 0;
}

static int look_then(void *ctx, const struct thin_walk_run *run)
{
	struct thin_present *p = ctx;

	for (uint64_t i = 0; i < run->length; i++) {
		uint64_t *word = word_of(p, run->dblock + i);

		if (!word)
			return -ENOMEM;
		if (*word == mark_of(p->device, run->vblock + i, run->time))
			*word = SAME;
	}
	return 0;
}

int thin_present_compare(struct thin_present *p, struct thin_storage *now,
			 struct thin_storage *then, uint64_t device)
{
	const struct thin_walk_params which = {.device = device};
	const struct thin_walk_fns mark = {.run = mark_now}, look = {.run = look_then};
	int r;

	p->device = device;
	r = thin_audit_walk(now, &which, &mark, p, NULL);
	/* What was told before the damage holds. */
	int r2 = thin_audit_walk(then, &which, &look, p, NULL);
	return r ? r : r2;
}

enum thin_since thin_present_since(const struct thin_present *p, uint64_t dblock)
{
	uint64_t page = dblock / PAGE_BLOCKS;
	uint64_t word = page < p->nr_pages && p->pages[page]
				? p->pages[page][dblock % PAGE_BLOCKS]
				: FREE;

	if (word == FREE)
		return THIN_SINCE_FREE;
	return word == SAME ? THIN_SINCE_SAME : THIN_SINCE_OTHER;
}
