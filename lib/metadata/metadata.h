/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_METADATA_H
#define THINBD_METADATA_METADATA_H

/*
 * The metadata of a pool: transactions, thin devices, mappings.  This is
 * the face of the room; the pool and the service use nothing else of it.
 *
 * Blocks.  A vblock is a block of a device, a data block (dblock) one of the
 * data storage, both in units of the pool's block size; a metadata block
 * (mblock) has 4096 bytes.
 *
 * Transactions.  There is always one open.  Every change goes into it and is
 * seen by every lookup at once; it is on disk when thin_metadata_commit()
 * has returned.  A crash goes back to the last commit.
 *
 * Errors.  A change that fails half-way poisons the transaction (I10): from
 * then on every change and every commit returns that error, and lookups
 * -ESHUTDOWN, until thin_metadata_abort() goes back to the last commit.
 * Failures that change nothing (-EEXIST, -ENOENT, -ENOSPC, -ENOBUFS, -EBUSY,
 * -EINVAL, -ERANGE) do not poison.
 *
 * Threads.  Everything here may be called by any thread.  Lookups do not
 * meet on a lock and never wait for the I/O of a commit; they do I/O only
 * for blocks that are not in the cache, holding no lock.  Changes exclude
 * each other and lookups, but are short.
 *
 * Epochs (I3).  A data block that a lookup returned may be read and written
 * for as long as the caller stays in the epoch (util/epoch.h) in which it
 * asked.  Blocks that a change freed come out of thin_metadata_commit() as a
 * struct thin_freed; nobody gets them before thin_metadata_release().
 */

#include "storage/storage.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thin_metadata;
struct thin_device;
struct thin_freed;

/* --- the whole --------------------------------------------------------- */

/*
 * Make an empty pool on @storage, without looking at what is there.
 * @block_sectors: data block size in sectors (8 .. 2097152).
 * @nr_data_blocks: size of the data storage; 0 is what the kernel starts
 * with, and gives its very bytes.
 * Returns 0; -EINVAL; -ENOSPC (metadata smaller than
 * THIN_MIN_METADATA_BLOCKS, or too small for that many data blocks); -EIO.
 * Durable: yes.
 */
THIN_MUST_CHECK int thin_metadata_format(struct thin_storage *storage,
					 uint32_t block_sectors, uint64_t nr_data_blocks,
					 struct thin_error *e);

struct thin_metadata_params {
	struct thin_storage *storage; /* not owned; outlives the metadata */
	uint64_t cache_bytes;	      /* THIN_METADATA_CACHE; at least the minimum */
	bool read_only;		      /* refuse every change with -EROFS */
};

/*
 * Open.  Makes durable what is there, unless read-only: it may have been
 * written by a process that was killed before it could.  Reads the superblock
 * and the space maps' indexes; not the mappings.
 * A superblock with needs_check opens read-only, whatever was asked.
 * Returns 0; -EMEDIUMTYPE; -EILSEQ, -ENOTBLK (@e names the block); -ENOTSUP;
 * -ENOSPC (the storage is smaller than the metadata says it is); -EIO.
 * Cost: the metadata's own bitmaps, plus 1/16320 of the data blocks / 168.
 */
THIN_MUST_CHECK int thin_metadata_open(const struct thin_metadata_params *params,
				       struct thin_metadata **ret, struct thin_error *e);

/* Close without committing; every device must be closed.  NULL is a no-op. */
void thin_metadata_close(struct thin_metadata *m);
THIN_DEFINE_CLEANUP(struct thin_metadata *, thin_metadata_close);
#define _cleanup_metadata _cleanup_(thin_metadata_closep)

struct thin_metadata_info {
	uint32_t block_sectors;
	uint32_t time;
	uint64_t transaction_id;
	uint64_t held_root; /* mblock, or 0 */
	uint64_t nr_data_blocks;
	uint64_t data_allocated; /* referenced by something */
	uint64_t data_free;	 /* can be had now: neither referenced, reserved nor
				    waiting for a commit */
	uint64_t nr_metadata_blocks;
	uint64_t metadata_allocated;
	uint64_t metadata_free;	   /* can be had now, the reserve not counted */
	uint64_t metadata_reserve; /* kept back for commits and deletes */
	uint64_t commits;	   /* since open */
	bool read_only;
	bool needs_check;
	bool dirty; /* the open transaction has changes */
	int failed; /* what poisoned it, or 0 */
};

/* Facts of the open transaction.  Cost: O(1). */
void thin_metadata_info(struct thin_metadata *m, struct thin_metadata_info *ret);

/* What went wrong last, in words (which block): for messages. */
void thin_metadata_last_error(struct thin_metadata *m, struct thin_error *ret);

/* --- devices ----------------------------------------------------------- */

struct thin_device_info {
	uint32_t id;
	uint64_t mapped_blocks;
	uint64_t transaction_id; /* the pool's, when it was made */
	uint32_t creation_time;
	uint32_t snapshotted_time;
};

/*
 * Make an empty thin device.
 * Returns 0; -EEXIST; -EINVAL (an id above THIN_MAX_DEVICE_ID); -ENOBUFS;
 * -EROFS.
 */
THIN_MUST_CHECK int thin_metadata_create_thin(struct thin_metadata *m, uint32_t id);

/*
 * Make @id a snapshot of @origin.  The caller sees to it that no write to
 * @origin is in flight (I8): its mappings are shared from now on.
 * Returns 0; -EEXIST; -ENOENT (no @origin); -EINVAL; -EDQUOT (the format's
 * snapshot counter is used up); -ENOBUFS; -EROFS.
 * Cost: O(1), whatever the size.
 */
THIN_MUST_CHECK int thin_metadata_create_snap(struct thin_metadata *m, uint32_t id,
					      uint32_t origin);

/*
 * Delete a device in one go.  For large ones first empty it in steps with
 * thin_metadata_remove_range(), which is what bounds the time that others
 * wait.
 * Returns 0; -ENOENT; -EBUSY (open); -EROFS.
 * Cost: O(blocks that nobody else refers to).
 */
THIN_MUST_CHECK int thin_metadata_delete(struct thin_metadata *m, uint32_t id);

/*
 * The first device with an id of at least @from.
 * Returns 0; -ENOENT (none).  Cost: O(log n).
 */
THIN_MUST_CHECK int thin_metadata_next_device(struct thin_metadata *m, uint32_t from,
					      struct thin_device_info *ret);

/*
 * Open a device for lookups and changes.  Counted: the same device may be
 * open several times, and is one struct then.
 * Returns 0; -ENOENT.
 */
THIN_MUST_CHECK int thin_device_open(struct thin_metadata *m, uint32_t id,
				     struct thin_device **ret);
void thin_device_close(struct thin_device *d);

void thin_device_info(struct thin_device *d, struct thin_device_info *ret);

/*
 * Are there changes of this device's mappings that are not durable yet: in
 * the open transaction, or in a commit under way?  If not, a flush of it
 * needs no commit.
 */
bool thin_device_changed(struct thin_device *d);

/*
 * Was a change of this device lost in an abort?  Sticky until it is closed:
 * its flushes must fail, so that the writer learns of it.
 */
bool thin_device_aborted(struct thin_device *d);

/* --- mappings ---------------------------------------------------------- */

/* A run of blocks that are all unmapped, or mapped to consecutive blocks. */
struct thin_run {
	uint64_t vblock;
	uint64_t nr;	 /* blocks, at least 1 */
	uint64_t dblock; /* the first one; meaningless where not mapped */
	bool mapped;
	bool shared; /* may be referred to by another device: copy, don't
			write in place (I4) */
};

/*
 * What [@begin, @end) is mapped to: up to @max runs, in order and without
 * gaps from @begin on, neighbours joined.  Where they end before @end, ask
 * again from there.
 * @ret_nr: how many runs, at least 1 where @begin < @end.
 * Returns 0; -ESHUTDOWN; -EILSEQ and the like, -EIO (see last_error).
 * Locking: none held across I/O.  Call inside an epoch to use the blocks.
 * Cost: O(log n + runs), no I/O for cached blocks.
 */
THIN_MUST_CHECK int thin_metadata_lookup(struct thin_device *d, uint64_t begin,
					 uint64_t end, struct thin_run *ret_runs,
					 size_t max, size_t *ret_nr);

/*
 * Reserve up to @want consecutive free data blocks, to be written and then
 * inserted.  They are counted by nobody until then: a crash leaks nothing.
 * @ret_nr: how many, at least 1.
 * Returns 0; -ENOSPC (none free now: commit and release may free some);
 * -ENOBUFS (metadata down to the reserve); -EROFS.
 */
THIN_MUST_CHECK int thin_metadata_reserve(struct thin_metadata *m, uint64_t want,
					  uint64_t *ret_dblock, uint64_t *ret_nr);

/* Give reserved blocks back that were not inserted. */
void thin_metadata_unreserve(struct thin_metadata *m, uint64_t dblock, uint64_t nr);

/*
 * Map @nr vblocks from @vblock on to as many reserved data blocks from
 * @dblock on.  What was mapped there before loses a reference.  The data
 * must have been written (completely) before: the commit that follows makes
 * it durable first (I2).
 * Returns 0; -ERANGE; -ENOBUFS and then nothing was inserted; anything else
 * poisons.  The reservation is used up on success only.
 */
THIN_MUST_CHECK int thin_metadata_insert(struct thin_device *d, uint64_t vblock,
					 uint64_t dblock, uint64_t nr);

/*
 * Unmap what is mapped in [@begin, @end), at most about @max blocks of it in
 * one call.
 * @ret_next: from where to go on; @end when all is done.
 * @ret_removed: how many mappings went (may be NULL).
 * Returns 0; -EROFS; anything else poisons.  Uses the metadata reserve: where
 * that is nearly gone it removes little, and what it used is there again after
 * a commit.
 * Cost: O(log n + blocks); leaves that lie inside as a whole are dropped
 * without being copied; and where hundreds of them are shared as a whole,
 * these go together, @max notwithstanding, for a reference.
 */
THIN_MUST_CHECK int thin_metadata_remove_range(struct thin_device *d, uint64_t begin,
					       uint64_t end, uint64_t max,
					       uint64_t *ret_next, uint64_t *ret_removed);

/*
 * What is known of @device, and how many data blocks deleting it alone would
 * free: exact where nothing changes meanwhile.
 * Returns 0; -ENOENT; -EILSEQ and the like.
 * Cost: O(log n) where it was asked before, and neither it nor a device that
 * shares blocks with others has lost or shared any since; else O(mapped blocks
 * that are not shared as whole subtrees).  Memory: 16 bytes for each device.
 */
THIN_MUST_CHECK int thin_metadata_usage(struct thin_metadata *m, uint32_t device,
					struct thin_device_info *ret_info,
					uint64_t *ret_exclusive);

/*
 * What deleting @d in one go would take: mappings to let go of one by one, and
 * shared parts of the tree to let go of as a whole.  Counts no further than
 * it takes to exceed @max.
 * Cost: O(@max); reads what the delete would read, under no lock.
 */
THIN_MUST_CHECK int thin_metadata_delete_work(struct thin_device *d, uint64_t max,
					      uint64_t *ret);

/*
 * Bring the leaves that hold @d's mappings from @begin on into the cache, @nr
 * of them, so that a change does not read them while others wait for it.
 * @ret_end: up to where; UINT64_MAX: to the end.
 */
THIN_MUST_CHECK int thin_metadata_warm(struct thin_device *d, uint64_t begin, unsigned nr,
				       uint64_t *ret_end);

/* --- reading a commit while others follow --------------------------------- */

/*
 * Keep all that the last commit leads to as it is in the metadata storage,
 * to be read from there, while changes and commits go on.
 * @ret_superblock: 4096 bytes: block 0 as that commit wrote it, which is not
 * there any more after the next one.
 * Returns 0, after which it has to be unpinned; -EBUSY (it is pinned);
 * -ESHUTDOWN.
 * Locking: waits for a commit under way.  Cost: O(1); what is freed meanwhile
 * can not be used.
 */
THIN_MUST_CHECK int thin_metadata_pin(struct thin_metadata *m, void *ret_superblock);

/*
 * Let go.  Returns whether it was kept all the while: where metadata ran short
 * it was not, and what was read may be anything.
 */
THIN_MUST_CHECK bool thin_metadata_unpin(struct thin_metadata *m);

/* --- transactions ------------------------------------------------------ */

/*
 * How a commit makes the data storage durable: @begin has it begun, and @end
 * waits for it and says whether it worked.  Where @begin fails there is no
 * @end, and nothing more is written.  All that was written before @begin was
 * called must be durable when @end returns 0.
 */
struct thin_data_flush {
	int (*begin)(void *ctx);
	int (*end)(void *ctx);
	void *ctx;
};

/*
 * Commit.  Closes the open transaction and opens the next one, then, with
 * no lock held but that of commits: @data is begun; metadata writes, flush;
 * @data is ended; superblock, flush (I2).  Lookups and changes (of the next
 * transaction) go on meanwhile.  Commits exclude each other.
 * Where nothing was changed nothing is written, and @data not called.
 * @data: NULL where no data storage is to be flushed.
 * @ret_freed: what may be given away once it is durable and the epoch has
 * passed; NULL where nothing was freed.  Must go to thin_metadata_release().
 * Returns 0; the poison; what @data returned; -EIO.  After an error the
 * transaction is poisoned, and after a failed flush for good: nothing is
 * tried again (I9), not even after an abort.
 * Durable: yes.
 */
THIN_MUST_CHECK int thin_metadata_commit(struct thin_metadata *m,
					 const struct thin_data_flush *data,
					 struct thin_freed **ret_freed);

/*
 * The data blocks in @freed that became free, as consecutive runs in
 * ascending order, for punching: @fn returns 0 to go on.
 */
int thin_freed_for_each(const struct thin_freed *freed,
			int (*fn)(void *ctx, uint64_t dblock, uint64_t nr), void *ctx);

/*
 * Let the allocator have them.  The caller has waited for the epoch
 * (thin_epoch_synchronize()) after the commit, and has done with punching.
 * Frees @freed; NULL is a no-op.
 */
void thin_metadata_release(struct thin_metadata *m, struct thin_freed *freed);

/*
 * Go back to the last commit, and set needs_check on disk when @needs_check.
 * Devices stay open; those that lost changes are marked (see above).
 * Devices that do not exist any more answer -ENOENT.
 * Returns 0; an error when even that failed (then only closing is left).
 */
THIN_MUST_CHECK int thin_metadata_abort(struct thin_metadata *m, bool needs_check);

/* Clear needs_check, after an audit found nothing.  Durable: yes. */
THIN_MUST_CHECK int thin_metadata_clear_needs_check(struct thin_metadata *m);

/* Compare and swap of user space's transaction id.  -EINVAL on mismatch. */
THIN_MUST_CHECK int thin_metadata_set_transaction_id(struct thin_metadata *m,
						     uint64_t old, uint64_t new);

/*
 * Hold, or let go of, a metadata snapshot (dm-thin's held root) of the
 * present state.  In the open transaction: the caller commits.
 * Returns 0; -EBUSY (one is held); -EINVAL (none to let go of); -ENOBUFS;
 * -EROFS.
 */
THIN_MUST_CHECK int thin_metadata_hold(struct thin_metadata *m);
THIN_MUST_CHECK int thin_metadata_unhold(struct thin_metadata *m);

/*
 * Use more of the data storage, or of the metadata storage, which was grown
 * before.  Shrinking is -EINVAL.  In the open transaction, like any change.
 */
THIN_MUST_CHECK int thin_metadata_grow_data(struct thin_metadata *m, uint64_t nr_blocks);
THIN_MUST_CHECK int thin_metadata_grow_metadata(struct thin_metadata *m,
						uint64_t nr_blocks);

#endif
