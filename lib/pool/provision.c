/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>
#include <string.h>

/*
 * New blocks: for what is not mapped yet, and for what is shared.
 *
 * The range of blocks is locked and looked up again; from then on their
 * mappings stay as they are: who unmaps or provisions locks them too, and a
 * snapshot waits at the gate.  Then
 *
 *   whole blocks       the caller's bytes, or zeros, straight to the storage;
 *                      neither the origin nor the old block is read
 *   a block in part    built in a buffer, from the old block, zeros, or what
 *                      was read of the origin before (below.c), with the
 *                      caller's bytes over it: one write
 *   ... a large one    in three stretches, before, the caller's, and after,
 *                      copied through a buffer: a block may have 1 GiB, and
 *                      a hundred writers can't have one of these each
 *
 * Every byte of a new block is written, zeros too: what the storage holds
 * there is somebody's deleted data (I5).
 */

/* The old content of [@from, @to) of the volume, inside @p, gathered to @buf. */
static int gather_old(struct thin_work *w, const struct thin_piece *p,
		      struct thin_gather *g, uint64_t from, uint64_t to, uint8_t *buf)
{
	uint64_t bs = w->pool->block_size;

	if (from == to)
		return 0;
	if (!p->mapped) {
		memset(buf, 0, to - from);
		return 0;
	}
	return thin_gather_add(g, p->dblock * bs + (from - p->vblock * bs), buf,
			       to - from);
}

static void lay_over(const struct thin_request *req, uint64_t from, uint64_t to,
		     uint8_t *buf)
{
	if (req->buf)
		memcpy(buf, req->buf + (from - req->begin), to - from);
	else
		memset(buf, 0, to - from);
}

/* What was in @p around the caller's bytes, in a buffer. */
static int get_old(struct thin_work *w, const struct thin_piece *p, uint8_t **ret)
{
	uint64_t bs = w->pool->block_size, begin = p->vblock * bs;
	uint64_t from = thin_piece_begin(w->req, p), to = thin_piece_end(w->req, p);
	struct thin_gather old;
	int r;

	*ret = p->mapped ? NULL : thin_below_find(w->req, p->vblock);
	if (*ret)
		return 0;
	*ret = thin_work_buffer(w);
	if (!*ret)
		return -ENOMEM;
	thin_gather_reads(&old, w->pool->params.data);
	r = gather_old(w, p, &old, begin, from, *ret);
	if (!r)
		r = gather_old(w, p, &old, to, begin + bs, *ret + (to - begin));
	return r ? r : thin_gather_go(&old);
}

/* A block in part that fits into a buffer. */
static int build(struct thin_work *w, const struct thin_piece *p, uint64_t dblock)
{
	uint64_t bs = w->pool->block_size, begin = p->vblock * bs;
	uint64_t from = thin_piece_begin(w->req, p), to = thin_piece_end(w->req, p);
	uint8_t *buf;
	int r = get_old(w, p, &buf);

	if (r)
		return r;
	lay_over(w->req, from, to, buf + (from - begin));
	return thin_gather_add(&w->out, dblock * bs, buf, bs);
}

/* --- large blocks ----------------------------------------------------------- */

static int copy_chunk(struct thin_work *w, const struct thin_piece *p, uint64_t from,
		      uint64_t to, uint64_t offset, uint8_t *buf)
{
	struct thin_gather old;
	int r;

	thin_gather_reads(&old, w->pool->params.data);
	r = gather_old(w, p, &old, from, to, buf);
	if (!r)
		r = thin_gather_go(&old);
	if (!r)
		r = thin_storage_write_at(w->pool->params.data, offset, buf, to - from);
	return r;
}

/*
 * The old content of [@from, @to) to @offset of the data storage.  What the origin
 * showed here is mapped by now (below.c).
 */
static int copy(struct thin_work *w, const struct thin_piece *p, uint64_t from,
		uint64_t to, uint64_t offset)
{
	struct thin_buffers *buffers = &w->pool->buffers;
	void *buf;
	int r = 0;

	if (!p->mapped)
		return from == to ? 0
				  : thin_storage_zero(w->pool->params.data, offset,
						      to - from);
	buf = thin_buffer_get(buffers);
	if (!buf)
		return -ENOMEM;
	while (from < to && !r) {
		uint64_t len = thin_min(to - from, buffers->len);

		r = copy_chunk(w, p, from, from + len, offset, buf);
		from += len;
		offset += len;
	}
	thin_buffer_put(buffers, buf);
	return r;
}

static int write_part(struct thin_work *w, uint64_t from, uint64_t to, uint64_t offset)
{
	const struct thin_request *req = w->req;

	if (!req->buf)
		return thin_storage_zero(w->pool->params.data, offset, to - from);
	return thin_storage_write_at(w->pool->params.data, offset,
				     req->buf + (from - req->begin), to - from);
}

/* A block in part that does not fit into a buffer. */
static int stretch(struct thin_work *w, const struct thin_piece *p, uint64_t dblock)
{
	uint64_t bs = w->pool->block_size, begin = p->vblock * bs, offset = dblock * bs;
	uint64_t from = thin_piece_begin(w->req, p), to = thin_piece_end(w->req, p);
	int r = copy(w, p, begin, from, offset);

	if (!r)
		r = write_part(w, from, to, offset + (from - begin));
	if (!r)
		r = copy(w, p, to, begin + bs, offset + (to - begin));
	return r;
}

/* --- pieces ------------------------------------------------------------------ */

static int fill_whole(struct thin_work *w, uint64_t vblock, uint64_t dblock, uint64_t nr)
{
	uint64_t bs = w->pool->block_size;
	const struct thin_request *req = w->req;

	if (!req->buf)
		return thin_storage_zero(w->pool->params.data, dblock * bs, nr * bs);
	return thin_gather_add(&w->out, dblock * bs,
			       (void *)(uintptr_t)(req->buf + (vblock * bs - req->begin)),
			       nr * bs);
}

static int fill(struct thin_work *w, const struct thin_piece *p, uint64_t vblock,
		uint64_t dblock, uint64_t nr)
{
	uint64_t bs = w->pool->block_size;

	if (p->whole)
		return fill_whole(w, vblock, dblock, nr);
	return bs <= w->pool->buffers.len ? build(w, p, dblock) : stretch(w, p, dblock);
}

int thin_provision_piece(struct thin_work *w, const struct thin_piece *p)
{
	uint64_t vblock = p->vblock, end = p->vblock + p->nr;
	int r = 0;

	while (vblock < end && !r) {
		uint64_t dblock;
		uint64_t nr = thin_reservation_take(&w->res, end - vblock, &dblock);

		r = fill(w, p, vblock, dblock, nr);
		if (!r)
			r = thin_work_insert(w, vblock, dblock, nr);
		vblock += nr;
	}
	return r;
}

/* --- requests ---------------------------------------------------------------- */

int thin_provision_reserve(struct thin_work *w, uint64_t want)
{
	int r = want ? thin_reservation_make(&w->res, want) : 0;

	if (r == -ENOSPC || r == -ENOBUFS) {
		w->req->short_of = r;
		w->req->need = want;
		w->req->promised = w->res.promised;
	}
	return r;
}

/* Those before us in the line may have done all the provisioning. */
static bool only_in_place(const struct thin_plan *plan, const struct thin_cursor *c)
{
	return !plan->provision && !plan->unmap && thin_cursor_complete(c);
}

/*
 * The range is given up early: from here on it is the epoch that keeps the
 * blocks which were looked up.
 */
static int go_in_place(struct thin_work *w, struct thin_cursor *c,
		       struct thin_range *range, bool *range_held)
{
	THIN_EPOCH_SCOPE;

	thin_range_unlock(&w->req->core->ranges, range);
	*range_held = false;
	return thin_work_run(w, c);
}

/*
 * No epoch: while the range is held the mappings stay, and what our mappings
 * refer to nobody else gets.
 */
static int provision(struct thin_work *w, struct thin_range *range, bool *range_held)
{
	struct thin_core *core = w->req->core;
	struct thin_cursor c;
	struct thin_plan plan;
	bool lacks;
	int r = thin_cursor_init(&c, core, range->begin, range->end);

	if (!r)
		r = thin_plan_make(w->req, &c, &plan);
	if (r)
		return r;
	lacks = thin_request_lacks(w->req, &plan);
	if (lacks && thin_below_fits(w->req))
		return -EAGAIN;
	if (only_in_place(&plan, &c))
		return go_in_place(w, &c, range, range_held);
	r = thin_provision_reserve(w, plan.provision);
	if (!r && lacks)
		r = -EAGAIN; /* with room for all of it, a part may be taken first */
	return r ? r : thin_work_run(w, &c);
}

int thin_provision(struct thin_request *req)
{
	struct thin_range range;
	struct thin_work w;
	bool held = true;
	int r;

	thin_work_init(&w, req);
	thin_range_lock(&req->core->ranges, &range, thin_request_first(req),
			thin_request_last(req));
	r = provision(&w, &range, &held);
	if (held)
		thin_range_unlock(&req->core->ranges, &range);
	thin_work_fini(&w);
	return r;
}
