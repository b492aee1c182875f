/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"
#include "util/limits.h"

#include <errno.h>

/*
 * Trim and zero.
 *
 * A trim unmaps the blocks that it covers, start rounded up and end down, as
 * dm-thin does; but the volume's own end need not be the end of a block (see
 * pieces.c).  What was below shows again, the origin too.  It goes in
 * steps, each under its range's lock, so that neither writers there nor the
 * metadata's lock are held up for long.
 *
 * Zeros are what reads give afterwards (I11), so over an origin there must
 * be blocks for them; elsewhere a hole does.  They go the way of writes.
 *
 * Unmapping needs metadata too.  When only the reserve is left a commit
 * after each step gives back what the step freed.
 */

static int unmap_some(struct thin_core *core, uint64_t begin, uint64_t end,
		      uint64_t *ret_next)
{
	if (core->guarantee)
		return thin_guarantee_unmap(core, begin, end, THIN_UNMAP_STEP, ret_next);
	return thin_metadata_remove_range(core->d, begin, end, THIN_UNMAP_STEP, ret_next,
					  NULL);
}

int thin_unmap(struct thin_core *core, uint64_t begin, uint64_t end)
{
	int r = 0;

	while (begin < end && !r) {
		r = unmap_some(core, begin, end, &begin);
		if (!r && begin < end && thin_space_scarce(core->pool))
			r = thin_space_settle(core->pool);
	}
	return r;
}

/* Ranges are short, so that a writer to one of the blocks is soon let in. */
static int trim_blocks(struct thin_core *core, uint64_t begin, uint64_t end)
{
	struct thin_range range;
	uint64_t to;
	int r = 0;

	for (; begin < end && !r; begin = to) {
		to = thin_min(begin + THIN_UNMAP_STEP, end);
		thin_range_lock(&core->ranges, &range, begin, to);
		r = thin_unmap(core, begin, to);
		thin_range_unlock(&core->ranges, &range);
		if (!r && thin_space_scarce(core->pool))
			r = thin_space_settle(core->pool);
	}
	return r;
}

/* Where the last covered block of [.., @end) ends. */
static uint64_t covered_end(struct thin_core *core, uint64_t end)
{
	uint64_t bs = core->pool->block_size;

	return end == atomic_load(&core->size) ? thin_div_up(end, bs) : end / bs;
}

static int trim(struct thin_core *core, uint64_t offset, uint64_t len)
{
	uint64_t begin = thin_div_up(offset, core->pool->block_size);
	int r;

	thin_gate_enter(&core->gate);
	r = thin_pool_may_change(core->pool);
	if (!r)
		r = trim_blocks(core, begin, covered_end(core, offset + len));
	thin_gate_leave(&core->gate);
	return r;
}

int thin_volume_trim(struct thin_volume *v, uint64_t offset, uint64_t len, unsigned flags)
{
	struct thin_core *core = v->core;
	struct thin_pool *pool = core->pool;
	int r = thin_volume_check(v, offset, len, true);

	if (r || !len)
		return r;
	if (pool->params.discard != THIN_DISCARD_IGNORE)
		r = trim(core, offset, len);
	if (r)
		return thin_commit_error(pool, r);
	thin_space_unmapped(pool);
	return flags & THIN_FUA ? thin_commit_volume(core) : 0;
}

/* --- truncating ---------------------------------------------------------------- */

/* Steps between commits, which give the first blocks back meanwhile. */
#define STEPS_PER_COMMIT 64

/*
 * All that is behind is held for a step: nobody who has the volume open gets
 * there.
 */
static int truncate_some(struct thin_core *core, uint64_t *next)
{
	struct thin_range range;
	int r;

	thin_gate_enter(&core->gate);
	thin_range_lock(&core->ranges, &range, *next, UINT64_MAX);
	r = unmap_some(core, *next, UINT64_MAX, next);
	thin_range_unlock(&core->ranges, &range);
	thin_gate_leave(&core->gate);
	return r;
}

static int truncate_all(struct thin_core *core, uint64_t next)
{
	int r = 0;

	for (unsigned step = 1; next < UINT64_MAX && !r; step++) {
		r = truncate_some(core, &next);
		if (!r && (step % STEPS_PER_COMMIT == 0 || thin_space_scarce(core->pool)))
			r = thin_commit_now(core->pool);
	}
	return r;
}

int thin_pool_truncate(struct thin_pool *pool, uint32_t device, uint64_t bytes)
{
	struct thin_core *core;
	int r = thin_pool_may_change(pool);

	if (!r)
		r = thin_core_pin(pool, device, &core);
	if (r)
		return r;
	r = truncate_all(core, thin_div_up(bytes, pool->block_size));
	thin_core_unpin(core);
	if (!r)
		r = thin_commit_change(pool);
	return r ? thin_commit_error(pool, r) : 0;
}

/*
 * What is not mapped needs nothing: with the origin's end before it nobody fills it
 * with anything but zeros.
 */
int thin_pool_zero_tail(struct thin_pool *pool, uint32_t device, uint64_t bytes,
			uint64_t origin_end)
{
	struct thin_request req = {
		.op = THIN_OP_ZERO,
		.begin = bytes,
		.end = thin_div_up(bytes, pool->block_size) * pool->block_size,
		.flags = THIN_FUA,
		.mapped_only = true,
	};
	int r = thin_core_pin(pool, device, &req.core);

	if (r)
		return r;
	thin_core_limit_origin(req.core, origin_end);
	if (req.begin < req.end)
		r = thin_request_do(&req);
	thin_core_unpin(req.core);
	return r;
}

int thin_volume_zero(struct thin_volume *v, uint64_t offset, uint64_t len, unsigned flags)
{
	struct thin_pool *pool = v->core->pool;
	struct thin_request req = {
		.core = v->core,
		.op = THIN_OP_ZERO,
		.begin = offset,
		.end = offset + len,
		.flags = flags,
	};
	int r = thin_volume_check(v, offset, len, true);

	if (r || !len)
		return r;
	/* Who ignores discards wants to keep blocks that were once given. */
	if (pool->params.discard == THIN_DISCARD_IGNORE)
		req.flags &= ~THIN_MAY_UNMAP;
	r = thin_request_do(&req);
	if (!r)
		thin_space_unmapped(pool);
	return r;
}
