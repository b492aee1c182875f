/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_TREE_RULES_H
#define THINBD_AUDIT_TREE_RULES_H

/* What a node must be like, for itself, for its parent and among siblings. */

#include "audit/tree.h"

/* One visit of a node whose block could be read. */
struct visit {
	struct walk *w;
	const struct place *p;
	struct memo *m;
	const struct thin_disk_node *n;
	bool fresh;
	bool ascends;
	bool uneven; /* its children do not go together, and that was told */
};

/* Report @kind of the node at @p and of all its keys. */
void audit_report_node(struct walk *w, const struct place *p, enum thin_audit_kind kind,
		       uint64_t found, uint64_t expected);

/* Keep what a node that is entered for the first time says of itself. */
void audit_remember_node(struct visit *v);

/* The rules that a node keeps by itself. */
void audit_check_node(struct visit *v);

/*
 * The rules that a node keeps for its parent.
 * @last: its highest key, where its children are gone into, too; or the
 * highest key in it and below.
 */
void audit_check_in_parent(struct walk *w, const struct place *p, const struct memo *m,
			   uint64_t last);

/* Take over what is known of a child; NULL is one that can not be entered. */
void audit_adopt(struct visit *v, const struct memo *child);

#endif
