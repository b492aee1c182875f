/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_VOLUMES_H
#define THINBD_REGISTRY_VOLUMES_H

/*
 * The registry: which volumes a pool has, in DIR/volumes and in memory.
 *
 * Reading may be done by any thread at any time.  Changes are serialised by
 * the caller: from thin_registry_begin() to the end of that change there is
 * no other.
 *
 * A change and a commit of the metadata belong together (I12, intent.h):
 *
 *      r = thin_registry_begin(reg, changes, nr, &e);
 *      ... change the metadata, and commit it, in one transaction ...
 *      committed:              thin_registry_finish(reg)
 *      surely not committed:   thin_registry_cancel(reg)
 *      who knows:              thin_registry_abandon(reg)
 *
 * Deletion of a volume whose blocks take many transactions to free is the
 * other way round: a DELETE that buries it (changes.h), which concerns the
 * registry only; its name is free at once.  Then its blocks are freed, over
 * a restart if need be: thin_registry_tombstones() has what is left to do.
 * With the last transaction the tombstone is DELETEd.
 */

#include "registry/changes.h"
#include "registry/files.h"
#include "registry/intent.h"

struct thin_registry;

struct thin_registry_params {
	struct thin_files *files; /* of DIR/volumes; must outlive the registry */
	bool readonly;	      /* change nothing; what is to be done is done in memory */
	size_t journal_bytes; /* whole sectors; 0: THIN_JOURNAL_BYTES */

	/* As the committed metadata has it.  Called in open and begin, without locks. */
	thin_device_exists_fn *device_exists;
	/*
	 * Something that a person should know and that stops nobody: one
	 * line, with the file.  May be NULL.  Called in all but the reading
	 * functions.
	 */
	void (*report)(void *ctx, const char *text);
	/* A change was finished: there is something to settle.  May be NULL. */
	void (*finished)(void *ctx);
	void *ctx;
};

/*
 * Read all volumes; put in place what is in the journal that a crash left, and
 * remove other files that it left.
 * A volume whose file can not be used stops only itself: it is in the list,
 * with its `problem`.  Parents exist, and are not in circles.
 * Returns 0; -EUCLEAN (intent.h, D4); -EINVAL (.journal is damaged: file and
 * line); -ENOMEM; what device_exists() or the system said.
 * Cost: about 30 us for each volume.
 */
THIN_MUST_CHECK int thin_registry_open(const struct thin_registry_params *p,
				       struct thin_registry **ret, struct thin_error *e);

/*
 * NULL is a no-op.  Settles what is to be settled, after which there is no
 * journal; where that fails, it is reported and left to the next open, as is a
 * change that was begun.
 */
void thin_registry_close(struct thin_registry *reg);
THIN_DEFINE_CLEANUP(struct thin_registry *, thin_registry_close);
#define _cleanup_registry _cleanup_(thin_registry_closep)

/* ---- reading ---- */

/*
 * The volume called @name, which may be any bytes.
 * @ret: with a reference, for thin_volume_conf_put(); does not change.
 * Returns 0; -ENOENT (also for what is no name); -EINVAL (its file can not
 * be used: @e says why).  Cost: O(log n).
 */
THIN_MUST_CHECK int thin_registry_find(struct thin_registry *reg, const char *name,
				       const struct thin_volume_conf **ret,
				       struct thin_error *e);

/* The same for the volume, or tombstone, that has @device; or -ENOENT. */
THIN_MUST_CHECK int thin_registry_find_device(struct thin_registry *reg, uint32_t device,
					      const struct thin_volume_conf **ret);

/* The lowest device from @from on that no volume and no tombstone has. */
uint32_t thin_registry_free_device(struct thin_registry *reg, uint32_t from);

/* Records, each with a reference. */
struct thin_volume_list {
	const struct thin_volume_conf **at;
	size_t nr;
};

void thin_volume_list_fini(struct thin_volume_list *list);
#define _cleanup_volume_list _cleanup_(thin_volume_list_fini)

/*
 * All volumes, also those with a problem, sorted by name (as strcmp() does).
 * Returns 0 or -ENOMEM.  Cost: O(n), some ns each.
 */
THIN_MUST_CHECK int thin_registry_list(struct thin_registry *reg,
				       struct thin_volume_list *ret);

/* All tombstones likewise. */
THIN_MUST_CHECK int thin_registry_tombstones(struct thin_registry *reg,
					     struct thin_volume_list *ret);

/* ---- changing ---- */

/*
 * Announce @changes, all or none.  What is read stays the same until
 * finish().  The metadata must not be changed yet.
 * Returns 0, after which the change is pending; or an error, after which
 * nothing has changed: what thin_changes_make() says; -EROFS; -ESHUTDOWN
 * (writing failed before: open the pool again); what the system said.
 * Durable: the announcement is.
 * Cost: one sync, of a few sectors (journal.h); now and then those of
 * thin_registry_settle().
 */
THIN_MUST_CHECK int thin_registry_begin(struct thin_registry *reg,
					const struct thin_change *changes, size_t nr,
					struct thin_error *e);

/*
 * The pending change was committed: it is now what is read.
 * Can not fail: where its files can not be put in place now, that is
 * reported, and done before the next change or at the next open.
 * Durable: it is, by the journal.  Waits for no disk.
 */
void thin_registry_finish(struct thin_registry *reg);

/*
 * The pending change was not committed, and will not be: forget it.
 * Where that can not be made durable it is reported, and there are no more
 * changes until the pool is opened again, which decides.
 */
void thin_registry_cancel(struct thin_registry *reg);

/*
 * Nobody knows whether the pending change was committed (a flush failed):
 * the next open decides.  What is read stays the same; no more changes.
 */
void thin_registry_abandon(struct thin_registry *reg);

/*
 * begin and finish, for changes that are the registry's alone: the devices
 * of the metadata stay the same.
 */
THIN_MUST_CHECK int thin_registry_change(struct thin_registry *reg,
					 const struct thin_change *changes, size_t nr,
					 struct thin_error *e);

/*
 * Make the files of all finished changes durable, so that the journal is not
 * needed any more: for a quiet moment, before the files are changed by hand.
 * A change, for whom the caller serialises.
 * Returns whether nothing is left to do; where that fails, it is reported.
 * Cost: a sync for each file that was changed, or one of the file system.
 */
bool thin_registry_settle(struct thin_registry *reg);

#endif
