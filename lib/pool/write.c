/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <errno.h>

/*
 * Writes, and the way that all requests go which change what a volume reads.
 *
 *  1. Into the gate, which a snapshot shuts (I8).
 *  2. Where all of it goes in place, it does so: no other lock.  Otherwise
 *     provision.c.
 *  3. Out of the gate.  If it lacked blocks, or something of the origin, it has
 *     done nothing so far: commit or wait for room (space.c), or read the
 *     origin (below.c), and begin again.
 *  4. FUA: join a commit, now that nobody waits for us at the gate.
 */

int thin_volume_check(const struct thin_volume *v, uint64_t offset, uint64_t len,
		      bool change)
{
	if (!thin_range_ok(offset, len, v->size))
		return -ERANGE;
	return change && v->read_only ? -EROFS : 0;
}

bool thin_request_lacks(struct thin_request *req, const struct thin_plan *plan)
{
	for (size_t i = 0; i < plan->nr_lacks; i++)
		req->lacks[i] = plan->lacks[i];
	req->nr_lacks = plan->nr_lacks;
	return req->nr_lacks;
}

/* *@ret_done is false where the request wants provision.c. */
static int try_in_place(struct thin_request *req, bool *ret_done)
{
	THIN_EPOCH_SCOPE;
	struct thin_cursor c;
	struct thin_plan plan;
	struct thin_work w;
	int r = thin_cursor_init(&c, req->core, thin_request_first(req),
				 thin_request_last(req));

	*ret_done = false;
	/* Without the range's lock a second lookup might find another truth. */
	if (r || !thin_cursor_complete(&c))
		return r;
	r = thin_plan_make(req, &c, &plan);
	if (!r && thin_below_fits(req) && thin_request_lacks(req, &plan))
		r = -EAGAIN;
	if (r || plan.provision || plan.unmap)
		return r;
	*ret_done = true;
	thin_work_init(&w, req);
	r = thin_work_run(&w, &c);
	thin_work_fini(&w);
	return r;
}

static int attempt(struct thin_request *req)
{
	int r = thin_pool_may_change(req->core->pool);
	bool done;

	req->short_of = 0;
	req->nr_lacks = 0;
	if (r)
		return r;
	if (!req->mapped_only)
		req->origin_end =
			thin_core_origin_end(req->core, atomic_load(&req->core->origin));
	r = try_in_place(req, &done);
	return r || done ? r : thin_provision(req);
}

int thin_request_wait(struct thin_request *req, struct thin_patience *p)
{
	p->need = req->need;
	p->promised = req->promised;
	return thin_space_wait(req->core->pool, p, req->short_of);
}

/* What it takes for the next attempt. */
static int see_to(struct thin_request *req, struct thin_patience *p)
{
	return req->short_of ? thin_request_wait(req, p) : thin_below_read(req);
}

int thin_request_do(struct thin_request *req)
{
	struct thin_core *core = req->core;
	struct thin_pool *pool = core->pool;
	struct thin_patience patience = {0};
	bool again;
	int r;

	do {
		thin_space_look(pool, &patience);
		thin_gate_enter(&core->gate);
		r = attempt(req);
		thin_gate_leave(&core->gate);
		again = r && (req->short_of || req->nr_lacks);
		if (again)
			r = see_to(req, &patience);
	} while (again && !r);
	thin_below_fini(req);
	if (r)
		return thin_commit_error(pool, r);
	return req->flags & THIN_FUA ? thin_commit_volume(core) : 0;
}

int thin_volume_write(struct thin_volume *v, const void *buf, uint64_t offset, size_t len,
		      unsigned flags)
{
	struct thin_request req = {
		.core = v->core,
		.op = THIN_OP_WRITE,
		.begin = offset,
		.end = offset + len,
		.buf = buf,
		.flags = flags & THIN_FUA,
	};
	int r = thin_volume_check(v, offset, len, true);

	return r || !len ? r : thin_request_do(&req);
}

int thin_volume_flush(struct thin_volume *v)
{
	return thin_commit_volume(v->core);
}
