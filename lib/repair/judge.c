/* SPDX-License-Identifier: BSD-3-Clause */
#include "repair/internal.h"

#include "audit/node.h"
#include "util/checked.h"

#include <errno.h>

/*
 * What is to be believed.
 *
 * A block is judged once, however many devices share it, and by itself:
 * where a parent puts it is compared when somebody comes from that parent.
 *
 * A leaf with one impossible mapping (past the end of the data, of a time to
 * come) loses that mapping.  With more of them, or where it also has the
 * same data twice, it is something else that was taken for a leaf, and what
 * looks possible in it would show the bytes of others.
 */

uint32_t leaf_value_size(enum repair_tree tree)
{
	return tree == REPAIR_DETAILS ? THIN_VALUE_DETAILS : THIN_VALUE_BLOCK;
}

int read_old_node(struct repair *r, enum repair_tree tree, uint64_t block,
		  struct thin_disk_node *ret)
{
	struct thin_finding why;
	int err;

	if (block >= r->nr_old)
		return -EILSEQ;
	err = thin_storage_read_at(r->p->from, block * THIN_METADATA_BLOCK, ret,
				   THIN_METADATA_BLOCK);
	if (err == -ENOMEM)
		return err;
	if (err || thin_block_verify(THIN_NODE, ret, block) ||
	    audit_node_fault(ret, leaf_value_size(tree), &why) ||
	    !audit_node_ascends(ret))
		return -EILSEQ;
	return 0;
}

/* --- leaves --------------------------------------------------------------- */

static bool possible(const struct repair *r, struct thin_packed_mapping m)
{
	return m.data_block < r->nr_data && m.time <= r->time;
}

static bool wanted(const struct repair *r, uint64_t vblock, struct thin_packed_mapping m)
{
	return !r->fns->keep || r->fns->keep(r->ctx, vblock, m.data_block, m.time);
}

bool entry_stays(const struct repair *r, const struct thin_disk_node *n, uint32_t i)
{
	struct thin_packed_mapping m = thin_mapping_unpack(thin_node_value64(n, i));

	return possible(r, m) && wanted(r, thin_node_key(n, i), m);
}

static bool has_doubles(const struct thin_disk_node *n)
{
	for (uint32_t i = 1; i < thin_node_nr(n); i++)
		for (uint32_t j = 0; j < i; j++)
			if (thin_node_value64(n, i) >> 24 ==
			    thin_node_value64(n, j) >> 24)
				return true;
	return false;
}

static enum belief judge_mappings(struct repair *r, const struct thin_disk_node *n,
				  struct memo *m)
{
	uint32_t impossible = 0, unwanted = 0;

	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		struct thin_packed_mapping mapping =
			thin_mapping_unpack(thin_node_value64(n, i));

		if (!possible(r, mapping)) {
			impossible++;
			continue;
		}
		unwanted += !wanted(r, thin_node_key(n, i), mapping);
		m->max_time = (uint32_t)thin_max(m->max_time, mapping.time);
		r->max_dblock = thin_max(r->max_dblock, mapping.data_block);
	}
	if (impossible > 1 || (impossible && has_doubles(n)))
		return BELIEF_NONE;
	return impossible || unwanted ? BELIEF_PARTS : BELIEF_SOUND;
}

/* --- nodes ---------------------------------------------------------------- */

bool fits(const struct memo *m, uint64_t first, uint64_t last)
{
	return m->first >= first && m->last <= last;
}

static void note_capacity(struct memo *m, const struct memo *child)
{
	m->leaf_max = m->leaf_max ?: child->leaf_max;
	if (child->leaf_max != m->leaf_max ||
	    (child->inner_max && child->inner_max != m->inner_max))
		m->belief = BELIEF_PARTS;
}

/* Child @i of @n, for what it means to its parent @m. */
static void adopt(struct memo *m, const struct thin_disk_node *n, uint32_t i,
		  const struct memo *child)
{
	uint64_t last =
		i + 1 < thin_node_nr(n) ? thin_node_key(n, i + 1) - 1 : UINT64_MAX;

	if (!child || child->belief != BELIEF_SOUND || child->few ||
	    !fits(child, thin_node_key(n, i), last)) {
		m->belief = BELIEF_PARTS;
		if (child && child->first <= child->last)
			m->last = thin_max(m->last, child->last);
		return;
	}
	if (i && m->height != child->height + 1)
		m->belief = BELIEF_PARTS;
	m->height = (uint8_t)(child->height + 1);
	m->last = thin_max(m->last, child->last);
	m->nr += child->nr;
	m->max_time = (uint32_t)thin_max(m->max_time, child->max_time);
	note_capacity(m, child);
}

static int judge_children(struct repair *r, enum repair_tree tree,
			  const struct thin_disk_node *n, unsigned depth, struct memo *m)
{
	if (!thin_node_nr(n))
		m->belief = BELIEF_NONE;
	for (uint32_t i = 0; i < thin_node_nr(n); i++) {
		const struct memo *child = NULL;
		int err = judge(r, tree, thin_node_value64(n, i), depth + 1, &child);

		if (err)
			return err;
		adopt(m, n, i, child);
	}
	return 0;
}

/* The entries of @n itself, in which nothing contradicts another. */
static int judge_node(struct repair *r, enum repair_tree tree,
		      const struct thin_disk_node *n, unsigned depth, struct memo *m)
{
	uint32_t nr = thin_node_nr(n), max = thin_node_max(n);

	m->few = nr < thin_node_min(max) || !nr;
	m->belief = audit_node_capacity_ok(max) ? BELIEF_SOUND : BELIEF_PARTS;
	if (nr) {
		m->first = thin_node_key(n, 0);
		m->last = thin_node_key(n, nr - 1);
	}
	if (!thin_node_is_leaf(n)) {
		m->inner_max = (uint16_t)max;
		return judge_children(r, tree, n, depth, m);
	}
	m->nr = nr;
	m->leaf_max = (uint16_t)max;
	if (tree == REPAIR_DEVICE)
		m->belief = (uint8_t)thin_max(m->belief, judge_mappings(r, n, m));
	return 0;
}

static int judge_fresh(struct repair *r, enum repair_tree tree, uint64_t block,
		       unsigned depth, struct memo *m)
{
	_Alignas(8) uint8_t buf[THIN_METADATA_BLOCK];
	struct thin_disk_node *n = (struct thin_disk_node *)buf;
	int err = read_old_node(r, tree, block, n);

	*m = (struct memo){
		.first = UINT64_MAX,
		.belief = BELIEF_WALKING,
		.tree = (uint8_t)tree,
	};
	if (!err)
		err = judge_node(r, tree, n, depth, m);
	else
		m->belief = BELIEF_NONE;
	return err == -EILSEQ ? 0 : err;
}

int judge(struct repair *r, enum repair_tree tree, uint64_t block, unsigned depth,
	  const struct memo **ret)
{
	struct memo *m;

	*ret = NULL;
	if (!block || block >= r->nr_old || depth >= THIN_MAX_TREE_DEPTH)
		return 0;
	m = &r->memo[block];
	if (m->belief == BELIEF_UNSEEN) {
		int err = judge_fresh(r, tree, block, depth, m);

		if (err)
			return err;
	}
	if (m->tree != tree || m->belief == BELIEF_WALKING ||
	    depth + m->height >= THIN_MAX_TREE_DEPTH)
		return 0;
	*ret = m;
	return 0;
}
