/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_TREE_H
#define THINBD_AUDIT_TREE_H

/*
 * The walk of a btree, whichever it is.
 *
 * Nodes of mapping trees may be reached by several devices, and from the
 * held metadata snapshot too.  Each is walked once; whoever comes later
 * is content with what is remembered (struct memo), unless there is damage
 * below or something that matters to him: then the nodes concerned are read
 * again for him, as long as spare_reads last.
 */

#include "audit/node.h"
#include "audit/state.h"

struct walk;

/*
 * Called with each leaf that can be read, in the order of keys.
 * @fresh: it was never seen before, so that its references count.
 */
typedef void audit_leaf_fn(struct walk *w, uint64_t block, const struct thin_disk_node *n,
			   bool fresh);

/* Who walks, and what he knows. */
struct walk {
	struct audit *a;
	enum audit_tree tree;
	bool held;	      /* from the held copy of the superblock */
	uint64_t device;      /* TREE_DEVICE */
	uint32_t number;      /* TREE_DEVICE: of this walk, from 1 on */
	uint32_t time;	      /* TREE_DEVICE: no mapping may be later */
	uint32_t snapshotted; /* TREE_DEVICE: mappings of this time and later are
			       * the device's own; UINT32_MAX if nobody knows */
	uint32_t shared_from; /* TREE_DEVICE, in leaves seen again: mappings from this
			       * time on were taken for a device's own, and are not */
	audit_leaf_fn *leaf;
	void *ctx;
};

/* Where a node hangs. */
struct place {
	uint64_t block;
	uint64_t first; /* keys that its parent leaves to it */
	uint64_t last;
	unsigned depth; /* 0 is a root */
};

#define ROOT_PLACE(root)                                                                 \
	((struct place){.block = (root), .first = 0, .last = UINT64_MAX, .depth = 0})

/*
 * Walk what is below @root.  The reference to @root is the caller's to
 * count.  Returns what is known of it, or NULL, having reported, where it
 * can not be entered.
 */
const struct memo *audit_tree_walk(struct walk *w, uint64_t root);

/* The same in two steps, for many roots (up to GROUP) read together. */
void audit_tree_load(struct walk *w, const struct place *roots, size_t nr);
const struct memo *audit_tree_visit(struct walk *w, const struct place *root);

/* Make a->level[@depth] usable; false, having latched -ENOMEM, if it can not be. */
bool audit_level_ready(struct audit *a, unsigned depth);

/* A finding about keys @first to @last of the tree that @w walks. */
struct thin_finding audit_tree_finding(const struct walk *w, enum thin_audit_kind kind,
				       uint64_t block, uint64_t first, uint64_t last);

#endif
