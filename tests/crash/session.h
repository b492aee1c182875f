/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SESSION_H
#define THINBD_TESTS_SESSION_H

/*
 * What the crash tests share: how much is to be done, what has been seen, the
 * figures, and how a failure is told.
 */

#include "images.h"
#include "samples.h"
#include "world.h"

struct options {
	bool long_run;
	uint64_t seed;
	unsigned part, parts; /* do the part-th of so many, from 0 */
	const char *state;    /* only from this one */
	const char *ops;      /* only these; NULL: as many as there are to be */
};

struct session {
	struct options opt;
	struct image_counts counts;
	struct seen seen;
	struct samples *samples;
	uint64_t runs;
	uint64_t unit; /* for parts: counts what could be left to others */
	const char *test;
};

void session_begin(struct session *s, const char *test, const struct options *opt);
/* Prints the figures; returns @r, or an error of the last samples. */
int session_end(struct session *s, int r);

/* Is this unit of work in our part? */
bool session_mine(struct session *s);

/* A line about how far it is, now and then. */
void session_progress(struct session *s);

/* Print what is wrong, the ops, and the command that does it again. */
int session_fail(struct session *s, const struct base *base, const struct ops *ops,
		 const char *failure);

/* The subsets to try, by how long it may take. */
void session_images(struct session *s, struct images *im, image_fn *fn, void *ctx);

/* --- the tests: 0, or an error that was printed -------------------------------- */

int crash_metadata(struct session *s);
int crash_sequences(struct session *s);
int crash_kills(struct session *s);
int crash_random(struct session *s);
int crash_threads(struct session *s);

/* Do @ops from @base, and crash at every moment. */
int crash_ops(struct session *s, const struct base *base, const struct ops *ops);

/*
 * Of a world that was crashed: all that its metadata may be like.  0, or an
 * error and a failure of the world.
 */
struct metadata_world;
int crash_metadata_world(struct session *s, struct metadata_world *w, uint64_t seed);

#endif
