/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_REPLAY_H
#define THINBD_TESTS_REPLAY_H

/*
 * Follows a recorded log through its clock: what is durable at each moment,
 * which changes a crash may leave or undo on top of that, and what the model
 * says may be read then.
 *
 * A punch that is durable was done or not, as @seed has it: it is a hint.
 */

#include "disk.h"
#include "model.h"
#include "recorder.h"

/* A change that is not durable. */
struct replay_change {
	const struct rec_entry *e;
	bool completed;
	uint64_t *hash; /* of the sectors that a WRITE or ZERO leaves */
};

struct replay {
	struct recorder *rec;
	struct model model;
	struct disk durable[REC_FILES];
	uint64_t *hash[REC_FILES];     /* of each durable sector */
	uint64_t sum;		       /* of all of them: see replay_place() */
	uint64_t version;	       /* changes with @durable */
	struct replay_change *changes; /* in the order of their submission */
	size_t nr_changes, room;
	uint64_t now;	/* stamp of what happened last */
	uint64_t extra; /* what else a test follows along with it: counts for "seen" */
	void (*step)(void *ctx, struct replay *rp, const struct rec_entry *e,
		     bool completes); /* for that; may be NULL */
	void *step_ctx;
	uint64_t seed;
	/* private */
	struct replay_event *events;
	uint64_t hash_room[REC_FILES];
};

/*
 * Begin at the log's begin.
 * @before: what the storages held then, both durable; @model: likewise.
 * All of them are copied.
 */
void replay_init(struct replay *rp, struct recorder *rec, const struct disk *before,
		 const struct model *model, uint64_t seed);
void replay_fini(struct replay *rp);

/* What happens next; NULL at the end.  @ret_completes: its second half. */
const struct rec_entry *replay_next(const struct replay *rp, bool *ret_completes);
/* Let it happen. */
void replay_step(struct replay *rp);

uint64_t replay_hash_sector(const void *p);

/* What a sector with this hash, at this place, adds to a sum over all. */
static inline uint64_t replay_place(enum rec_file file, uint64_t sector, uint64_t hash)
{
	return stamp_mix(hash + stamp_mix(sector << 2 | (uint64_t)file));
}

#endif
