/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>
#include <string.h>

/*
 * What a request needs of the origin: the rest of the blocks at its edges, where it
 * covers them in part.
 *
 * It is read before the gate, for an origin on a host that does not answer keeps its
 * readers waiting for as long as it likes, and a snapshot, an open of a volume that
 * was resized and others wait for all who are inside.  And it stays good, since an
 * origin never changes (I6): what may have changed when the request is inside again
 * is up to where it shows, which only ever gets less.
 *
 * A block that does not fit into a buffer is made the volume's own first, as
 * flattening does it, where there is room for the whole request; then the request
 * finds it mapped.
 */

bool thin_below_fits(const struct thin_request *req)
{
	return req->core->pool->block_size <= req->core->pool->buffers.len;
}

static struct thin_below *find(struct thin_request *req, uint64_t vblock)
{
	for (size_t i = 0; i < THIN_EDGES; i++)
		if (req->below[i].buf && req->below[i].vblock == vblock)
			return &req->below[i];
	return NULL;
}

bool thin_below_lacks(const struct thin_request *req, uint64_t vblock)
{
	for (size_t i = 0; i < THIN_EDGES; i++)
		if (req->below[i].buf && req->below[i].vblock == vblock)
			return req->below[i].end < req->origin_end;
	return true;
}

uint8_t *thin_below_find(struct thin_request *req, uint64_t vblock)
{
	struct thin_below *b = find(req, vblock);
	uint64_t bs = req->core->pool->block_size, begin = vblock * bs;

	if (!b)
		return NULL;
	if (b->end > req->origin_end) {
		uint64_t shown = thin_min(thin_max(req->origin_end, begin) - begin, bs);

		memset(b->buf + shown, 0, bs - shown);
		b->end = req->origin_end;
	}
	return b->buf;
}

void thin_below_fini(struct thin_request *req)
{
	for (size_t i = 0; i < THIN_EDGES; i++)
		thin_buffer_put(&req->core->pool->buffers, req->below[i].buf);
}

/* A place for @vblock: its own, or one that is free. */
static struct thin_below *place(struct thin_request *req, uint64_t vblock)
{
	struct thin_below *b = find(req, vblock);

	for (size_t i = 0; i < THIN_EDGES && !b; i++)
		if (!req->below[i].buf)
			b = &req->below[i];
	if (!b->buf)
		b->buf = thin_buffer_get(&req->core->pool->buffers);
	b->vblock = vblock;
	return b;
}

/* Only what the request leaves of the block. */
static int read_around(struct thin_request *req, struct thin_origin *o,
		       struct thin_below *b)
{
	struct thin_piece p = {.vblock = b->vblock, .nr = 1};
	uint64_t bs = req->core->pool->block_size, begin = b->vblock * bs;
	uint64_t from = thin_piece_begin(req, &p), to = thin_piece_end(req, &p);
	struct thin_gather g;
	int r;

	thin_gather_reads(&g, NULL);
	r = thin_origin_gather(o, b->end, &g, begin, b->buf, from - begin);
	if (!r)
		r = thin_origin_gather(o, b->end, &g, to, b->buf + (to - begin),
				       begin + bs - to);
	return r ? r : thin_gather_go(&g);
}

static int read_block(struct thin_request *req, uint64_t vblock)
{
	struct thin_below *b = place(req, vblock);
	struct thin_origin *o;
	int r;

	if (!b->buf)
		return -ENOMEM;
	o = thin_core_origin_enter(req->core);
	b->end = thin_core_origin_end(req->core, o);
	r = read_around(req, o, b);
	thin_core_origin_leave(req->core, o);
	return r;
}

int thin_below_read(struct thin_request *req)
{
	bool fits = thin_below_fits(req);
	int r = 0;

	for (size_t i = 0; i < req->nr_lacks && !r; i++)
		r = fits ? read_block(req, req->lacks[i])
			 : thin_hydrate(req->core, req->lacks[i], req->lacks[i] + 1);
	return r;
}
