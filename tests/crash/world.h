/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_WORLD_H
#define THINBD_TESTS_WORLD_H

/*
 * A small pool with a recorder under it, a monitor on that, and a model
 * beside it: what operations do in it is known, checked at once, and can be
 * crashed at any moment afterwards.
 *
 * No threads: the pool is not started.
 */

#include "monitor.h"
#include "ops.h"
#include "verify.h"

#define WORLD_BLOCK    UINT64_C(8)   /* sectors */
#define WORLD_VOLUME   UINT64_C(128) /* sectors: 16 blocks */
#define WORLD_ORIGIN   UINT64_C(76)  /* sectors: ends inside a block */
#define WORLD_METADATA UINT64_C(128) /* blocks */
#define WORLD_DATA     UINT64_C(64)  /* blocks */

/* From where a world begins; the origin is the same for all. */
struct base {
	struct disk disk[REC_FILES];
	struct model model;
	uint32_t next_value;
	bool origin; /* new volumes have it below */
	char name[16];
};

void base_init(struct base *b, const char *name);
void base_fini(struct base *b);

/* An empty pool of this size, with garbage on its data. */
void base_format(struct base *b, uint64_t metadata_blocks, uint64_t data_blocks);
/* What @img holds, as @found. */
void base_of_image(struct base *b, const struct base *from, const struct image *img,
		   const struct model *found);

struct world {
	const struct base *base;
	struct disk under[REC_FILES];
	struct thin_storage *top[REC_FILES]; /* what a test put over them, or @under */
	struct recorder *rec;
	struct monitor *mon;
	struct model model;
	struct thin_pool *pool;
	struct thin_volume *volume[MODEL_VOLUMES];
	uint32_t next_value, next_request;
	unsigned refusals; /* for want of room */
	unsigned deaths;   /* killed, and opened again */
	/*
	 * Errors are to be expected: what a request left is one of the
	 * states that it may leave, and what can't be opened is not read.
	 */
	bool faults;
	char failure[512];
};

/* Open the pool that @base holds (copies are made of all). */
int world_open(struct world *w, const struct base *base);
/*
 * The same in two steps, to put something over w->top[] in between, below
 * the recorder.
 */
void world_prepare(struct world *w, const struct base *base);
int world_start(struct world *w);

/*
 * Do one operation; what makes no sense (an unknown volume ...) is skipped.
 * Returns 0, or -EINVAL and a failure.
 */
int world_do(struct world *w, const struct op *op);

/* All volumes against the model, as of now. */
int world_check(struct world *w);

/* Close the pool; from before that on nothing is recorded. */
void world_crash(struct world *w);
/* Frees all; closes the pool where that has not been done. */
void world_close(struct world *w);

/* What is there now becomes a base, as durable as can be. */
int world_to_base(struct world *w, struct base *ret);

/* The storage that is below volumes with an origin. */
struct thin_storage *world_origin(void);

#endif
