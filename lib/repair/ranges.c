/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "util/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int repair_room(void *array, size_t nr, size_t *room, size_t size)
{
	size_t more = *room ? *room * 2 : 64;
	void *grown, *old;

	if (nr < *room)
		return 0;
	memcpy(&old, array, sizeof(old));
	grown = reallocarray(old, more, size);
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	*room = more;
	return 0;
}

int ranges_add(struct ranges *rs, uint64_t first, uint64_t last)
{
	int r = repair_room(&rs->at, rs->nr, &rs->room, sizeof(*rs->at));

	if (!r)
		rs->at[rs->nr++] = (struct range){first, last};
	return r;
}

static int compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

void ranges_tidy(struct ranges *rs)
{
	size_t to = 0;

	if (!rs->nr)
		return;
	qsort(rs->at, rs->nr, sizeof(*rs->at), compare);
	for (size_t i = 1; i < rs->nr; i++) {
		struct range *last = &rs->at[to];

		if (last->last == UINT64_MAX || rs->at[i].first <= last->last + 1)
			last->last = thin_max(last->last, rs->at[i].last);
		else
			rs->at[++to] = rs->at[i];
	}
	rs->nr = to + 1;
}

/* What is left of @from, with @away gone, to @to. */
static int cut(struct ranges *to, struct range from, const struct ranges *away, size_t *i)
{
	while (*i < away->nr && away->at[*i].last < from.first)
		(*i)++;
	for (size_t j = *i; j < away->nr && away->at[j].first <= from.last; j++) {
		int r = 0;

		if (away->at[j].first > from.first)
			r = ranges_add(to, from.first, away->at[j].first - 1);
		if (r || away->at[j].last >= from.last)
			return r;
		from.first = away->at[j].last + 1;
	}
	return ranges_add(to, from.first, from.last);
}

int ranges_subtract(struct ranges *rs, const struct ranges *away)
{
	struct ranges left = {0};
	size_t i = 0;
	int r = 0;

	for (size_t k = 0; k < rs->nr && !r; k++)
		r = cut(&left, rs->at[k], away, &i);
	ranges_fini(rs);
	*rs = left;
	return r;
}

void ranges_fini(struct ranges *rs)
{
	free(rs->at);
	*rs = (struct ranges){0};
}
