/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_SERVICE_H
#define THINBD_SERVICE_SERVICE_H

/*
 * What the files of this room share: a pool that is open, and the volumes
 * of it that are.
 *
 * Names and blocks meet here.  The registry knows names, the pool knows
 * devices; every change of both is made under `lock`, so that there is one
 * order of changes, and in the way of I12.
 *
 * Locks, outermost first:
 *
 *   lock          changes of the registry, and of the metadata's devices
 *   handles_lock  who has which volume open
 *   origins_lock  which origins are open
 *
 * None of them is held for I/O of volumes, nor while an origin is looked at,
 * opened, read, or let go by those who read it.
 */

#include "pool/pool.h"
#include "registry/pool_conf.h"
#include "registry/pool_lock.h"
#include "registry/volumes.h"
#include "service/bury.h"
#include "service/reply.h"
#include "thinbd.h"
#include "util/lock.h"

#include <stdatomic.h>

struct thin_counters;
struct thin_flattening;
struct thin_job;
struct thin_shrink;
struct thin_origin_entry;

/* What is above this room and lives as long as the pool: the socket. */
struct thin_attachment {
	int (*start)(void *ctx); /* after the last fork */
	void (*stop)(void *ctx); /* before the pool is closed; frees @ctx */
	void *ctx;
};

struct thin_backups;

struct thinbd {
	char *dir;	      /* absolute; NULL: table style */
	char *default_volume; /* or NULL */
	bool read_only;	      /* for a reason that `why_read_only` says */
	const char *why_read_only;
	atomic_bool served; /* others can send requests */
	atomic_bool ending; /* being closed: who waits for requests is hung up on */
	thinbd_event_fn *event;
	void *event_ctx;

	struct thin_pool_lock *pool_lock;
	struct thin_files *files;	 /* of DIR */
	struct thin_files *volume_files; /* of DIR/volumes */
	struct thin_pool_conf conf;
	struct thin_pool *pool;
	uint64_t block_size; /* bytes */

	struct thin_mutex lock;
	struct thin_registry *registry;	     /* NULL: table style */
	struct thin_volume_conf *the_volume; /* of the table style */
	struct thin_shrink *shrinks;	     /* lock; being done: verbs_resize.c */
	struct thin_flattening *flattening;  /* lock; who does it: flatten.c */

	struct thin_mutex handles_lock;
	struct thinbd_volume *handles THIN_GUARDED_BY(handles_lock);
	struct thin_counters *io THIN_GUARDED_BY(handles_lock); /* io_counters.c */

	struct thin_mutex origins_lock;
	struct thin_cond origins_changed;
	struct thin_origin_entry *origins THIN_GUARDED_BY(origins_lock);

	struct thin_job *jobs; /* only who starts and who closes the pool */

	struct thin_burier *burier;	/* NULL: table style, or read-only */
	struct thin_settler *settler;	/* likewise */
	struct thin_extender *extender; /* NULL: table style, or read-only */
	struct thin_backups *backups;	/* likewise, or not wanted */
	struct thin_attachment attachment;
};

/*
 * As thinbd_open().
 * @ret_locked: whether it failed because somebody has the folder's lock, which
 * may be a call that is soon done; may be NULL.
 */
THIN_MUST_CHECK int thin_service_open(const struct thinbd_params *p, bool *ret_locked,
				      struct thinbd **ret, struct thin_error *e);

/* Tell the owner. */
void thin_service_tell(struct thinbd *t, enum thinbd_event event, const char *text);

/* Attach what is to be started and stopped with @t; at most one. */
void thin_service_attach(struct thinbd *t, const struct thin_attachment *a);

/* The folder, or NULL in table style. */
const char *thin_service_dir(const struct thinbd *t);

/* --- storages.c: what pool.conf names ------------------------------------- */

/*
 * Open the metadata and the data of the pool in @dir.  Locked against all
 * others.  Returns as thin_storage_open().
 */
THIN_MUST_CHECK int thin_open_storages(const char *dir, const struct thin_pool_conf *conf,
				       bool read_only, struct thin_storage **ret_metadata,
				       struct thin_storage **ret_data,
				       struct thin_error *e);

/* The data's block size in bytes, as @metadata's superblock says; 0: it does not. */
uint64_t thin_block_size(struct thin_storage *metadata);

/*
 * How many blocks @data_bytes are, by what @metadata's superblock says of
 * their size; 0 where it says nothing.
 */
uint64_t thin_data_blocks(struct thin_storage *metadata, uint64_t data_bytes);

/* What pool.conf says, as the pool wants it. */
void thin_pool_policy(const struct thin_pool_conf *conf, struct thin_pool_params *params);

/* Its low-water marks, for the storages that are in @params. */
void thin_pool_low_water(const struct thin_pool_conf *conf,
			 struct thin_pool_params *params);

/* As thin_pool_grow(); the low-water marks follow. */
THIN_MUST_CHECK int thin_grow(struct thinbd *t, uint64_t data, uint64_t metadata);

/* --- handles.c: who has what open ----------------------------------------- */

/* How many have @device open; all of them for THIN_NO_DEVICE. */
unsigned thin_clients_of(struct thinbd *t, uint32_t device);

/* The same for many: the devices of all that are open, ascending. */
struct thin_clients {
	uint32_t *devices;
	size_t nr;
};

/* Returns 0 or -ENOMEM.  @ret: free() its devices. */
THIN_MUST_CHECK int thin_clients_all(struct thinbd *t, struct thin_clients *ret);
/* How many of them have @device open.  O(log n). */
unsigned thin_clients_count(const struct thin_clients *c, uint32_t device);

/* Does somebody have it open for writing? */
bool thin_has_writers(struct thinbd *t, uint32_t device);

/*
 * Take @device away from those who have it open: their requests end in
 * -ESHUTDOWN from now on.  Waits for those that are being done.
 * Locking: without t->lock.
 */
void thin_revoke(struct thinbd *t, uint32_t device);

/* Close all that are open still, for nobody uses them any more. */
void thin_close_handles(struct thinbd *t);

/* As thinbd_volume_open(), which uses these. */
enum thin_handle_mode {
	THIN_HANDLE_WRITE,
	THIN_HANDLE_READ,
	THIN_HANDLE_FLATTEN, /* writes, also where the volume is read-only */
};

THIN_MUST_CHECK int thin_handle_open(struct thinbd *t, const char *name,
				     enum thin_handle_mode mode,
				     struct thinbd_volume **ret, struct thin_error *e);

/* Was the volume taken away?  That is why its requests end in -ESHUTDOWN. */
bool thin_handle_revoked(const struct thinbd_volume *h);

/* Its record, as it was when the handle was opened; lives as long as that. */
const struct thin_volume_conf *thin_handle_conf(const struct thinbd_volume *h);

/*
 * thin_volume_hydrate(), thin_volume_drop_origin(); of a volume that was taken away
 * nothing is dropped, which is no error.
 */
THIN_MUST_CHECK int thin_handle_hydrate(struct thinbd_volume *h, uint64_t offset,
					uint64_t len);
void thin_handle_drop_origin(struct thinbd_volume *h, struct thin_dropped *ret);

/*
 * Open the volume of @conf for ourselves, with its origin; thin_volume_close() it.
 * Returns as thinbd_volume_open(); -ESTALE where it has another origin by now, or
 * none.
 * Locking: without t->lock, which it takes.
 */
THIN_MUST_CHECK int thin_open_conf(struct thinbd *t, const struct thin_volume_conf *conf,
				   bool read_only, struct thin_volume **ret,
				   struct thin_error *e);

/* --- origins.c ------------------------------------------------------------ */

#define THIN_ORIGIN_PREFIX "thin:"

/* How many volumes may be each other's origins, one above the other. */
#define THIN_MAX_ORIGINS 16

/*
 * The origin of @conf, opened and found to be the one that was recorded;
 * shared with others that have the same.
 * @ret: a reference; NULL where it has none.  Returns 0; -ESTALE; -EINVAL (a
 * circle); -ENOENT; what opening said.  @e: "NAME: origin ...".
 * Locking: without t->lock.
 * Cost: what opening costs; a remote one may take its time.
 */
THIN_MUST_CHECK int thin_origin_get(struct thinbd *t, const struct thin_volume_conf *conf,
				    struct thin_origin **ret, struct thin_error *e);

/*
 * Does somebody still look at @device's volume as his origin?  Not for long, where
 * it is nobody's in the registry.
 */
bool thin_origin_is_open(struct thinbd *t, uint32_t device);

/*
 * What the volume @name is as the origin of @user.
 * Returns 0; -EINVAL (a circle, or it may change); -EDQUOT; -ENOENT.
 */
THIN_MUST_CHECK int thin_origin_of_volume(struct thinbd *t, const char *name,
					  const char *user, struct thin_identity *ret,
					  struct thin_error *e);

/* Does @a have the same origin, in the same state, as @b? */
bool thin_same_origin(const struct thin_volume_conf *a, const struct thin_volume_conf *b);

/* Up to where @v's origin shows, bytes; 0 where it has none. */
uint64_t thin_origin_shows(const struct thin_volume_conf *v);

/* The name in "thin:NAME", or NULL. */
const char *thin_origin_volume(const char *origin);

/* Is the volume @name somebody's origin?  -EBUSY (@e names one) if so. */
THIN_MUST_CHECK int thin_check_no_origin(struct thinbd *t, const char *name,
					 struct thin_error *e);

/* Is one of @those the origin of one that is not?  Cost: O(n log n) for both. */
THIN_MUST_CHECK int thin_check_no_origins(struct thinbd *t,
					  const struct thin_volume_list *those,
					  struct thin_error *e);

/* --- volume_json.c -------------------------------------------------------- */

/* As in list; NULL: no memory.  @clients: how many have it open. */
struct json_object *thin_volume_json(struct thinbd *t,
				     const struct thin_volume_conf *conf,
				     unsigned clients);
/* The same for a device that no volume has. */
struct json_object *thin_unnamed_json(struct thinbd *t, uint32_t device);

/* An array of the volumes called so; for replies. */
struct json_object *thin_named_json(struct thinbd *t, const char *name);

/* "2026-01-01T00:00:00Z" */
struct json_object *thin_time_json(int64_t seconds);

/* --- recover.c: what a crash left half done ------------------------------- */

/* At open: free what was deleted, cut what was shrunk. */
THIN_MUST_CHECK int thin_recover(struct thinbd *t, struct thin_error *e);

/*
 * Cut @device's volume at its size, and note that this is done.
 * Locking: without t->lock.
 */
THIN_MUST_CHECK int thin_finish_shrink(struct thinbd *t, uint32_t device,
				       struct thin_error *e);

#endif
