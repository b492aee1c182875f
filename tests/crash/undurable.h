/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_UNDURABLE_H
#define THINBD_TESTS_UNDURABLE_H

/*
 * The changes of one storage that a crash may undo (S2, S3): those that have
 * not completed, and those that no flush covers which began after that.
 * Ranges only; what was written is not known here.
 */

#include "recorder.h"

struct undurable_write {
	enum rec_op op;
	enum rec_file file;
	uint64_t submit, complete; /* stamps; @complete 0: under way */
	uint64_t first, end;	   /* sectors */
	uint64_t size;		   /* of a RESIZE */
	bool failed;		   /* nobody knows what is there, flush or not */
};

struct undurable {
	struct undurable_write *writes; /* in the order in which they were submitted */
	size_t nr, room;
};

void undurable_add(struct undurable *u, const struct rec_entry *e);
/* One that failed stays until something else was written there. */
void undurable_complete(struct undurable *u, const struct rec_entry *e);
/* A flush that began at @stamp succeeded; tells @fn what became durable. */
void undurable_flush(struct undurable *u, uint64_t stamp,
		     void (*fn)(void *ctx, const struct undurable_write *w), void *ctx);
void undurable_fini(struct undurable *u);

/* Is there any, that has not failed, which touches sectors [@first, @end)? */
bool undurable_touches(const struct undurable *u, uint64_t first, uint64_t end);
/* ... that has not completed? */
bool undurable_under_way(const struct undurable *u, uint64_t first, uint64_t end);
/* ... that completed before @stamp? */
bool undurable_completed(const struct undurable *u, uint64_t first, uint64_t end,
			 uint64_t stamp);

#endif
