/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FOLDER_H
#define THINBD_TESTS_FOLDER_H

/*
 * A folder of small files in memory, for the registry to work in, recorded
 * like the storages; and what crashes can leave of it (F1 to F4 of
 * registry/files.h).
 *
 *  O8  When a change is answered, the registry's journal is durable, or all
 *      that was done to the folder is, but for what means nothing
 *      (THIN_FILES_TMP).
 */

#include "replay.h"

#include "registry/files.h"

#define FOLDER_NAME 160

struct folder_file {
	char name[FOLDER_NAME];
	char *text;
};

struct folder {
	struct thin_files files;
	struct recorder *rec; /* NULL: nobody is told */
	struct folder_file *file;
	size_t nr;
	unsigned changes; /* made, renamed, removed: so many */
};

void folder_init(struct folder *f, struct recorder *rec);
void folder_fini(struct folder *f);
void folder_copy(struct folder *to, const struct folder *from); /* not what it records */
/* The names and texts, as one number. */
uint64_t folder_hash(const struct folder *f);

/* --- what is durable of it ---------------------------------------------------- */

#define TRACK_MAX 64

struct track_inode {
	char *text;
	char *before; /* where it was overwritten: what it was when it was synced */
	bool synced;
};

struct track_entry {
	char name[FOLDER_NAME];
	unsigned inode;
};

/* Made (@from is empty), renamed, or removed (@to is). */
struct track_op {
	char from[FOLDER_NAME], to[FOLDER_NAME];
	unsigned inode;
	uint64_t submit;
	bool completed;
};

struct track {
	struct track_inode inode[4 * TRACK_MAX];
	unsigned nr_inodes;
	struct track_entry entry[TRACK_MAX]; /* durable */
	unsigned nr_entries;
	struct track_op pending[TRACK_MAX];
	unsigned nr_pending;
	char unsettled[FOLDER_NAME]; /* O8: a name, when something was answered */
};

/* From what is durable at first.  It is large: not for the stack. */
void track_init(struct track *t, const struct folder *before);
void track_fini(struct track *t);
/* A replay's step: @ctx is the struct track. */
void track_step(void *ctx, struct replay *rp, const struct rec_entry *e, bool completes);

/*
 * What a crash may leave: call with @i from 0 on until it returns false.
 * @ret is to be freed.
 */
bool track_variant(const struct track *t, unsigned i, struct folder *ret);

#endif
