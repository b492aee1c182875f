/* SPDX-License-Identifier: BSD-3-Clause */

#include "requests.h"

/*
 * What clients ask of a volume.  The pool is asked first, the model does the
 * same after it: by then it is known whether the pool has committed, and so
 * whether what is asked belongs to that commit.
 */

#include "choose.h"
#include "rounds.h"
#include "should.h"
#include "told.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void read_range(struct world *w, int v, uint64_t begin, uint64_t end)
{
	const uint8_t *want = w->m.volume[v].content + begin;
	uint8_t *buf = w->buf + 8;
	uint64_t len = end - begin;

	memset(buf - 8, 0xa5, 8);
	memset(buf, 0x5a, lesser(len, 64));
	memset(buf + len, 0xa5, 8);
	SHOULD_BE(thin_volume_read(w->volume[v], buf, begin, len), 0);
	for (uint64_t i = 0; memcmp(buf, want, len) && i < len; i++)
		SHOULD(buf[i] == want[i],
		       "device %u, byte %" PRIu64 " (block %" PRIu64 "+%" PRIu64
		       "): read %02x, should be %02x",
		       w->m.volume[v].device, begin + i, (begin + i) / w->m.block_size,
		       (begin + i) % w->m.block_size, buf[i], want[i]);
	for (int i = 0; i < 8; i++)
		SHOULD(buf[-1 - i] == 0xa5 && buf[len + (uint64_t)i] == 0xa5,
		       "read outside of the buffer");
}

void check_content(struct world *w)
{
	for (int v = 0; v < MODEL_VOLUMES; v++)
		if (w->m.volume[v].exists)
			read_range(w, v, 0, w->m.volume[v].size);
}

void do_read(struct world *w)
{
	int v = any_volume(w);
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	read_range(w, v, x.begin, x.end);
	SHOULD_BE(thin_volume_read(w->volume[v], w->buf, w->m.volume[v].size, 1),
		  -ERANGE);
}

static int issue(struct world *w, int v, const struct model_request *req, unsigned flags)
{
	struct thin_volume *vol = w->volume[v];
	uint64_t len = req->end - req->begin;

	switch (req->op) {
	case MODEL_WRITE:
		return thin_volume_write(vol, req->buf, req->begin, len, flags);
	case MODEL_ZERO:
		return thin_volume_zero(vol, req->begin, len, flags);
	default:
		return thin_volume_hydrate(vol, req->begin, len);
	}
}

/* A commit that a request makes for want of room is one of what was before. */
static void request(struct world *w, int v, struct model_request *req, unsigned flags)
{
	struct model_needs needs = model_needs(&w->m, v, req);
	uint64_t free_blocks = w->m.nr_data_blocks - w->m.used;
	bool fits = !needs.provision || needs.provision <= free_blocks;
	int r = issue(w, v, req, flags);

	if (flags & THIN_FAST_ONLY && (needs.provision || needs.in_place)) {
		SHOULD_BE(r, -ENOTSUP);
		return;
	}
	if (!w->held || r != -ENOSPC)
		SHOULD_BE(r, fits ? 0 : -ENOSPC);
	if (has_committed(w) && !(flags & THIN_FUA && !r))
		committed(w);
	if (!r)
		model_do(&w->m, v, req);
	if (has_committed(w))
		committed(w);
}

void do_write(struct world *w)
{
	int v = any_volume(w);
	struct range x;
	struct model_request req;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	seeded_fill(&w->rng, w->payload, 16);
	req = (struct model_request){
		.op = MODEL_WRITE,
		.begin = x.begin,
		.end = x.end,
		.buf = w->payload + below(w, 4096),
	};
	memcpy(w->payload + (req.buf - w->payload) % 64, &rounds_run.op,
	       sizeof(rounds_run.op));
	request(w, v, &req, chance(w, 10) ? THIN_FUA : 0);
}

void do_zero(struct world *w)
{
	int v = any_volume(w);
	unsigned flags = 0;
	struct range x;
	struct model_request req;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	flags |= chance(w, 50) ? THIN_MAY_UNMAP : 0;
	flags |= chance(w, 10) ? THIN_FUA : 0;
	flags |= chance(w, 20) ? THIN_FAST_ONLY : 0;
	req = (struct model_request){
		.op = MODEL_ZERO,
		.begin = x.begin,
		.end = x.end,
		.may_unmap = flags & THIN_MAY_UNMAP,
	};
	request(w, v, &req, flags);
}

void do_hydrate(struct world *w)
{
	int v = any_volume(w);
	struct range x;
	struct model_request req;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	req = (struct model_request){.op = MODEL_HYDRATE, .begin = x.begin, .end = x.end};
	request(w, v, &req, 0);
}

void do_drop_origin(struct world *w)
{
	struct thin_dropped dropped;
	int v = any_volume(w);

	if (v == MODEL_NONE || w->m.volume[v].origin == MODEL_NONE)
		return;
	SHOULD_BE(thin_pool_commit(w->pool), 0);
	committed(w);
	thin_volume_drop_origin(w->volume[v], &dropped);
	thin_dropped_let_go(&dropped);
	model_drop_origin(&w->m, v);
}

void do_trim(struct world *w)
{
	int v = any_volume(w);
	unsigned flags = chance(w, 10) ? THIN_FUA : 0;
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	SHOULD_BE(thin_volume_trim(w->volume[v], x.begin, x.end - x.begin, flags), 0);
	model_trim(&w->m, v, x.begin, x.end);
	if (has_committed(w))
		committed(w);
}

void do_flush(struct world *w)
{
	int v = any_volume(w);

	if (v == MODEL_NONE)
		return;
	SHOULD_BE(thin_volume_flush(w->volume[v]), 0);
	if (has_committed(w))
		committed(w);
}

void do_commit(struct world *w)
{
	SHOULD_BE(thin_pool_commit(w->pool), 0);
	committed(w);
	check_devices(w);
}

void do_cache(struct world *w)
{
	int v = any_volume(w);
	struct range x;

	if (v == MODEL_NONE)
		return;
	x = any_range(w, v);
	SHOULD_BE(thin_volume_cache(w->volume[v], x.begin, x.end - x.begin), 0);
}
