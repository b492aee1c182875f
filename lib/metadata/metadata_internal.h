/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_METADATA_METADATA_INTERNAL_H
#define THINBD_METADATA_METADATA_INTERNAL_H

/*
 * What the files behind metadata.h share.
 *
 * Locks, in the order in which they are taken:
 *   commit_lock  one commit, abort or superblock rewrite at a time; held
 *		  across I/O, and by nobody that a lookup waits for
 *   tree_lock    shared by lookups, exclusive for changes; no I/O under it
 *		  but the reads of a change that misses the cache
 */

#include "format/device_details.h"
#include "format/superblock.h"
#include "metadata/metadata.h"
#include "metadata/space_map_disk.h"
#include "metadata/space_map_metadata.h"
#include "util/lock.h"

struct thin_device {
	struct thin_metadata *m;
	struct thin_device *next; /* in its bucket */
	struct thin_device_info info;
	uint64_t root; /* of its mappings; also in the top-level tree */
	unsigned opens;
	bool details_dirty; /* @info is newer than the details tree */
	bool aborted;
	bool gone;	  /* an abort took it away */
	uint64_t changed; /* the last transaction that changed its mappings */
	uint64_t exposed; /* when its place in the top-level tree was shadowed */
};

#define THIN_DEVICE_BUCKETS 1024

struct thin_metadata {
	struct thin_storage *storage;
	struct thin_mutex commit_lock;
	struct thin_sharded_lock tree_lock;

	/* Under tree_lock: the open transaction. */
	struct thin_cache *cache;
	struct thin_transaction tm;
	struct thin_sm_metadata *sm_metadata;
	struct thin_sm_disk *sm_data;
	struct thin_disk_superblock sb; /* roots and maps: as of the last commit */
	uint64_t top_root, details_root, held_root, transaction_id;
	uint32_t time;
	bool dirty;
	int failed; /* I10 */

	struct thin_device *devices[THIN_DEVICE_BUCKETS];
	struct thin_freed *under_way; /* committed, not released */

	/* pin.c: metadata blocks that were released since, and are kept. */
	bool pinned, pin_broken;
	struct thin_block_set set_aside;

	/*
	 * Transactions are counted from 1.  @stamp is new with each, and with
	 * whatever makes the top level shared again.
	 */
	uint64_t transaction, stamp;
	uint64_t durable; /* the last one that is */
	uint64_t commits;

	/* usage.c: by device.  What counts held for, and snapshots so far. */
	struct thin_usage **usages;
	size_t nr_usages;
	uint64_t sharing, snapshots;

	bool want_read_only, read_only, needs_check;
	bool dead; /* a flush failed, or an abort: for good (I9) */
	struct thin_error error;
};

struct thin_freed {
	struct thin_freed *next;
	struct thin_block_set data, metadata;
};

/* The trees, as they are now. */
struct thin_btree thin_details_tree(struct thin_metadata *m);
/* Top level: device to root.  Values are counted as references to subtrees. */
struct thin_btree thin_top_tree(struct thin_metadata *m);
/* A device's mappings: vblock to packed data block and time. */
struct thin_btree thin_mapping_tree(struct thin_metadata *m);

/* --- all of these: tree_lock held exclusively ------------------------------ */

/* May a change begin?  0; -ESHUTDOWN, the poison, -EROFS. */
THIN_MUST_CHECK int thin_may_change(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock);

/* The same for what takes room: also -ENOBUFS.  @extra: blocks above the reserve. */
THIN_MUST_CHECK int thin_may_grow(struct thin_metadata *m, uint64_t extra)
	THIN_REQUIRES(m->tree_lock);

/* A change was made, or failed with @r half-way; returns @r (I10). */
int thin_changed(struct thin_metadata *m, int r) THIN_REQUIRES(m->tree_lock);

/* What any small change and a commit find room in. */
#define THIN_RESERVE_MIN UINT64_C(16)

uint64_t thin_metadata_reserve_size(const struct thin_metadata *m);

/* Keep what a commit freed, if somebody reads it; false: it may be had. */
bool thin_pin_set_aside(struct thin_metadata *m, const struct thin_block_set *freed)
	THIN_REQUIRES(m->tree_lock);
void thin_pin_break(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock);

/* Read roots and space maps anew, as the superblock in @m->sb says. */
THIN_MUST_CHECK int thin_load_state(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock);
void thin_drop_state(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock);

/* The device in memory, loaded if need be; put it when done.  -ENOENT. */
THIN_MUST_CHECK int thin_device_get(struct thin_metadata *m, uint32_t id,
				    struct thin_device **ret) THIN_REQUIRES(m->tree_lock);
void thin_device_put(struct thin_metadata *m, struct thin_device *d)
	THIN_REQUIRES(m->tree_lock);
struct thin_device *thin_device_find(struct thin_metadata *m, uint32_t id);

/*
 * Shadow the way to @d in the top level, so that the count of its root says
 * whether others share it (B3).  Before each change of its mappings.
 */
THIN_MUST_CHECK int thin_device_expose(struct thin_metadata *m, struct thin_device *d)
	THIN_REQUIRES(m->tree_lock);

/* The device's mappings have a new root. */
THIN_MUST_CHECK int thin_device_set_root(struct thin_metadata *m, struct thin_device *d,
					 uint64_t root) THIN_REQUIRES(m->tree_lock);

/* Write the details of all devices that changed into their tree. */
THIN_MUST_CHECK int thin_devices_write_back(struct thin_metadata *m)
	THIN_REQUIRES(m->tree_lock);

/* After an abort: what is in memory about devices is read anew. */
void thin_devices_reload(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock);

/*
 * What usage.c is told of: @id is made, empty; @snapshot is made of @origin;
 * mappings of @id are about to change; anything may have.
 */
void thin_usage_created(struct thin_metadata *m, uint32_t id) THIN_REQUIRES(m->tree_lock);
void thin_usage_shared(struct thin_metadata *m, uint32_t origin, uint32_t snapshot)
	THIN_REQUIRES(m->tree_lock);
void thin_usage_changes(struct thin_metadata *m, uint32_t id) THIN_REQUIRES(m->tree_lock);
void thin_usage_forget(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock);

/* --- no lock held ------------------------------------------------------------ */

/*
 * Bring in what @rd missed.  @generation: the cache's when it missed.
 * Returns 0: look again.
 */
THIN_MUST_CHECK int thin_fetch_missing(struct thin_metadata *m,
				       const struct thin_reader *rd, uint64_t generation);

/* A way to look that does not block: see thin_look(). */
typedef int thin_look_fn(struct thin_metadata *m, struct thin_reader *rd, void *ctx);

/*
 * Call @fn under the shared lock until it does not answer -EWOULDBLOCK, and
 * in between fetch what it missed, under no lock; in the end, when that does
 * not get anywhere, under the exclusive one.  @fn starts over each time.
 */
THIN_MUST_CHECK int thin_look(struct thin_metadata *m, thin_look_fn *fn, void *ctx);

/* @id's info as it is now.  Shared.  -ENOENT; -EWOULDBLOCK. */
THIN_MUST_CHECK int thin_device_look(struct thin_metadata *m, struct thin_reader *rd,
				     uint32_t id, struct thin_device_info *ret);

/*
 * The highest node on the way to @leaf that others refer to as well, or -1.
 * What is below it would survive a delete.  Shared.
 */
THIN_MUST_CHECK int thin_find_shared(struct thin_metadata *m,
				     const struct thin_leaf *leaf, int *ret);

/* Write @sb to block 0 and make it durable.  Under commit_lock. */
THIN_MUST_CHECK int thin_write_superblock(struct thin_storage *storage,
					  const struct thin_disk_superblock *sb);

#endif
