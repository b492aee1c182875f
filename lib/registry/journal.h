/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_JOURNAL_H
#define THINBD_REGISTRY_JOURNAL_H

/*
 * volumes/.journal: the changes of the registry that are not in the volumes'
 * files yet, or not durably, one after the other.
 *
 *      a change	is durable once it is in the journal: one sync;
 *      its files	are put in place without waiting for the disk;
 *      settling	makes all of them durable at once; then the journal
 *			begins anew.
 *
 *  J1  The file is made whole (renamed into place), and keeps its length:
 *      changes are written over newlines, or over ones that are settled.
 *      So a sync waits for these bytes and for nothing else, and a full
 *      disk is no matter.
 *  J2  A change begins at a multiple of THIN_JOURNAL_SECTOR.  It is there
 *      if its number follows that of the one before it, and its checksum is
 *      right: half a change is none, nor is one from before it began anew.
 *  J3  When it begins anew, its first sector is blanked, durably: were it written
 *      over at once, a crash could leave the first of the old changes and not
 *      the ones after it, and undo these.
 *  J4  A change is written when the one before it is durable, and says
 *      whether that one happened: only what happened with the last one is
 *      left to intent.h (D1 to D4).
 *  J5  There is always room for a withdrawal: a change that changes nothing,
 *      and says that the one before it was dropped.
 *
 * It is text, for people too: a line about the change, then the intent.
 */

#include "registry/files.h"
#include "registry/intent.h"

#define THIN_JOURNAL_FILE   ".journal"
#define THIN_JOURNAL_SECTOR ((size_t)512)

/* Thirty or sixty ordinary changes. */
#define THIN_JOURNAL_BYTES ((size_t)32 << 10)

struct thin_journal {
	struct thin_files *files;
	size_t room;   /* bytes of a file to be made */
	size_t bytes;  /* of the file; 0: it is to be made */
	size_t used;   /* of these, by changes that are not settled */
	uint64_t last; /* the number of the last change; 0: none */
};

/*
 * @files is of DIR/volumes; @room: bytes, whole sectors, that a file will have
 * unless a change needs more.  What may be there from before is not looked at.
 */
void thin_journal_init(struct thin_journal *j, struct thin_files *files, size_t room);

/* Would @in find room in the file as it is now?  O(its text). */
THIN_MUST_CHECK int thin_journal_has_room(const struct thin_journal *j,
					  const struct thin_intent *in, bool *ret);

/*
 * Write @in behind the other changes; where there is no file, or it is too
 * short, make it (all that is in it must be settled then).
 * *@ret_unsure: on failure, whether a sync failed (F4).
 * Returns 0; what the system said: the change did not happen, and the next one
 * is written over it, unless unsure; -EDQUOT (over THIN_INTENT_BYTES); -ENOMEM.
 * Durable: yes.  Cost: one sync; two where the file is made.
 */
THIN_MUST_CHECK int thin_journal_append(struct thin_journal *j,
					const struct thin_intent *in, bool *ret_unsure,
					struct thin_error *e);

/* The last change did not happen.  Returns what the system said.  Durable: yes. */
THIN_MUST_CHECK int thin_journal_withdraw(struct thin_journal *j, struct thin_error *e);

/*
 * All that is in it is settled: begin anew.  Returns 0; what the system said.
 * *@ret_unsure: on failure, whether a sync failed.  Durable: yes.
 */
THIN_MUST_CHECK int thin_journal_restart(struct thin_journal *j, bool *ret_unsure,
					 struct thin_error *e);

/*
 * Make the journal that was found durable: a server that was killed, when the power
 * stayed on, may not have come to that, and what is done by it must not outlive it.
 * Returns 0; what the system said, after which nothing is sure (F4).
 */
THIN_MUST_CHECK int thin_journal_adopt(struct thin_journal *j, struct thin_error *e);

/*
 * All that is in it is settled: remove it, from before or not.
 * *@ret_unsure: on failure, whether a sync failed.  Durable: yes.
 */
THIN_MUST_CHECK int thin_journal_remove(struct thin_journal *j, bool *ret_unsure,
					struct thin_error *e);

/* What is found in it. */
struct thin_journal_entry {
	struct thin_intent intent;
	bool dropped; /* as the one after it says */
};

struct thin_journal_entries {
	struct thin_journal_entry *at;
	size_t nr;
};

/*
 * Read what a crash left.
 * @ret: fini it.  Of the last one it is not known whether it happened.
 * Returns 0; -ENOENT (there is no journal); -EINVAL and the like (@e: file,
 * line); -ENOMEM.
 */
THIN_MUST_CHECK int thin_journal_load(struct thin_files *f,
				      struct thin_journal_entries *ret,
				      struct thin_error *e);

void thin_journal_entries_fini(struct thin_journal_entries *entries);

#endif
