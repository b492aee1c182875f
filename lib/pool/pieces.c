/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>

/*
 * Cuts a request into pieces, and decides what each of them needs.  Nothing
 * here does I/O or changes anything.
 *
 * "The origin has bytes there" is about whole blocks: one byte below the
 * origin's end is enough, since the block is filled from it as a whole.
 *
 * The last block of a volume is short where the size is not a multiple of
 * the block size.  For unmapping it counts as covered when the request
 * reaches the volume's end (dm-thin never unmaps it, 7.18, so a trim of the
 * whole volume leaves a block behind).  For writing it is a block in part:
 * its rest keeps what was there, and shows when the volume grows.
 */

static uint64_t block_size(const struct thin_request *req)
{
	return req->core->pool->block_size;
}

uint64_t thin_request_first(const struct thin_request *req)
{
	return req->begin / block_size(req);
}

uint64_t thin_request_last(const struct thin_request *req)
{
	return thin_div_up(req->end, block_size(req));
}

uint64_t thin_piece_begin(const struct thin_request *req, const struct thin_piece *p)
{
	return thin_max(req->begin, p->vblock * block_size(req));
}

uint64_t thin_piece_end(const struct thin_request *req, const struct thin_piece *p)
{
	return thin_min(req->end, (p->vblock + p->nr) * block_size(req));
}

/* Whole blocks in [@vblock, @end), or 0 where the first one is not. */
static uint64_t whole_blocks(const struct thin_request *req, uint64_t vblock,
			     uint64_t end)
{
	uint64_t whole_end = thin_min(end, req->end / block_size(req));

	if (req->begin > vblock * block_size(req) || whole_end <= vblock)
		return 0;
	return whole_end - vblock;
}

static bool covers_all(const struct thin_request *req, uint64_t vblock)
{
	uint64_t size = atomic_load_explicit(&req->core->size, memory_order_relaxed);
	uint64_t end = thin_min((vblock + 1) * block_size(req), size);

	return req->begin <= vblock * block_size(req) && req->end >= end;
}

void thin_piece_cut(const struct thin_request *req, const struct thin_run *run,
		    uint64_t vblock, struct thin_piece *ret)
{
	uint64_t whole = whole_blocks(req, vblock, run->vblock + run->nr);
	uint64_t origin_blocks = thin_div_up(req->origin_end, block_size(req));

	assert(vblock >= run->vblock && vblock < run->vblock + run->nr);
	*ret = (struct thin_piece){
		.vblock = vblock,
		.nr = whole ? whole : 1,
		.dblock = run->dblock + (vblock - run->vblock),
		.mapped = run->mapped,
		.shared = run->mapped && run->shared,
		.whole = whole,
		.all = covers_all(req, vblock),
		.origin = vblock < origin_blocks,
	};
	if (ret->origin)
		ret->nr = thin_min(ret->nr, origin_blocks - vblock);
}

static enum thin_action zero_action(const struct thin_request *req,
				    const struct thin_piece *p)
{
	if (!p->mapped && thin_piece_begin(req, p) >= req->origin_end)
		return THIN_NOTHING;
	/* I11: a hole shows the origin, so there must be none over it. */
	if (p->mapped && p->all && !p->origin &&
	    (p->shared || req->flags & THIN_MAY_UNMAP))
		return THIN_UNMAP;
	return p->mapped && !p->shared ? THIN_IN_PLACE : THIN_PROVISION;
}

enum thin_action thin_piece_action(const struct thin_request *req,
				   const struct thin_piece *p)
{
	switch (req->op) {
	case THIN_OP_ZERO:
		return zero_action(req, p);
	default:
		return p->mapped && !p->shared ? THIN_IN_PLACE : THIN_PROVISION;
	}
}

/* Of a block that is not mapped, and will be: does the origin show around the bytes? */
static bool shows_around(const struct thin_request *req, const struct thin_piece *p)
{
	uint64_t bs = block_size(req), begin = p->vblock * bs;

	if (p->mapped || p->whole)
		return false;
	return thin_min(thin_piece_begin(req, p), req->origin_end) > begin ||
	       thin_piece_end(req, p) < thin_min(begin + bs, req->origin_end);
}

static void plan_provision(const struct thin_request *req, const struct thin_piece *p,
			   struct thin_plan *plan)
{
	plan->provision += p->nr;
	if (!shows_around(req, p) || !thin_below_lacks(req, p->vblock))
		return;
	assert(plan->nr_lacks < THIN_EDGES);
	plan->lacks[plan->nr_lacks++] = p->vblock;
}

static void plan_run(const struct thin_request *req, const struct thin_run *run,
		     struct thin_plan *plan)
{
	struct thin_piece p;

	for (uint64_t b = run->vblock; b < run->vblock + run->nr; b += p.nr) {
		thin_piece_cut(req, run, b, &p);
		switch (thin_piece_action(req, &p)) {
		case THIN_PROVISION:
			plan_provision(req, &p, plan);
			break;
		case THIN_IN_PLACE:
			plan->in_place = true;
			break;
		case THIN_UNMAP:
			plan->unmap = true;
			break;
		case THIN_NOTHING:
			break;
		}
	}
}

int thin_plan_make(const struct thin_request *req, struct thin_cursor *c,
		   struct thin_plan *ret)
{
	struct thin_plan plan = {0};
	const struct thin_run *run;
	int r;

	do {
		r = thin_cursor_next(c, &run);
		if (!r && run)
			plan_run(req, run, &plan);
	} while (!r && run);
	if (r)
		return r;
	/* Whatever writes, be it zeros, is not fast. */
	if (req->flags & THIN_FAST_ONLY && (plan.provision || plan.in_place))
		return -ENOTSUP;
	*ret = plan;
	return 0;
}
