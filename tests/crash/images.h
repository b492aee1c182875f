/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_IMAGES_H
#define THINBD_TESTS_IMAGES_H

/*
 * Makes the images that crashes leave of a recorded run, and shows each of
 * them to a check.
 *
 * A crash may come after any event.  What it can leave grows with each
 * change that is submitted, until a flush completes, and what may be read
 * afterwards grows with each request that is issued.  So it is enough to
 * look right before these two: what a crash before that leaves is among the
 * images that are made there (each prefix of the changes is one).
 *
 * At such a point, of the metadata's changes: all subsets where they are few,
 * else none, all, each prefix, each suffix, all but one, one alone, and some
 * at random; each one torn inside, with all or none of the others.  Of the
 * data's: none, all, one alone, all but one, and sector by sector at random.
 */

#include "replay.h"

struct image {
	struct disk disk[REC_FILES];
	uint64_t *hash[REC_FILES]; /* of its sectors */
	uint64_t sum;		   /* of all of it */
	const char *how;	   /* which kind of subset it is */
	/* private */
	uint64_t hash_room[REC_FILES];
	uint64_t version;
	bool fresh; /* it is what is durable, and nothing else */
	struct image_undo *undo;
	size_t nr_undo, undo_room;
};

/* Numbers seen before: grows without end. */
struct seen {
	uint64_t *slots;
	size_t nr, room;
};

bool seen_add(struct seen *s, uint64_t key); /* true: it is new */
void seen_fini(struct seen *s);

struct image_counts {
	uint64_t events;   /* in the logs */
	uint64_t points;   /* where images were made */
	uint64_t images;   /* made */
	uint64_t distinct; /* with different content, or another truth about it */
	uint64_t states;   /* of them: what can be reached differs, too */
	uint64_t opens;	   /* pools opened on them */
	uint64_t seconds;  /* crashes after a crash */
};

/*
 * Called for each distinct image, which must be left as it is.
 * Returns 0 to go on.
 */
typedef int image_fn(void *ctx, struct image *img, const struct replay *rp);

struct images {
	unsigned max_exact; /* so many metadata changes: all subsets */
	unsigned random_subsets;
	unsigned random_mixes; /* of the data */
	unsigned every;	       /* one point in so many; 0: all */
	image_fn *fn;
	void *ctx;
	struct seen *seen;
	struct image_counts *counts;
	/* private */
	struct image image;
	struct image_pick *picks;
	size_t room;
	uint64_t dice, turn;
};

/* All of @rp's log, from where it is on.  Returns what the check did. */
int images_explore(struct images *im, struct replay *rp);
void images_fini(struct images *im);

/* A disk with its hashes: what image_init() makes durable at once. */
void image_fini(struct image *img);

#endif
