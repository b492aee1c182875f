/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include <errno.h>

/*
 * A tree that can not stay as it is, gone through from the left to the
 * right: what stays goes to the taker, the rest is told as lost.
 *
 * A node must lie where its parent puts it, so no block is met twice at one
 * depth, whatever is in it, and the walk ends.
 *
 * A node that is not believed has claims: keys outside of the place that its
 * parent gives it.  If it is the parent that is wrong they are lost with it,
 * so they are told, too, but for those that somebody else has.
 */

struct salvage {
	struct repair *r;
	enum repair_tree tree;
	const struct taker *to;
	struct ranges *lost;
	struct ranges claims, taken;
	uint64_t nr;
};

static int lose(struct salvage *s, const struct range *place, const struct memo *m)
{
	int err = ranges_add(s->lost, place->first, place->last);

	if (!err && m && m->first <= m->last && !fits(m, place->first, place->last))
		err = ranges_add(&s->claims, m->first, m->last);
	return err;
}

/* --- leaves --------------------------------------------------------------- */

static int take_whole_leaf(struct salvage *s, const struct thin_disk_node *n)
{
	uint32_t nr = thin_node_nr(n);
	int err = 0;

	s->nr += nr;
	if (nr)
		err = ranges_add(&s->taken, thin_node_key(n, 0),
				 thin_node_key(n, nr - 1));
	return err || !s->to ? err : s->to->leaf(s->to->ctx, n);
}

static int take_entry(struct salvage *s, const struct thin_disk_node *n, uint32_t i)
{
	uint64_t key = thin_node_key(n, i);
	int err;

	if (s->tree == REPAIR_DEVICE && !entry_stays(s->r, n, i))
		return ranges_add(s->lost, key, key);
	s->nr++;
	err = ranges_add(&s->taken, key, key);
	if (err || !s->to)
		return err;
	return s->to->entry(s->to->ctx, key, thin_node_value(n, i));
}

static int take_entries(struct salvage *s, const struct thin_disk_node *n)
{
	int err = 0;

	for (uint32_t i = 0; i < thin_node_nr(n) && !err; i++)
		err = take_entry(s, n, i);
	return err;
}

/* --- nodes ---------------------------------------------------------------- */

static int visit(struct salvage *s, uint64_t block, const struct range *place,
		 unsigned depth);

static int visit_children(struct salvage *s, const struct thin_disk_node *n,
			  const struct range *place, unsigned depth)
{
	uint32_t nr = thin_node_nr(n);
	int err = 0;

	for (uint32_t i = 0; i < nr && !err; i++) {
		struct range child = {
			.first = thin_node_key(n, i),
			.last = i + 1 < nr ? thin_node_key(n, i + 1) - 1 : place->last,
		};

		err = visit(s, thin_node_value64(n, i), &child, depth + 1);
	}
	return err;
}

/* The keys of the node itself; what is below is asked when we are there. */
static bool in_place(const struct thin_disk_node *n, const struct range *place)
{
	uint32_t nr = thin_node_nr(n);

	return thin_node_key(n, 0) >= place->first &&
	       thin_node_key(n, nr - 1) <= place->last;
}

static int enter(struct salvage *s, const struct thin_disk_node *n, const struct memo *m,
		 const struct range *place, unsigned depth)
{
	if (!thin_node_nr(n))
		return depth ? lose(s, place, NULL) : 0;
	if (!in_place(n, place))
		return lose(s, place, m);
	if (!thin_node_is_leaf(n))
		return visit_children(s, n, place, depth);
	if (m->belief == BELIEF_SOUND)
		return take_whole_leaf(s, n);
	return take_entries(s, n);
}

static int visit(struct salvage *s, uint64_t block, const struct range *place,
		 unsigned depth)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	struct thin_disk_node *n = (struct thin_disk_node *)buf;
	const struct memo *m;
	int err = judge(s->r, s->tree, block, depth, &m);

	if (err)
		return err;
	if (!m || m->belief == BELIEF_NONE)
		return lose(s, place, m);
	err = read_old_node(s->r, s->tree, block, n);
	if (err)
		return err == -EILSEQ ? lose(s, place, NULL) : err;
	return enter(s, n, m, place, depth);
}

int salvage(struct repair *r, enum repair_tree tree, uint64_t root,
	    const struct taker *to, struct ranges *lost, uint64_t *ret_nr)
{
	struct salvage s = {.r = r, .tree = tree, .to = to, .lost = lost};
	const struct range all = {0, UINT64_MAX};
	int err = visit(&s, root, &all, 0);

	ranges_tidy(&s.claims);
	ranges_tidy(&s.taken);
	if (!err)
		err = ranges_subtract(&s.claims, &s.taken);
	for (size_t i = 0; i < s.claims.nr && !err; i++)
		err = ranges_add(lost, s.claims.at[i].first, s.claims.at[i].last);
	ranges_tidy(lost);
	ranges_fini(&s.claims);
	ranges_fini(&s.taken);
	*ret_nr = s.nr;
	return err;
}
