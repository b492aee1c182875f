/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/tree_rules.h"

#include "util/checked.h"

void audit_report_node(struct walk *w, const struct place *p, enum thin_audit_kind kind,
		       uint64_t found, uint64_t expected)
{
	struct thin_finding f = audit_tree_finding(w, kind, p->block, p->first, p->last);

	f.found = found;
	f.expected = expected;
	audit_report(w->a, &f);
}

void audit_remember_node(struct visit *v)
{
	const struct thin_disk_node *n = v->n;
	uint32_t nr = thin_node_nr(n), max = thin_node_max(n);
	struct memo *m = v->m;

	m->nr_entries = (uint16_t)nr;
	if (nr) {
		m->flags |= MEMO_KEYS;
		m->first = thin_node_key(n, 0);
		m->last = thin_node_key(n, nr - 1);
	}
	if (nr < thin_node_min(max))
		m->flags |= MEMO_UNDERFULL;
	if (thin_node_is_leaf(n)) {
		m->nr = nr;
		m->leaf_max = (uint16_t)max;
	} else {
		m->inner_max = (uint16_t)max;
	}
	if (!audit_node_slack_zero(n))
		audit_note_slack(v->w->a, v->p->block);
}

void audit_check_node(struct visit *v)
{
	uint32_t max = thin_node_max(v->n);
	uint32_t usual = thin_node_capacity(thin_node_value_size(v->n));

	if (!audit_node_capacity_ok(max))
		audit_report_node(v->w, v->p, THIN_AUDIT_MAX_ENTRIES_NOT_3, max, 0);
	else if (max != usual && v->fresh)
		audit_report_node(v->w, v->p, THIN_AUDIT_MAX_ENTRIES_UNUSUAL, max, usual);
	if (!v->ascends)
		audit_report_node(v->w, v->p, THIN_AUDIT_KEY_ORDER, 0, 0);
	if (!v->p->depth && !v->m->nr_entries && !thin_node_is_leaf(v->n))
		audit_report_node(v->w, v->p, THIN_AUDIT_EMPTY_NODE, 0, 0);
}

void audit_check_in_parent(struct walk *w, const struct place *p, const struct memo *m,
			   uint64_t last)
{
	if (!p->depth || m->flags & MEMO_UNREADABLE)
		return;
	if (!m->nr_entries)
		audit_report_node(w, p, THIN_AUDIT_EMPTY_NODE, 0, 0);
	else if (m->flags & MEMO_UNDERFULL)
		audit_report_node(
			w, p, THIN_AUDIT_UNDERFULL_NODE, m->nr_entries,
			thin_node_min(m->inner_max ? m->inner_max : m->leaf_max));
	if (!(m->flags & MEMO_KEYS))
		return;
	if (m->first < p->first)
		audit_report_node(w, p, THIN_AUDIT_PARENT_KEY_HIGH, m->first, p->first);
	if (last > p->last)
		audit_report_node(w, p, THIN_AUDIT_CHILD_KEY_HIGH, last, p->last);
}

/* Of children that do not go together the first two are told. */
static void report_once(struct visit *v, enum thin_audit_kind kind, uint64_t found,
			uint64_t expected)
{
	if (!v->uneven)
		audit_report_node(v->w, v->p, kind, found, expected);
	v->uneven = true;
}

/* What a child says of its siblings: equal heights, equal capacities. */
static void compare(struct visit *v, const struct memo *child)
{
	struct memo *m = v->m;

	/* An internal node without children has no height. */
	if (child->flags & MEMO_UNREADABLE || (child->inner_max && !child->height))
		return;
	if (!m->height)
		m->height = (uint8_t)(child->height + 1);
	else if (m->height != child->height + 1)
		report_once(v, THIN_AUDIT_UNEQUAL_DEPTH, child->height, m->height - 1u);
	if (!m->leaf_max)
		m->leaf_max = child->leaf_max;
	else if (child->leaf_max && child->leaf_max != m->leaf_max)
		report_once(v, THIN_AUDIT_MAX_ENTRIES_SIBLINGS, child->leaf_max,
			    m->leaf_max);
	if (child->inner_max && child->inner_max != m->inner_max)
		report_once(v, THIN_AUDIT_MAX_ENTRIES_SIBLINGS, child->inner_max,
			    m->inner_max);
}

void audit_adopt(struct visit *v, const struct memo *child)
{
	struct memo *m = v->m;

	if (!child) {
		m->flags |= MEMO_INCOMPLETE;
		return;
	}
	m->flags |= child->flags & MEMO_INCOMPLETE;
	if (!thin_add_ok(m->nr, child->nr, &m->nr))
		m->nr = UINT64_MAX;
	if (child->flags & MEMO_KEYS)
		m->last = thin_max(m->last, child->last);
	m->max_time = (uint32_t)thin_max(m->max_time, child->max_time);
	compare(v, child);
}
