/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_AUDIT_H
#define THINBD_AUDIT_AUDIT_H

/*
 * A check of a whole metadata device, and a dump of it.
 *
 * The audit has a walker of its own: it shares the layouts of lib/format
 * with the code that it judges, and nothing else.  It believes no number
 * that it reads: every block is checked before it is looked into, every
 * reference is counted anew, and what is on disk is compared with that.
 *
 * What is read is the last committed state.  Blocks that a later commit
 * freed may be overwritten at any time, so nobody may commit to @metadata
 * while an audit or a walk of it runs.
 */

#include "storage/storage.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum thin_audit_severity {
	THIN_AUDIT_NOTE,     /* legal, worth knowing */
	THIN_AUDIT_NONFATAL, /* space is lost or an account is wrong, no data */
	THIN_AUDIT_FATAL,    /* data is lost or out of reach, or would be soon */
};

enum thin_audit_kind {
	/* The superblock. */
	THIN_AUDIT_UNFORMATTED,
	THIN_AUDIT_SB_MAGIC,
	THIN_AUDIT_SB_VERSION,
	THIN_AUDIT_SB_VERSION_1,
	THIN_AUDIT_SB_NEEDS_CHECK,
	THIN_AUDIT_SB_FLAGS,
	THIN_AUDIT_SB_COMPAT,
	THIN_AUDIT_SB_COMPAT_RO,
	THIN_AUDIT_SB_INCOMPAT,
	THIN_AUDIT_SB_DATA_BLOCK_SIZE,
	THIN_AUDIT_SB_BLOCK_SIZE_KERNEL,
	THIN_AUDIT_SB_METADATA_BLOCK_SIZE,
	THIN_AUDIT_SB_METADATA_NR_BLOCKS,
	THIN_AUDIT_SB_TIME,
	THIN_AUDIT_SB_DATA_NR_BLOCKS,
	THIN_AUDIT_SB_METADATA_TOO_LARGE,
	THIN_AUDIT_FILE_TOO_SHORT,
	THIN_AUDIT_DATA_TOO_SHORT,
	/* Any block. */
	THIN_AUDIT_READ_ERROR,
	THIN_AUDIT_BAD_CHECKSUM,
	THIN_AUDIT_WRONG_BLOCK_TYPE,
	THIN_AUDIT_BAD_BLOCKNR,
	THIN_AUDIT_BLOCK_OUT_OF_RANGE,
	THIN_AUDIT_BLOCK_TWO_USES,
	THIN_AUDIT_SLACK_NONZERO,
	/* Trees. */
	THIN_AUDIT_NODE_FLAGS,
	THIN_AUDIT_NODE_VALUE_SIZE,
	THIN_AUDIT_NODE_NR_ENTRIES,
	THIN_AUDIT_MAX_ENTRIES_TOO_LARGE,
	THIN_AUDIT_MAX_ENTRIES_NOT_3,
	THIN_AUDIT_MAX_ENTRIES_UNUSUAL,
	THIN_AUDIT_MAX_ENTRIES_SIBLINGS,
	THIN_AUDIT_KEY_ORDER,
	THIN_AUDIT_PARENT_KEY_HIGH,
	THIN_AUDIT_CHILD_KEY_HIGH,
	THIN_AUDIT_UNDERFULL_NODE,
	THIN_AUDIT_EMPTY_NODE,
	THIN_AUDIT_UNEQUAL_DEPTH,
	THIN_AUDIT_CYCLE,
	THIN_AUDIT_TOO_DEEP,
	/* Mappings and devices. */
	THIN_AUDIT_MAPPING_PAST_END,
	THIN_AUDIT_MAPPING_TIME,
	THIN_AUDIT_DOUBLE_MAPPING,
	THIN_AUDIT_DOUBLE_FLAGGED,
	THIN_AUDIT_SHARED_NOT_FLAGGED,
	THIN_AUDIT_DEVICE_NO_DETAILS,
	THIN_AUDIT_DEVICE_NO_MAPPING,
	THIN_AUDIT_DEVICE_ID,
	THIN_AUDIT_MAPPED_BLOCKS,
	THIN_AUDIT_DEVICE_TIME,
	THIN_AUDIT_DEVICE_TIME_ORDER,
	THIN_AUDIT_DEVICE_TRANS_ID,
	/* Reference counts. */
	THIN_AUDIT_METADATA_LEAK,
	THIN_AUDIT_METADATA_COUNT_HIGH,
	THIN_AUDIT_METADATA_COUNT_LOW,
	THIN_AUDIT_DATA_LEAK,
	THIN_AUDIT_DATA_COUNT_HIGH,
	THIN_AUDIT_DATA_COUNT_LOW,
	THIN_AUDIT_OVERFLOW_MISSING,
	THIN_AUDIT_OVERFLOW_STALE,
	THIN_AUDIT_OVERFLOW_SMALL,
	THIN_AUDIT_OVERFLOW_PAST_END,
	THIN_AUDIT_BITS_PAST_END,
	THIN_AUDIT_COUNTS_NOT_JUDGED,
	/* The space maps' own accounts. */
	THIN_AUDIT_INDEX_MISSING,
	THIN_AUDIT_INDEX_EXTRA,
	THIN_AUDIT_NR_ALLOCATED,
	THIN_AUDIT_NR_FREE,
	THIN_AUDIT_NR_FREE_TRUNCATED,
	THIN_AUDIT_RESTORE_OFF_BY_ONE,
	THIN_AUDIT_NONE_FREE_BEFORE,
	/* The metadata snapshot. */
	THIN_AUDIT_HELD_MAGIC,
	THIN_AUDIT_HELD_NESTED,
	THIN_AUDIT_HELD_SPACE_MAPS,
	THIN_AUDIT_HELD_TIME,
	/* The audit itself. */
	THIN_AUDIT_WORK_LIMIT,
};

#define THIN_AUDIT_KINDS (THIN_AUDIT_WORK_LIMIT + 1)

/* What the range of a finding counts. */
enum thin_audit_unit {
	THIN_AUDIT_NO_RANGE,
	THIN_AUDIT_VBLOCKS,	  /* of the finding's device */
	THIN_AUDIT_DEVICES,	  /* device ids: their mappings */
	THIN_AUDIT_DETAILS,	  /* device ids: their details */
	THIN_AUDIT_DBLOCKS,	  /* data blocks */
	THIN_AUDIT_DBLOCK_COUNTS, /* data blocks: what the space map says of them */
	THIN_AUDIT_MBLOCKS,	  /* metadata blocks */
	THIN_AUDIT_MBLOCK_COUNTS, /* metadata blocks: likewise */
};

#define THIN_AUDIT_NO_BLOCK  UINT64_MAX
#define THIN_AUDIT_NO_DEVICE UINT64_MAX

/*
 * One thing found.  Neighbours with the same trouble are joined, so @first
 * to @last (both inside; UINT64_MAX where nobody knows the end) is as long
 * as it can be.  @found and @expected mean what the kind's sentence says.
 */
struct thin_finding {
	enum thin_audit_kind kind;
	enum thin_audit_severity severity;
	enum thin_audit_unit unit;
	bool held;	 /* in the trees of the held metadata snapshot */
	uint64_t device; /* whose, or THIN_AUDIT_NO_DEVICE */
	uint64_t first;
	uint64_t last;
	uint64_t block; /* the metadata block at fault, or THIN_AUDIT_NO_BLOCK */
	uint64_t expected;
	uint64_t found;
};

/*
 * Called for each finding, in no promised order; @f is the callee's only
 * until it returns.  Returns 0 to go on; anything else stops the audit,
 * which then returns it.
 */
typedef int thin_finding_fn(void *ctx, const struct thin_finding *f);

/*
 * How far the audit is: @done of about @total blocks.  Called every now and
 * then.  Returns 0 to go on; anything else stops the audit, likewise.
 */
typedef int thin_audit_progress_fn(void *ctx, uint64_t done, uint64_t total);

struct thin_audit_params {
	uint64_t nr_data_blocks; /* the data device has room for; 0: do not compare */
	uint64_t max_memory;	 /* bytes; 0: what it takes */
	thin_audit_progress_fn *progress; /* may be NULL */
	void *progress_ctx;
};

struct thin_audit_summary {
	uint64_t notes;
	uint64_t nonfatal;
	uint64_t fatal;
	bool complete;	      /* every tree could be read to its end */
	uint64_t blocks_read; /* reads of one metadata block each */
	uint64_t memory;      /* bytes, at most at one time */
	uint64_t nr_devices;
	uint64_t mapped_blocks;	  /* of all devices, shared ones several times */
	uint64_t metadata_blocks; /* there are */
	uint64_t metadata_used;	  /* referenced by what could be read */
	uint64_t data_blocks;	  /* there are */
	uint64_t data_used;	  /* mapped by what could be read */
};

/*
 * Check all of @metadata, as it was last committed; the held metadata
 * snapshot too.  Goes on after a finding as far as sense can be made.
 * @p: NULL is the defaults.
 * @fn: told each finding; NULL to be told only the sums in @ret.
 * @ret: written on success, so "no damage" is 0 and ret->fatal + ret->nonfatal == 0.
 * @e: why there is no verdict (may be NULL).
 * Returns 0 when there is a verdict, whatever it is; -ENOMEM (@p->max_memory
 * too); what @fn or the progress function returned; -EAGAIN (somebody wrote
 * to @metadata meanwhile); what the storage said when asked for its size.
 * A block that can not be read is a finding, not an error.
 * Cost: reads each used block once, bitmaps twice, and leaves of mapping
 * trees a second time where data blocks are shared.  Trouble below shared
 * nodes is told for each device as long as that takes few reads; after that
 * a WORK_LIMIT finding names the rest of the device.
 * Memory: 52 bytes for each metadata block in use, 1.2 for each data block
 * that has a bitmap with one in use, 12 for each count above 2, 40 for each
 * device, 8 for each shared data block (up to 64 MiB), and less than 5 MiB.
 * Never more than the blocks that were found sound account for.
 */
THIN_MUST_CHECK int thin_audit(struct thin_storage *metadata,
			       const struct thin_audit_params *p, thin_finding_fn *fn,
			       void *ctx, struct thin_audit_summary *ret,
			       struct thin_error *e);

/* "data_count_low", ...: for --json and tests.  Static storage. */
const char *thin_audit_kind_name(enum thin_audit_kind kind);

/* "note", "nonfatal", "fatal".  Static storage. */
const char *thin_audit_severity_name(enum thin_audit_severity severity);

/*
 * Would writing both space maps and all sums anew, from the trees, mend
 * findings of @kind?  (Leaks, wrong counts, wrong totals.)  Only sensible
 * where the summary says complete.
 */
bool thin_audit_mendable(enum thin_audit_kind kind);

/*
 * The name of @device in @buf (@len bytes, ended with a zero byte), as a
 * person knows it ("volume vm1").  Returns false where it has none.
 */
typedef bool thin_device_name_fn(void *ctx, uint64_t device, char *buf, size_t len);

#define THIN_FINDING_TEXT 384

/*
 * @f in one line, without a full stop: "device 3: blocks 100..199
 * unreadable: metadata block 17: the checksum is wrong".
 * @name: NULL says "device 3".
 * @buf: @len bytes, at least 1; cut off where it does not fit
 * (THIN_FINDING_TEXT always does, but for very long names).
 */
void thin_finding_format(const struct thin_finding *f, thin_device_name_fn *name,
			 void *ctx, char *buf, size_t len);

/* --- walk -------------------------------------------------------------- */

struct thin_walk_pool {
	uint8_t uuid[16];
	uint64_t transaction_id;
	uint32_t time;
	uint32_t flags;
	uint32_t version;
	uint32_t block_sectors;
	uint64_t nr_data_blocks;     /* 0 in the held snapshot */
	uint64_t nr_metadata_blocks; /* likewise */
	uint64_t held_root;
};

struct thin_walk_device {
	uint64_t id;
	uint64_t mapped_blocks;
	uint64_t transaction_id;
	uint32_t creation_time;
	uint32_t snapshotted_time;
};

/* @length blocks of the device, on as many of the data, of one time. */
struct thin_walk_run {
	uint64_t vblock;
	uint64_t dblock;
	uint64_t length;
	uint32_t time;
};

/* Each may be NULL.  A return value other than 0 ends the walk, which returns it. */
struct thin_walk_fns {
	int (*pool)(void *ctx, const struct thin_walk_pool *pool);
	int (*device)(void *ctx, const struct thin_walk_device *device);
	int (*run)(void *ctx, const struct thin_walk_run *run);
	int (*device_end)(void *ctx, const struct thin_walk_device *device);
};

struct thin_walk_params {
	bool held;	 /* the held metadata snapshot, not the live state */
	uint64_t device; /* only this one; THIN_AUDIT_NO_DEVICE for all */
};

/*
 * Tell @fns what the pool holds: the pool; then each device in ascending
 * order with its runs of mappings in ascending order, each as long as it
 * can be.  Without @fns->run no mapping is read.
 * Checks what it reads and stops at the first damage; space maps are not
 * looked at, nor whether counts are right.
 * @p: NULL is the live state, all devices.
 * @e: which block, what was wrong (may be NULL).
 * Returns 0; -ENOENT (no held snapshot, no such device); -EMEDIUMTYPE,
 * -ENOTSUP (no superblock of ours); -EILSEQ, -ENOTBLK (damage: @fns have
 * been told what came before it); -EIO; -ENOMEM.
 * Cost: each node once for every device that has it.
 * Memory: 48 bytes a device, and less than 5 MiB.
 */
THIN_MUST_CHECK int thin_audit_walk(struct thin_storage *metadata,
				    const struct thin_walk_params *p,
				    const struct thin_walk_fns *fns, void *ctx,
				    struct thin_error *e);

#endif
