/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_POOL_POOL_INTERNAL_H
#define THINBD_POOL_POOL_INTERNAL_H

/*
 * What the files of this room share: the pool and its parts.  How a request
 * on a volume is done is in request.h.
 *
 * Lock order, outermost first (docs/locking.md has all of it).  Nobody waits
 * for room while he holds one of these; for a commit or the reaper nobody
 * who is in an epoch, and inside a gate or a range only where metadata is
 * down to the reserve (space.c).
 *
 *   gates of volumes     in order of their device ids; `below` without others
 *   range lock's ranges  at most one range a thread
 *   (epoch)              entered with a range held, never the other way
 *   commit's closing     while a transaction is closed, or a group of
 *                        snapshots made
 *   guarantees           while blocks are taken, or unmapped
 *   the metadata's own
 *   leaves               volumes, batchers, reaper, space, mode, buffers, workers
 */

#include "pool/pool.h"

#include "util/epoch.h"
#include "util/lock.h"

#include <stdatomic.h>

/* --- worker.c: threads that do one thing again and again ------------------ */

struct thin_worker {
	const char *name;
	void (*fn)(struct thin_pool *pool);
	struct thin_pool *pool;
	uint64_t interval_ns; /* 0: only when kicked */
	pthread_t thread;
	struct thin_mutex lock;
	struct thin_cond changed;
	bool running THIN_GUARDED_BY(lock);
	bool kicked THIN_GUARDED_BY(lock);
	bool stop THIN_GUARDED_BY(lock);
};

void thin_worker_init(struct thin_worker *w, const char *name, struct thin_pool *pool,
		      void (*fn)(struct thin_pool *pool), uint64_t interval_ns);
THIN_MUST_CHECK int thin_worker_start(struct thin_worker *w);
/* Run it soon; nothing where it was not started. */
void thin_worker_kick(struct thin_worker *w);
/* Lets a turn that has begun end.  May be called again, or without a start. */
void thin_worker_stop(struct thin_worker *w);
void thin_worker_fini(struct thin_worker *w);

/* --- flush.c: flushes of the data, beside a commit -------------------------- */

struct thin_flusher {
	struct thin_worker worker;
	struct thin_mutex lock;
	struct thin_cond done;
	bool under_way THIN_GUARDED_BY(lock);
	int result THIN_GUARDED_BY(lock); /* of the last one */
};

void thin_flusher_init(struct thin_flusher *f, struct thin_pool *pool);
void thin_flusher_fini(struct thin_flusher *f);
/* Flush; the first failure is FAIL mode (I9).  Returns 0; -ESHUTDOWN; what it was. */
THIN_MUST_CHECK int thin_flush_data(struct thin_pool *pool);
/* The same in two steps, with time between them.  Only where begin returns 0: end. */
THIN_MUST_CHECK int thin_flush_begin(struct thin_pool *pool);
THIN_MUST_CHECK int thin_flush_end(struct thin_pool *pool);

/* --- batch.c: many who want the same thing done, one who does it ---------- */

struct thin_batch_wait;

struct thin_batcher {
	struct thin_mutex lock;
	struct thin_cond changed;
	struct thin_batch_wait *waiting THIN_GUARDED_BY(lock);
	bool running THIN_GUARDED_BY(lock);
	int (*run)(struct thin_pool *pool);
	struct thin_pool *pool;
};

void thin_batcher_init(struct thin_batcher *b, struct thin_pool *pool,
		       int (*run)(struct thin_pool *pool));
void thin_batcher_fini(struct thin_batcher *b);
/* The result of a run that started after this was called. */
THIN_MUST_CHECK int thin_batch_join(struct thin_batcher *b);
/* Keep runs away from here to there; whoever joins waits. */
void thin_batch_begin(struct thin_batcher *b);
void thin_batch_end(struct thin_batcher *b);

/* --- the pool -------------------------------------------------------------- */

#define THIN_REAP_SLOTS 8

/* What commits freed and nobody may have yet (reap.c). */
struct thin_reaper {
	struct thin_mutex lock;
	struct thin_cond changed;
	struct thin_freed *slot[THIN_REAP_SLOTS] THIN_GUARDED_BY(lock);
	uint64_t put THIN_GUARDED_BY(lock);  /* how many came */
	uint64_t done THIN_GUARDED_BY(lock); /* how many went; <= put <= done + slots */
	bool busy THIN_GUARDED_BY(lock);
	bool no_punch; /* the storage can't; the busy one's */
};

/* Waiting for a free data block (space.c). */
struct thin_space {
	struct thin_mutex lock;
	struct thin_cond changed;
	_Atomic uint64_t room; /* how often some appeared; goes up under lock */
	uint64_t wanted THIN_GUARDED_BY(lock); /* the least that was lacking, blocks */
	unsigned waiters THIN_GUARDED_BY(lock);
	bool expired THIN_GUARDED_BY(lock); /* somebody waited too long */
	uint64_t timeout_ns;		    /* 0: for ever */
};

/* Buffers of one piece each, to build blocks in (buffer.c). */
#define THIN_PIECE	 (UINT64_C(1) << 20)
#define THIN_BUFFERS_MAX 16

struct thin_buffers {
	struct thin_mutex lock;
	unsigned nr THIN_GUARDED_BY(lock);
	void *free[THIN_BUFFERS_MAX] THIN_GUARDED_BY(lock);
	size_t len;
};

/* Room that is kept for volumes (guarantee.c). */
struct thin_guarantees {
	struct thin_mutex lock;
	struct thin_guarantee *list; /* volumes_lock */
	_Atomic uint64_t kept;	     /* blocks; changes under lock */
};

struct thin_core;

/* Devices in use, by their numbers: thousands of volumes may be open. */
#define THIN_CORE_BUCKETS 1024

struct thin_pool {
	struct thin_pool_params params; /* the storages are owned */
	struct thin_metadata *m;
	uint64_t block_size; /* bytes */
	_Atomic uint64_t nr_data_blocks;
	atomic_bool started;

	/* mode.c */
	struct thin_mutex mode_lock;
	_Atomic enum thin_pool_mode mode; /* changed under mode_lock */
	atomic_uint untold;		  /* events as bits */
	atomic_bool telling;
	_Atomic uint64_t low_water_data, low_water_metadata; /* blocks; 0: never */
	bool low_data, low_metadata; /* told already; the watcher's */

	/* volume.c */
	struct thin_mutex volumes_lock;
	struct thin_cond volumes_changed;
	struct thin_core *volumes[THIN_CORE_BUCKETS] THIN_GUARDED_BY(volumes_lock);
	uint64_t clients THIN_GUARDED_BY(volumes_lock);

	/* commit.c */
	struct thin_batcher commit;
	struct thin_batcher flush;    /* of the data alone */
	struct thin_mutex closing;    /* held while a transaction is closed */
	struct thin_mutex flush_data; /* one flush of the data at a time */
	struct thin_flusher flusher;

	struct thin_mutex grow; /* one at a time */
	struct thin_reaper reaper;
	struct thin_space space;
	struct thin_guarantees guarantees;
	struct thin_buffers buffers;
	struct thin_worker committer, reaping, watcher;
};

static inline enum thin_pool_mode thin_pool_mode(struct thin_pool *pool)
{
	return atomic_load_explicit(&pool->mode, memory_order_acquire);
}

/* 0; -EROFS; -ESHUTDOWN. */
THIN_MUST_CHECK int thin_pool_may_change(struct thin_pool *pool);
/* 0; -ESHUTDOWN. */
THIN_MUST_CHECK int thin_pool_may_read(struct thin_pool *pool);

/*
 * The only way a mode changes: for the worse, or from OUT_OF_* to WRITE;
 * everything else is ignored.  The event is told by the next
 * thin_pool_tell().
 */
void thin_pool_set_mode(struct thin_pool *pool, enum thin_pool_mode mode);
/* Tell what happened.  No locks held, in no epoch. */
void thin_pool_tell(struct thin_pool *pool);
/* The watcher's turn: low-water marks, origins. */
void thin_pool_watch(struct thin_pool *pool);

/* --- commit.c --------------------------------------------------------------- */

int thin_commit_run(struct thin_pool *pool);
int thin_flush_run(struct thin_pool *pool);
/* The committer's turn. */
void thin_commit_if_dirty(struct thin_pool *pool);
/*
 * Join the next commit, see to what it freed, tell events.  Durable: yes.
 * No locks held, in no epoch.
 */
THIN_MUST_CHECK int thin_commit_now(struct thin_pool *pool);
/*
 * The same for a change that was made just now, where the pool might be
 * changed when it began.  -EIO also where another's commit failed first, and
 * took the change with it; then it may be durable or not.
 */
THIN_MUST_CHECK int thin_commit_change(struct thin_pool *pool);
/* I7 for one volume: a commit where it has changes, else a flush. */
THIN_MUST_CHECK int thin_commit_volume(struct thin_core *core);
/*
 * @r went wrong: where that poisoned the transaction, go back to the last
 * commit.  Returns what to tell the client.  No locks held, in no epoch.
 */
int thin_commit_error(struct thin_pool *pool, int r);

/* --- reap.c ----------------------------------------------------------------- */

void thin_reaper_init(struct thin_reaper *rp);
void thin_reaper_fini(struct thin_reaper *rp);
/* Hand over what a commit freed; waits where too much is waiting. */
void thin_reap_put(struct thin_pool *pool, struct thin_freed *freed);
/* Wait for the epoch, punch, release: until nothing is waiting. */
void thin_reap_run(struct thin_pool *pool);
/* See to it that it is done, soon (started) or now (not started). */
void thin_reap_kick(struct thin_pool *pool);
/* Wait until what was put before the call has been released. */
void thin_reap_settle(struct thin_pool *pool);

/* --- space.c ---------------------------------------------------------------- */

/* How long a request has been looking for room. */
struct thin_patience {
	uint64_t need;	      /* blocks; as of the last attempt */
	uint64_t room;	      /* what appeared before it looked */
	uint64_t deadline_ns; /* 0: has not waited yet */
	bool settled;	      /* a commit did not help */
	bool promised;	      /* the room is kept for this very volume */
};

void thin_space_init(struct thin_space *s, uint64_t timeout_ns);
void thin_space_fini(struct thin_space *s);
/*
 * Have what the open transaction freed, and the commits before it: blocks of
 * data and of metadata.  In no epoch.
 */
THIN_MUST_CHECK int thin_space_settle(struct thin_pool *pool);
/* Is there no metadata left but the reserve? */
bool thin_space_scarce(struct thin_pool *pool);
/* Before each attempt; takes no lock. */
void thin_space_look(struct thin_pool *pool, struct thin_patience *p);
/*
 * An attempt found too little of @what: -ENOSPC or -ENOBUFS.  Commits first,
 * and waits from the second time on.
 * Returns 0 to try again; the error for the client.
 * No locks held, in no epoch.
 */
THIN_MUST_CHECK int thin_space_wait(struct thin_pool *pool, struct thin_patience *p,
				    int what);
/* Blocks came free: out of OUT_OF_*, where that is where we are. */
void thin_space_appeared(struct thin_pool *pool);
/* Reserved blocks were given back: not news for the mode. */
void thin_space_returned(struct thin_pool *pool);
/* Wake those who wait: there is no sense in it any more. */
void thin_space_give_up(struct thin_pool *pool);
/* Something was unmapped: commit soon, where somebody waits for it. */
void thin_space_unmapped(struct thin_pool *pool);

/* --- guarantee.c: room that is kept for volumes ------------------------------ */

struct thin_guarantee;

void thin_guarantees_init(struct thin_guarantees *gs);
void thin_guarantees_fini(struct thin_guarantees *gs);
/* Of @info's free data blocks those that are kept for nobody. */
uint64_t thin_guarantees_spare(struct thin_pool *pool,
			       const struct thin_metadata_info *info);
/* What there is for @device, or NULL.  Under volumes_lock. */
struct thin_guarantee *thin_guarantee_find(struct thin_pool *pool, uint32_t device);
/*
 * All of @cores, whose gates are shut, are going to share their blocks with
 * snapshots: have room kept for copies.  Returns 0; -ENOSPC, with nothing done.
 */
THIN_MUST_CHECK int thin_guarantees_share(struct thin_pool *pool,
					  struct thin_core **cores, size_t nr);
/* They are not, after all. */
void thin_guarantees_unshare(struct thin_pool *pool, struct thin_core **cores, size_t nr);
/*
 * As thin_metadata_remove_range(), of a volume with a guarantee; the range is
 * held.
 */
THIN_MUST_CHECK int thin_guarantee_unmap(struct thin_core *core, uint64_t begin,
					 uint64_t end, uint64_t max, uint64_t *ret_next);

/* --- buffer.c --------------------------------------------------------------- */

void thin_buffers_init(struct thin_buffers *b, size_t len);
void thin_buffers_fini(struct thin_buffers *b);
/* A buffer of b->len bytes, aligned to a page; NULL: no memory. */
void *thin_buffer_get(struct thin_buffers *b);
void thin_buffer_put(struct thin_buffers *b, void *buf); /* NULL is a no-op */

/* --- block_lock.c: ranges of a volume's blocks ------------------------------ */

/* A range that is held, or waited for; on the holder's stack. */
struct thin_range {
	uint64_t begin, end; /* blocks */
	struct thin_range *next;
};

struct thin_range_lock {
	struct thin_mutex lock;
	struct thin_cond changed;
	struct thin_range *ranges THIN_GUARDED_BY(lock); /* in order of arrival */
};

void thin_range_lock_init(struct thin_range_lock *l);
void thin_range_lock_fini(struct thin_range_lock *l);
void thin_range_lock(struct thin_range_lock *l, struct thin_range *r, uint64_t begin,
		     uint64_t end);
void thin_range_unlock(struct thin_range_lock *l, struct thin_range *r);

/* --- gate.c: what a snapshot shuts -------------------------------------------- */

struct THIN_CAPABILITY("gate") thin_gate {
	struct {
		atomic_uint nr;
	} __attribute__((aligned(128))) inside[THIN_SHARDS];
	atomic_bool shut;
	struct thin_mutex lock;
	struct thin_cond changed;
};

void thin_gate_init(struct thin_gate *gate);
void thin_gate_fini(struct thin_gate *gate);
/* Waits while it is shut.  Left by the thread that entered. */
void thin_gate_enter(struct thin_gate *gate) THIN_ACQUIRE_SHARED(gate);
void thin_gate_leave(struct thin_gate *gate) THIN_RELEASE_SHARED(gate);
/* Nobody else gets in from here on; returns when all have left. */
void thin_gate_shut(struct thin_gate *gate) THIN_ACQUIRE(gate);
void thin_gate_open(struct thin_gate *gate) THIN_RELEASE(gate);

/* --- volume.c --------------------------------------------------------------- */

/*
 * A device in use: all that its opens share.  It stays while it is pinned:
 * by an open volume, a snapshot being made, a count, a deletion.
 */
struct thin_core {
	struct thin_pool *pool;
	uint32_t device;
	struct thin_core *next;
	unsigned pins;	/* volumes_lock */
	unsigned opens; /* volumes_lock; counted in pins too */
	bool deleting;	/* volumes_lock */
	struct thin_device *d;

	/*
	 * Every write, trim and zero is inside while it does I/O.  A snapshot
	 * shuts it: then all requests are whole (I8), and nobody holds a
	 * mapping that he thinks is not shared (I4).
	 */
	struct thin_gate gate;
	_Atomic(struct thin_origin *) origin; /* read inside `below`; its size, `gate` */
	struct thin_gate below;		      /* who reads or maps the origin */
	_Atomic uint64_t origin_end;	      /* bytes: what of it shows; 0: all */
	_Atomic uint64_t size; /* bytes: the largest of the opens'; changes with
				  the gate shut */
	struct thin_range_lock ranges;
	struct thin_guarantee *guarantee; /* or NULL; changes with the gate shut */
};

struct thin_volume {
	struct thin_core *core;
	uint64_t size; /* bytes; may be less than the core's */
	bool read_only;
};

/*
 * Pin a device, whether it is open or not.
 * Returns 0; -ENOENT; -EBUSY (being deleted); -ENOMEM.
 */
THIN_MUST_CHECK int thin_core_pin(struct thin_pool *pool, uint32_t device,
				  struct thin_core **ret);
/* Once more, where it is pinned.  Returns @core. */
struct thin_core *thin_core_pin_again(struct thin_core *core)
	THIN_REQUIRES(core->pool->volumes_lock);
void thin_core_unpin(struct thin_core *core); /* NULL is a no-op */
/*
 * Pin a device, and keep everybody off until it is unpinned.  Who has it pinned is
 * waited for.
 * @patient: so is who has it open.
 * Returns 0; -ENOENT; -EBUSY (open, or being deleted); -ENOMEM.
 */
THIN_MUST_CHECK int thin_core_claim(struct thin_pool *pool, uint32_t device, bool patient,
				    struct thin_core **ret);
/*
 * The origin, or NULL, for a reader or mapper: good until he leaves.
 * Locking: outside of gates and ranges; so nobody waits for an origin but its readers.
 */
struct thin_origin *thin_core_origin_enter(struct thin_core *core) THIN_NO_THREAD_SAFETY;
void thin_core_origin_leave(struct thin_core *core, struct thin_origin *o)
	THIN_NO_THREAD_SAFETY; /* NULL is a no-op */
/* Up to where @o, which is @core's or NULL, shows: bytes; 0 for NULL. */
uint64_t thin_core_origin_end(struct thin_core *core, const struct thin_origin *o);
/* From here on it shows up to @end at most, for all who have it open now; 0: to its own.
 */
void thin_core_limit_origin(struct thin_core *core, uint64_t end);
/* Start the origins of all open volumes. */
THIN_MUST_CHECK int thin_volumes_start(struct thin_pool *pool);
/* Look at the origins of all open volumes, and tell which ones changed. */
void thin_volumes_watch(struct thin_pool *pool);

/* --- origin.c --------------------------------------------------------------- */

/* Once; after the last fork. */
THIN_MUST_CHECK int thin_origin_start(struct thin_origin *o);
/* Is it still what it was?  True when it just turned out not to be. */
bool thin_origin_turned(struct thin_origin *o);
const char *thin_origin_name(const struct thin_origin *o);
/*
 * What the origin holds in [@offset, @offset + @len), nothing past its end.
 * Returns -ESTALE, or as thin_storage_extents().
 */
THIN_MUST_CHECK int thin_origin_extents(struct thin_origin *o, uint64_t offset,
					uint64_t len, thin_extent_fn *fn, void *ctx);

#endif
