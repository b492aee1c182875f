/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include <assert.h>
#include <errno.h>

/*
 * Walks the runs of a range.  Most requests have few: these stay in hand,
 * so that looking twice (first what is to be done, then doing it) costs one
 * lookup.
 */

/*
 * The metadata's trees were checked, but not every number in them: what lies
 * past the data storage must not become an offset, which might wrap (I5).
 */
static int check_run(const struct thin_core *core, const struct thin_run *run)
{
	uint64_t nr_data =
		atomic_load_explicit(&core->pool->nr_data_blocks, memory_order_relaxed);

	if (run->mapped && (run->dblock >= nr_data || run->nr > nr_data - run->dblock))
		return -EILSEQ;
	return 0;
}

static int fill(struct thin_cursor *c, uint64_t from)
{
	int r = thin_metadata_lookup(c->core->d, from, c->end, c->runs, THIN_RUNS,
				     &c->nr);

	if (r)
		return r;
	assert(c->nr > 0 && c->runs[0].vblock == from);
	c->from = from;
	c->to = c->runs[c->nr - 1].vblock + c->runs[c->nr - 1].nr;
	assert(c->to <= c->end);
	c->next = 0;
	for (size_t i = 0; i < c->nr && !r; i++)
		r = check_run(c->core, &c->runs[i]);
	return r;
}

int thin_cursor_init(struct thin_cursor *c, struct thin_core *core, uint64_t begin,
		     uint64_t end)
{
	assert(begin < end);
	c->core = core;
	c->begin = begin;
	c->end = end;
	return fill(c, begin);
}

bool thin_cursor_complete(const struct thin_cursor *c)
{
	return c->from == c->begin && c->to == c->end;
}

int thin_cursor_next(struct thin_cursor *c, const struct thin_run **ret)
{
	int r = 0;

	if (c->next == c->nr && c->to < c->end)
		r = fill(c, c->to);
	if (!r)
		*ret = c->next < c->nr ? &c->runs[c->next++] : NULL;
	return r;
}

int thin_cursor_rewind(struct thin_cursor *c)
{
	if (c->from != c->begin)
		return fill(c, c->begin);
	c->next = 0;
	return 0;
}
