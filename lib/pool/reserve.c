/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>

/*
 * The blocks that a request will need, all of them or none: so it never gets
 * stuck half-way, where a snapshot would see half of it (I8).  What is
 * not inserted in the end goes back; nothing leaks (dm-thin's 6.9).
 */

void thin_reservation_init(struct thin_reservation *res, struct thin_pool *pool,
			   struct thin_guarantee *guarantee)
{
	res->pool = pool;
	res->guarantee = guarantee;
	res->pending = 0;
	res->promised = false;
	res->extent = res->few;
	res->nr = 0;
	res->max = sizeof(res->few) / sizeof(res->few[0]);
	res->at = 0;
	res->taken = 0;
	res->used = 0;
}

static int make_place(struct thin_reservation *res)
{
	size_t max = res->max * 2;
	struct thin_reserved *more;

	if (res->nr < res->max)
		return 0;
	more = reallocarray(res->extent == res->few ? NULL : res->extent, max,
			    sizeof(*more));
	if (!more)
		return -ENOMEM;
	if (res->extent == res->few)
		for (size_t i = 0; i < res->nr; i++)
			more[i] = res->few[i];
	res->extent = more;
	res->max = max;
	return 0;
}

static int reserve_extent(struct thin_reservation *res, uint64_t want, uint64_t *ret_nr)
{
	struct thin_reserved *x;
	int r = make_place(res);

	if (r)
		return r;
	x = &res->extent[res->nr];
	r = thin_metadata_reserve(res->pool->m, want, &x->dblock, &x->nr);
	if (r)
		return r;
	assert(x->nr > 0 && x->nr <= want);
	res->nr++;
	*ret_nr = x->nr;
	return 0;
}

static int reserve_all(struct thin_reservation *res, uint64_t want)
{
	uint64_t nr;

	for (; want; want -= nr) {
		int r = reserve_extent(res, want, &nr);
		if (r)
			return r;
	}
	return 0;
}

/*
 * Taking what there is and giving it back would make it look full to those
 * who need less: so not even that where it can't suffice.
 */
int thin_reservation_make(struct thin_reservation *res, uint64_t want)
{
	return thin_guarantee_take(res, want, reserve_all);
}

uint64_t thin_reservation_take(struct thin_reservation *res, uint64_t want,
			       uint64_t *ret_dblock)
{
	struct thin_reserved *x = &res->extent[res->at];
	uint64_t nr;

	assert(res->at < res->nr && want > 0);
	nr = thin_min(want, x->nr - res->taken);
	*ret_dblock = x->dblock + res->taken;
	res->taken += nr;
	if (res->taken == x->nr) {
		res->at++;
		res->taken = 0;
	}
	return nr;
}

void thin_reservation_return(struct thin_reservation *res, uint64_t dblock, uint64_t nr)
{
	thin_metadata_unreserve(res->pool->m, dblock, nr);
	res->used += nr;
	thin_guarantee_returned(res, nr);
	thin_space_returned(res->pool);
}

void thin_reservation_fini(struct thin_reservation *res)
{
	bool returned = false;

	for (size_t i = 0; i < res->nr; i++) {
		struct thin_reserved *x = &res->extent[i];
		uint64_t used = thin_min(res->used, x->nr);

		res->used -= used;
		if (used == x->nr)
			continue;
		thin_metadata_unreserve(res->pool->m, x->dblock + used, x->nr - used);
		returned = true;
	}
	thin_guarantee_returned(res, res->pending);
	if (returned)
		thin_space_returned(res->pool);
	if (res->extent != res->few)
		free(res->extent);
}
