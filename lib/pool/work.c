/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>

/*
 * Carries a request out, piece by piece.
 *
 *  W1  A new block is inserted after every byte of it was written: writes
 *      are gathered, and insertions wait until these have completed.  So
 *      nobody reads a block before it holds what belongs there (I5), and
 *      the flush of the commit that takes the mapping covers it (I2).
 *  W2  What goes in place goes to blocks that were looked up inside this
 *      gate: they are still ours alone (I4).  Where their range is not held
 *      they may be trimmed meanwhile; but then we are in the epoch in which
 *      they were looked up, so the bytes land in a block that nobody else
 *      has (I3), and the trim is taken to have come after us, as it may,
 *      being concurrent.
 *  W3  Whole blocks are written from the caller's memory, neither copied
 *      nor read; of blocks in part only what the request leaves is read.
 */

void thin_work_init(struct thin_work *w, struct thin_request *req)
{
	w->req = req;
	w->pool = req->core->pool;
	w->nr_insertions = 0;
	w->nr_buffers = 0;
	w->unmap_begin = w->unmap_end = 0;
	thin_gather_writes(&w->out, w->pool->params.data);
	thin_reservation_init(&w->res, w->pool, req->core->guarantee);
}

void thin_work_fini(struct thin_work *w)
{
	while (w->nr_buffers)
		thin_buffer_put(&w->pool->buffers, w->buffer[--w->nr_buffers]);
	thin_reservation_fini(&w->res);
}

void *thin_work_buffer(struct thin_work *w)
{
	void *buf = thin_buffer_get(&w->pool->buffers);

	assert(w->nr_buffers < sizeof(w->buffer) / sizeof(w->buffer[0]));
	if (buf)
		w->buffer[w->nr_buffers++] = buf;
	return buf;
}

/* All blocks were reserved, but the metadata to map them may get short here. */
static int insert_one(struct thin_work *w, const struct thin_insertion *i)
{
	struct thin_device *d = w->req->core->d;
	int r = thin_metadata_insert(d, i->vblock, i->dblock, i->nr);

	if (r == -ENOBUFS) {
		r = thin_space_settle(w->pool);
		if (!r)
			r = thin_metadata_insert(d, i->vblock, i->dblock, i->nr);
	}
	if (!r) {
		w->res.used += i->nr;
		thin_guarantee_inserted(&w->res, i->nr);
	}
	if (r != -ENOBUFS)
		return r;
	thin_pool_set_mode(w->pool, THIN_MODE_OUT_OF_METADATA);
	return -ENOSPC;
}

int thin_work_finish(struct thin_work *w)
{
	int r = thin_gather_go(&w->out);

	for (size_t i = 0; i < w->nr_insertions && !r; i++)
		r = insert_one(w, &w->insertion[i]);
	w->nr_insertions = 0;
	return r;
}

static bool joins(const struct thin_insertion *last, uint64_t vblock, uint64_t dblock)
{
	return last->vblock + last->nr == vblock && last->dblock + last->nr == dblock;
}

int thin_work_insert(struct thin_work *w, uint64_t vblock, uint64_t dblock, uint64_t nr)
{
	if (w->nr_insertions &&
	    joins(&w->insertion[w->nr_insertions - 1], vblock, dblock)) {
		w->insertion[w->nr_insertions - 1].nr += nr;
		return 0;
	}
	if (w->nr_insertions == THIN_RUNS) {
		int r = thin_work_finish(w);
		if (r)
			return r;
	}
	w->insertion[w->nr_insertions++] = (struct thin_insertion){vblock, dblock, nr};
	return 0;
}

static int in_place(struct thin_work *w, const struct thin_piece *p)
{
	const struct thin_request *req = w->req;
	uint64_t from = thin_piece_begin(req, p), to = thin_piece_end(req, p);
	uint64_t bs = w->pool->block_size;
	uint64_t offset = p->dblock * bs + (from - p->vblock * bs);

	if (req->op == THIN_OP_ZERO)
		return thin_storage_zero(w->pool->params.data, offset, to - from);
	return thin_gather_add(&w->out, offset,
			       (void *)(uintptr_t)(req->buf + (from - req->begin)),
			       to - from);
}

/* Blocks to be unmapped are put together over the holes between them. */
static int unmap_gathered(struct thin_work *w)
{
	uint64_t begin = w->unmap_begin;

	w->unmap_begin = w->unmap_end;
	return thin_unmap(w->req->core, begin, w->unmap_end);
}

static void unmap(struct thin_work *w, const struct thin_piece *p)
{
	if (w->unmap_begin == w->unmap_end)
		w->unmap_begin = p->vblock;
	w->unmap_end = p->vblock + p->nr;
}

static int do_piece(struct thin_work *w, const struct thin_piece *p)
{
	enum thin_action action = thin_piece_action(w->req, p);
	int r;

	if (action == THIN_UNMAP)
		unmap(w, p);
	if (action == THIN_UNMAP || action == THIN_NOTHING)
		return 0;
	r = unmap_gathered(w);
	if (r)
		return r;
	return action == THIN_IN_PLACE ? in_place(w, p) : thin_provision_piece(w, p);
}

static int do_run(struct thin_work *w, const struct thin_run *run)
{
	struct thin_piece p;
	int r = 0;

	for (uint64_t b = run->vblock; b < run->vblock + run->nr && !r; b += p.nr) {
		thin_piece_cut(w->req, run, b, &p);
		r = do_piece(w, &p);
	}
	return r;
}

int thin_work_run(struct thin_work *w, struct thin_cursor *c)
{
	const struct thin_run *run;
	int r = thin_cursor_rewind(c);

	while (!r) {
		r = thin_cursor_next(c, &run);
		if (r || !run)
			break;
		r = do_run(w, run);
	}
	if (!r)
		r = unmap_gathered(w);
	return r ? r : thin_work_finish(w);
}
