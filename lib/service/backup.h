/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_BACKUP_H
#define THINBD_SERVICE_BACKUP_H

/*
 * Backups of the metadata of a pool that is served: DIR/backups/metadata-TIME.zst,
 * as many as keep_metadata_backups says, each some time after a commit.
 *
 * A thread of the lowest priority copies the last commit, which is pinned
 * meanwhile and holds up nobody, audits the copy, packs it, reads back what it
 * packed, and only then gives it its name and removes the oldest one.  What
 * fails is told in the status, and tried again later.
 */

#include "registry/files.h"
#include "service/json.h"
#include "thinbd.h"

#define THIN_BACKUPS "backups"

struct thin_backups;

/* No thread yet.  *@ret is NULL where none are wanted.  Returns 0 or -ENOMEM. */
THIN_MUST_CHECK int thin_backups_new(struct thinbd *t, struct thin_backups **ret);

/* After the last fork.  NULL is a no-op. */
THIN_MUST_CHECK int thin_backups_start(struct thin_backups *b);

/* Stop the thread, and free.  NULL is a no-op.  Cost: up to a whole backup. */
void thin_backups_stop(struct thin_backups *b);

/* {"last": TIME or null, "problem": TEXT or null}; null where there are none. */
struct json_object *thin_backups_json(struct thin_backups *b);

/* --- those that there are --------------------------------------------------- */

struct thin_backup_list {
	int64_t *at; /* seconds since 1970, ascending */
	size_t nr, room;
};

/* Read the folder of @dir.  None is no error.  fini it in any case. */
THIN_MUST_CHECK int thin_backup_list_read(struct thin_backup_list *l, const char *dir);
void thin_backup_list_fini(struct thin_backup_list *l);

#define THIN_BACKUP_NAME 64
void thin_backup_name(int64_t time, char ret[static THIN_BACKUP_NAME]);
/* The other way round; false: it is no such name. */
bool thin_backup_time(const char *name, int64_t *ret);

#endif
