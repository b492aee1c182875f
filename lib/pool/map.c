/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>

/*
 * What a volume is made of.  Blocks are looked up, the origin is asked where
 * there are none; neighbours of one type are joined before anybody hears of
 * them, across lookups and across the origin's own extents.
 *
 * What the origin can not tell counts as data: an extent that is called zero
 * without being it would lose a copier's bytes.
 */

struct mapping {
	struct thin_origin *origin;
	uint64_t origin_end; /* bytes */
	uint64_t begin, end; /* bytes: the range that was asked for */
	thin_map_fn *fn;
	void *ctx;
	uint64_t offset, len; /* the extent that is still growing */
	enum thin_map_type type;
	int stopped; /* what @fn returned */
};

static int emit(struct mapping *m)
{
	if (m->len && !m->stopped)
		m->stopped = m->fn(m->ctx, m->offset, m->len, m->type);
	m->len = 0;
	return m->stopped;
}

static int add(struct mapping *m, uint64_t len, enum thin_map_type type)
{
	uint64_t next = m->offset + m->len;
	int r = 0;

	if (m->len && m->type != type)
		r = emit(m);
	if (!m->len) {
		m->offset = next;
		m->type = type;
	}
	m->len += len;
	return r;
}

static int add_origin_extent(void *ctx, uint64_t offset, uint64_t len,
			     enum thin_extent_type type)
{
	(void)offset; /* they come without gaps */
	return add(ctx, len, type == THIN_EXTENT_DATA ? THIN_MAP_ORIGIN : THIN_MAP_ZERO);
}

/* [@from, @to) is not mapped, and below the origin's end. */
static int add_origin(struct mapping *m, uint64_t from, uint64_t to)
{
	int r = thin_origin_extents(m->origin, from, to - from, add_origin_extent, m);
	uint64_t told = m->offset + m->len;

	if (!r || m->stopped || r == -ESTALE)
		return r;
	return add(m, to - told, THIN_MAP_ORIGIN);
}

static int add_unmapped(struct mapping *m, uint64_t from, uint64_t to)
{
	uint64_t below = thin_max(from, thin_min(to, m->origin_end));
	int r = from < below ? add_origin(m, from, below) : 0;

	return r || below == to ? r : add(m, to - below, THIN_MAP_ZERO);
}

static int add_run(struct mapping *m, const struct thin_run *run, uint64_t bs)
{
	uint64_t from = thin_max(run->vblock * bs, m->begin);
	uint64_t to = thin_min((run->vblock + run->nr) * bs, m->end);

	if (run->mapped)
		return add(m, to - from, run->shared ? THIN_MAP_SHARED : THIN_MAP_DATA);
	return add_unmapped(m, from, to);
}

/* No epoch: no blocks are used, and the origin may take its time to answer. */
static int map_runs(struct mapping *m, struct thin_core *core)
{
	uint64_t bs = core->pool->block_size;
	const struct thin_run *run;
	struct thin_cursor c;
	int r = thin_cursor_init(&c, core, m->begin / bs, thin_div_up(m->end, bs));

	while (!r) {
		r = thin_cursor_next(&c, &run);
		if (r || !run)
			break;
		r = add_run(m, run, bs);
	}
	return r ? r : emit(m);
}

static int map(struct mapping *m, struct thin_core *core)
{
	int r;

	m->origin = thin_core_origin_enter(core);
	m->origin_end = thin_core_origin_end(core, m->origin);
	r = map_runs(m, core);
	thin_core_origin_leave(core, m->origin);
	return r;
}

int thin_volume_map(struct thin_volume *v, uint64_t offset, uint64_t len, thin_map_fn *fn,
		    void *ctx)
{
	struct mapping m = {.begin = offset,
			    .end = offset + len,
			    .offset = offset,
			    .fn = fn,
			    .ctx = ctx};
	int r = thin_volume_check(v, offset, len, false);

	if (!r)
		r = thin_pool_may_read(v->core->pool);
	if (r || !len)
		return r;
	r = map(&m, v->core);
	return r == -ESHUTDOWN && !m.stopped ? thin_commit_error(v->core->pool, r) : r;
}
