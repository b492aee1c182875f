/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_STATE_H
#define THINBD_AUDIT_STATE_H

/*
 * What one run of the audit knows, and the few things that all its parts do
 * with it: remember that something failed, report, take memory, count.
 *
 * The audit's functions mostly return nothing.  What ends a run early (no
 * memory, a caller that had enough) is latched in audit.failed; loops look
 * at audit_stopped().  Damage is no failure: it is reported, and what can
 * not be entered is skipped.
 */

#include "audit/batch.h"
#include "audit/data_counts.h"
#include "audit/findings.h"
#include "audit/space_map.h"
#include "format/superblock.h"
#include "util/limits.h"

/* The trees that there are. */
enum audit_tree {
	TREE_TOP,     /* device to mapping tree */
	TREE_DEVICE,  /* block to mapping */
	TREE_DETAILS, /* device to details */
	TREE_DATA_INDEX,
	TREE_DATA_OVERFLOW,
	TREE_METADATA_OVERFLOW,
};

#define TREES (TREE_METADATA_OVERFLOW + 1)

/* What a metadata block is used for; a block has one use. */
enum audit_role {
	ROLE_NONE,
	ROLE_SUPERBLOCK,
	ROLE_HELD,
	ROLE_INDEX,
	ROLE_BITMAP,
	ROLE_TREE, /* and above: a node of tree role - ROLE_TREE */
};

#define MEMO_WALKING	0x01u /* between the root and where the walk is */
#define MEMO_UNREADABLE 0x02u /* nothing is known of what is in it */
#define MEMO_INCOMPLETE 0x04u /* something below can not be read */
#define MEMO_DAMAGED	0x08u /* something was reported at it or below */
#define MEMO_KEYS	0x10u /* has keys: first and last hold */
#define MEMO_UNDERFULL	0x20u /* too few entries for what is no root */
#define MEMO_SUSPECT	0x40u /* doubles.c: leads to a suspect data block */

/*
 * What is remembered of each metadata block, so that a node that several
 * trees share is walked once.
 */
struct memo {
	uint64_t first;	     /* lowest key in the node */
	uint64_t last;	     /* highest key in it and below */
	uint64_t nr;	     /* entries in the leaves below */
	uint32_t max_time;   /* device trees: of a mapping below */
	uint32_t claim;	     /* device trees: a device that has it takes mappings
			      * of this time and later for its own */
	uint32_t told;	     /* device trees: the walk that was told last of damage */
	uint16_t nr_entries; /* in the node */
	uint16_t leaf_max;   /* capacity of leaves in and below, 0 if there are none */
	uint16_t inner_max;  /* the same of internal nodes */
	uint8_t role;
	uint8_t flags;
	uint8_t height; /* 0 is a leaf */
	bool held;	/* TREE_TOP, TREE_DETAILS: seen last in the held trees */
};

/* A device as one superblock names it. */
struct audit_device {
	uint64_t id;
	uint64_t root;
	uint32_t snapshotted; /* older mappings are copied before they are written;
			       * 0: nobody knows */
};

/* The children of a node are dealt with in groups, read together. */
#define GROUP 64

struct place;

/* Room for one level of a descent. */
struct level {
	struct place *places; /* GROUP */
	struct batch batch;
};

struct audit {
	struct thin_storage *storage;
	const struct thin_audit_params *params;
	struct thin_error *e;
	struct findings out;
	int failed;
	bool incomplete_trees;	  /* not every metadata reference was seen */
	bool incomplete_mappings; /* not every data reference was seen */

	uint64_t memory;
	uint64_t memory_max;
	uint64_t reads;
	uint64_t reads_told;
	uint64_t spare_reads; /* that may still be spent on telling more */
	struct batch batch;   /* GROUP blocks, for whoever needs them right now */

	struct thin_disk_superblock sb;
	uint64_t device_blocks; /* whole blocks of the storage */
	uint64_t nr_blocks;	/* that the metadata has, as far as that can be */
	uint64_t nr_data;
	uint32_t *refs;	   /* nr_blocks of them */
	struct memo *memo; /* likewise */
	uint64_t slack_blocks;
	uint64_t slack_first;

	struct space_map metadata_map;
	struct space_map data_map;
	struct data_counts data;
	struct level level[THIN_MAX_TREE_DEPTH + 1];

	struct audit_device *devices; /* of the live trees, then the held ones */
	size_t nr_devices;
	size_t cap_devices;
	size_t nr_live_devices;
	uint32_t device_walks;
	uint64_t mapped_blocks;
};

/* Should everybody come to an end? */
static inline bool audit_stopped(const struct audit *a)
{
	return a->failed || a->out.stopped;
}

/* Remember that the run failed with @err, unless it has already. */
void audit_fail(struct audit *a, int err);

/* --- reports ----------------------------------------------------------- */

/* A finding that is about nothing in particular yet. */
static inline struct thin_finding audit_finding(enum thin_audit_kind kind)
{
	return (struct thin_finding){
		.kind = kind,
		.device = THIN_AUDIT_NO_DEVICE,
		.block = THIN_AUDIT_NO_BLOCK,
	};
}

/* The same of @first to @last, which count @unit. */
static inline struct thin_finding audit_range_finding(enum thin_audit_kind kind,
						      enum thin_audit_unit unit,
						      uint64_t first, uint64_t last)
{
	struct thin_finding f = audit_finding(kind);

	f.unit = unit;
	f.first = first;
	f.last = last;
	return f;
}

static inline void audit_report(struct audit *a, const struct thin_finding *f)
{
	audit_findings_add(&a->out, f);
}

/* --- memory ------------------------------------------------------------ */

/*
 * @nr zeroed elements of @size bytes; counted against the limit.
 * Returns NULL, having latched -ENOMEM.  Free with audit_free().
 */
void *audit_alloc(struct audit *a, size_t nr, size_t size);
void audit_free(struct audit *a, void *p, size_t nr, size_t size);

/*
 * Room for one more element of @size bytes in the array at *@array, which
 * has @nr of *@cap.  Returns false, having latched -ENOMEM.
 */
bool audit_room(struct audit *a, void *array, size_t nr, size_t *cap, size_t size);

/* --- blocks ------------------------------------------------------------ */

static inline bool audit_in_range(const struct audit *a, uint64_t block)
{
	return block < a->nr_blocks;
}

/* Count one reference to @block, if there is such a block. */
static inline void audit_ref(struct audit *a, uint64_t block)
{
	if (audit_in_range(a, block))
		a->refs[block]++;
}

/* Read the blocks of @b, and tell the progress. */
void audit_load(struct audit *a, struct batch *b);

/*
 * What is wrong with block @block, read to @data with @status, as a block
 * of @kind?  Fills in kind, expected and found of @ret.  False if nothing.
 */
bool audit_block_fault(enum thin_block_kind kind, uint64_t block, const void *data,
		       int status, struct thin_finding *ret);

/*
 * Take @block for @role, which must be its only use, and count the
 * reference.  @f: where it hangs; kind and numbers are filled in here.
 * Returns false, having reported, if it can not be.
 */
bool audit_claim(struct audit *a, uint64_t block, enum audit_role role,
		 struct thin_finding *f);

/* Say in @f that @block, which is not in range, can not be had. */
void audit_out_of_range(const struct audit *a, uint64_t block, struct thin_finding *f);

/* Are these bytes, which nobody uses, zero as they should be? */
bool audit_all_zero(const void *bytes, size_t len);

/* Remember that @block has unused bytes that are not zero. */
void audit_note_slack(struct audit *a, uint64_t block);

#endif
