/* SPDX-License-Identifier: BSD-3-Clause */
#include "audit/tree.h"

#include "audit/tree_rules.h"
#include "format/space_map_layout.h"
#include "util/checked.h"

#include <errno.h>

/*
 * Invariants.
 *
 *  [A1] A node's references are counted when it is entered for the first
 *       time and never again: that is what one count in a space map means.
 *  [A2] Between the root and where the walk is every node is marked
 *       MEMO_WALKING, so that a cycle is seen when it closes.
 *  [A3] The walk holds the block of each node that it is in: the batch of
 *       level d has the node at depth d.  Nothing below depth d touches it.
 *  [A4] A node is entered once, once more for the held trees (TREE_TOP and
 *       TREE_DETAILS), and as often as spare_reads allow (TREE_DEVICE).
 */

static const struct {
	uint32_t value_size;
	enum thin_audit_unit unit;
	bool holds_mappings; /* losing a node loses references to data */
} trees[TREES] = {
	[TREE_TOP] = {THIN_VALUE_BLOCK, THIN_AUDIT_DEVICES, true},
	[TREE_DEVICE] = {THIN_VALUE_BLOCK, THIN_AUDIT_VBLOCKS, true},
	[TREE_DETAILS] = {THIN_VALUE_DETAILS, THIN_AUDIT_DETAILS, false},
	[TREE_DATA_INDEX] = {THIN_VALUE_INDEX, THIN_AUDIT_DBLOCK_COUNTS, false},
	[TREE_DATA_OVERFLOW] = {THIN_VALUE_COUNT, THIN_AUDIT_DBLOCK_COUNTS, false},
	[TREE_METADATA_OVERFLOW] = {THIN_VALUE_COUNT, THIN_AUDIT_MBLOCK_COUNTS, false},
};

/* --- findings ---------------------------------------------------------- */

/* Keys of the index tree number bitmaps; people want blocks. */
static void keys_to_blocks(struct thin_finding *f)
{
	if (!thin_mul_ok(f->first, THIN_COUNTS_PER_BITMAP, &f->first))
		f->first = UINT64_MAX;
	if (!thin_mul_ok(f->last, THIN_COUNTS_PER_BITMAP, &f->last) ||
	    !thin_add_ok(f->last, THIN_COUNTS_PER_BITMAP - 1, &f->last))
		f->last = UINT64_MAX;
}

struct thin_finding audit_tree_finding(const struct walk *w, enum thin_audit_kind kind,
				       uint64_t block, uint64_t first, uint64_t last)
{
	struct thin_finding f =
		audit_range_finding(kind, trees[w->tree].unit, first, last);

	f.held = w->held;
	f.block = block;
	if (w->tree == TREE_DEVICE)
		f.device = w->device;
	if (w->tree == TREE_DATA_INDEX)
		keys_to_blocks(&f);
	return f;
}

static void lost_something(struct walk *w)
{
	w->a->incomplete_trees = true;
	if (trees[w->tree].holds_mappings)
		w->a->incomplete_mappings = true;
}

/* --- may it be entered? ------------------------------------------------- */

enum admission {
	FRESH,	 /* enter it, for the first time */
	AGAIN,	 /* enter it once more */
	KNOWN,	 /* what is remembered will do */
	REFUSED, /* it can not hang here */
};

/* From which time on does a mapping below @m belong to too many? */
static uint32_t shared_from(const struct walk *w, const struct memo *m)
{
	if (w->held)
		return UINT32_MAX;
	return (uint32_t)thin_min(w->shared_from, thin_min(m->claim, w->snapshotted));
}

/* Does something below @m have to be told to this device, too? */
static bool concerns(const struct walk *w, const struct memo *m)
{
	if (m->told == w->number)
		return false;
	if (m->flags & MEMO_DAMAGED)
		return true;
	return m->nr && (m->max_time > w->time || m->max_time >= shared_from(w, m));
}

static enum admission admit_known(const struct walk *w, const struct place *p,
				  const struct memo *m, struct thin_finding *why)
{
	why->kind = THIN_AUDIT_BLOCK_TWO_USES;
	if (m->role != ROLE_TREE + w->tree)
		return REFUSED;
	if (m->flags & MEMO_WALKING) {
		why->kind = THIN_AUDIT_CYCLE;
		return REFUSED;
	}
	if (p->depth + m->height >= THIN_MAX_TREE_DEPTH) {
		why->kind = THIN_AUDIT_TOO_DEEP;
		return REFUSED;
	}
	if (w->tree == TREE_DEVICE)
		return concerns(w, m) && w->a->spare_reads ? AGAIN : KNOWN;
	if (w->tree == TREE_TOP || w->tree == TREE_DETAILS)
		return m->held == w->held ? REFUSED : AGAIN;
	return REFUSED;
}

static enum admission admit(const struct walk *w, const struct place *p,
			    struct thin_finding *why)
{
	const struct memo *m;

	why->found = p->depth + 1;
	why->expected = THIN_MAX_TREE_DEPTH;
	if (!audit_in_range(w->a, p->block)) {
		audit_out_of_range(w->a, p->block, why);
		return REFUSED;
	}
	m = &w->a->memo[p->block];
	if (m->role != ROLE_NONE)
		return admit_known(w, p, m, why);
	why->kind = THIN_AUDIT_TOO_DEEP;
	return p->depth >= THIN_MAX_TREE_DEPTH ? REFUSED : FRESH;
}

/* --- reading ------------------------------------------------------------ */

bool audit_level_ready(struct audit *a, unsigned depth)
{
	struct level *l = &a->level[depth];

	if (l->batch.cap)
		return true;
	if (!l->places)
		l->places = audit_alloc(a, GROUP, sizeof(*l->places));
	if (l->places && audit_batch_init(&l->batch, GROUP, a->nr_blocks))
		audit_fail(a, -ENOMEM);
	return !a->failed;
}

/*
 * Read, for the level they are on, those of @places that will be entered.
 * Whether a root is depends on a device that is not here yet: read them all.
 */
static void load_level(struct walk *w, const struct place *places, size_t nr)
{
	struct batch *b = &w->a->level[places[0].depth].batch;

	audit_batch_clear(b);
	for (size_t i = 0; i < nr; i++) {
		struct thin_finding why;
		enum admission admission = admit(w, &places[i], &why);

		if (admission == FRESH || admission == AGAIN ||
		    (admission == KNOWN && !places[i].depth))
			audit_batch_add(b, places[i].block);
	}
	audit_load(w->a, b);
}

void audit_tree_load(struct walk *w, const struct place *roots, size_t nr)
{
	if (nr && audit_level_ready(w->a, roots[0].depth))
		load_level(w, roots, nr);
}

/* The block at @p as a node of this tree, or NULL, having reported why not. */
static const struct thin_disk_node *get_node(struct walk *w, const struct place *p)
{
	struct batch *b = &w->a->level[p->depth].batch;
	struct thin_finding f;
	int status = 0;
	const void *data = audit_batch_get(b, p->block, &status);

	if (!data) {
		/* Not foreseen by load_level(); its neighbours come back here, too. */
		audit_batch_clear(b);
		audit_batch_add(b, p->block);
		audit_load(w->a, b);
		data = audit_batch_get(b, p->block, &status);
	}
	f = audit_tree_finding(w, 0, p->block, p->first, p->last);
	if (!audit_block_fault(THIN_NODE, p->block, data, status, &f) &&
	    !audit_node_fault(data, trees[w->tree].value_size, &f))
		return data;
	audit_report(w->a, &f);
	return NULL;
}

/* --- the walk ----------------------------------------------------------- */

/* Where child @i of a node hangs.  Without order keys tell nothing. */
static struct place child_place(const struct visit *v, uint32_t i)
{
	struct place child = *v->p;

	child.block = thin_node_value64(v->n, i);
	child.depth++;
	if (!v->ascends)
		return child;
	child.first = thin_node_key(v->n, i);
	if (i + 1 < thin_node_nr(v->n))
		child.last = thin_node_key(v->n, i + 1) - 1;
	else if (child.last < child.first)
		child.last = UINT64_MAX; /* reported for the node itself */
	return child;
}

static void descend(struct visit *v)
{
	uint32_t nr = thin_node_nr(v->n);
	struct audit *a = v->w->a;
	struct place *places;

	if (!audit_level_ready(a, v->p->depth + 1))
		return;
	places = a->level[v->p->depth + 1].places;
	for (uint32_t begin = 0; begin < nr && !audit_stopped(a); begin += GROUP) {
		uint32_t count = nr - begin < GROUP ? nr - begin : GROUP;

		for (uint32_t i = 0; i < count; i++) {
			places[i] = child_place(v, begin + i);
			if (v->fresh)
				audit_ref(a, places[i].block);
		}
		load_level(v->w, places, count);
		for (uint32_t i = 0; i < count && !audit_stopped(a); i++) {
			const struct memo *child = audit_tree_visit(v->w, &places[i]);
			if (v->fresh)
				audit_adopt(v, child);
		}
	}
}

static void enter_node(struct visit *v)
{
	uint32_t nr = thin_node_nr(v->n);

	v->ascends = audit_node_ascends(v->n);
	if (v->fresh)
		audit_remember_node(v);
	audit_check_node(v);
	audit_check_in_parent(v->w, v->p, v->m, nr ? thin_node_key(v->n, nr - 1) : 0);
	if (thin_node_is_leaf(v->n))
		v->w->leaf(v->w, v->p->block, v->n, v->fresh);
	else
		descend(v);
}

/* What is told again is paid for: a read, and each finding. */
static void spend(struct audit *a, uint64_t reads)
{
	a->spare_reads -= thin_min(a->spare_reads, reads);
}

static void enter(struct walk *w, const struct place *p, bool fresh)
{
	struct audit *a = w->a;
	struct memo *m = &a->memo[p->block];
	uint64_t damage = a->out.damage;
	struct visit v = {.w = w, .p = p, .m = m, .fresh = fresh};

	m->role = (uint8_t)(ROLE_TREE + w->tree);
	m->held = w->held;
	m->told = w->number;
	m->flags |= MEMO_WALKING;
	if (fresh)
		m->claim = UINT32_MAX;
	v.n = get_node(w, p);
	if (v.n) {
		enter_node(&v);
	} else {
		m->flags |= MEMO_UNREADABLE | MEMO_INCOMPLETE;
		lost_something(w);
	}
	m->flags &= (uint8_t)~MEMO_WALKING;
	if (a->out.damage != damage)
		m->flags |= MEMO_DAMAGED;
	if (!fresh && w->tree == TREE_DEVICE)
		spend(a, 1 + a->out.damage - damage);
}

static void enter_again(struct walk *w, const struct place *p, const struct memo *m)
{
	uint32_t outside = w->shared_from;

	w->shared_from = shared_from(w, m);
	enter(w, p, false);
	w->shared_from = outside;
}

const struct memo *audit_tree_visit(struct walk *w, const struct place *p)
{
	struct thin_finding why;
	struct memo *m;
	enum admission admission = admit(w, p, &why);

	if (admission == REFUSED) {
		audit_report_node(w, p, why.kind, why.found, why.expected);
		lost_something(w);
		return NULL;
	}
	m = &w->a->memo[p->block];
	if (admission == FRESH) {
		enter(w, p, true);
	} else if (admission == AGAIN) {
		enter_again(w, p, m);
	} else {
		audit_check_in_parent(w, p, m, m->last);
		if (concerns(w, m))
			audit_report_node(w, p, THIN_AUDIT_WORK_LIMIT, 0, 0);
	}
	if (w->tree == TREE_DEVICE && !w->held)
		m->claim = (uint32_t)thin_min(m->claim, w->snapshotted);
	return m;
}

const struct memo *audit_tree_walk(struct walk *w, uint64_t root)
{
	struct place p = ROOT_PLACE(root);

	audit_tree_load(w, &p, 1);
	return audit_stopped(w->a) ? NULL : audit_tree_visit(w, &p);
}
