/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_RECORDER_H
#define THINBD_TESTS_RECORDER_H

/*
 * Records what a pool does to its storages, so that afterwards every state
 * can be made in which a crash may have left them (storage.h, S1 to S4).
 *
 * A recorder lends storages that stand over others.  Everything that goes
 * through them, and every mark that the test sets, gets stamps of one
 * logical clock: one when it is asked for, one when it has been answered.
 * Between the two it is under way, and a crash may catch it there.
 *
 * What is listened to: a struct rec_listener hears of each entry twice, in
 * the clock's order, with the recorder's lock held; the ordering monitor is
 * one (monitor.h).
 *
 * Everything here may be called by several threads at once, but for new,
 * free and start.
 */

#include "storage/storage.h"

#include "util/limits.h"
#include "util/lock.h"

enum rec_file {
	REC_METADATA,
	REC_DATA,
	REC_FILES,		/* of that many; and: */
	REC_FOLDER = REC_FILES, /* small files in a folder, see folder.h */
};

enum rec_op {
	REC_WRITE,
	REC_ZERO,
	REC_PUNCH,
	REC_RESIZE,
	REC_FLUSH,
	REC_MARK,
	/* of a folder */
	REC_MAKE,      /* file @name, with @text */
	REC_OVERWRITE, /* some of @name, which is then @text */
	REC_RENAME,    /* @name to @other */
	REC_UNLINK,    /* @name */
	REC_SYNC,      /* the content of @name */
	REC_SYNC_FOLDER,
};

/* On whose behalf a thread does I/O: [begin, end) bytes of a device. */
struct rec_owner {
	bool known;
	uint32_t device;
	uint64_t begin, end;
};

/* What a mark says is between the test and its model: see model.h. */
struct rec_mark {
	uint32_t kind;
	uint32_t request;
	uint32_t volume, other;
	uint64_t first, nr;
	uint32_t value;
	int result;
};

struct rec_entry {
	enum rec_op op;
	enum rec_file file;
	uint64_t submit;   /* stamp */
	uint64_t complete; /* stamp; 0 while it is under way */
	int result;
	uint64_t offset, len; /* bytes; of a RESIZE @len is the new size */
	/*
	 * Of a WRITE or a ZERO: what its sectors hold after it, from the sector on in
	 * which it begins to the end of the one in which it ends.
	 */
	uint8_t *sectors;
	uint8_t *actual; /* where it failed: what they did hold after it */
	const void *buf; /* of a WRITE, while its listeners hear of the submission */
	struct rec_owner owner;
	struct rec_mark mark;
	char *name, *other, *text; /* of a folder's; NULL where there is none */
};

struct rec_listener {
	void (*submitted)(struct rec_listener *l, const struct rec_entry *e);
	void (*completed)(struct rec_listener *l, const struct rec_entry *e);
	struct rec_listener *next;
};

struct recorder;

#define REC_KEEP 0x1u /* keep the log; without it only listeners learn anything */

/* Never NULL: no memory ends the test.  rec_free(NULL) is a no-op. */
struct recorder *rec_new(unsigned flags);
void rec_free(struct recorder *rec);

/*
 * The storage to give to the pool, over @under, which stays the caller's.
 * It lives as long as the recorder; close() of it does nothing.
 */
struct thin_storage *rec_lend(struct recorder *rec, enum rec_file file,
			      struct thin_storage *under);

/*
 * Where to look at what is there, without being recorded: what rec_lend() got,
 * unless the test says what stands below that (of a storage that fails, say).
 */
struct thin_storage *rec_under(struct recorder *rec, enum rec_file file);
void rec_look_below(struct recorder *rec, enum rec_file file, struct thin_storage *below);

void rec_listen(struct recorder *rec, struct rec_listener *l);

/* Forget the log; all that was written up to now counts as durable. */
void rec_restart(struct recorder *rec);

/*
 * Kill the process, but not the machine, when @nr more changes and flushes have
 * been submitted: what comes after them is neither recorded nor done, though it is
 * said to be.  rec_revive() is the start of a new process.
 */
void rec_kill(struct recorder *rec, uint64_t nr);
bool rec_killed(struct recorder *rec);
void rec_revive(struct recorder *rec);

/* From here on nothing is recorded: for closing a pool that has "crashed". */
void rec_stop(struct recorder *rec);

/* Set a mark; returns its stamp.  0: it has been killed, there is no mark. */
uint64_t rec_mark(struct recorder *rec, const struct rec_mark *mark);

/* Whose I/O this thread does from now on; NULL: nobody's. */
void rec_own(const struct rec_owner *owner);

/* The log, in the order of completion; what is still under way comes last. */
size_t rec_length(struct recorder *rec);
const struct rec_entry *rec_at(struct recorder *rec, size_t i);
uint64_t rec_now(struct recorder *rec);

/* The bytes of sectors that @e covers, rounded outwards. */
static inline uint64_t rec_first_sector(const struct rec_entry *e)
{
	return e->offset / THIN_SECTOR;
}

static inline uint64_t rec_end_sector(const struct rec_entry *e)
{
	return (e->offset + e->len + THIN_SECTOR - 1) / THIN_SECTOR;
}

/* Does it change a storage? */
static inline bool rec_changes(const struct rec_entry *e)
{
	return e->op < REC_FLUSH;
}

/*
 * Something is done to a folder.  @name, @other, @text: copied; may be NULL.
 * False: the process is no more, nothing is to be done.
 * rec_folder_done() with what this gave, which may be NULL, must follow.
 */
bool rec_folder(struct recorder *rec, enum rec_op op, const char *name, const char *other,
		const char *text, struct rec_entry **ret);
void rec_folder_done(struct recorder *rec, struct rec_entry *e, int result);

/* "metadata write 4096+4096" and the like, in a static buffer. */
const char *rec_describe(const struct rec_entry *e);

/*
 * calloc() and realloc() that end the test where there is no memory.  Who
 * makes allocations fail looks at must_alloc_depth, which is not 0 then.
 */
extern _Thread_local volatile unsigned must_alloc_depth;
void *must_alloc(size_t nr, size_t size);
void *must_grow(void *p, size_t nr, size_t size);

#endif
