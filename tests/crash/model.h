/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_CONTENT_MODEL_H
#define THINBD_TESTS_CONTENT_MODEL_H

/*
 * What may be read of each sector of each volume: now, and after a crash now.
 *
 * The model hears of requests when they are issued and when they have been
 * answered, as marks with stamps.  For each sector it keeps the updates that
 * may still be seen (a value, and when it was asked for and answered):
 *
 *  E1  An update is covered when it was answered with FUA, or when a flush
 *      of its volume was answered that was asked for after the update's own
 *      answer.
 *  E2  A covered update ends all updates that were answered before it was
 *      asked for: they can not come back.  Everything else may be what a
 *      crash leaves.
 *  E3  A snapshot holds what its source's updates held that were answered
 *      before it was asked for; of those in between, any.
 *  E4  A device exists from the answer of its creation to the request of its
 *      deletion; in between these and their other ends, perhaps.  While it
 *      is being deleted its blocks may be gone.
 *
 *  E5  When the pool is opened anew after it was killed, or failed, nobody
 *      knows which of the updates that were not covered are there; and no
 *      flush after that covers them.  Which volumes are there is seen.
 *
 * A model is plain state, and can be copied: the test keeps one for the live
 * pool, and another follows the recorded marks for the crash images.
 */

#include "recorder.h"
#include "stamp.h"

#define MODEL_VOLUMES 12

enum model_mark {
	MARK_UPDATE,  /* sectors [first, first + nr) of volume get value */
	MARK_UPDATED, /* ... and that was answered with result */
	MARK_FUA,     /* ... likewise, and it is durable */
	MARK_FLUSH,
	MARK_FLUSHED,
	MARK_CREATE,
	MARK_CREATED,
	MARK_SNAP, /* volume from other */
	MARK_SNAPPED,
	MARK_DELETE,
	MARK_DELETED,
	MARK_RESIZE, /* the volume has nr sectors from now on */
	MARK_RENAME, /* volume is other from now on */
	MARK_RENAMED,
	MARK_ROLLBACK, /* volume gets what other holds */
	MARK_ROLLED,
	MARK_SIZE, /* the volume has nr sectors when it is answered */
	MARK_SIZED,
	MARK_RESTART, /* what was not flushed may be gone: E5 */
	MARK_FOUND,   /* ... and the volume is there (result 0), or not */
	MARK_BEGIN,   /* state number request is being made durable */
	MARK_DONE,    /* ... and is */
};

/* A value that says: what is below (the origin's sectors, or zeros). */
#define MODEL_BELOW UINT32_C(3)

struct model_update {
	uint32_t request;
	uint32_t value;
	uint64_t issued, answered; /* stamps; @answered 0: under way */
	bool sure;		   /* it was answered with success */
	bool covered;
};

struct model_sector {
	struct model_update *updates; /* as they were issued; never empty */
	uint16_t nr, room;
};

enum model_exists {
	MODEL_NO,
	MODEL_YES,
	MODEL_COMING, /* perhaps: it is being made */
	MODEL_GOING,  /* perhaps: it is being deleted */
};

struct model_volume {
	enum model_exists exists;
	bool known;	     /* its sectors mean something */
	uint32_t source;     /* of a snapshot that is coming */
	uint64_t nr_sectors; /* the larger one, while there are two sizes */
	uint64_t size[2];    /* sectors: that it may have; the same, mostly */
	bool renaming;	     /* @source goes exactly if this comes */
	uint32_t group;	     /* not 0: it comes exactly if volume @group - 1 does */
	uint64_t room;
	uint64_t origin_sectors; /* below it; 0: none */
	struct model_sector *sectors;
};

/* A flush that was not answered yet. */
struct model_flush {
	uint32_t request;
	uint64_t issued;
};

struct model {
	struct model_volume volume[MODEL_VOLUMES];
	struct model_flush flush[16];
	unsigned nr_flushes;
	uint32_t begun, done; /* states, for tests that number theirs */
};

void model_init(struct model *m); /* no volumes */
void model_fini(struct model *m);
void model_copy(struct model *to, const struct model *from);

void model_apply(struct model *m, const struct rec_mark *mark, uint64_t stamp);

/* A volume that is there, durable, and reads as what is below. */
void model_add(struct model *m, uint32_t volume, uint64_t nr_sectors,
	       uint64_t origin_sectors);
/* The sector is known to hold @value, durably. */
void model_set(struct model *m, uint32_t volume, uint64_t sector, uint32_t value);
/* The volume is known to be there, or not to be. */
void model_settle(struct model *m, uint32_t volume, bool exists);

/* May the sector hold @value after a crash now? */
bool model_may(const struct model *m, uint32_t volume, uint64_t sector, uint32_t value);
/* May a read that is asked for now, with no update under way, find @value? */
bool model_now(const struct model *m, uint32_t volume, uint64_t sector, uint32_t value);

/* What the sector reads as where nothing is mapped. */
uint32_t model_below(const struct model *m, uint32_t volume, uint64_t sector);

/* All that model_may() depends on, as one number. */
uint64_t model_hash(const struct model *m);

/* "12 | 0 | 14": the values that a crash may leave, in a static buffer. */
const char *model_describe(const struct model *m, uint32_t volume, uint64_t sector);

#endif
