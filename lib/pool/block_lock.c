/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>

/*
 * Locks on ranges of a volume's blocks: those who change mappings meet
 * here, and only those who change the same ones.
 *
 *  L1  Ranges that are held do not overlap.
 *  L2  Who came first goes first: a range waits for those that came before
 *      it and overlap, also where these wait themselves.  A wide one is
 *      thus not kept waiting by a stream of narrow ones.
 *
 * The list holds as many ranges as there are requests in flight: short, so
 * walking it is cheaper than keeping a tree.
 */

void thin_range_lock_init(struct thin_range_lock *l)
{
	thin_mutex_init(&l->lock);
	thin_cond_init(&l->changed);
	l->ranges = NULL;
}

void thin_range_lock_fini(struct thin_range_lock *l)
{
	assert(!l->ranges);
	thin_cond_fini(&l->changed);
	thin_mutex_fini(&l->lock);
}

static bool is_first(const struct thin_range *head, const struct thin_range *r)
{
	for (; head != r; head = head->next)
		if (head->begin < r->end && r->begin < head->end)
			return false;
	return true;
}

void thin_range_lock(struct thin_range_lock *l, struct thin_range *r, uint64_t begin,
		     uint64_t end)
{
	struct thin_range **tail = &l->ranges;

	assert(begin < end);
	*r = (struct thin_range){.begin = begin, .end = end};
	thin_mutex_lock(&l->lock);
	while (*tail)
		tail = &(*tail)->next;
	*tail = r;
	while (!is_first(l->ranges, r))
		thin_cond_wait(&l->changed, &l->lock);
	thin_mutex_unlock(&l->lock);
}

void thin_range_unlock(struct thin_range_lock *l, struct thin_range *r)
{
	struct thin_range **at = &l->ranges;

	thin_mutex_lock(&l->lock);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	thin_cond_broadcast(&l->changed);
	thin_mutex_unlock(&l->lock);
}
