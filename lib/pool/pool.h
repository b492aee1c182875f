/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_POOL_POOL_H
#define THINBD_POOL_POOL_H

/*
 * A pool: data blocks, and the I/O of the volumes on them.  Knows devices by
 * their numbers; names are the registry's.
 *
 * Modes, from good to bad:
 *
 *   WRITE           all works
 *   OUT_OF_DATA     no free data block: what needs one waits or gets -ENOSPC;
 *                   reads, overwrites, trims, deletes, snapshots go on
 *   OUT_OF_METADATA metadata down to the reserve: the same, with -ENOSPC
 *   READ_ONLY       opened so, or the metadata needs a check: all changes
 *                   -EROFS, overwrites and trims too; reads go on
 *   FAIL            a flush failed (I9), or going back to the last commit
 *                   did: everything -ESHUTDOWN, reads too
 *
 * The pool goes down by itself; it comes back from OUT_OF_* by itself when
 * there is room again, and from the others by being opened anew.
 *
 * Room.  A request gets all the blocks that it needs before it does
 * anything, or it does nothing: so -ENOSPC leaves no half of it behind, and
 * one that waits for room is in nobody's way.
 */

#include "metadata/metadata.h"
#include "storage/storage.h"

enum thin_pool_mode {
	THIN_MODE_WRITE,
	THIN_MODE_OUT_OF_DATA,
	THIN_MODE_OUT_OF_METADATA,
	THIN_MODE_READ_ONLY,
	THIN_MODE_FAIL,
};

/* "rw", "out_of_data_space", "out_of_metadata_space", "ro", "fail". */
const char *thin_pool_mode_name(enum thin_pool_mode mode);

enum thin_discard {
	THIN_DISCARD_PASSDOWN,	 /* unmap, and punch the data storage */
	THIN_DISCARD_NOPASSDOWN, /* unmap */
	THIN_DISCARD_IGNORE,	 /* trims do nothing */
};

/*
 * What a pool tells its owner: from any thread, no lock held, so that the
 * callee may call thin_pool_grow() or thin_pool_status().  Events of several
 * threads do not overlap but for ORIGIN_CHANGED.  Nothing is told before the
 * pool is started but what a caller's own request brought about.
 */
enum thin_pool_event {
	THIN_EVENT_LOW_DATA, /* free data passed the low-water mark; in words */
	THIN_EVENT_LOW_METADATA,
	THIN_EVENT_MODE,	   /* the mode changed; its name now */
	THIN_EVENT_ORIGIN_CHANGED, /* an origin is not what it was (I6); its name */
};

typedef void thin_pool_event_fn(void *ctx, enum thin_pool_event event,
				const char *detail);

struct thin_pool_params {
	struct thin_storage *metadata; /* owned from a successful open on */
	struct thin_storage *data;     /* likewise */
	uint64_t metadata_cache;       /* bytes */
	bool read_only;
	bool queue_if_full;	     /* else -ENOSPC at once */
	uint32_t no_space_timeout_s; /* how long they wait; 0 = for ever */
	enum thin_discard discard;
	uint32_t commit_interval_s;  /* between commits nobody asked for; at least 1 */
	uint64_t low_water_data;     /* blocks; 0 = no event */
	uint64_t low_water_metadata; /* metadata blocks; 0 = no event */
	thin_pool_event_fn *event;   /* may be NULL */
	void *event_ctx;
};

struct thin_pool;
struct thin_volume;
struct thin_origin;

/*
 * Open a pool.  Checks that the data storage is as large as the metadata
 * says; uses more of both storages where they are larger (as dm-thin does on
 * resume).
 * No threads yet, see thin_pool_start(): until then nobody commits by
 * himself, and a full pool gives -ENOSPC at once, since nobody could make
 * room meanwhile.
 * Returns 0; what thin_metadata_open() says; -ENOSPC (data storage too
 * small).  On failure the storages stay the caller's.
 */
THIN_MUST_CHECK int thin_pool_open(const struct thin_pool_params *params,
				   struct thin_pool **ret, struct thin_error *e);

/* Start the periodic commit, and the storages; after the last fork. */
THIN_MUST_CHECK int thin_pool_start(struct thin_pool *pool);

/*
 * Commit, stop the threads, close everything.  All volumes must be closed.
 * Returns the last commit's result (-ESHUTDOWN where the pool has failed);
 * the pool is gone in any case.
 */
int thin_pool_close(struct thin_pool *pool);

struct thin_pool_status {
	enum thin_pool_mode mode;
	uint64_t block_size; /* bytes */
	struct thin_metadata_info metadata;
	uint64_t low_water_data, low_water_metadata;
	uint64_t data_kept;  /* blocks; what thin_pool_set_reserve() keeps free */
	uint64_t data_spare; /* free blocks that are kept for nobody */
	uint64_t clients;    /* open volumes, counted per open */
	bool queue_if_full;
	enum thin_discard discard;
};

void thin_pool_status(struct thin_pool *pool, struct thin_pool_status *ret);

/* Commit all that has completed; group commit (I7).  -ESHUTDOWN in FAIL. */
THIN_MUST_CHECK int thin_pool_commit(struct thin_pool *pool);

/* --- control: each of these is durable when it returns 0 ---------------- */

THIN_MUST_CHECK int thin_pool_create_thin(struct thin_pool *pool, uint32_t device);

/*
 * The same for @nr devices, in one transaction, all or none.
 * Returns as thin_pool_snapshot(), with nothing made.
 */
THIN_MUST_CHECK int thin_pool_create_thins(struct thin_pool *pool,
					   const uint32_t *devices, size_t nr);

struct thin_snap_pair {
	uint32_t origin;
	uint32_t snap;
};

/*
 * Snapshots of one instant: writes to all the origins are held, those in
 * flight drained, all snapshots made in one transaction, all or none (I8).
 * Writes go on before the commit, which makes them durable, has ended.
 * Returns 0; -EEXIST, -ENOENT, -EINVAL, -EDQUOT, -EROFS, -ENOBUFS, -EBUSY
 * (one is being deleted), -ENOSPC (what was guaranteed to one of the origins
 * could not be kept), with nothing made.
 * Cost: the slowest request in flight, and a commit.
 */
THIN_MUST_CHECK int thin_pool_snapshot(struct thin_pool *pool,
				       const struct thin_snap_pair *pairs, size_t nr);

/*
 * Delete devices, none of which may be open; all or none, as far as that can
 * be known before: all are checked and claimed first.  Frees them in bounded
 * steps, with commits in between, so that other volumes' writes are not held
 * up; after a crash on the way they are there, with less in them.
 * Returns 0; -ENOENT; -EBUSY (open, being deleted, or named twice); -EROFS.
 */
THIN_MUST_CHECK int thin_pool_delete(struct thin_pool *pool, const uint32_t *devices,
				     size_t nr);

/*
 * The same of devices that nobody will open any more; who still has one open, for
 * he has not closed it yet, is waited for.
 * With @go_on in the background of what others do: in smaller steps, with pauses
 * between them in which @go_on(@ctx) is asked, with no lock held, whether to go
 * on.  Anything but 0 ends it and is returned; what was freed until then stays
 * so, and the devices can be deleted later, or after a crash, in the same way.
 */
THIN_MUST_CHECK int thin_pool_delete_slowly(struct thin_pool *pool,
					    const uint32_t *devices, size_t nr,
					    int (*go_on)(void *ctx), void *ctx);

/*
 * What deleting @device would take, as thin_metadata_delete_work(): a few
 * hundred are done in the time of a commit.
 * Returns 0; -ENOENT; -EBUSY (being deleted).
 */
THIN_MUST_CHECK int thin_pool_delete_work(struct thin_pool *pool, uint32_t device,
					  uint64_t max, uint64_t *ret);

/* dm-thin's messages that are not devices. */
THIN_MUST_CHECK int thin_pool_set_transaction_id(struct thin_pool *pool, uint64_t old,
						 uint64_t new);
THIN_MUST_CHECK int thin_pool_hold(struct thin_pool *pool);
THIN_MUST_CHECK int thin_pool_unhold(struct thin_pool *pool);

/*
 * Grow what is in use; the storages are resized first where they are files
 * (0 = leave).  Writers that wait for room go on.  Both are one transaction; but
 * storages are resized one by one, and whoever opens the pool uses what they have.
 * Returns 0; -EINVAL (smaller than now), after which both are as they were; -ENOTSUP,
 * -ENOSPC, likewise where the data can't be resized.
 */
THIN_MUST_CHECK int thin_pool_grow(struct thin_pool *pool, uint64_t data_bytes,
				   uint64_t metadata_bytes);

/*
 * Guarantee @device room for @bytes of its own (0: none any more): other
 * volumes find the pool full when only that is left.  A block that a snapshot
 * shares is not the volume's own, since it is copied when it is written: from a
 * snapshot on the whole guarantee is kept free again, and one for which
 * there is no room is refused (-ENOSPC).  A device that is not there yet may
 * have one.  Not stored: whoever opens the pool says it again.  Before a device
 * is deleted it must be 0.
 * @check: refuse what the pool can not give; else others find it full until it
 * can.
 * Returns 0; -ENOSPC; -EBUSY (being deleted); -ENOMEM; what looking up says.
 * Locking: waits for the volume's requests in flight.
 * Cost: a device that was not guaranteed anything yet: O(mapped blocks).
 */
THIN_MUST_CHECK int thin_pool_set_reserve(struct thin_pool *pool, uint32_t device,
					  uint64_t bytes, bool check);
/* How many blocks are kept free for @device. */
uint64_t thin_pool_reserve_left(struct thin_pool *pool, uint32_t device);

/*
 * From which number of free blocks on there are THIN_EVENT_LOW_DATA and
 * THIN_EVENT_LOW_METADATA; 0: never.  For a pool that has grown.
 */
void thin_pool_set_low_water(struct thin_pool *pool, uint64_t data, uint64_t metadata);

/* The first device with an id of at least @from; -ENOENT where there is none. */
THIN_MUST_CHECK int thin_pool_next_device(struct thin_pool *pool, uint32_t from,
					  struct thin_device_info *ret);

/*
 * What is known of @device, and how many data blocks deleting it alone would
 * free: thin_metadata_usage().
 */
THIN_MUST_CHECK int thin_pool_usage(struct thin_pool *pool, uint32_t device,
				    struct thin_device_info *ret_info,
				    uint64_t *ret_exclusive);

/*
 * Unmap what @device has from @bytes (rounded up to a block) on, in steps.  It
 * may be in use, by opens that end at @bytes or below.
 * Returns 0; -ENOENT; -EBUSY (being deleted); -EROFS.
 */
THIN_MUST_CHECK int thin_pool_truncate(struct thin_pool *pool, uint32_t device,
				       uint64_t bytes);

/*
 * The rest of @device's last block, whose volume ends at @bytes: where it is mapped,
 * let there be zeros.  Nobody reads them, but they show when the volume grows.  The
 * origin shows up to @origin_end (as of thin_volume_params), also for those who have it
 * open; it is not read.
 * Returns 0; -ENOENT; as a write.  Durable: yes.
 */
THIN_MUST_CHECK int thin_pool_zero_tail(struct thin_pool *pool, uint32_t device,
					uint64_t bytes, uint64_t origin_end);

/*
 * What blocks [@begin, @end) of @device are mapped to, as
 * thin_metadata_lookup(): to compare devices.  Blocks are not to be read.
 * Returns 0; -ENOENT; -EBUSY (being deleted).
 */
THIN_MUST_CHECK int thin_pool_lookup(struct thin_pool *pool, uint32_t device,
				     uint64_t begin, uint64_t end,
				     struct thin_run *ret_runs, size_t max,
				     size_t *ret_nr);

/* The committed metadata, for lib/audit; do not close it. */
struct thin_storage *thin_pool_metadata_storage(struct thin_pool *pool);

/*
 * Keep commits away from freeze to thaw, so that what is committed stands
 * still and can be walked.  Flushes wait meanwhile; writes go on.
 */
void thin_pool_freeze(struct thin_pool *pool);
void thin_pool_thaw(struct thin_pool *pool);

/* thin_metadata_pin(), thin_metadata_unpin(): nobody waits meanwhile. */
THIN_MUST_CHECK int thin_pool_pin(struct thin_pool *pool, void *ret_superblock);
THIN_MUST_CHECK bool thin_pool_unpin(struct thin_pool *pool);

/* --- origins ------------------------------------------------------------ */

/*
 * An external origin, read-only and shared by any number of volumes.
 * @storage: owned from success on.
 * @identity: what was recorded, or NULL to take what is there now.
 * Returns 0; -ESTALE when it is not the one recorded (@e: both).
 */
THIN_MUST_CHECK int thin_origin_open(struct thin_storage *storage, const char *name,
				     const struct thin_identity *identity,
				     struct thin_origin **ret, struct thin_error *e);
struct thin_origin *thin_origin_ref(struct thin_origin *o);
/*
 * The last reference closes the storage.  NULL is a no-op.
 * Locking: with no lock of the pool's; the storage may be a volume of it.
 */
void thin_origin_unref(struct thin_origin *o);
/*
 * For a table of origins that keeps none of them open: @gone(@ctx) is called when
 * the last reference has gone, before the storage is closed; until it returns @o
 * may be asked for another reference, which it refuses.  Before others have it.
 */
void thin_origin_on_close(struct thin_origin *o, void (*gone)(void *ctx), void *ctx);
THIN_MUST_CHECK bool thin_origin_try_ref(struct thin_origin *o);

THIN_DEFINE_CLEANUP(struct thin_origin *, thin_origin_unref);
#define _cleanup_origin _cleanup_(thin_origin_unrefp)
uint64_t thin_origin_size(const struct thin_origin *o); /* bytes */
/* What it was at open: to be recorded.  Lives as long as @o. */
const struct thin_identity *thin_origin_identity(const struct thin_origin *o);

/* --- volumes: the I/O --------------------------------------------------- */

struct thin_volume_params {
	uint32_t device;
	uint64_t size;		    /* bytes */
	struct thin_origin *origin; /* may be NULL; a reference is taken */
	uint64_t origin_end;	    /* it shows up to there, bytes; 0: all of it */
	bool read_only;
};

/*
 * Open a volume for I/O.  Several opens of one device must give the same
 * origin (the same struct); it shows up to the smallest end they give.  They may give
 * different sizes, as when it was resized while clients were connected: each sees its
 * own; the largest is where the volume ends. Returns 0; -ENOENT (no such device); -EBUSY
 * (being deleted); -EINVAL (no size, too large, or another origin); what starting the
 * origin said.
 */
THIN_MUST_CHECK int thin_volume_open(struct thin_pool *pool,
				     const struct thin_volume_params *params,
				     struct thin_volume **ret);
void thin_volume_close(struct thin_volume *v); /* NULL is a no-op */

/* Has somebody @device open? */
bool thin_pool_is_open(struct thin_pool *pool, uint32_t device);
uint64_t thin_volume_size(const struct thin_volume *v);

/*
 * All offsets and lengths are bytes, of any alignment, inside the volume
 * (-ERANGE otherwise).  Errors: -EIO; -ENOSPC (of the pool, at once or after
 * waiting for room; or what the data storage said); -EROFS; -ESTALE (the
 * origin changed); -ENOMEM; -ESHUTDOWN; for damaged metadata -EILSEQ or
 * -ENOTBLK.  After an error of theirs a change may have been done in part.
 */
#define THIN_FUA       0x1u /* durable when it returns, with its mapping (I7) */
#define THIN_MAY_UNMAP 0x2u /* zero: may give the blocks back */
#define THIN_FAST_ONLY 0x4u /* zero: -ENOTSUP rather than writing zeros */

THIN_MUST_CHECK int thin_volume_read(struct thin_volume *v, void *buf, uint64_t offset,
				     size_t len);
THIN_MUST_CHECK int thin_volume_write(struct thin_volume *v, const void *buf,
				      uint64_t offset, size_t len, unsigned flags);

/*
 * Unmap the blocks that lie inside as a whole; the origin shows again there.
 * The volume's own end counts as the end of a block: trimming all of it
 * leaves nothing, also where its size is not a multiple of the block size.
 * Nothing where discards are ignored.
 */
THIN_MUST_CHECK int thin_volume_trim(struct thin_volume *v, uint64_t offset, uint64_t len,
				     unsigned flags);

/*
 * Reads as zeros afterwards, whatever the origin holds (I11).  Blocks that
 * are mapped stay so, but for shared ones and with THIN_MAY_UNMAP; below the
 * origin's end blocks are allocated, elsewhere a hole is enough.
 * With THIN_FAST_ONLY: -ENOTSUP, and nothing changed, where anything would
 * have to be written.
 */
THIN_MUST_CHECK int thin_volume_zero(struct thin_volume *v, uint64_t offset, uint64_t len,
				     unsigned flags);

/* All writes that completed before, of all connections, are durable (I7). */
THIN_MUST_CHECK int thin_volume_flush(struct thin_volume *v);

/* A hint that [@offset, @offset + @len) will be read soon. */
THIN_MUST_CHECK int thin_volume_cache(struct thin_volume *v, uint64_t offset,
				      uint64_t len);

enum thin_map_type {
	THIN_MAP_DATA,	 /* in the pool, this volume's alone */
	THIN_MAP_SHARED, /* in the pool, perhaps also others' */
	THIN_MAP_ORIGIN, /* read from the origin, which has data there */
	THIN_MAP_ZERO,	 /* reads as zeros, takes no space */
};

typedef int thin_map_fn(void *ctx, uint64_t offset, uint64_t len,
			enum thin_map_type type);

/*
 * Copy what [@offset, @offset + @len) still shows of the origin into the
 * pool, whole blocks, while the volume is in use.  Where the origin is known
 * to be empty (thin_volume_map()) there is no need to.
 * Returns 0; as a write.
 */
THIN_MUST_CHECK int thin_volume_hydrate(struct thin_volume *v, uint64_t offset,
					uint64_t len);

struct thin_core;

/* An origin that nobody comes to any more, but some may still be reading. */
struct thin_dropped {
	struct thin_core *core; /* pinned */
	struct thin_origin *origin;
};

/*
 * Drop the origin, for all opens of the device: what is not mapped reads
 * as zeros from here on.  The registry is to know it first.
 * @ret: for thin_dropped_let_go().
 * Locking: waits for requests in flight that change the volume, and for none that
 * read the origin.
 */
void thin_volume_drop_origin(struct thin_volume *v, struct thin_dropped *ret);

/*
 * Let it go.  The volume may have been closed meanwhile, the pool not.
 * Locking: waits for those who still read it, for as long as it takes to answer.
 */
void thin_dropped_let_go(struct thin_dropped *d);

/*
 * What [@offset, @offset + @len) is made of, in order, neighbours of one
 * type joined, never past the range.  @fn returns 0 to go on; anything else
 * ends it and is returned.
 */
THIN_MUST_CHECK int thin_volume_map(struct thin_volume *v, uint64_t offset, uint64_t len,
				    thin_map_fn *fn, void *ctx);

#endif
