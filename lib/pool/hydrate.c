/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>

/*
 * Making a volume independent of its origin: first its blocks are copied,
 * while it is being used, then the origin is let go.
 *
 *  1. Inside the gate: count the blocks that the origin shows, and reserve as many.
 *  2. Outside of it, for the origin may take its time: copy what it shows to some of
 *     these, which nobody else has.
 *  3. Inside again, with their range locked: insert those that are still not mapped.
 *     What others have mapped meanwhile stays; that it was copied was for nothing.
 *  4. Go on with 2.; and where something has changed that all this hangs on,
 *     begin again.
 *
 * The copy shows what the origin does, so no snapshot sees a difference.
 */

struct hydration {
	struct thin_core *core;
	uint64_t begin, end; /* blocks: what is still to be looked at */
	uint64_t left;	     /* blocks: reserved, and not taken yet */
	bool again;	     /* what this hangs on has changed */
	struct thin_request req;
	struct thin_work work;
};

/* Some blocks to be filled, one after the other here and there. */
struct extent {
	uint64_t vblock, dblock, nr;
};

static void hydration_init(struct hydration *h, struct thin_core *core, uint64_t begin,
			   uint64_t end)
{
	h->core = core;
	h->begin = begin;
	h->end = end;
	h->left = 0;
	h->again = false;
	h->req = (struct thin_request){.core = core};
	thin_work_init(&h->work, &h->req);
}

/* --- counting ------------------------------------------------------------------- */

static uint64_t origin_end(struct thin_core *core)
{
	return thin_core_origin_end(core, atomic_load(&core->origin));
}

static int count(struct thin_core *core, uint64_t begin, uint64_t end, uint64_t *ret)
{
	const struct thin_run *run;
	struct thin_cursor c;
	int r = thin_cursor_init(&c, core, begin, end);

	*ret = 0;
	while (!r) {
		r = thin_cursor_next(&c, &run);
		if (r || !run)
			break;
		*ret += run->mapped ? 0 : run->nr;
	}
	return r;
}

static int reserve(struct hydration *h)
{
	uint64_t shown;
	int r = thin_pool_may_change(h->core->pool);

	h->req.origin_end = origin_end(h->core);
	shown = thin_div_up(h->req.origin_end, h->core->pool->block_size);
	h->end = thin_min(h->end, shown);
	if (r || h->begin >= h->end)
		return r;
	r = count(h->core, h->begin, h->end, &h->left);
	if (!r && h->left)
		r = thin_provision_reserve(&h->work, h->left);
	return r;
}

/* --- copying -------------------------------------------------------------------- */

/* The next blocks that are not mapped, at most a piece of them; or none. */
static int next_extent(struct hydration *h, struct extent *ret)
{
	uint64_t most = thin_max(THIN_PIECE / h->core->pool->block_size, UINT64_C(1));
	const struct thin_run *run = NULL;
	struct thin_cursor c;
	int r = thin_cursor_init(&c, h->core, h->begin, h->end);

	ret->nr = 0;
	if (!r)
		r = thin_cursor_next(&c, &run);
	while (!r && run && run->mapped)
		r = thin_cursor_next(&c, &run);
	if (r || !run)
		return r;
	ret->vblock = run->vblock;
	ret->nr = thin_reservation_take(
		&h->work.res, thin_min(thin_min(run->nr, most), h->left), &ret->dblock);
	h->left -= ret->nr;
	return 0;
}

static int copy_part(struct hydration *h, struct thin_origin *o, uint64_t from,
		     uint64_t len, uint64_t offset, uint8_t *buf)
{
	struct thin_gather g;
	int r;

	thin_gather_reads(&g, NULL);
	r = thin_origin_gather(o, h->req.origin_end, &g, from, buf, len);
	if (!r)
		r = thin_gather_go(&g);
	return r ? r
		 : thin_storage_write_at(h->core->pool->params.data, offset, buf, len);
}

/* Below the origin's end; behind it there are zeros. */
static int copy_shown(struct hydration *h, struct thin_origin *o, const struct extent *x)
{
	struct thin_buffers *buffers = &h->core->pool->buffers;
	uint64_t bs = h->core->pool->block_size, at = 0, len = x->nr * bs;
	uint64_t shown = thin_min(len, h->req.origin_end - x->vblock * bs);
	void *buf = thin_buffer_get(buffers);
	int r = buf ? 0 : -ENOMEM;

	for (uint64_t n; at < shown && !r; at += n) {
		n = thin_min(buffers->len, len - at);
		r = copy_part(h, o, x->vblock * bs + at, n, x->dblock * bs + at, buf);
	}
	thin_buffer_put(buffers, buf);
	if (!r && at < len)
		r = thin_storage_zero(h->core->pool->params.data, x->dblock * bs + at,
				      len - at);
	return r;
}

static int copy(struct hydration *h, const struct extent *x)
{
	struct thin_origin *o = thin_core_origin_enter(h->core);
	int r = 0;

	h->again = thin_core_origin_end(h->core, o) != h->req.origin_end;
	if (!h->again)
		r = copy_shown(h, o, x);
	thin_core_origin_leave(h->core, o);
	return r;
}

/* --- inserting ------------------------------------------------------------------ */

static int insert_run(struct hydration *h, const struct extent *x,
		      const struct thin_run *run)
{
	uint64_t dblock = x->dblock + (run->vblock - x->vblock);
	int r;

	if (!run->mapped)
		return thin_work_insert(&h->work, run->vblock, dblock, run->nr);
	r = thin_work_finish(&h->work);
	if (!r)
		thin_reservation_return(&h->work.res, dblock, run->nr);
	return r;
}

static int insert_unmapped(struct hydration *h, const struct extent *x)
{
	const struct thin_run *run;
	struct thin_cursor c;
	int r = thin_cursor_init(&c, h->core, x->vblock, x->vblock + x->nr);

	while (!r) {
		r = thin_cursor_next(&c, &run);
		if (r || !run)
			break;
		r = insert_run(h, x, run);
	}
	return r ? r : thin_work_finish(&h->work);
}

/* Does the origin still show what was copied, and is the room ours as it was? */
static bool is_good(const struct hydration *h)
{
	return origin_end(h->core) == h->req.origin_end &&
	       h->core->guarantee == h->work.res.guarantee;
}

static int insert(struct hydration *h, const struct extent *x)
{
	struct thin_core *core = h->core;
	struct thin_range range;
	int r;

	thin_gate_enter(&core->gate);
	r = thin_pool_may_change(core->pool);
	h->again = !is_good(h);
	if (!r && !h->again) {
		thin_range_lock(&core->ranges, &range, x->vblock, x->vblock + x->nr);
		r = insert_unmapped(h, x);
		thin_range_unlock(&core->ranges, &range);
	}
	thin_gate_leave(&core->gate);
	return r;
}

/* --- all of it ------------------------------------------------------------------ */

static int fill(struct hydration *h)
{
	struct extent x = {.nr = 1};
	int r = 0;

	while (h->left && h->begin < h->end && x.nr && !h->again && !r) {
		r = next_extent(h, &x);
		if (!r && x.nr)
			r = copy(h, &x);
		if (!r && x.nr && !h->again)
			r = insert(h, &x);
		h->begin = x.vblock + x.nr;
	}
	return r;
}

/* @h's reservation goes when it ends: nobody waits who holds one. */
static int attempt(struct hydration *h, struct thin_core *core, uint64_t begin,
		   uint64_t end)
{
	int r;

	thin_gate_enter(&core->gate);
	hydration_init(h, core, begin, end);
	r = reserve(h);
	thin_gate_leave(&core->gate);
	if (!r)
		r = fill(h);
	thin_work_fini(&h->work);
	return r;
}

int thin_hydrate(struct thin_core *core, uint64_t begin, uint64_t end)
{
	struct thin_patience patience = {0};
	struct hydration h;
	bool again;
	int r;

	do {
		thin_space_look(core->pool, &patience);
		r = attempt(&h, core, begin, end);
		again = h.again;
		if (r && h.req.short_of) {
			r = thin_request_wait(&h.req, &patience);
			again = true;
		}
	} while (again && !r);
	return r;
}

int thin_volume_hydrate(struct thin_volume *v, uint64_t offset, uint64_t len)
{
	uint64_t bs = v->core->pool->block_size;
	int r = thin_volume_check(v, offset, len, true);

	if (r || !len)
		return r;
	r = thin_hydrate(v->core, offset / bs, thin_div_up(offset + len, bs));
	return r ? thin_commit_error(v->core->pool, r) : 0;
}

/* --- letting it go -------------------------------------------------------------- */

void thin_volume_drop_origin(struct thin_volume *v, struct thin_dropped *ret)
{
	struct thin_core *core = v->core;

	thin_gate_shut(&core->gate);
	thin_mutex_lock(&core->pool->volumes_lock);
	ret->origin = atomic_exchange(&core->origin, NULL);
	ret->core = ret->origin ? thin_core_pin_again(core) : NULL;
	thin_mutex_unlock(&core->pool->volumes_lock);
	thin_gate_open(&core->gate);
}

/* The watcher has a reference that it took under the lock. */
void thin_dropped_let_go(struct thin_dropped *d)
{
	if (!d->origin)
		return;
	thin_gate_shut(&d->core->below);
	thin_gate_open(&d->core->below);
	thin_origin_unref(d->origin);
	thin_core_unpin(d->core);
	*d = (struct thin_dropped){0};
}
